/** Whom a command talks to: `--url`, HOLDFAST_URL, a context, or a role on this machine through its socket. */
import { createConnection } from 'node:net';
import { join } from 'node:path';
import type { Cancel } from '../base/clock.ts';
import { createClient, type HoldfastClient } from '../client/client.ts';
import type { Target } from '../client/connection.ts';
import { LinkError } from '../client/link.ts';
import { certificatesIn } from '../client/tls.ts';
import { AppError } from '../domain/error.ts';
import {
  type ClientSettings,
  type Flags,
  readCaFile,
  readClientSettings,
  readProxySettings,
  readToken,
} from './config.ts';
import { contextOfUrl, localContext, readContexts, requireContext, type ServerContext } from './contexts.ts';
import type { Io } from './io.ts';
import { type Role, socketFolders } from './locations.ts';

/** The socket with all rights: the file's permissions are the credential. */
const adminSocket = 'admin.sock';
/** An agent's for members of its group: whoever reports services. */
const agentSocket = 'agent.sock';
/** For everybody on the machine, to look. */
const readSocket = 'read.sock';

/** What a command is about: services, which programs of this machine report, or anything else. */
export type Purpose = 'services' | 'anything';

/** In the order in which they are tried: the strongest that may be opened is asked. Reporters see services alone. */
const socketsFor: Readonly<Record<Purpose, readonly string[]>> = {
  services: [adminSocket, agentSocket, readSocket],
  anything: [adminSocket, readSocket],
};

/** A server, how people know it, and what a context keeps for it. */
interface Found {
  readonly target: Target;
  readonly words: string;
  readonly context?: ServerContext | undefined;
}

/**
 * Finds the server, says on stderr which one, and opens nothing yet. Exit 6 names what was tried. `token` goes before
 * every other credential.
 */
export async function connect(
  io: Io,
  flags: Flags,
  role: Role,
  { token: given, purpose = 'anything' }: { token?: string; purpose?: Purpose } = {},
): Promise<HoldfastClient> {
  const settings = readClientSettings(io, flags);
  const { target, words, context } = await findTarget(io, settings, { role, purpose });
  const overNetwork = 'url' in target;
  const token = overNetwork
    ? (given ?? (await readToken(io, settings.tokenFile)) ?? context?.token)
    : undefined;
  const { timeoutMs } = settings;
  const ca = overNetwork ? await readCa(settings, context) : undefined;
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

async function readCa(
  { caFile }: ClientSettings,
  context: ServerContext | undefined,
): Promise<readonly string[] | undefined> {
  if (caFile !== undefined) return readCaFile(caFile);
  return context?.ca === undefined ? undefined : certificatesIn(context.ca);
}

async function findTarget(
  io: Io,
  settings: ClientSettings,
  { role, purpose }: { readonly role: Role; readonly purpose: Purpose },
): Promise<Found> {
  const { url, socket: folder } = settings;
  if (url !== undefined) {
    const source = url.source === '--url' ? '' : ` (${url.source})`;
    // Only for this very server: a token goes nowhere else.
    const context = contextOfUrl(await readContexts(io), url.value);
    return { target: { url: url.value }, words: `${url.value}${source}`, context };
  }
  const contexts = folder === undefined ? await readContexts(io) : undefined;
  const name = settings.context ?? contexts?.current ?? localContext;
  if (contexts !== undefined && name !== localContext) {
    const context = requireContext(contexts, name);
    return { target: { url: context.url }, words: `${context.url} (context ${name})`, context };
  }
  const folders = folder === undefined ? socketFolders(io, role) : [folder, join(folder, role)];
  const found = await firstThatAnswers(io, folders, socketsFor[purpose]);
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
  names: readonly string[],
): Promise<{ socket: string } | { denied: string | undefined }> {
  let denied: string | undefined;
  for (const folder of folders) {
    for (const name of names) {
      const socket = join(folder, name);
      const code = await probe(io, socket);
      if (code === null) return { socket };
      if (code === 'EACCES') denied ??= socket;
      // Where nobody answers at the first, nobody does at the others.
      else if (name === adminSocket) break;
    }
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
