/**
 * A copy of a running store as one file, and a store made from such a file.
 *
 * A backup is the database as of one revision, complete without any file beside it. Restoring checks the file before
 * anything is touched (pages, hash chain, kind, schema), never over a running store, and leaves a note that makes the
 * next start begin a new epoch: whoever has seen a later revision learns that this store has gone back.
 */
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type Database from 'better-sqlite3';
import { makeFolder } from '../../base/folder.ts';
import { formatInstant } from '../../base/time.ts';
import { AppError } from '../../domain/error.ts';
import type { Mark } from '../../domain/event.ts';
import { type KeyFiles, takeKeys, writeKeys } from './backup-keys.ts';
import { prepareDataDir, storeFiles, syncFile, syncPath } from './files.ts';
import { logStatements, readTail, verifyChain } from './log.ts';
import { pendingMigrations, sqliteVersion } from './migrate.ts';
import { migrationFiles } from './migrations.ts';
import { takeOwnership } from './owner.ts';
import { applicationIds, connect, isDamage, SqliteSession } from './sqlite.ts';

export interface BackupResult {
  readonly file: string;
  readonly sizeBytes: number;
  /** The last revision that is in it. */
  readonly head: Mark;
}

/**
 * Writes the database to `file` while the store goes on, in slices between which the event loop turns. `conflict`
 * when `file` exists; it appears under its name only when it is complete and on disk.
 */
