/** Whom a command talks to: `--url`, HOLDFAST_URL, or a role on this machine through its socket. */
import { createConnection } from 'node:net';
import { join } from 'node:path';
import type { Cancel } from '../base/clock.ts';
import { createClient, type HoldfastClient } from '../client/client.ts';
import type { Target } from '../client/connection.ts';
import { LinkError } from '../client/link.ts';
import { AppError } from '../domain/error.ts';
import {
  type ClientSettings,
  type Flags,
  readCaFile,
  readClientSettings,
  readProxySettings,
  readToken,
} from './config.ts';
import type { Io } from './io.ts';
import { type Role, socketFolders } from './locations.ts';

/** The socket with all rights: the file's permissions are the credential. */
const adminSocket = 'admin.sock';
/** For everybody on the machine, to look: asked where the other one is not ours to open. */
const readSocket = 'read.sock';

/** Finds the server, says on stderr which one, and opens nothing yet. Exit 6 names what was tried. */
export async function connect(io: Io, flags: Flags, role: Role): Promise<HoldfastClient> {
  const settings = readClientSettings(io, flags);
  const { target, words } = await findTarget(io, settings, role);
  const token = 'url' in target ? await readToken(io, settings.tokenFile) : undefined;
  const { timeoutMs, caFile } = settings;
  const ca = 'url' in target && caFile !== undefined ? await readCaFile(caFile) : undefined;
  const client = createClient({
    target,
    clock: io.clock,
    random: io.random,
    signal: io.signal,
    proxy: readProxySettings(io),
    ...(ca === undefined ? {} : { tls: { ca } }),
    ...(token === undefined ? {} : { token }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  io.stderr.write(`asking ${words}\n`);
  return client;
}

async function findTarget(
  io: Io,
  settings: ClientSettings,
  role: Role,
): Promise<{ target: Target; words: string }> {
  const { url, socket: folder } = settings;
  if (url !== undefined)
    return {
      target: { url: url.value },
      words: `${url.value}${url.source === '--url' ? '' : ` (${url.source})`}`,
    };
  const folders = folder === undefined ? socketFolders(io, role) : [folder, join(folder, role)];
  const found = await firstThatAnswers(io, folders);
  const who = folder === undefined ? `the ${role} on this machine` : `the server at ${folder}`;
  if ('socket' in found)
    return { target: found, words: `${folder === undefined ? `${who} at ` : ''}${found.socket}` };
  throw found.denied === undefined
    ? new LinkError(
        'unreachable',
        `Cannot find ${who}: nobody answers at ${folders.map((one) => join(one, adminSocket)).join(', ')}`,
      )
    : new AppError('forbidden', `Cannot open ${found.denied}: permission denied`);
}

/** A socket file may outlive its server, so each is tried, not only looked for. */
async function firstThatAnswers(
  io: Io,
  folders: readonly string[],
): Promise<{ socket: string } | { denied: string | undefined }> {
  let denied: string | undefined;
  for (const folder of folders) {
    const socket = join(folder, adminSocket);
    const code = await probe(io, socket);
    if (code === null) return { socket };
    if (code !== 'EACCES') continue;
    denied ??= socket;
    const open = join(folder, readSocket);
    if ((await probe(io, open)) === null) return { socket: open };
  }
  return { denied };
}

const probeMs = 2_000;

/** null when somebody accepts; otherwise the errno. */
function probe(io: Io, path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const connection = createConnection(path);
    let cancel: Cancel | undefined;
    const done = (result: string | null) => {
      cancel?.();
      connection.destroy();
      resolve(result);
    };
    cancel = io.clock.after(probeMs, () => done('ETIMEDOUT'));
    connection.once('connect', () => done(null));
    connection.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? 'EIO'));
  });
}
