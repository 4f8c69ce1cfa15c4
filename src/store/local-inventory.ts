/**
 * What is installed on this host, and how far the registry knows it.
 *
 * `components` is what the detectors found last; its hash stands in meta, renewed with every change. `checkin_bases`
 * holds, for each component that changed since the registry acknowledged a set, what the registry has of it: both
 * together are that set, so a delta survives restarts and costs its own size. The hash of the acknowledged set stands
 * in meta too; without it the registry has nothing that we know of, and only a complete check-in helps.
 */
import type { Clock } from '../base/clock.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { HostFacts } from '../domain/host.ts';
import { normaliseHostName } from '../domain/ids.ts';
import {
  type CheckIn,
  type Component,
  type ComponentChange,
  type ComponentView,
  componentEvent,
  componentKey,
  diffComponents,
  inventoryHash,
  inventoryHashAfter,
} from '../domain/inventory.ts';
import { hostSelection } from '../domain/scope.ts';
import type {
  AsOf,
  ComponentFilter,
  ComponentService,
  ComponentSummary,
  Page,
  PageRequest,
} from '../domain/services.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { OwnComponentRow } from './engine/query.ts';
import { type BaseRow, inventoryStatements, type PendingRow } from './local-inventory-sql.ts';
import { metaStatements, readMeta, writeMeta } from './meta-sql.ts';
import { decodeCursor, encodeCursor } from './page.ts';

export interface LocalInventoryOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** What this host is called now: its name, and its id once it has joined. */
  readonly host: () => { readonly name: string; readonly id: string | null };
  /** What selectors may ask of this host. */
  readonly facts?: () => HostFacts | undefined;
}

const hashKey = 'inventory.hash';
const ackedKey = 'inventory.acked';

