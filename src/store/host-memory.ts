/** All hosts in memory: their records as of the last commit, who was heard when, and what a beat answers from. */
import type { Clock } from '../base/clock.ts';
import type { Seen } from '../domain/age.ts';
import { type HostSessions, noSessions } from '../domain/clone.ts';
import type { Mark } from '../domain/event.ts';
import type { Flapping } from '../domain/guards.ts';
import {
  beatIntervalMs,
  type HostRecord,
  type HostView,
  hostDeadlineMs,
  hostNotFound,
} from '../domain/host.ts';
import { normaliseHostName, parseUuid } from '../domain/ids.ts';
import type { Status } from '../domain/liveness.ts';
import { Presence } from '../domain/presence.ts';
import type { HostRow } from './engine/query.ts';
import { recordOf } from './host-sql.ts';
import type { NumberedHost } from './inventory-history.ts';

/** What is kept of a host beside its record; one small object each. */
export interface HostFacts {
  /** What tables with many rows call it. */
  readonly no: number;
  /** The interval that it was last told to beat at. */
  intervalToldMs: number;
  inventoryHash: string | null;
  /** When its components changed last; null while it has told none. */
  inventoryAtMs: number | null;
  checkIns: number;
  /** Its record is so since then. */
  changedAtMs: number;
  /** When it was last seen before it went DOWN; null while it is UP. */
  goneSeenMs: number | null;
  /** The end of our log as the last answer told it: what the next beat says it has seen, and then needs no look-up. */
  toldMark: Mark | null;
  /** The furthest seen of the agent's own log, of what it was told: it knows that we have seen this. */
  agentMark: Mark | null;
  /** The furthest of the last beats; becomes `agentMark` when the agent has acted on the answer. */
  heardMark: Mark | null;
  /** The last report of the agent's outbox that is in effect. */
  acked: { readonly epoch: number; readonly seq: number } | null;
  /** Who beats as this host. */
  sessions: HostSessions;
  /** Of the join. */
  readonly machineId: string;
  /** Counts the changes of what its target says of it. */
  targetSerial: number;
  /** What it proves itself with; null when it joined without. */
  publicKey: string | null;
  flapping: Flapping | undefined;
  /** The status that the last event told. */
  toldStatus: Status;
}

export interface HostCapacity {
  /** Beats a second that the registry can carry; above it the interval is stretched. */
  readonly beatsPerSecondMax: number;
  /** How fast hosts may come back after an outage, as connections a second. */
  readonly returnsPerSecondMax: number;
}

const spreadMinMs = 5_000;

export class HostMemory {
  readonly presence = new Presence<HostRecord>();
  readonly #clock: Clock;
  readonly #capacity: HostCapacity;
  readonly #facts = new Map<string, HostFacts>();
  readonly #idByName = new Map<string, string>();
  readonly #idByNo = new Map<number, string>();
  /** All names in order, while it is known. */
  #names: string[] | null = null;
  #trusted = true;

  constructor(clock: Clock, capacity: HostCapacity) {
    this.#clock = clock;
    this.#capacity = capacity;
  }

  load(rows: readonly HostRow[]): void {
    this.presence.clear();
    this.#facts.clear();
    this.#idByName.clear();
    this.#idByNo.clear();
    this.#names = null;
    for (const row of rows) this.add(row);
    this.ready();
  }

  /** Every host keeps its status, unconfirmed, for one deadline and the spread from now. */
  ready(): void {
    const atMs = this.#clock.monotonic();
    for (const slot of this.presence.slots()) {
      const { intervalToldMs } = this.facts(this.presence.record(slot).id);
      this.presence.rebase(slot, atMs, hostDeadlineMs(intervalToldMs) + this.spreadMs());
    }
  }

  add(row: HostRow): number {
    const slot = this.remember(recordOf(row));
    this.presence.setLastSeen(slot, row.last_seen_ms);
    this.presence.setAllowed(slot, hostDeadlineMs(row.interval_told_ms));
    this.#facts.set(row.id, factsOf(row));
    this.#idByNo.set(row.no, row.id);
    return slot;
  }

