/** Detectors as agent.yaml names them → detectors that look. */
import type { Clock } from '../../base/clock.ts';
import type { Search } from '../../base/search.ts';
import type { DetectorSpec, StandardDetectorSpec } from '../../domain/detector.ts';
import type { Steps } from '../checks/step.ts';
import { commandDetector } from './command.ts';
import type { Detector } from './detector.ts';
import { dpkgDetector } from './dpkg.ts';
import { fileDetector } from './file.ts';
import { agentDetector, kernelDetector } from './fixed.ts';
import { osReleaseDetector } from './os-release.ts';
import { isRpmThere, rpmDetector } from './rpm.ts';
import { systemdDetector } from './systemd.ts';

export interface DetectorParts {
  readonly clock: Clock;
  /** Of this program. */
  readonly version: string;
  readonly steps: Steps;
  readonly search: Search;
}

export function detectorOf(spec: DetectorSpec, parts: DetectorParts): Detector {
  switch (spec.kind) {
    case 'command':
      return commandDetector(spec, parts);
    case 'systemd':
      return systemdDetector(spec, parts);
    case 'file':
      return fileDetector(spec, parts);
    case 'standard':
      return standardDetector(spec, parts);
  }
}

/** Whether it can find nothing without the runner, on this host. */
export function asksRunner(spec: DetectorSpec): boolean {
  if (spec.kind === 'standard') return spec.name === 'rpm' && isRpmThere();
  return spec.kind === 'command' || spec.kind === 'systemd';
}

function standardDetector(
  { name, everyMs, timeoutMs }: StandardDetectorSpec,
  { clock, version, steps }: DetectorParts,
): Detector {
  const every = everyMs === undefined ? {} : { everyMs };
  const detector = (): Detector => {
    switch (name) {
      case 'dpkg':
        return dpkgDetector({ clock, ...every });
      case 'rpm':
        return rpmDetector({ clock, steps, ...every });
      case 'os-release':
        return osReleaseDetector(every);
      case 'kernel':
        return kernelDetector(every);
      case 'agent':
        return agentDetector({ version, ...every });
    }
  };
  return timeoutMs === undefined ? detector() : { ...detector(), lookMs: timeoutMs };
}
