/**
 * Reports on their way to the registry. Each is appended in the transaction of the change that it tells of, sent in
 * order, and in effect there exactly once: the registry keys them by (host, epoch, seq) and ignores what it has.
 *
 * Numbers. A report's seq is what is acknowledged plus its place in the queue. `cut` fixes the numbers of what it
 * hands out, before it is sent: the registry may know those, so they are never dropped or renumbered. What was never
 * cut may still be dropped without leaving a hole.
 *
 * Full. Beyond `itemsMax` or `bytesMax`, reports that a later one of the same record supersedes go, oldest first
 * (every report carries the whole record, so only history is lost, and counted in `dropped`). Where that frees too
 * little, all that was never cut gives way to one `services` report.
 *
 * Lives. `epoch` numbers the lives of the outbox. It begins a new one (`reset`) when the two sides disagree about the
 * old one: after a rewind on either side, or a new registry. What is not yet in effect is carried over, in order and
 * numbered anew, and one `services` report with all that is held follows it.
 *
 * Inactive. Without a registry nothing is kept; activating it is a `reset`.
 */
import { limits } from '../base/limits.ts';
import { systemCaller } from '../domain/access.ts';
import type { Report, ReportBatch, ReportType } from '../domain/services.ts';
import type { Session, Store, Transaction } from './engine/port.ts';
import { type OutboxStateRow, outboxStatements, type QueuedRow } from './outbox-sql.ts';

export interface ReportDraft {
  readonly type: ReportType;
  /** The record that it tells of; a later report of the same one supersedes it. Null for `services`. */
  readonly uuid: string | null;
  readonly body: unknown;
}

export interface OutboxOptions {
  readonly store: Store;
  /** The `services` report: everything that is held, as this transaction sees it. */
  readonly reportAll: (tx: Transaction) => Promise<readonly ReportDraft[]>;
  /** Default 100,000: almost three hours at 10 changes a second. */
  readonly itemsMax?: number;
  /** Default 64 MiB. */
  readonly bytesMax?: number;
}

export interface OutboxStatus {
  readonly active: boolean;
  readonly epoch: number;
  /** The last report that is in effect at the registry. */
  readonly ackedSeq: number;
  readonly pending: number;
  readonly pendingBytes: number;
  /** Reports that were given up in the life of this database. */
  readonly dropped: number;
}

/** The last report in effect at the registry, in which life of the outbox. */
export interface Acked {
  readonly epoch: number;
  readonly seq: number;
}

/** After a shrink this much of the limit is used at most, so that the next one is far away. */
const shrinkTo = 0.8;

/** Envelope of a report in a batch, beside its body. */
const itemOverheadBytes = 96;

export class Outbox {
  readonly #store: Store;
  readonly #reportAll: (tx: Transaction) => Promise<readonly ReportDraft[]>;
  readonly #itemsMax: number;
  readonly #bytesMax: number;
  readonly #sql: ReturnType<typeof outboxStatements>;
  readonly #listeners = new Set<() => void>();
  /** What was queued before this process began. Only that can be in effect by a life that this database forgot. */
  readonly #inheritedId: number;
  /** As of the last commit, for answers that cannot wait; decisions read the row in their transaction. */
  #state: OutboxStateRow;

  private constructor(options: OutboxOptions, loaded: { state: OutboxStateRow; lastId: number }) {
    this.#store = options.store;
    this.#reportAll = options.reportAll;
    this.#itemsMax = options.itemsMax ?? 100_000;
    this.#bytesMax = options.bytesMax ?? 64 * 1024 * 1024;
    this.#sql = outboxStatements(options.store.dialect);
    this.#state = loaded.state;
    this.#inheritedId = loaded.lastId;
  }

  static async open(options: OutboxOptions): Promise<Outbox> {
    const sql = outboxStatements(options.store.dialect);
    const loaded = await options.store.read(async (session) => {
      const state = await stateOf(session, sql);
      return { state, lastId: (await session.get(sql.upTo, { count: state.items }))?.id ?? 0 };
    });
    return new Outbox(options, loaded);
  }

