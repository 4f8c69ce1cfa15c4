/**
 * The registry: the centre that knows every host. This file lists all its parts in the order in which they are built;
 * `close` undoes them in reverse.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ensurePrivateFolder } from '../base/atomic-file.ts';
import { LagMeter } from '../base/lag.ts';
import { startLoop } from '../base/loop.ts';
import { Loops } from '../base/loops.ts';
import { type Surroundings, surroundings } from '../base/surroundings.ts';
import { Undo } from '../base/undo.ts';
import type { ProxySettings } from '../client/proxy.ts';
import { RunnerClient } from '../client/runner.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { emptyNotifyPlan, type NotifyPlan } from '../domain/notify.ts';
import { isLoopback, roleSockets } from '../http/listen.ts';
import { createHttpServer, type HttpLimits } from '../http/server.ts';
import { AccessStore } from '../store/access.ts';
import { resetAdminToken, writeFirstAdminToken } from '../store/admin-token.ts';
import { AuditStore } from '../store/audit.ts';
import { ClusterStore } from '../store/cluster.ts';
import { DoctorStore } from '../store/doctor.ts';
import { backupStream } from '../store/engine/backup-stream.ts';
import type { OpenStore } from '../store/engine/core.ts';
import { openStore, type StoreLimits } from '../store/engine/store.ts';
import { HostStore } from '../store/host.ts';
import { hostNumbersOf } from '../store/host-numbers.ts';
import { IdempotencyStore } from '../store/idempotency.ts';
import { ImportStore } from '../store/import.ts';
import { InventoryStore } from '../store/inventory.ts';
import { InventoryHistory } from '../store/inventory-history.ts';
import { LivenessStore } from '../store/liveness.ts';
import { ReleaseStore } from '../store/release.ts';
import { ReleasePast } from '../store/release-past.ts';
import { Snapshots } from '../store/snapshots.ts';
import { TokenStore } from '../store/token.ts';
import { TrainStore } from '../store/train.ts';
import { UpdateStore } from '../store/update.ts';
import { encodeJoinToken } from '../wire/join-token.ts';
import { Lead } from './lead.ts';
import { Notifier } from './notify/notifier.ts';
import { truthOf } from './notify/truth.ts';
import { rewinder } from './rewind.ts';
import { registryChecks, registrySamples, registryStatus } from './status.ts';
import { storeProbe } from './store-probe.ts';
import { Sweep, sweepEveryMs } from './sweep.ts';
import { targetsOf } from './targets.ts';
import { RegistryTrust, type TlsChoice } from './trust.ts';

/** A quarter of the beats that one core was measured at. */
const beatsPerSecondMax = 10_000;
/**
 * Hosts that may come back each second: two fifths of a core at the most, so that the registry has room for its other work. A
 * connection with its first request was measured at 0.7 to 0.9 ms of CPU over TLS, at 0.11 to 0.17 ms without.
 */
const returnsPerSecondMax = { tls: 500, plain: 2_000 } as const;
const listenDefault = { host: '127.0.0.1', port: 7420 };
const flushEveryMs = 30_000;
const compactEveryMs = 600_000;
const ownJoinTokenLifeMs = 300_000;

export interface RegistryOptions extends Partial<Surroundings> {
  readonly dataDir: string;
  /** `port` 0 takes a free one; default 127.0.0.1:7420. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** PostgreSQL instead of the embedded store; a secret. */
  readonly databaseUrl?: string | null;
  /** Where the Unix sockets go, one for each privilege; null or absent: none. */
  readonly socketDir?: string | null;
  /** Absent: plain HTTP, which goes to loopback addresses only, unless `behindProxy`. */
  readonly tls?: TlsChoice;
  /** Where hosts find it, best first; also names of its own certificate. */
  readonly advertiseUrls?: readonly string[];
  /** A proxy that ends TLS stands in front: Host is not checked, and probes need a token. */
  readonly behindProxy?: boolean;
  /** Whom it tells of what; nobody when absent. */
  readonly notify?: NotifyPlan;
  /** On the way to sinks. */
  readonly proxy?: ProxySettings;
  /** The socket `notify.sock` of this host's runner, for sinks that are commands. */
  readonly runnerSocket?: string | null;
  /** Whoever shows no token may do what clients of workflow-manager-api do: check in, read versions and clusters, report. */
  readonly legacyAnonymous?: boolean;
  /** Who may read the doctor reports of such clients with a password; a secret. */
  readonly doctorReader?: { readonly user: string; readonly password: string } | null;
  /** What `GET /v1/config` shows; no secrets. */
  readonly config?: object;
  /** The native addon in the single binary. */
  readonly addon?: object | undefined;
  readonly limits?: { readonly http?: Partial<HttpLimits>; readonly store?: Partial<StoreLimits> };
}

