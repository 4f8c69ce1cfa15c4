/** What a role would fail of at its start, found without starting it: nothing is made, bound or joined. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { socketPathBytesMax } from '../base/socket-path.ts';
import { proxyFor } from '../client/proxy.ts';
import { isAppError } from '../domain/error.ts';
import { checkDataDir } from '../store/engine/files.ts';
import { agentConfig } from './agent-config.ts';
import { type Flags, readCaFile, type Settings, upConfigs } from './config.ts';
import { ConfigurationError } from './exit.ts';
import type { Io } from './io.ts';
import { dutiesOf, OrdersFile, sinksOf } from './orders-file.ts';
import { registryConfig } from './registry-config.ts';
import type { AgentConfig, Listen, RegistryConfig, RunnerConfig } from './roles.ts';
import { runnerConfig } from './runner-config.ts';

/** Throws `ConfigurationError` for the first mistake. A token on stdin is not read. */
export async function checkStart(io: Io, given: Settings, flags: Flags): Promise<void> {
  switch (given.role) {
    case 'up': {
      const { registry, runner, agent } = upConfigs(io, given, flags);
      requireTwoAddresses(registry.listen, agent.listen);
      for (const config of [registry, runner, agent]) checkFolders(io, config);
      await checkOrders(io, runner);
      return;
    }
    case 'registry': {
      const config = registryConfig(io, given);
      checkFolders(io, config);
      if (!isAnothers(io, config.dataDir)) {
        const { KeyFolder } = await import('../registry/keys.ts');
        await KeyFolder.check({ dataDir: config.dataDir, clock: io.clock, random: io.random });
      }
      if (config.tls.kind !== 'given') return;
      const { readGivenPair } = await import('../registry/tls.ts');
      await readGivenPair(config.tls, io.clock.now());
      return;
    }
    case 'runner': {
      const config = runnerConfig(io, given, flags);
      checkFolders(io, config);
      await checkOrders(io, config);
      return;
    }
    case 'agent': {
      const config = agentConfig(io, given);
      checkFolders(io, config);
      await checkRegistryAccess(given, config);
    }
  }
}

async function checkOrders(io: Io, { orders, registry }: RunnerConfig): Promise<void> {
  const { uid } = io;
  if (orders !== null) await new OrdersFile({ ...orders, uid, ordersOf: dutiesOf }).check();
  if (registry !== null && registry.orders !== null)
    await new OrdersFile({ ...registry.orders, uid, ordersOf: sinksOf }).check();
}

async function checkRegistryAccess(given: Settings, { registry, proxy = {} }: AgentConfig): Promise<void> {
  if (registry === null) return;
  const { url, joinToken, caFile } = registry;
  if (caFile !== undefined) await readCaFile(caFile);
  const file = given.get('joinFile') ?? given.get('tokenFile');
  const token = file === '-' || joinToken === null ? null : await joinToken();
  try {
    let urls: readonly string[] = url === null ? [] : [url];
    if (token !== null) {
      const { readJoinToken } = await import('../agent/join.ts');
      ({ urls } = await readJoinToken({ token, registryUrl: url }));
    }
    for (const one of urls) proxyFor(new URL(one), proxy);
  } catch (error) {
    if (!isAppError(error)) throw error;
    const where = error.field === 'joinToken' ? ` (in ${file ?? 'HOLDFAST_JOIN'})` : '';
    throw new ConfigurationError(`${error.message}${where}`, { cause: error });
  }
}

function requireTwoAddresses(registry: Listen, agent: Listen): void {
  if (registry.port === 0 || registry.port !== agent.port || registry.host !== agent.host) return;
  throw new ConfigurationError(
    `Cannot let registry and agent listen on one address, ${agent.host}:${agent.port}: name another with --agent-listen`,
  );
}

/** Root asks about a daemon that runs as a user of its own: whether that user can use its folder, its start tells. */
function isAnothers({ uid }: Io, dataDir: string): boolean {
  const owner = statSync(dataDir, { throwIfNoEntry: false })?.uid ?? uid;
  return uid === 0 && owner !== uid;
}

function checkFolders(
  io: Io,
  { dataDir, socketDir }: Pick<RegistryConfig | RunnerConfig | AgentConfig, 'dataDir' | 'socketDir'>,
): void {
  const bytes = Buffer.byteLength(join(socketDir, 'admin.sock'));
  if (bytes > socketPathBytesMax)
    throw new ConfigurationError(
      `Cannot put sockets into ${socketDir}: the path of one has at most ${socketPathBytesMax} bytes, and they would have ${bytes}; name a shorter folder with --socket`,
    );
  if (isAnothers(io, dataDir)) return;
  try {
    checkDataDir(dataDir);
  } catch (error) {
    if (isAppError(error)) throw new ConfigurationError(error.message, { cause: error });
    throw error;
  }
}
