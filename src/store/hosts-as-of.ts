/**
 * All hosts as they were at a moment: those in memory that have not changed since, and of the others what replaced rows
 * say. What was so at a past moment stays so, whatever comes later; that makes it worth keeping for the next page.
 */
import type { Clock } from '../base/clock.ts';
import type { Seen } from '../domain/age.ts';
import type { HostRecord, HostView } from '../domain/host.ts';
import { normaliseHostName, parseUuid } from '../domain/ids.ts';
import type { Labels } from '../domain/labels.ts';
import type { Session, Store } from './engine/port.ts';
import type { PastHostRow } from './engine/query.ts';
import type { HostMemory } from './host-memory.ts';
import { hostPastStatements, pastRecordOf } from './host-past-sql.ts';

/** One host at a moment. */
export interface HostThen extends Seen {
  readonly no: number;
  readonly record: HostRecord;
}

export interface HostsThen {
  readonly atMs: number;
  /** Ordered by the names that they had, and by number where the clock was put back and two had one. */
  readonly hosts: readonly HostThen[];
}

/** Moments that are kept: those of a comparison, and one that is being paged through. */
const keptMax = 3;
/**
 * From so many changed hosts on, and at most so many rows for each, all rows are looked at: 20,000 of 80,000 took 30 ms
 * of CPU, and 55 where each host was looked up, which does not grow with what is kept.
 */
const scanDefault = { hosts: 1_000, rowsOfHost: 6 };
/** Texts of labels whose meaning is kept: parsing those of 20,000 hosts anew was an eighth of a question. */
const labelTextsMax = 20_000;
/** A write that is under way bears the time of its beginning: what is younger may still be written. */
const settledMs = 60_000;
/** A clock that is only slewed is back by less. */
const turnedBackMs = 1_000;

export class HostsAsOf {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #memory: HostMemory;
  readonly #scan: typeof scanDefault;
  readonly #sql: ReturnType<typeof hostPastStatements>;
  /** What texts of labels say. */
  readonly #labels = new Map<string, Labels>();
  /** The last one asked for last. */
  readonly #kept = new Map<number, Promise<HostsThen>>();
  /** How far the wall clock was before the monotonic one when the last answer was kept. */
  #aheadMs = Number.NEGATIVE_INFINITY;

  /** `scan`: for tests. */
  constructor({
    store,
    memory,
    clock,
    scan = scanDefault,
  }: { store: Store; memory: HostMemory; clock: Clock; scan?: typeof scanDefault }) {
    this.#store = store;
    this.#clock = clock;
    this.#memory = memory;
    this.#sql = hostPastStatements(store.dialect);
    this.#scan = scan;
  }

