/**
 * SQLite's native addon inside the single binary. `dlopen` needs a file, so the addon that the binary carries is
 * unpacked once into a private folder; an installed one beside the binary is preferred, and then nothing is
 * written. Run from the sources or from node_modules, better-sqlite3 finds its own prebuild.
 *
 * Whoever can change that file runs code as this user. So the file is opened without following a link, and its
 * owner, mode and digest are checked on the open descriptor, which is also what `dlopen` gets: a file swapped after
 * the check is not the one loaded.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { constants as system } from 'node:os';
import { dirname, join } from 'node:path';
import { getRawAsset, isSea } from 'node:sea';
import { makeFolder } from '../../base/folder.ts';

/** sha256 (hex) of the addon that the binary carries, written in by build.mjs: hashing it again costs a read of 2 MB. */
declare const __HOLDFAST_ADDON_SHA256__: string | undefined;

/** Name of the asset in the binary, and of the installed file beside it. */
const ASSET = 'holdfast.node';

/**
 * The value for better-sqlite3's `nativeBinding` option, or undefined when better-sqlite3 shall find its own.
 * `cacheDir` is the private folder for the unpacked addon (the CLI passes `${XDG_CACHE_HOME:-~/.cache}/holdfast`);
 * it is made when missing, and not touched when a valid installed addon lies beside the binary. Load once per
 * process and hand the object to every database.
 */
export function sqliteAddon(cacheDir: string | undefined): object | undefined {
  if (!isSea() || typeof __HOLDFAST_ADDON_SHA256__ === 'undefined') return undefined;
  const digest = __HOLDFAST_ADDON_SHA256__;
  const installed = join(dirname(process.execPath), ASSET);
  const refusals: string[] = [];
  try {
    return loadAddon(installed, digest, 'installed');
  } catch (error) {
    // No installed file is the normal case of a bare binary; any other reason matters only when the cache fails too.
    if (!isMissing(error)) refusals.push(messageOf(error));
  }
  try {
    if (cacheDir === undefined) {
      throw new Error('Cannot unpack the SQLite addon: no cache folder is known, set HOME or XDG_CACHE_HOME');
    }
    return loadAddon(unpackAddon(carriedAddon, digest, cacheDir), digest, 'unpacked');
  } catch (error) {
    if (refusals.length === 0) throw error;
    throw new Error(`${messageOf(error)}. Nor was the installed one usable: ${refusals.join('; ')}`, {
      cause: error,
    });
  }
}

/** The addon that this binary carries, which only the single binary does. */
export function carriedAddon(): Uint8Array {
  return new Uint8Array(getRawAsset(ASSET));
}

/** The single binary that runs; null when Holdfast runs from its sources, or as a part of another program. */
export function runningBinary(): string | null {
  return isSea() ? process.execPath : null;
}

/**
 * Puts the addon into `cacheDir` as `sqlite-<digest>.node` unless it lies there, and returns the path. Any number of
 * processes may do so at once: each writes its own file and renames it over the name, and all write the same bytes.
 * An existing file is left as it is, good or bad: `loadAddon` judges it.
 */
export function unpackAddon(bytes: () => Uint8Array, digest: string, cacheDir: string): string {
  const path = join(cacheDir, `sqlite-${digest}.node`);
  try {
    makeFolder(cacheDir, 0o700);
    checkFolder(cacheDir);
    if (exists(path)) return path;
    const own = mkdtempSync(join(cacheDir, 'unpack-'));
    try {
      const written = join(own, ASSET);
      const file = openSync(written, 'wx', 0o400);
      try {
        writeFileSync(file, bytes());
        // A power cut after the rename must not leave a file of zeros under the final name.
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(written, path);
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
    return path;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new Error(
      `Cannot unpack the SQLite addon into "${cacheDir}": ${error.message}, set XDG_CACHE_HOME to a folder that ` +
        'this user can write',
      { cause: error },
    );
  }
}

/**
 * Checks the file and the folder that holds it, then loads the addon. Throws what is wrong with them and what to do;
 * a missing file is thrown as the system's own ENOENT.
 */
export function loadAddon(path: string, digest: string, origin: 'installed' | 'unpacked'): object {
  const wish =
    origin === 'unpacked'
      ? 'delete it and start again'
      : 'install the package of this version again, or delete it';
  // ENOENT comes before the folder's check: where nothing is installed, the binary's folder is nobody's business.
  const file = openWithoutLink(path, wish);
  try {
    checkFolder(dirname(path));
    const stat = fstatSync(file);
    const flaw = stat.isFile() ? ownershipFlaw(stat) : 'it is not a regular file';
    if (flaw !== undefined) throw new Error(`Cannot load the SQLite addon "${path}": ${flaw}, ${wish}`);
    const found = createHash('sha256').update(readFileSync(file)).digest('hex');
    if (found !== digest) {
      throw new Error(
        `Cannot load the SQLite addon "${path}": its sha256 is ${found}, expected ${digest}, ${wish}`,
      );
    }
    const holder: { exports: object } = { exports: {} };
    try {
      process.dlopen(holder, `/proc/self/fd/${file}`, system.dlopen.RTLD_NOW);
    } catch (error) {
      throw new Error(
        `Cannot load the SQLite addon "${path}": ${messageOf(error)}, the folder must be on a file system that is ` +
          'not mounted noexec (XDG_CACHE_HOME names another)',
        { cause: error },
      );
    }
    return holder.exports;
  } finally {
    closeSync(file);
  }
}

function openWithoutLink(path: string, wish: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error) || !isSystemError(error)) throw error;
    const flaw = error.code === 'ELOOP' ? 'it is a symbolic link, expected a regular file' : error.message;
    throw new Error(`Cannot load the SQLite addon "${path}": ${flaw}, ${wish}`, { cause: error });
  }
}

function checkFolder(folder: string): void {
  const stat = lstatSync(folder);
  const flaw = stat.isDirectory() ? ownershipFlaw(stat) : 'it is not a folder (links are not followed)';
  if (flaw !== undefined) {
    throw new Error(
      `Cannot keep the SQLite addon in "${folder}": ${flaw}, correct that or set XDG_CACHE_HOME to another folder`,
    );
  }
}

/** Why somebody other than this user and root could have written here; undefined when nobody could. */
function ownershipFlaw(stat: Stats): string | undefined {
  const uid = process.geteuid?.() ?? 0;
  if (stat.uid !== uid && stat.uid !== 0) return `uid ${stat.uid} owns it, expected ${uid} or root`;
  const mode = stat.mode & 0o7777;
  if ((mode & 0o022) !== 0) {
    return `its mode is 0${mode.toString(8)}, expected one that group and others cannot write (chmod go-w)`;
  }
  return undefined;
}

function exists(path: string): boolean {
  // lstat, not stat: a dangling link under the final name is something to refuse, not to write through.
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

function isMissing(error: unknown): boolean {
  return isSystemError(error) && error.code === 'ENOENT';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
