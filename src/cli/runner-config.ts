/** What `holdfast runner` starts with. Its file is agent.yaml, of which it takes nothing that is the agent's own. */
import { resolve } from 'node:path';
import { configFileOf, type Flags, logLevelDefault, type Settings } from './config.ts';
import type { Io } from './io.ts';
import { roleLocations } from './locations.ts';
import type { RunnerConfig } from './roles.ts';

export function runnerConfig(io: Io, given: Settings, flags: Flags): RunnerConfig {
  const { dataDir, socketDir } = roleLocations(io, 'runner', given.get('dataDir'));
  const file = configFileOf(io, flags);
  const registryConfig = given.get('registryConfig');
  return {
    dataDir,
    socketDir: given.get('socket') ?? socketDir,
    logLevel: given.get('logLevel') ?? logLevelDefault,
    agentUser: given.get('agentUser') ?? null,
    orders: file === undefined ? null : { file: resolve(file), role: 'agent' },
    registry:
      registryConfig === undefined
        ? null
        : { user: given.get('registryUser') ?? null, orders: { file: registryConfig, role: 'registry' } },
    // What runs goes on without it, and the next one takes it over.
    stopsSteps: false,
  };
}
