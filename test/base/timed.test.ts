import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TooSlow, timed } from '../../src/base/timed.ts';

test('timed() answers and throws as the work does, and ends work that never ends', () => {
  const answer = { is: 'ours' };
  assert.equal(
    timed(1_000, () => answer),
    answer,
  );
  const broken = new Error('broken');
  assert.throws(
    () =>
      timed(1_000, () => {
        throw broken;
      }),
    broken,
  );
  let rounds = 0;
  assert.throws(
    () =>
      timed(20, () => {
        for (;;) {
          try {
            rounds += 1;
          } catch {
            rounds = 0;
          }
        }
      }),
    TooSlow,
  );
  assert.ok(rounds > 0);
});
