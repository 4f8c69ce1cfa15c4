/** What a command of agent.yaml says of a version. The runner runs it; the agent looks into what it wrote. */
import { limits } from '../../base/limits.ts';
import type { Search } from '../../base/search.ts';
import { type CommandDetectorSpec, detectorName } from '../../domain/detector.ts';
import { AppError, isAppError } from '../../domain/error.ts';
import { isPrintable } from '../../domain/ids.ts';
import type { Component } from '../../domain/inventory.ts';
import type { StepResult } from '../../domain/step.ts';
import { firstLine, outcomeOf, type Steps } from '../checks/step.ts';
import type { Detector } from './detector.ts';

/** The runner ends a command at its time limit, TERM and KILL; only then, this much later, it is not waited for any more. */
const runnerGraceMs = 10_000;

/**
 * Throws when the command cannot be run, fails, or says no version: then what was found before stays. A host without the
 * program has nothing of it installed.
 */
export function commandDetector(
  spec: CommandDetectorSpec,
  { steps, search }: { steps: Steps; search: Search },
): Detector {
  const { component, match, everyMs, timeoutMs } = spec;
  const name = detectorName(spec);
  let last: readonly [Component] | undefined;
  return {
    name,
    everyMs,
    lookMs: timeoutMs + runnerGraceMs,
    async detect({ signal }) {
      let result: StepResult;
      try {
        result = await steps.run({ kind: 'detector', component }, { signal });
      } catch (error) {
        // What is asked for its version is not installed: that is an answer.
        if (isAppError(error, 'unprocessable') && error.details['reason'] === 'no-program') return null;
        throw error;
      }
      const refuse = (why: string) => refused(component, why, firstLine(result));
      const outcome = outcomeOf(result);
      if (outcome.kind !== 'passed') throw refuse(outcome.detail);
      // Some programs say their version on stderr.
      const version = search(match, `${result.stdout}\n${result.stderr}`)?.groups['version'];
      if (version === undefined) throw refuse(`nothing that its command writes matches ${match}`);
      if (version === '' || [...version].length > limits.versionLengthMax || !isPrintable(version))
        throw refuse(`what ${match} finds is not 1 to ${limits.versionLengthMax} printable characters`);
      if (last?.[0].version !== version) last = [{ name: component, version, detector: name }];
      return last;
    },
  };
}

/** What the command wrote stands in `details.output`: it is not everybody's business. */
function refused(component: string, why: string, output: string | null): AppError {
  return new AppError('unprocessable', `Cannot tell the version of "${component}": ${why}`, {
    details: { output },
  });
}
