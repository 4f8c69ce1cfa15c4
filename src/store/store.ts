/**
 * Opening a store on SQLite: a data directory becomes a `Store`, in the order in which things can go wrong, and is
 * kept alive through full disks and broken files.
 *
 * Health. `ok`. `storage-full`: the ballast is given back, writes are refused, reads go on; once a second the disk is
 * looked at, and writing resumes by itself. `failed`: a commit gave no answer; writes are refused until the database
 * has been reopened, its end compared with memory and its chain checked, tried again with growing pauses.
 */
import type { Cancel, Clock } from '../base/clock.ts';
import { type Logger, silentLogger } from '../base/log.ts';
import { type Random, systemRandom } from '../base/random.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { Mark } from '../domain/event.ts';
import { type BackupResult, backUp } from './backup.ts';
import { Ballast, type BallastState, ballastBytesDefault } from './ballast.ts';
import { type CompactionLimits, compactionLimits, compactLog } from './compaction.ts';
import { copiesOf, prepareDataDir, storeFiles } from './files.ts';
import { damaged, logStatements, readTail, StoreLog, type Verification } from './log.ts';
import { damage, prepareDatabase } from './migrate.ts';
import { type MigrationFile, migrationFiles } from './migrations.ts';
import { type Ownership, takeOwnership } from './owner.ts';
import type { Session, Store, Transaction } from './port.ts';
import { type BatchFailure, type Pending, type QueueLimits, queueLimits, WriteQueue } from './queue.ts';
import type { RingLimits } from './ring.ts';
import { applicationIds, isDamage, openSqlite, type SqliteDriver } from './sqlite.ts';

export interface StoreOptions {
  role: 'agent' | 'registry';
  dataDir: string;
  clock: Clock;
  logger?: Logger;
  random?: Random;
  /** The native addon in the single binary (addon.ts). */
  addon?: object | undefined;
  limits?: Partial<StoreLimits>;
  /** The schema's steps; those of this program when absent. */
  migrations?: readonly MigrationFile[];
}

export interface StoreLimits {
  readonly queue: QueueLimits;
  readonly ring: RingLimits;
  readonly compaction: CompactionLimits;
  /** 0: no ballast. */
  readonly ballastBytes: number;
}

const storeLimits: StoreLimits = {
  queue: queueLimits,
  ring: { countMax: 8_192, bytesMax: 8 * 1024 * 1024 },
  compaction: compactionLimits,
  ballastBytes: ballastBytesDefault,
};

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
  /** Forgets revisions beyond the limits; returns how many. Throws the signal's reason when aborted. */
  compact(options?: { signal?: AbortSignal }): Promise<number>;
  /** Walks the hash chain after `from`, or all of it, and names the first bad revision. */
  verify(options?: { from?: number }): Promise<Verification>;
  /** A copy as one file; `conflict` when it exists. On PostgreSQL `unsupported`, naming pg_dump. */
  backup(file: string): Promise<BackupResult>;
}

/**
 * Opens the store of a data directory, or makes one. Throws `conflict` (another process owns it), `forbidden` (the
 * directory is somebody else's), `unprocessable` (a newer schema, another role), `internal` (damaged: which file,
 * what lies beside it, which command helps). Deletes and repairs nothing by itself.
 */
export async function openStore(options: StoreOptions): Promise<OpenStore> {
  const { dataDir, role, clock, addon } = options;
  const logger = options.logger ?? silentLogger;
  prepareDataDir(dataDir);
  const files = storeFiles(dataDir);
  const owner = takeOwnership({ file: files.lock, pid: process.pid, addon });
  let driver: SqliteDriver | undefined;
  try {
    const steps = options.migrations ?? migrationFiles(role, 'sqlite');
    const prepared = prepareDatabase({ file: files.database, role, files: steps, now: clock.now(), addon });
    if (prepared.kind === 'migrated') logger.info({ ...prepared }, 'database migrated, copy kept');
    driver = openSqlite({ file: files.database, applicationId: applicationIds[role], addon });
    const store = new SqliteStore({ ...options, logger, driver, owner, log: await openLog(driver, options, logger) });
    await store.beginAfterRestore();
    return store;
  } catch (error) {
    await driver?.close();
    owner.release();
    throw withRemedy(error, dataDir);
  }
}

