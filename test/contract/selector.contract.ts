/** Lists by a selector over hosts, on any store: right by the page, and as a naive reader would find them. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { AppError } from '../../src/domain/error.ts';
import { selectableHost } from '../../src/domain/host.ts';
import { inventoryHash } from '../../src/domain/inventory.ts';
import { matches, parseSelector } from '../../src/domain/selector.ts';
import type { HostSelection, Page, PageRequest } from '../../src/domain/services.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const selectors = [
  'env=prod',
  'env!=prod',
  'env in (dev,prod),!tier',
  '@region=eu (env=dev + tier=web)',
  '@name=host-3',
  'none',
  '!none',
];

export function selectorContract(openStore: OpenStoreForTest): void {
  /** 12 hosts of three environments with two records each, a record on a host that never joined, and a component each. */
  async function fleet(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    const stores = await openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
    for (let i = 0; i < 12; i += 1) {
      const name = `host-${i}`;
      const host = await joinHost(stores, name, i % 2 === 0 ? 'eu' : null);
      const env = ['prod', 'dev'][i % 3];
      const labels = { ...(env === undefined ? {} : { env }), ...(i % 4 === 0 ? { tier: 'web' } : {}) };
      await stores.hosts.change(admin, host.id, { labels }, null);
      for (const type of ['web', 'shop/api'])
        await stores.liveness.register(admin, { type, host: name }, { takeover: false });
      const components = [
        { name: 'bash', version: String(i % 2), detector: 'dpkg' },
        { name: `${i % 2 === 0 ? 'shop' : 'shops'}/api`, version: '1', detector: 'dpkg' },
      ];
      const hash = inventoryHash(components);
      await stores.hosts.checkIn(host.caller, host.id, { base: null, hash, components, removed: [] });
    }
    await stores.liveness.register(admin, { type: 'web', host: 'never' }, { takeover: false });
    return stores;
  }

  describe('lists by selector', () => {
    it('hold what the selector matches, page by page, and nothing twice', async (t) => {
      const stores = await fleet(t);
      const { hosts, liveness } = stores;
      const everyHost = await whole((page) => hosts.list({}, page), 1_000);
      const everyRecord = await whole((page) => liveness.list({}, page), 1_000);
      for (const selector of selectors) {
        const parsed = parseSelector(selector);
        const isMeant = (name: string) =>
          matches(
            parsed,
            selectableHost(
              name,
              everyHost.find((host) => host.name === name),
            ),
          );
        const names = everyHost.map(({ name }) => name).filter(isMeant);
        const uuids = everyRecord.filter(({ host }) => isMeant(host)).map(({ uuid }) => uuid);
        for (const limit of [1, 2, 5, 1_000]) {
          const found = await whole((page) => hosts.list({ selector }, page), limit);
          assert.deepEqual(
            found.map(({ name }) => name),
            names,
            `${selector} by ${limit}`,
          );
          const records = await whole((page) => liveness.list({ selector }, page), limit);
          assert.deepEqual(
            records.map(({ uuid }) => uuid),
            uuids,
            `${selector} by ${limit}`,
          );
        }
      }
    });

    it('narrow with the other filters, and follow a change at once', async (t) => {
      const { hosts, liveness } = await fleet(t);
      const all = { limit: 1_000 };
      const eu = await hosts.list({ selector: 'env=prod', region: ['eu'], status: ['UP'] }, all);
      assert.deepEqual(
        eu.items.map(({ name }) => name),
        ['host-0', 'host-6'],
      );
      const named = await hosts.list({ selector: 'env=prod', name: ['host-3', 'host-1'] }, all);
      assert.deepEqual(
        named.items.map(({ name }) => name),
        ['host-3'],
      );
      const web = { selector: 'env=prod', type: ['web'], host: ['host-3', 'host-4'] };
      assert.equal((await liveness.list(web, all)).items.length, 1);
      await hosts.change(admin, 'host-3', { name: 'aaa', labels: { env: 'dev' } }, null);
      assert.equal((await liveness.list(web, all)).items.length, 0);
      const dev = await hosts.list({ selector: 'env=dev' }, all);
      assert.equal(dev.items[0]?.name, 'aaa');
      await hosts.remove(admin, 'aaa', null);
      assert.notEqual((await hosts.list({ selector: 'env=dev' }, all)).items[0]?.name, 'aaa');
    });

    it('count components of the hosts that are meant', async (t) => {
      const { inventory } = await fleet(t);
      const list = (filter: HostSelection, limit = 1_000) =>
        whole((page) => inventory.list(filter, page), limit);
      const prod = [
        {
          name: 'bash',
          versions: [
            { version: '0', hosts: 2 },
            { version: '1', hosts: 2 },
          ],
        },
        { name: 'shop/api', versions: [{ version: '1', hosts: 2 }] },
        { name: 'shops/api', versions: [{ version: '1', hosts: 2 }] },
      ];
      assert.deepEqual(await list({ selector: 'env=prod' }), prod);
      assert.deepEqual(await list({ selector: 'env=prod' }, 1), prod);
      assert.deepEqual(await list({ selector: 'none' }), []);
      const shop = await list({ scope: { hosts: 'env=prod', apps: ['shop'] } }, 1);
      assert.deepEqual(shop, prod.slice(1, 2));
    });

    it('hold nothing outside the scope of whoever asks, whatever the selector says', async (t) => {
      const { hosts, liveness } = await fleet(t);
      const all = { limit: 1_000 };
      const scope = { hosts: 'env=prod' };
      const names = async (filter: HostSelection) =>
        (await hosts.list(filter, all)).items.map(({ name }) => name);
      assert.deepEqual(await names({ scope }), ['host-0', 'host-3', 'host-6', 'host-9']);
      assert.deepEqual(await names({ scope, selector: 'env!=prod' }), []);
      assert.deepEqual(await names({ scope, selector: '@region=eu' }), ['host-0', 'host-6']);
      const records = (await liveness.list({ scope: { ...scope, apps: ['shop'] } }, all)).items;
      assert.deepEqual(new Set(records.map(({ type }) => type)), new Set(['shop/api']));
      assert.equal(records.length, 4);
      assert.equal((await liveness.list({ scope: { apps: ['sho', 'web', ''] } }, all)).items.length, 0);
    });

    it('refuse a selector that is none', async (t) => {
      const { hosts, liveness, inventory } = await fleet(t);
      for (const list of [
        hosts.list.bind(hosts),
        liveness.list.bind(liveness),
        inventory.list.bind(inventory),
      ]) {
        await assert.rejects(
          list({ selector: 'env=' }, { limit: 1 }),
          (error) => error instanceof AppError && error.code === 'bad-request' && error.field === 'selector',
        );
      }
    });
  });
}

async function whole<T>(list: (page: PageRequest) => Promise<Page<T>>, limit: number): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await list({ limit, ...(cursor === null ? {} : { cursor }) });
    assert.ok(page.items.length <= limit);
    assert.ok(page.next === null || page.items.length === limit);
    items.push(...page.items);
    cursor = page.next;
  } while (cursor !== null);
  return items;
}
