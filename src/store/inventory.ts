/** Installed components of all hosts on SQL: check-ins in, lists out. */
import type { Clock } from '../base/clock.ts';
import type { TokenScope } from '../domain/access.ts';
import type { CheckIn, CheckInAnswer, ComponentView } from '../domain/inventory.ts';
import { Scope } from '../domain/scope.ts';
import type {
  AsOf,
  ComponentFilter,
  ComponentService,
  ComponentSummary,
  Page,
  PageRequest,
  Scoped,
} from '../domain/services.ts';
import { isInRange, type VersionRange, versionOrderOf } from '../domain/version.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { HostNumbers } from './host-numbers.ts';
import { type CheckInHost, InventoryChanges } from './inventory-changes.ts';
import { InventoryCounts } from './inventory-counts.ts';
import { type ComponentRow, inventoryStatements } from './inventory-sql.ts';
import { encodeCursorAt, placeAt } from './page.ts';

export class InventoryStore implements ComponentService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #hosts: HostNumbers;
  readonly #changes: InventoryChanges;
  readonly #counts: InventoryCounts;
  readonly #sql: ReturnType<typeof inventoryStatements>;

  constructor(options: { store: Store; clock: Clock; hosts: HostNumbers }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#hosts = options.hosts;
    this.#changes = new InventoryChanges(options.store.dialect);
    this.#counts = new InventoryCounts(options.store.dialect);
    this.#sql = inventoryStatements(options.store.dialect);
  }

  /** In the transaction of a check-in. Asks for the complete set when the base or the sum is not what it should be. */
  apply(tx: Transaction, host: CheckInHost, checkIn: CheckIn): Promise<CheckInAnswer> {
    return this.#changes.apply(tx, host, checkIn);
  }

  /** In the transaction that removes a host: what was installed on it is gone with it. */
  forgetHost(tx: Transaction, host: CheckInHost): Promise<void> {
    return this.#changes.forgetHost(tx, host);
  }

  async ofHost(idOrName: string, page: PageRequest, at: AsOf & Scoped = {}): Promise<Page<ComponentView>> {
    const { atMs, after } = placeAt(at, page, { parts: 2, now: this.#clock.now() });
    const { scope } = at;
    const hostNo =
      atMs === null
        ? this.#hosts.numberOf(idOrName, scope)
        : await this.#hosts.numberAsOf(idOrName, atMs, scope);
    const { epoch, revision } = this.#store.log.head();
    const [name = '', detector = ''] = after ?? [];
    const of = { hostNo, name, detector, apps: appsOf(scope), limit: page.limit + 1 };
    const rows = await this.#store.read((session) =>
      atMs === null ? session.all(this.#sql.page, of) : session.all(this.#sql.pageAt, { ...of, atMs }),
    );
    const items = rows.slice(0, page.limit).map(viewOf);
    const last = items.at(-1);
    return {
      items,
      next:
        rows.length > page.limit && last !== undefined
          ? encodeCursorAt(atMs, [last.name, last.detector])
          : null,
      asOfMs: atMs ?? this.#clock.now(),
      position: { epoch, revision },
      stale: false,
    };
  }

  async list(filter: ComponentFilter, page: PageRequest): Promise<Page<ComponentSummary>> {
    const { epoch, revision } = this.#store.log.head();
    const { atMs, after } = placeAt(filter, page, { parts: 1, now: this.#clock.now() });
    const hosts = await this.#hostsOf(filter, atMs);
    const { items, next } = await this.#store.read((session) =>
      this.#counts.page(session, {
        hosts,
        apps: filter.scope?.apps,
        atMs,
        after: after?.[0] ?? '',
        limit: page.limit,
      }),
    );
    return {
      items,
      next: next === null ? null : encodeCursorAt(atMs, [next]),
      asOfMs: atMs ?? this.#clock.now(),
      position: { epoch, revision },
      stale: false,
    };
  }

  /**
   * The numbers of the hosts that have a component in this range, or had one at a moment: also of hosts that are gone
   * since. By whichever detector, each in its own order of versions.
   */
  async hostsWith(range: VersionRange, asOfMs: number | null = null): Promise<Set<number>> {
    return this.#store.read(async (session) => {
      const known = await session.all(this.#sql.versionsOf, { name: range.name });
      const meant = known.filter(
        ({ detector, version, hosts }) =>
          (asOfMs !== null || hosts > 0) && isInRange(range, versionOrderOf(detector), version),
      );
      if (meant.length === 0) return new Set();
      const ids = JSON.stringify(meant.map(({ id }) => id));
      const found =
        asOfMs === null
          ? await session.get(this.#sql.hostsWith, { ids })
          : await session.get(this.#sql.hostsThatHad, { ids, atMs: asOfMs });
      return new Set(JSON.parse(found?.hosts ?? '[]') as number[]);
    });
  }

  /** As `hostsWith`, of several ranges those in all of them; null: none is asked for. Nobody has what lies outside of a scope. */
  async hostsWithAll(
    { has = [], scope }: Pick<ComponentFilter, 'has' | 'scope'>,
    asOfMs: number | null,
  ): Promise<ReadonlySet<number> | null> {
    const covered = scope === undefined ? null : new Scope(scope);
    if (has.some(({ name }) => covered?.coversName(name) === false)) return new Set();
    const [first, ...others] = has;
    if (first === undefined) return null;
    let found = await this.hostsWith(first, asOfMs);
    for (const range of others) {
      if (found.size === 0) return found;
      const having = await this.hostsWith(range, asOfMs);
      found = new Set([...found].filter((no) => having.has(no)));
    }
    return found;
  }

  /** The numbers of the hosts that are meant; null: all. */
  async #hostsOf(filter: ComponentFilter, atMs: number | null): Promise<readonly number[] | null> {
    const found = atMs === null ? this.#hosts.numbersOf(filter) : await this.#hosts.numbersAsOf(filter, atMs);
    const having = await this.hostsWithAll(filter, atMs);
    if (having === null) return found;
    return found === null ? [...having] : found.filter((no) => having.has(no));
  }
}

/** As statements take them; null: also what is of no application. */
export function appsOf(scope: TokenScope | undefined): string | null {
  return scope?.apps === undefined ? null : JSON.stringify(scope.apps);
}

function viewOf(row: ComponentRow): ComponentView {
  const { name, version, detector, architecture } = row;
  return {
    name,
    version,
    detector,
    ...(architecture === '' ? {} : { architecture }),
    firstSeenMs: row.first_seen_ms,
    changedAtMs: row.changed_at_ms,
  };
}
