/**
 * The registry: the centre that knows every host. This file lists all its parts in the order in which they are built;
 * `close` undoes them in reverse.
 */
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { startLoop } from '../base/loop.ts';
import type { Random } from '../base/random.ts';
import { Undo } from '../base/undo.ts';
import { adminSocket } from '../http/listen.ts';
import { createHttpServer, type HttpLimits } from '../http/server.ts';
import { keepAdminToken } from '../store/admin-token.ts';
import { backupStream } from '../store/backup-stream.ts';
import { AccessStore } from '../store/access.ts';
import { HostStore } from '../store/host.ts';
import { IdempotencyStore } from '../store/idempotency.ts';
import { InventoryStore } from '../store/inventory.ts';
import { LivenessStore } from '../store/liveness.ts';
import { Snapshots } from '../store/snapshots.ts';
import { openStore, type StoreLimits } from '../store/store.ts';
import { rewindOnce } from './rewind.ts';
import { registryChecks, registrySamples, registryStatus } from './status.ts';
import { Sweep, sweepEveryMs } from './sweep.ts';

/** Beats that one registry takes a second before it stretches the interval. */
const beatsPerSecondMax = 10_000;
/** Connections that may come back a second after an outage. */
const returnsPerSecondMax = 1_000;
const flushEveryMs = 30_000;
const compactEveryMs = 600_000;

export interface RegistryOptions {
  readonly dataDir: string;
  /** `port` 0 takes a free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** PostgreSQL instead of the embedded store; a secret. */
  readonly databaseUrl?: string | null;
  /** Where `admin.sock` goes; null: no Unix socket. */
  readonly socketDir: string | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly version: string;
  readonly commit: string;
  /** What `GET /v1/config` shows; no secrets. */
  readonly config?: object;
  /** The native addon in the single binary. */
  readonly addon?: object | undefined;
  readonly limits?: { readonly http?: Partial<HttpLimits>; readonly store?: Partial<StoreLimits> };
}

export interface Registry {
  /** Where it serves: `http://127.0.0.1:7420`. */
  readonly url: string;
  readonly dataDir: string;
  /** Rejects when it cannot go on; never resolves. */
  readonly failed: Promise<never>;
  /** Drains, flushes and frees everything. Calling it twice is harmless. */
  close(): Promise<void>;
}

/** Resolves when its database is open and its sockets are bound. */
export function createRegistry(options: RegistryOptions): Promise<Registry> {
  return Undo.building((undo) => build(options, undo));
}

async function build(options: RegistryOptions, undo: Undo): Promise<Registry> {
  const { dataDir, listen, socketDir, clock, random, logger, version, commit, addon } = options;
  const shared = { clock, random, logger };

  const store = await openStore({ role: 'registry', dataDir, ...shared, addon, limits: options.limits?.store ?? {} });
  undo.add('store', () => store.close());

  const access = await AccessStore.open({ store, clock, random });
  const liveness: LivenessStore = await LivenessStore.open({
    store,
    clock,
    random,
    heldBy: 'registry',
    hostOf: (name) => hosts.find(name),
  });
  const inventory = new InventoryStore({ store, clock, hostId: (host) => hosts.idOf(host) });
  const hosts: HostStore = await HostStore.open({
    store,
    clock,
    random,
    liveness,
    inventory,
    access,
    beatsPerSecondMax,
    returnsPerSecondMax,
    onRewind: rewindOnce({ store, logger }),
  });
  const idempotency = new IdempotencyStore({ store, clock });
  const snapshots = new Snapshots({ store, clock, liveness, hosts });

  const sweep = new Sweep({ store, hosts, liveness, clock, logger });
  const sweeping = startLoop({ ...shared, name: 'sweep', everyMs: sweepEveryMs, backoffBaseMs: 250, backoffCapMs: 5_000, run: () => sweep.run() });
  undo.add('sweep', () => sweeping.stop());

  const flush = async () => {
    await hosts.flush();
    await liveness.flush();
  };
  const flushing = startLoop({ ...shared, name: 'flush', everyMs: flushEveryMs, firstMs: flushEveryMs, backoffBaseMs: 5_000, backoffCapMs: flushEveryMs, run: flush });
  undo.add('flush', async () => {
    await flushing.stop();
    await flush();
  });

  const compacting = startLoop({
    ...shared,
    name: 'compact',
    everyMs: compactEveryMs,
    firstMs: compactEveryMs,
    backoffBaseMs: 60_000,
    backoffCapMs: compactEveryMs,
    run: async ({ signal }) => {
      await store.compact({ signal });
      await idempotency.forget();
    },
  });
  undo.add('compact', () => compacting.stop());

  await keepAdminToken({ access, file: join(dataDir, 'admin.token') });

  const parts = { store, hosts, liveness, sweep, sweeping, clock };
  const server = await createHttpServer({
    kind: 'registry',
    services: {
      access,
      liveness,
      hosts,
      components: inventory,
      log: store.log,
      snapshots,
      idempotency,
      hostFacts: (name) => hosts.find(name),
      health: () => registryChecks(parts),
      status: async () => registryStatus(parts, { version, dataDir }),
      config: async () => ({ version: 1, config: options.config ?? {} }),
      backup: () => backupStream(store, dataDir),
    },
    ...shared,
    version,
    commit,
    limits: options.limits?.http ?? {},
    samples: () => registrySamples(parts),
  });
  undo.add('server', () => server.close());
  const [tcp] = await server.listen([
    { kind: 'tcp', ...listen },
    ...(socketDir === null ? [] : [adminSocket(socketDir)]),
  ]);
  // Counted from here: before, nobody could be heard.
  hosts.ready();
  liveness.ready();

  let closed: Promise<void> | undefined;
  return {
    url: tcp?.url ?? '',
    dataDir,
    failed: new Promise<never>(() => {}),
    close: () => (closed ??= undo.run()),
  };
}