export interface Registry {
  /** Where it serves: `https://127.0.0.1:7420`. */
  readonly url: string;
  readonly dataDir: string;
  /** A join token for one host, soon: for an agent that is started together with this registry. */
  joinToken(): Promise<string>;
  /** Rejects when it cannot go on; never resolves. */
  readonly failed: Promise<never>;
  /** For how long its slowest loop may have been stuck: what a watchdog asks. */
  stuckMs(): number;
  /** Drains, flushes and frees everything. Calling it twice is harmless. */
  close(): Promise<void>;
}

/** Resolves when its database is open and its sockets are bound. */
export function createRegistry(options: RegistryOptions): Promise<Registry> {
  return Undo.building((undo) => build({ ...surroundings, ...options }, undo));
}

async function build(options: RegistryOptions & Surroundings, undo: Undo): Promise<Registry> {
  const {
    dataDir,
    listen = listenDefault,
    socketDir = null,
    tls = { kind: 'off' },
    advertiseUrls = [],
    behindProxy = false,
    legacyAnonymous = false,
    doctorReader = null,
    clock,
    random,
    logger,
    version,
    commit,
  } = options;
  const loops = new Loops(clock);
  const shared = { clock, random, logger, loops };

  requireSafeListener(listen, { tls, behindProxy });
  const store = await openEither(options);
  undo.add('store', () => store.close());

  const trust = await RegistryTrust.open({
    ...shared,
    store,
    dataDir,
    tls,
    listenHost: listen.host,
    advertiseUrls,
    behindProxy,
  });
  const { certificate } = trust;

  const access = new AccessStore({ store, clock, random });
  const liveness: LivenessStore = new LivenessStore({
    store,
    clock,
    random,
    heldBy: 'registry',
    hostOf: (name) => hosts.find(name),
    factsOf: (name) => hosts.memory.named(name),
  });
  const hostNumbers = hostNumbersOf(() => hosts);
  const inventory = new InventoryStore({ store, clock, hosts: hostNumbers });
  const componentHistory = new InventoryHistory({
    store,
    clock,
    hosts: hostNumbers,
    changedSince: (fromMs) => hosts.memory.changedSince(fromMs),
  });
  const hosts: HostStore = new HostStore({
    store,
    clock,
    random,
    liveness,
    inventory,
    access,
    capacity: {
      beatsPerSecondMax,
      returnsPerSecondMax: returnsPerSecondMax[tls.kind === 'off' ? 'plain' : 'tls'],
    },
    trust: () => trust.trust(),
    trustSerial: () => trust.serial,
    onRewind: rewinder({ store, clock, logger }),
  });
  const trains = new TrainStore({ store, clock });
  const releases = new ReleaseStore({ store, clock, trains });
  const releasePast = new ReleasePast({ store, clock });
  const updates = new UpdateStore({
    ...{ store, clock, trains },
    hosts: hosts.asUpdateHosts(),
    hostsAsOf: (atMs) => hosts.asUpdateHostsAsOf(atMs),
  });
  const joinText = (bearer: string) => encodeJoinToken(trust.joinTrust(), bearer);
  const tokens = new TokenStore({ store, clock, access, joinText });
  const audit = new AuditStore({ store, clock });
  const clusters = new ClusterStore({ store });
  const imports = new ImportStore({ store });
  const doctor = new DoctorStore({ store, clock });
  const idempotency = new IdempotencyStore({ store, clock });
  const notifier = new Notifier({
    ...shared,
    store,
    plan: options.notify ?? emptyNotifyPlan,
    truth: truthOf({ hosts, liveness, clock, isRegionLost: (name) => sweep.isLost(name) }),
    factsOf: (name) => hosts.memory.named(name),
    serving: () => lead.serving,
    proxy: options.proxy ?? {},
    runner: runnerOf(options.runnerSocket ?? null, undo),
  });
  const snapshots = new Snapshots({ store, clock, liveness, hosts });

  const adminToken = { store, access, file: join(dataDir, 'admin.token') };
  const lead = await Lead.start({
    store,
    logger,
    load: async () => {
      await access.load();
      await liveness.load();
      await hosts.load();
      await trust.settle();
      await notifier.load();
      await writeFirstAdminToken(adminToken);
    },
  });
  undo.add('lead', () => lead.close());

  const lag = new LagMeter(clock);
  undo.add('lag', () => lag.stop());
  const sweep: Sweep = new Sweep({ store, hosts, liveness, clock, lag, logger });
  const sweeping = startLoop({
    ...shared,
    name: 'sweep',
    everyMs: sweepEveryMs,
    // Nothing lapses within seconds of a start, and looking through all is not what those who wait for it want first.
    firstMs: sweepEveryMs,
    backoffBaseMs: 250,
    backoffCapMs: 5_000,
    run: async () => {
      const more = lead.serving && (await sweep.run());
      return { nextMs: more ? 0 : sweepEveryMs };
    },
  });

  const flush = async () => {
    if (!lead.serving) return;
    await hosts.flush();
    await liveness.flush();
  };
  const flushing = startLoop({
    ...shared,
    name: 'flush',
    everyMs: flushEveryMs,
    firstMs: flushEveryMs,
    backoffBaseMs: 5_000,
    backoffCapMs: flushEveryMs,
    run: flush,
  });
  undo.add('flush', async () => {
    await flushing.stop();
    // Soft state: a full disk must not turn a clean stop into a failed one.
    await flush().catch((err: unknown) => logger.warn({ err }, 'could not write the last last-seen times'));
  });

  const compacting = startLoop({
    ...shared,
    name: 'compact',
    everyMs: compactEveryMs,
    firstMs: compactEveryMs,
    backoffBaseMs: 60_000,
    backoffCapMs: compactEveryMs,
    run: async ({ signal }) => {
      if (!lead.serving) return;
      await store.compact({ signal });
      await idempotency.forget();
      await access.forget();
      await audit.forget();
      await doctor.forget();
      await notifier.forget();
      await componentHistory.forget();
      await releasePast.forget();
      await hosts.forgetPast({ signal });
    },
  });
  undo.add('compact', () => compacting.stop());

  if (certificate !== undefined) {
    const renewing = startLoop({
      ...shared,
      name: 'certificate',
      everyMs: certificate.everyMs,
      firstMs: certificate.everyMs,
      backoffBaseMs: 60_000,
      backoffCapMs: 3_600_000,
      run: () => certificate.look(),
    });
    undo.add('certificate', () => renewing.stop());
  }

  const parts = { store, trust, lead, hosts, liveness, sweep, sweeping, notifier, clock };
  const server = await createHttpServer({
    kind: 'registry',
    services: {
      access: {
        admit: () => lead.admit(),
        authenticate: (token) => access.authenticate(token),
        stillValid: (caller) => access.stillValid(caller),
      },
      liveness,
      hosts,
      components: inventory,
      componentHistory,
      hostHistory: hosts.history,
      releases,
      trains,
      updates,
      clusters,
      imports,
      doctor,
      legacy: { anonymous: legacyAnonymous, doctorReader },
      tokens,
      audit,
      notify: notifier,
      trust,
      targets: targetsOf({ hosts, trust }),
      log: store.log,
      snapshots,
      idempotency,
      hostFacts: (name) => hosts.memory.named(name),
      health: () => registryChecks(parts),
      probeStore: storeProbe(store, clock),
      status: async () => registryStatus(parts, { version, dataDir }),
      config: async () => ({ version: 1, config: options.config ?? {} }),
      resetAdmin: async (caller) => {
        await resetAdminToken(caller, adminToken);
        return adminToken.file;
      },
      backup: () => backupStream(store, dataDir),
    },
    ...shared,
    version,
    commit,
    limits: options.limits?.http ?? {},
    samples: () => registrySamples(parts),
  });
  undo.add('server', () => server.close());
  // Undone before the server: once it stops listening, silence is no longer theirs.
  undo.add('sweep', () => sweeping.stop());
  const [tcp] = await server.listen([
    { kind: 'tcp', ...listen, behindProxy, ...(certificate === undefined ? {} : { tls: certificate }) },
    ...(socketDir === null ? [] : roleSockets('registry', socketDir)),
  ]);
  trust.listening(tcp?.url ?? '');
  // Counted from here: before, nobody could be heard.
  hosts.memory.ready();
  liveness.ready();
  notifier.start();
  undo.add('notify', () => notifier.stop());

  let closed: Promise<void> | undefined;
  return {
    url: tcp?.url ?? '',
    dataDir,
    joinToken: async () => {
      const { token } = await tokens.create(systemCaller, { role: 'host', expiresInMs: ownJoinTokenLifeMs });
      return token;
    },
    failed: lead.failed,
    stuckMs: () => loops.stuckMs(),
    close: () => (closed ??= undo.run()),
  };
}

