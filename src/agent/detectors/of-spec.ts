/** Detectors as agent.yaml names them → detectors that look. */
import type { Clock } from '../../base/clock.ts';
import type { Search } from '../../base/search.ts';
import type { DetectorSpec, StandardDetectorName } from '../../domain/detector.ts';
import type { Steps } from '../checks/step.ts';
import { commandDetector } from './command.ts';
import type { Detector } from './detector.ts';
import { dpkgDetector } from './dpkg.ts';
import { agentDetector, kernelDetector } from './fixed.ts';
import { osReleaseDetector } from './os-release.ts';

export interface DetectorParts {
  readonly clock: Clock;
  /** Of this program. */
  readonly version: string;
  readonly steps: Steps;
  readonly search: Search;
}

export function detectorOf(spec: DetectorSpec, parts: DetectorParts): Detector {
  return spec.kind === 'command' ? commandDetector(spec, parts) : standardDetector(spec.name, parts);
}

function standardDetector(name: StandardDetectorName, { clock, version }: DetectorParts): Detector {
  switch (name) {
    case 'dpkg':
      return dpkgDetector({ clock });
    case 'os-release':
      return osReleaseDetector();
    case 'kernel':
      return kernelDetector();
    case 'agent':
      return agentDetector({ version });
  }
}
