/** Waiting for what shows no event: looked at again and again, within a bound. */
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';

/** Looks every few milliseconds of real time until `fn` gives something other than false, undefined or null. */
export async function until<T>(
  fn: () => T | Promise<T>,
  what: string | (() => string) = 'what the test waits for did not come',
  withinMs = 10_000,
): Promise<Exclude<T, false | null | undefined>> {
  const end = performance.now() + withinMs;
  for (;;) {
    const found = await fn();
    if (found !== false && found !== undefined && found !== null)
      return found as Exclude<T, false | null | undefined>;
    assert(performance.now() < end, `${typeof what === 'string' ? what : what()} (within ${withinMs} ms)`);
    await pause(5);
  }
}
