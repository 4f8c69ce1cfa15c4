import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Launcher } from '../../src/runner/launcher.ts';
import { createProcessGroups } from '../../src/runner/process-groups.ts';
import { pageBytes } from '../../src/runner/processes.ts';
import { tempFolder } from '../helpers/temp.ts';
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

test('E12: an adopted step may have no more processes than before', async (t) => {
  const word = uniqueWord();
  const go = join(tempFolder(t), 'go');
  const first = make(t, 'grows');
  const forks = 'i=0; while [ $i -lt 8 ]; do sh -c "sleep 1000" "$0" & i=$((i+1)); done; wait';
  await first.launch({
    name: 'grows',
    command: ['sh', '-c', `while [ ! -e ${go} ]; do sleep 0.02; done; ${forks}`, word],
    user: null,
    env: { PATH: '/usr/bin:/bin' },
    timeoutMs: 60_000,
    limits: { memoryBytes: 2 ** 30, tasks: 4, cpuPercent: 100 },
  });
  await first.close({ stop: false });
  const [adopted] = await make(t, 'grows').adopt();
  writeFileSync(go, '');
  assert.deepEqual(await adopted?.ended, { kind: 'signalled', signal: 'SIGKILL' });
  assert.deepEqual(processesWith(word), []);
});

test('a step whose process has spoilt its mark is ended by the next runner, which starts nevertheless', async (t) => {
  const word = uniqueWord();
  const place = 'spoilt';
  const mark = `${run}${Buffer.from(place).toString('hex')}`;
  for (const rest of ['', '.', '.x', '.x.y.z', '.x.NaN.Infinity.-1.1e999']) {
    const env = { PATH: '/usr/bin:/bin', HOLDFAST_STEP: `${mark}.${rest}` };
    const child = spawn('sh', ['-c', 'sleep 1000', word], { env, detached: true, stdio: 'ignore' });
    await new Promise((resolve) => child.once('spawn', resolve));
  }
  await until(() => processesWith(word).length === 5);
  const adopted = await make(t, place).adopt();
  await Promise.all(adopted.map(({ ended }) => ended));
  assert.deepEqual(processesWith(word), []);
});

test('pageBytes() is what this machine has, and is read where it is larger', () => {
  assert.equal(pageBytes(), Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' })));
  const auxv = Buffer.alloc(48);
  for (const [at, word] of [3n, 64n, 6n, 16_384n].entries()) auxv.writeBigUInt64LE(word, at * 8);
  assert.equal(pageBytes(auxv), 16_384);
});

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
