/**
 * The write queue: many callers, one transaction, one sync of the disk.
 *
 * Writes that arrive in one turn of the event loop wait for the next turn; a drain then runs them one after another in
 * one transaction, adds their events, takes their revisions last, commits, and only then resolves them. So a light
 * load has one write per commit and a heavy one hundreds, without a timer.
 *
 * A batch runs plain first. Only when a function fails after it has written is everything rolled back and the batch
 * run again with a savepoint around each: savepoints cost two statements a write, failures after writing are rare.
 * A function that fails before it has written just rejects.
 *
 * States: `open`; `halted` (a commit failed, the disk is full, or another process leads: writes are refused with the
 * reason until `resume`); `closing` (what is queued still runs) and closed.
 *
 * Measured (test/bench/store.ts; Node 24.20, SQLite 3.54 with synchronous=FULL, ext4, 2 shared cores), one updated row
 * and one event each: 64 callers 63,800 writes/s (15 µs of CPU each), 512 callers 94,400, one caller 5,600; without
 * the event 139,000. By hand, prepared and synchronous, 64 to a commit: 69,400. So the queue, the async port and the
 * log's bookkeeping together cost a twelfth.
 */
import type { CompiledQuery } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import type { Caller } from '../../domain/access.ts';
import { AppError } from '../../domain/error.ts';
import type { EventDraft } from '../../domain/event.ts';
import { type AuditedCall, AuditTrail } from './audit-trail.ts';
import type { Driver, Failure } from './driver.ts';
import type { Addition, Prepared, Rewind, StoreLog } from './log.ts';
import type { Dialect, Statement, Transaction } from './port.ts';

export interface QueueLimits {
  /** Writes in one transaction. */
  readonly batchCountMax: number;
  /** How long a transaction takes up further writes. */
  readonly batchTimeMaxMs: number;
  /** Writes that wait; one more is refused as `unavailable`. */
  readonly lengthMax: number;
}

export const queueLimits: QueueLimits = { batchCountMax: 1_000, batchTimeMaxMs: 20, lengthMax: 10_000 };

/** A batch that failed as a whole. `prepared` is set when its commit gave no answer, so that it may be kept or not. */
export interface BatchFailure {
  readonly kind: Exclude<Failure, 'refused'>;
  readonly error: unknown;
  readonly pending: Pending | null;
}

/** A batch whose commit gave no answer: what it adds to the log, and what it does to memory if it turns out to be kept. */
export interface Pending {
  readonly prepared: Prepared;
  readonly effects: readonly (() => void)[];
}

export interface QueueOptions {
  driver: Driver;
  log: StoreLog;
  clock: Clock;
  limits: QueueLimits;
  /**
   * Called when a batch failed as a whole and the queue halts; returns what later callers are told until `resume`. Must
   * not throw: nobody would call `resume`.
   */
  onFailure: (failure: BatchFailure) => () => AppError;
  /** Hears of effects that throw, and of `onFailure` should it. */
  onFault: (error: unknown) => void;
}

interface Job {
  readonly caller: Caller;
  readonly fn: (tx: Transaction) => Promise<unknown>;
  readonly rewind: Rewind | null;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** How one job's run went: it holds a share of the batch, or it failed and left no trace. */
type Outcome =
  | { readonly job: Job; readonly share: Share; readonly value: unknown }
  | { readonly job: Job; readonly error: unknown };

export class WriteQueue {
  readonly #options: QueueOptions;
  readonly #waiting: Job[] = [];
  #refusal: (() => AppError) | undefined;
  #closing = false;
  #scheduled = false;
  #draining: Promise<void> | undefined;
  #lastBatchMs = 0;
  readonly #audit: AuditTrail;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#audit = new AuditTrail(options.driver.dialect);
  }

  /** Writes that wait for their turn. */
  get length(): number {
    return this.#waiting.length;
  }

