/** A call that must answer in time, by a clock that tests can move. */
import type { Clock } from '../base/clock.ts';
import { AppError } from '../domain/error.ts';

/**
 * What `work` gives, or `unavailable` when it takes longer than `ms`; what it does then is no longer of interest.
 * `what` completes the sentence "Cannot reach the registry: … took longer than 2 s".
 */
export async function within<T>(clock: Clock, ms: number, what: string, work: Promise<T>): Promise<T> {
  let cancel = () => {};
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(ms, () =>
      reject(new AppError('unavailable', `Cannot reach the registry: ${what} took longer than ${ms / 1_000} s`)),
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}