  /** Queues a report; it exists if and only if `tx` commits. Does nothing while inactive. */
  async append(tx: Transaction, draft: ReportDraft): Promise<void> {
    const body = JSON.stringify(draft.body);
    const bytes = Buffer.byteLength(body) + itemOverheadBytes;
    const state = await tx.get(this.#sql.grow, { bytes });
    if (state === undefined) return;
    await tx.run(this.#sql.insert, { type: draft.type, uuid: draft.uuid, atMs: tx.now, body, bytes });
    const over = state.items > this.#itemsMax || state.bytes > this.#bytesMax;
    this.#publish(tx, over ? await this.#shrink(tx, state) : state);
    tx.onCommit(() => this.#wake());
  }

  /** The next reports to send, their numbers fixed; null when there are none. The same again until they are acknowledged. */
  cut(
    limit: { items: number; bytes: number } = {
      items: limits.reportBatchMax,
      bytes: limits.reportBatchBytes,
    },
  ): Promise<ReportBatch | null> {
    return this.#store.write(systemCaller, async (tx) => {
      const state = await stateOf(tx, this.#sql);
      const rows = within(await tx.all(this.#sql.first, { limit: limit.items }), limit.bytes);
      const last = rows.at(-1);
      if (state.active === 0 || last === undefined) return null;
      if (last.id > state.sent_id) this.#publish(tx, await this.#save(tx, { ...state, sent_id: last.id }));
      return {
        epoch: state.epoch,
        items: rows.map((row, index) => toReport(row, state.acked_seq + index + 1)),
      };
    });
  }

  /**
   * Forgets what is in effect at the registry. `ahead`: it acknowledges what was never sent from here, so this
   * database is older than it should be, and nothing is forgotten. An acknowledgement of another life changes nothing.
   */
  ack(acked: Acked): Promise<'ok' | 'ahead'> {
    return this.#store.write(systemCaller, async (tx) => {
      const state = await stateOf(tx, this.#sql);
      if (acked.epoch !== state.epoch || acked.seq <= state.acked_seq) return 'ok';
      if (acked.seq > state.acked_seq + (await this.#countUpTo(tx, state.sent_id))) return 'ahead';
      this.#publish(tx, await this.#dropFirst(tx, state, acked.seq - state.acked_seq));
      return 'ok';
    });
  }

  /** Gives up the first report, which the registry refuses to take: it is `seq` of `epoch` and never was in effect. */
  discard(at: Acked): Promise<void> {
    return this.#store.write(systemCaller, async (tx) => {
      const state = await stateOf(tx, this.#sql);
      if (at.epoch !== state.epoch || at.seq !== state.acked_seq + 1) return;
      const after = await this.#dropFirst(tx, state, 1);
      this.#publish(
        tx,
        await this.#save(tx, { ...after, acked_seq: state.acked_seq, dropped: state.dropped + 1 }),
      );
    });
  }

  /**
   * Begins a new life, at least `epoch`. What `acked` says is in effect is not sent again: by number in this life;
   * when it speaks of a later one than this database knows, all that an earlier process queued. The rest is carried
   * over, and everything that is held follows.
   */
  async reset(tx: Transaction, options: { epoch: number; acked: Acked | null }): Promise<void> {
    const { acked } = options;
    let state = await stateOf(tx, this.#sql);
    const inherited = await this.#countUpTo(tx, Math.max(this.#inheritedId, state.sent_id));
    const later = acked !== null && acked.epoch > state.epoch;
    const inEffect = acked !== null && acked.epoch === state.epoch ? acked.seq - state.acked_seq : 0;
    const done = later ? inherited : Math.min(inherited, Math.max(0, inEffect));
    if (done > 0) state = await this.#dropFirst(tx, state, done);
    await this.#save(tx, {
      ...state,
      active: 1,
      epoch: Math.max(options.epoch, state.epoch + 1, acked === null ? 0 : acked.epoch + 1),
      acked_seq: 0,
      sent_id: 0,
    });
    for (const draft of await this.#reportAll(tx)) await this.append(tx, draft);
  }

  /** Keeps nothing from now on: there is no registry. */
  async suspend(): Promise<void> {
    if (this.#state.active === 0) return;
    await this.#store.write(systemCaller, async (tx) => {
      const state = await stateOf(tx, this.#sql);
      const empty = state.items === 0 ? state : await this.#dropFirst(tx, state, state.items);
      this.#publish(tx, await this.#save(tx, { ...empty, active: 0 }));
    });
  }

  /** As of the last commit. */
  status(): OutboxStatus {
    const { active, epoch, acked_seq, items, bytes, dropped } = this.#state;
    return { active: active === 1, epoch, ackedSeq: acked_seq, pending: items, pendingBytes: bytes, dropped };
  }

  /** Calls `listener` after each commit that queued something. Returns how to stop that. */
  onQueued(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #shrink(tx: Transaction, state: OutboxStateRow): Promise<OutboxStateRow> {
    const target = Math.floor(this.#itemsMax * shrinkTo);
    const byItems = Math.max(0, state.items - target);
    const byBytes = state.bytes > this.#bytesMax * shrinkTo ? state.items : 0;
    const superseded = await tx.run(this.#sql.dropSuperseded, {
      sentId: state.sent_id,
      limit: Math.max(byItems, byBytes),
    });
    const sums = await tx.get(this.#sql.sums, {});
    const after = {
      ...state,
      items: sums?.items ?? 0,
      bytes: sums?.bytes ?? 0,
      dropped: state.dropped + superseded,
    };
    // Above this, the records themselves are that many, or all is in flight: no use in trying again with the next one.
    const enough = after.items <= this.#itemsMax * 0.9 && after.bytes <= this.#bytesMax * 0.9;
    return enough ? this.#save(tx, after) : this.#collapse(tx, after);
  }

  async #collapse(tx: Transaction, state: OutboxStateRow): Promise<OutboxStateRow> {
    const all = await this.#reportAll(tx);
    const dropped = await tx.run(this.#sql.dropUnsent, { sentId: state.sent_id });
    for (const { type, uuid, body: content } of all) {
      const body = JSON.stringify(content);
      const bytes = Buffer.byteLength(body) + itemOverheadBytes;
      await tx.run(this.#sql.insert, { type, uuid, atMs: tx.now, body, bytes });
    }
    const sums = await tx.get(this.#sql.sums, {});
    return this.#save(tx, {
      ...state,
      items: sums?.items ?? 0,
      bytes: sums?.bytes ?? 0,
      dropped: state.dropped + dropped,
    });
  }

  async #countUpTo(tx: Transaction, id: number): Promise<number> {
    return (await tx.get(this.#sql.countUpTo, { id }))?.count ?? 0;
  }

  /** Removes the first `count` reports as in effect. */
  async #dropFirst(tx: Transaction, state: OutboxStateRow, count: number): Promise<OutboxStateRow> {
    const upTo = await tx.get(this.#sql.upTo, { count });
    const id = upTo?.id ?? 0;
    await tx.run(this.#sql.dropUpTo, { id });
    return this.#save(tx, {
      ...state,
      acked_seq: state.acked_seq + count,
      items: state.items - count,
      bytes: state.bytes - (upTo?.bytes ?? 0),
    });
  }

  async #save(tx: Transaction, state: OutboxStateRow): Promise<OutboxStateRow> {
    await tx.run(this.#sql.save, state);
    return state;
  }

  #publish(tx: Transaction, state: OutboxStateRow): void {
    tx.onCommit(() => {
      this.#state = state;
    });
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }
}

async function stateOf(session: Session, sql: ReturnType<typeof outboxStatements>): Promise<OutboxStateRow> {
  const state = await session.get(sql.state, {});
  if (state === undefined) throw new Error('outbox: its state row is missing');
  return state;
}

/** As many of `rows` as fit, but at least one: a report that is larger alone is sent alone. */
function within(rows: readonly QueuedRow[], bytesMax: number): readonly QueuedRow[] {
  let bytes = 0;
  const end = rows.findIndex((row, index) => {
    bytes += row.bytes;
    return index > 0 && bytes > bytesMax;
  });
  return end === -1 ? rows : rows.slice(0, end);
}

function toReport(row: QueuedRow, seq: number): Report {
  return { seq, type: row.type, atMs: row.at_ms, body: JSON.parse(row.body) as unknown };
}
