/** The machine that `holdfast install` works on, and the program that does it. */
import type { Random } from '../base/random.ts';
import type { ServiceManager } from '../runner/systemctl.ts';

export interface InstallHost {
  /** `/`; a test has a folder. */
  readonly root: string;
  /** The single binary that runs; null when Holdfast runs from its sources. */
  readonly program: string | null;
  /** SQLite's addon, which the binary carries. */
  addon(): Uint8Array;
  readonly manager: ServiceManager;
  readonly random: Random;
}