/** The log as the database has it. Its end must hold together; the rest is checked by `verify`, not at every start. */
async function openLog(driver: SqliteDriver, options: StoreOptions, logger: Logger): Promise<StoreLog> {
  const log = new StoreLog({
    driver,
    tail: await driver.read((session) => readTail(session)),
    ring: { ...storeLimits.ring, ...options.limits?.ring },
    onFault: (err) => logger.error({ err }, 'log listener failed'),
  });
  await checkEnd(log, driver.place);
  return log;
}

/** Revisions checked at a start and after a failure: about a millisecond. */
const endLength = 256;

async function checkEnd(log: StoreLog, place: string): Promise<void> {
  const from = Math.max(log.base().revision, log.head().revision - endLength);
  const found = await log.verify({ from, pause: () => Promise.resolve() });
  if (!found.ok) throw damaged(place, found.revision, found.detail);
}

/** Adds to the words of a damaged file what lies beside it and which command helps. */
function withRemedy(error: unknown, dataDir: string): unknown {
  const { database } = storeFiles(dataDir);
  const found = isDamage(error) ? damage(database, `it is damaged (${error.message})`, error) : error;
  if (!(found instanceof AppError) || found.details['damaged'] !== database) return error;
  const [copy] = copiesOf(database);
  const source = copy === undefined ? 'No copy lies beside it; from a backup' : `The newest copy beside it is "${copy}"`;
  const file = copy ?? 'BACKUP';
  return new AppError(
    found.code,
    `${found.message}. Nothing was changed. ${source}: run "holdfast restore ${file} --data-dir ${dataDir} --force" (it keeps the damaged files aside)`,
    { cause: found.cause, details: found.details },
  );
}

const fullCheckMs = 1_000;
const ballastCheckMs = 60_000;
const reopenFirstMs = 100;
const reopenMaxMs = 30_000;

class SqliteStore implements OpenStore {
  readonly dialect = 'sqlite';
  readonly log: StoreLog;
  readonly #driver: SqliteDriver;
  readonly #owner: Ownership;
  readonly #queue: WriteQueue;
  readonly #ballast: Ballast;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #limits: StoreLimits;
  readonly #addon: object | undefined;
  #state: StoreState = 'ok';
  #detail: string | null = null;
  /** The batch whose commit gave no answer. */
  #pending: Pending | null = null;
  #timer: Cancel = () => undefined;
  #closed: Promise<void> | undefined;

