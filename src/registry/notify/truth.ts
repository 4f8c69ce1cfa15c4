/** How things are now, as what tells sinks asks for it. */
import type { Clock } from '../../base/clock.ts';
import { maintenanceActive } from '../../domain/liveness.ts';
import type { HostStore } from '../../store/host.ts';
import type { LivenessStore } from '../../store/liveness.ts';
import type { Truth } from './lane.ts';

/** By the subjects of notify-words.ts: `host <id>`, `service <uuid>`, `region <name>`. */
export function truthOf(options: {
  readonly hosts: HostStore;
  readonly liveness: LivenessStore;
  readonly clock: Clock;
  readonly isRegionLost: (name: string) => boolean;
}): Truth {
  const { hosts, liveness, clock, isRegionLost } = options;
  return {
    statusOf(subject) {
      const [kind, name] = split(subject);
      if (kind === 'region') return isRegionLost(name) ? 'DOWN' : 'UP';
      if (kind === 'service') return liveness.find(name)?.status ?? 'gone';
      if (kind === 'host') return hosts.find(name)?.status ?? 'gone';
      return null;
    },
    maintenanceEndMs(subject) {
      const [kind, name] = split(subject);
      const maintenance = kind === 'service' ? liveness.find(name)?.maintenance : undefined;
      if (maintenance == null || !maintenanceActive(maintenance, clock.now())) return null;
      return maintenance.endMs ?? Number.POSITIVE_INFINITY;
    },
    regionOfHost: (name) => hosts.find(name)?.region ?? null,
  };
}

function split(subject: string): [kind: string, name: string] {
  const end = subject.indexOf(' ');
  return end === -1 ? [subject, ''] : [subject.slice(0, end), subject.slice(end + 1)];
}
