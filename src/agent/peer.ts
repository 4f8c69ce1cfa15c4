/** The registry over the wire, as a session calls it. */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { createClient } from '../client/client.ts';
import { checkInTimeoutMs } from './checkin.ts';
import { reportTimeoutMs } from './outbox.ts';
import type { RegistryPeer } from './session.ts';

/**
 * Opens nothing yet. Calls are attempted once: the loops that make them know better what to send next. A check-in and
 * a batch of reports may take as long as their loops wait for them, which is longer than a client does by itself.
 */
export function connectRegistry(options: {
  url: string;
  token: string;
  clock: Clock;
  random: Random;
}): RegistryPeer {
  const { url, ...rest } = options;
  const client = createClient({ ...rest, target: { url }, attemptsMax: 1 });
  const { checkIn } = client.with({ timeoutMs: checkInTimeoutMs }).hosts;
  const { report } = client.with({ timeoutMs: reportTimeoutMs }).hosts;
  return {
    hosts: { ...client.hosts, checkIn, report },
    liveness: client.liveness,
    close: () => client.close(),
  };
}
