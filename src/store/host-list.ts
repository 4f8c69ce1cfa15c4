/**
 * Which hosts are meant, and lists of them: as they are, from memory, or as they were (hosts-as-of.ts). Pages are by
 * name.
 */
import type { Clock } from '../base/clock.ts';
import type { TokenScope } from '../domain/access.ts';
import { ageSelection } from '../domain/age.ts';
import { type HostRecord, type HostView, hostNotFound } from '../domain/host.ts';
import { type Moment, pastMs } from '../domain/moment.ts';
import { hostSelection, Scope } from '../domain/scope.ts';
import type { HostFilter, HostSelection, Page, PageRequest } from '../domain/services.ts';
import type { Store } from './engine/port.ts';
import type { HostMemory } from './host-memory.ts';
import type { hostStatements } from './host-sql.ts';
import { HostsAsOf, type HostThen } from './hosts-as-of.ts';
import { decodeCursor, encodeCursor, foreignCursor } from './page.ts';

export interface HostListsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly memory: HostMemory;
  readonly sql: ReturnType<typeof hostStatements>;
  /** The numbers of the hosts that have, or had at a moment, a component in each range of `has`; null: there is none. */
  readonly hostsWith: (
    filter: Pick<HostFilter, 'has' | 'scope'>,
    asOfMs: number | null,
  ) => Promise<ReadonlySet<number> | null>;
}

export class HostLists {
  readonly #options: HostListsOptions;
  readonly past: HostsAsOf;

  constructor(options: HostListsOptions) {
    this.#options = options;
    this.past = new HostsAsOf(options);
  }

  /** As `HostService.get`. */
  async get(idOrName: string, asOf: Moment | undefined): Promise<HostView> {
    const { memory, clock } = this.#options;
    if (asOf === undefined) return memory.view(memory.slotOf(idOrName));
    const atMs = pastMs(asOf, clock.now());
    const found = await this.past.find(idOrName, atMs);
    const [view] = found === undefined ? [] : await this.past.views([found], atMs);
    if (view === undefined) throw hostNotFound(idOrName, 'then');
    return view;
  }

  /** As `HostService.list`. */
  async list(filter: HostFilter, page: PageRequest): Promise<Page<HostView>> {
    const { store, clock, memory } = this.#options;
    if (filter.asOf !== undefined) return this.#listAsOf(filter, filter.asOf, page);
    const { epoch, revision } = store.log.head();
    const after = page.cursor === undefined ? '' : (decodeCursor(page.cursor, 1)[0] ?? '');
    const found = await this.#namesAfter(after, filter, page.limit + 1);
    const names = found.slice(0, page.limit);
    const last = names.at(-1);
    return {
      items: names.flatMap((name) => {
        const slot = memory.find(name);
        return slot === undefined ? [] : [memory.view(slot)];
      }),
      next: found.length > page.limit && last !== undefined ? encodeCursor([last]) : null,
      asOfMs: clock.now(),
      position: { epoch, revision },
      stale: false,
    };
  }

  /** The numbers of the hosts that are meant; null: all. */
  numbersOf(filter: HostSelection): number[] | null {
    const selects = hostSelection(filter);
    if (selects === null) return null;
    const { memory } = this.#options;
    const numbers: number[] = [];
    for (const slot of memory.presence.slots()) {
      const record = memory.presence.record(slot);
      if (selects(record.name, record)) numbers.push(memory.facts(record.id).no);
    }
    return numbers;
  }

