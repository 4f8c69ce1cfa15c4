/** Where a server listens: TCP addresses, and Unix sockets whose file mode is the check. */
import { chmod, lstat, mkdtemp, rename, rm } from 'node:fs/promises';
import { type AddressInfo, createConnection, isIP, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../base/folder.ts';
import { socketPathBytesMax } from '../base/socket-path.ts';
import type { Caller } from '../domain/access.ts';
import { AppError, isAppError } from '../domain/error.ts';
import type { Entrance } from './auth.ts';
import type { Kind } from './operation.ts';

/** A private key and its certificate chain, PEM. */
export interface TlsPair {
  readonly key: string;
  readonly cert: string;
}

/** Where a listener's certificate comes from. */
export interface TlsSource {
  current(): TlsPair;
  /** Called with each pair that takes the place of the one before. Returns how to stop. */
  subscribe(listener: (pair: TlsPair) => void): () => void;
}

export interface TcpListener {
  readonly kind: 'tcp';
  /** An address, or `localhost`. */
  readonly host: string;
  /** 0: any free one; `Bound.url` tells. */
  readonly port: number;
  /** A proxy stands in front, so who is on this machine cannot be told: probes need a token, Host is not checked. */
  readonly behindProxy?: boolean;
  /** HTTPS; plain HTTP without it. */
  readonly tls?: TlsSource;
}

export interface UnixListener {
  readonly kind: 'unix';
  readonly path: string;
  /** `0o600`: whoever may open the file is the caller. */
  readonly mode: number;
  readonly caller: Caller;
}

/**
 * The Unix sockets of a role, one for each privilege, where whoever may open the file is its caller: `admin.sock`
 * (its owner and root, everything), `agent.sock` of an agent (the group too: programs of this host that report), and
 * `read.sock` (everybody who can reach the folder: what a viewer sees, without what is nobody's business).
 */
export function roleSockets(kind: Kind, folder: string): UnixListener[] {
  const socket = (name: string, mode: number, caller: Caller): UnixListener => ({
    kind: 'unix',
    path: join(folder, name),
    mode,
    caller,
  });
  return [
    socket('admin.sock', 0o600, { role: 'admin', subject: 'local' }),
    ...(kind === 'agent'
      ? [socket('agent.sock', 0o660, { role: 'reporter', subject: 'local-program' })]
      : []),
    socket('read.sock', 0o666, { role: 'reader', subject: 'local-reader' }),
  ];
}

export type Listener = TcpListener | UnixListener;

export interface Bound {
  readonly listener: Listener;
  /** `https://127.0.0.1:7420`, or `unix:/run/holdfast/agent/admin.sock`. */
  readonly url: string;
  /** Removes what was left in the file system. */
  release(): Promise<void>;
}

/** What coming through this listener means. */
export function entranceThrough(listener: Listener): Entrance {
  if (listener.kind === 'unix') return { caller: listener.caller, loopback: false, behindProxy: false };
  const { behindProxy = false, host } = listener;
  return { caller: null, loopback: !behindProxy && isLoopback(host), behindProxy };
}

/** Throws `bad-request` for a place that cannot be, `conflict` for one where somebody listens already. */
export async function bind(server: Server, listener: Listener): Promise<Bound> {
  return listener.kind === 'tcp' ? bindTcp(server, listener) : bindUnix(server, listener);
}

async function bindTcp(server: Server, listener: TcpListener): Promise<Bound> {
  const { host, port } = listener;
  await listening(server, { host, port }, `${host}:${port}`);
  const { address, family, port: bound } = server.address() as AddressInfo;
  return {
    listener,
    url: `${listener.tls === undefined ? 'http' : 'https'}://${connectable(address, family)}:${bound}`,
    release: () => Promise.resolve(),
  };
}

/** Every address of this machine is none that one can ask, or that a certificate can name: the loopback one is. */
function connectable(address: string, family: string): string {
  if (family === 'IPv6') return address === '::' ? '[::1]' : `[${address}]`;
  return address === '0.0.0.0' ? '127.0.0.1' : address;
}

/**
 * A socket file is there with its mode or not at all: bound inside a private folder, given its mode, moved into place.
 * What a crash left behind is replaced; a socket where somebody answers is not.
 */
async function bindUnix(server: Server, listener: UnixListener): Promise<Bound> {
  const { path, mode } = listener;
  checkLength(path);
  await refuseTaken(path);
  await makeSocketFolder(dirname(path));
  // Not join(): it would take the dot away, and the folder would be made beside, where we may have no right to.
  const folder = await mkdtemp(`${dirname(path)}/.`);
  try {
    const hidden = join(folder, 's');
    checkLength(hidden);
    await listening(server, { path: hidden }, path);
    await chmod(hidden, mode);
    await rename(hidden, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const { ino } = await lstat(path);
  return {
    listener,
    url: `unix:${path}`,
    release: async () => {
      // Not the one of a successor, who may have taken the place already.
      const found = await lstat(path).catch(() => undefined);
      if (found?.ino === ino) await rm(path, { force: true });
    },
  };
}

/** Open to all, because each socket in it has its own mode; a folder that is there keeps the mode that somebody gave it. */
async function makeSocketFolder(path: string): Promise<void> {
  // What mkdir was given has lost the bits of the umask.
  if (makeFolder(path, 0o755) !== undefined) await chmod(path, 0o755);
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

async function refuseTaken(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new AppError('conflict', `Cannot listen at ${path}: there is a file that is no socket`, {
      field: 'socket',
    });
  const answered = await new Promise<boolean>((resolve) => {
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
  if (answered)
    throw new AppError(
      'conflict',
      `Cannot listen at ${path}: somebody does already; is another ${basename(dirname(path))} running?`,
      { field: 'socket' },
    );
}

function listening(
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

/** Whether only this machine reaches a listener at this address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
