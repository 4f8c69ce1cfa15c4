/**
 * Service records on SQL, with who was heard when in memory. A heartbeat that changes nothing touches memory alone;
 * every change is one write: load, decide (domain/liveness.ts), store, append. Memory changes after the commit.
 */

import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Caller } from '../domain/access.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { HostFacts } from '../domain/host.ts';
import { mintUuid } from '../domain/ids.ts';
import {
  type Decision,
  decideBeat,
  decideChecked,
  decideEndMaintenance,
  decideLapse,
  decideMaintain,
  decideMoved,
  decideRegister,
  decideSet,
  type Holder,
  type IsUp,
  type IsUpQuery,
  recordTest,
  type ServicePatch,
  type ServiceRecord,
  type ServiceView,
  serviceNotFound,
} from '../domain/liveness.ts';
import { type Heard, type StatusCounts, statusCounts } from '../domain/presence.ts';
import { hostSelection, Scope } from '../domain/scope.ts';
import type { BeatResult, LivenessService, Page, PageRequest, ServiceFilter } from '../domain/services.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { ServiceRow } from './engine/query.ts';
import { HeldRecords } from './liveness-held.ts';
import { type HostOf, LivenessMemory, type Loaded } from './liveness-memory.ts';
import { type OnChange, ServiceRecords } from './liveness-records.ts';
import { loadPageMax, recordOf, serviceStatements } from './liveness-sql.ts';
import { decodeCursor, encodeCursor, firstBy } from './page.ts';

/** Lapses written by one sweep at the most; the next sweep goes on. */
const sweepWritesMax = 1_000;
const flushRowsMax = 1_000;

export interface LivenessStoreOptions {
  store: Store;
  clock: Clock;
  random: Random;
  /** Whose records these are: a registry's own count by their ttl here; the agent's are all held by the agent. */
  heldBy: Holder;
  onChange?: OnChange;
  /** At a registry: what is known of a host, for the records that its agent holds. */
  hostOf?: HostOf;
  /** What selectors may ask of a host, by its name; nothing is known of any when absent. */
  factsOf?: (name: string) => HostFacts | undefined;
}

export class LivenessStore implements LivenessService {
  /** At a registry: what agents tell of the records that they hold. */
  readonly held: HeldRecords;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #heldBy: Holder;
  readonly #sql: ReturnType<typeof serviceStatements>;
  readonly #memory: LivenessMemory;
  readonly #records: ServiceRecords;
  readonly #factsOf: (name: string) => HostFacts | undefined;

