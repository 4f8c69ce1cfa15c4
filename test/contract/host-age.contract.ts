/** What lists of hosts by age promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { HostFilter } from '../../src/domain/services.ts';
import { readMoment } from '../../src/wire/schema.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const dayMs = 86_400_000;
const all = { limit: 1_000 };

export function hostAgeContract(openStore: OpenStoreForTest): void {
  /** `old` joined 40 days ago and was last seen 20 days ago, `still` joined with it and beats, `new` joined 3 days ago. */
  async function open(t: TestContext) {
    const clock = new FakeClock();
    const stores = await openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
    const old = await joinHost(stores, 'old', 'eu');
    const still = await joinHost(stores, 'still', 'us');
    clock.stall(20 * dayMs);
    await old.beat();
    clock.stall(17 * dayMs);
    await joinHost(stores, 'new', 'eu');
    clock.stall(3 * dayMs);
    await still.beat();
    return { ...stores, old, still };
  }

  const names = async ({ hosts }: RegistryStores, filter: HostFilter) =>
    (await hosts.list(filter, all)).items.map(({ name }) => name);

  describe('HostStore.list() by age', () => {
    it('counts n days back: fresh, stale, created, persistent', async (t) => {
      const stores = await open(t);
      assert.deepEqual(await names(stores, { freshMs: 7 * dayMs }), ['new', 'still']);
      assert.deepEqual(await names(stores, { staleMs: 7 * dayMs }), ['old']);
      assert.deepEqual(await names(stores, { createdMs: 7 * dayMs }), ['new']);
      assert.deepEqual(await names(stores, { persistentMs: 30 * dayMs }), ['still']);
      assert.deepEqual(await names(stores, { persistentMs: 50 * dayMs }), []);
    });

    it('takes any of the four bounds, as instants or as how long ago', async (t) => {
      const stores = await open(t);
      const ago = (text: string) => readMoment(text, 'x');
      assert.deepEqual(await names(stores, { createdAfter: ago('4d') }), ['new']);
      assert.deepEqual(await names(stores, { createdBefore: ago('4d') }), ['old', 'still']);
      assert.deepEqual(await names(stores, { seenAfter: ago('20d') }), ['new', 'still'], 'strictly');
      assert.deepEqual(
        await names(stores, { seenBefore: { kind: 'at', atMs: stores.clock.now() - dayMs } }),
        ['new', 'old'],
      );
      assert.deepEqual(
        await names(stores, {
          createdAfter: ago('41d'),
          createdBefore: ago('1d'),
          seenAfter: ago('21d'),
          seenBefore: ago('1d'),
        }),
        ['new', 'old'],
      );
    });

    it('knows a beat at once, that is on disk only later', async (t) => {
      const stores = await open(t);
      await stores.hosts.flush();
      await stores.old.beat();
      assert.deepEqual(await names(stores, { staleMs: dayMs }), ['new']);
      await stores.hosts.load();
      assert.deepEqual(
        await names(stores, { staleMs: dayMs }),
        ['new', 'old'],
        'of what was not flushed nothing is left',
      );
    });

    it('goes together with name, region, status, selector, scope and pages', async (t) => {
      const stores = await open(t);
      await stores.hosts.change(admin, 'old', { labels: { env: 'prod' } }, null);
      const createdBefore = { kind: 'ago', agoMs: dayMs } as const;
      assert.deepEqual(await names(stores, { createdBefore, region: ['eu'] }), ['new', 'old']);
      assert.deepEqual(await names(stores, { createdBefore, name: ['old', 'none'] }), ['old']);
      assert.deepEqual(await names(stores, { createdBefore, status: ['DOWN'] }), []);
      assert.deepEqual(await names(stores, { createdBefore, selector: '!env' }), ['new', 'still']);
      assert.deepEqual(await names(stores, { createdBefore, scope: { hosts: 'env=prod' } }), ['old']);
      assert.deepEqual(await names(stores, { freshMs: dayMs, scope: { hosts: 'env=prod' } }), []);
      const first = await stores.hosts.list({ createdBefore }, { limit: 2 });
      const next = await stores.hosts.list({ createdBefore }, { limit: 2, cursor: first.next ?? '' });
      assert.deepEqual(
        [first, next].map(({ items }) => items.map(({ name }) => name)),
        [['new', 'old'], ['still']],
      );
      assert.equal(next.next, null);
    });

    it('refuses what no host can match, whatever else is asked', async (t) => {
      const stores = await open(t);
      await assert.rejects(names(stores, { freshMs: dayMs, staleMs: dayMs, region: ['eu'] }), {
        code: 'bad-request',
        message: /fresh .* and stale /,
      });
    });
  });
}
