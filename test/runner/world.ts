/** A runner in this process, on a real socket, with what is written down for it in the test. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import type { Logger } from '../../src/base/log.ts';
import { systemRandom } from '../../src/base/random.ts';
import { RunnerClient } from '../../src/client/runner.ts';
import { allowDefault } from '../../src/domain/allow.ts';
import { type CheckSpec, readChecks } from '../../src/domain/check.ts';
import { readDetectors } from '../../src/domain/detector.ts';
import type { Duties, StepResult } from '../../src/domain/step.ts';
import { createRunner, type Runner, type RunnerOptions } from '../../src/runner/runner.ts';
import { tempFolder } from '../helpers/temp.ts';

/** A context of a test. */
export interface Test {
  after(fn: () => void | Promise<void>): void;
}

export interface WorldOptions extends Partial<RunnerOptions> {
  readonly checks?: readonly object[];
  readonly detectors?: readonly object[];
  readonly clock?: Clock;
  readonly logger?: Logger;
}

export interface World {
  readonly runner: Runner;
  readonly client: RunnerClient;
  /** `runner.sock` */
  readonly socket: string;
  readonly dataDir: string;
  /** What is written down; a test may change it. */
  duties: Duties;
  check(type: string, options?: { readonly signal?: AbortSignal }): Promise<StepResult>;
}

/** Without patience: a check that a test writes down says how long it may take itself. */
export function checkSpec(spec: object): CheckSpec {
  const [check] = readChecks([{ every: '1h', ...spec }]);
  assert(check !== undefined);
  return check;
}

/** Starts one in a folder of its own, or in `dataDir`; closed when the test ends. */
export async function startRunner(t: Test, options: WorldOptions = {}): Promise<World> {
  const { checks = [], detectors = [], dataDir = join(tempFolder(t), 'runner'), ...rest } = options;
  const socketDir = join(dataDir, 'run');
  const world = {
    duties: {
      checks: checks.map(checkSpec),
      detectors: readDetectors(detectors),
      allow: allowDefault,
    } as Duties,
  };
  const runner = await createRunner({
    dataDir,
    socketDir,
    duties: { read: () => Promise.resolve(world.duties) },
    stopsSteps: true,
    clock: systemClock,
    // What marks the steps of a runner is random: the same in two test files, each would end what the other has started.
    random: systemRandom,
    ...rest,
  });
  t.after(() => runner.close());
  const socket = join(socketDir, 'runner.sock');
  const client = new RunnerClient({ socket });
  t.after(() => client.close());
  return Object.assign(world, {
    runner,
    client,
    socket,
    dataDir,
    check: (check: string, { signal = new AbortController().signal } = {}) =>
      client.run({ kind: 'check', check }, { signal }),
  });
}
