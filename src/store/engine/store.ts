/**
 * Opening a store on SQLite: a data directory becomes a `Store`, in the order in which things can go wrong, and is
 * kept alive through full disks and broken files.
 *
 * Health. `ok`. `storage-full`: the ballast is given back, writes are refused, reads go on; once a second the disk is
 * looked at, and writing resumes by itself. `failed`: a commit gave no answer; writes are refused until the database
 * has been reopened, its end compared with memory and its chain checked, tried again with growing pauses. Also
 * `failed`: its files were deleted or replaced under it. What would be acknowledged then would be gone with this
 * process, so writes are refused; the open files still have everything, reads and `backup` go on, and writing too once
 * the files are back at their places.
 */
import { rmSync } from 'node:fs';
import type { Cancel, Clock } from '../../base/clock.ts';
import { type Logger, silentLogger } from '../../base/log.ts';
import { type Random, systemRandom } from '../../base/random.ts';
import { systemCaller } from '../../domain/access.ts';
import { AppError } from '../../domain/error.ts';
import { type BackupResult, backUp } from './backup.ts';
import { Ballast, ballastBytesDefault } from './ballast.ts';
import {
  type CoreLimits,
  type CoreOptions,
  CoreStore,
  checkEnd,
  coreLimits,
  type OpenStore,
  openLog,
  type StoreHealth,
} from './core.ts';
import { FileGuard } from './file-guard.ts';
import { copiesOf, prepareDataDir, storeFiles } from './files.ts';
import { damaged, logStatements, readTail } from './log.ts';
import { damage, prepareDatabase } from './migrate.ts';
import { type MigrationFile, migrationFiles } from './migrations.ts';
import { type Ownership, takeOwnership } from './owner.ts';
import type { BatchFailure, Pending } from './queue.ts';
import { applicationIds, isDamage, openSqlite, type SqliteDriver, type SqliteOptions } from './sqlite.ts';

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
  /** Opens the database; tests give one that fails on command. */
  openDriver?: (options: SqliteOptions) => SqliteDriver;
}

export interface StoreLimits extends CoreLimits {
  /** 0: no ballast. */
  readonly ballastBytes: number;
}

/**
 * Opens the store of a data directory, or makes one. Throws `conflict` (another process owns it), `forbidden` (the
 * directory is somebody else's), `unprocessable` (a newer schema, another role, nothing may be written), `internal` (damaged: which file,
 * what lies beside it, which command helps), `storage-full` (not even the ballast's room is enough). Deletes and
 * repairs nothing by itself but the ballast.
 */
export async function openStore(options: StoreOptions): Promise<OpenStore> {
  prepareDataDir(options.dataDir, options.logger);
  const { database, ballast } = storeFiles(options.dataDir);
  try {
    return await openOnce(options);
  } catch (error) {
    if (isReadOnly(error)) {
      throw new AppError(
        'unprocessable',
        `Cannot open "${database}": it may not be written, or its disk is mounted read-only; see "mount" and "ls -l", or name another folder with --data-dir`,
        { cause: error },
      );
    }
    if (!isFull(error)) throw error;
  }
  // A host on a full disk shall be alive, and say so.
  rmSync(ballast, { force: true });
  try {
    return await openOnce(options);
  } catch (error) {
    if (!isFull(error)) throw error;
    throw new AppError(
      'storage-full',
      `Cannot open "${database}": the disk is full; free some space on it, then start again`,
      {
        cause: error,
      },
    );
  }
}

