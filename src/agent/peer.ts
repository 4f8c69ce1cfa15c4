/** The registry over the wire, as a session calls it. */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { createClient } from '../client/client.ts';
import type { ProxySettings } from '../client/proxy.ts';
import { targetRequests } from '../client/target.ts';
import type { TlsTrust } from '../client/tls.ts';
import { trustRequests } from '../client/trust.ts';
import type { DoctorService, HostService, LivenessService } from '../domain/services.ts';
import { signatureHeader, type Trust } from '../domain/trust.ts';
import { checkInTimeoutMs } from './checkin.ts';
import { reportTimeoutMs } from './outbox.ts';

/** Where the registry is, and what makes both sides believe each other. */
export interface RegistryAddress {
  readonly url: string;
  /** Absent where nothing secret is said or asked. */
  readonly token?: string;
  /** Absent: the roots of this machine vouch for it. */
  readonly tls?: TlsTrust | undefined;
}

/** What a host calls for itself. */
export type HostCalls = Pick<HostService, 'join' | 'renew' | 'beat' | 'checkIn' | 'report'>;

/** The registry as this host calls it, with one credential. */
export interface RegistryPeer {
  readonly hosts: HostCalls;
  readonly liveness: LivenessService;
  /** What this host sends when it is ill. */
  readonly doctor: Pick<DoctorService, 'file'>;
  trust(): Promise<Trust>;
  /** What the host shall hold, as it was signed; `signature` is null when the answer had none. */
  target(hostId: string): Promise<{ readonly body: string; readonly signature: string | null }>;
  close(): Promise<void>;
}

export type Connect = (to: RegistryAddress) => RegistryPeer;

/**
 * Opens nothing yet. Calls are attempted once: the loops that make them know better what to send next. A check-in and
 * a batch of reports may take as long as their loops wait for them, which is longer than a client does by itself.
 */
export function connectRegistry(
  options: RegistryAddress & { proxy?: ProxySettings; clock: Clock; random: Random },
): RegistryPeer {
  const { url, tls, ...rest } = options;
  const client = createClient({
    ...rest,
    ...(tls === undefined ? {} : { tls }),
    target: { url },
    attemptsMax: 1,
  });
  const { checkIn } = client.with({ timeoutMs: checkInTimeoutMs }).hosts;
  const { report } = client.with({ timeoutMs: reportTimeoutMs }).hosts;
  return {
    hosts: { ...client.hosts, checkIn, report },
    liveness: client.liveness,
    doctor: client.doctor,
    trust: async () => (await client.call(trustRequests.get())).document,
    target: async (hostId) => {
      const { text, headers } = await client.call(targetRequests.get(hostId));
      return { body: text, signature: headers[signatureHeader.toLowerCase()] ?? null };
    },
    close: () => client.close(),
  };
}
