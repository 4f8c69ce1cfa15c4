/** A clock on which waiting takes no time: sleeps end at once and are noted, timers wait for ever. */
import type { Cancel, Clock } from '../../src/base/clock.ts';

export class HastyClock implements Clock {
  /** What was slept, in order. */
  readonly sleptMs: number[] = [];
  #passedMs = 0;

  now(): number {
    return Date.UTC(2026, 0, 1) + this.#passedMs;
  }

  monotonic(): number {
    return this.#passedMs;
  }

  sleep(ms: number, options: { signal?: AbortSignal } = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.sleptMs.push(ms);
    this.#passedMs += ms;
    return new Promise((resolve) => setImmediate(resolve));
  }

  after(): Cancel {
    return () => undefined;
  }

  nextTurn(fn: () => void): void {
    setImmediate(fn);
  }
}
