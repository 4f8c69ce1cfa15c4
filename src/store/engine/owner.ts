/**
 * One process owns a data directory: the one that holds the write lock of `owner.lock`, a SQLite file of one row. The
 * kernel frees the lock when the process dies, however it dies, so there is nothing stale to clean up.
 *
 * The owner keeps a transaction open that has taken the lock and written nothing (SQLite's RESERVED lock), so that
 * others can still read who it is. Never open the file by other means within the owning process: closing any
 * descriptor of it drops the process's POSIX locks (sqlite.org/howtocorrupt.html §2.2).
 */
import Database from 'better-sqlite3';
import { AppError } from '../../domain/error.ts';
import { createPrivate } from './files.ts';

export interface Ownership {
  release(): void;
}

export interface OwnerOptions {
  file: string;
  /** Written into the file for whoever comes second. */
  pid: number;
  /** The native addon; see SqliteOptions. */
  addon?: object | undefined;
}

/** Longer than the moment between an owner's writing its pid and its holding the lock for good. */
const patienceMs = 300;
const attemptMax = 20;

/** Throws `conflict` (details.pid) when another process owns it. Waits at most 300 ms, without yielding. */
export function takeOwnership({ file, pid, addon }: OwnerOptions): Ownership {
  createPrivate(file);
  const options = { timeout: patienceMs };
  const db = new Database(
    file,
    addon === undefined ? options : { ...options, nativeBinding: addon as unknown as string },
  );
  try {
    // Two that start at once can each write between the other's commit and its second lock; so look again who stands there.
    for (let attempt = 0; attempt < attemptMax; attempt += 1) {
      if (!lock(db)) break;
      try {
        writePid(db, pid);
      } catch (error) {
        // Whoever reads the pid at this moment keeps the commit waiting; on a slow disk too long.
        if (!isBusy(error)) throw error;
        db.exec('ROLLBACK');
        continue;
      }
      if (!lock(db)) break;
      if (readPid(db) === pid) return new Held(db);
      db.exec('ROLLBACK');
    }
    const owner = readOwner(db);
    throw new AppError(
      'conflict',
      `Cannot take "${file}": process ${owner ?? '(unknown)'} owns this data directory; stop it, or name another with --data-dir`,
      { details: { pid: owner ?? null } },
    );
  } catch (error) {
    db.close();
    throw error;
  }
}

class Held implements Ownership {
  readonly #db: Database.Database;

  constructor(db: Database.Database) {
    this.#db = db;
  }

  release(): void {
    this.#db.close();
  }
}

/** False when another holds it for longer than `patienceMs`. */
function lock(db: Database.Database): boolean {
  try {
    db.exec('BEGIN IMMEDIATE');
    return true;
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY');
}

/** In the open transaction, which it commits. */
function writePid(db: Database.Database, pid: number): void {
  db.exec(
    'CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), pid INTEGER NOT NULL) STRICT',
  );
  db.prepare('INSERT INTO owner VALUES (1, ?) ON CONFLICT DO UPDATE SET pid = excluded.pid').run(pid);
  db.exec('COMMIT');
}

/** Who holds the lock, for the words of the one who does not: read again while the owner is still writing. */
function readOwner(db: Database.Database): number | undefined {
  for (let attempt = 0; attempt < attemptMax; attempt += 1) {
    try {
      return readPid(db);
    } catch (error) {
      if (!isBusy(error)) throw error;
    }
  }
  return undefined;
}

function readPid(db: Database.Database): number | undefined {
  const exists = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'owner'").get() !== undefined;
  return exists ? (db.prepare('SELECT pid FROM owner').pluck().get() as number | undefined) : undefined;
}