  /** `now`: by the clock that writes are dated by. */
  at(atMs: number, now: number): Promise<HostsThen> {
    // The clock was put back: what is written now may be dated before a moment that is kept.
    const aheadMs = now - this.#clock.monotonic();
    if (aheadMs < this.#aheadMs - turnedBackMs) this.#kept.clear();
    this.#aheadMs = aheadMs;
    const known = this.#kept.get(atMs);
    const found = known ?? this.#read(atMs);
    if (now - atMs < settledMs) return found;
    this.#kept.delete(atMs);
    this.#kept.set(atMs, found);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > keptMax && oldest !== undefined) this.#kept.delete(oldest);
    // Whoever comes after a failure asks anew.
    found.catch(() => this.#kept.delete(atMs));
    return found;
  }

  /** One host, by its id or by the name that it had; undefined when there was none. */
  async find(idOrName: string, atMs: number): Promise<HostThen | undefined> {
    const slot = this.#memory.find(idOrName);
    const now = slot === undefined ? undefined : this.#unchanged(slot, atMs);
    if (now !== undefined) return now;
    const id = parseUuid(idOrName);
    return this.#store.read(async (session) => {
      const byId = id === undefined ? undefined : await session.get(this.#sql.byId, { id, atMs });
      const row = byId ?? (await session.get(this.#sql.byName, { name: normaliseHostName(idOrName), atMs }));
      return row === undefined ? undefined : thenOf(row, atMs);
    });
  }

  /** How one host was within a stretch, in order; null: it still is. */
  async statesOf(
    no: number,
    { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  ): Promise<{ readonly record: HostRecord; readonly toMs: number | null }[]> {
    const now = this.#memory.numbered(no);
    const rows = await this.#store.read((session) => session.all(this.#sql.states, { no, fromMs, toMs }));
    const states: { record: HostRecord; toMs: number | null }[] = rows.map((row) => ({
      record: pastRecordOf(row),
      toMs: row.to_ms,
    }));
    if (now !== undefined && this.#memory.facts(now.id).changedAtMs <= toMs)
      states.push({ record: now, toMs: null });
    return states;
  }

  /** As GET shows them, with the check-ins that they had then. */
  async views(hosts: readonly HostThen[], atMs: number): Promise<HostView[]> {
    const json = JSON.stringify(hosts.map(({ no }) => no));
    const rows = await this.#store.read((session) => session.all(this.#sql.checkInsOf, { json, atMs }));
    const byNo = new Map(rows.map((row) => [row.no, row]));
    return hosts.map(({ no, record, lastSeenMs }) => ({
      ...record,
      confirmed: true,
      lastSeenMs,
      checkIns: byNo.get(no)?.count ?? 0,
      lastCheckInMs: byNo.get(no)?.at_ms ?? null,
      conflict: null,
    }));
  }

  async #read(atMs: number): Promise<HostsThen> {
    // Memory first: a host that changes while the rows are read is then found in both, and never in none.
    const hosts: HostThen[] = [];
    const changed: number[] = [];
    const { presence } = this.#memory;
    for (const slot of presence.slots()) {
      const host = this.#unchanged(slot, atMs);
      if (host !== undefined) hosts.push(host);
      else changed.push(this.#memory.facts(presence.record(slot).id).no);
    }
    const known = new Set(hosts.map(({ no }) => no));
    const labelsOf = (text: string) => this.#labelsOf(text);
    for (const row of await this.#store.read((session) => this.#pastRows(session, changed, atMs)))
      if (!known.has(row.no)) hosts.push(thenOf(row, atMs, labelsOf));
    hosts.sort(compareHosts);
    return { atMs, hosts };
  }

  async #pastRows(session: Session, changed: readonly number[], atMs: number): Promise<PastHostRow[]> {
    if (changed.length >= this.#scan.hosts) {
      const rowsMax = this.#scan.rowsOfHost * changed.length;
      const kept = await session.get(this.#sql.countUpTo, { limit: rowsMax + 1 });
      if (Number(kept?.n ?? 0) <= rowsMax) return session.all(this.#sql.ofAll, { atMs });
    }
    const removed = await session.all(this.#sql.removedAfter, { atMs });
    // One that was removed since memory was looked at is among both.
    const numbers = [...new Set([...changed, ...removed.map(({ no }) => no)])];
    if (numbers.length === 0) return [];
    return session.all(this.#sql.ofNumbers, { json: JSON.stringify(numbers), atMs });
  }

  #labelsOf(text: string): Labels {
    const known = this.#labels.get(text);
    if (known !== undefined) return known;
    const labels = JSON.parse(text) as Labels;
    if (this.#labels.size >= labelTextsMax) this.#labels.clear();
    this.#labels.set(text, labels);
    return labels;
  }

  /** A host that is as it was then. */
  #unchanged(slot: number, atMs: number): HostThen | undefined {
    const record = this.#memory.presence.record(slot);
    const { no, changedAtMs, goneSeenMs } = this.#memory.facts(record.id);
    return changedAtMs <= atMs ? { no, record, ...seenThen(record, goneSeenMs, atMs) } : undefined;
  }
}

/** The order of lists of hosts as they were. */
export function compareHosts(a: Pick<HostThen, 'no' | 'record'>, b: Pick<HostThen, 'no' | 'record'>): number {
  if (a.record.name !== b.record.name) return a.record.name < b.record.name ? -1 : 1;
  return a.no - b.no;
}

/** A row that a change has replaced, as of a moment within its time. */
export function thenOf(row: PastHostRow, atMs: number, labelsOf?: (text: string) => Labels): HostThen {
  const record = pastRecordOf(row, labelsOf);
  return { no: row.no, record, ...seenThen(record, row.gone_seen_ms, atMs) };
}

/**
 * Beats leave no trace but the last one: a host that was UP was heard at that moment, as far as anybody knew, and one
 * that was DOWN when it was last heard before. Both stay so whatever it does later.
 */
function seenThen({ firstSeenMs, status }: HostRecord, goneSeenMs: number | null, atMs: number): Seen {
  return { firstSeenMs, lastSeenMs: status === 'UP' ? atMs : (goneSeenMs ?? firstSeenMs) };
}
