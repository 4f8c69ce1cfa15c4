/** What the history of hosts and their counts promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Moment } from '../../src/domain/moment.ts';
import type { HostChangeFilter } from '../../src/domain/services.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const ago = (agoMs: number): Moment => ({ kind: 'ago', agoMs });

export function hostHistoryContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(5));
  }

  const told = async ({ hosts }: RegistryStores, filter: HostChangeFilter) =>
    (await hosts.history.differences(filter, { limit: 1_000 })).items.map(
      ({ kind, name, changed }) => `${kind} ${name}${changed.length === 0 ? '' : `: ${changed.join(' ')}`}`,
    );

  /** Two days ago `a`, `b`, `c` and `d` were there; since then one of each kind of thing happened. */
  async function world(t: TestContext): Promise<RegistryStores> {
    const stores = await open(t);
    const { hosts, clock } = stores;
    await joinHost(stores, 'a');
    await joinHost(stores, 'b');
    const c = await joinHost(stores, 'c');
    await joinHost(stores, 'd');
    clock.stall(dayMs);
    await hosts.change(admin, 'a', { labels: { env: 'prod' }, region: 'eu' }, null);
    await hosts.remove(admin, 'b', null);
    await c.beat({ leaving: true });
    await hosts.change(admin, 'd', { labels: { x: '1' } }, null);
    await joinHost(stores, 'brief');
    clock.stall(hourMs);
    await hosts.change(admin, 'd', { labels: { x: null } }, null);
    await hosts.remove(admin, 'brief', null);
    await joinHost(stores, 'e');
    clock.stall(dayMs);
    return stores;
  }

  describe('HostHistoryStore.differences()', () => {
    it('tells what is different at the end, not what was undone in between', async (t) => {
      const stores = await world(t);
      assert.deepEqual(await told(stores, { from: ago(30 * hourMs) }), [
        'changed a: region labels',
        'disappeared b',
        'changed c: status reason',
        'appeared e',
      ]);
      assert.deepEqual(await told(stores, { from: ago(25 * hourMs - 1), to: ago(hourMs) }), [
        'disappeared brief',
        'changed d: labels',
        'appeared e',
      ]);
      assert.deepEqual(await told(stores, { from: ago(hourMs) }), []);
    });

    it('a host that begins to be selected appears, and is told with both of its states', async (t) => {
      const stores = await world(t);
      const from = ago(30 * hourMs);
      assert.deepEqual(await told(stores, { from, selector: 'env=prod' }), ['appeared a']);
      assert.deepEqual(await told(stores, { from, scope: { hosts: '!env' } }), [
        'disappeared a',
        'disappeared b',
        'changed c: status reason',
        'appeared e',
      ]);
      const { items } = await stores.hosts.history.differences({ from }, { limit: 1 });
      assert.deepEqual([items[0]?.before?.labels, items[0]?.after?.labels], [{}, { env: 'prod' }]);
    });

    it('pages in the stretch of the first page, and ends', async (t) => {
      const stores = await world(t);
      const names: string[] = [];
      let cursor: string | null = null;
      do {
        const page: { limit: number; cursor?: string } =
          cursor === null ? { limit: 2 } : { limit: 2, cursor };
        const found = await stores.hosts.history.differences({ from: ago(30 * hourMs) }, page);
        names.push(...found.items.map(({ name }) => name));
        cursor = found.next;
        stores.clock.stall(10 * hourMs);
      } while (cursor !== null);
      assert.deepEqual(names, ['a', 'b', 'c', 'e']);
    });

    it('refuses a stretch without room, the future, what is not kept, and foreign cursors', async (t) => {
      const stores = await open(t);
      const ask = (filter: HostChangeFilter, cursor?: string) =>
        stores.hosts.history.differences(filter, { limit: 1, ...(cursor === undefined ? {} : { cursor }) });
      const at = (atMs: number): Moment => ({ kind: 'at', atMs });
      await assert.rejects(ask({ from: ago(1), to: ago(1) }), {
        code: 'bad-request',
        message: /from \(.*to \(/,
      });
      await assert.rejects(ask({ from: ago(1), to: at(stores.clock.now() + 1) }), { code: 'bad-request' });
      await assert.rejects(ask({ from: ago(limits.historyKeptMs + 1) }), { code: 'compacted' });
      for (const cursor of ['x', 'WyJhIl0', Buffer.from('["x","1","a","b"]').toString('base64url')])
        await assert.rejects(ask({ from: ago(1) }, cursor), { code: 'bad-request', field: 'cursor' });
    });
  });

  describe('HostHistoryStore.stats()', () => {
    it('counts hosts now, and those of the last n days', async (t) => {
      const { hosts, clock } = await world(t);
      clock.stall(7 * dayMs);
      assert.deepEqual((await hosts.history.stats({})).now, {
        total: 4,
        up: 3,
        down: 1,
        withinMs: 7 * dayMs,
        fresh: 0,
        stale: 4,
        created: 0,
      });
      const { now, series } = await hosts.history.stats({ withinMs: 8 * dayMs + 1 });
      assert.deepEqual([now.fresh, now.stale, now.created], [1, 3, 1]);
      assert.deepEqual(series, []);
    });

    it('counts at each point as a list as of it does, and who came and went since the one before', async (t) => {
      const { hosts, clock } = await world(t);
      const nowMs = clock.now();
      const { series } = await hosts.history.stats({ stretch: { from: ago(50 * hourMs) }, stepMs: hourMs });
      assert.equal(series.length, 51);
      assert.deepEqual([series[0]?.atMs, series[50]?.atMs], [nowMs - 50 * hourMs, nowMs]);
      for (const { atMs, total, up, down } of series) {
        const { items } = await hosts.list({ asOf: { kind: 'at', atMs } }, { limit: 1_000 });
        const isUp = items.filter(({ status }) => status === 'UP').length;
        assert.deepEqual([total, up, down], [items.length, isUp, items.length - isUp]);
      }
      const moved = series.flatMap(({ atMs, appeared, disappeared }) =>
        appeared + disappeared === 0 ? [] : [[(nowMs - atMs) / hourMs, appeared, disappeared]],
      );
      assert.deepEqual(moved, [
        [49, 4, 0],
        [25, 1, 1],
        [24, 1, 1],
      ]);
    });

    it('has 24 steps of whole hours or days at most unless told, and refuses too many points', async (t) => {
      const { hosts } = await open(t);
      const stretch = { from: ago(dayMs) };
      const { series } = await hosts.history.stats({ stretch });
      assert.equal(series.length, 25);
      for (const [spanMs, stepMs, points] of [
        [5 * 60_000, hourMs, 1],
        [dayMs + 1, 2 * hourMs, 13],
        [7 * dayMs, 8 * hourMs, 22],
        [12 * dayMs, 12 * hourMs, 25],
        [12 * dayMs + 1, dayMs, 13],
        [30 * dayMs, 2 * dayMs, 16],
        [399 * dayMs, 17 * dayMs, 24],
      ] as const) {
        const found = (await hosts.history.stats({ stretch: { from: ago(spanMs) } })).series;
        assert.equal(found.length, points);
        if (points > 1) assert.equal((found[1]?.atMs ?? 0) - (found[0]?.atMs ?? 0), stepMs);
      }
      assert.equal((await hosts.history.stats({ stretch, stepMs: 86_486 })).series.length, 1_000);
      await assert.rejects(hosts.history.stats({ stretch, stepMs: 1_000 }), {
        code: 'bad-request',
        field: 'step',
        message: /86401 points, 1000 at the most/,
      });
    });
  });
}
