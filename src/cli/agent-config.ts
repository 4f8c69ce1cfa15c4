/** What `holdfast agent` starts with: which registry it reports to, and by what it is let in there. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { removeFile } from '../base/atomic-file.ts';
import { isLoopback } from '../client/proxy.ts';
import { isAppError } from '../domain/error.ts';
import {
  agentDefault,
  hostOf,
  logLevelDefault,
  readProxySettings,
  readToken,
  requireLoopback,
  type Settings,
} from './config.ts';
import { ConfigurationError } from './exit.ts';
import type { Io } from './io.ts';
import { nonEmpty, roleLocations, runnerSocketBeside } from './locations.ts';
import type { AgentConfig, RegistryAccess } from './roles.ts';

/** Throws `ConfigurationError` (78) for settings that contradict each other, or would send secrets in the clear. */
export function agentConfig(io: Io, given: Settings): AgentConfig {
  const { dataDir, socketDir } = roleLocations(io, 'agent', given.get('dataDir'));
  const runnerSocket = given.get('runnerSocket');
  const sockets = given.get('socket') ?? socketDir;
  return {
    dataDir,
    listen: requireLoopback(given.get('listen') ?? agentDefault, 'the agent'),
    socketDir: sockets,
    logLevel: given.get('logLevel') ?? logLevelDefault,
    registry: registryOf(io, given, dataDir),
    proxy: readProxySettings(io),
    runnerSocket: runnerSocket === undefined ? runnerSocketBeside(sockets) : runnerSocket,
    ...hostOf(io, given),
  };
}

function registryOf(io: Io, given: Settings, dataDir: string): RegistryAccess | null {
  const url = given.get('registry');
  const joinToken = joinTokenOf(io, given, dataDir);
  if (url === null) return null;
  // One that has joined knows where its registry is.
  if (url === undefined && joinToken?.kind !== 'join' && !hasJoined(dataDir)) {
    throw new ConfigurationError(
      'Cannot start the agent: pass "--join-file FILE" with a join token, "--registry URL", or "--registry none" for a host on its own',
    );
  }
  const caFile = given.get('caFile');
  return {
    url: url === undefined ? null : requireSafeRegistry(url),
    joinToken: joinToken === null ? null : once(joinToken.read),
    ...(caFile === undefined ? {} : { caFile }),
    ...(joinToken?.used === undefined ? {} : { tokenUsed: joinToken.used }),
  };
}

/** `join`: it says where the registry is. */
interface GivenToken {
  readonly kind: 'join' | 'api';
  readonly read: () => Promise<string>;
  /** Called when the host has joined with it. */
  readonly used?: () => Promise<void>;
}

/** In the data directory: a join token that `holdfast install` put there. It goes behind every other. */
export const handedOverToken = 'join.token';

function joinTokenOf(io: Io, given: Settings, dataDir: string): GivenToken | null {
  const [joinFile, tokenFile] = [given.get('joinFile'), given.get('tokenFile')];
  if (joinFile !== undefined && tokenFile !== undefined)
    throw new ConfigurationError('Cannot join with two tokens: pass either --join-file or --token-file');
  if (joinFile !== undefined)
    return { kind: 'join', read: async () => (await readToken(io, joinFile)) ?? '' };
  const text = nonEmpty(io.env['HOLDFAST_JOIN']?.trim());
  if (text !== undefined && tokenFile === undefined) return { kind: 'join', read: async () => text };
  if (tokenFile === undefined && nonEmpty(io.env['HOLDFAST_TOKEN']) === undefined) {
    const handed = join(dataDir, handedOverToken);
    if (!existsSync(handed)) return null;
    return {
      kind: 'join',
      read: async () => (await readToken(io, handed)) ?? '',
      used: () => removeFile(handed),
    };
  }
  return { kind: 'api', read: async () => (await readToken(io, tokenFile)) ?? '' };
}

/** What came once from stdin does not come again; a file is read anew, for it may hold another token by then. */
function once(read: () => Promise<string>): () => Promise<string> {
  let last: string | undefined;
  return async () => {
    try {
      last = await read();
    } catch (error) {
      if (last === undefined) throw error;
    }
    return last;
  };
}

function requireSafeRegistry(url: string): string {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || isLoopback(hostname)) return url;
  throw new ConfigurationError(
    `Cannot use the registry ${url}: credentials would travel unencrypted, use https (plain http goes to loopback only)`,
  );
}

/**
 * Reads the token of a host that has not joined yet, so that one that cannot be read ends the start at once. One that
 * has joined starts without it. Throws `ConfigurationError`.
 */
export async function requireJoinToken({ dataDir, registry }: AgentConfig): Promise<void> {
  if (registry === null || registry.joinToken === null || hasJoined(dataDir)) return;
  const { readJoinToken } = await import('../agent/join.ts');
  try {
    await readJoinToken({ token: registry.joinToken, registryUrl: registry.url });
  } catch (error) {
    if (isAppError(error)) throw new ConfigurationError(error.message, { cause: error });
    throw error;
  }
}

/** Whether the host of this data directory has a credential of its registry. */
export function hasJoined(dataDir: string): boolean {
  return existsSync(join(dataDir, 'credential'));
}
