import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from './random.ts';

test('SeededRandom repeats itself for a seed and differs between seeds', () => {
  const draw = (seed: number) => {
    const random = new SeededRandom(seed);
    return [random.uniform(), ...random.bytes(8), random.integer(1, 6)];
  };
  assert.deepEqual(draw(7), draw(7));
  assert.notDeepEqual(draw(7), draw(8));
});

test('SeededRandom.uniform() is even over [0, 1)', () => {
  const random = new SeededRandom(3);
  const counts = new Uint32Array(10);
  for (let i = 0; i < 100_000; i += 1) {
    const drawn = random.uniform();
    assert(drawn >= 0 && drawn < 1);
    const tenth = Math.floor(drawn * 10);
    counts[tenth] = (counts[tenth] ?? 0) + 1;
  }
  // 10,000 expected each; five standard deviations are 474.
  for (const count of counts) assert(Math.abs(count - 10_000) < 500, `${count} of 10000`);
});
