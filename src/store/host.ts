/**
 * Hosts on SQL, with beats in memory. A beat of a host that is UP writes nothing: it touches its slot and answers from
 * what is known. Last-seen times and witnessed marks reach the disk in batches.
 */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { type EventType, isAhead, type Mark } from '../domain/event.ts';
import { type Flapping, noteTransition, thinned } from '../domain/guards.ts';
import {
  type Beat,
  type BeatAnswer,
  beatIntervalMs,
  decideHostBeat,
  decideHostGone,
  decideHostName,
  type HostDecision,
  type HostRecord,
  type HostView,
  hostDeadlineMs,
  hostEvent,
  hostNameCandidates,
} from '../domain/host.ts';
import { mintUuid, parseUuid, requirePrintable } from '../domain/ids.ts';
import type { CheckIn, CheckInAnswer } from '../domain/inventory.ts';
import { Presence } from '../domain/presence.ts';
import { readReport } from '../domain/report.ts';
import type { HostFilter, HostService, JoinAnswer, Page, PageRequest, ReportBatch } from '../domain/services.ts';
import type { AccessStore } from './access.ts';
import { hostStatements } from './host-sql.ts';
import type { InventoryStore } from './inventory.ts';
import type { LivenessStore } from './liveness.ts';
import { decodeCursor, encodeCursor } from './page.ts';
import type { Store, Transaction } from './port.ts';
import type { HostRow } from './query.ts';

const flushRowsMax = 1_000;

export interface HostStoreOptions {
  store: Store;
  clock: Clock;
  random: Random;
  liveness: LivenessStore;
  inventory: InventoryStore;
  access: AccessStore;
  /** What the registry can carry; above it the interval is stretched. */
  beatsPerSecondMax: number;
  /** How fast hosts may come back after an outage, as connections a second. */
  returnsPerSecondMax: number;
  /** Called when a host has seen more of this store's log than there is: the store was rewound. */
  onRewind: (seen: Mark) => void;
}

/** What memory keeps of a host beside its record; one small object each. */
interface HostMemory {
  intervalToldMs: number;
  inventoryHash: string | null;
  /** The furthest seen of the agent's own log. */
  agentMark: Mark | null;
  acked: { epoch: number; seq: number } | null;
  /** The start of the agent that beats now, and its last beat; an older beat of it is a replay. */
  session: { bootId: string; startedAtMs: number; seq: number } | null;
  flapping: Flapping | undefined;
  /** The status that the last event told. */
  toldStatus: 'UP' | 'DOWN';
}

