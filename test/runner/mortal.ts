/**
 * A runner as a process of its own, which kills itself at a point that the test names. Run by Node:
 * `mortal.ts <data directory> <JSON of MortalOptions>`. It writes "ready" when it listens.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { systemRandom } from '../../src/base/random.ts';
import { allowDefault } from '../../src/domain/allow.ts';
import { readChecks } from '../../src/domain/check.ts';
import { createRunner } from '../../src/runner/runner.ts';
import type { StepPoint } from '../../src/runner/steps.ts';

export interface MortalOptions {
  readonly checks: readonly object[];
  /** Where it kills itself, the first time that it comes past; null: nowhere. */
  readonly dieAt: StepPoint | null;
  readonly stopsSteps: boolean;
}

const [dataDir = '', json = ''] = process.argv.slice(2);
const { checks, dieAt, stopsSteps } = JSON.parse(json) as MortalOptions;
const duties = {
  checks: readChecks(checks.map((check) => ({ every: '1h', ...check }))),
  detectors: [],
  allow: allowDefault,
};
const runner = await createRunner({
  dataDir,
  socketDir: join(dataDir, 'run'),
  duties: { read: () => Promise.resolve(duties) },
  stopsSteps,
  clock: systemClock,
  random: systemRandom,
  logger: createLogger({ level: 'debug' }),
  at: (point) => {
    if (point === dieAt) process.kill(process.pid, 'SIGKILL');
  },
});
process.stdout.write('ready\n');
await once(process, 'SIGTERM');
await runner.close();
process.exit(0);
