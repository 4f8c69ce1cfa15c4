import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Launcher } from '../../src/runner/launcher.ts';
import { createProcessGroups } from '../../src/runner/process-groups.ts';
import { until } from '../helpers/until.ts';
import { launcherContract } from './launcher.contract.ts';
import { processesWith, uniqueWord } from './processes.ts';
import type { Test } from './world.ts';

/** Of nobody else on this machine. */
const run = randomBytes(4).toString('hex');

function make(t: Test, place: string): Launcher {
  const owner = `${run}${Buffer.from(place).toString('hex')}`;
  const launcher = createProcessGroups({ owner, clock: systemClock, logger: silentLogger });
  t.after(() => launcher.close({ stop: true }));
  return launcher;
}

launcherContract({ make });

test('createProcessGroups() adopts what is its own, and leaves alone what another owner has started', async (t) => {
  const [ours, theirs] = [uniqueWord(), uniqueWord()];
  const launch = (launcher: Launcher, word: string) =>
    launcher.launch({
      name: 'same',
      command: ['sh', '-c', 'sleep 1000', word],
      user: null,
      env: { PATH: '/usr/bin:/bin' },
      timeoutMs: 60_000,
      limits: { memoryBytes: 2 ** 30, tasks: 64, cpuPercent: 100 },
    });
  const [mine, other] = [make(t, 'mine'), make(t, 'other')];
  await Promise.all([launch(mine, ours), launch(other, theirs)]);
  await until(() => processesWith(ours).length === 1 && processesWith(theirs).length === 1);
  await mine.close({ stop: false });
  const next = make(t, 'mine');
  assert.equal((await next.adopt()).length, 1);
  await next.close({ stop: true });
  assert.deepEqual([processesWith(ours).length, processesWith(theirs).length], [0, 1]);
});