export class LocalInventory implements ComponentService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #host: LocalInventoryOptions['host'];
  readonly #facts: () => HostFacts | undefined;
  readonly #sql: ReturnType<typeof inventoryStatements>;
  readonly #meta: ReturnType<typeof metaStatements>;
  readonly #listeners = new Set<() => void>();
  // As of the last commit.
  #hash = inventoryHash([]);
  #acked: string | null = null;
  #count = 0;

  private constructor(options: LocalInventoryOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#host = options.host;
    this.#facts = options.facts ?? (() => undefined);
    this.#sql = inventoryStatements(options.store.dialect);
    this.#meta = metaStatements(options.store.dialect);
  }

  static async open(options: LocalInventoryOptions): Promise<LocalInventory> {
    const inventory = new LocalInventory(options);
    await options.store.read(async (session) => {
      inventory.#hash = (await readMeta(session, inventory.#meta, hashKey)) ?? inventoryHash([]);
      inventory.#acked = await readMeta(session, inventory.#meta, ackedKey);
      inventory.#count = (await session.get(inventory.#sql.count, {}))?.count ?? 0;
    });
    return inventory;
  }

  /** The hash of what is installed (`inventoryHash`). */
  get hash(): string {
    return this.#hash;
  }

  /** The hash of what the registry acknowledged last; null when it has nothing that we know of. */
  get ackedHash(): string | null {
    return this.#acked;
  }

  get count(): number {
    return this.#count;
  }

  /** Calls `listener` after each commit that changed what is installed. Returns how to stop that. */
  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Each named detector finds these components now, and no others. One revision with an event for each that was
   * installed, changed or removed; none when nothing differs. Returns what changed.
   */
  replace(found: ReadonlyMap<string, readonly Component[]>): Promise<readonly ComponentChange[]> {
    return this.#store.write(systemCaller, (tx) => this.#replace(tx, found));
  }

  /** Removes what was found by detectors other than these. */
  retain(detectors: readonly string[]): Promise<readonly ComponentChange[]> {
    return this.#store.write(systemCaller, async (tx) => {
      const known = await tx.all(this.#sql.detectors, {});
      const gone = known.filter(({ detector }) => !detectors.includes(detector));
      return this.#replace(tx, new Map(gone.map(({ detector }) => [detector, []])));
    });
  }

  /** The check-in that brings the registry up to date; null when it is. Complete when it has nothing that we know of. */
  pending(): Promise<CheckIn | null> {
    return this.#store.read(async (session) => {
      const hash = (await readMeta(session, this.#meta, hashKey)) ?? inventoryHash([]);
      const base = await readMeta(session, this.#meta, ackedKey);
      if (base === hash) return null;
      if (base === null)
        return {
          base,
          hash,
          components: (await session.all(this.#sql.all, {})).map(toComponent),
          removed: [],
        };
      const rows = await session.all(this.#sql.pending, {});
      return {
        base,
        hash,
        components: rows.flatMap((row) => installedNow(row) ?? []),
        removed: rows
          .filter((row) => row.now_version === null)
          .map(({ detector, name }) => ({ detector, name })),
      };
    });
  }

  /** The registry has taken this check-in. What changed since it was made stays pending. */
  acknowledge(checkIn: CheckIn): Promise<void> {
    return this.#store.write(systemCaller, async (tx) => {
      const acked = await readMeta(tx, this.#meta, ackedKey);
      // Forgotten or acknowledged anew meanwhile: this answer is about another base than ours.
      if (checkIn.base !== null && checkIn.base !== acked) return;
      const now = await readMeta(tx, this.#meta, hashKey);
      const changedSince = now === checkIn.hash ? [] : await this.#changesSince(tx, checkIn);
      await tx.run(this.#sql.clearBases, {});
      for (const change of changedSince) await tx.run(this.#sql.keepBase, toBase(change));
      await this.#setAcked(tx, checkIn.hash);
    });
  }

  /** The registry does not have what we thought: the next check-in is complete. */
  forget(): Promise<void> {
    return this.#store.write(systemCaller, (tx) => this.forgetIn(tx));
  }

  /** As `forget`, in a transaction of the caller's. */
  async forgetIn(tx: Transaction): Promise<void> {
    await tx.run(this.#sql.clearBases, {});
    await this.#setAcked(tx, null);
  }

  async ofHost(idOrName: string, page: PageRequest, at: AsOf = {}): Promise<Page<ComponentView>> {
    requireNow(at);
    const { id, name } = this.#host();
    const asked = normaliseHostName(idOrName);
    if (asked !== name && asked !== id) {
      throw new AppError(
        'not-found',
        `Cannot list components of "${idOrName}": this agent knows its own host "${name}" only, ask the registry`,
      );
    }
    const [afterName = '', afterDetector = ''] =
      page.cursor === undefined ? [] : decodeCursor(page.cursor, 2);
    const envelope = this.#envelope();
    const rows = await this.#store.read((session) =>
      session.all(this.#sql.page, { name: afterName, detector: afterDetector, limit: page.limit + 1 }),
    );
    const items = rows.slice(0, page.limit);
    const last = items.at(-1);
    const next =
      rows.length > page.limit && last !== undefined ? encodeCursor([last.name, last.detector]) : null;
    return { ...envelope, items: items.map(toView), next };
  }

  /** Over all hosts, which here is one. */
  async list(filter: ComponentFilter, page: PageRequest): Promise<Page<ComponentSummary>> {
    requireNow(filter);
    const [after = ''] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 1);
    const envelope = this.#envelope();
    const { name } = this.#host();
    if (hostSelection(filter)?.(name, this.#facts()) === false) return { ...envelope, items: [], next: null };
    return this.#store.read(async (session) => {
      const names = await session.all(this.#sql.names, { name: after, limit: page.limit + 1 });
      const [first, last] = [names[0], names.slice(0, page.limit).at(-1)];
      if (first === undefined || last === undefined) return { ...envelope, items: [], next: null };
      const versionsByName = new Map<string, { version: string; hosts: number }[]>();
      for (const { name, version } of await session.all(this.#sql.versions, {
        from: first.name,
        to: last.name,
      })) {
        const versions = versionsByName.get(name);
        if (versions === undefined) versionsByName.set(name, [{ version, hosts: 1 }]);
        else versions.push({ version, hosts: 1 });
      }
      const items = Array.from(versionsByName, ([name, versions]) => ({ name, versions }));
      return { ...envelope, items, next: names.length > page.limit ? encodeCursor([last.name]) : null };
    });
  }

  async #replace(
    tx: Transaction,
    found: ReadonlyMap<string, readonly Component[]>,
  ): Promise<readonly ComponentChange[]> {
    const changes: ComponentChange[] = [];
    for (const [detector, after] of found) {
      const rows = new Map((await tx.all(this.#sql.ofDetector, { detector })).map((row) => [row.name, row]));
      for (const change of diffComponents(Array.from(rows.values(), toComponent), after)) {
        await this.#apply(tx, change, rows.get((change.after ?? change.before)?.name ?? ''));
        changes.push(change);
      }
    }
    if (changes.length > 0) await this.#settle(tx, changes);
    return changes;
  }

  async #apply(tx: Transaction, change: ComponentChange, row: OwnComponentRow | undefined): Promise<void> {
    const { before, after } = change;
    if (after !== null) {
      await tx.run(
        this.#sql.upsert,
        toRow(after, { firstSeenMs: row?.first_seen_ms ?? tx.now, changedAtMs: tx.now }),
      );
    } else if (before !== null) {
      await tx.run(this.#sql.remove, { detector: before.detector, name: before.name });
    }
    tx.append(componentEvent(this.#host().name, change));
  }

  /** After changes to the set: its hash, and what the registry has of each of them. */
  async #settle(tx: Transaction, changes: readonly ComponentChange[]): Promise<void> {
    const hash = inventoryHashAfter((await readMeta(tx, this.#meta, hashKey)) ?? inventoryHash([]), changes);
    await writeMeta(tx, this.#meta, hashKey, hash);
    if ((await readMeta(tx, this.#meta, ackedKey)) !== null) {
      for (const change of changes) await tx.run(this.#sql.keepBase, toBase(change));
    }
    const count = (await tx.get(this.#sql.count, {}))?.count ?? 0;
    tx.onCommit(() => {
      this.#hash = hash;
      this.#count = count;
      for (const listener of this.#listeners) listener();
    });
  }

  /** From the set that `checkIn` brought the registry to, to what is installed now. */
  async #changesSince(tx: Transaction, checkIn: CheckIn): Promise<ComponentChange[]> {
    const now = (await tx.all(this.#sql.all, {})).map(toComponent);
    if (checkIn.base === null) return diffComponents(checkIn.components, now);
    const then = new Map(now.map((component) => [componentKey(component), component]));
    for (const row of await tx.all(this.#sql.bases, {})) {
      const base = componentOf(row);
      if (base === undefined) then.delete(componentKey(row));
      else then.set(componentKey(row), base);
    }
    for (const component of checkIn.components) then.set(componentKey(component), component);
    for (const removed of checkIn.removed) then.delete(componentKey(removed));
    return diffComponents(then.values(), now);
  }

  async #setAcked(tx: Transaction, hash: string | null): Promise<void> {
    await writeMeta(tx, this.#meta, ackedKey, hash);
    tx.onCommit(() => {
      this.#acked = hash;
    });
  }

  /** Read before the rows: a change between the two is seen again by a watcher, never missed. */
  #envelope() {
    const { epoch, revision } = this.#store.log.head();
    return { asOfMs: this.#clock.now(), position: { epoch, revision }, stale: false };
  }
}

function installedNow(row: PendingRow): Component | undefined {
  return componentOf({ ...row, version: row.now_version, architecture: row.now_architecture });
}

function componentOf({ detector, name, version, architecture }: BaseRow): Component | undefined {
  if (version === null) return undefined;
  return { name, version, detector, ...(architecture === null ? {} : { architecture }) };
}

function toComponent({ detector, name, version, architecture }: OwnComponentRow): Component {
  return { name, version, detector, ...(architecture === null ? {} : { architecture }) };
}

function toView(row: OwnComponentRow): ComponentView {
  return { ...toComponent(row), firstSeenMs: row.first_seen_ms, changedAtMs: row.changed_at_ms };
}

function toRow(component: Component, times: { firstSeenMs: number; changedAtMs: number }): OwnComponentRow {
  const { detector, name, version, architecture = null } = component;
  return {
    detector,
    name,
    version,
    architecture,
    first_seen_ms: times.firstSeenMs,
    changed_at_ms: times.changedAtMs,
  };
}

function toBase({ before, after }: ComponentChange): BaseRow {
  const { detector, name } = (before ?? after) as Component;
  return { detector, name, version: before?.version ?? null, architecture: before?.architecture ?? null };
}

/** What was, and what is on other hosts, the registry keeps. */
function requireNow({ asOf, has }: ComponentFilter): void {
  const field = asOf !== undefined ? 'asOf' : has !== undefined ? 'has' : undefined;
  if (field === undefined) return;
  throw new AppError(
    'unprocessable',
    `Cannot list components with ${field} here: this agent knows what is installed on its host now, ask the registry`,
    { field },
  );
}
