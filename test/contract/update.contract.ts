/** What updates promise, on any store: what is behind on which host, in one order, page by page. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';
import type { ComponentUpdates, UpdateFilter, UpdateView } from '../../src/domain/services.ts';
import { ReleaseStore } from '../../src/store/release.ts';
import { TrainStore } from '../../src/store/train.ts';
import { UpdateStore } from '../../src/store/update.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const dayMs = 86_400_000;
const all = { limit: 1_000 };

export function updateContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const { hosts, ...stores } = await openRegistryStores(store, clock, new SeededRandom(1));
    const trains = new TrainStore({ store, clock });
    const releases = new ReleaseStore({ store, clock, trains });
    const updates = new UpdateStore({
      ...{ store, clock, trains },
      hosts: hosts.asUpdateHosts(),
      hostsAsOf: (atMs) => hosts.asUpdateHostsAsOf(atMs),
    });
    const joined = new Map<string, Awaited<ReturnType<typeof joinHost>>>();
    /** Joined at first. */
    const has = async (name: string, components: readonly Component[], labels = {}) => {
      const host = joined.get(name) ?? (await joinHost({ hosts, ...stores }, name));
      joined.set(name, host);
      if (Object.keys(labels).length > 0) await hosts.change(admin, name, { labels }, null);
      const checkIn = { base: null, hash: inventoryHash(components), components, removed: [] };
      assert.equal((await hosts.checkIn(host.caller, host.id, checkIn)).accepted, true);
    };
    const publish = async (component: string, version: string, train = 'stable', daysAgo = 0) => {
      const content = { description: null, fixes: null, image: `${component}:${version}`, data: null };
      const releasedMs = clock.now() - daysAgo * dayMs;
      await releases.publish(admin, { component, train, version }, { ...content, releasedMs }, null);
    };
    /** Of any page size the same. */
    const list = async (filter: UpdateFilter = {}): Promise<readonly UpdateView[]> => {
      const whole = await updates.list(filter, all);
      assert.equal(whole.next, null);
      for (const limit of [1, 2]) {
        const items: UpdateView[] = [];
        for (let cursor: string | null | undefined; cursor !== null; ) {
          const page = await updates.list(filter, { limit, ...(cursor === undefined ? {} : { cursor }) });
          assert.equal(page.unknown, whole.unknown);
          items.push(...page.items);
          cursor = page.next;
        }
        assert.deepEqual(items, whole.items);
      }
      return whole.items;
    };
    const words = async (filter?: UpdateFilter) =>
      (await list(filter)).map(
        ({ host, component, detector, installed, latest, train }) =>
          `${host} ${component}(${detector}) ${installed}→${latest} ${train}`,
      );
    return { clock, store, hosts, trains, releases, updates, has, publish, list, words };
  };

  describe('UpdateStore.list()', () => {
    it('has one item for each host and component that is behind, by the order of whoever found it', async (t) => {
      const world = await open(t);
      const { has, publish, words, list } = world;
      await has('edge-1', [dpkg('openssl', '3.0.11-1~deb12u2'), dpkg('bash', '5'), dpkg('zlib1g', '1.2')]);
      await has('edge-2', [dpkg('openssl', '3.0.13-1'), command('openssl', '3.0.12'), dpkg('zlib1g', '1.1')]);
      await publish('openssl', '3.0.13-1', 'stable', 3);
      await publish('openssl', '3.0.9-1', 'stable', 1);
      await publish('zlib1g', '1.2');
      await publish('nobody-has-it', '1');
      // To SemVer 3.0.13-1 is before 3.0.13, and after 3.0.12.
      assert.deepEqual(await words(), [
        'edge-2 openssl(command) 3.0.12→3.0.13-1 stable',
        'edge-1 openssl(dpkg) 3.0.11-1~deb12u2→3.0.13-1 stable',
        'edge-2 zlib1g(dpkg) 1.1→1.2 stable',
      ]);
      const [, first] = await list();
      assert.deepEqual(first, {
        host: 'edge-1',
        hostId: world.hosts.find('edge-1')?.id,
        component: 'openssl',
        detector: 'dpkg',
        installed: '3.0.11-1~deb12u2',
        latest: '3.0.13-1',
        train: 'stable',
        publishedOn: 'stable',
        releasedMs: world.clock.now() - 3 * dayMs,
        image: 'openssl:3.0.13-1',
      });
      assert.deepEqual(await words({ host: 'edge-1' }), [
        'edge-1 openssl(dpkg) 3.0.11-1~deb12u2→3.0.13-1 stable',
      ]);
      assert.deepEqual(await words({ component: 'zlib1g' }), ['edge-2 zlib1g(dpkg) 1.1→1.2 stable']);
      assert.deepEqual(await words({ component: 'none' }), []);
    });

    it('answers as it was known at a past moment: installed, labels, hosts, releases and trains as they were', async (t) => {
      const { clock, hosts, trains, releases, updates, has, publish, words } = await open(t);
      await has('edge-1', [dpkg('bash', '5.0')]);
      await has('edge-2', [dpkg('bash', '5.0')], { train: 'beta' });
      await publish('bash', '5.1');
      await publish('bash', '5.2', 'beta');
      await trains.follow(
        admin,
        { component: 'bash', train: 'lts' },
        { follows: 'stable', delayMs: 0 },
        'missing',
      );
      const then = clock.now();
      const known = await words();
      assert.deepEqual(known, ['edge-1 bash(dpkg) 5.0→5.1 stable', 'edge-2 bash(dpkg) 5.0→5.2 beta']);
      const summary = (await updates.byComponent({}, all)).items;
      await clock.stall(dayMs);
      await has('edge-1', [dpkg('bash', '5.1')]);
      await has('edge-3', [dpkg('bash', '4'), dpkg('zsh', '1')]);
      await hosts.change(admin, 'edge-2', { labels: { train: 'lts' }, name: 'edge-two' }, null);
      await publish('bash', '5.3');
      await releases.withdraw(admin, { component: 'bash', train: 'beta', version: '5.2' }, null);
      await hosts.remove(admin, 'edge-two', null);
      assert.deepEqual(await words(), ['edge-1 bash(dpkg) 5.1→5.3 stable', 'edge-3 bash(dpkg) 4→5.3 stable']);
      const asOf = { kind: 'at', atMs: then } as const;
      assert.deepEqual(await words({ asOf }), known);
      assert.deepEqual(await words({ asOf, host: 'edge-2' }), known.slice(1));
      assert.deepEqual(await words({ asOf, selector: 'train=beta' }), known.slice(1));
      assert.deepEqual((await updates.byComponent({ asOf }, all)).items, summary);
      const { asOfMs, position, unknown } = await updates.list({ asOf }, all);
      assert.deepEqual([asOfMs, position, unknown], [then, null, 0]);
      assert.equal((await updates.list({}, all)).unknown, 1);
      await assert.rejects(updates.list({ asOf, host: 'edge-3' }, all), { code: 'not-found' });
    });

    it('compares with the train that a host follows, of the component, else of all, else stable', async (t) => {
      const { has, publish, words, trains } = await open(t);
      const both = [command('shop/api', '1.0.0'), command('shop/web', '1.0.0')];
      await has('edge-1', both);
      await has('edge-2', both, { train: 'beta' });
      await has('edge-3', both, { train: 'beta', 'train/shop/api': 'canary' });
      await publish('shop/api', '1.0.0');
      await publish('shop/api', '1.1.0', 'beta');
      await publish('shop/api', '1.2.0', 'canary');
      await publish('shop/web', '1.0.1', 'beta', 3);
      assert.deepEqual(await words(), [
        'edge-2 shop/api(command) 1.0.0→1.1.0 beta',
        'edge-3 shop/api(command) 1.0.0→1.2.0 canary',
        'edge-2 shop/web(command) 1.0.0→1.0.1 beta',
        'edge-3 shop/web(command) 1.0.0→1.0.1 beta',
      ]);
      const key = { component: 'shop/web', train: 'stable' };
      await trains.follow(admin, key, { follows: 'beta', delayMs: 2 * dayMs }, 'missing');
      assert.deepEqual(await words({ host: 'edge-1' }), ['edge-1 shop/web(command) 1.0.0→1.0.1 stable']);
      await trains.follow(admin, key, { follows: 'beta', delayMs: 4 * dayMs }, null);
      assert.deepEqual(await words({ host: 'edge-1' }), []);
    });

    it('by date takes what arrived last for the latest', async (t) => {
      const { has, publish, words } = await open(t);
      await has('edge-1', [command('shop/api', '2.0.0')]);
      await publish('shop/api', '2.0.0', 'stable', 9);
      await publish('shop/api', '1.9.9', 'stable', 1);
      assert.deepEqual(await words(), []);
      assert.deepEqual(await words({ order: 'date' }), ['edge-1 shop/api(command) 2.0.0→1.9.9 stable']);
    });

    it('answers of the hosts and applications that are meant, and knows how many components are unknown', async (t) => {
      const { has, publish, words, updates } = await open(t);
      for (let n = 1; n <= 12; n += 1)
        await has(`edge-${n}`, [command('shop/api', '1'), command('other/api', '1'), dpkg(`own-${n}`, '1')], {
          env: n === 7 ? 'prod' : 'dev',
        });
      await publish('shop/api', '2');
      await publish('other/api', '2');
      assert.equal((await words()).length, 24);
      assert.deepEqual(await words({ selector: 'env=prod' }), [
        'edge-7 other/api(command) 1→2 stable',
        'edge-7 shop/api(command) 1→2 stable',
      ]);
      const scope = { hosts: 'env=prod', apps: ['shop'] };
      assert.deepEqual(await words({ scope }), ['edge-7 shop/api(command) 1→2 stable']);
      await assert.rejects(() => updates.list({ scope, host: 'edge-1' }, all), { code: 'not-found' });
      const unknown = async (filter: UpdateFilter) => (await updates.list(filter, all)).unknown;
      assert.deepEqual(
        await Promise.all([{}, { selector: 'env=prod' }, { scope }, { host: 'edge-2' }].map(unknown)),
        [12, 1, 0, 1],
      );
    });

    it('counts what is unknown on many hosts by the few that have it, now and then', async (t) => {
      const { clock, store, hosts, trains, has } = await open(t);
      await has(
        'edge-1',
        Array.from({ length: 5_000 }, (_, n) => dpkg(`own-${n}`, '1')),
      );
      const own = hosts.numberOf('edge-1');
      let meant = Array.from({ length: 20_000 }, (_, n) => 1_000 + n);
      const known = { ...hosts.asUpdateHosts(), hostNos: () => meant };
      const updates = new UpdateStore({
        ...{ store, clock, trains },
        hosts: known,
        hostsAsOf: async () => known,
      });
      const startMs = performance.now();
      for (const filter of [{}, { asOf: { kind: 'at', atMs: clock.now() } }] as const) {
        assert.equal((await updates.list(filter, all)).unknown, 0);
        meant.push(own);
        assert.equal((await updates.list(filter, all)).unknown, 5_000);
        meant = meant.filter((no) => no !== own);
      }
      meant = [own];
      assert.equal((await updates.list({}, all)).unknown, 5_000);
      // By host each of these questions took 20 seconds.
      assert.ok(performance.now() - startMs < 10_000);
    });

    it('changes with what is installed and what is published', async (t) => {
      const { has, publish, words, releases, hosts } = await open(t);
      await has('edge-1', [dpkg('bash', '5')]);
      await publish('bash', '6');
      assert.deepEqual(await words(), ['edge-1 bash(dpkg) 5→6 stable']);
      await has('edge-1', [dpkg('bash', '6')]);
      assert.deepEqual(await words(), []);
      await has('edge-1', [dpkg('bash', '5')]);
      assert.equal((await words()).length, 1);
      await releases.withdraw(admin, { component: 'bash', train: 'stable', version: '6' }, null);
      assert.deepEqual(await words(), []);
      await publish('bash', '6');
      await hosts.remove(admin, 'edge-1', null);
      assert.deepEqual(await words(), []);
    });

    it('refuses a host that is not there, and a cursor of another list', async (t) => {
      const { updates } = await open(t);
      await assert.rejects(() => updates.list({ host: 'nobody' }, all), { code: 'not-found' });
      for (const cursor of ['x', Buffer.from('["a","b","1","2","x"]').toString('base64url')])
        await assert.rejects(() => updates.list({}, { limit: 1, cursor }), {
          code: 'bad-request',
          field: 'cursor',
        });
    });
  });

  describe('UpdateStore.byComponent()', () => {
    it('counts hosts and versions by train, of those that are meant', async (t) => {
      const { has, publish, updates } = await open(t);
      await has('edge-1', [dpkg('bash', '5.1'), dpkg('curl', '7')]);
      await has('edge-2', [dpkg('bash', '5.2', 'arm64')]);
      await has('edge-3', [dpkg('bash', '5.1', 'arm64')], { env: 'prod' });
      await publish('bash', '5.2');
      await publish('curl', '7');
      const of = async (filter: UpdateFilter = {}) => {
        const items: ComponentUpdates[] = [];
        for (let cursor: string | null | undefined; cursor !== null; ) {
          const asked = { limit: 1, ...(cursor === undefined ? {} : { cursor }) };
          const page = await updates.byComponent(filter, asked);
          items.push(...page.items);
          cursor = page.next;
        }
        assert.deepEqual((await updates.byComponent(filter, all)).items, items);
        return items.map(({ component, train, latest, hostsOutOfDate, hostsUpToDate, versions }) => [
          `${component} ${train} ${latest}`,
          hostsOutOfDate,
          hostsUpToDate,
          versions.map(({ version, hosts }) => `${version}: ${hosts}`).join(', '),
        ]);
      };
      assert.deepEqual(await of(), [['bash stable 5.2', 2, 1, '5.2: 1, 5.1: 2']]);
      assert.deepEqual(await of({ selector: 'env=prod' }), [['bash stable 5.2', 1, 0, '5.1: 1']]);
      assert.deepEqual(await of({ host: 'edge-2' }), []);
      await has('edge-2', [dpkg('bash', '5.2')], { train: 'beta' });
      await publish('bash', '6~rc1', 'beta');
      assert.deepEqual(await of(), [
        ['bash beta 6~rc1', 1, 0, '5.2: 1'],
        ['bash stable 5.2', 2, 0, '5.1: 2'],
      ]);
    });
  });
}

function dpkg(name: string, version: string, architecture = 'amd64'): Component {
  return { name, version, detector: 'dpkg', architecture };
}

function command(name: string, version: string): Component {
  return { name, version, detector: 'command' };
}
