/** On which way a doctor report goes to the registry: through the agent, with the host's own credential, or a token. */
import { join } from 'node:path';
import { FileError, readPrivateFile } from '../base/atomic-file.ts';
import { createClient, type HoldfastClient } from '../client/client.ts';
import { LinkError } from '../client/link.ts';
import { certificatesIn } from '../client/tls.ts';
import type { Identity } from '../store/identity.ts';
import { type Flags, readCaFile, readClientSettings, readProxySettings } from './config.ts';
import { localContext, readContexts } from './contexts.ts';
import { whoCan } from './doctor-gather.ts';
import type { Io } from './io.ts';
import { connect } from './whom.ts';

/** Somebody who takes the report. */
export interface Way {
  readonly client: HoldfastClient;
  readonly words: string;
}

/**
 * Opens nothing yet. A registry that was named goes first; then the agent, which sends as the host; without it this
 * command does so itself, where it may read the credential; then whomever other commands would ask. Throws what says
 * who can send it.
 */
export async function wayOf(
  io: Io,
  flags: Flags,
  { agent, identity, dataDir }: { agent: HoldfastClient | null; identity: Identity | null; dataDir: string },
): Promise<Way> {
  const isNamed = flags['url'] !== undefined || flags['context'] !== undefined;
  if (isNamed) return asked(io, flags);
  if (agent !== null) return { client: agent, words: 'the registry of this host, through its agent' };
  const own = identity === null ? null : await asHost(io, flags, { identity, dataDir });
  if (own !== null) return own;
  const { url, context } = readClientSettings(io, withoutSocket(flags));
  if (
    url !== undefined ||
    context !== undefined ||
    ((await readContexts(io)).current ?? localContext) !== localContext
  )
    return asked(io, flags);
  throw new LinkError(
    'unreachable',
    `Cannot send the doctor report: the agent does not run, and its credential in ${dataDir} cannot be read or used; ${whoCan(io, dataDir)}, or name the registry with --url and --token-file`,
  );
}

async function asked(io: Io, flags: Flags): Promise<Way> {
  const client = await connect(io, withoutSocket(flags), 'registry');
  return { client, words: client.label };
}

/** `--socket` names the agent's. */
function withoutSocket(flags: Flags): Flags {
  return Object.fromEntries(Object.entries(flags).filter(([name]) => name !== 'socket'));
}

/** Null where the credential cannot be read, or has ended. */
async function asHost(
  io: Io,
  flags: Flags,
  { identity, dataDir }: { identity: Identity; dataDir: string },
): Promise<Way | null> {
  const token = await readCredential(io, { identity, dataDir });
  const urls = [...new Set([...identity.urls, identity.registryUrl])].filter((url) => URL.canParse(url));
  const [url] = urls.filter((one) => /^https?:/.test(one));
  if (token === null || url === undefined) return null;
  const { timeoutMs, caFile } = readClientSettings(io, withoutSocket(flags));
  const own = certificatesIn((await readOwn(dataDir, 'registry-ca.pem')) ?? '');
  const ca = [...own, ...(caFile === undefined ? [] : await readCaFile(caFile))];
  const client = createClient({
    target: { url },
    token,
    clock: io.clock,
    random: io.random,
    signal: io.signal,
    proxy: readProxySettings(io),
    ...(ca.length === 0 ? {} : { tls: { ca } }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  return { client, words: `${url}, as host ${identity.name}` };
}

async function readCredential(
  io: Io,
  { identity, dataDir }: { identity: Identity; dataDir: string },
): Promise<string | null> {
  const text = await readOwn(dataDir, 'credential');
  if (text === null) return null;
  try {
    const held = JSON.parse(text) as { host?: unknown; credential?: unknown; expiresAtMs?: unknown };
    const isGood = held.host === identity.id && Number(held.expiresAtMs) > io.clock.now();
    return isGood && typeof held.credential === 'string' ? held.credential : null;
  } catch {
    // Written whole or not at all; what somebody has changed by hand is none.
    return null;
  }
}

async function readOwn(dataDir: string, name: string): Promise<string | null> {
  try {
    return (await readPrivateFile(join(dataDir, name))).toString('utf8');
  } catch (error) {
    if (error instanceof FileError) return null;
    throw error;
  }
}
