import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TokenBuckets } from '../../src/base/token-buckets.ts';
import { SeededRandom } from '../helpers/random.ts';

describe('TokenBuckets', () => {
  it('gives the burst at once, then one in every so many milliseconds', () => {
    const buckets = new TokenBuckets({ burst: 3, everyMs: 100 }, 10);
    assert.deepEqual(
      [1, 2, 3].map(() => buckets.take('a', 0)),
      [0, 0, 0],
    );
    assert.equal(buckets.take('a', 0), 100);
    assert.equal(buckets.take('a', 99), 1);
    assert.equal(buckets.take('a', 100), 0);
    assert.equal(buckets.waitMs('a', 100), 100);
    assert.equal(buckets.take('b', 100), 0);
    assert.deepEqual(
      [1, 2, 3, 4].map(() => buckets.take('a', 10_000)),
      [0, 0, 0, 100],
    );
  });

  it('agrees with a bucket that is counted by hand', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const random = new SeededRandom(seed);
      const [burst, everyMs] = [random.integer(1, 6), random.integer(1, 50)];
      const buckets = new TokenBuckets({ burst, everyMs }, 10);
      let [tokens, nowMs, atMs] = [burst, 0, 0];
      for (let step = 0; step < 200; step += 1) {
        nowMs += random.integer(0, everyMs);
        tokens = Math.min(burst, tokens + (nowMs - atMs) / everyMs);
        atMs = nowMs;
        const wanted = tokens >= 1 - 1e-9;
        assert.equal(buckets.take('a', nowMs) === 0, wanted, `${random} at ${nowMs}`);
        if (wanted) tokens -= 1;
      }
    }
  });

  it('forgets the key that was longest without use', () => {
    const buckets = new TokenBuckets({ burst: 1, everyMs: 1_000 }, 2);
    for (const key of ['a', 'b']) buckets.take(key, 0);
    buckets.take('a', 1_000);
    buckets.take('c', 1_001);
    assert.equal(buckets.size, 2);
    assert.deepEqual(
      ['a', 'b', 'c'].map((key) => buckets.waitMs(key, 1_001) > 0),
      [true, false, true],
    );
  });
});
