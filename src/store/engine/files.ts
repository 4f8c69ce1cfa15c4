/** The data directory: what lies in it, whose it is, and how its files reach the disk. */
import { chmodSync, closeSync, fsyncSync, lstatSync, openSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { reasonOf } from '../../base/atomic-file.ts';
import { makeFolder } from '../../base/folder.ts';
import { type Logger, silentLogger } from '../../base/log.ts';
import { AppError } from '../../domain/error.ts';

/** The files of a store on SQLite. Copies kept before a migration are `holdfast.db.v<version>`. */
export function storeFiles(dataDir: string) {
  return {
    database: join(dataDir, 'holdfast.db'),
    lock: join(dataDir, 'owner.lock'),
    ballast: join(dataDir, 'ballast'),
  };
}

/**
 * Makes the directory (0700) when it is missing; one of ours that others can read is closed to them. Throws `forbidden`
 * when it is somebody else's, when others can write to it (what they have put there cannot be trusted), and when others
 * can read it and it holds something else: who names `/srv` does not mean that nobody may enter it any more. Also when
 * one of the store's own files is a link, somebody else's, or open to others to write: somebody has put it there.
 */
export function prepareDataDir(dataDir: string, logger: Logger = silentLogger): void {
  try {
    makeFolder(dataDir, 0o700);
  } catch (error) {
    throw refusal(dataDir, `${reasonOf(error)}; name one that this user can write with --data-dir`, error);
  }
  if (!checkDataDir(dataDir)) return;
  const mode = (statSync(dataDir).mode & 0o777).toString(8);
  chmodSync(dataDir, 0o700);
  logger.warn({ dataDir, mode }, 'data directory was open to others, closed it');
}

/**
 * Throws as `prepareDataDir` for a directory that is there and cannot be used; changes nothing. True when it is ours
 * and still has to be closed to others.
 */
export function checkDataDir(dataDir: string): boolean {
  const found = statSync(dataDir, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (!found.isDirectory()) throw refusal(dataDir, 'it is a file; name a folder with --data-dir');
  const uid = process.getuid?.() ?? found.uid;
  const name = lstatSync(dataDir);
  if (name.isSymbolicLink() && name.uid !== uid && name.uid !== 0)
    throw refusal(
      dataDir,
      `it is a link that user id ${name.uid} has put there; name its target with --data-dir, if that is what you mean`,
    );
  if (found.uid !== uid)
    throw refusal(
      dataDir,
      `it belongs to user id ${found.uid} and this process runs as ${uid}; run it as that user, or name another with --data-dir`,
    );
  const open = (found.mode & 0o777).toString(8);
  if ((found.mode & 0o022) !== 0)
    throw refusal(
      dataDir,
      `others can write to it (mode ${open}); run "chmod 700 ${dataDir}" and look for what they left`,
    );
  for (const path of Object.values(storeFiles(dataDir))) checkStoreFile(dataDir, path, uid);
  if ((found.mode & 0o055) === 0) return false;
  if (!isOurs(dataDir))
    throw refusal(
      dataDir,
      `others can read it (mode ${open}) and it holds something else; run "chmod 700 ${dataDir}", or name another with --data-dir`,
    );
  return true;
}

/** A file that is not there will be made, by us. */
function checkStoreFile(dataDir: string, path: string, uid: number): void {
  // SQLite writes what it finds in a journal into the database, also where this one writes none.
  for (const place of [path, `${path}-wal`, `${path}-shm`, `${path}-journal`]) {
    const found = lstatSync(place, { throwIfNoEntry: false });
    // In the place of the ballast a folder does no harm: without one a store does its best.
    if (found === undefined || (found.isDirectory() && place === storeFiles(dataDir).ballast)) continue;
    const flaw = !found.isFile()
      ? found.isSymbolicLink()
        ? 'is a link'
        : 'is no regular file'
      : found.uid !== uid
        ? `belongs to user id ${found.uid}`
        : (found.mode & 0o022) !== 0
          ? `can be written by others (mode ${(found.mode & 0o777).toString(8)})`
          : found.nlink > 1 + namesKept(dataDir, found)
            ? 'has another name elsewhere (a hard link)'
            : undefined;
    if (flaw !== undefined)
      throw refusal(
        dataDir,
        `"${basename(place)}" in it ${flaw}; look where it comes from, and remove or replace it`,
      );
  }
}

/** How many names a file has in the folders where `restore` keeps what was there before: a crash may leave two. */
function namesKept(dataDir: string, { dev, ino }: { dev: number; ino: number }): number {
  let count = 0;
  for (const folder of readdirSync(dataDir, { withFileTypes: true })) {
    if (!folder.isDirectory() || !folder.name.startsWith('replaced-')) continue;
    for (const name of readdirSync(join(dataDir, folder.name))) {
      const found = lstatSync(join(dataDir, folder.name, name));
      if (found.dev === dev && found.ino === ino) count += 1;
    }
  }
  return count;
}

function refusal(dataDir: string, why: string, cause?: unknown): AppError {
  return new AppError('forbidden', `Cannot use data directory "${dataDir}": ${why}`, {
    cause,
    field: 'dataDir',
  });
}

/** Whether a directory holds a store, or nothing: a new file system holds `lost+found`. */
function isOurs(dataDir: string): boolean {
  const names = readdirSync(dataDir).filter((name) => name !== 'lost+found');
  return names.length === 0 || names.includes(basename(storeFiles(dataDir).database));
}

/** Makes an empty file that only its owner can read; one that is there already is left as it is, and not opened. */
export function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
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