async function openOnce(options: StoreOptions): Promise<OpenStore> {
  const { dataDir, role, clock, addon } = options;
  const logger = options.logger ?? silentLogger;
  const files = storeFiles(dataDir);
  const owner = takeOwnership({ file: files.lock, pid: process.pid, addon });
  // What has to be closed when a later step fails, the last first.
  let close = () => Promise.resolve(owner.release());
  try {
    const steps = options.migrations ?? migrationFiles(role, 'sqlite');
    const prepared = prepareDatabase({ file: files.database, role, files: steps, now: clock.now(), addon });
    if (prepared.kind === 'migrated') logger.info({ ...prepared }, 'database migrated, copy kept');
    const open = options.openDriver ?? openSqlite;
    const driver = open({ file: files.database, applicationId: applicationIds[role], addon });
    close = () => driver.close().finally(() => owner.release());
    const limits = { ...coreLimits, ballastBytes: ballastBytesDefault, ...options.limits };
    const log = await openLog(driver, { ring: limits.ring, logger });
    const ballast = new Ballast({
      path: files.ballast,
      sizeBytes: limits.ballastBytes,
      random: options.random ?? systemRandom,
    });
    const guard = new FileGuard([files.database, `${files.database}-wal`, files.lock]);
    const store = new SqliteStore({ driver, log, clock, logger, limits, owner, ballast, guard, addon });
    close = () => store.close();
    await store.beginAfterRestore();
    return store;
  } catch (error) {
    await close();
    throw withRemedy(error, dataDir);
  }
}

function isReadOnly(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EROFS' || code?.startsWith('SQLITE_READONLY') === true;
}

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code?.startsWith('SQLITE_FULL') === true;
}

/** Adds to the words of a damaged file what lies beside it and which command helps. */
function withRemedy(error: unknown, dataDir: string): unknown {
  const { database } = storeFiles(dataDir);
  const found = isDamage(error) ? damage(database, `it is damaged (${error.message})`, error) : error;
  if (!(found instanceof AppError) || found.details['damaged'] !== database) return error;
  const [copy] = copiesOf(database);
  const source =
    copy === undefined ? 'No copy lies beside it; from a backup' : `The newest copy beside it is "${copy}"`;
  const file = copy ?? 'BACKUP';
  return new AppError(
    found.code,
    `${found.message}. Nothing was changed. ${source}: run "holdfast restore ${file} --data-dir ${dataDir} --force" (it keeps the damaged files aside)`,
    { cause: found.cause, details: found.details },
  );
}

const fullCheckMs = 1_000;
/** Whether the files are still there; a look costs some microseconds. */
const guardEveryMs = 5_000;
const ballastCheckMs = 60_000;
const reopenFirstMs = 100;
const reopenMaxMs = 30_000;

interface SqliteStoreOptions extends CoreOptions<SqliteDriver> {
  owner: Ownership;
  ballast: Ballast;
  guard: FileGuard;
  addon: object | undefined;
}

class SqliteStore extends CoreStore<SqliteDriver> {
  readonly #owner: Ownership;
  readonly #ballast: Ballast;
  readonly #guard: FileGuard;
  #cancelGuard: Cancel;
  /** Why nothing is written: a file is not the one that was opened. */
  #lost: string | null = null;
  readonly #addon: object | undefined;
  /** The batch whose commit gave no answer. */
  #pending: Pending | null = null;