  write<T>(
    caller: Caller,
    fn: (tx: Transaction) => Promise<T>,
    options: { rewind?: Rewind } = {},
  ): Promise<T> {
    const refusal = this.#refuse();
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ caller, fn, rewind: options.rewind ?? null, resolve, reject });
      this.#schedule();
    });
  }

  /** Refuses everything that waits and everything that comes, until `resume`. A batch under way ends first. */
  halt(refusal: () => AppError): void {
    this.#refusal = refusal;
    for (const job of this.#waiting.splice(0)) job.reject(refusal());
  }

  resume(): void {
    this.#refusal = undefined;
  }

  /** A batch whose commit had not answered turned out to be kept: memory follows, though its callers heard of an error. */
  settle({ prepared, effects }: Pending): void {
    this.#options.log.advance(prepared);
    this.#publish(prepared, effects);
  }

  /** Takes no further writes; resolves when those before have ended. */
  async close(): Promise<void> {
    this.#closing = true;
    while (this.#waiting.length > 0 || this.#draining !== undefined) {
      this.#draining ??= this.#drain();
      await this.#draining;
    }
  }

  #refuse(): AppError | undefined {
    if (this.#closing) return new AppError('unavailable', 'Cannot write: the store is closing');
    if (this.#refusal !== undefined) return this.#refusal();
    const { limits } = this.#options;
    if (this.#waiting.length < limits.lengthMax) return undefined;
    const batches = Math.ceil(this.#waiting.length / limits.batchCountMax);
    return new AppError(
      'unavailable',
      `Cannot write: ${this.#waiting.length} writes are waiting already, try again`,
      {
        retryAfterMs: Math.min(5_000, Math.max(100, Math.ceil(batches * this.#lastBatchMs))),
      },
    );
  }

  #schedule(): void {
    if (this.#scheduled || this.#draining !== undefined) return;
    this.#scheduled = true;
    this.#options.clock.nextTurn(() => {
      this.#scheduled = false;
      if (this.#waiting.length > 0) this.#draining ??= this.#drain();
    });
  }

  /** One batch; never rejects. What arrived beyond the limits waits for the next turn, so that input is served between. */
  async #drain(): Promise<void> {
    const { clock } = this.#options;
    const startedMs = clock.monotonic();
    await this.#runBatch();
    this.#lastBatchMs = clock.monotonic() - startedMs;
    this.#draining = undefined;
    if (this.#waiting.length > 0) this.#schedule();
  }

  async #runBatch(): Promise<void> {
    const { driver, clock, limits, log } = this.#options;
    const batch: Job[] = [];
    const deadlineMs = clock.monotonic() + limits.batchTimeMaxMs;
    const take = () => {
      const full =
        batch.length >= limits.batchCountMax || (batch.length > 0 && clock.monotonic() >= deadlineMs);
      const job = full ? undefined : this.#waiting.shift();
      if (job !== undefined) batch.push(job);
      return job;
    };
    let pending: Pending | null = null;
    try {
      const outcomes = (await this.#runPlain(take)) ?? (await this.#runGuarded(batch));
      const shares = outcomes.flatMap((outcome) => ('share' in outcome ? [outcome.share] : []));
      const effects = shares.flatMap((share) => share.effects);
      let prepared: Prepared | undefined;
      if (shares.some((share) => share.dirty)) {
        prepared = log.prepare(shares);
        await this.#audit.append(driver.writer, auditedCalls(shares, prepared));
        await driver.append(prepared.entries);
        pending = { prepared, effects };
      }
      await driver.commit();
      if (prepared !== undefined) log.advance(prepared);
      this.#publish(prepared, effects);
      for (const outcome of outcomes) {
        if ('share' in outcome) outcome.job.resolve(outcome.value as never);
        else outcome.job.reject(outcome.error);
      }
    } catch (error) {
      await this.#fail(batch, error, pending);
    }
  }

  /** Undefined, and rolled back: a function failed after it had written. */
  async #runPlain(take: () => Job | undefined): Promise<Outcome[] | undefined> {
    const { driver } = this.#options;
    const outcomes: Outcome[] = [];
    await driver.begin();
    for (let job = take(); job !== undefined; job = take()) {
      const { outcome, dirty } = await this.#runJob(job);
      if ('error' in outcome && dirty) {
        await driver.rollback();
        return undefined;
      }
      outcomes.push(outcome);
    }
    return outcomes;
  }

  async #runGuarded(batch: readonly Job[]): Promise<Outcome[]> {
    const { driver } = this.#options;
    const outcomes: Outcome[] = [];
    await driver.begin();
    for (const job of batch) {
      await driver.savepoint();
      const { outcome } = await this.#runJob(job);
      if ('error' in outcome) await driver.undo();
      else await driver.release();
      outcomes.push(outcome);
    }
    return outcomes;
  }

  /** Throws only what concerns the whole batch. */
  async #runJob(job: Job): Promise<{ outcome: Outcome; dirty: boolean }> {
    const { driver, clock } = this.#options;
    const share = new Share(driver, job, clock.now());
    try {
      const value = await job.fn(share);
      share.close();
      return { outcome: { job, share, value }, dirty: share.dirty };
    } catch (error) {
      share.abandon();
      return { outcome: { job, error }, dirty: share.dirty };
    }
  }

  #publish(prepared: Prepared | undefined, effects: readonly (() => void)[]): void {
    for (const effect of effects) {
      try {
        effect();
      } catch (error) {
        this.#options.onFault(error);
      }
    }
    if (prepared !== undefined) this.#options.log.tell(prepared.kept);
  }

  /** Rejects the whole batch, and everything until `resume`. */
  async #fail(batch: readonly Job[], error: unknown, pending: Pending | null): Promise<void> {
    const { driver, onFailure, onFault } = this.#options;
    const failure = driver.failureOf(error);
    let kind: BatchFailure['kind'] = failure === 'refused' ? 'broken' : failure;
    try {
      await driver.rollback();
    } catch {
      // The first error says what happened; a connection that cannot even roll back is in the unknown.
      kind = 'broken';
    }
    try {
      this.halt(onFailure({ kind, error, pending: kind === 'broken' ? pending : null }));
    } catch (fault) {
      // Whoever waits is answered even so. Going on would write after a batch of which nothing is known.
      onFault(fault);
      this.halt(() => batchError(kind, error));
    }
    for (const job of batch) job.reject(batchError(kind, error));
  }
}

