/** Which hosts are meant, and lists of them. As they are now, from memory; pages are by name. */
import type { Clock } from '../base/clock.ts';
import { ageSelection } from '../domain/age.ts';
import type { HostRecord, HostView } from '../domain/host.ts';
import { hostSelection } from '../domain/scope.ts';
import type { HostFilter, HostSelection, Page, PageRequest } from '../domain/services.ts';
import type { Store } from './engine/port.ts';
import type { HostMemory } from './host-memory.ts';
import type { hostStatements } from './host-sql.ts';
import { decodeCursor, encodeCursor } from './page.ts';

export interface HostListsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly memory: HostMemory;
  readonly sql: ReturnType<typeof hostStatements>;
}

export class HostLists {
  readonly #options: HostListsOptions;

  constructor(options: HostListsOptions) {
    this.#options = options;
  }

  /** As `HostService.list`. */
  async list(filter: HostFilter, page: PageRequest): Promise<Page<HostView>> {
    const { store, clock, memory } = this.#options;
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
    const { presence } = this.#options.memory;
    const numbers: number[] = [];
    for (const slot of presence.slots()) {
      const record = presence.record(slot);
      if (selects(record.name, record)) numbers.push(this.#options.memory.facts(record.id).no);
    }
    return numbers;
  }

  /**
   * Selectors and ages are matched in memory: labels have no index, when a host was last seen is on disk only later, and
   * 20,000 hosts are looked through in milliseconds.
   */
  async #namesAfter(after: string, filter: HostFilter, limit: number): Promise<string[]> {
    const { store, clock, memory, sql } = this.#options;
    const selects = hostSelection(filter);
    const isOfAge = ageSelection(filter, clock.now());
    if (selects === null && isOfAge === null) {
      const rows = await store.read((session) => session.query(sql.list(filter, after, limit)));
      return rows.map(({ name }) => name);
    }
    const names: string[] = [];
    for (const name of memory.namesAfter(after)) {
      const record = memory.named(name);
      if (record === undefined || !hasFields(filter, record)) continue;
      if (selects !== null && !selects(name, record)) continue;
      if (isOfAge !== null && !isOfAge(memory.seen(record))) continue;
      names.push(name);
      if (names.length === limit) break;
    }
    return names;
  }
}

function hasFields({ name, region, status }: HostFilter, record: HostRecord): boolean {
  return (
    (name?.includes(record.name) ?? true) &&
    (region === undefined || (record.region !== null && region.includes(record.region))) &&
    (status?.includes(record.status) ?? true)
  );
}
