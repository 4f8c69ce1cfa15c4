/** What releases and trains promise of the past, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Caller } from '../../src/domain/access.ts';
import type { Moment } from '../../src/domain/moment.ts';
import type { Statement } from '../../src/store/engine/port.ts';
import { ReleaseStore } from '../../src/store/release.ts';
import { ReleasePast } from '../../src/store/release-past.ts';
import { TrainStore } from '../../src/store/train.ts';
import { FakeClock } from '../helpers/clock.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const ci: Caller = { role: 'publisher', subject: 'ci' };
const component = 'shop/api';
const stable = { component, train: 'stable' };
const beta = { component, train: 'beta' };
const dayMs = 86_400_000;

export function releasePastContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const trains = new TrainStore({ store, clock });
    const releases = new ReleaseStore({ store, clock, trains });
    const publish = (version: string, description: string | null = null, train = 'stable') => {
      const content = { description, fixes: null, image: null, data: null };
      return releases.publish(ci, { component, train, version }, content, null);
    };
    const withdraw = (version: string) => releases.withdraw(ci, { ...stable, version }, null);
    const kept = async () =>
      Object.values((await store.read((session) => session.get(past, {}))) ?? {}).map(Number);
    return { clock, store, trains, releases, publish, withdraw, kept };
  };
  const at = (atMs: number): { asOf: Moment } => ({ asOf: { kind: 'at', atMs } });

  describe('releases as of a moment', () => {
    it('are those that were published then, as they were, in the order of now', async (t) => {
      const { clock, releases, publish, withdraw, kept } = await open(t);
      const beforeMs = clock.now() - 1;
      const firstMs = clock.now();
      await publish('1.0.0', 'first words');
      clock.stall(1_000);
      const secondMs = clock.now();
      await publish('1.0.0', 'other words');
      await publish('1.1.0');
      clock.stall(1_000);
      const thirdMs = clock.now();
      await withdraw('1.0.0');
      const seen = async (atMs: number) =>
        (await releases.list(stable, { limit: 10 }, at(atMs))).items.map(
          ({ version, description }) => `${version} ${description}`,
        );
      assert.deepEqual(await Promise.all([beforeMs, firstMs, secondMs - 1, secondMs, thirdMs].map(seen)), [
        [],
        ['1.0.0 first words'],
        ['1.0.0 first words'],
        ['1.1.0 null', '1.0.0 other words'],
        ['1.1.0 null'],
      ]);
      const key = { ...stable, version: '1.0.0' };
      assert.equal((await releases.get(key, at(firstMs))).description, 'first words');
      assert.equal((await releases.get(key, at(secondMs))).changedAtMs, secondMs);
      for (const atMs of [beforeMs, thirdMs])
        await assert.rejects(() => releases.get(key, at(atMs)), { code: 'not-found' });
      for (const order of ['date', 'semver'] as const) {
        assert.equal((await releases.latest(stable, order, at(firstMs))).version, '1.0.0');
        assert.equal((await releases.latest(stable, order, at(secondMs))).version, '1.1.0');
        await assert.rejects(() => releases.latest(stable, order, at(beforeMs)), { code: 'not-found' });
      }
      assert.deepEqual(await kept(), [2, 0]);
    });

    it('are there once where the clock was put back and what was gone came again', async (t) => {
      const { clock, releases, trains, publish, withdraw } = await open(t);
      await publish('1.0.0', 'first words');
      const plan = { follows: 'stable', delayMs: 0 };
      await trains.follow(ci, beta, plan, null);
      clock.stall(100_000);
      await withdraw('1.0.0');
      await trains.unfollow(ci, beta, null);
      clock.step(-50_000);
      await publish('1.0.0', 'second words');
      await trains.follow(ci, beta, plan, null);
      const backMs = clock.now();
      clock.stall(100_000);
      const words = async (atMs: number) =>
        (await releases.list(stable, { limit: 10 }, at(atMs))).items.map(({ description }) => description);
      assert.deepEqual(await words(backMs), ['first words']);
      assert.deepEqual(await words(backMs + 50_000), ['second words']);
      const { items } = await trains.list(component, { limit: 10 }, at(backMs));
      assert.equal(items.filter(({ train }) => train === 'beta').length, 1);
    });

    it('keep nothing of what is published again as it is, or is gone at once', async (t) => {
      const { clock, publish, withdraw, kept } = await open(t);
      await publish('1.0.0', 'a');
      clock.stall(1_000);
      await publish('1.0.0', 'a');
      assert.deepEqual(await kept(), [0, 0]);
      await publish('2.0.0');
      await withdraw('2.0.0');
      assert.deepEqual(await kept(), [0, 0]);
    });

    it('go on from page to page at the moment of the first page', async (t) => {
      const { clock, releases, publish } = await open(t);
      for (const version of ['1', '2', '3']) await publish(version);
      clock.stall(10_000);
      await publish('4');
      const asOf = { asOf: { kind: 'ago', agoMs: 10_000 } } as const;
      const first = await releases.list(stable, { limit: 2 }, asOf);
      clock.stall(20_000);
      const second = await releases.list(stable, { limit: 2, cursor: first.next ?? '' }, asOf);
      assert.deepEqual(
        [...first.items, ...second.items].map(({ version }) => version),
        ['3', '2', '1'],
      );
      assert.deepEqual([second.asOfMs, second.next], [first.asOfMs, null]);
    });

    it('are refused of the future, and of what is not kept', async (t) => {
      const { clock, releases, trains, publish } = await open(t);
      await publish('1');
      const key = { ...stable, version: '1' };
      for (const [atMs, code] of [
        [clock.now() + 1, 'bad-request'],
        [clock.now() - limits.historyKeptMs - 1, 'compacted'],
      ] as const)
        for (const ask of [
          () => releases.get(key, at(atMs)),
          () => releases.list(stable, { limit: 1 }, at(atMs)),
          () => releases.latest(stable, 'date', at(atMs)),
          () => trains.get(stable, at(atMs)),
          () => trains.list(component, { limit: 1 }, at(atMs)),
        ])
          await assert.rejects(ask, { code });
    });
  });

  describe('trains as of a moment', () => {
    it('follow what they followed then, and get what had arrived then', async (t) => {
      const { clock, releases, trains, publish, kept } = await open(t);
      await publish('1.0.0', null, 'beta');
      clock.stall(1_000);
      const beforeMs = clock.now() - 1;
      await trains.follow(ci, stable, { follows: 'beta', delayMs: dayMs }, 'missing');
      clock.stall(2 * dayMs);
      const arrivedMs = clock.now();
      await publish('1.1.0', null, 'beta');
      await trains.follow(ci, stable, { follows: 'beta', delayMs: 0 }, null);
      clock.stall(1_000);
      await trains.unfollow(ci, stable, null);
      clock.stall(1_000);
      const seen = async (atMs: number) => {
        const latest = await releases.latest(stable, 'date', at(atMs)).catch(() => null);
        const { items } = await trains.list(component, { limit: 10 }, at(atMs));
        return [
          latest?.version ?? null,
          ...items.map(({ train, follows, delayMs }) => [train, follows, delayMs]),
        ];
      };
      assert.deepEqual(await seen(beforeMs), [null, ['beta', null, 0]]);
      assert.deepEqual(await seen(arrivedMs - 1), ['1.0.0', ['beta', null, 0], ['stable', 'beta', dayMs]]);
      assert.deepEqual(await seen(arrivedMs), ['1.1.0', ['beta', null, 0], ['stable', 'beta', 0]]);
      assert.deepEqual(await seen(clock.now()), [null, ['beta', null, 0]]);
      assert.equal((await trains.get(stable, at(arrivedMs))).follows, 'beta');
      assert.equal((await trains.get(beta, at(arrivedMs))).follows, null);
      await assert.rejects(() => trains.get(stable, at(beforeMs)), { code: 'not-found' });
      assert.deepEqual(await kept(), [0, 2]);
    });
  });

  describe('ReleasePast.forget()', () => {
    it('forgets what ended before all that is kept, and no more', async (t) => {
      const { clock, store, trains, publish, withdraw, kept } = await open(t);
      const releasePast = new ReleasePast({ store, clock });
      await publish('1', 'a');
      await trains.follow(ci, stable, { follows: 'beta', delayMs: 0 }, 'missing');
      clock.stall(dayMs);
      await publish('1', 'b');
      await trains.unfollow(ci, stable, null);
      clock.stall(dayMs);
      await withdraw('1');
      clock.stall(limits.historyKeptMs - dayMs - 1);
      await releasePast.forget();
      assert.deepEqual(await kept(), [2, 1]);
      clock.stall(1);
      await releasePast.forget();
      assert.deepEqual(await kept(), [1, 0]);
      clock.stall(dayMs);
      await releasePast.forget();
      assert.deepEqual(await kept(), [0, 0]);
    });
  });
}

const past: Statement<object, { releases: number; trains: number }> = {
  sql: `SELECT (SELECT count(*) FROM releases_past) AS releases, (SELECT count(*) FROM trains_past) AS trains`,
  bind: () => [],
};
