/** Installed components of all hosts on SQL: check-ins in, lists out. */
import type { Clock } from '../base/clock.ts';
import type { CheckIn, CheckInAnswer, ComponentView } from '../domain/inventory.ts';
import type {
  ComponentService,
  ComponentSummary,
  HostSelection,
  Page,
  PageRequest,
} from '../domain/services.ts';
import { isInRange, type VersionRange, versionOrderOf } from '../domain/version.ts';
import type { Session, Store, Transaction } from './engine/port.ts';
import { type CheckInHost, InventoryChanges } from './inventory-changes.ts';
import { type ComponentRow, inventoryStatements, type SummaryRow } from './inventory-sql.ts';
import { decodeCursor, encodeCursor } from './page.ts';

export class InventoryStore implements ComponentService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #hostNo: (idOrName: string) => number;
  readonly #hostNos: (filter: HostSelection) => number[] | null;
  readonly #changes: InventoryChanges;
  readonly #sql: ReturnType<typeof inventoryStatements>;

  /** `hostNo` finds a host by id or name and throws `not-found`; `hostNos` finds those that are meant, null: all. */
  constructor(options: {
    store: Store;
    clock: Clock;
    hostNo: (idOrName: string) => number;
    hostNos: (filter: HostSelection) => number[] | null;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#hostNo = options.hostNo;
    this.#hostNos = options.hostNos;
    this.#changes = new InventoryChanges(options.store.dialect);
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

  async ofHost(idOrName: string, page: PageRequest): Promise<Page<ComponentView>> {
    const hostNo = this.#hostNo(idOrName);
    const head = this.#store.log.head();
    const [name, detector] = page.cursor === undefined ? ['', ''] : decodeCursor(page.cursor, 2);
    const rows = await this.#store.read((session) =>
      session.all(this.#sql.page, {
        hostNo,
        name: name ?? '',
        detector: detector ?? '',
        limit: page.limit + 1,
      }),
    );
    const items = rows.slice(0, page.limit).map(viewOf);
    const last = items.at(-1);
    return {
      items,
      next: rows.length > page.limit && last !== undefined ? encodeCursor([last.name, last.detector]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch: head.epoch, revision: head.revision },
      stale: false,
    };
  }

  async list(filter: HostSelection, page: PageRequest): Promise<Page<ComponentSummary>> {
    const head = this.#store.log.head();
    const after = page.cursor === undefined ? '' : (decodeCursor(page.cursor, 1)[0] ?? '');
    const hostNos = this.#hostNos(filter);
    const apps = filter.scope?.apps;
    const limit = page.limit + 1;
    const rows = await this.#store.read((session) =>
      hostNos === null && apps === undefined
        ? this.#ofAll(session, { after, limit })
        : session.query(this.#sql.summaryOf({ hostNos, apps, after, limit })),
    );
    const versionsByName = new Map<string, { version: string; hosts: number }[]>();
    for (const { name, version, hosts } of rows) {
      const versions = versionsByName.get(name) ?? [];
      versions.push({ version, hosts: Number(hosts) });
      versionsByName.set(name, versions);
    }
    const all = [...versionsByName].map(([name, versions]) => ({ name, versions }));
    const items = all.slice(0, page.limit);
    const last = items.at(-1);
    return {
      items,
      next: all.length > page.limit && last !== undefined ? encodeCursor([last.name]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch: head.epoch, revision: head.revision },
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

  /** From what is counted with each check-in; only what several detectors have found is counted by its hosts. */
  async #ofAll(session: Session, page: { after: string; limit: number }): Promise<SummaryRow[]> {
    const rows = await session.all(this.#sql.summary, page);
    const twice = rows.filter(({ detectors }) => Number(detectors) > 1);
    if (twice.length === 0) return rows;
    const items = JSON.stringify(twice.map(({ name, version }) => ({ name, version })));
    const counted = await session.all(this.#sql.distinct, { items });
    const hostsOf = new Map(counted.map(({ name, version, hosts }) => [`${name}\0${version}`, hosts]));
    return rows.map((row) => ({ ...row, hosts: hostsOf.get(`${row.name}\0${row.version}`) ?? row.hosts }));
  }
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
