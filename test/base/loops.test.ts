import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { startLoop } from '../../src/base/loop.ts';
import { Loops } from '../../src/base/loops.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';

test('Loops.stuckMs() is how long the slowest has not moved, and forgets those that ended', async () => {
  const clock = new FakeClock();
  const loops = new Loops(clock);
  const { promise: never, resolve: end } = Promise.withResolvers<void>();
  const { promise: moving, resolve: move } = Promise.withResolvers<() => void>();
  const common = { clock, random: new SeededRandom(), logger: silentLogger, loops };
  const backoff = { backoffBaseMs: 1_000, backoffCapMs: 1_000 };
  const waits = startLoop({
    ...common,
    ...backoff,
    name: 'waits',
    everyMs: 1_000,
    run: async () => undefined,
  });
  const runs = startLoop({
    ...common,
    ...backoff,
    name: 'runs',
    run: ({ progress }) => {
      move(progress);
      return never;
    },
  });
  const progress = await moving;
  await clock.advance(5_000);
  assert.equal(loops.stuckMs(), 5_000);
  progress();
  await clock.advance(2_000);
  assert.equal(loops.stuckMs(), 2_000);
  end();
  await runs.stop();
  await clock.advance(2_000);
  assert.equal(loops.stuckMs(), 0);
  await waits.stop();
});
