/** All service records in memory, as of the last commit, and who was heard when: what beats and is-up answer from. */
import type { Clock } from '../base/clock.ts';
import type { Holder, IsUp, IsUpQuery, ServiceRecord, ServiceView } from '../domain/liveness.ts';
import { type Heard, Presence } from '../domain/presence.ts';

/** What is known of a host, for the records that its agent holds. */
export type HostOf = (
  name: string,
) => { readonly confirmed: boolean; readonly lastSeenMs: number | null } | undefined;

/** Every record of a store, each with when it was heard last. */
export interface Loaded {
  readonly records: ServiceRecord[];
  readonly lastSeenMs: (number | null)[];
}

export class LivenessMemory {
  readonly presence = new Presence<ServiceRecord>();
  readonly #clock: Clock;
  readonly #heldBy: Holder;
  readonly #hostOf: HostOf;
  readonly #uuidByPlace = new Places();

  constructor(options: { clock: Clock; heldBy: Holder; hostOf: HostOf }) {
    this.#clock = options.clock;
    this.#heldBy = options.heldBy;
    this.#hostOf = options.hostOf;
  }

  load({ records, lastSeenMs }: Loaded): void {
    this.presence.clear();
    this.#uuidByPlace.clear();
    for (const [index, record] of records.entries())
      this.presence.setLastSeen(this.remember(record), lastSeenMs[index] ?? null);
    this.ready();
  }

  /** Counts every ttl from now: nobody could be heard before. */
  ready(): void {
    this.presence.countAllFrom(this.#clock.monotonic());
  }

  /** Adds or replaces a record, whose place may have changed. */
  remember(record: ServiceRecord): number {
    const slot = this.presence.find(record.uuid);
    const before = slot === undefined ? undefined : this.presence.record(slot);
    if (before === undefined || !samePlace(before, record)) {
      if (before !== undefined) this.#uuidByPlace.delete(before);
      this.#uuidByPlace.set(record, record.uuid);
    }
    return this.presence.put(record.uuid, record, record.ttlMs);
  }

  forget(record: ServiceRecord): void {
    this.presence.remove(record.uuid);
    if (this.#uuidByPlace.get(record) === record.uuid) this.#uuidByPlace.delete(record);
  }

  /** Heard now, or at the instant that a whole batch shares. */
  touch(slot: number, heard: Heard = this.instant()): void {
    this.presence.touch(slot, heard);
  }

  instant(): Heard {
    return { atMs: this.#clock.monotonic(), wallMs: this.#clock.now() };
  }

  isUp(query: IsUpQuery, asOfMs: number): IsUp {
    const uuid = 'uuid' in query ? query.uuid : this.#uuidByPlace.get(query);
    const slot = uuid === undefined ? undefined : this.presence.find(uuid);
    if (slot === undefined) return { ...unknown, asOfMs };
    const record = this.presence.record(slot);
    return {
      up: record.status === 'UP',
      known: true,
      reason: record.reason,
      maintenance: record.maintenance,
      confirmed: this.#known(slot, record).confirmed,
      stale: false,
      asOfMs,
      ageMs: 0,
    };
  }

  view(slot: number): ServiceView {
    const record = this.presence.record(slot);
    return { ...record, ...this.#known(slot, record) };
  }

  /** Of a record that a transaction or a page has read. */
  viewOf(record: ServiceRecord): ServiceView {
    const slot = this.presence.find(record.uuid);
    return {
      ...record,
      ...(slot === undefined ? { confirmed: true, lastSeenMs: null } : this.#known(slot, record)),
    };
  }

  /** A record that somebody else counts is as confirmed, and was as lately heard, as its host. */
  #known(slot: number, record: ServiceRecord): { confirmed: boolean; lastSeenMs: number | null } {
    const host = record.heldBy === this.#heldBy ? undefined : this.#hostOf(record.host);
    if (host !== undefined) return { confirmed: host.confirmed, lastSeenMs: host.lastSeenMs };
    return { confirmed: this.presence.confirmed(slot), lastSeenMs: this.presence.lastSeenMs(slot) };
  }
}

export function samePlace(a: ServiceRecord, b: ServiceRecord): boolean {
  return a.type === b.type && a.host === b.host;
}

interface Place {
  readonly type: string;
  readonly host: string;
}

/** uuids by type and host: the records' own texts are the keys, none is made to look one up. */
class Places {
  readonly #byType = new Map<string, Map<string, string>>();

  get({ type, host }: Place): string | undefined {
    return this.#byType.get(type)?.get(host);
  }

  set({ type, host }: Place, uuid: string): void {
    const byHost = this.#byType.get(type);
    if (byHost === undefined) this.#byType.set(type, new Map([[host, uuid]]));
    else byHost.set(host, uuid);
  }

  delete({ type, host }: Place): void {
    const byHost = this.#byType.get(type);
    byHost?.delete(host);
    if (byHost?.size === 0) this.#byType.delete(type);
  }

  clear(): void {
    this.#byType.clear();
  }
}

const unknown = {
  up: false,
  known: false,
  reason: null,
  maintenance: null,
  confirmed: true,
  stale: false,
  ageMs: 0,
} as const;
