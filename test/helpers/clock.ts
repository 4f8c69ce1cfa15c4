/** A clock that moves only when the test says so. */
import assert from 'node:assert/strict';
import type { Cancel, Clock } from '../../src/base/clock.ts';

interface Timer {
  readonly dueMs: number;
  readonly fn: () => void;
}

/** A turn that always asks for another one would never settle: fail loudly instead of hanging. */
const turnsMax = 100_000;

/**
 * Timers and sleeps wait for `advance`; `nextTurn` is no waiting and runs by itself, as in production. The wall clock
 * and the monotonic one move together, except for `step`.
 *
 *     const clock = new FakeClock();
 *     const slept = clock.sleep(5_000);
 *     await clock.advance(5_000);
 *     await slept;
 */
export class FakeClock implements Clock {
  #monotonicMs = 0;
  #wallOffsetMs: number;
  #timers: Timer[] = [];
  #turnsPending = 0;

  constructor(options: { startMs?: number } = {}) {
    this.#wallOffsetMs = options.startMs ?? Date.UTC(2026, 0, 1);
  }

  now(): number {
    return Math.floor(this.#wallOffsetMs + this.#monotonicMs);
  }

  monotonic(): number {
    return this.#monotonicMs;
  }

  sleep(ms: number, options: { signal?: AbortSignal } = {}): Promise<void> {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      const onAbort = () => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.after(ms, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  after(ms: number, fn: () => void): Cancel {
    assert(!Number.isNaN(ms), 'a timer was set to NaN milliseconds');
    const timer: Timer = { dueMs: this.#monotonicMs + Math.max(0, ms), fn };
    const place = this.#timers.findIndex(({ dueMs }) => dueMs > timer.dueMs);
    this.#timers.splice(place === -1 ? this.#timers.length : place, 0, timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Time passes and nothing runs: what a paused or blocked process sees. Overdue timers run at the next `advance`. */
  stall(ms: number): void {
    this.#monotonicMs += ms;
  }

  nextTurn(fn: () => void): void {
    this.#turnsPending += 1;
    setImmediate(() => {
      this.#turnsPending -= 1;
      fn();
    });
  }

  /**
   * Lets `ms` pass. Everything due meanwhile runs at its own instant, in order of time and then of creation, also
   * what is set on the way; what each timer starts (promises, `nextTurn`) settles before the next one runs.
   */
  async advance(ms: number): Promise<void> {
    assert(ms >= 0, 'time only goes forward; to move the wall clock back, use step');
    const endMs = this.#monotonicMs + ms;
    await this.settle();
    for (let timer = this.#timers[0]; timer !== undefined && timer.dueMs <= endMs; timer = this.#timers[0]) {
      this.#timers.shift();
      this.#monotonicMs = Math.max(this.#monotonicMs, timer.dueMs);
      timer.fn();
      await this.settle();
    }
    this.#monotonicMs = endMs;
  }

  /** Lets promise chains and `nextTurn` callbacks run until none is left. Real input and output is not waited for. */
  async settle(): Promise<void> {
    for (let turns = 0; turns === 0 || this.#turnsPending > 0; turns += 1) {
      assert(turns < turnsMax, `still asking for a next turn after ${turnsMax} of them`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Moves only the wall clock, by `wallMs` (negative: back), as an administrator or NTP does. Timers do not notice. */
  step(wallMs: number): void {
    this.#wallOffsetMs += wallMs;
  }

  /** How long each waiting timer still has, the next one first. Empty: nothing waits, nothing leaked. */
  get pendingMs(): number[] {
    return this.#timers.map(({ dueMs }) => dueMs - this.#monotonicMs);
  }
}