export async function backUp(
  db: Database.Database,
  options: { file: string; addon?: object | undefined },
): Promise<BackupResult> {
  const { file, addon } = options;
  refuseExisting(file);
  const partial = join(dirname(file), `.${basename(file)}.${process.pid}.partial`);
  let head: Mark;
  try {
    closeSync(openSync(partial, 'wx', 0o600));
    // From the writing connection: pages that it changes meanwhile go to the copy too, instead of beginning anew.
    await db.backup(partial);
    const copy = connect({ file: partial, addon });
    try {
      // One file without -wal and -shm beside it, also when somebody opens it.
      copy.pragma('journal_mode = DELETE');
      head = (await readTail(new SqliteSession(copy))).head;
    } finally {
      copy.close();
    }
    syncPath(partial);
    placeNew(partial, file);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError(
      'internal',
      `Cannot back up to "${file}": ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  } finally {
    rmSync(partial, { force: true });
  }
  return { file, sizeBytes: statSync(file).size, head };
}

/** Whose store a backup is of. `not-found`, or `unprocessable` when it is none. */
export function roleOfBackup({
  file,
  addon,
}: {
  file: string;
  addon?: object | undefined;
}): 'agent' | 'registry' {
  if (!existsSync(file)) throw new AppError('not-found', `Cannot restore "${file}": there is no such file`);
  let id: unknown;
  try {
    const db = connect({ file, addon, mode: 'read' });
    id = db.pragma('application_id', { simple: true });
    db.close();
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
  for (const role of ['agent', 'registry'] as const) if (id === applicationIds[role]) return role;
  throw new AppError('unprocessable', `Cannot restore "${file}": it is no backup that holdfast wrote`);
}

export interface RestoreOptions {
  file: string;
  dataDir: string;
  role: 'agent' | 'registry';
  /** Replace a store that is there; its files are kept in `replaced-…` beside it. */
  force: boolean;
  /** Of the keys in the backup; asked only when there are any. Null: there is none. */
  passphrase: () => Promise<string | null>;
  now: number;
  pid: number;
  addon?: object | undefined;
}

export interface RestoreResult {
  readonly head: Mark;
  /** Whether the backup held keys, which are in place now. */
  readonly keys: boolean;
  /** Where the files of the replaced store, or its keys, are. */
  readonly kept: string | null;
}

/**
 * Makes a backup the store of `dataDir`, with the keys that it holds. `not-found`, `bad-request` (passphrase), `unprocessable` (it is damaged, of another kind or newer than
 * this program), `conflict` (a store is running there, or there is one and `force` is not set).
 */
export async function restore(options: RestoreOptions): Promise<RestoreResult> {
  const { file, dataDir, force, now, pid, addon } = options;
  if (!existsSync(file)) throw new AppError('not-found', `Cannot restore "${file}": there is no such file`);
  prepareDataDir(dataDir);
  const files = storeFiles(dataDir);
  const owner = takeOwnership({ file: files.lock, pid, addon });
  const copy = `${files.database}.restoring`;
  const oldKeys = join(dataDir, 'keys');
  const newKeys = `${oldKeys}.restoring`;
  const removeHalves = () => {
    removeDatabase(copy);
    rmSync(newKeys, { recursive: true, force: true });
  };
  try {
    const full = existsSync(files.database);
    if (full && !force) {
      throw new AppError(
        'conflict',
        `Cannot restore into "${dataDir}": there is a store already; pass --force to replace it (its files are kept)`,
      );
    }
    removeHalves();
    closeSync(openSync(copy, 'wx', 0o600));
    copyFileSync(file, copy);
    // Copying gives the copy the mode of its source.
    chmodSync(copy, 0o600);
    const { head, keys } = await checkCopy(copy, options);
    // While nothing is moved yet: a full disk shows here.
    if (keys !== null) await writeKeys(newKeys, keys);
    let kept = full || existsSync(`${files.database}-wal`) ? keepOld(files.database, now) : null;
    // Before the database: a registry that starts without its keys makes new ones, which no host knows.
    if (keys !== null) {
      kept = keepOldKeys(oldKeys, now) ?? kept;
      renameSync(newKeys, oldKeys);
    }
    renameSync(copy, files.database);
    syncFile(files.database);
    return { head, keys: keys !== null, kept };
  } finally {
    removeHalves();
    owner.release();
  }
}

/** Everything that can be wrong with a backup, before the old store is touched. Leaves the note for the next start. */
async function checkCopy(
  copy: string,
  { file, role, passphrase, now, addon }: RestoreOptions,
): Promise<{ head: Mark; keys: KeyFiles | null }> {
  const refuse = (detail: string, cause?: unknown) =>
    new AppError('unprocessable', `Cannot restore "${file}": ${detail}; nothing was changed`, { cause });
  const db = connect({ file: copy, addon });
  try {
    if (db.pragma('application_id', { simple: true }) !== applicationIds[role])
      throw refuse(`it is no backup of the store of role ${role}`);
    pendingMigrations(migrationFiles(role, 'sqlite'), sqliteVersion(db), file);
    const flaws = db.pragma('integrity_check(3)', { simple: true });
    if (flaws !== 'ok') throw refuse(`it is damaged (${String(flaws)})`);
    const session = new SqliteSession(db);
    const { head } = await readTail(session);
    const found = await verifyChain((fn) => fn(session), logStatements('sqlite'), {
      to: head,
      pause: () => Promise.resolve(),
    });
    if (!found.ok) throw refuse(`it is damaged (revision ${found.revision} ${found.detail})`);
    db.pragma('synchronous = FULL');
    db.pragma('journal_mode = DELETE');
    await session.run(logStatements('sqlite').putMeta, {
      key: 'restored',
      value: `restored at ${formatInstant(now)}`,
    });
    return { head, keys: await takeKeys(db, { file, passphrase }) };
  } catch (error) {
    if (isDamage(error)) throw refuse(`it is damaged (${error.message})`, error);
    throw error;
  } finally {
    db.close();
  }
}

/**
 * Gives the old files second names in a folder of their own, then removes the old WAL: beside another database it
 * would be replayed into it. A power cut in between leaves the old store, or the names in the folder.
 */
function keepOld(database: string, now: number): string {
  const folder = join(dirname(database), `replaced-${formatInstant(now).replaceAll(':', '')}`);
  mkdirSync(folder, { mode: 0o700 });
  for (const name of [database, `${database}-wal`]) {
    if (existsSync(name)) linkSync(name, join(folder, basename(name)));
  }
  syncPath(folder);
  syncPath(dirname(folder));
  for (const name of [`${database}-wal`, `${database}-shm`]) rmSync(name, { force: true });
  return folder;
}

/** Keys that are there are kept too: they may be what hosts know. */
function keepOldKeys(folder: string, now: number): string | null {
  if (!existsSync(folder)) return null;
  const kept = join(dirname(folder), `replaced-${formatInstant(now).replaceAll(':', '')}`);
  makeFolder(kept, 0o700);
  renameSync(folder, join(kept, 'keys'));
  syncPath(kept);
  syncPath(dirname(folder));
  return kept;
}

function removeDatabase(path: string): void {
  for (const name of [path, `${path}-wal`, `${path}-shm`, `${path}-journal`]) rmSync(name, { force: true });
}

function refuseExisting(file: string): void {
  if (existsSync(file))
    throw new AppError('conflict', `Cannot back up to "${file}": it exists; name a new file`);
}

/** Moves a finished file to a name that must be free: a rename would replace what appeared there meanwhile. */
function placeNew(partial: string, file: string): void {
  try {
    linkSync(partial, file);
  } catch (error) {
    refuseExisting(file);
    throw error;
  }
  syncPath(dirname(file));
}
