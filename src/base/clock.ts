/**
 * Time as an argument. The only file that reads a clock or sets a timer.
 *
 * `now` is for people and records: it may jump. `monotonic` is for deadlines and ages: it only goes forward,
 * and does not count while the machine sleeps.
 */

/** Something to undo. Calling it twice is harmless. */
export type Cancel = () => void;

export interface Clock {
  /** UTC milliseconds since 1970, an integer. May jump in either direction. */
  now(): number;
  /** Milliseconds since some fixed instant; never goes back. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, options?: { signal?: AbortSignal }): Promise<void>;
  /** Calls `fn` once after `ms`. Does not keep the process alive. */
  after(ms: number, fn: () => void): Cancel;
  /** Calls `fn` in the next turn of the event loop, after the input that is already there. */
  nextTurn(fn: () => void): void;
}

/** Longer timers overflow to 1 ms in Node, so long waits are slept in slices. */
const timerMaxMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: sleepInSlices,
  after: (ms, fn) => timerInSlices(ms, fn),
  nextTurn: (fn) => {
    setImmediate(fn);
  },
};

function sleepInSlices(ms: number, options: { signal?: AbortSignal } = {}): Promise<void> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const onAbort = () => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = timerInSlices(
      ms,
      () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      },
      { keepAlive: true },
    );
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

function timerInSlices(ms: number, fn: () => void, options: { keepAlive?: boolean } = {}): Cancel {
  let timer: NodeJS.Timeout | undefined;
  const arm = (remainingMs: number) => {
    const sliceMs = Math.min(remainingMs, timerMaxMs);
    timer = setTimeout(() => (remainingMs > sliceMs ? arm(remainingMs - sliceMs) : fn()), sliceMs);
    if (options.keepAlive !== true) timer.unref();
  };
  arm(Math.max(0, ms));
  return () => clearTimeout(timer);
}