  constructor(options: StoreOptions & { logger: Logger; driver: SqliteDriver; owner: Ownership; log: StoreLog }) {
    const { driver, clock, logger, log } = options;
    this.log = log;
    this.#driver = driver;
    this.#owner = options.owner;
    this.#clock = clock;
    this.#logger = logger;
    this.#limits = { ...storeLimits, ...options.limits };
    this.#addon = options.addon;
    this.#queue = new WriteQueue({
      driver,
      log,
      clock,
      limits: this.#limits.queue,
      onFailure: (failure) => this.#onFailure(failure),
      onFault: (err) => logger.error({ err }, 'effect of a commit failed'),
    });
    this.#ballast = new Ballast({
      path: storeFiles(options.dataDir).ballast,
      sizeBytes: this.#limits.ballastBytes,
      random: options.random ?? systemRandom,
    });
    if (this.#ballast.state === 'released') this.#later(ballastCheckMs, () => this.#restoreBallast());
  }

  write<T>(caller: Caller, fn: (tx: Transaction) => Promise<T>): Promise<T> {
    return this.#queue.write(caller, fn);
  }

  async read<T>(fn: (session: Session) => Promise<T>): Promise<T> {
    try {
      return await this.#driver.read(fn);
    } catch (error) {
      if (this.#state !== 'failed' || error instanceof AppError) throw error;
      throw new AppError('unavailable', 'Cannot read: the database is being reopened after a failure, try again', { cause: error, retryAfterMs: 1_000 });
    }
  }

  async beginEpoch(caller: Caller, options: { atLeast: number; reason: string }): Promise<Mark> {
    let mark = this.log.head();
    const placed = (at: Mark) => {
      mark = at;
    };
    await this.#queue.write(caller, () => Promise.resolve(), { rewind: { ...options, placed } });
    return mark;
  }

  /** A restored database says so until it has begun its new epoch. */
  async beginAfterRestore(): Promise<void> {
    const { meta, dropMeta } = logStatements('sqlite');
    const note = await this.read((session) => session.get(meta, { key: 'restored' }));
    if (note === undefined) return;
    await this.#queue.write(systemCaller, (tx) => tx.run(dropMeta, { key: 'restored' }), { rewind: { atLeast: 0, reason: note.value } });
  }

  health(): StoreHealth {
    return { state: this.#state, detail: this.#detail, ballast: this.#ballast.state, waiting: this.#queue.length };
  }

  leader(): boolean {
    return true;
  }

  compact(options: { signal?: AbortSignal } = {}): Promise<number> {
    return compactLog(this, this.log, { limits: this.#limits.compaction, ...options });
  }

  verify(options: { from?: number } = {}): Promise<Verification> {
    const pause = () => new Promise<void>((resolve) => this.#clock.nextTurn(resolve));
    return this.log.verify({ ...options, pause });
  }

  backup(file: string): Promise<BackupResult> {
    return backUp(this.#driver.database, { file, addon: this.#addon });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#timer();
    await this.#queue.close();
    this.#timer();
    try {
      await this.#driver.close();
    } finally {
      this.#owner.release();
    }
  }

  /** One look at a time is planned: whatever the state, there is one thing to wait for. */
  #later(ms: number, look: () => void): void {
    this.#timer();
    if (this.#closed === undefined) this.#timer = this.#clock.after(ms, look);
  }

  #enter(state: StoreState, detail: string | null): void {
    this.#state = state;
    this.#detail = detail;
    if (detail === null) this.#logger.info({ state }, 'store writes again');
    else this.#logger.error({ state, detail, place: this.#driver.place }, 'store refuses writes');
  }

  #onFailure({ kind, error, pending }: BatchFailure): () => AppError {
    const reason = error instanceof Error ? error.message : String(error);
    if (kind === 'full') {
      this.#ballast.release();
      this.#enter('storage-full', `the disk is full (${reason}); writing resumes when there is room again`);
      this.#later(fullCheckMs, () => this.#leaveFull());
      return () =>
        new AppError('storage-full', 'Cannot write: the disk is full; free some space, writing resumes by itself', { retryAfterMs: fullCheckMs });
    }
    this.#enter('failed', `the database failed (${reason}); it is being reopened and checked`);
    this.#pending = pending;
    this.#later(reopenFirstMs, () => this.#reopen(reopenFirstMs));
    return () => new AppError('unavailable', 'Cannot write: the database failed and is being checked, try again', { retryAfterMs: 1_000 });
  }

  #leaveFull(): void {
    if (!this.#ballast.hasRoom()) return this.#later(fullCheckMs, () => this.#leaveFull());
    try {
      this.#driver.checkpoint();
    } catch (err) {
      this.#logger.warn({ err }, 'disk has room, but the checkpoint failed');
      return this.#later(fullCheckMs, () => this.#leaveFull());
    }
    if (!this.#ballast.restore()) return this.#later(fullCheckMs, () => this.#leaveFull());
    this.#enter('ok', null);
    this.#queue.resume();
  }

  #restoreBallast(): void {
    if (!this.#ballast.restore()) this.#later(ballastCheckMs, () => this.#restoreBallast());
  }

  #reopen(pauseMs: number): void {
    this.#reopenOnce().catch((err: unknown) => {
      const reason = err instanceof Error ? err.message : String(err);
      this.#enter('failed', `the database failed and cannot be trusted yet (${reason}); it is tried again`);
      const nextMs = Math.min(reopenMaxMs, pauseMs * 2);
      this.#later(nextMs, () => this.#reopen(nextMs));
    });
  }

  /** Opens anew, finds out what became of the batch that got no answer, and goes on only from exactly there. */
  async #reopenOnce(): Promise<void> {
    await this.#driver.reopen();
    const pending = this.#pending;
    const kept = pending !== null && (await this.log.isKept(pending.prepared));
    this.#pending = null;
    if (kept) this.#queue.settle(pending);
    const { head } = await this.#driver.read((session) => readTail(session));
    const expected = this.log.head();
    if (head.revision !== expected.revision || head.hash !== expected.hash) {
      throw damaged(this.#driver.place, Math.min(head.revision, expected.revision) + 1, `is not what was committed: it ends at ${head.revision}, expected ${expected.revision}`);
    }
    await checkEnd(this.log, this.#driver.place);
    this.#enter('ok', null);
    this.#queue.resume();
  }
}
