/** Files that are whole or absent after a crash, and files that are nobody else's business. */
import { constants } from 'node:fs';
import { chown, type FileHandle, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makeFolder } from './folder.ts';
import { limits } from './limits.ts';
import { type Random, systemRandom } from './random.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** A file cannot be used as it is. The message says what to do; `code` is the errno (`ENOENT`, `ENOSPC`) if one did it. */
export class FileError extends Error {
  override readonly name = 'FileError';
  readonly path: string;
  readonly code: string | undefined;

  constructor(message: string, path: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.path = path;
    this.code = errnoOf(cause);
  }
}

/** Whose a file shall be; ours when nobody says. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Replaces `path` by `data`: after any crash or power loss it is the old file or the new one, whole, with `mode`. When
 * this resolves, it is the new one for good. A symbolic link at `path` is replaced, not followed. Throws `FileError`;
 * `path` is then the old file (the new one only when the folder could not be synced at the end). A crash may leave a
 * file `.<name>.<hex>.tmp` with the same mode.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: { mode: number; owner?: Owner; random?: Random },
): Promise<void> {
  const folder = dirname(resolve(path));
  const unique = Buffer.from((options.random ?? systemRandom).bytes(8)).toString('hex');
  const temporary = join(folder, `.${basename(path)}.${unique}.tmp`);
  try {
    await writeSynced(temporary, data, options);
    await rename(temporary, path).catch(async (error: unknown) => {
      await unlink(temporary);
      throw error;
    });
    await syncFolder(folder);
  } catch (error) {
    throw new FileError(`Cannot write ${path}: ${reasonOf(error)}`, path, error);
  }
}

/** Gives a file another name, in the same folder, for good; what had that name is replaced. Throws `FileError`. */
export async function renameFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
    await syncFolder(dirname(resolve(to)));
  } catch (error) {
    throw new FileError(`Cannot rename ${from} to ${to}: ${reasonOf(error)}`, from, error);
  }
}

/** Removes a file for good; one that is not there is gone already. Throws `FileError`. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
    await syncFolder(dirname(resolve(path)));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw new FileError(`Cannot remove ${path}: ${reasonOf(error)}`, path, error);
  }
}

async function writeSynced(
  path: string,
  data: string | Uint8Array,
  { mode, owner }: { mode: number; owner?: Owner },
): Promise<void> {
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    // What open was given has lost the bits of the umask.
    await file.chmod(mode);
    // Through the descriptor: whoever owns the folder could have put a link in its place.
    if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    await file.writeFile(data);
    await file.sync();
  } catch (error) {
    await unlink(path);
    throw error;
  } finally {
    await file.close();
  }
}

/** Makes what was created, renamed or removed in `path` survive power loss. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, O_RDONLY | O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * Reads a secret, but only one that is kept like a secret: a regular file (no link) of user `uid` (default: ours),
 * closed to group and world, at most `limits.privateFileBytes`. Also taken is what systemd passes as a credential.
 * Throws `FileError`.
 */
export async function readPrivateFile(path: string, options: { uid?: number } = {}): Promise<Buffer> {
  let file: FileHandle;
  try {
    // Without O_NONBLOCK, a FIFO in this place would block the open until someone writes.
    file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    throw new FileError(`Cannot read ${path}: ${reasonOf(error)}`, path, error);
  }
  try {
    const { uid, gid, mode, size } = await file.stat();
    const wished = options.uid ?? ownUid();
    const refuse = (problem: string) => new FileError(`Cannot read ${path}: ${problem}`, path);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw refuse('it is not a regular file');
    // systemd passes credentials as root's 0440, with an ACL for the service's user; stat shows the ACL as group bits.
    const credential = uid === 0 && gid === 0 && octal(mode) === '0440';
    if (!credential) requirePrivate({ uid, mode }, { uid: wished, mode: 0o600 }, path, refuse);
    if (size > limits.privateFileBytes) {
      throw refuse(`it has ${size} bytes, at most ${limits.privateFileBytes} are expected`);
    }
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/**
 * Makes sure that `path` is a folder (no link) of user `uid` (default: ours), closed to everyone else: creates it and
 * its missing parents with 0700, durably, and refuses one that is otherwise rather than change it. Throws `FileError`.
 */
export async function ensurePrivateFolder(path: string, options: { uid?: number } = {}): Promise<void> {
  // A trailing slash would make lstat follow a link.
  const folder = resolve(path);
  const refuse = (problem: string, cause?: unknown) =>
    new FileError(`Cannot use the folder ${path}: ${problem}`, path, cause);
  try {
    const created = makeFolder(folder, 0o700);
    if (created !== undefined) await syncUpTo(dirname(created), dirname(folder));
  } catch (error) {
    throw refuse(reasonOf(error), error);
  }
  const { uid, mode } = await lstat(folder);
  if ((mode & constants.S_IFMT) === constants.S_IFLNK) throw refuse('it is a symbolic link, name its target');
  requirePrivate({ uid, mode }, { uid: options.uid ?? ownUid(), mode: 0o700 }, path, refuse);
}

/**
 * As `ensurePrivateFolder`, for another user; only root can. The folder above must be there, and nobody else's to
 * write. One that is there is left as it is. Throws `FileError`.
 */
export async function ensureOwnedFolder(path: string, owner: Owner): Promise<void> {
  const folder = resolve(path);
  const refuse = (problem: string, cause?: unknown) =>
    new FileError(`Cannot use the folder ${path}: ${problem}`, path, cause);
  try {
    if (makeFolder(folder, 0o700) !== undefined) {
      await chown(folder, owner.uid, owner.gid);
      await syncFolder(dirname(folder));
    }
  } catch (error) {
    throw refuse(reasonOf(error), error);
  }
  await ensurePrivateFolder(folder, { uid: owner.uid });
}

/** Syncs `folder` and its parents up to and with `top`. */
async function syncUpTo(top: string, folder: string): Promise<void> {
  await syncFolder(folder);
  if (folder !== top) await syncUpTo(top, dirname(folder));
}

interface Access {
  readonly uid: number;
  readonly mode: number;
}

function requirePrivate(
  found: Access,
  wished: Access,
  path: string,
  refuse: (problem: string) => FileError,
): void {
  if (found.uid !== wished.uid) {
    throw refuse(`its owner is uid ${found.uid}, expected ${wished.uid}; run chown ${wished.uid} ${path}`);
  }
  if ((found.mode & 0o077) !== 0) {
    const mode = octal(wished.mode);
    throw refuse(`mode is ${octal(found.mode)}, expected ${mode}; run chmod ${mode.slice(1)} ${path}`);
  }
}

/** `0644`: the permission bits as chmod takes them. */
function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/** The effective user. Only Windows has none, where holdfast does not run. */
function ownUid(): number {
  return process.geteuid?.() ?? 0;
}

/** Why a file could not be used, in words. */
export function reasonOf(error: unknown): string {
  switch (errnoOf(error)) {
    case 'ENOENT':
      return 'it does not exist, or a folder above it does not';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'EEXIST':
    case 'ENOTDIR':
      return 'something in its path is a file, expected a folder';
    case 'EISDIR':
      return 'it is a folder, expected a file';
    case 'ELOOP':
      return 'it is a symbolic link, name its target';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'no space left on the disk';
    case 'EROFS':
      return 'the file system is read-only';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
