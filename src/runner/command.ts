/** What a command of a step gets: an environment of nothing but this, and its share of the machine. */
import { limits } from '../base/limits.ts';
import type { LaunchLimits } from './launcher.ts';

/** Nothing of the runner's own: there may be secrets in it. */
export const commandEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LANG: 'C.UTF-8',
};

/** A look is small and comes every few seconds; what a placement does may build and unpack. */
export function launchLimits({ isDurable }: { readonly isDurable: boolean }): LaunchLimits {
  return isDurable
    ? { memoryBytes: limits.runnerStepMemoryBytes, tasks: limits.runnerStepTasksMax, cpuPercent: 100 }
    : { memoryBytes: limits.runnerLookMemoryBytes, tasks: limits.runnerLookTasksMax, cpuPercent: 100 };
}
