/** What a watcher gets before the events: the service records and hosts that it selects, as of the last commit. */
import type { Clock } from '../base/clock.ts';
import type { Position, Selection } from '../domain/event.ts';
import { type HostRecord, hostDocument, selectableHost } from '../domain/host.ts';
import { recordTest, type ServiceRecord, serviceDocument } from '../domain/liveness.ts';
import { matches, parseSelector } from '../domain/selector.ts';
import type { SnapshotItem, SnapshotSource } from '../domain/services.ts';
import type { Store } from './engine/port.ts';
import type { HostStore } from './host.ts';
import type { LivenessStore } from './liveness.ts';

export interface SnapshotsOptions {
  store: Store;
  clock: Clock;
  liveness: LivenessStore;
  /** A registry's; an agent has records only. */
  hosts?: HostStore;
}

/**
 * Memory changes in the turn of a commit and its records are immutable, so the arrays taken here are one consistent
 * state however slowly they are read; only references are held, 8 bytes a record. Documents are made while they are
 * read, with who was heard when as it is then.
 */
export class Snapshots implements SnapshotSource {
  readonly #options: SnapshotsOptions;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  snapshot(selection: Selection): { position: Position; items: Iterable<SnapshotItem> } {
    const { store, clock, liveness, hosts } = this.#options;
    const { epoch, revision } = store.log.head();
    const services = wanted(selection, 'service') ? liveness.records() : [];
    // Who selects service records gets no hosts, and nothing here belongs to an app.
    const hostsToo = wanted(selection, 'host') && selection.services === undefined && hosts !== undefined;
    const hostItems = hostsToo ? this.#hostItems(selection, hosts, hosts.records()) : [];
    const serviceItems = this.#serviceItems(selection, services, clock.now());
    return { position: { epoch, revision }, items: concatenated(hostItems, serviceItems) };
  }

  *#hostItems(
    selection: Selection,
    hosts: HostStore,
    records: readonly HostRecord[],
  ): Generator<SnapshotItem> {
    const onHost = hostTest(selection, hosts);
    for (const record of records) {
      if (onHost(record.name)) yield { kind: 'host', body: hostDocument(hosts.viewOf(record)) };
    }
  }

  *#serviceItems(
    selection: Selection,
    records: readonly ServiceRecord[],
    now: number,
  ): Generator<SnapshotItem> {
    const { liveness, hosts } = this.#options;
    const onHost = hostTest(selection, hosts);
    const isSelected = recordTest(selection.services ?? {});
    for (const record of records) {
      if (!isSelected(record) || !onHost(record.host)) continue;
      yield { kind: 'service', body: serviceDocument(liveness.viewOf(record), now) };
    }
  }
}

function* concatenated(...parts: Iterable<SnapshotItem>[]): Generator<SnapshotItem> {
  for (const part of parts) yield* part;
}

function wanted(selection: Selection, kind: SnapshotItem['kind']): boolean {
  if (selection.apps !== undefined) return false;
  return selection.types === undefined || selection.types.some((type) => type.startsWith(`${kind}.`));
}

/** Whether a host, by its name, is selected. A host that never joined has a name and nothing else. */
function hostTest(selection: Selection, hosts: HostStore | undefined): (name: string) => boolean {
  if (selection.hosts === undefined) return () => true;
  const selector = parseSelector(selection.hosts, 'hosts');
  return (name) => matches(selector, selectableHost(name, hosts?.find(name)));
}
