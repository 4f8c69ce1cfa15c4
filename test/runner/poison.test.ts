import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAppError } from '../../src/domain/error.ts';
import { deedDigest, stepName } from '../../src/domain/step.ts';
import type { StepRecord } from '../../src/runner/records.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { startMortal } from './mortals.ts';
import { startRunner, type Test } from './world.ts';

const never = new AbortController().signal;
const poison = { kind: 'check', check: 'poison' } as const;

test('E16: a step under which the runner dies three times is put aside and says so, and the others go on', async (t) => {
  const dataDir = join(tempFolder(t), 'runner');
  const checks = [
    { type: 'poison', exec: ['sh', '-c', 'echo boom'] },
    { type: 'good', exec: ['true'] },
  ];
  for (let death = 1; death <= 3; death += 1) {
    const runner = await startMortal(t, dataDir, { checks, dieAt: 'output' });
    // The end of the one before is told first, and kills nobody.
    if (death > 1) assert.equal((await runner.client.run(poison, { signal: never })).end.kind, 'lost');
    await runner.client.run(poison, { signal: never }).catch(() => null);
    assert.equal(await runner.ended, 'SIGKILL', `death ${death}`);
  }
  const last = await startMortal(t, dataDir, { checks });
  await last.client.run(poison, { signal: never });
  await assert.rejects(
    last.client.run(poison, { signal: never }),
    (error) =>
      isAppError(error, 'unavailable') &&
      error.details['reason'] === 'put-aside' &&
      /has died 3 times while it ran, so it is put aside for/.test(error.message),
  );
  assert.deepEqual((await last.client.status()).putAside, ['check "poison"']);
  const { end } = await last.client.run({ kind: 'check', check: 'good' }, { signal: never });
  assert.deepEqual(end, { kind: 'exited', exitCode: 0 });
});

test('E16: the time grows with each death, has a bound, and ends with the first run to the end', async (t) => {
  for (const [deaths, wholeMs] of [
    [3, 60_000],
    [4, 120_000],
    [6, 480_000],
    [40, 86_400_000],
  ] as const) {
    const clock = new FakeClock();
    const world = await startRunner(t, {
      dataDir: afterDeaths(t, { deaths, atMs: clock.now() }),
      checks: [{ type: 'poison', exec: ['true'] }],
      clock,
    });
    // That it was lost is told first.
    assert.equal((await world.check('poison')).end.kind, 'lost');
    await assert.rejects(
      world.check('poison'),
      (error) => isAppError(error, 'unavailable') && error.retryAfterMs === wholeMs,
    );
    clock.stall(wholeMs - 1);
    await assert.rejects(world.check('poison'), (error) => isAppError(error, 'unavailable'));
    clock.stall(1);
    assert.deepEqual((await world.check('poison')).end, { kind: 'exited', exitCode: 0 });
    assert.deepEqual((await world.client.status()).putAside, []);
  }
});

test('E16: a runner that ends by itself is no death, nor is a machine that was restarted', async (t) => {
  for (const how of ['left', 'restarted'] as const) {
    const clock = new FakeClock();
    const dataDir = afterDeaths(t, { deaths: 3, atMs: clock.now(), how });
    const world = await startRunner(t, {
      dataDir,
      checks: [{ type: 'poison', exec: ['true'] }],
      clock,
    });
    assert.equal((await world.check('poison')).end.kind, 'lost');
    assert.equal((await world.check('poison')).end.kind, 'exited', how);
  }
});

/** A data directory as a runner leaves it that has died so often while the step ran, the last time just now. */
function afterDeaths(
  t: Test,
  { deaths, atMs, how = 'killed' }: { deaths: number; atMs: number; how?: 'killed' | 'left' | 'restarted' },
): string {
  const dataDir = join(tempFolder(t), 'runner');
  mkdirSync(join(dataDir, 'steps'), { recursive: true, mode: 0o700 });
  const name = stepName(poison);
  const record: StepRecord = {
    name,
    title: 'check "poison"',
    digest: deedDigest({ kind: 'command', command: ['true'], user: null, timeoutMs: 5_000 }),
    isDurable: false,
    startedAtMs: atMs,
    ended: null,
    isOpen: true,
    crashes: deaths - 1,
    lastCrashMs: atMs,
  };
  writeFileSync(join(dataDir, 'steps', `${name}.json`), JSON.stringify({ v: 1, ...record }));
  const bootId =
    how === 'restarted' ? 'another' : readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  if (how !== 'left')
    writeFileSync(join(dataDir, 'runner.json'), JSON.stringify({ pid: 2 ** 30, startTicks: 1, bootId }));
  return dataDir;
}

test('a death that is long ago is forgotten, with its record', async (t) => {
  const clock = new FakeClock();
  const dataDir = afterDeaths(t, { deaths: 4, atMs: clock.now() });
  const world = await startRunner(t, { dataDir, checks: [{ type: 'poison', exec: ['true'] }], clock });
  assert.equal((await world.check('poison')).end.kind, 'lost');
  assert.deepEqual((await world.client.status()).putAside, ['check "poison"']);
  await until(() => readdirSync(join(dataDir, 'steps')).length === 1);
  clock.stall(8 * 86_400_000);
  assert.deepEqual((await world.client.status()).putAside, []);
  await until(() => readdirSync(join(dataDir, 'steps')).length === 0, 'its record is still there');
});