  constructor(options: LivenessStoreOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#heldBy = options.heldBy;
    this.#sql = serviceStatements(options.store.dialect);
    this.#memory = new LivenessMemory({ hostOf: () => undefined, ...options });
    this.#records = new ServiceRecords({
      sql: this.#sql,
      memory: this.#memory,
      heldBy: options.heldBy,
      onChange: options.onChange ?? (() => Promise.resolve()),
    });
    this.held = new HeldRecords(this.#records);
    this.#factsOf = options.factsOf ?? (() => undefined);
  }

  static async open(options: LivenessStoreOptions): Promise<LivenessStore> {
    const liveness = new LivenessStore(options);
    await liveness.load();
    return liveness;
  }

  /**
   * Reads memory anew from the store: each record keeps its status, unconfirmed, for one ttl from now. A page at a time:
   * of 20,000 records read at once, a third of the time went into copying rows that were done with.
   */
  async load(): Promise<void> {
    // In the queue, so that no write comes between what is read here and memory.
    await this.#store.write(systemCaller, async (tx) => {
      const loaded: Loaded = { records: [], lastSeenMs: [] };
      const share = sharedTexts();
      let after: string | null = '';
      while (after !== null) {
        const rows: ServiceRow[] = await tx.all(this.#sql.loadPage, { after });
        for (const row of rows) {
          row.type = share(row.type);
          if (row.region !== null) row.region = share(row.region);
          loaded.records.push(recordOf(row));
          loaded.lastSeenMs.push(row.last_seen_ms);
        }
        after = rows.length < loadPageMax ? null : (rows.at(-1)?.uuid ?? null);
      }
      tx.onCommit(() => this.#memory.load(loaded));
    });
  }

  /** Counts every ttl from now: nobody could be heard before. */
  ready(): void {
    this.#memory.ready();
  }

  async register(caller: Caller, patch: ServicePatch, options: { takeover: boolean }): Promise<ServiceView> {
    if (patch.type === undefined || patch.host === undefined) {
      const field = patch.type === undefined ? 'type' : 'host';
      throw new AppError('bad-request', `Cannot register a service: its ${field} is missing`, { field });
    }
    const uuid = mintUuid(this.#clock.now(), this.#random);
    return (await this.put(caller, uuid, patch, options)).service;
  }

  put(
    caller: Caller,
    uuid: string,
    patch: ServicePatch,
    options: { takeover: boolean },
  ): Promise<{ created: boolean; service: ServiceView }> {
    return this.#store.write(caller, async (tx) => {
      const current = await this.#records.find(tx, uuid);
      if (current !== undefined) this.#records.requireOwn(current, 'set');
      const decision =
        current === undefined ? decideRegister(uuid, patch, this.#heldBy) : decideSet(current, patch);
      await this.#records.makeRoom(tx, current, decision.record, options);
      return { created: current === undefined, service: await this.#records.apply(tx, current, decision) };
    });
  }

  async beat(caller: Caller, uuid: string): Promise<ServiceView> {
    const slot = this.#renew(uuid, this.#memory.instant());
    return slot === undefined ? this.#beatUnsteady(caller, uuid) : this.#memory.view(slot);
  }

  /** Those that beat as they did are answered at once, at one instant: 0.1 µs each, with a promise each 0.5 µs. */
  async beatMany(caller: Caller, uuids: readonly string[]): Promise<readonly BeatResult[]> {
    const instant = this.#memory.instant();
    const unsteady: Promise<void>[] = [];
    const results = new Array<BeatResult>(uuids.length);
    for (const [index, uuid] of uuids.entries()) {
      const slot = this.#renew(uuid, instant);
      if (slot !== undefined) results[index] = { uuid, code: null, status: this.#recordIn(slot).status };
      else
        unsteady.push(
          this.#beatResult(caller, uuid).then((result) => {
            results[index] = result;
          }),
        );
    }
    await Promise.all(unsteady);
    return results;
  }

  async get(uuid: string): Promise<ServiceView> {
    const slot = this.#memory.presence.find(uuid);
    if (slot === undefined) throw serviceNotFound(uuid);
    return this.#memory.view(slot);
  }

  async list(filter: ServiceFilter, page: PageRequest): Promise<Page<ServiceView>> {
    // The head first: a change between the two is then seen again by a watcher, never missed.
    const head = this.#store.log.head();
    const after = page.cursor === undefined ? '' : (decodeCursor(page.cursor, 1)[0] ?? '');
    const found = this.#selected(filter, after, page.limit + 1) ?? (await this.#rows(filter, after, page));
    const records = found.slice(0, page.limit);
    const last = records.at(-1);
    return {
      items: records.map((record) => this.#memory.viewOf(record)),
      next: found.length > page.limit && last !== undefined ? encodeCursor([last.uuid]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch: head.epoch, revision: head.revision },
      stale: false,
    };
  }

  async #rows(filter: ServiceFilter, after: string, page: PageRequest): Promise<ServiceRecord[]> {
    const query = this.#sql.list(filter, after, page.limit + 1);
    return (await this.#store.read((session) => session.query(query))).map(recordOf);
  }

  /** By what is known of hosts, which is in memory; null when no host is asked about. */
  #selected(filter: ServiceFilter, after: string, limit: number): ServiceRecord[] | null {
    const selects = hostSelection(filter);
    if (selects === null) return null;
    const scope = filter.scope === undefined ? null : new Scope(filter.scope);
    const byHost = new Map<string, boolean>();
    const onHost = (host: string) => {
      let selected = byHost.get(host);
      if (selected === undefined) {
        selected = selects(host, this.#factsOf(host));
        byHost.set(host, selected);
      }
      return selected;
    };
    const { presence } = this.#memory;
    const isSelected = recordTest(filter);
    function* found(): Generator<ServiceRecord> {
      for (const slot of presence.slots()) {
        const record = presence.record(slot);
        if (record.uuid <= after || !isSelected(record) || scope?.coversName(record.type) === false) continue;
        if (onHost(record.host)) yield record;
      }
    }
    return firstBy(found(), limit, ({ uuid }) => uuid);
  }

  delete(caller: Caller, at: IsUpQuery): Promise<void> {
    return this.#store.write(caller, async (tx) => {
      const record =
        'uuid' in at ? await this.#records.find(tx, at.uuid) : await this.#records.atPlace(tx, at);
      if (record === undefined)
        throw serviceNotFound('uuid' in at ? at.uuid : `"${at.type}" on "${at.host}"`);
      this.#records.requireOwn(record, 'delete');
      await this.#records.forget(tx, 'service.deleted', record);
    });
  }

  maintain(
    caller: Caller,
    uuid: string,
    plan: { startMs?: number; endMs?: number | null; note?: string | null; down?: boolean },
  ): Promise<ServiceView> {
    return this.#change(caller, uuid, (record, now) => {
      this.#records.requireOwn(record, 'maintain');
      return decideMaintain(record, plan, now);
    });
  }

  endMaintenance(caller: Caller, uuid: string): Promise<ServiceView> {
    return this.#change(caller, uuid, (record) => {
      this.#records.requireOwn(record, 'maintain');
      return decideEndMaintenance(record);
    });
  }

  async isUp(query: IsUpQuery): Promise<IsUp> {
    return this.#memory.isUp(query, this.#clock.now());
  }

  async isUpMany(queries: readonly IsUpQuery[]): Promise<readonly IsUp[]> {
    const asOfMs = this.#clock.now();
    return queries.map((query) => this.#memory.isUp(query, asOfMs));
  }

  /**
   * What a check found of its record, which is registered when it is not there; counts as a heartbeat. What stays as it
   * is touches memory alone. `conflict` (details.holder) when another record has its place.
   */
  async checked(caller: Caller, found: Parameters<typeof decideChecked>[1]): Promise<ServiceRecord> {
    const slot = this.#memory.presence.find(found.uuid);
    const known = slot === undefined ? undefined : this.#recordIn(slot);
    if (slot !== undefined && decideChecked(known, found, this.#heldBy).change === null) {
      this.#memory.touch(slot, this.#memory.instant());
      return this.#recordIn(slot);
    }
    return this.#store.write(caller, async (tx) => {
      const record = await this.#records.find(tx, found.uuid);
      const decision = decideChecked(record, found, this.#heldBy);
      await this.#records.makeRoom(tx, record, decision.record, { takeover: false });
      return this.#records.apply(tx, record, decision);
    });
  }

  /** The record's host has another name now. Nobody was heard: its status and deadline stay as they are. */
  moved(caller: Caller, uuid: string, host: string): Promise<ServiceView> {
    return this.#store.write(caller, async (tx) => {
      const record = await this.#records.find(tx, uuid);
      if (record === undefined) throw serviceNotFound(uuid);
      const decision = decideMoved(record, host);
      await this.#records.makeRoom(tx, record, decision.record, { takeover: true });
      return this.#records.apply(tx, record, decision, { heard: false });
    });
  }

  /** How many there are of each status, as of the last commit. */
  counts(): StatusCounts {
    return statusCounts(this.#memory.presence);
  }

  /** Every record as of the last commit. Records are immutable: this is one consistent state, at 8 bytes each. */
  records(): ServiceRecord[] {
    const { presence } = this.#memory;
    return Array.from(presence.slots(), (slot) => presence.record(slot));
  }

  /** A record of `records`, with what is known of it now. */
  viewOf(record: ServiceRecord): ServiceView {
    return this.#memory.viewOf(record);
  }

  /** The record of a uuid as of the last commit. */
  find(uuid: string): ServiceRecord | undefined {
    const slot = this.#memory.presence.find(uuid);
    return slot === undefined ? undefined : this.#recordIn(slot);
  }

  /** Gives everybody the time back in which this process stood still. */
  forgive(ms: number): void {
    this.#memory.presence.forgive(ms);
  }

  /**
   * One look over all records: writes the lapses that are due, and revives what was heard while its lapse was being
   * written. Level-triggered: what it cannot write now, the next sweep finds again.
   */
  async sweep(): Promise<void> {
    const nowMs = this.#clock.monotonic();
    const writes: Promise<unknown>[] = [];
    for (const slot of this.#memory.presence.slots()) {
      if (writes.length >= sweepWritesMax) break;
      const record = this.#recordIn(slot);
      const silent = this.#memory.presence.deadlineMs(slot) <= nowMs;
      const heard = this.#memory.presence.heardInTime(slot, nowMs);
      if (!this.#memory.presence.confirmed(slot) && silent) this.#memory.presence.confirm(slot);
      if (record.heldBy !== this.#heldBy) continue;
      if (silent && record.status === 'UP') writes.push(this.#lapse(record.uuid));
      else if (heard && record.reason === 'lapsed')
        writes.push(this.#change(systemCaller, record.uuid, decideBeat));
    }
    await Promise.all(writes.map((write) => write.catch(ignoreGone)));
  }

  /**
   * When the next sweep has something to do, by the monotonic clock: an instant that has passed means now, Infinity
   * means not before a record changes.
   */
  nextDueMs(): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const slot of this.#memory.presence.slots()) {
      const { heldBy, status, reason } = this.#memory.presence.record(slot);
      const own = heldBy === this.#heldBy;
      const deadlineMs = this.#memory.presence.deadlineMs(slot);
      if ((own && status === 'UP') || !this.#memory.presence.confirmed(slot))
        dueMs = Math.min(dueMs, deadlineMs);
      // Heard while its lapse was being written.
      else if (own && reason === 'lapsed' && deadlineMs > this.#clock.monotonic())
        return Number.NEGATIVE_INFINITY;
    }
    return dueMs;
  }

  /** Writes last-seen times of records heard since the last flush. Soft state: no event, may lose its last seconds. */
  async flush(): Promise<void> {
    for (;;) {
      const touched = this.#memory.presence.takeTouched(flushRowsMax);
      if (touched.length === 0) return;
      const rows = touched.map(({ id, lastSeenMs }) => ({ uuid: id, last_seen_ms: lastSeenMs }));
      const heard = JSON.stringify(rows);
      await this.#store.write(systemCaller, (tx) => tx.run(this.#sql.setLastSeen, { heard }));
    }
  }

  /** In a transaction: every record, as it sees them; for an agent that reports all it holds. */
  allIn(tx: Transaction): Promise<ServiceRecord[]> {
    return this.#records.all(tx);
  }

  /** Renews a record that is known and stays as it is, and returns its slot; undefined when there is more to do. */
  #renew(uuid: string, instant: Heard): number | undefined {
    const slot = this.#memory.presence.find(uuid);
    if (slot === undefined) return undefined;
    const record = this.#recordIn(slot);
    // What an agent holds is counted there; a beat that comes here instead neither helps nor harms.
    if (record.heldBy !== this.#heldBy) return slot;
    this.#memory.touch(slot, instant);
    return decideBeat(record).change === null ? slot : undefined;
  }

  /** A beat that revives, or of a record that is not there. */
  async #beatUnsteady(caller: Caller, uuid: string): Promise<ServiceView> {
    if (this.#memory.presence.find(uuid) === undefined) throw await this.#whyUnknown(uuid);
    return this.#change(caller, uuid, decideBeat);
  }

  async #beatResult(caller: Caller, uuid: string): Promise<BeatResult> {
    try {
      const { status } = await this.#beatUnsteady(caller, uuid);
      return { uuid, code: null, status };
    } catch (error) {
      if (error instanceof AppError && (error.code === 'not-found' || error.code === 'taken-over'))
        return { uuid, code: error.code };
      throw error;
    }
  }

  #lapse(uuid: string): Promise<ServiceView> {
    return this.#change(
      systemCaller,
      uuid,
      (record) => {
        const slot = this.#memory.presence.find(uuid);
        const heard = slot !== undefined && this.#memory.presence.deadlineMs(slot) > this.#clock.monotonic();
        return heard ? { record, change: null } : decideLapse(record);
      },
      { heard: false },
    );
  }

  #change(
    caller: Caller,
    uuid: string,
    decide: (record: ServiceRecord, now: number) => Decision,
    options: { heard: boolean } = { heard: false },
  ): Promise<ServiceView> {
    return this.#store.write(caller, async (tx) => {
      const record = await this.#records.find(tx, uuid);
      if (record === undefined) throw serviceNotFound(uuid);
      return this.#records.apply(tx, record, decide(record, tx.now), options);
    });
  }

  async #whyUnknown(uuid: string): Promise<AppError> {
    const loser = await this.#store.read((session) => session.get(this.#sql.takenOver, { uuid }));
    if (loser === undefined) return serviceNotFound(uuid);
    return new AppError(
      'taken-over',
      `Cannot renew service ${uuid}: ${loser.by_uuid} has taken over its type and host`,
      {
        details: { holder: loser.by_uuid },
      },
    );
  }

  #recordIn(slot: number): ServiceRecord {
    return this.#memory.presence.record(slot);
  }
}

/** A record that was deleted before its lapse could be written needs none. */
function ignoreGone(error: unknown): void {
  if (!(error instanceof AppError && error.code === 'not-found')) throw error;
}

/** One copy of equal texts, of which each row brings its own. */
function sharedTexts(): (text: string) => string {
  const known = new Map<string, string>();
  return (text) => {
    const shared = known.get(text);
    if (shared === undefined) known.set(text, text);
    return shared ?? text;
  };
}
