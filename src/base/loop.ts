/**
 * The one loop. It is level-triggered: a wake says "look again", never "this happened", so wakes coalesce, none is
 * lost, and a run compares what is wanted with what is done. Nothing else in the program repeats itself.
 *
 * Waiting: until a wake, the time the last run asked for, or `everyMs`, whichever is first.
 * Running: one run at a time. A wake meanwhile starts another right after, for this one may have looked too early.
 * Backing off: after a failure, for longer with each one in a row. A wake does not cut this short (else a busy waker
 *   would hammer what is broken), it is seen at the end of it; `retryNow` does, for when the cause is known to be gone.
 * Stopped: for good.
 */
import assert from 'node:assert/strict';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';
import type { Loops } from './loops.ts';
import type { Random } from './random.ts';
import { retryDelayMs } from './retry.ts';

export interface LoopOptions {
  /** Stands in log lines as `loop`. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Those of the role: it is among them until it is stopped. */
  readonly loops?: Loops | undefined;
  /** Looks again at the latest after this, without being woken. Absent: only when woken. */
  readonly everyMs?: number;
  /** When to look for the first time; default 0, at once. */
  readonly firstMs?: number;
  /** The back-off after failures: see `backoffMs`; an error's `retryAfterMs` is obeyed. */
  readonly backoffBaseMs: number;
  /** A function is asked after each failure. */
  readonly backoffCapMs: number | (() => number);
  /** Looks, and does what there is to do. `nextMs` says when to look again in place of `everyMs`. */
  // biome-ignore lint/suspicious/noConfusingVoidType: an async function that returns nothing is a Promise<void>
  readonly run: (context: LoopContext) => Promise<{ readonly nextMs: number } | void>;
}

export interface LoopContext {
  /** Aborted by `stop`; a run that rejects with its reason has not failed. */
  readonly signal: AbortSignal;
  /** A long run says that it moves, so that a watchdog does not take it for stuck. */
  progress(): void;
}

export interface Loop {
  /** Look again, soon. Cheap; any number of wakes before a run are one. */
  wake(): void;
  /** Look again now, and forget the failures so far. */
  retryNow(): void;
  /** Aborts and awaits the run in progress. Never rejects. A run must not await it: it would wait for itself. */
  stop(): Promise<void>;
  /**
   * By the monotonic clock: now while it waits or is stopped, else when the run began or last said that it moves. So
   * `clock.monotonic() - lastProgressMs` is how long it may have been stuck.
   */
  readonly lastProgressMs: number;
  /** When a run last succeeded, by the monotonic clock; null before the first. */
  readonly lastSuccessMs: number | null;
  /** Failures in a row; 0 is healthy. */
  readonly failures: number;
  /** When a run that failed is tried again, by the monotonic clock; null while the last one succeeded. */
  readonly retryMs: number | null;
}

/** Starts a loop; its first run begins in a later turn of the event loop. */
export function startLoop(options: LoopOptions): Loop {
  const loop = new RunningLoop(options);
  loop.start();
  return loop;
}

class RunningLoop implements Loop {
  readonly #options: LoopOptions;
  readonly #stopping = new AbortController();
  #finished: Promise<void> = Promise.resolve();
  #woken = false;
  #failures = 0;
  #retryMs: number | null = null;
  /** When the run in progress last moved; null while there is none. */
  #movedMs: number | null = null;
  #lastSuccessMs: number | null = null;
  #endPause: () => void = nothing;
  #forget: () => void = nothing;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  get lastProgressMs(): number {
    return this.#movedMs ?? this.#options.clock.monotonic();
  }

  get lastSuccessMs(): number | null {
    return this.#lastSuccessMs;
  }

  get retryMs(): number | null {
    return this.#retryMs;
  }

  get failures(): number {
    return this.#failures;
  }

  start(): void {
    this.#forget = this.#options.loops?.add(this) ?? nothing;
    this.#finished = this.#repeat().finally(() => this.#forget());
  }

  wake(): void {
    this.#woken = true;
    if (this.#failures === 0) this.#endPause();
  }

  retryNow(): void {
    this.#failures = 0;
    this.wake();
  }

  stop(): Promise<void> {
    if (!this.#stopping.signal.aborted) {
      this.#stopping.abort(new Error(`the loop "${this.#options.name}" stops`));
      this.#endPause();
    }
    return this.#finished;
  }

  async #repeat(): Promise<void> {
    const { signal } = this.#stopping;
    let waitMs = this.#options.firstMs ?? 0;
    for (;;) {
      await this.#pause(waitMs);
      if (signal.aborted) return;
      this.#woken = false;
      waitMs = await this.#runOnce();
    }
  }

  /** Runs once and returns how long to wait before the next run. */
  async #runOnce(): Promise<number> {
    const { clock, everyMs = Number.POSITIVE_INFINITY, run } = this.#options;
    const { signal } = this.#stopping;
    const moved = () => {
      this.#movedMs = clock.monotonic();
    };
    moved();
    try {
      const answer = await run({ signal, progress: moved });
      const nextMs = answer?.nextMs ?? everyMs;
      assert(!Number.isNaN(nextMs), 'nextMs is not a number');
      this.#failures = 0;
      this.#retryMs = null;
      this.#lastSuccessMs = clock.monotonic();
      return nextMs;
    } catch (error) {
      return this.#failed(error);
    } finally {
      this.#movedMs = null;
    }
  }

  #failed(error: unknown): number {
    const { name, random, logger, backoffBaseMs, backoffCapMs } = this.#options;
    const { signal } = this.#stopping;
    if (signal.aborted && error === signal.reason) return 0;
    this.#failures += 1;
    const retryMs = retryDelayMs(this.#failures, error, {
      baseMs: backoffBaseMs,
      capMs: typeof backoffCapMs === 'number' ? backoffCapMs : backoffCapMs(),
      random,
    });
    this.#retryMs = this.#options.clock.monotonic() + retryMs;
    logger.warn({ loop: name, err: error, failures: this.#failures, retryMs }, 'loop failed');
    return retryMs;
  }

  /** Waits for `ms`, a wake or the stop, and in any case for a turn, so that a loop with much to do starves nobody. */
  async #pause(ms: number): Promise<void> {
    const { clock } = this.#options;
    await new Promise<void>((resolve) => clock.nextTurn(resolve));
    if (ms <= 0 || (this.#woken && this.#failures === 0) || this.#stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const cancel = ms === Number.POSITIVE_INFINITY ? nothing : clock.after(ms, resolve);
      this.#endPause = () => {
        cancel();
        resolve();
      };
    });
    this.#endPause = nothing;
  }
}

function nothing(): undefined {
  return undefined;
}
