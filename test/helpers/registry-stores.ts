/** The registry's stores over one database, wired as registry.ts wires them, for tests below HTTP. */

import type { Clock } from '../../src/base/clock.ts';
import { LagMeter } from '../../src/base/lag.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Random } from '../../src/base/random.ts';
import { type Caller, systemCaller } from '../../src/domain/access.ts';
import type { ChangeEvent, Mark } from '../../src/domain/event.ts';
import type { Beat } from '../../src/domain/host.ts';
import { Sweep } from '../../src/registry/sweep.ts';
import { AccessStore } from '../../src/store/access.ts';
import type { Store } from '../../src/store/engine/port.ts';
import { HostStore } from '../../src/store/host.ts';
import { hostNumbersOf } from '../../src/store/host-numbers.ts';
import { InventoryStore } from '../../src/store/inventory.ts';
import { InventoryHistory } from '../../src/store/inventory-history.ts';
import { LivenessStore } from '../../src/store/liveness.ts';
import type { FakeClock } from './clock.ts';
import type { SeededRandom } from './random.ts';
import { FakeTrust } from './trust.ts';

/** What registry.ts builds over its store. */
export interface WiredStores {
  readonly access: AccessStore;
  readonly liveness: LivenessStore;
  readonly inventory: InventoryStore;
  readonly componentHistory: InventoryHistory;
  readonly hosts: HostStore;
}

export interface RegistryStores extends WiredStores {
  readonly store: Store;
  readonly clock: FakeClock;
  readonly sweep: Sweep;
  /** Every event committed since these were opened, in order. */
  readonly events: readonly ChangeEvent[];
  /** What `onRewind` was called with. */
  readonly rewinds: readonly Mark[];
}

export const admin: Caller = { role: 'admin', subject: 'test' };

export async function openRegistryStores(
  store: Store,
  clock: FakeClock,
  random: SeededRandom,
  trust = new FakeTrust(),
): Promise<RegistryStores> {
  const events: ChangeEvent[] = [];
  const rewinds: Mark[] = [];
  store.log.subscribe((revisions) => events.push(...revisions.flatMap((revision) => revision.events)));
  const wired = await wireStores({ store, clock, random, trust, onRewind: (seen) => rewinds.push(seen) });
  const { hosts, liveness } = wired;
  const lag = new LagMeter(clock);
  const sweep = new Sweep({ store, hosts, liveness, clock, lag, logger: silentLogger });
  return { store, clock, ...wired, sweep, events, rewinds };
}

/** Wired and loaded, with nobody who listens: what a bench measures. */
export async function wireStores(options: {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly onRewind?: (seen: Mark) => void;
  readonly trust?: FakeTrust;
}): Promise<WiredStores> {
  const { store, clock, random, onRewind = () => undefined, trust = new FakeTrust() } = options;
  const access = await AccessStore.open({ store, clock, random });
  const liveness: LivenessStore = await LivenessStore.open({
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
  const hosts = new HostStore({
    store,
    clock,
    random,
    liveness,
    inventory,
    access,
    capacity: { beatsPerSecondMax: 10_000, returnsPerSecondMax: 1_000 },
    trust: () => trust.trust(),
    trustSerial: () => trust.serial,
    onRewind,
  });
  await hosts.load();
  return { access, liveness, inventory, componentHistory, hosts };
}

/** Moves time in steps of a sweep and sweeps at each, as the registry's loop does. */
export async function passTime({ clock, sweep }: RegistryStores, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 250) {
    await clock.advance(250);
    await sweep.run();
  }
}

/** A joined host and the beats of one start of its agent. */
export async function joinHost(stores: RegistryStores, name: string, region: string | null = null) {
  const machineId = `machine-${name}`;
  const { id } = await stores.hosts.join(systemCaller, {
    name,
    region,
    machineId,
  });
  const caller: Caller = { role: 'host', subject: `host:${name}`, hostId: id };
  let [seq, answered]: [number, number | null] = [0, null];
  const startedAtMs = stores.clock.now();
  const next = (more: Partial<Beat> = {}): Beat => {
    seq += 1;
    return {
      bootId: `boot-${name}`,
      startedAtMs,
      seq,
      answered,
      own: { epoch: 1, revision: seq, hash: `sha256:${'0'.repeat(64)}` },
      seen: null,
      inventory: null,
      leaving: false,
      machineId: null,
      ...more,
    };
  };
  const beat = async (more: Partial<Beat> = {}) => {
    const sent = next(more);
    const answer = await stores.hosts.beat(caller, id, sent);
    answered = sent.seq;
    return answer;
  };
  return { id, name, caller, machineId, beat, next };
}
