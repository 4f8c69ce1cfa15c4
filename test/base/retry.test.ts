import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { backoffMs, type RetryOptions, retry, retryDelayMs } from '../../src/base/retry.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';

const least = { bytes: () => new Uint8Array(), uniform: () => 0 };
const most = { bytes: () => new Uint8Array(), uniform: () => 1 - 2 ** -53 };

function options(over: Partial<RetryOptions> = {}): RetryOptions & { clock: FakeClock } {
  const clock = new FakeClock();
  return {
    random: least,
    baseMs: 100,
    capMs: 1_000,
    attemptsMax: 5,
    shouldRetry: () => true,
    ...over,
    clock,
  };
}

test('backoffMs() doubles, half of it certain, half random, up to the cap', () => {
  const range = (attempt: number) =>
    [least, most].map((random) => backoffMs(attempt, { baseMs: 100, capMs: 1_000, random }));
  assert.deepEqual(range(1), [50, 100]);
  assert.deepEqual(range(2), [100, 200]);
  assert.deepEqual(range(4), [400, 800]);
  assert.deepEqual(range(5), [500, 1_000]);
  assert.deepEqual(range(100_000), [500, 1_000]);
});

test('backoffMs() spreads those who failed together', () => {
  const random = new SeededRandom(1);
  const drawn = new Set(
    Array.from({ length: 100 }, () => backoffMs(10, { baseMs: 100, capMs: 60_000, random })),
  );
  assert(drawn.size > 90, `only ${drawn.size} different waits`);
});

test('retryDelayMs() waits at least what the error asks for, and not for ever', () => {
  const delay = (retryAfterMs: unknown, random = least) =>
    retryDelayMs(1, Object.assign(new Error('busy'), { retryAfterMs }), {
      baseMs: 100,
      capMs: 1_000,
      random,
    });
  assert.equal(delay(5_000), 5_025);
  assert.equal(delay(5_000, most), 5_050);
  assert.equal(delay(1e12), limits.retryAfterMs + 25);
  assert.equal(delay(undefined), 50);
  assert.equal(delay('soon'), 50);
  assert.equal(delay(Number.NaN), 50);
  assert.equal(retryDelayMs(1, 'a thrown string', { baseMs: 100, capMs: 1_000, random: least }), 50);
});

test('retry() returns the first success and waits between attempts', async () => {
  const settings = options();
  const at: number[] = [];
  const result = retry(async (attempt) => {
    at.push(settings.clock.monotonic());
    if (attempt < 3) throw new Error('not yet');
    return await Promise.resolve('done');
  }, settings);
  await settings.clock.advance(1_000);
  assert.equal(await result, 'done');
  assert.deepEqual(at, [0, 50, 150]);
});

test('retry() throws what the last attempt threw', async () => {
  const settings = options({ attemptsMax: 2 });
  const result = assert.rejects(
    retry((attempt) => Promise.reject(new Error(`attempt ${attempt}`)), settings),
    /attempt 2/,
  );
  await settings.clock.advance(1_000);
  await result;
});

test('retry() does not repeat what cannot pass by itself', async () => {
  const settings = options({ shouldRetry: (error) => (error as Error).message !== 'forbidden' });
  await assert.rejects(
    retry(() => Promise.reject(new Error('forbidden')), settings),
    /forbidden/,
  );
  assert.deepEqual(settings.clock.pendingMs, []);
});

test('retry() rejects with the reason when aborted while it waits', async () => {
  const stop = new AbortController();
  const settings = options({ signal: stop.signal, attemptsMax: Number.POSITIVE_INFINITY });
  const result = assert.rejects(
    retry(() => Promise.reject(new Error('down')), settings),
    /stopping/,
  );
  await settings.clock.advance(10_000);
  stop.abort(new Error('stopping'));
  await result;
  assert.deepEqual(settings.clock.pendingMs, []);
});

test('retry() makes no attempt when aborted already', async () => {
  const settings = options({ signal: AbortSignal.abort(new Error('stopping')) });
  await assert.rejects(
    retry(() => assert.fail('was called'), settings),
    /stopping/,
  );
});
