/** Sockets in the file system: whoever may open the file may talk, so the file is there with its mode or not at all. */
import { chmod, chown, lchown, lstat, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { createConnection, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../base/folder.ts';
import { socketPathBytesMax } from '../base/socket-path.ts';
import { AppError, isAppError } from '../domain/error.ts';

export interface SocketFile {
  readonly path: string;
  readonly mode: number;
  /** Whose it is to be; whoever we are when absent. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/**
 * Binds inside a private folder, gives the file its mode and moves it into place. What a crash left behind is replaced; a
 * socket where somebody answers is not: `conflict`. `bad-request` for a place that cannot be. `release` removes the file.
 */
export async function bindSocketFile(
  server: Server,
  { path, mode, owner }: SocketFile,
): Promise<{ release(): Promise<void> }> {
  checkLength(path);
  await refuseTaken(path, owner);
  await makeSocketFolder(dirname(path));
  // Not join(): it would take the dot away, and the folder would be made beside, where we may have no right to.
  const folder = await mkdtemp(`${dirname(path)}/.`);
  try {
    const hidden = join(folder, 's');
    checkLength(hidden);
    await listening(server, { path: hidden }, path);
    await chmod(hidden, mode);
    if (owner !== undefined) await chown(hidden, owner.uid, owner.gid);
    await rename(hidden, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const { ino } = await lstat(path);
  return {
    release: async () => {
      // Not the one of a successor, who may have taken the place already.
      const found = await lstat(path).catch(() => undefined);
      if (found?.ino === ino) await rm(path, { force: true });
    },
  };
}

/**
 * Open to all, because each socket in it has its own mode; a folder that is there keeps the mode that somebody gave it,
 * unless others could put a socket of theirs in the place of ours, and be told what is for us alone.
 */
async function makeSocketFolder(path: string): Promise<void> {
  // What mkdir was given has lost the bits of the umask.
  if (makeFolder(path, 0o755) !== undefined) return chmod(path, 0o755);
  const { uid, mode } = await stat(path);
  const own = process.geteuid?.() ?? uid;
  const sticky = (mode & 0o1000) !== 0;
  const flaw =
    uid !== own && uid !== 0
      ? `the folder belongs to user id ${uid}, who could put others in their place;`
      : (mode & 0o022) !== 0 && !sticky
        ? `others can write to the folder (mode ${(mode & 0o777).toString(8)}), and put theirs in their place; run "chmod go-w ${path}", or`
        : undefined;
  if (flaw === undefined) return;
  throw new AppError(
    'forbidden',
    `Cannot put sockets into ${path}: ${flaw} name another folder with --socket`,
    {
      field: 'socketFolder',
    },
  );
}

function checkLength(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= socketPathBytesMax) return;
  throw new AppError(
    'bad-request',
    `Cannot listen at ${path}: the path of a Unix socket has at most ${socketPathBytesMax} bytes, this one has ${bytes}; choose a shorter folder`,
    {
      field: 'socket',
    },
  );
}

async function refuseTaken(path: string, owner: SocketFile['owner']): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new AppError('conflict', `Cannot listen at ${path}: there is a file that is no socket`, {
      field: 'socket',
    });
  // Root that may do no more than give files away cannot open what it gave away, not even to see that nobody is there.
  const isGiven = owner !== undefined && found.uid === owner.uid && found.uid !== process.geteuid?.();
  if (isGiven) await lchown(path, process.geteuid?.() ?? 0, process.getegid?.() ?? 0);
  const answered = await isAnswered(path);
  if (isGiven && answered) await lchown(path, owner.uid, owner.gid);
  if (answered)
    throw new AppError(
      'conflict',
      `Cannot listen at ${path}: somebody does already; is another ${basename(dirname(path))} running?`,
      { field: 'socket' },
    );
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // Refused: nobody listens. Any other failure (no right to connect) means that we cannot say, so it is not ours to take.
    probe.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}

/** Binds; what fails is told in our words, as `bad-request`, or as `conflict` when somebody listens there already. */
export function listening(
  server: Server,
  at: { host: string; port: number } | { path: string },
  name: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => reject(listenError(error, name));
    server.once('error', failed);
    server.listen(at, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

function listenError(error: NodeJS.ErrnoException, name: string): unknown {
  if (isAppError(error)) return error;
  if (error.code === 'EADDRINUSE')
    return new AppError(
      'conflict',
      `Cannot listen at ${name}: somebody does already; is Holdfast running ("holdfast status")? Choose another port, 0 takes a free one`,
      {
        cause: error,
        field: 'listen',
      },
    );
  return new AppError(
    'bad-request',
    `Cannot listen at ${name}: ${listenWords[error.code ?? ''] ?? error.message}`,
    {
      cause: error,
      field: 'listen',
    },
  );
}

const listenWords: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: 'this machine has no such address; 0.0.0.0 takes all that it has',
  EACCES: 'permission denied; ports below 1024 are for root',
  ENOTFOUND: 'its name cannot be resolved',
};
