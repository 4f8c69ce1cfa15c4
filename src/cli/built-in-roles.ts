/** The roles that this binary has, each loaded when it starts. */
import { join } from 'node:path';
import { COMMIT, VERSION } from '../base/version.ts';
import { allowDefault } from '../domain/allow.ts';
import { standardDetectorSpecs } from '../domain/detector.ts';
import { type SinkSpec, shownSink } from '../domain/sinks.ts';
import { sqliteAddon } from '../store/engine/addon.ts';
import { readCaFile, readDoctorPassword } from './config.ts';
import { ConfigurationError } from './exit.ts';
import type {
  RegistryConfig,
  RoleContext,
  Roles,
  RunnerConfig,
  RunningRegistry,
  RunningRole,
} from './roles.ts';

/** `cacheDir`: where the single binary may unpack SQLite's addon. */
export function builtInRoles(cacheDir: string | undefined): Roles {
  const addonFor = () => sqliteAddon(cacheDir);
  return {
    startRegistry: (config, context) => startRegistry(config, context, addonFor()),
    async startAgent(config, { clock, random, logger }) {
      const { createAgent } = await import('../agent/agent.ts');
      const { registry, runnerSocket } = config;
      const ca = registry?.caFile === undefined ? [] : await readCaFile(registry.caFile);
      return createAgent({
        ...config,
        registry: registry === null ? null : { ...registry, ca },
        runner: runnerSocket === null ? null : { socket: runnerSocket },
        clock,
        random,
        logger,
        addon: addonFor(),
        version: VERSION,
        commit: COMMIT,
        config: shown(config),
      });
    },
    startRunner,
    async restore({ file, dataDir, force, passphrase }, { clock }) {
      const { restore, roleOfBackup } = await import('../store/engine/backup.ts');
      const addon = addonFor();
      const role = roleOfBackup({ file, addon });
      const { keys, kept } = await restore({
        file,
        dataDir,
        role,
        force,
        passphrase,
        now: clock.now(),
        pid: process.pid,
        addon,
      });
      return { role, keys, kept };
    },
    async resetAdmin(request, { clock, random, logger }) {
      const { resetAdmin } = await import('../registry/reset-admin.ts');
      return resetAdmin({
        ...request,
        clock,
        random,
        logger,
        version: VERSION,
        commit: COMMIT,
        addon: addonFor(),
      });
    },
    async readLeftBehind(dataDir) {
      const { readLeftBehind } = await import('../store/left-behind.ts');
      return readLeftBehind({ dataDir, pid: process.pid, addon: addonFor() });
    },
    async addKeys(request) {
      const { addKeys } = await import('../store/engine/backup-keys.ts');
      await addKeys({ ...request, addon: addonFor() });
    },
  };
}

async function startRunner(
  { dataDir, socketDir, agentUser, orders, registry, stopsSteps }: RunnerConfig,
  { clock, random, logger }: RoleContext,
): Promise<RunningRole> {
  const [{ createRunner }, { OrdersFile, dutiesOf, sinksOf }, { findUser }, { closeInherited }, units] =
    await Promise.all([
      import('../runner/runner.ts'),
      import('./orders-file.ts'),
      import('../runner/users.ts'),
      import('../runner/inherited.ts'),
      import('../runner/transient-units.ts'),
    ]);
  closeInherited();
  const uid = process.geteuid?.() ?? 0;
  const file = orders === null ? null : new OrdersFile({ ...orders, uid, ordersOf: dutiesOf });
  const ownerOf = (user: string | null) => {
    const owner = user === null ? undefined : findUser(user);
    if (user === null || owner !== undefined) return owner;
    throw new ConfigurationError(`Cannot give the socket to user "${user}": /etc/passwd has no such user`);
  };
  const socketOwner = ownerOf(agentUser);
  const registryOwner = ownerOf(registry?.user ?? null);
  // That a registry.yaml is wrong, or not there, is told to the registry that asks: the agent needs its runner.
  const registryFile =
    registry == null || registry.orders === null
      ? null
      : new OrdersFile({ ...registry.orders, uid, ordersOf: sinksOf });
  // A file that is wrong from the start is told at once; one that becomes wrong later stops no other step.
  await file?.check();
  // Units are systemd's, and go on without us: neither fits one that is not root, or ends what it has started.
  const usesUnits = uid === 0 && !stopsSteps && units.isSystemdThere();
  return createRunner({
    dataDir,
    socketDir,
    ...(usesUnits
      ? { launcher: (given) => units.createTransientUnits({ ...given, folder: join(socketDir, 'ended') }) }
      : {}),
    ...(socketOwner === undefined ? {} : { socketOwner }),
    ...(registry === null
      ? {}
      : {
          registry: {
            ...(registryOwner === undefined ? {} : { socketOwner: registryOwner }),
            sinks: () => registryFile?.read() ?? Promise.resolve([]),
          },
        }),
    duties: file ?? {
      read: () => Promise.resolve({ checks: [], detectors: standardDetectorSpecs, allow: allowDefault }),
    },
    stopsSteps,
    clock,
    random,
    logger,
    version: VERSION,
    commit: COMMIT,
  });
}

async function startRegistry(
  config: RegistryConfig,
  context: RoleContext,
  addon: object | undefined,
): Promise<RunningRegistry> {
  const { createRegistry } = await import('../registry/registry.ts');
  const { clock, random, logger } = context;
  const { dataDir, listen, socketDir, databaseUrl, tls, advertiseUrls, behindProxy, notify } = config;
  const { legacyAnonymous, doctorReader } = config;
  return createRegistry({
    dataDir,
    listen,
    socketDir,
    databaseUrl,
    tls,
    advertiseUrls,
    behindProxy,
    legacyAnonymous,
    doctorReader:
      doctorReader === null
        ? null
        : { user: doctorReader.user, password: await readDoctorPassword(doctorReader) },
    notify,
    proxy: config.proxy ?? {},
    runnerSocket: config.runnerSocket,
    clock,
    random,
    logger,
    addon,
    version: VERSION,
    commit: COMMIT,
    config: shown(config),
  });
}

/** What `GET /v1/config` shows of a configuration: no secret, and no function. */
function shown(config: object): object {
  const secret = new Set(['databaseUrl', 'joinToken', 'password', 'proxy']);
  return JSON.parse(
    JSON.stringify(config, (key, value: unknown) => {
      if (secret.has(key) && value !== null) return '(set)';
      // The path of a hook may be a secret, and arguments of a command often are one.
      return key === 'sinks' && Array.isArray(value) ? (value as SinkSpec[]).map(shownSink) : value;
    }),
  ) as object;
}