  /** All names after this one, in order; each list of selected hosts begins here. */
  *namesAfter(after: string): Generator<string> {
    this.#names ??= [...this.#idByName.keys()].sort();
    const names = this.#names;
    let [low, high] = [0, names.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((names[middle] ?? '') <= after) low = middle + 1;
      else high = middle;
    }
    for (let at = low; at < names.length; at += 1) yield names[at] ?? '';
  }

  /** The host of this name as of the last commit. Never by its id: a record may be on a "host" that is called so. */
  named(name: string): HostRecord | undefined {
    const id = this.#idByName.get(name);
    const slot = id === undefined ? undefined : this.presence.find(id);
    return slot === undefined ? undefined : this.presence.record(slot);
  }

  /** The host of this number as of the last commit. */
  numbered(no: number): HostRecord | undefined {
    const id = this.#idByNo.get(no);
    const slot = id === undefined ? undefined : this.presence.find(id);
    return slot === undefined ? undefined : this.presence.record(slot);
  }

  /** The hosts whose components have changed after a moment, by their numbers. */
  changedSince(fromMs: number): NumberedHost[] {
    const changed: NumberedHost[] = [];
    for (const [id, { no, inventoryAtMs }] of this.#facts) {
      if (inventoryAtMs === null || inventoryAtMs <= fromMs) continue;
      const slot = this.presence.find(id);
      if (slot !== undefined) changed.push({ no, id, name: this.presence.record(slot).name });
    }
    return changed.sort((a, b) => a.no - b.no);
  }