/** Connects when a sink asks it something; null without a socket. */
function runnerOf(socket: string | null, undo: Undo): RunnerClient | null {
  if (socket === null) return null;
  const runner = new RunnerClient({ socket });
  undo.add('runner', () => runner.close());
  return runner;
}

/** Credentials must not travel where others listen. */
function requireSafeListener(
  { host, port }: { host: string; port: number },
  { tls, behindProxy }: { tls: TlsChoice; behindProxy: boolean },
): void {
  if (tls.kind !== 'off' || behindProxy || isLoopback(host)) return;
  throw new AppError(
    'bad-request',
    `Cannot listen on ${host}:${port} without TLS: everybody there could read along; use a loopback address, or TLS`,
    { field: 'listen' },
  );
}

/** PostgreSQL when there is a URL; its data directory then holds keys, the admin token and the sockets only. */
export async function openEither(options: RegistryOptions & Surroundings): Promise<OpenStore> {
  const { dataDir, databaseUrl, clock, random, logger, addon } = options;
  const limits = options.limits?.store ?? {};
  if (databaseUrl === undefined || databaseUrl === null) {
    return openStore({ role: 'registry', dataDir, clock, random, logger, addon, limits });
  }
  await ensurePrivateFolder(dataDir);
  const { openPostgresStore } = await import('../store/engine/postgres-store.ts');
  return openPostgresStore({
    url: databaseUrl,
    clock,
    logger,
    limits,
    holder: `${hostname()} ${process.pid}`,
  });
}
