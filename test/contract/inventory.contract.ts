/** What the inventory promises, on any store: exact counts, a past that says what was, nothing that grows by itself. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';
import { parseVersionRange } from '../../src/domain/version.ts';
import type { Statement } from '../../src/store/engine/port.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const all = { limit: 1_000 };

export function inventoryContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
  }

  describe('InventoryStore.list()', () => {
    it('counts a host once for a version, also where several detectors and architectures have it', async (t) => {
      const stores = await open(t);
      const fleet = await fleetOf(stores, ['edge-1', 'edge-2', 'edge-3']);
      await fleet.has('edge-1', [nginx('dpkg', '1.0'), nginx('command', '1.0'), nginx('file', '2.0')]);
      await fleet.has('edge-2', [nginx('dpkg', '1.0', 'arm64')]);
      await fleet.has('edge-3', [nginx('command', '1.0'), nginx('dpkg', '2.0', 'amd64')]);
      const versions = [
        { version: '1.0', hosts: 3 },
        { version: '2.0', hosts: 2 },
      ];
      assert.deepEqual((await stores.inventory.list({}, all)).items, [{ name: 'nginx', versions }]);
      const { items } = await stores.inventory.list({ selector: '@name in (edge-1,edge-2)' }, all);
      assert.deepEqual(items[0]?.versions, [
        { version: '1.0', hosts: 2 },
        { version: '2.0', hosts: 1 },
      ]);
    });

    it('does not name what no host has any more', async (t) => {
      const stores = await open(t);
      const fleet = await fleetOf(stores, ['edge-1', 'edge-2']);
      await fleet.has('edge-1', [nginx('dpkg', '1.0'), bash]);
      await fleet.has('edge-2', [nginx('dpkg', '1.1')]);
      await fleet.has('edge-1', [nginx('dpkg', '1.1')]);
      const versions = [{ version: '1.1', hosts: 2 }];
      assert.deepEqual((await stores.inventory.list({}, all)).items, [{ name: 'nginx', versions }]);
    });
  });

  describe('InventoryStore.apply()', () => {
    it('keeps what was, from when until when, and nothing while nothing changes', async (t) => {
      const stores = await open(t);
      const fleet = await fleetOf(stores, ['edge-1']);
      const startMs = stores.clock.now();
      await fleet.has('edge-1', [bash]);
      stores.clock.stall(1_000);
      await fleet.has('edge-1', [bash]);
      await fleet.has('edge-1', [{ ...bash, version: '6' }]);
      stores.clock.stall(1_000);
      await fleet.has('edge-1', []);
      assert.deepEqual(await pastOf(stores), [
        { version: '5', from: 0, to: 1_000, seen: 0 },
        { version: '6', from: 1_000, to: 2_000, seen: 0 },
      ]);

      async function pastOf({ store }: RegistryStores) {
        const rows = await store.read((session) => session.all(past, {}));
        return rows.map(({ version, from_ms: from, to_ms: to, first_seen_ms: seen }) => ({
          version,
          from: from - startMs,
          to: to - startMs,
          seen: seen - startMs,
        }));
      }
    });

    it('of a check-in that is refused keeps nothing, also beside others in one commit', async (t) => {
      const stores = await open(t);
      const fleet = await fleetOf(stores, ['edge-1', 'edge-2']);
      const lie = { base: null, hash: inventoryHash([]), components: [bash], removed: [] };
      const edge = fleet.host('edge-1');
      const [refused] = await Promise.allSettled([
        stores.hosts.checkIn(edge.caller, edge.id, lie),
        fleet.has('edge-2', [nginx('dpkg', '1.0')]),
      ]);
      assert.equal(refused?.status, 'rejected');
      const { items } = await stores.inventory.list({}, all);
      assert.deepEqual(
        items.map(({ name }) => name),
        ['nginx'],
      );
    });
  });

  describe('InventoryStore.hostsWith()', () => {
    it('finds hosts by a version range, each detector in its own order, now and at a moment', async (t) => {
      const stores = await open(t);
      const fleet = await fleetOf(stores, ['edge-1', 'edge-2', 'edge-3', 'edge-4']);
      await fleet.has('edge-1', [openssl('dpkg', '3.0.2-0ubuntu1')]);
      await fleet.has('edge-2', [openssl('dpkg', '3.0.13~rc1')]);
      await fleet.has('edge-3', [openssl('file', '3.0.13'), bash]);
      await fleet.has('edge-4', [openssl('dpkg', '3.0.9'), openssl('file', '3.0.9')]);
      const beforeMs = stores.clock.now();
      assert.deepEqual(await hostsWith('openssl<3.0.13'), ['edge-1', 'edge-2', 'edge-4']);
      stores.clock.stall(1_000);
      await fleet.has('edge-1', [openssl('dpkg', '3.0.13')]);
      await stores.hosts.remove({ role: 'admin', subject: 'test' }, 'edge-4', null);
      assert.deepEqual(await hostsWith('openssl<3.0.13'), ['edge-2']);
      assert.deepEqual(await hostsWith('openssl>=3.0.13'), ['edge-1', 'edge-3']);
      assert.deepEqual(await hostsWith('curl>0'), []);
      assert.deepEqual(await hostsWith('openssl<3.0.13', beforeMs), ['edge-1', 'edge-2', 'edge-4']);
      assert.deepEqual(await hostsWith('openssl<3.0.13', stores.clock.now()), ['edge-2']);
      assert.deepEqual(await hostsWith('openssl<3.0.13', beforeMs - 1), []);

      async function hostsWith(text: string, asOfMs: number | null = null): Promise<string[]> {
        const numbers = await stores.inventory.hostsWith(parseVersionRange(text, 'has'), asOfMs);
        return ['edge-1', 'edge-2', 'edge-3', 'edge-4'].filter((name) => numbers.has(fleet.host(name).no));
      }
    });
  });

  describe('a host that is removed', () => {
    it('leaves what was installed on it to the past, and its number to nobody', async (t) => {
      const stores = await open(t);
      const fleet = await fleetOf(stores, ['edge-1', 'edge-2']);
      await fleet.has('edge-2', [bash]);
      const gone = fleet.host('edge-2').no;
      stores.clock.stall(1_000);
      await stores.hosts.remove({ role: 'admin', subject: 'test' }, 'edge-2', null);
      assert.deepEqual((await stores.inventory.list({}, all)).items, []);
      const rows = await stores.store.read((session) => session.all(past, {}));
      assert.deepEqual(
        rows.map(({ host_no: no, version }) => [no, version]),
        [[gone, '5']],
      );
      const again = await joinHost(stores, 'edge-2');
      const no = stores.hosts.numberOf('edge-2');
      assert.ok(no > gone, `${no} after ${gone}`);
      assert.equal(stores.hosts.memory.numbered(no)?.id, again.id);
      assert.equal(stores.hosts.memory.numbered(gone), undefined);
    });
  });
}

const bash: Component = { name: 'bash', version: '5', detector: 'dpkg', architecture: 'amd64' };

function nginx(detector: string, version: string, architecture?: string): Component {
  return { name: 'nginx', version, detector, ...(architecture === undefined ? {} : { architecture }) };
}

function openssl(detector: string, version: string): Component {
  return { name: 'openssl', version, detector };
}

interface PastRow {
  host_no: number;
  version: string;
  first_seen_ms: number;
  from_ms: number;
  to_ms: number;
}

const past: Statement<object, PastRow> = {
  sql: `SELECT p.host_no, v.version, p.first_seen_ms, p.from_ms, p.to_ms
    FROM components_past AS p JOIN component_versions AS v ON v.id = p.version_id ORDER BY p.host_no, p.to_ms`,
  bind: () => [],
};

/** Joined hosts that check in completely. */
async function fleetOf(stores: RegistryStores, names: readonly string[]) {
  const joined = new Map<string, Awaited<ReturnType<typeof joinHost>> & { readonly no: number }>();
  for (const name of names) {
    const host = await joinHost(stores, name);
    joined.set(name, { ...host, no: stores.hosts.numberOf(name) });
  }
  const host = (name: string) => {
    const found = joined.get(name);
    assert.ok(found, name);
    return found;
  };
  const has = async (name: string, components: Component[]) => {
    const { caller, id } = host(name);
    const checkIn = { base: null, hash: inventoryHash(components), components, removed: [] };
    assert.equal((await stores.hosts.checkIn(caller, id, checkIn)).accepted, true);
  };
  return { host, has };
}