  /** Replaces the record of a host, whose name may have changed. */
  remember(record: HostRecord): number {
    const slot = this.presence.find(record.id);
    const before = slot === undefined ? undefined : this.presence.record(slot);
    // Another host may have taken the name in the same commit.
    if (before !== undefined && this.#idByName.get(before.name) === record.id)
      this.#idByName.delete(before.name);
    if (before?.name !== record.name) this.#names = null;
    this.#idByName.set(record.name, record.id);
    return this.presence.put(record.id, record, null);
  }

  forget({ id, name }: HostRecord): void {
    this.presence.remove(id);
    const no = this.#facts.get(id)?.no;
    if (no !== undefined) this.#idByNo.delete(no);
    this.#facts.delete(id);
    this.#names = null;
    if (this.#idByName.get(name) === id) this.#idByName.delete(name);
  }

  /** An id goes before a name, so that no name can hide a host. */
  find(idOrName: string): number | undefined {
    const id = parseUuid(idOrName);
    const byId = id === undefined ? undefined : this.presence.find(id);
    if (byId !== undefined) return byId;
    const named = this.#idByName.get(normaliseHostName(idOrName));
    return named === undefined ? undefined : this.presence.find(named);
  }

  /** The slot of an id, and of nothing but an id; throws `not-found`. */
  slotOfId(text: string): number {
    const id = parseUuid(text);
    const slot = id === undefined ? undefined : this.presence.find(id);
    if (slot === undefined) throw hostNotFound(text);
    return slot;
  }

  /** As `find`; throws `not-found`. */
  slotOf(idOrName: string): number {
    const slot = this.find(idOrName);
    if (slot === undefined) throw hostNotFound(idOrName);
    return slot;
  }

  facts(id: string): HostFacts {
    const facts = this.#facts.get(id);
    if (facts === undefined) throw hostNotFound(id);
    return facts;
  }

  all(): Iterable<[id: string, facts: HostFacts]> {
    return this.#facts;
  }

  view(slot: number): HostView {
    const record = this.presence.record(slot);
    const overdue = record.status === 'UP' && !this.#inTime(slot);
    const confirmed = this.presence.confirmed(slot) && (this.#trusted || !overdue);
    return { ...record, confirmed, lastSeenMs: this.presence.lastSeenMs(slot), ...this.#beside(record.id) };
  }

  /** When a host was first and last seen, as far as is known now. */
  seen({ id, firstSeenMs }: HostRecord): Seen {
    const slot = this.presence.find(id);
    return { firstSeenMs, lastSeenMs: slot === undefined ? null : this.presence.lastSeenMs(slot) };
  }

  /** Of a change of the record: it is so since `atMs`. */
  changed(record: HostRecord, atMs: number): number {
    this.facts(record.id).changedAtMs = atMs;
    return this.remember(record);
  }

  #beside(id: string): Pick<HostView, 'checkIns' | 'lastCheckInMs' | 'conflict'> {
    const { checkIns, inventoryAtMs } = this.facts(id);
    return { checkIns, lastCheckInMs: inventoryAtMs, conflict: this.conflictOf(id) };
  }

  /** Whether more than one machine claims to be this host. */
  conflictOf(id: string): HostView['conflict'] {
    const clone = this.#facts.get(id)?.sessions.clone ?? null;
    return clone === null ? null : 'clone';
  }

  /** A beat counts: tells the interval from now on, and counts the deadline from it. */
  heard(slot: number): void {
    const facts = this.facts(this.presence.record(slot).id);
    facts.intervalToldMs = this.intervalMs();
    this.presence.setAllowed(slot, hostDeadlineMs(facts.intervalToldMs));
    this.presence.touch(slot, { atMs: this.#clock.monotonic(), wallMs: this.#clock.now() });
  }

  /** Whether an agent beats for this host now: it has since this process started, and is not overdue. */
  isBeating(id: string): boolean {
    const slot = this.presence.find(id);
    if (slot === undefined || this.facts(id).sessions.current === null) return false;
    return this.presence.record(slot).status === 'UP' && this.#inTime(slot);
  }

  intervalMs(): number {
    return beatIntervalMs(this.presence.size, this.#capacity.beatsPerSecondMax);
  }

  /** Within which time all hosts come back after an outage, so that it is no stampede. */
  spreadMs(): number {
    const returningMs = Math.ceil((this.presence.size / this.#capacity.returnsPerSecondMax) * 1_000);
    return Math.max(spreadMinMs, returningMs);
  }

  /** While the registry suspects itself, answers about silent hosts are unconfirmed. */
  setTrusted(trusted: boolean): void {
    this.#trusted = trusted;
  }

  /** Gives every UP host that is past its deadline a whole one from now. */
  rebaseSilent(): void {
    const atMs = this.#clock.monotonic();
    for (const slot of this.presence.slots()) {
      if (this.#inTime(slot) || this.presence.record(slot).status === 'DOWN') continue;
      const { intervalToldMs } = this.facts(this.presence.record(slot).id);
      this.presence.rebase(slot, atMs, hostDeadlineMs(intervalToldMs));
    }
  }

  #inTime(slot: number): boolean {
    return this.presence.deadlineMs(slot) > this.#clock.monotonic();
  }
}

function factsOf(row: HostRow): HostFacts {
  const { agent_epoch: epoch, agent_revision: revision, agent_hash: hash } = row;
  const { outbox_epoch: outboxEpoch, outbox_seq: seq } = row;
  return {
    no: row.no,
    intervalToldMs: row.interval_told_ms,
    inventoryHash: row.inventory_hash,
    inventoryAtMs: row.inventory_at_ms,
    checkIns: row.checkins,
    changedAtMs: row.changed_at_ms,
    goneSeenMs: row.gone_seen_ms,
    toldMark: null,
    agentMark: epoch === null || revision === null || hash === null ? null : { epoch, revision, hash },
    heardMark: null,
    acked: outboxEpoch === null || seq === null ? null : { epoch: outboxEpoch, seq },
    sessions: noSessions,
    machineId: row.machine_id,
    targetSerial: row.target_serial,
    publicKey: row.public_key,
    flapping: undefined,
    toldStatus: row.status,
  };
}