  /** The numbers of the hosts that were meant at a moment of the past, as they were then; null: all. */
  async numbersAsOf(filter: HostSelection, atMs: number): Promise<number[] | null> {
    const selects = hostSelection(filter);
    if (selects === null) return null;
    const { hosts } = await this.past.at(atMs, this.#options.clock.now());
    return hosts.flatMap(({ no, record }) => (selects(record.name, record) ? [no] : []));
  }

  /** The numbers of the hosts that were there at a moment of the past, and outside of the scope. */
  async numbersOutside(limit: TokenScope, atMs: number): Promise<ReadonlySet<number>> {
    const scope = new Scope(limit);
    const { hosts } = await this.past.at(atMs, this.#options.clock.now());
    return new Set(hosts.flatMap(({ no, record }) => (scope.coversHost(record.name, record) ? [] : [no])));
  }

  /**
   * Since when a host was in the scope without a break, at the earliest from the beginning of a stretch, until its end
   * or the host's own; null: it was not at the end.
   */
  async coveredSince(
    no: number,
    limit: TokenScope,
    { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  ): Promise<number | null> {
    const scope = new Scope(limit);
    const states = await this.past.statesOf(no, { fromMs, toMs });
    const last = states.at(-1)?.record;
    if (last === undefined || !scope.coversHost(last.name, last)) return null;
    const outside = states.findLast(({ record }) => !scope.coversHost(record.name, record));
    return Math.max(fromMs, outside?.toMs ?? fromMs);
  }

  /** A later page is of the moment of the first, though "7d" ago is another one by now. */
  async #listAsOf(filter: HostFilter, asOf: Moment, page: PageRequest): Promise<Page<HostView>> {
    const now = this.#options.clock.now();
    const [name = '', no = '0', text] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 3);
    const after = { name, no: cursorNumber(no) };
    const moment: Moment = text === undefined ? asOf : { kind: 'at', atMs: cursorNumber(text) };
    const atMs = pastMs(moment, now);
    const is = await this.#test(filter, atMs, atMs);
    const { hosts } = await this.past.at(atMs, now);
    const items: HostThen[] = [];
    for (
      let index = firstAfter(hosts, after);
      index < hosts.length && items.length <= page.limit;
      index += 1
    ) {
      const host = hosts[index];
      if (host !== undefined && (is === null || is(host.record, host))) items.push(host);
    }
    const shown = items.slice(0, page.limit);
    const last = shown.at(-1);
    return {
      items: await this.past.views(shown, atMs),
      next:
        items.length > page.limit && last !== undefined
          ? encodeCursor([last.record.name, String(last.no), String(atMs)])
          : null,
      asOfMs: atMs,
      position: null,
      stale: false,
    };
  }

  /**
   * Selectors and ages are matched in memory: labels have no index, when a host was last seen is on disk only later, and
   * 20,000 hosts are looked through in milliseconds.
   */
  async #namesAfter(after: string, filter: HostFilter, limit: number): Promise<string[]> {
    const { store, clock, memory, sql } = this.#options;
    const is = await this.#test(filter, clock.now(), null);
    if (is === null || isOfFieldsOnly(filter)) {
      const rows = await store.read((session) => session.query(sql.list(filter, after, limit)));
      return rows.map(({ name }) => name);
    }
    const names: string[] = [];
    for (const name of memory.namesAfter(after)) {
      const record = memory.named(name);
      if (record === undefined) continue;
      if (!is(record, memory)) continue;
      names.push(name);
      if (names.length === limit) break;
    }
    return names;
  }

  /** What the filter says of a host; null: nothing. `asOfMs` null: as it is. */
  async #test(filter: HostFilter, atMs: number, asOfMs: number | null): Promise<HostTest | null> {
    const selects = hostSelection(filter);
    const isOfAge = ageSelection(filter, atMs);
    const having = await this.#options.hostsWith(filter, asOfMs);
    if (selects === null && isOfAge === null && having === null && !hasFields(filter)) return null;
    return (record, of) =>
      matchesFields(filter, record) &&
      (selects === null || selects(record.name, record)) &&
      (isOfAge === null || isOfAge('seen' in of ? of.seen(record) : of)) &&
      (having === null || having.has(numberIn(record, of)));
  }
}

/** Whether a host is meant; what is known of it beside its record is looked up only where it is asked for. */
type HostTest = (record: HostRecord, of: HostMemory | HostThen) => boolean;

function numberIn({ id }: HostRecord, of: HostMemory | HostThen): number {
  return 'seen' in of ? of.facts(id).no : of.no;
}

function hasFields({ name, region, status }: HostFilter): boolean {
  return name !== undefined || region !== undefined || status !== undefined;
}

/** What the database has indexes for. */
function isOfFieldsOnly({ name: _n, region: _r, status: _s, ...rest }: HostFilter): boolean {
  return Object.values(rest).every((value) => value === undefined);
}

function matchesFields({ name, region, status }: HostFilter, record: HostRecord): boolean {
  return (
    (name?.includes(record.name) ?? true) &&
    (region === undefined || (record.region !== null && region.includes(record.region))) &&
    (status?.includes(record.status) ?? true)
  );
}

function firstAfter(hosts: readonly HostThen[], { name, no }: { name: string; no: number }): number {
  let [low, high] = [0, hosts.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { record, no: found } = hosts[middle] as HostThen;
    if (record.name < name || (record.name === name && found <= no)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function cursorNumber(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || Math.abs(number) > 8.64e15) throw foreignCursor();
  return number;
}
