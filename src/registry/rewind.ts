/** A host has seen more of the registry's log than there is: the store was put back, and begins a new life. */
import type { Logger } from '../base/log.ts';
import { systemCaller } from '../domain/access.ts';
import { formatPosition, isAhead, type Mark } from '../domain/event.ts';
import type { Store } from '../store/port.ts';

/**
 * What to call with what a host has seen. Many hosts notice the same rewind at once; one new epoch answers them all,
 * and hosts resend what they hold when they meet it. A host's word is believed: it can cost the fleet one round of
 * resending, never data.
 */
export function rewindOnce({ store, logger }: { store: Store; logger: Logger }): (seen: Mark) => void {
  let beginning = false;
  return (seen) => {
    if (beginning) return;
    beginning = true;
    const head = store.log.head();
    logger.error(
      { seen: formatPosition(seen), head: formatPosition(head) },
      'a host has seen what is not in this store: it was put back to an earlier state, beginning a new life',
    );
    const reason = isAhead(seen, head)
      ? 'a host has seen a later revision'
      : 'a host has seen another revision';
    store
      .beginEpoch(systemCaller, { atLeast: seen.epoch + 1, reason })
      .catch((err: unknown) => logger.error({ err }, 'could not begin a new life of the store'))
      .finally(() => {
        beginning = false;
      });
  };
}
