/** Installed components of all hosts on SQL: check-ins in, lists out. A check-in writes its changes and nothing else. */
import type { Clock } from '../base/clock.ts';
import { AppError } from '../domain/error.ts';
import type { EventDraft } from '../domain/event.ts';
import {
  type CheckIn,
  type CheckInAnswer,
  type Component,
  type ComponentChange,
  type ComponentView,
  componentEvent,
  componentKey,
  diffComponents,
  inventoryHash,
  inventoryHashAfter,
} from '../domain/inventory.ts';
import type {
  ComponentService,
  ComponentSummary,
  HostSelection,
  Page,
  PageRequest,
} from '../domain/services.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { HostComponentRow } from './engine/query.ts';
import { inventoryStatements } from './inventory-sql.ts';
import { decodeCursor, encodeCursor } from './page.ts';

/** The host that checks in, as the transaction found it. */
export interface CheckInHost {
  readonly id: string;
  readonly name: string;
  /** Of what the registry has of it; null when nothing. */
  readonly hash: string | null;
}

export class InventoryStore implements ComponentService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #hostId: (idOrName: string) => string;
  readonly #hostIds: (filter: HostSelection) => string[] | null;
  readonly #sql: ReturnType<typeof inventoryStatements>;

  /** `hostId` finds a host by id or name and throws `not-found`; `hostIds` finds those that are meant, null: all. */
  constructor(options: {
    store: Store;
    clock: Clock;
    hostId: (idOrName: string) => string;
    hostIds: (filter: HostSelection) => string[] | null;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#hostId = options.hostId;
    this.#hostIds = options.hostIds;
    this.#sql = inventoryStatements(options.store.dialect);
  }

  /** In the transaction of a check-in. Asks for the complete set when the base or the sum is not what it should be. */
  async apply(tx: Transaction, host: CheckInHost, checkIn: CheckIn): Promise<CheckInAnswer> {
    if (checkIn.hash === host.hash) return { accepted: true, hash: host.hash };
    if (checkIn.base !== null && checkIn.base !== host.hash) return { accepted: false, hash: host.hash };
    const before =
      checkIn.base === null ? await this.#all(tx, host.id) : await this.#named(tx, host.id, checkIn);
    const after = checkIn.base === null ? unique(checkIn.components) : afterDelta(before, checkIn);
    const changes = diffComponents(before, after);
    const hash = checkIn.base === null ? inventoryHash(after) : inventoryHashAfter(checkIn.base, changes);
    if (hash !== checkIn.hash) {
      if (checkIn.base !== null) return { accepted: false, hash: host.hash };
      throw new AppError(
        'unprocessable',
        `Cannot take the check-in: its components have the hash ${hash}, expected ${checkIn.hash}`,
        {
          field: 'hash',
        },
      );
    }
    await this.#write(tx, host, changes);
    return { accepted: true, hash };
  }

  /** In the transaction that removes a host: what was installed on it is gone with it. */
  async forgetHost(tx: Transaction, host: { readonly id: string; readonly name: string }): Promise<void> {
    const gone = await this.#all(tx, host.id);
    if (gone.length > 0) await this.#write(tx, { ...host, hash: null }, diffComponents(gone, []));
  }

  async ofHost(idOrName: string, page: PageRequest): Promise<Page<ComponentView>> {
    const hostId = this.#hostId(idOrName);
    const head = this.#store.log.head();
    const [name, detector] = page.cursor === undefined ? ['', ''] : decodeCursor(page.cursor, 2);
    const rows = await this.#store.read((session) =>
      session.all(this.#sql.page, {
        hostId,
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
    const hostIds = this.#hostIds(filter);
    const apps = filter.scope?.apps;
    const rows = await this.#store.read((session) =>
      hostIds === null && apps === undefined
        ? session.all(this.#sql.summary, { after, limit: page.limit + 1 })
        : session.query(this.#sql.summaryOf({ hostIds, apps, after, limit: page.limit + 1 })),
    );
    const versionsByName = new Map<string, { version: string; hosts: number }[]>();
    for (const { name, version, hosts } of rows) {
      const versions = versionsByName.get(name) ?? [];
      versionsByName.set(name, [...versions, { version, hosts: Number(hosts) }]);
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

  async #all(tx: Transaction, hostId: string): Promise<Component[]> {
    return (await tx.all(this.#sql.ofHost, { hostId })).map(componentOf);
  }

  /** Only what a delta speaks of. */
  async #named(tx: Transaction, hostId: string, checkIn: CheckIn): Promise<Component[]> {
    const keys = [...checkIn.components, ...checkIn.removed].map(({ detector, name }) => ({
      detector,
      name,
    }));
    if (keys.length === 1 && keys[0] !== undefined) {
      const row = await tx.get(this.#sql.one, { hostId, ...keys[0] });
      return row === undefined ? [] : [componentOf(row)];
    }
    const rows = await tx.all(this.#sql.named, { hostId, keys: JSON.stringify(keys) });
    return rows.map(componentOf);
  }

  async #write(tx: Transaction, host: CheckInHost, changes: readonly ComponentChange[]): Promise<void> {
    const upserts = changes.flatMap(({ after }) => (after === null ? [] : [after]));
    const removals = changes.flatMap(({ before, after }) =>
      before !== null && after === null ? [before] : [],
    );
    if (upserts.length === 1 && upserts[0] !== undefined)
      await tx.run(this.#sql.upsertOne, rowOf(host.id, upserts[0], tx.now));
    else if (upserts.length > 0)
      await tx.run(this.#sql.upsert, { hostId: host.id, items: JSON.stringify(upserts), now: tx.now });
    if (removals.length > 0)
      await tx.run(this.#sql.remove, { hostId: host.id, keys: JSON.stringify(removals) });
    for (const change of changes) tx.append(componentEvent(host.name, change) satisfies EventDraft);
  }
}

/** A delta names what is there now and what is gone; the last word on a key wins. */
function afterDelta(before: readonly Component[], checkIn: CheckIn): Component[] {
  const after = new Map(before.map((component) => [componentKey(component), component]));
  for (const gone of checkIn.removed) after.delete(componentKey(gone));
  for (const component of checkIn.components) after.set(componentKey(component), component);
  return [...after.values()];
}

function unique(components: readonly Component[]): Component[] {
  return [...new Map(components.map((component) => [componentKey(component), component])).values()];
}

function componentOf(
  row: Pick<HostComponentRow, 'name' | 'version' | 'detector' | 'architecture'>,
): Component {
  const { name, version, detector, architecture } = row;
  return { name, version, detector, ...(architecture === null ? {} : { architecture }) };
}

function rowOf(hostId: string, component: Component, now: number): HostComponentRow {
  const { detector, name, version, architecture = null } = component;
  return { host_id: hostId, detector, name, version, architecture, first_seen_ms: now, changed_at_ms: now };
}

function viewOf(row: HostComponentRow): ComponentView {
  return { ...componentOf(row), firstSeenMs: row.first_seen_ms, changedAtMs: row.changed_at_ms };
}
