/** Trying again: how long to wait between attempts, and a call that does it. */
import type { Clock } from './clock.ts';
import { limits } from './limits.ts';
import type { Random } from './random.ts';

export interface BackoffOptions {
  /** The longest wait after the first failure; it doubles with each further one. */
  readonly baseMs: number;
  /** No wait is longer, whatever the attempt. */
  readonly capMs: number;
  readonly random: Random;
}

/**
 * Milliseconds to wait after failure number `attempt` (1, 2, …), an integer. Equal jitter (Brooker, "Exponential
 * Backoff And Jitter", AWS 2015): half of the doubling time is certain, so a failing peer gets rest; half is random,
 * so that many clients that failed together do not come back together.
 */
export function backoffMs(attempt: number, options: BackoffOptions): number {
  const ceilingMs = Math.min(options.capMs, options.baseMs * 2 ** (attempt - 1));
  return Math.round(ceilingMs / 2 + (ceilingMs / 2) * options.random.uniform());
}

/**
 * As `backoffMs`, but never before what the error asks for (`retryAfterMs`, as `AppError` has it): then the random
 * half comes on top, for all who were turned away at one moment were told the same. A wish beyond
 * `limits.retryAfterMs` is cut to it, so a wrong header cannot silence a host for years.
 */
export function retryDelayMs(attempt: number, error: unknown, options: BackoffOptions): number {
  const delayMs = backoffMs(attempt, options);
  const askedMs = retryAfterMsOf(error);
  return askedMs === undefined ? delayMs : Math.min(askedMs, limits.retryAfterMs) + Math.round(delayMs / 2);
}

export interface RetryOptions extends BackoffOptions {
  readonly clock: Clock;
  /** How many attempts in all; `Infinity` tries until aborted. */
  readonly attemptsMax: number;
  /** Whether this failure may pass by itself. */
  readonly shouldRetry: (error: unknown) => boolean;
  readonly signal?: AbortSignal;
}

/**
 * Calls `fn` until it succeeds. Throws what the last attempt threw when attempts are used up or `shouldRetry` says no,
 * and the signal's reason when aborted, before an attempt or while waiting. Never overlaps two attempts.
 */
export async function retry<T>(fn: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, attemptsMax, shouldRetry, signal } = options;
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await fn(attempt);
    } catch (error) {
      signal?.throwIfAborted();
      if (attempt >= attemptsMax || !shouldRetry(error)) throw error;
      await clock.sleep(retryDelayMs(attempt, error, options), signal === undefined ? {} : { signal });
    }
  }
}

/** By shape, not by class: `base` knows no product word, and errors of other libraries may carry it too. */
function retryAfterMsOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('retryAfterMs' in error)) return undefined;
  const { retryAfterMs } = error;
  return typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? retryAfterMs : undefined;
}
