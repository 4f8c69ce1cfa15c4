/** Waiting for a package manager at work: while it is, its database is written again and again, and half of it is true. */
import type { Clock } from '../../base/clock.ts';

const settleMs = 3_000;
const settleMaxMs = 15_000;

/** Resolves once `read` answers the same twice, 3 s apart, at the latest after 15 s. `first` is what it answered last. */
export async function settled(
  first: string,
  read: () => Promise<string | null>,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  let before: string | null = first;
  for (let waitedMs = 0; waitedMs < settleMaxMs; waitedMs += settleMs) {
    await clock.sleep(settleMs, { signal });
    const now = await read();
    if (now === before) return;
    before = now;
  }
}
