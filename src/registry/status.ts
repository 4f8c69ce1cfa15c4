/** What the registry says of itself: `GET /v1/status`, `/healthz`, and its numbers at `/metrics`. */
import type { Clock } from '../base/clock.ts';
import type { Loop } from '../base/loop.ts';
import { formatPosition } from '../domain/event.ts';
import type { Sample } from '../http/metrics.ts';
import type { Health } from '../http/operation.ts';
import type { OpenStore } from '../store/engine/core.ts';
import type { HostStore } from '../store/host.ts';
import type { LivenessStore } from '../store/liveness.ts';
import type { Lead } from './lead.ts';
import type { Notifier } from './notify/notifier.ts';
import type { Sweep } from './sweep.ts';
import type { RegistryTrust } from './trust.ts';

export interface RegistryParts {
  readonly store: OpenStore;
  readonly trust: RegistryTrust;
  readonly lead: Lead;
  readonly hosts: HostStore;
  readonly liveness: LivenessStore;
  readonly sweep: Sweep;
  readonly sweeping: Loop;
  readonly notifier: Notifier;
  readonly clock: Clock;
}

/** A sweep that has not moved for this long is stuck: lapses are not written. */
const sweepStuckMs = 10_000;

export function registryStatus(
  { store, trust, hosts, liveness, sweep }: RegistryParts,
  facts: { readonly version: string; readonly dataDir: string },
): object {
  return {
    role: 'registry',
    version: facts.version,
    dataDir: facts.dataDir,
    hosts: hosts.counts(),
    services: liveness.counts(),
    suspicion: sweep.suspicion.kind,
    trust: trust.status(),
    store: {
      dialect: store.dialect,
      leader: store.leader(),
      position: formatPosition(store.log.head()),
      ...store.health(),
    },
  };
}

export function registryChecks({ store, trust, lead, sweep, sweeping, clock }: RegistryParts): Health {
  const { state, detail } = store.health();
  const stuckMs = clock.monotonic() - sweeping.lastProgressMs;
  return {
    ready: lead.serving && state !== 'failed',
    checks: {
      store:
        state === 'ok'
          ? { status: 'ok' }
          : { status: state === 'failed' ? 'failed' : 'degraded', detail: detail ?? state },
      tls: trust.check(),
      sweep:
        stuckMs < sweepStuckMs && sweeping.failures === 0
          ? { status: 'ok' }
          : {
              status: 'degraded',
              detail: `failures in a row: ${sweeping.failures}, standing still for ${Math.round(stuckMs)} ms`,
            },
      hosts:
        sweep.suspicion.kind === 'frozen'
          ? {
              status: 'degraded',
              detail: 'half of the hosts are silent at once: nobody is told DOWN for at most 5 minutes',
            }
          : { status: 'ok' },
    },
  };
}

export function registrySamples({ hosts, liveness, trust, notifier }: RegistryParts): Sample[] {
  const hostCount = hosts.counts();
  const serviceCount = liveness.counts();
  const endsAtMs = trust.certificate?.endsAtMs();
  return [
    { name: 'holdfast_hosts_up', help: 'Hosts whose status is UP', type: 'gauge', value: hostCount.up },
    { name: 'holdfast_hosts_down', help: 'Hosts whose status is DOWN', type: 'gauge', value: hostCount.down },
    {
      name: 'holdfast_services_up',
      help: 'Service records whose status is UP',
      type: 'gauge',
      value: serviceCount.up,
    },
    {
      name: 'holdfast_services_down',
      help: 'Service records whose status is DOWN',
      type: 'gauge',
      value: serviceCount.down,
    },
    ...notifier.samples(),
    ...(endsAtMs === undefined
      ? []
      : [
          {
            name: 'holdfast_certificate_end_seconds',
            help: 'When the certificate of the registry ends, in seconds since 1970',
            type: 'gauge' as const,
            value: endsAtMs / 1_000,
          },
        ]),
  ];
}
