/** Calls that are not waited for longer than makes sense: by a clock that tests can move, or until a stop. */
import type { Clock } from '../base/clock.ts';
import { LinkError } from '../client/link.ts';

/**
 * What `work` gives, or `LinkError` (`timed-out`) when it takes longer than `ms`; what it does then is no longer of interest.
 * `what` completes the sentence "Cannot reach the registry: … took longer than 2 s".
 */
export async function within<T>(clock: Clock, ms: number, what: string, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const cancel = clock.after(ms, () =>
    late.reject(
      new LinkError('timed-out', `Cannot reach the registry: ${what} took longer than ${ms / 1_000} s`),
    ),
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    cancel();
  }
}

/** What `work` gives, or the signal's reason as soon as it is aborted: a stop does not wait for others. */
export async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([aborted.promise, work]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
