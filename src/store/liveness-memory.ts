/** All service records in memory, as of the last commit, and who was heard when: what beats and is-up answer from. */
import type { Clock } from '../base/clock.ts';
import type { Holder, IsUp, IsUpQuery, ServiceRecord, ServiceView } from '../domain/liveness.ts';
import { type Heard, Presence } from '../domain/presence.ts';
import type { ServiceRow } from './engine/query.ts';
import { recordOf } from './liveness-sql.ts';

/** What is known of a host, for the records that its agent holds. */
export type HostOf = (
  name: string,
) => { readonly confirmed: boolean; readonly lastSeenMs: number | null } | undefined;

export class LivenessMemory {
  readonly presence = new Presence<ServiceRecord>();
  readonly #clock: Clock;
  readonly #heldBy: Holder;
  readonly #hostOf: HostOf;
  /** `type\0host` → uuid. */
  readonly #uuidByPlace = new Map<string, string>();

  constructor(options: { clock: Clock; heldBy: Holder; hostOf: HostOf }) {
    this.#clock = options.clock;
    this.#heldBy = options.heldBy;
    this.#hostOf = options.hostOf;
  }

  load(rows: readonly ServiceRow[]): void {
    this.presence.clear();
    this.#uuidByPlace.clear();
    for (const row of rows) this.presence.setLastSeen(this.remember(recordOf(row)), row.last_seen_ms);
    this.ready();
  }

  /** Counts every ttl from now: nobody could be heard before. */
  ready(): void {
    const atMs = this.#clock.monotonic();
    for (const slot of this.presence.slots())
      this.presence.rebase(slot, atMs, this.presence.record(slot).ttlMs);
  }

  /** Adds or replaces a record, whose place may have changed. */
  remember(record: ServiceRecord): number {
    const slot = this.presence.find(record.uuid);
    const before = slot === undefined ? undefined : this.presence.record(slot);
    if (before === undefined || !samePlace(before, record)) {
      if (before !== undefined) this.#uuidByPlace.delete(place(before));
      this.#uuidByPlace.set(place(record), record.uuid);
    }
    return this.presence.put(record.uuid, record, record.ttlMs);
  }

  forget(record: ServiceRecord): void {
    this.presence.remove(record.uuid);
    if (this.#uuidByPlace.get(place(record)) === record.uuid) this.#uuidByPlace.delete(place(record));
  }

  /** Heard now, or at the instant that a whole batch shares. */
  touch(slot: number, heard: Heard = this.instant()): void {
    this.presence.touch(slot, heard);
  }

  instant(): Heard {
    return { atMs: this.#clock.monotonic(), wallMs: this.#clock.now() };
  }

  isUp(query: IsUpQuery, asOfMs: number): IsUp {
    const uuid = 'uuid' in query ? query.uuid : this.#uuidByPlace.get(place(query));
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

function place(at: { type: string; host: string }): string {
  return `${at.type}\0${at.host}`;
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
