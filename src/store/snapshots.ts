/** What a watcher gets before the events: the service records and hosts that it selects, as of the last commit. */
import type { Clock } from '../base/clock.ts';
import type { Position, Selection } from '../domain/event.ts';
import { type HostView, hostDocument } from '../domain/host.ts';
import { type ServiceView, serviceDocument } from '../domain/liveness.ts';
import { matches, parseSelector } from '../domain/selector.ts';
import type { SnapshotItem, SnapshotSource } from '../domain/services.ts';
import type { HostStore } from './host.ts';
import type { LivenessStore } from './liveness.ts';
import type { Store } from './port.ts';

export interface SnapshotsOptions {
  store: Store;
  clock: Clock;
  liveness: LivenessStore;
  /** A registry's; an agent has records only. */
  hosts?: HostStore;
}

/**
 * Memory changes in the turn of a commit and its records are immutable, so the arrays taken here are one consistent
 * view however slowly they are read; only references are held. Documents are made while they are read.
 */
export class Snapshots implements SnapshotSource {
  readonly #options: SnapshotsOptions;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  snapshot(selection: Selection): { position: Position; items: Iterable<SnapshotItem> } {
    const { store, clock, liveness, hosts } = this.#options;
    const { epoch, revision } = store.log.head();
    const now = clock.now();
    const services = wanted(selection, 'service') ? liveness.views() : [];
    // Who selects service records gets no hosts, and nothing here belongs to an app.
    const hostViews =
      wanted(selection, 'host') && selection.services === undefined ? (hosts?.views() ?? []) : [];
    const onHost = hostTest(selection, hosts);
    return {
      position: { epoch, revision },
      items: documents(selection, { services, hostViews, onHost, now }),
    };
  }
}

function* documents(
  selection: Selection,
  taken: { services: ServiceView[]; hostViews: HostView[]; onHost: (name: string) => boolean; now: number },
): Generator<SnapshotItem> {
  for (const view of taken.hostViews) {
    if (taken.onHost(view.name)) yield { kind: 'host', body: hostDocument(view) };
  }
  for (const view of taken.services) {
    if (selects(selection.services, view) && taken.onHost(view.host)) {
      yield { kind: 'service', body: serviceDocument(view, taken.now) };
    }
  }
}

function wanted(selection: Selection, kind: SnapshotItem['kind']): boolean {
  if (selection.apps !== undefined) return false;
  return selection.types === undefined || selection.types.some((type) => type.startsWith(`${kind}.`));
}

function selects(services: Selection['services'], view: ServiceView): boolean {
  const oneOf = (values: readonly string[] | undefined, value: string | null) =>
    values === undefined || (value !== null && values.includes(value));
  return (
    services === undefined ||
    (oneOf(services.uuid, view.uuid) &&
      oneOf(services.type, view.type) &&
      oneOf(services.host, view.host) &&
      oneOf(services.region, view.region))
  );
}

/** Whether a host, by its name, is selected. A host that never joined has a name and nothing else. */
function hostTest(selection: Selection, hosts: HostStore | undefined): (name: string) => boolean {
  if (selection.hosts === undefined) return () => true;
  const selector = parseSelector(selection.hosts, 'hosts');
  return (name) => {
    const host = hosts?.find(name);
    const automatic = {
      name,
      ...(host === undefined ? {} : { id: host.id }),
      ...(host?.region == null ? {} : { region: host.region }),
    };
    return matches(selector, { labels: host?.labels ?? {}, automatic, self: host?.self ?? {} });
  };
}
