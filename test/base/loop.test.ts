import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../../src/base/log.ts';
import { silentLogger } from '../../src/base/log.ts';
import { type LoopOptions, startLoop } from '../../src/base/loop.ts';
import { FakeClock } from '../helpers/clock.ts';

/** Draws 0, so that every back-off is exactly half of its ceiling. */
const least = { bytes: () => new Uint8Array(), uniform: () => 0 };

function setup(run: LoopOptions['run'], over: Partial<LoopOptions> = {}) {
  const clock = new FakeClock();
  const logged: Record<string, unknown>[] = [];
  const logger: Logger = { ...silentLogger, warn: (fields) => logged.push(fields) };
  const ranAt: number[] = [];
  const loop = startLoop({
    name: 'test',
    clock,
    logger,
    random: least,
    backoffBaseMs: 200,
    backoffCapMs: 1_000,
    run: (context) => {
      ranAt.push(clock.monotonic());
      return run(context);
    },
    ...over,
  });
  return { clock, logged, ranAt, loop };
}

const done = () => Promise.resolve();

test('startLoop() runs at once and then every so often', async () => {
  const { clock, ranAt, loop } = setup(done, { everyMs: 100 });
  assert.deepEqual(ranAt, [], 'not before the caller has finished');
  await clock.advance(250);
  assert.deepEqual(ranAt, [0, 100, 200]);
  await loop.stop();
  assert.deepEqual(clock.pendingMs, []);
});

test('startLoop() waits for firstMs, or a wake before it', async () => {
  const { clock, ranAt, loop } = setup(done, { firstMs: 500 });
  await clock.advance(100);
  loop.wake();
  await clock.advance(1_000);
  assert.deepEqual(ranAt, [100]);
  await loop.stop();
});

test('Loop looks again when the run said, in place of everyMs', async () => {
  const { clock, ranAt, loop } = setup(() => Promise.resolve({ nextMs: 30 }), { everyMs: 1_000 });
  await clock.advance(70);
  assert.deepEqual(ranAt, [0, 30, 60]);
  await loop.stop();
});

test('Loop.wake() runs once for many wakes', async () => {
  const { clock, ranAt, loop } = setup(done);
  await clock.advance(10);
  loop.wake();
  loop.wake();
  loop.wake();
  await clock.advance(10);
  assert.deepEqual(ranAt, [0, 10]);
  await loop.stop();
});

test('Loop.wake() during a run is not lost: another run follows, and never two at once', async () => {
  let running = 0;
  const { clock, ranAt, loop } = setup(async () => {
    running += 1;
    assert.equal(running, 1);
    await clock.sleep(50);
    running -= 1;
  });
  await clock.advance(20);
  loop.wake();
  loop.wake();
  await clock.advance(200);
  assert.deepEqual(ranAt, [0, 50]);
  await loop.stop();
});

test('Loop that always has more to do lets others have their turn', async () => {
  const { clock, loop } = setup(() => Promise.resolve({ nextMs: 0 }));
  for (let turns = 0; turns < 10; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  await loop.stop();
  assert.deepEqual(clock.pendingMs, []);
});

test('Loop backs off for longer with each failure in a row, logs each once, and recovers', async () => {
  let broken = true;
  const { clock, ranAt, logged, loop } = setup(
    () => (broken ? Promise.reject(new Error('down')) : Promise.resolve()),
    { everyMs: 5_000 },
  );
  await clock.advance(1_800);
  assert.deepEqual(ranAt, [0, 100, 300, 700, 1_200, 1_700], '100, 200, 400, then the cap of 500');
  assert.deepEqual(
    logged.map(({ loop: name, failures, retryMs }) => ({ name, failures, retryMs })),
    [100, 200, 400, 500, 500, 500].map((retryMs, index) => ({ name: 'test', failures: index + 1, retryMs })),
  );
  assert.equal(loop.failures, 6);
  assert.equal(loop.lastSuccessMs, null);
  broken = false;
  await clock.advance(400);
  assert.equal(loop.failures, 0);
  assert.equal(loop.lastSuccessMs, 2_200);
  await loop.stop();
});

test('Loop takes a thrown error and a nonsensical nextMs for failures', async () => {
  const { clock, logged, loop } = setup(() => {
    if (logged.length === 0) throw new Error('at once');
    return Promise.resolve({ nextMs: Number.NaN });
  });
  await clock.advance(150);
  assert.equal(logged.length, 2);
  await loop.stop();
});

test('Loop obeys the retryAfterMs of an error', async () => {
  const { clock, ranAt, loop } = setup(() =>
    Promise.reject(Object.assign(new Error('busy'), { retryAfterMs: 3_000 })),
  );
  await clock.advance(3_100);
  assert.deepEqual(ranAt, [0, 3_050]);
  await loop.stop();
});

test('Loop.wake() does not cut a back-off short, retryNow() does', async () => {
  const { clock, ranAt, loop } = setup(() => Promise.reject(new Error('down')));
  await clock.advance(0);
  loop.wake();
  await clock.advance(99);
  assert.deepEqual(ranAt, [0]);
  loop.retryNow();
  await clock.advance(0);
  assert.deepEqual(ranAt, [0, 99]);
  await loop.stop();
});

test('Loop.stop() aborts the run in progress, awaits it, and logs no failure for it', async () => {
  let cleanedUp = false;
  const { clock, logged, loop } = setup(async ({ signal }) => {
    try {
      await clock.sleep(10_000, { signal });
    } finally {
      cleanedUp = true;
    }
  });
  await clock.advance(10);
  const stopped = loop.stop();
  assert.equal(cleanedUp, false);
  await Promise.all([stopped, loop.stop()]);
  assert.equal(cleanedUp, true);
  assert.deepEqual(logged, []);
  loop.wake();
  await clock.advance(100);
  assert.deepEqual(clock.pendingMs, []);
});

test('Loop.stop() reports a run that fails for another reason', async () => {
  const { clock, logged, loop } = setup(async ({ signal }) => {
    await clock.sleep(10_000, { signal }).catch(() => {
      throw new Error('could not clean up');
    });
  });
  await clock.advance(10);
  await loop.stop();
  assert.equal(logged.length, 1);
});

test('Loop.stop() before the first run runs nothing', async () => {
  const { loop } = setup(() => assert.fail('ran'));
  await loop.stop();
});

test('Loop.lastProgressMs stands still in a stuck run only', async () => {
  const { clock, loop } = setup(async ({ progress }) => {
    await clock.sleep(100);
    progress();
    await clock.sleep(1_000);
  });
  const stuckMs = () => clock.monotonic() - loop.lastProgressMs;
  await clock.advance(60);
  assert.equal(stuckMs(), 60);
  await clock.advance(60);
  assert.equal(stuckMs(), 20, 'it said that it moves');
  await clock.advance(5_000);
  assert.equal(stuckMs(), 0, 'it waits');
  await loop.stop();
});