/** What a caller may read: what is wrong with the machine stands in the log and in healthz. */
function batchError(kind: BatchFailure['kind'], cause: unknown): AppError {
  switch (kind) {
    case 'full':
      return new AppError(
        'storage-full',
        'Cannot write: the disk is full, nothing of this write is kept; free some space',
        { cause, retryAfterMs: 1_000 },
      );
    case 'fenced':
      return new AppError(
        'unavailable',
        'Cannot write: another registry leads now, nothing of this write is kept; try again',
        {
          cause,
          retryAfterMs: 1_000,
        },
      );
    case 'broken':
      return new AppError(
        'unavailable',
        'Cannot tell whether this write is kept: the database failed; read before trying again',
        {
          cause,
          retryAfterMs: 1_000,
        },
      );
  }
}

/** One function's share of a batch: the transaction that it sees. */
class Share implements Transaction, Addition {
  readonly dialect: Dialect;
  readonly now: number;
  readonly caller: Caller;
  readonly rewind: Rewind | null;
  readonly drafts: EventDraft[] = [];
  readonly effects: (() => void)[] = [];
  readonly #driver: Driver;
  #written: boolean;
  #closed = false;
  /** The first statement that failed. PostgreSQL's transaction is lost with it, so here too the function has failed. */
  #error: { cause: unknown } | undefined;

  constructor(driver: Driver, job: Job, now: number) {
    this.dialect = driver.dialect;
    this.now = now;
    this.caller = job.caller;
    this.rewind = job.rewind;
    this.#written = job.rewind !== null;
    this.#driver = driver;
  }

  get actor(): string {
    return this.caller.subject;
  }

  /** Whether undoing this function alone needs a rollback, and whether committing it needs more than nothing. */
  get dirty(): boolean {
    return (
      this.#written || this.drafts.length > 0 || (this.#error !== undefined && this.dialect === 'postgres')
    );
  }

  /** The function has returned. Throws when it swallowed the failure of a statement. */
  close(): void {
    this.#closed = true;
    if (this.#error !== undefined) throw this.#error.cause;
  }

  /** The function has failed. Throws when that is the database's failure, which concerns the whole batch. */
  abandon(): void {
    this.#closed = true;
    if (this.#error !== undefined && this.#driver.failureOf(this.#error.cause) !== 'refused')
      throw this.#error.cause;
  }

  append(draft: EventDraft): void {
    this.#check();
    this.drafts.push(draft);
  }

  onCommit(effect: () => void): void {
    this.#check();
    this.effects.push(effect);
  }

  all<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row[]> {
    this.#before(statement.sql);
    return this.#watch(this.#driver.writer.all(statement, args));
  }

  get<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row | undefined> {
    this.#before(statement.sql);
    return this.#watch(this.#driver.writer.get(statement, args));
  }

  run<Args>(statement: Statement<Args, unknown>, args: Args): Promise<number> {
    this.#before(statement.sql);
    return this.#watch(this.#driver.writer.run(statement, args));
  }

  query<Row>(query: CompiledQuery<Row>): Promise<Row[]> {
    this.#before(query.sql);
    return this.#watch(this.#driver.writer.query(query));
  }

  #before(sql: string): void {
    this.#check();
    if (!this.#written && !reads.test(sql)) this.#written = true;
  }

  async #watch<T>(result: Promise<T>): Promise<T> {
    try {
      return await result;
    } catch (error) {
      this.#error ??= { cause: error };
      throw error;
    }
  }

  #check(): void {
    if (this.#closed)
      throw new Error('Cannot use a transaction after its function has ended: await everything inside it');
  }
}

function auditedCalls(shares: readonly Share[], { places }: Prepared): AuditedCall[] {
  return shares.flatMap(({ caller, now }, index) => {
    const events = places[index]?.events;
    return events === undefined ? [] : [{ caller, now, events }];
  });
}

/** Everything else counts as a write, also `with … insert`. */
const reads = /^\s*select\b/i;
