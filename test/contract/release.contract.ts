/** What releases promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Caller } from '../../src/domain/access.ts';
import { isAppError } from '../../src/domain/error.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import type { Release, ReleaseContent, ReleaseKey } from '../../src/domain/release.ts';
import { AuditStore } from '../../src/store/audit.ts';
import type { Store } from '../../src/store/engine/port.ts';
import { ReleaseStore } from '../../src/store/release.ts';
import { TrainStore } from '../../src/store/train.ts';
import { FakeClock } from '../helpers/clock.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const ci: Caller = { role: 'publisher', subject: 'ci' };
const ann: Caller = { role: 'publisher', subject: 'ann' };
const train = { component: 'shop/api', train: 'stable' };
const first: ReleaseKey = { ...train, version: '1.4.2' };
const empty: ReleaseContent = { description: null, fixes: null, image: null, data: null };
const dayMs = 86_400_000;
const day = (n: number) => Date.UTC(2017, 0, 1) + n * dayMs;

export function releaseContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const events: ChangeEvent[] = [];
    store.log.subscribe((revisions) => events.push(...revisions.flatMap((revision) => revision.events)));
    const trains = new TrainStore({ store, clock });
    return { clock, store, events, trains, releases: new ReleaseStore({ store, clock, trains }) };
  };
  type World = Awaited<ReturnType<typeof open>>;

  const publish = (world: World, version: string, more: Partial<ReleaseContent & ReleaseKey> = {}) => {
    const { component = train.component, train: line = train.train, ...content } = more;
    const key = { component, train: line, version };
    return world.releases.publish(ci, key, { ...empty, ...content }, null);
  };
  const versionsOf = (items: readonly (Release | null)[]) => items.map((release) => release?.version ?? null);

  describe('ReleaseStore.publish()', () => {
    it('creates, and get() answers all that was given', async (t) => {
      const world = await open(t);
      const content: ReleaseContent = {
        releasedMs: Date.UTC(2016, 2, 30, 23, 54, 39),
        description: 'rn\n\t– ünïcode 👩‍🔧',
        fixes: 'fx',
        image: 'quay.io/x:1',
        data: {},
      };
      const { created, release } = await world.releases.publish(ci, first, content, null);
      assert.equal(created, true);
      const now = world.clock.now();
      assert.deepEqual(release, {
        ...first,
        ...content,
        publishedBy: 'ci',
        publishedAtMs: now,
        changedAtMs: now,
      });
      assert.deepEqual(await world.releases.get(first), release);
      const [event] = world.events;
      assert.ok(event);
      assert.deepEqual(
        [world.events.length, event.type, event.actor, event.app, event.service, event.host],
        [1, 'release.published', 'ci', 'shop', 'shop/api', undefined],
      );
      assert.equal((event.body as { released: string }).released, '2016-03-30T23:54:39.000Z');
    });

    it('replaces all of it, keeps who published first, and tells of the change', async (t) => {
      const world = await open(t);
      await publish(world, '1.4.2', { releasedMs: day(1), description: 'old', image: 'i', data: { a: 1 } });
      await world.clock.advance(1_000);
      const content = { ...empty, releasedMs: day(30), description: 'updated' };
      const { created, release } = await world.releases.publish(ann, first, content, null);
      assert.equal(created, false);
      assert.deepEqual(
        [release.releasedMs, release.description, release.image, release.data, release.publishedBy],
        [day(30), 'updated', null, null, 'ci'],
      );
      assert.equal(release.changedAtMs, release.publishedAtMs + 1_000);
      assert.deepEqual(versionsOf((await world.releases.list(train, { limit: 10 })).items), ['1.4.2']);
      assert.deepEqual(
        world.events.map(({ type, actor }) => [type, actor]),
        [
          ['release.published', 'ci'],
          ['release.changed', 'ann'],
        ],
      );
    });

    it('keeps data as it came, members in their order', async (t) => {
      const world = await open(t);
      const text = '{"notes":"x","b":{"deep":[1,null,{"b":"","a":true}]},"a":1e-7,"__proto__":{"x":1}}';
      const data = JSON.parse(text) as Record<string, unknown>;
      await publish(world, '1.4.2', { data });
      assert.equal(JSON.stringify((await world.releases.get(first)).data), text);
    });

    it('changes nothing when it is so already; released is kept when it is not given', async (t) => {
      const world = await open(t);
      const { release } = await publish(world, '1.4.2', { description: 'n', data: { a: [1] } });
      assert.equal(release.releasedMs, world.clock.now());
      const { revision } = world.store.log.head();
      await world.clock.advance(dayMs);
      const again = await world.releases.publish(
        ann,
        first,
        { ...empty, description: 'n', data: { a: [1] } },
        null,
      );
      assert.deepEqual(again, { created: false, release });
      assert.deepEqual([world.store.log.head().revision, world.events.length], [revision, 1]);
    });

    it('transactional upsert: 30 identical publishes at once are one release and one event', async (t) => {
      const world = await open(t);
      const answers = await Promise.all(
        Array.from({ length: 30 }, () => publish(world, '1.4.2', { image: 'i' })),
      );
      assert.equal(answers.filter(({ created }) => created).length, 1);
      assert.equal(new Set(answers.map(({ release }) => JSON.stringify(release))).size, 1);
      assert.equal((await world.releases.list(train, { limit: 100 })).items.length, 1);
      assert.equal(world.events.length, 1);
    });

    it('30 different publishes at once are each in effect, one after the other', async (t) => {
      const world = await open(t);
      await Promise.all(Array.from({ length: 30 }, (_, i) => publish(world, '1.4.2', { image: `i${i}` })));
      const bodies = world.events.map(({ body }) => body as { image: string; changedAt: string });
      assert.equal(new Set(bodies.map(({ image }) => image)).size, 30);
      assert.equal(new Set(bodies.map(({ changedAt }) => changedAt)).size, 30);
      assert.equal((await world.releases.get(first)).image, bodies.at(-1)?.image);
    });

    it('keeps a condition where one is given', async (t) => {
      const world = await open(t);
      const to = (image: string, condition: number[] | null) =>
        world.releases.publish(ci, first, { ...empty, image }, condition);
      await assert.rejects(to('a', [1]), isCode('precondition-failed'));
      const { release: a } = await to('a', null);
      const { release: b } = await to('b', [1, a.changedAtMs]);
      assert.ok(b.changedAtMs > a.changedAtMs, 'the same millisecond has another tag');
      await assert.rejects(to('c', [a.changedAtMs]), isCode('precondition-failed'));
      await assert.rejects(to('c', []), isCode('precondition-failed'));
      // Not even for what is so already: whoever asks wants to know.
      await assert.rejects(to('b', [a.changedAtMs]), isCode('precondition-failed'));
      assert.equal((await world.releases.get(first)).image, 'b');
    });

    it('refuses the word that asks for the latest, and what is no name, naming the field', async (t) => {
      const world = await open(t);
      const refused = async (fields: Partial<ReleaseKey & ReleaseContent>) => {
        const { version = '1.4.2', ...more } = fields;
        const error = await publish(world, version, more).catch((thrown: unknown) => thrown);
        assert.ok(isAppError(error), JSON.stringify(fields));
        return [error.code, error.field];
      };
      assert.deepEqual(await refused({ version: 'latest' }), ['bad-request', 'version']);
      assert.deepEqual(await refused({ version: '' }), ['bad-request', 'version']);
      assert.deepEqual(await refused({ version: ' 1' }), ['bad-request', 'version']);
      assert.deepEqual(await refused({ version: '1\u0000' }), ['bad-request', 'version']);
      assert.deepEqual(await refused({ version: '1'.repeat(257) }), ['bad-request', 'version']);
      assert.deepEqual(await refused({ component: '\u001b[31m' }), ['bad-request', 'component']);
      assert.deepEqual(await refused({ train: '' }), ['bad-request', 'train']);
      assert.deepEqual(await refused({ description: 'a\u0000b' }), ['bad-request', 'description']);
      assert.deepEqual(await refused({ fixes: '\u009b31m' }), ['bad-request', 'fixes']);
      assert.deepEqual(await refused({ image: 'a\nb' }), ['bad-request', 'image']);
      assert.deepEqual(await refused({ data: nested(17) }), ['bad-request', 'data']);
      const half = 'x'.repeat(limits.releaseBytes / 2);
      assert.deepEqual(await refused({ description: half, fixes: `${half}x` }), ['too-large', undefined]);
      assert.equal(world.events.length, 0);
      // What is just within.
      await publish(world, '1'.repeat(256), { component: 'c'.repeat(128), train: '列'.repeat(128) });
      await publish(world, 'Latest', { data: nested(16), description: half });
    });

    it('is an act of whoever publishes, for the audit', async (t) => {
      const world = await open(t);
      await publish(world, '1.4.2');
      await world.releases.withdraw(ann, first, null);
      const { items } = await new AuditStore(world).list({}, { limit: 10 });
      assert.deepEqual(
        items.map(({ actor, type }) => [actor, type]),
        [
          ['ann', 'release.withdrawn'],
          ['ci', 'release.published'],
        ],
      );
    });

    it('takes as many releases of a train as the limit says, and replaces any of them then', async (t) => {
      const world = await open(t);
      await fill(world.store, limits.trainReleasesMax);
      await assert.rejects(publish(world, '0-more'), isCode('unprocessable'));
      await publish(world, 'v17', { image: 'i' });
      await publish(world, '0-more', { train: 'beta' });
      await world.releases.withdraw(ci, { ...train, version: 'v18' }, null);
      await publish(world, '0-more');
      // Others have their turns meanwhile: a host that beats does not wait for the last of them.
      let turns = 0;
      let done = false;
      const turn = () => {
        turns += 1;
        if (!done) setImmediate(turn);
      };
      setImmediate(turn);
      assert.equal((await world.releases.latest(train, 'semver')).version, `v${limits.trainReleasesMax - 1}`);
      done = true;
      assert(turns >= 10, `${turns} turns`);
    });
  });

  describe('ReleaseStore.list()', () => {
    it('is in one order, whatever the pages: released, published, version, the latest first', async (t) => {
      const world = await open(t);
      const given: [string, number][] = [
        ['1.0.0', day(0)],
        ['1.0.10', day(3)],
        ['1.0.9', day(3)],
        ['2.0.0', day(1)],
        ['0.9', -1],
      ];
      for (const [version, releasedMs] of given) {
        await publish(world, version, { releasedMs });
        await world.clock.advance(1);
      }
      // Of the same date and publishing: by the text.
      await Promise.all(['b', 'a', 'c'].map((version) => publish(world, version, { releasedMs: day(2) })));
      await publish(world, 'elsewhere', { train: 'beta' });
      await publish(world, 'elsewhere', { component: 'shop/web' });
      const ordered = ['1.0.9', '1.0.10', 'c', 'b', 'a', '2.0.0', '1.0.0', '0.9'];
      for (const limit of [1, 2, 3, 8, 1_000]) {
        const found: string[] = [];
        let cursor: string | undefined;
        do {
          const page = await world.releases.list(train, {
            limit,
            ...(cursor === undefined ? {} : { cursor }),
          });
          assert.ok(page.items.length <= limit);
          found.push(...page.items.map(({ version }) => version));
          cursor = page.next ?? undefined;
        } while (cursor !== undefined);
        assert.deepEqual(found, ordered, `pages of ${limit}`);
      }
    });

    it('of an unknown train is empty', async (t) => {
      const { releases } = await open(t);
      const page = await releases.list({ component: 'none', train: 'stable' }, { limit: 10 });
      assert.deepEqual([page.items, page.next], [[], null]);
    });

    it('ends a page before its limit where releases are large', async (t) => {
      const world = await open(t);
      const description = 'x'.repeat(limits.releaseBytes);
      const count = limits.pageBytes / limits.releaseBytes + 3;
      for (let i = 0; i < count; i += 1) await publish(world, `1.${i}`, { description });
      const page = await world.releases.list(train, { limit: 1_000 });
      assert.equal(page.items.length, limits.pageBytes / limits.releaseBytes);
      assert.ok(page.next !== null);
      const rest = await world.releases.list(train, { limit: 1_000, cursor: page.next });
      assert.deepEqual([rest.items.length, rest.next], [3, null]);
    });

    it('goes on from no cursor of another list', async (t) => {
      const { releases } = await open(t);
      for (const key of [['1'], ['a', '1', '1'], ['1', '1e99', '1'], ['1', '1', '\u0000']]) {
        const cursor = Buffer.from(JSON.stringify(key)).toString('base64url');
        await assert.rejects(releases.list(train, { limit: 1, cursor }), isCode('bad-request'));
      }
    });
  });

  describe('ReleaseStore.latest()', () => {
    it('is the one that came out last by date, the highest by version', async (t) => {
      const world = await open(t);
      const given: [string, number][] = [
        ['1.0.0', day(0)],
        ['2.0.0', day(60)],
        ['1.5.0', day(30)],
        ['1.0.9', day(90)],
        ['2.0.0~rc1', day(61)],
      ];
      for (const [version, releasedMs] of given) await publish(world, version, { releasedMs });
      assert.equal((await world.releases.latest(train, 'date')).version, '1.0.9');
      assert.equal((await world.releases.latest(train, 'debian')).version, '2.0.0');
      await publish(world, '2.0.1-rc.1', { releasedMs: day(-1) });
      assert.equal((await world.releases.latest(train, 'semver')).version, '2.0.1-rc.1');
    });

    it('of several at once is exactly one, always the same', async (t) => {
      const world = await open(t);
      for (const version of ['1.0.0+a', '1.0.0+c', '1.0.0+b'])
        await publish(world, version, { releasedMs: day(1) });
      for (const order of ['date', 'semver'] as const)
        assert.equal((await world.releases.latest(train, order)).version, '1.0.0+c');
      assert.deepEqual(versionsOf(await world.releases.latestOf([train])), ['1.0.0+c']);
    });

    it('is not found where nothing is published, and neither is a release', async (t) => {
      const { releases } = await open(t);
      const none = { component: 'none', train: 'stable' };
      for (const order of ['date', 'semver', 'debian'] as const)
        await assert.rejects(releases.latest(none, order), isCode('not-found'));
      await assert.rejects(releases.get({ ...none, version: '1.0' }), isCode('not-found'));
      await assert.rejects(releases.get({ ...none, version: 'latest' }), isCode('not-found'));
    });
  });

  describe('ReleaseStore.latestOf()', () => {
    it('multi-get: answers exactly the pairs that were asked for, in that order, null where there is none', async (t) => {
      const world = await open(t);
      for (const component of ['m', 'n', 'm/n']) {
        for (const line of ['stable', 'beta']) {
          await publish(world, `${component} ${line} 1`, { component, train: line, releasedMs: day(1) });
          await publish(world, `${component} ${line} 2`, { component, train: line, releasedMs: day(2) });
          await publish(world, `${component} ${line} 0`, { component, train: line, releasedMs: day(2) });
        }
      }
      const ask = async (...pairs: [string, string][]) =>
        versionsOf(
          await world.releases.latestOf(pairs.map(([component, line]) => ({ component, train: line }))),
        );
      assert.deepEqual(await ask(), []);
      assert.deepEqual(await ask(['m', 'stable'], ['n', 'beta']), ['m stable 2', 'n beta 2']);
      assert.deepEqual(
        await ask(
          ['n', 'beta'],
          ['x', 'beta'],
          ['m', 'stable'],
          ['m', 'alpha'],
          ['n', 'beta'],
          ['m/n', 'beta'],
        ),
        ['n beta 2', null, 'm stable 2', null, 'n beta 2', 'm/n beta 2'],
      );
      assert.deepEqual(await ask(['M', 'stable'], ['m', 'Stable']), [null, null]);
      await assert.rejects(ask(['m', '']), isCode('bad-request'));
    });

    it('answers a thousand, and refuses what is too much for one answer', async (t) => {
      const world = await open(t);
      const description = 'x'.repeat(limits.releaseBytes);
      const keys = Array.from({ length: 1_000 }, (_, i) => ({ component: `c${i % 200}`, train: 'stable' }));
      for (const { component } of keys.slice(0, 130)) await publish(world, '1', { component, description });
      await assert.rejects(world.releases.latestOf(keys), isCode('too-large'));
      for (const { component } of keys.slice(0, 10)) await publish(world, '1', { component });
      const found = await world.releases.latestOf(keys);
      assert.equal(found.length, 1_000);
      assert.deepEqual(
        found.map((release) => release?.component ?? null),
        keys.map(({ component }, i) => (i % 200 < 130 ? component : null)),
      );
    });
  });

  describe('ReleaseStore.withdraw()', () => {
    it('takes one away and tells what it was; what it kept from being the latest is so again', async (t) => {
      const world = await open(t);
      await publish(world, '1.4.1', { releasedMs: day(1) });
      const { release } = await publish(world, '1.4.2', { releasedMs: day(2), image: 'i' });
      await assert.rejects(world.releases.withdraw(ci, first, [1]), isCode('precondition-failed'));
      await world.releases.withdraw(ci, first, [release.changedAtMs]);
      await assert.rejects(world.releases.withdraw(ci, first, null), isCode('not-found'));
      await assert.rejects(world.releases.get(first), isCode('not-found'));
      assert.equal((await world.releases.latest(train, 'date')).version, '1.4.1');
      const { type, body } = world.events.at(-1) ?? {};
      assert.deepEqual([type, (body as { image: string }).image], ['release.withdrawn', 'i']);
    });

    it('leaves no tag that fits what is published there later', async (t) => {
      const world = await open(t);
      const { release } = await publish(world, '1.4.2', { image: 'i' });
      await world.releases.withdraw(ci, first, null);
      await world.clock.advance(1);
      await publish(world, '1.4.2', { image: 'j' });
      await assert.rejects(
        world.releases.withdraw(ci, first, [release.changedAtMs]),
        isCode('precondition-failed'),
      );
    });
  });
}

/** Releases of `train` called v0, v1, …, in one statement. */
async function fill(store: Store, count: number): Promise<void> {
  const { component, train: line } = train;
  const sql =
    store.dialect === 'sqlite'
      ? `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ${count})
         INSERT INTO releases SELECT '${component}', '${line}', 'v' || i, i, NULL, NULL, NULL, NULL, 'ci', 0, 0 FROM n`
      : `INSERT INTO releases SELECT '${component}', '${line}', 'v' || i, i, NULL, NULL, NULL, NULL, 'ci', 0, 0
         FROM generate_series(0, ${count - 1}) AS i`;
  await store.write(ci, (tx) => tx.run({ sql, bind: () => [] }, {}));
}

/** Data of this many levels. */
function nested(levels: number): Record<string, unknown> {
  return levels === 1 ? { end: 1 } : { in: nested(levels - 1) };
}

function isCode(code: string) {
  return (error: unknown) => {
    assert.ok(isAppError(error), String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}
