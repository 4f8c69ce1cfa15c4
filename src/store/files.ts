/** The data directory: what lies in it, whose it is, and how its files reach the disk. */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { AppError } from '../domain/error.ts';

/** The files of a store on SQLite. Copies kept before a migration are `holdfast.db.v<version>`. */
export function storeFiles(dataDir: string) {
  return {
    database: join(dataDir, 'holdfast.db'),
    lock: join(dataDir, 'owner.lock'),
    ballast: join(dataDir, 'ballast'),
  };
}

/** Makes the directory (0700) when it is missing. Throws `forbidden` when it is somebody else's or everyone's. */
export function prepareDataDir(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AppError(
      'forbidden',
      `Cannot use data directory "${dataDir}": ${reason}; name one that this user can write with --data-dir`,
      {
        cause: error,
      },
    );
  }
  const stat = statSync(dataDir);
  const uid = process.getuid?.();
  if (uid !== undefined && stat.uid !== uid) {
    throw new AppError(
      'forbidden',
      `Cannot use data directory "${dataDir}": it belongs to user id ${stat.uid} and this process runs as ${uid}; run it as that user, or name another with --data-dir`,
    );
  }
  if ((stat.mode & 0o002) !== 0) {
    throw new AppError(
      'forbidden',
      `Cannot use data directory "${dataDir}": everyone can write to it; run "chmod 700 ${dataDir}"`,
    );
  }
}

/** Copies of a database that lie beside it, newest first. */
export function copiesOf(database: string): string[] {
  const folder = dirname(database);
  const prefix = `${basename(database)}.v`;
  return readdirSync(folder)
    .filter((name) => name.startsWith(prefix) && /^\d+(-\d+)?$/.test(name.slice(prefix.length)))
    .map((name) => ({ path: join(folder, name), mtimeMs: statSync(join(folder, name)).mtimeMs }))
    .sort((a, b) => b.mtimeMs - a.mtimeMs)
    .map(({ path }) => path);
}

/** Syncs a finished file and the folder that names it: without the second, a power cut can take the name away. */
export function syncFile(path: string): void {
  syncPath(path);
  syncPath(dirname(path));
}

export function syncPath(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
