/** What a command of agent.yaml says of a version. The runner runs it; the agent looks into what it wrote. */
import type { Search } from '../../base/search.ts';
import { type CommandDetectorSpec, detectorName } from '../../domain/detector.ts';
import { isAppError } from '../../domain/error.ts';
import type { Component } from '../../domain/inventory.ts';
import type { StepResult } from '../../domain/step.ts';
import { firstLine, outcomeOf, runnerGraceMs, type Steps } from '../checks/step.ts';
import type { Detector } from './detector.ts';
import { versionIn, versionRefused } from './version.ts';

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
      const refuse = (why: string) => versionRefused(component, why, firstLine(result));
      const outcome = outcomeOf(result);
      if (outcome.kind !== 'passed') throw refuse(outcome.detail);
      // Some programs say their version on stderr.
      const version = versionIn(`${result.stdout}\n${result.stderr}`, { match, search, refuse });
      if (version === undefined) throw refuse(`nothing that its command writes matches ${match}`);
      if (last?.[0].version !== version) last = [{ name: component, version, detector: name }];
      return last;
    },
  };
}
