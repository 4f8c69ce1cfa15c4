/** What trains promise, on any store: above all what arrives on one that follows another. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Caller } from '../../src/domain/access.ts';
import type { StrictCondition } from '../../src/domain/condition.ts';
import { isAppError } from '../../src/domain/error.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import { ReleaseStore } from '../../src/store/release.ts';
import { TrainStore } from '../../src/store/train.ts';
import { FakeClock } from '../helpers/clock.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const ann: Caller = { role: 'operator', subject: 'ann' };
const component = 'shop/api';
const dayMs = 86_400_000;

export function trainContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const events: ChangeEvent[] = [];
    store.log.subscribe((revisions) => events.push(...revisions.flatMap((revision) => revision.events)));
    const trains = new TrainStore({ store, clock });
    return { clock, store, events, trains, releases: new ReleaseStore({ store, clock, trains }) };
  };
  type World = Awaited<ReturnType<typeof open>>;

  const follow = (
    { trains }: World,
    train: string,
    plan: { follows: string; days?: number; condition?: StrictCondition },
  ) => {
    const { follows, days = 0, condition = 'missing' } = plan;
    return trains.follow(ann, { component, train }, { follows, delayMs: days * dayMs }, condition);
  };
  /** Released so many days from now. */
  const publish = async (world: World, train: string, version: string, inDays = 0) => {
    const content = { description: null, fixes: null, image: null, data: null };
    const releasedMs = world.clock.now() + inDays * dayMs;
    await world.releases.publish(ann, { component, train, version }, { ...content, releasedMs }, null);
  };
  /** The same, however it is asked. */
  const latest = async ({ releases }: World, train: string): Promise<string | null> => {
    const key = { component, train };
    const [one = null] = await releases.latestOf([key]);
    const alone = await releases.latest(key, 'date').catch((error: unknown) => {
      assert.ok(isAppError(error, 'not-found'), String(error));
      return null;
    });
    assert.deepEqual(alone, one);
    return one === null ? null : `${one.train} ${one.version}`;
  };

  describe('a train that follows another', () => {
    it('gets its releases once they have been out for the delay, to the millisecond', async (t) => {
      const world = await open(t);
      await follow(world, 'stable', { follows: 'beta', days: 7 });
      assert.equal(await latest(world, 'stable'), null);
      await publish(world, 'beta', '1.0.0');
      await world.clock.advance(3 * dayMs);
      await publish(world, 'beta', '1.1.0');
      await world.clock.advance(4 * dayMs - 1);
      assert.equal(await latest(world, 'stable'), null);
      await world.clock.advance(1);
      assert.equal(await latest(world, 'stable'), 'beta 1.0.0');
      assert.equal(await latest(world, 'beta'), 'beta 1.1.0');
      await world.clock.advance(3 * dayMs);
      assert.equal(await latest(world, 'stable'), 'beta 1.1.0');
      await world.releases.withdraw(ann, { component, train: 'beta', version: '1.1.0' }, null);
      assert.equal(await latest(world, 'stable'), 'beta 1.0.0');
    });

    it('has its own at once, until a later one arrives; of the same instant its own', async (t) => {
      const world = await open(t);
      await follow(world, 'stable', { follows: 'beta', days: 7 });
      await publish(world, 'beta', '1.5.0');
      await world.clock.advance(2 * dayMs);
      await publish(world, 'stable', '1.4.3');
      assert.equal(await latest(world, 'stable'), 'stable 1.4.3');
      await world.clock.advance(5 * dayMs);
      assert.equal(await latest(world, 'stable'), 'beta 1.5.0');
      await publish(world, 'stable', '1.5.0');
      assert.equal(await latest(world, 'stable'), 'stable 1.5.0');
      // Lists are of what is published on the train itself.
      const { items } = await world.releases.list({ component, train: 'stable' }, { limit: 10 });
      assert.deepEqual(
        items.map(({ version }) => version),
        ['1.5.0', '1.4.3'],
      );
    });

    it('follows through others, with the sum of the delays', async (t) => {
      const world = await open(t);
      await follow(world, 'stable', { follows: 'beta', days: 7 });
      await follow(world, 'beta', { follows: 'edge', days: 1 });
      await publish(world, 'edge', '2.0.0');
      await world.clock.advance(dayMs);
      assert.deepEqual([await latest(world, 'beta'), await latest(world, 'stable')], ['edge 2.0.0', null]);
      await world.clock.advance(7 * dayMs);
      assert.equal(await latest(world, 'stable'), 'edge 2.0.0');
    });

    it('gets nothing that is yet to come out, while what is published on it counts as it says', async (t) => {
      const world = await open(t);
      await follow(world, 'stable', { follows: 'beta' });
      await publish(world, 'beta', '2.0.0', 1);
      assert.equal(await latest(world, 'stable'), null);
      assert.equal(await latest(world, 'beta'), 'beta 2.0.0');
      await publish(world, 'stable', '1.0.0', 3);
      await world.clock.advance(dayMs);
      assert.equal(await latest(world, 'stable'), 'stable 1.0.0');
    });

    it('is asked by version over all that has arrived', async (t) => {
      const world = await open(t);
      await follow(world, 'stable', { follows: 'beta', days: 7 });
      await publish(world, 'beta', '2.0.0', -8);
      await publish(world, 'beta', '1.9.0', -7);
      await publish(world, 'beta', '3.0.0', -6);
      await publish(world, 'stable', '1.8.0');
      await publish(world, 'stable', '2.0.0+hotfix', -30);
      const by = async (order: 'semver' | 'debian') => {
        const release = await world.releases.latest({ component, train: 'stable' }, order);
        return `${release.train} ${release.version}`;
      };
      // Equal to SemVer: its own.
      assert.deepEqual(
        [await by('semver'), await by('debian')],
        ['stable 2.0.0+hotfix', 'stable 2.0.0+hotfix'],
      );
      await world.releases.withdraw(ann, { component, train: 'stable', version: '2.0.0+hotfix' }, null);
      assert.equal(await by('semver'), 'beta 2.0.0');
      await world.clock.advance(dayMs);
      assert.equal(await by('semver'), 'beta 3.0.0');
    });

    it('stands beside others in one question, each with its own delay', async (t) => {
      const world = await open(t);
      await follow(world, 'slow', { follows: 'beta', days: 7 });
      await follow(world, 'quick', { follows: 'beta', days: 1 });
      await publish(world, 'beta', '1.0.0', -7);
      await publish(world, 'beta', '1.1.0', -1);
      await publish(world, 'beta', '1.2.0');
      const lines = ['quick', 'beta', 'slow', 'none', 'quick'];
      const found = await world.releases.latestOf([
        ...lines.map((train) => ({ component, train })),
        { component: 'other', train: 'quick' },
      ]);
      assert.deepEqual(
        found.map((release) => release?.version ?? null),
        ['1.1.0', '1.2.0', '1.0.0', null, '1.1.0', null],
      );
    });
  });

  describe('TrainStore.follow()', () => {
    it('is a configuration object: whoever replaces or ends it says which one he has seen', async (t) => {
      const world = await open(t);
      const { created, train } = await follow(world, 'stable', { follows: 'beta', days: 7 });
      assert.deepEqual([created, train.follows, train.delayMs], [true, 'beta', 7 * dayMs]);
      const tag = train.changedAtMs ?? 0;
      const again = (days: number, condition: StrictCondition) =>
        follow(world, 'stable', { follows: 'beta', days, condition });
      const key = { component, train: 'stable' };
      await assert.rejects(again(7, 'missing'), isCode('precondition-required'));
      await assert.rejects(again(8, [tag + 1]), isCode('precondition-failed'));
      const { revision } = world.store.log.head();
      assert.deepEqual(await again(7, [tag]), { created: false, train });
      assert.equal(world.store.log.head().revision, revision);
      const second = await again(8, [tag]);
      assert.deepEqual([second.created, (second.train.changedAtMs ?? 0) > tag], [false, true]);
      assert.equal((await again(9, null)).train.delayMs, 9 * dayMs);
      await assert.rejects(world.trains.unfollow(ann, key, 'missing'), isCode('precondition-required'));
      await assert.rejects(world.trains.unfollow(ann, key, [tag]), isCode('precondition-failed'));
      await world.trains.unfollow(ann, key, null);
      await assert.rejects(world.trains.unfollow(ann, key, null), isCode('not-found'));
      await assert.rejects(
        follow(world, 'stable', { follows: 'beta', condition: [tag] }),
        isCode('precondition-failed'),
      );
      assert.deepEqual(
        world.events.map(({ type, app, actor, body }) => [
          type,
          app,
          actor,
          (body as { delayMs: number }).delayMs,
        ]),
        [
          ['release.followed', 'shop', 'ann', 7 * dayMs],
          ['release.followed', 'shop', 'ann', 8 * dayMs],
          ['release.followed', 'shop', 'ann', 9 * dayMs],
          ['release.unfollowed', 'shop', 'ann', 9 * dayMs],
        ],
      );
    });

    it('refuses circles, also of changes at once, and says how they go', async (t) => {
      const world = await open(t);
      await follow(world, 'a', { follows: 'b' });
      await follow(world, 'b', { follows: 'c' });
      const error = await follow(world, 'c', { follows: 'a' }).catch((thrown: unknown) => thrown);
      assert.ok(isAppError(error, 'unprocessable'));
      assert.match(error.message, /it would follow itself: c → a → b → c/);
      await assert.rejects(follow(world, 'x', { follows: 'x' }), isCode('unprocessable'));
      const both = await Promise.allSettled([
        follow(world, 'm', { follows: 'n' }),
        follow(world, 'n', { follows: 'm' }),
      ]);
      assert.deepEqual(
        both.map(({ status }) => status),
        ['fulfilled', 'rejected'],
      );
      // The same names elsewhere are other trains.
      await world.trains.follow(ann, { component: 'c', train: 'c' }, { follows: 'a', delayMs: 0 }, 'missing');
    });

    it('refuses what is too long or too many, and what is no delay', async (t) => {
      const world = await open(t);
      for (const days of [-1, 366, Number.NaN])
        await assert.rejects(follow(world, 'stable', { follows: 'beta', days }), isCode('bad-request'));
      await assert.rejects(follow(world, 'stable', { follows: '' }), isCode('bad-request'));
      const max = limits.followedTrainsMax;
      // From both ends: what is added in the middle makes the chain too long for the first.
      for (let i = 0; i < max; i += 1) await follow(world, `t${i}`, { follows: `t${i + 1}` });
      await assert.rejects(follow(world, `t${max}`, { follows: 'end' }), isCode('unprocessable'));
      await assert.rejects(follow(world, 'start', { follows: 't0' }), isCode('unprocessable'));
      for (let i = max; i < limits.followingTrainsMax; i += 1)
        await follow(world, `s${i}`, { follows: 'beta' });
      await assert.rejects(follow(world, 'more', { follows: 'beta' }), isCode('unprocessable'));
    });
  });

  describe('TrainStore.list() and get()', () => {
    it('know trains with releases and trains that follow, page by page', async (t) => {
      const world = await open(t);
      await publish(world, 'beta', '1');
      await publish(world, 'beta', '2');
      await publish(world, 'edge', '3');
      await follow(world, 'stable', { follows: 'beta', days: 7 });
      await follow(world, 'edge', { follows: 'nowhere' });
      const seen: [string, string | null][] = [];
      let cursor: string | undefined;
      do {
        const page = await world.trains.list(component, {
          limit: 2,
          ...(cursor === undefined ? {} : { cursor }),
        });
        seen.push(...page.items.map(({ train, follows }): [string, string | null] => [train, follows]));
        cursor = page.next ?? undefined;
      } while (cursor !== undefined);
      assert.deepEqual(seen, [
        ['beta', null],
        ['edge', 'nowhere'],
        ['stable', 'beta'],
      ]);
      assert.deepEqual((await world.trains.list('other', { limit: 2 })).items, []);
      const get = (train: string) => world.trains.get({ component, train });
      assert.deepEqual(await get('beta'), {
        component,
        train: 'beta',
        follows: null,
        delayMs: 0,
        changedAtMs: null,
      });
      assert.deepEqual([(await get('stable')).follows, (await get('stable')).delayMs], ['beta', 7 * dayMs]);
      await assert.rejects(get('nowhere'), isCode('not-found'));
    });
  });
}

function isCode(code: string) {
  return (error: unknown) => {
    assert.ok(isAppError(error), String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}
