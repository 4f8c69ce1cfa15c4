/** A host has seen what is not in the registry's log: the store was put back, and begins a new life. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { systemCaller } from '../domain/access.ts';
import { formatPosition, isAhead, type Mark } from '../domain/event.ts';
import type { Store } from '../store/engine/port.ts';

/** A new life makes every host resend and every watcher begin anew: no more than this, whoever asks for it. */
const rewindEveryMs = 60_000;
/** A host that notices two in less than this is not believed the second time. */
const rewindEveryOfHostMs = 3_600_000;

/**
 * What to call with what a host has seen. Many hosts notice the same rewind at once, and one new epoch answers them
 * all. A host's word is believed, but not often: one that lies costs the fleet a round of resending an hour, never data.
 */
export function rewinder(options: {
  store: Store;
  clock: Clock;
  logger: Logger;
}): (seen: Mark, hostId: string) => void {
  const { store, clock, logger } = options;
  const believedAtMs = new Map<string, number>();
  let beganAtMs = Number.NEGATIVE_INFINITY;
  return (seen, hostId) => {
    const nowMs = clock.monotonic();
    if (nowMs - beganAtMs < rewindEveryMs) return;
    if (nowMs - (believedAtMs.get(hostId) ?? Number.NEGATIVE_INFINITY) < rewindEveryOfHostMs) return;
    beganAtMs = nowMs;
    believedAtMs.set(hostId, nowMs);
    const head = store.log.head();
    logger.error(
      { seen: formatPosition(seen), head: formatPosition(head), hostId },
      'a host has seen what is not in this store: it was put back to an earlier state, beginning a new life',
    );
    const reason = isAhead(seen, head)
      ? 'a host has seen a later revision'
      : 'a host has seen another revision';
    store.beginEpoch(systemCaller, { atLeast: seen.epoch + 1, reason }).catch((err: unknown) => {
      beganAtMs = Number.NEGATIVE_INFINITY;
      believedAtMs.delete(hostId);
      logger.error({ err }, 'could not begin a new life of the store');
    });
  };
}