export class HostStore implements HostService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #liveness: LivenessStore;
  readonly #inventory: InventoryStore;
  readonly #access: AccessStore;
  readonly #beatsPerSecondMax: number;
  readonly #returnsPerSecondMax: number;
  readonly #onRewind: (seen: Mark) => void;
  readonly #sql: ReturnType<typeof hostStatements>;
  readonly #presence = new Presence<HostRecord>();
  readonly #memory = new Map<string, HostMemory>();
  readonly #idByName = new Map<string, string>();
  #trusted = true;

  private constructor(options: HostStoreOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#liveness = options.liveness;
    this.#inventory = options.inventory;
    this.#access = options.access;
    this.#beatsPerSecondMax = options.beatsPerSecondMax;
    this.#returnsPerSecondMax = options.returnsPerSecondMax;
    this.#onRewind = options.onRewind;
    this.#sql = hostStatements(options.store.dialect);
  }

  static async open(options: HostStoreOptions): Promise<HostStore> {
    const hosts = new HostStore(options);
    for (const row of await options.store.read((session) => session.all(hosts.#sql.loadAll, {}))) {
      const record = fromRow(row);
      const slot = hosts.#remember(record);
      hosts.#presence.setLastSeen(slot, row.last_seen_ms);
      hosts.#memory.set(record.id, memoryOf(row));
    }
    hosts.ready();
    return hosts;
  }

  /** Every known host keeps its status, unconfirmed, for one deadline and the spread from now. */
  ready(): void {
    const atMs = this.#clock.monotonic();
    for (const slot of this.#presence.slots()) {
      const { intervalToldMs } = this.#memoryOf(this.#presence.record(slot).id);
      this.#presence.rebase(slot, atMs, hostDeadlineMs(intervalToldMs) + this.#spreadMs());
    }
  }

  join(caller: Caller, request: { name: string; region: string | null; machineId: string }): Promise<JoinAnswer> {
    const region = request.region === null ? null : requirePrintable(request.region, 'region');
    return this.#store.write(caller, async (tx) => {
      const known = (await tx.all(this.#sql.byMachine, { machineId: request.machineId })).find(
        (row) => row.name === request.name.trim().toLowerCase() && !this.#isBeating(row.id),
      );
      const record = known === undefined ? await this.#admit(tx, request, region) : fromRow(known);
      const credential = await this.#access.issueHostCredential(tx, record);
      return { id: record.id, name: record.name, credential };
    });
  }

  async get(idOrName: string): Promise<HostView> {
    return this.#view(this.#slotOf(idOrName));
  }

  async list(filter: HostFilter, page: PageRequest): Promise<Page<HostView>> {
    const head = this.#store.log.head();
    const after = page.cursor === undefined ? '' : decodeCursor(page.cursor, 1)[0] ?? '';
    const rows = await this.#store.read((session) => session.query(this.#sql.list(filter, after, page.limit + 1)));
    const names = rows.slice(0, page.limit).map((row) => row.name);
    const last = names.at(-1);
    return {
      items: names.flatMap((name) => {
        const slot = this.#find(name);
        return slot === undefined ? [] : [this.#view(slot)];
      }),
      next: rows.length > page.limit && last !== undefined ? encodeCursor([last]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch: head.epoch, revision: head.revision },
      stale: false,
    };
  }

  /** O(1) and without a write while nothing changes. */
  async beat(caller: Caller, id: string, beat: Beat): Promise<BeatAnswer> {
    const slot = this.#slotOf(id);
    const memory = this.#memoryOf(id);
    const head = this.#store.log.head();
    if (beat.seen !== null && (await this.#isRewound(beat.seen))) this.#onRewind(beat.seen);
    if (!isReplay(memory, beat)) {
      memory.session = { bootId: beat.bootId, startedAtMs: beat.startedAtMs, seq: beat.seq };
      if (beat.leaving) await this.#leave(caller, id);
      else await this.#heard(caller, id, slot, memory);
    }
    // The mark answered is the one from before this beat: an agent that was rewound must see how far it had been.
    const seen = memory.agentMark;
    if (seen === null || !isAhead(seen, beat.own)) memory.agentMark = beat.own;
    return {
      intervalMs: memory.intervalToldMs,
      spreadMs: this.#spreadMs(),
      nowMs: this.#clock.now(),
      own: head,
      seen,
      checkin: beat.inventory === null || beat.inventory === memory.inventoryHash ? 'none' : memory.inventoryHash === null ? 'complete' : 'delta',
      acked: memory.acked,
    };
  }

  checkIn(caller: Caller, id: string, checkIn: CheckIn): Promise<CheckInAnswer> {
    const { name } = this.#presence.record(this.#slotOf(id));
    return this.#store.write(caller, async (tx) => {
      const row = await this.#load(tx, id);
      const answer = await this.#inventory.apply(tx, { id, name, hash: row.inventory_hash }, checkIn);
      if (answer.accepted && answer.hash !== row.inventory_hash) await tx.run(this.#sql.setInventory, { id, hash: answer.hash });
      tx.onCommit(() => {
        this.#memoryOf(id).inventoryHash = answer.hash;
      });
      return answer;
    });
  }

  report(caller: Caller, id: string, batch: ReportBatch): Promise<{ readonly acked: number }> {
    const { name } = this.#presence.record(this.#slotOf(id));
    const contents = batch.items.map((item, index) => readReport(item, index, name));
    return this.#store.write(caller, async (tx) => {
      const row = await this.#load(tx, id);
      const sameLife = row.outbox_epoch === batch.epoch;
      if (row.outbox_epoch !== null && batch.epoch < row.outbox_epoch) {
        throw new AppError('conflict', `Cannot take reports of epoch ${batch.epoch}: epoch ${row.outbox_epoch} has begun`, {
          field: 'epoch',
          details: { epoch: row.outbox_epoch },
        });
      }
      let acked = sameLife ? (row.outbox_seq ?? 0) : 0;
      const gone = row.status === 'UP' ? null : row.reason === 'left' ? 'left' : 'host';
      for (const [index, item] of batch.items.entries()) {
        if (item.seq <= acked) continue;
        if (item.seq !== acked + 1) {
          throw new AppError('conflict', `Cannot take report ${item.seq}: report ${acked + 1} is missing, send from there`, {
            field: `items/${index}/seq`,
            details: { expected: acked + 1 },
          });
        }
        const content = contents[index];
        if (content?.kind === 'service') await this.#liveness.told(tx, content.record, gone);
        else if (content?.kind === 'service-deleted') await this.#liveness.toldDeleted(tx, content.uuid, name);
        else if (content?.kind === 'services') await this.#liveness.toldAll(tx, name, content.records, gone);
        acked = item.seq;
      }
      await tx.run(this.#sql.setOutbox, { id, epoch: batch.epoch, seq: acked });
      tx.onCommit(() => {
        this.#memoryOf(id).acked = { epoch: batch.epoch, seq: acked };
      });
      return { acked };
    });
  }

  /** The id of a host given by id or by name; `not-found`. */
  idOf(idOrName: string): string {
    return this.#presence.record(this.#slotOf(idOrName)).id;
  }

  /** A host by id or by name, as of the last commit. */
  find(idOrName: string): HostView | undefined {
    const slot = this.#find(idOrName);
    return slot === undefined ? undefined : this.#view(slot);
  }

  /** All hosts as of the last commit; records are immutable. */
  views(): HostView[] {
    return Array.from(this.#presence.slots(), (slot) => this.#view(slot));
  }

  /** Who was heard when; for the sweep, which reads it. */
  get presence(): Presence<HostRecord> {
    return this.#presence;
  }

  /** The interval that a host was last told to beat at. */
  intervalToldMs(id: string): number {
    return this.#memoryOf(id).intervalToldMs;
  }

  /** While the registry suspects itself, answers about silent hosts are unconfirmed. */
  setTrusted(trusted: boolean): void {
    this.#trusted = trusted;
  }

  /** Gives every UP host that is past its deadline a whole one from now. */
  rebaseSilent(): void {
    const atMs = this.#clock.monotonic();
    for (const slot of this.#presence.slots()) {
      if (this.#presence.deadlineMs(slot) > atMs) continue;
      const { intervalToldMs } = this.#memoryOf(this.#presence.record(slot).id);
      this.#presence.rebase(slot, atMs, hostDeadlineMs(intervalToldMs));
    }
  }

  /** Writes that a host is lost, with the records that its agent holds, in one revision, unless it was heard meanwhile. */
  lapse(id: string): Promise<void> {
    return this.#store.write(systemCaller, async (tx) => {
      const slot = this.#presence.find(id);
      if (slot === undefined || this.#presence.deadlineMs(slot) > this.#clock.monotonic()) return;
      await this.#transit(tx, await this.#load(tx, id), (record) => decideHostGone(record, 'lapsed'), 'host');
    });
  }

  /** A host heard while its lapse was being written is UP again. */
  revive(id: string): Promise<void> {
    return this.#return(systemCaller, id);
  }

  /** Tells once what thinned events have left untold. */
  async tellThinned(): Promise<void> {
    const nowMs = this.#clock.monotonic();
    for (const [id, memory] of this.#memory) {
      const slot = this.#presence.find(id);
      if (slot === undefined || memory.flapping === undefined || thinned(memory.flapping, nowMs)) continue;
      const record = this.#presence.record(slot);
      if (record.status === memory.toldStatus) continue;
      await this.#store.write(systemCaller, async (tx) => {
        const row = await this.#load(tx, id);
        const change: EventType = row.status === 'UP' ? 'host.returned' : row.reason === 'left' ? 'host.left' : 'host.lapsed';
        await this.#write(tx, { ...fromRow(row), version: row.version + 1 }, change);
      });
    }
  }

  /** Writes last-seen times, intervals told and witnessed marks of hosts heard since the last flush. */
  async flush(): Promise<void> {
    for (;;) {
      const touched = this.#presence.takeTouched(flushRowsMax);
      if (touched.length === 0) return;
      await this.#store.write(systemCaller, async (tx) => {
        for (const { id, lastSeenMs } of touched) {
          const memory = this.#memory.get(id);
          if (memory === undefined) continue;
          await tx.run(this.#sql.setHeard, {
            id,
            lastSeenMs,
            intervalToldMs: memory.intervalToldMs,
            agentEpoch: memory.agentMark?.epoch ?? null,
            agentRevision: memory.agentMark?.revision ?? null,
            agentHash: memory.agentMark?.hash ?? null,
          });
        }
      });
    }
  }

  async #heard(caller: Caller, id: string, slot: number, memory: HostMemory): Promise<void> {
    memory.intervalToldMs = beatIntervalMs(this.#presence.size, this.#beatsPerSecondMax);
    this.#presence.setAllowed(slot, hostDeadlineMs(memory.intervalToldMs));
    this.#presence.touch(slot, { atMs: this.#clock.monotonic(), wallMs: this.#clock.now() });
    if (this.#presence.record(slot).status === 'DOWN') await this.#return(caller, id);
  }

  #return(caller: Caller, id: string): Promise<void> {
    return this.#store.write(caller, async (tx) => {
      await this.#transit(tx, await this.#load(tx, id), decideHostBeat, null);
    });
  }

  #leave(caller: Caller, id: string): Promise<void> {
    return this.#store.write(caller, async (tx) => {
      await this.#transit(tx, await this.#load(tx, id), (record) => decideHostGone(record, 'left'), 'left');
    });
  }

  /** One host's change of status with that of its records. A flapping host's own event may wait (`tellThinned`). */
  async #transit(
    tx: Transaction,
    row: HostRow,
    decide: (record: HostRecord) => HostDecision,
    gone: 'host' | 'left' | null,
  ): Promise<void> {
    const { record, change } = decide(fromRow(row));
    if (change === null) return;
    const nowMs = this.#clock.monotonic();
    const memory = this.#memoryOf(row.id);
    const flapping = noteTransition(memory.flapping, nowMs);
    const quiet = change !== 'host.left' && thinned(flapping, nowMs);
    await this.#write(tx, quiet ? { ...record, version: row.version } : record, quiet ? null : change);
    if (gone === null) await this.#liveness.hostReturned(tx, row.name);
    else await this.#liveness.hostGone(tx, row.name, gone);
    tx.onCommit(() => {
      memory.flapping = quiet ? flapping : { ...flapping, eventAtMs: nowMs };
    });
  }

  async #write(tx: Transaction, record: HostRecord, change: EventType | null): Promise<void> {
    await tx.run(this.#sql.setStatus, { id: record.id, status: record.status, reason: record.reason, version: record.version });
    const slot = this.#presence.find(record.id);
    const lastSeenMs = slot === undefined ? tx.now : this.#presence.lastSeenMs(slot);
    if (change !== null) tx.append(hostEvent(change, { ...record, confirmed: true, lastSeenMs }));
    tx.onCommit(() => {
      this.#presence.confirm(this.#remember(record));
      if (change === null) return;
      const memory = this.#memoryOf(record.id);
      memory.toldStatus = record.status;
      if (memory.flapping !== undefined) memory.flapping = { ...memory.flapping, eventAtMs: this.#clock.monotonic() };
    });
  }

  async #admit(tx: Transaction, request: { name: string; machineId: string }, region: string | null): Promise<HostRecord> {
    const id = mintUuid(tx.now, this.#random);
    const taken = new Set<string>();
    for (const name of hostNameCandidates(request.name, id)) {
      if ((await tx.get(this.#sql.byName, { name })) !== undefined) taken.add(name);
    }
    const record: HostRecord = {
      id,
      name: decideHostName(request.name, id, taken),
      region,
      labels: {},
      self: {},
      status: 'UP',
      reason: null,
      firstSeenMs: tx.now,
      version: 1,
    };
    const intervalToldMs = beatIntervalMs(this.#presence.size, this.#beatsPerSecondMax);
    const row = toRow(record, { machineId: request.machineId, lastSeenMs: tx.now, intervalToldMs });
    await tx.run(this.#sql.insert, row);
    tx.append(hostEvent('host.joined', { ...record, confirmed: true, lastSeenMs: tx.now }));
    tx.onCommit(() => {
      this.#memory.set(id, memoryOf(row));
      const slot = this.#remember(record);
      this.#presence.setAllowed(slot, hostDeadlineMs(intervalToldMs));
      this.#presence.touch(slot, { atMs: this.#clock.monotonic(), wallMs: tx.now });
    });
    return record;
  }

  /** Whether what a host has seen of this store's log is not in it. */
  async #isRewound(seen: Mark): Promise<boolean> {
    const head = this.#store.log.head();
    if (isAhead(seen, head)) return true;
    if (seen.epoch !== head.epoch) return false;
    if (seen.revision === head.revision) return seen.hash !== head.hash;
    const hash = await this.#store.log.hashAt(seen.revision);
    return hash !== null && hash !== seen.hash;
  }

  async #load(tx: Transaction, id: string): Promise<HostRow> {
    const row = await tx.get(this.#sql.byId, { id });
    if (row === undefined) throw notFound(id);
    return row;
  }

  #spreadMs(): number {
    return Math.max(5_000, Math.ceil((this.#presence.size / this.#returnsPerSecondMax) * 1_000));
  }

  #isBeating(id: string): boolean {
    const slot = this.#presence.find(id);
    if (slot === undefined || this.#memoryOf(id).session === null) return false;
    return this.#presence.record(slot).status === 'UP' && this.#presence.deadlineMs(slot) > this.#clock.monotonic();
  }

  #remember(record: HostRecord): number {
    const slot = this.#presence.find(record.id);
    const allowedMs = slot === undefined ? hostDeadlineMs(beatIntervalMs(this.#presence.size, this.#beatsPerSecondMax)) : null;
    if (slot !== undefined) this.#idByName.delete(this.#presence.record(slot).name);
    this.#idByName.set(record.name, record.id);
    return this.#presence.put(record.id, record, allowedMs);
  }

  #find(idOrName: string): number | undefined {
    const id = this.#idByName.get(idOrName.toLowerCase()) ?? parseUuid(idOrName);
    return id === undefined ? undefined : this.#presence.find(id);
  }

  #slotOf(idOrName: string): number {
    const slot = this.#find(idOrName);
    if (slot === undefined) throw notFound(idOrName);
    return slot;
  }

  #memoryOf(id: string): HostMemory {
    const memory = this.#memory.get(id);
    if (memory === undefined) throw notFound(id);
    return memory;
  }

  #view(slot: number): HostView {
    const record = this.#presence.record(slot);
    const overdue = record.status === 'UP' && this.#presence.deadlineMs(slot) <= this.#clock.monotonic();
    const confirmed = this.#presence.confirmed(slot) && (this.#trusted || !overdue);
    return { ...record, confirmed, lastSeenMs: this.#presence.lastSeenMs(slot) };
  }
}

/** A beat of the same start that is not newer than the last one: sent twice, or captured and sent again. */
function isReplay(memory: HostMemory, beat: Beat): boolean {
  const { session } = memory;
  return session !== null && session.bootId === beat.bootId && session.startedAtMs === beat.startedAtMs && beat.seq <= session.seq;
}

function notFound(idOrName: string): AppError {
  return new AppError('not-found', `Cannot find host "${idOrName}": no such host has joined`);
}

function memoryOf(row: HostRow): HostMemory {
  const { agent_epoch: epoch, agent_revision: revision, agent_hash: hash } = row;
  return {
    intervalToldMs: row.interval_told_ms,
    inventoryHash: row.inventory_hash,
    agentMark: epoch === null || revision === null || hash === null ? null : { epoch, revision, hash },
    acked: row.outbox_epoch === null || row.outbox_seq === null ? null : { epoch: row.outbox_epoch, seq: row.outbox_seq },
    session: null,
    flapping: undefined,
    toldStatus: row.status,
  };
}

function fromRow(row: HostRow): HostRecord {
  return {
    id: row.id,
    name: row.name,
    region: row.region,
    labels: JSON.parse(row.labels) as Record<string, string>,
    self: JSON.parse(row.self) as Record<string, string>,
    status: row.status,
    reason: row.reason,
    firstSeenMs: row.first_seen_ms,
    version: row.version,
  };
}

function toRow(record: HostRecord, more: { machineId: string; lastSeenMs: number; intervalToldMs: number }): HostRow {
  return {
    id: record.id,
    name: record.name,
    region: record.region,
    labels: JSON.stringify(record.labels),
    self: JSON.stringify(record.self),
    machine_id: more.machineId,
    status: record.status,
    reason: record.reason,
    first_seen_ms: record.firstSeenMs,
    last_seen_ms: more.lastSeenMs,
    version: record.version,
    interval_told_ms: more.intervalToldMs,
    inventory_hash: null,
    agent_epoch: null,
    agent_revision: null,
    agent_hash: null,
    outbox_epoch: null,
    outbox_seq: null,
  };
}
