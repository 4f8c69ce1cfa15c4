/**
 * Numbered, forward-only migrations. Each runs in a transaction of its own and leaves a row in the table `migrations`.
 * A database that is newer than this program is refused before anything is written.
 */
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type Database from 'better-sqlite3';
import { AppError } from '../../domain/error.ts';
import { createPrivate, syncFile, syncPath } from './files.ts';
import type { MigrationFile } from './migrations.ts';
import { applicationIds, connect, prepareConnection } from './sqlite.ts';

export interface SchemaOptions {
  file: string;
  role: 'agent' | 'registry';
  files: readonly MigrationFile[];
  now: number;
  /** The native addon; see SqliteOptions. */
  addon?: object | undefined;
}

/** What `prepareDatabase` did; `copy` is the database as it was before. */
export type Prepared =
  | { readonly kind: 'created' }
  | { readonly kind: 'current' }
  | { readonly kind: 'migrated'; readonly from: number; readonly to: number; readonly copy: string };

/** Makes a new database, or brings an existing one to this program's schema after keeping a copy of it beside it. */
export function prepareDatabase(options: SchemaOptions): Prepared {
  const { file, files, now, addon } = options;
  if (!existsSync(file)) {
    // A WAL without its database is what a lost file leaves behind, not a place for a new one.
    if (existsSync(`${file}-wal`)) throw damage(file, 'it is missing, its write-ahead log is there');
    createDatabase(options);
    return { kind: 'created' };
  }
  // Databases appear under their name only when they are complete.
  if (statSync(file).size === 0) throw damage(file, 'it is empty');
  const applicationId = applicationIds[options.role];
  const from = inspect(options);
  const pending = pendingMigrations(files, from, file);
  if (pending.length === 0) return { kind: 'current' };
  const db = connect({ file, addon });
  try {
    prepareConnection(db, { applicationId });
    const copy = keepCopy(db, from);
    migrateSqlite(db, pending, now);
    return { kind: 'migrated', from, to: sqliteVersion(db), copy };
  } finally {
    db.close();
  }
}

/** The error of a database file that cannot be what a store left behind; `storeError` adds what to do. */
export function damage(file: string, detail: string, cause?: unknown): AppError {
  return new AppError('internal', `Cannot open "${file}": ${detail}`, { cause, details: { damaged: file } });
}

/** Reads the version without writing: a database that is not for this program stays as it is. */
function inspect({ file, role, addon }: SchemaOptions): number {
  const beside = [`${file}-wal`, `${file}-shm`].filter((name) => !existsSync(name));
  const db = connect({ file, addon, mode: 'read' });
  try {
    const found = db.pragma('application_id', { simple: true });
    if (found === applicationIds[role]) return sqliteVersion(db);
    const [own, other] = role === 'agent' ? ['an agent', 'a registry'] : ['a registry', 'an agent'];
    const is = Object.values(applicationIds).some((id) => id === found)
      ? `the store of ${other}`
      : 'no store of holdfast';
    throw new AppError(
      'unprocessable',
      `Cannot open "${file}": it is ${is}, expected that of ${own}; name another directory with --data-dir`,
    );
  } finally {
    db.close();
    // A connection that only reads makes these and may not take them away.
    for (const name of beside) rmSync(name, { force: true });
  }
}

/** Built under another name and moved into place, so that a crash leaves no half-made database. */
function createDatabase({ file, role, files, now, addon }: SchemaOptions): void {
  const partial = `${file}.partial`;
  for (const name of [partial, `${partial}-wal`, `${partial}-shm`]) rmSync(name, { force: true });
  createPrivate(partial);
  const db = connect({ file: partial, addon });
  try {
    db.pragma(`application_id = ${applicationIds[role]}`);
    prepareConnection(db, { applicationId: applicationIds[role] });
    migrateSqlite(db, files, now);
    db.prepare('INSERT INTO epochs (epoch, start_revision, reason) VALUES (?, 1, ?)').run(
      Math.max(1, now),
      'created',
    );
  } finally {
    db.close();
  }
  renameSync(partial, file);
  syncFile(file);
}

/** What is still to be run. Throws `unprocessable` when the database is newer than all of `files`. */
export function pendingMigrations(
  files: readonly MigrationFile[],
  version: number,
  place: string,
): readonly MigrationFile[] {
  const known = files.at(-1)?.version ?? 0;
  if (version > known) {
    throw new AppError(
      'unprocessable',
      `Cannot open "${place}": its schema has version ${version}, this holdfast knows up to ${known}; run the newer holdfast that wrote it, nothing was changed`,
      { details: { found: version, known } },
    );
  }
  return files.filter((file) => file.version > version);
}

/** The ledger in either dialect. */
export const ledger = {
  create: {
    sqlite:
      'CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at_ms INTEGER NOT NULL) STRICT',
    postgres:
      'CREATE TABLE IF NOT EXISTS migrations (version integer PRIMARY KEY, name text NOT NULL, applied_at_ms bigint NOT NULL)',
  },
  version: 'SELECT max(version) AS version FROM migrations',
};

/** The version of a SQLite database's schema; 0 without a ledger. */
export function sqliteVersion(db: Database.Database): number {
  const exists =
    db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'").get() !==
    undefined;
  return exists ? ((db.prepare(ledger.version).pluck().get() as number | null) ?? 0) : 0;
}

/** Runs `files`, each in its own transaction: one that fails leaves those before it and nothing of itself. */
export function migrateSqlite(db: Database.Database, files: readonly MigrationFile[], now: number): void {
  for (const { version, name, sql } of files) {
    const step = db.transaction(() => {
      db.exec(ledger.create.sqlite);
      db.exec(sql);
      db.prepare('INSERT INTO migrations (version, name, applied_at_ms) VALUES (?, ?, ?)').run(
        version,
        name,
        now,
      );
      // For people: `file` and a shell show it without knowing the ledger.
      db.pragma(`user_version = ${version}`);
    });
    try {
      step.exclusive();
    } catch (error) {
      throw new AppError(
        'internal',
        `Cannot bring "${db.name}" to schema version ${version} (${name}): ${error instanceof Error ? error.message : String(error)}; it stays at the version before`,
        { cause: error },
      );
    }
  }
}

/**
 * Keeps a copy of a database beside it, as `<file>.v<version>`, and returns its path. It appears under that name only
 * when it is complete and on disk. An earlier copy is never touched.
 */
export function keepCopy(db: Database.Database, version: number): string {
  const names = [
    `${db.name}.v${version}`,
    ...Array.from({ length: 99 }, (_, index) => `${db.name}.v${version}-${index + 2}`),
  ];
  const path = names.find((name) => !existsSync(name));
  if (path === undefined)
    throw new AppError(
      'conflict',
      `Cannot keep a copy of "${db.name}": 100 copies of version ${version} lie beside it, move some away`,
    );
  const partial = `${path}.partial`;
  rmSync(partial, { force: true });
  try {
    createPrivate(partial);
    db.prepare('VACUUM INTO ?').run(partial);
    syncPath(partial);
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
  syncPath(dirname(path));
  return path;
}
