/**
 * The version that a unit of systemd names: in the path of its program, in its words (`podman run …/api:1.4.2`), in its
 * description. The runner asks systemd, the agent looks into what it says.
 */
import type { Search } from '../../base/search.ts';
import { detectorName, type SystemdDetectorSpec } from '../../domain/detector.ts';
import { isAppError } from '../../domain/error.ts';
import type { Component } from '../../domain/inventory.ts';
import type { StepResult } from '../../domain/step.ts';
import { outcomeOf, runnerGraceMs, type Steps } from '../checks/step.ts';
import type { Detector } from './detector.ts';
import { versionIn, versionRefused } from './version.ts';

/**
 * Throws when systemd cannot be asked or the unit names no version. A host without systemd or without the unit has
 * nothing of it installed; a unit that does not run is there all the same.
 */
export function systemdDetector(
  spec: SystemdDetectorSpec,
  { steps, search }: { steps: Pick<Steps, 'run'>; search: Search },
): Detector {
  const { component, unit, property, match, everyMs, timeoutMs } = spec;
  const name = detectorName(spec);
  let last: readonly [Component] | undefined;
  return {
    name,
    everyMs,
    lookMs: timeoutMs + runnerGraceMs,
    async detect({ signal }) {
      let result: StepResult;
      try {
        result = await steps.run({ kind: 'unit', component }, { signal });
      } catch (error) {
        if (isAppError(error, 'unprocessable') && error.details['reason'] === 'no-systemd') return null;
        throw error;
      }
      const { end, stdout } = result;
      if (end.kind === 'failed' && end.detail === 'unit is not-found') return null;
      const outcome = outcomeOf(result);
      if (outcome.kind !== 'passed') throw versionRefused(component, `${unit}: ${outcome.detail}`);
      const refuse = (why: string) => versionRefused(component, why, stdout.slice(0, 200));
      const version = versionIn(stdout, { match, search, refuse });
      if (version === undefined) throw refuse(`nothing in ${property} of ${unit} matches ${match}`);
      if (last?.[0].version !== version) last = [{ name: component, version, detector: name }];
      return last;
    },
  };
}
