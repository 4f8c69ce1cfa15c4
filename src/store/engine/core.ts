/**
 * What a store is on either database: the queue, the log, its health, and one timer for whatever it waits for. How it
 * comes back after a failure is each database's own (store.ts, postgres-store.ts).
 */
import type { Cancel, Clock } from '../../base/clock.ts';
import { limits } from '../../base/limits.ts';
import type { Logger } from '../../base/log.ts';
import type { Caller } from '../../domain/access.ts';
import { AppError } from '../../domain/error.ts';
import type { Mark } from '../../domain/event.ts';
import type { BackupResult } from './backup.ts';
import type { BallastState } from './ballast.ts';
import { type CompactionLimits, compactionLimits, compactLog } from './compaction.ts';
import type { Driver } from './driver.ts';
import { damaged, readTail, StoreLog, type Verification } from './log.ts';
import type { Dialect, Session, Store, Transaction } from './port.ts';
import { type BatchFailure, type QueueLimits, queueLimits, WriteQueue } from './queue.ts';
import type { RingLimits } from './ring.ts';

export interface CoreLimits {
  readonly queue: QueueLimits;
  readonly ring: RingLimits;
  readonly compaction: CompactionLimits;
}

export const coreLimits: CoreLimits = {
  queue: queueLimits,
  ring: { countMax: limits.ringRevisionsMax, bytesMax: limits.ringBytes },
  compaction: compactionLimits,
};

/** `standby`: another process writes. */
export type StoreState = 'ok' | 'storage-full' | 'failed' | 'standby';

/** For healthz. `detail` says what is wrong and what the store does about it; null when nothing is. */
export interface StoreHealth {
  readonly state: StoreState;
  readonly detail: string | null;
  readonly ballast: BallastState;
  /** Writes that wait. */
  readonly waiting: number;
}

/** A store with what its owner does to it, beyond what the services need. */
export interface OpenStore extends Store {
  readonly log: StoreLog;
  health(): StoreHealth;
  /** Whether this process writes. On SQLite always; on PostgreSQL one of several. */
  leader(): boolean;
  /**
   * Hears when this process begins to lead (true) or learns that another one does (false). What memory derived from
   * the store is worthless after either. Never called on SQLite. Returns how to stop listening.
   */
  onLeadership(listener: (leading: boolean) => void): () => void;
  /** Forgets revisions beyond the limits; returns how many. Throws the signal's reason when aborted. */
  compact(options?: { signal?: AbortSignal }): Promise<number>;
  /** Walks the hash chain after `from`, or all of it, and names the first bad revision. */
  verify(options?: { from?: number }): Promise<Verification>;
  /** A copy as one file; `conflict` when it exists. On PostgreSQL `unprocessable`, naming pg_dump. */
  backup(file: string): Promise<BackupResult>;
}

export interface CoreOptions<D extends Driver> {
  driver: D;
  log: StoreLog;
  clock: Clock;
  logger: Logger;
  limits: CoreLimits;
}

export abstract class CoreStore<D extends Driver> implements OpenStore {
  readonly dialect: Dialect;
  readonly log: StoreLog;
  protected readonly driver: D;
  protected readonly queue: WriteQueue;
  protected readonly clock: Clock;
  protected readonly logger: Logger;
  readonly #limits: CoreLimits;
  #state: StoreState = 'ok';
  #detail: string | null = null;
  #timer: Cancel = () => undefined;
  #closed: Promise<void> | undefined;

  constructor({ driver, log, clock, logger, limits }: CoreOptions<D>) {
    this.dialect = driver.dialect;
    this.log = log;
    this.driver = driver;
    this.clock = clock;
    this.logger = logger;
    this.#limits = limits;
    this.queue = new WriteQueue({
      driver,
      log,
      clock,
      limits: limits.queue,
      onFailure: (failure) => this.onFailure(failure),
      onFault: (err) => logger.error({ err }, 'effect of a commit failed'),
    });
  }

  write<T>(caller: Caller, fn: (tx: Transaction) => Promise<T>): Promise<T> {
    return this.queue.write(caller, fn);
  }

  async read<T>(fn: (session: Session) => Promise<T>): Promise<T> {
    try {
      return await this.driver.read(fn);
    } catch (error) {
      if (
        error instanceof AppError ||
        (this.#state !== 'failed' && this.driver.failureOf(error) !== 'broken')
      )
        throw error;
      throw new AppError('unavailable', 'Cannot read: the database does not answer, try again', {
        cause: error,
        retryAfterMs: 1_000,
      });
    }
  }

  async beginEpoch(caller: Caller, options: { atLeast: number; reason: string }): Promise<Mark> {
    let mark = this.log.head();
    const placed = (at: Mark) => {
      mark = at;
    };
    await this.queue.write(caller, () => Promise.resolve(), { rewind: { ...options, placed } });
    return mark;
  }

  health(): StoreHealth {
    return { state: this.#state, detail: this.#detail, ballast: 'off', waiting: this.queue.length };
  }

  compact(options: { signal?: AbortSignal } = {}): Promise<number> {
    return compactLog(this, this.log, { limits: this.#limits.compaction, ...options });
  }

  verify(options: { from?: number } = {}): Promise<Verification> {
    const pause = () => new Promise<void>((resolve) => this.clock.nextTurn(resolve));
    return this.log.verify({ ...options, pause });
  }

  abstract leader(): boolean;
  abstract onLeadership(listener: (leading: boolean) => void): () => void;
  abstract backup(file: string): Promise<BackupResult>;

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** A batch failed as a whole; returns what later callers are told until `queue.resume`. */
  protected abstract onFailure(failure: BatchFailure): () => AppError;
  /** Gives back what the store holds, after the last write. */
  protected abstract release(): Promise<void>;

  protected get state(): StoreState {
    return this.#state;
  }

  protected get closing(): boolean {
    return this.#closed !== undefined;
  }

  /** One look at a time is planned: whatever the state, there is one thing to wait for. */
  protected later(ms: number, look: () => void): void {
    this.#timer();
    if (!this.closing) this.#timer = this.clock.after(ms, look);
  }

  protected enter(state: StoreState, detail: string | null): void {
    this.#state = state;
    this.#detail = detail;
    const { place } = this.driver;
    if (state === 'ok') this.logger.info({ place }, 'store writes');
    else if (state === 'standby') this.logger.info({ place }, 'store stands by');
    else this.logger.error({ state, detail, place }, 'store refuses writes');
  }

  async #close(): Promise<void> {
    this.#timer();
    await this.queue.close();
    this.#timer();
    await this.release();
  }
}

/** The log as the database has it. Its end must hold together; the rest is checked by `verify`, not at every start. */
export async function openLog(
  driver: Driver,
  options: { ring: RingLimits; logger: Logger },
): Promise<StoreLog> {
  const log = new StoreLog({
    driver,
    tail: await driver.read((session) => readTail(session)),
    ring: options.ring,
    onFault: (err) => options.logger.error({ err }, 'log listener failed'),
  });
  await checkEnd(log, driver.place);
  return log;
}

/** Revisions checked at a start and after a failure: about a millisecond. */
const endLength = 256;

/** Throws `internal` naming the first bad revision. */
export async function checkEnd(log: StoreLog, place: string): Promise<void> {
  const from = Math.max(log.base().revision, log.head().revision - endLength);
  const found = await log.verify({ from, pause: () => Promise.resolve() });
  if (!found.ok) throw damaged(place, found.revision, found.detail);
}