  constructor(options: SqliteStoreOptions) {
    super(options);
    this.#owner = options.owner;
    this.#ballast = options.ballast;
    this.#guard = options.guard;
    this.#cancelGuard = this.clock.after(guardEveryMs, () => this.#lookForFiles());
    this.#addon = options.addon;
    if (this.#ballast.state === 'released') this.later(ballastCheckMs, () => this.#restoreBallast());
  }

  /** A restored database says so until it has begun its new epoch. */
  async beginAfterRestore(): Promise<void> {
    const { meta, dropMeta } = logStatements('sqlite');
    const note = await this.read((session) => session.get(meta, { key: 'restored' }));
    if (note === undefined) return;
    await this.queue.write(systemCaller, (tx) => tx.run(dropMeta, { key: 'restored' }), {
      rewind: { atLeast: 0, reason: note.value },
    });
  }

  override health(): StoreHealth {
    return { ...super.health(), ballast: this.#ballast.state };
  }

  leader(): boolean {
    return true;
  }

  onLeadership(): () => void {
    return () => undefined;
  }

  backup(file: string): Promise<BackupResult> {
    return backUp(this.driver.database, { file, addon: this.#addon });
  }

  protected async release(): Promise<void> {
    this.#cancelGuard();
    try {
      await this.driver.close();
    } finally {
      this.#owner.release();
    }
  }

  protected onFailure({ kind, error, pending }: BatchFailure): () => AppError {
    const reason = error instanceof Error ? error.message : String(error);
    if (kind === 'full') {
      this.#ballast.release();
      this.enter('storage-full', `the disk is full (${reason}); writing resumes when there is room again`);
      this.later(fullCheckMs, () => this.#leaveFull());
      return () =>
        new AppError(
          'storage-full',
          'Cannot write: the disk is full; free some space, writing resumes by itself',
          {
            retryAfterMs: fullCheckMs,
          },
        );
    }
    this.#pending = pending;
    this.enter('failed', `the database failed (${reason}); it is being reopened and checked`);
    this.later(reopenFirstMs, () => this.#reopen(reopenFirstMs));
    return () =>
      new AppError('unavailable', 'Cannot write: the database failed and is being checked, try again', {
        retryAfterMs: 1_000,
      });
  }

  #lookForFiles(): void {
    this.#cancelGuard = this.clock.after(guardEveryMs, () => this.#lookForFiles());
    const lost = this.#guard.lost();
    if (lost === this.#lost || (this.state !== 'ok' && this.#lost === null)) return;
    this.#lost = lost;
    if (lost === null) {
      this.enter('ok', null);
      this.queue.resume();
      return;
    }
    this.enter(
      'failed',
      `${lost}; nothing is written, reads go on: save what is here with "holdfast backup FILE" before it stops, then restore it`,
    );
    this.queue.halt(
      () =>
        new AppError(
          'unavailable',
          'Cannot write: the files of the store were taken away; its log says which',
        ),
    );
  }

  #leaveFull(): void {
    if (this.#tryLeaveFull()) {
      this.enter('ok', null);
      this.queue.resume();
    } else {
      this.later(fullCheckMs, () => this.#leaveFull());
    }
  }

  #tryLeaveFull(): boolean {
    if (!this.#ballast.hasRoom()) return false;
    try {
      this.driver.checkpoint();
    } catch (err) {
      this.logger.warn({ err }, 'disk has room, but the checkpoint failed');
      return false;
    }
    return this.#ballast.restore();
  }

  #restoreBallast(): void {
    if (!this.#ballast.restore()) this.later(ballastCheckMs, () => this.#restoreBallast());
  }

  #reopen(pauseMs: number): void {
    this.#reopenOnce().catch((err: unknown) => {
      const reason = err instanceof Error ? err.message : String(err);
      this.enter('failed', `the database failed and cannot be trusted yet (${reason}); it is tried again`);
      const nextMs = Math.min(reopenMaxMs, pauseMs * 2);
      this.later(nextMs, () => this.#reopen(nextMs));
    });
  }

  /** Opens anew, finds out what became of the batch that got no answer, and goes on only from exactly there. */
  async #reopenOnce(): Promise<void> {
    const lost = this.#guard.lost();
    // Closing would let go of the only descriptors that still have everything.
    if (lost !== null) throw new Error(lost);
    await this.driver.reopen();
    this.#guard.renew();
    const pending = this.#pending;
    const kept = pending !== null && (await this.log.isKept(pending.prepared));
    this.#pending = null;
    if (kept) this.queue.settle(pending);
    const { head } = await this.driver.read((session) => readTail(session));
    const expected = this.log.head();
    if (head.revision !== expected.revision || head.hash !== expected.hash) {
      throw damaged(
        this.driver.place,
        Math.min(head.revision, expected.revision) + 1,
        `is not what was committed: it ends at ${head.revision}, expected ${expected.revision}`,
      );
    }
    await checkEnd(this.log, this.driver.place);
    this.enter('ok', null);
    this.queue.resume();
  }
}
