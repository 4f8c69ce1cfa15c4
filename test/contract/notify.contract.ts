/** What telling sinks promises, on any store: at least once, in order, under the same id, and nobody waits for another. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { Loops } from '../../src/base/loops.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { isAppError } from '../../src/domain/error.ts';
import { readNotify } from '../../src/domain/notify.ts';
import { Notifier } from '../../src/registry/notify/notifier.ts';
import { truthOf } from '../../src/registry/notify/truth.ts';
import { FakeClock } from '../helpers/clock.ts';
import { type HookServer, hookServer } from '../helpers/hook-server.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, passTime } from '../helpers/registry-stores.ts';
import { until } from '../helpers/until.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const hourMs = 3_600_000;

export function notifyContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const stores = await openRegistryStores(store, clock, new SeededRandom());
    const { hosts, liveness, sweep } = stores;
    const release = async (component: string) => {
      await store.write(admin, async (tx) =>
        tx.append({ type: 'release.published', body: { component, train: 'stable', version: '1' } }),
      );
    };
    /** A registry's life: `kill` ends it as kill -9 does, without another word to the store. */
    const start = async (notify: object) => {
      const life = { serving: true };
      const notifier = new Notifier({
        plan: readNotify(notify),
        store,
        truth: truthOf({ hosts, liveness, clock, isRegionLost: (name) => sweep.isLost(name) }),
        factsOf: (name) => hosts.memory.named(name),
        serving: () => life.serving,
        proxy: {},
        runner: null,
        ...{ clock, random: new SeededRandom(), logger: silentLogger, loops: new Loops(clock) },
      });
      await notifier.load();
      notifier.start();
      t.after(() => notifier.stop());
      return { notifier, life };
    };
    const sinkOf = async (notifier: Notifier, name = 'ops') => {
      const found = (await notifier.status()).sinks.find((sink) => sink.name === name);
      assert.ok(found !== undefined);
      return found;
    };
    return { ...stores, stores, release, start, sinkOf };
  };

  const planFor = (hook: HookServer, rule: object = {}) => ({
    sinks: { ops: { webhook: `${hook.url}/ops` } },
    rules: [
      {
        name: 'r',
        select: { types: ['release.*', 'service.*', 'host.*'] },
        to: 'ops',
        groupWait: 0,
        ...rule,
      },
    ],
  });
  const titles = (hook: HookServer) => hook.taken.map(({ body }) => body?.title);
  const released = (component: string) => `${component} 1 is released on stable`;

  describe('a sink', () => {
    it('is told what its rules select from now on, in order, and what came together at once', async (t) => {
      const { release, start, clock, store, sinkOf } = await open(t);
      const hook = await hookServer(t);
      await release('before');
      const { notifier } = await start(planFor(hook, { groupWait: '30s' }));
      await clock.settle();
      await release('a');
      await clock.advance(20_000);
      await release('b');
      await clock.advance(9_999);
      assert.deepEqual(titles(hook), []);
      await clock.advance(1);
      await hook.came(1);
      assert.deepEqual(titles(hook), ['2 changes: 2 × release.published']);
      await until(async () => (await sinkOf(notifier)).behind === 0);
      const { delivered, position, lastError } = await sinkOf(notifier);
      const { epoch, revision } = store.log.head();
      assert.deepEqual([delivered, position, lastError], [1, `${epoch}.${revision}`, null]);
      await release('c');
      await clock.advance(30_000);
      await hook.came(2);
      assert.equal(titles(hook)[1], released('c'));
    });

    it('is told in time also when the wall clock is set back meanwhile', async (t) => {
      const { release, start, clock } = await open(t);
      const hook = await hookServer(t);
      await start(planFor(hook, { groupWait: '30s' }));
      await clock.settle();
      await release('a');
      await clock.advance(1_000);
      clock.step(-86_400_000);
      await release('b');
      await clock.advance(28_999);
      assert.deepEqual(titles(hook), []);
      await clock.advance(1);
      await hook.came(1);
    });

    it('that is away for an hour loses nothing, repeats nothing, and nobody waits for it', async (t) => {
      const { release, start, clock, sinkOf } = await open(t);
      const [hook, other] = [await hookServer(t), await hookServer(t)];
      const plan = planFor(hook, { to: ['ops', 'other'] });
      const { notifier } = await start({ ...plan, sinks: { ...plan.sinks, other: { webhook: other.url } } });
      await clock.settle();
      hook.answer = (_taken, response) => response.writeHead(503).end('closed for lunch');
      for (let minute = 0; minute < 60; minute += 1) {
        await release(`c${minute}`);
        await clock.advance(60_000);
        await other.came(minute + 1);
      }
      const failing = await sinkOf(notifier);
      assert.match(failing.lastError?.detail ?? '', /answered 503: closed for lunch/);
      assert.ok(failing.retryAtMs !== null && failing.retryAtMs > clock.now(), 'it is tried again');
      assert.deepEqual([failing.delivered, failing.dropped], [0, 0]);
      assert.equal((await sinkOf(notifier, 'other')).delivered, 60);
      const tries = hook.taken.length;
      assert.ok(tries >= 10 && tries <= 40, `${tries} tries in an hour`);
      assert.equal(new Set(hook.taken.map(({ body }) => body?.id)).size, 1);
      hook.answer = (_taken, response) => response.writeHead(200).end('thanks');
      await until(async () => {
        await clock.advance(300_000);
        return (await sinkOf(notifier)).delivered === 2;
      });
      const [first, rest] = hook.taken.slice(-2);
      assert.deepEqual([first?.body?.title, first?.body?.id], [released('c0'), hook.taken[0]?.body?.id]);
      // What came meanwhile comes at once.
      assert.equal(rest?.body?.title, '59 changes: 59 × release.published');
    });

    it('that wants to be left alone for a time is', async (t) => {
      const { release, start, clock } = await open(t);
      const hook = await hookServer(t);
      await start(planFor(hook));
      await clock.settle();
      hook.answer = (_taken, response) => response.writeHead(429, { 'retry-after': '120' }).end();
      await release('a');
      await hook.came(1);
      await clock.settle();
      await clock.advance(119_000);
      assert.equal(hook.taken.length, 1);
      await until(async () => {
        await clock.advance(1_000);
        return hook.taken.length === 2;
      });
    });

    it('gets what a killed registry had under way again under the same id, and all that follows', async (t) => {
      const { release, start, clock, sinkOf } = await open(t);
      const hook = await hookServer(t);
      const plan = planFor(hook, { groupBy: ['component'], groupWait: '1s' });
      const before = await start(plan);
      await clock.settle();
      // The first is taken, the second arrives and is not answered: then it is killed.
      hook.answer = (_taken, response) => {
        if (hook.taken.length < 2) response.writeHead(204).end();
      };
      for (const component of ['a', 'b', 'c']) await release(component);
      await clock.advance(1_000);
      await hook.came(2);
      before.life.serving = false;
      hook.answer = (_taken, response) => response.writeHead(204).end();
      const { notifier } = await start(plan);
      await hook.came(4);
      assert.deepEqual(titles(hook), [released('a'), released('b'), released('b'), released('c')]);
      assert.equal(hook.taken[1]?.body?.id, hook.taken[2]?.body?.id);
      await until(async () => (await sinkOf(notifier)).behind === 0);
      const after = await start(plan);
      await clock.settle();
      assert.deepEqual([(await sinkOf(after.notifier)).behind, hook.taken.length], [0, 4]);
    });

    it('does not finish what it began before another registry led', async (t) => {
      const { release, start, clock, sinkOf } = await open(t);
      const hook = await hookServer(t);
      const { notifier } = await start(planFor(hook));
      await clock.settle();
      const answers: (() => void)[] = [];
      hook.answer = (_taken, response) => answers.push(() => response.writeHead(204).end());
      await release('a');
      await hook.came(1);
      // Meanwhile another one has led, and told it.
      const other = await start(planFor(hook));
      await hook.came(2);
      answers[1]?.();
      await until(async () => (await sinkOf(other.notifier)).behind === 0);
      other.life.serving = false;
      await notifier.load();
      answers[0]?.();
      await until(async () => {
        await clock.advance(1_000);
        return (await sinkOf(notifier)).behind === 0;
      });
      hook.answer = (_taken, response) => response.writeHead(204).end();
      await release('b');
      await hook.came(3);
      assert.deepEqual(titles(hook), [released('a'), released('a'), released('b')]);
    });

    it('that refuses a message for good goes on with the next one; wrong settings have an hour', async (t) => {
      const { release, start, clock, sinkOf } = await open(t);
      const hook = await hookServer(t);
      const { notifier } = await start(planFor(hook));
      await clock.settle();
      hook.answer = ({ body }, response) =>
        response.writeHead(body?.title === released('bad') ? 400 : 204).end('no');
      await release('bad');
      await release('good');
      await hook.came(2);
      await until(async () => (await sinkOf(notifier)).delivered === 1);
      assert.equal((await sinkOf(notifier)).dropped, 1);
      hook.answer = (_taken, response) => response.writeHead(401).end();
      await release('locked');
      await hook.came(3);
      const firstMs = clock.now();
      await until(async () => {
        await clock.advance(60_000);
        return (await sinkOf(notifier)).dropped === 2;
      });
      const tookMs = clock.now() - firstMs;
      assert.ok(tookMs >= hourMs && tookMs < 1.2 * hourMs, `given up after ${tookMs} ms`);
      hook.answer = (_taken, response) => response.writeHead(204).end();
      await release('unlocked');
      await until(async () => {
        await clock.advance(60_000);
        return (await sinkOf(notifier)).delivered === 2;
      });
    });

    it('is told once how much the log has forgotten, and goes on', async (t) => {
      const { release, start, clock, sinkOf, store } = await open(t);
      const hook = await hookServer(t);
      const plan = planFor(hook);
      const before = await start(plan);
      await clock.settle();
      const after = (await sinkOf(before.notifier)).position;
      before.life.serving = false;
      for (let index = 0; index < 5; index += 1) await release(`c${index}`);
      await store.beginEpoch(systemCaller, { atLeast: 0, reason: 'test' });
      const { notifier } = await start(plan);
      await hook.came(1);
      await release('later');
      await hook.came(2);
      assert.match(titles(hook)[0] ?? '', new RegExp(`^5 revisions after ${after} were forgotten`));
      assert.deepEqual([hook.taken[0]?.body?.kind, titles(hook)[1]], ['missed', released('later')]);
      assert.equal((await sinkOf(notifier)).missed, 5);
    });

    it('is not told of a record in maintenance, but after it of what is still so', async (t) => {
      const { stores, start, clock, liveness } = await open(t);
      const hook = await hookServer(t);
      await start(planFor(hook, { select: { types: ['service.lapsed', 'service.revived'] } }));
      const register = async (type: string) => {
        const patch = { type, host: 'edge-1', ttlMs: 60_000 };
        const { uuid } = await liveness.register(admin, patch, { takeover: false });
        await liveness.maintain(admin, uuid, { endMs: clock.now() + 10 * 60_000 });
        return uuid;
      };
      const [, mended] = [await register('gone'), await register('mended')];
      await passTime(stores, 5 * 60_000);
      assert.equal((await liveness.get(mended)).status, 'DOWN');
      await liveness.beat(admin, mended);
      assert.deepEqual(titles(hook), []);
      for (let minute = 0; minute < 6; minute += 1) {
        await liveness.beat(admin, mended);
        await passTime(stores, 55_000);
      }
      await hook.came(1);
      await liveness.beat(admin, mended);
      await passTime(stores, 30_000);
      assert.deepEqual(titles(hook), ['gone on edge-1 is DOWN (not heard of in time)']);
    });

    it('that takes alerts is told again of what fires, and that it is over, whoever missed that', async (t) => {
      const { stores, start, liveness, clock } = await open(t);
      const hook = await hookServer(t);
      const plan = planFor(hook, { select: { types: ['service.lapsed'] } });
      await start({ ...plan, sinks: { ops: { alertmanager: hook.url } } });
      const patch = { type: 'api', host: 'edge-1', ttlMs: 60_000 };
      const { uuid } = await liveness.register(admin, patch, { takeover: false });
      await passTime(stores, 61_000);
      await hook.came(1);
      const alerts = () =>
        hook.taken.map(({ text }) => {
          const [alert] = JSON.parse(text) as [
            { labels: { host: string }; startsAt: string; endsAt: string },
          ];
          return { ...alert, fires: Date.parse(alert.endsAt) > clock.now() };
        });
      const [first] = alerts();
      assert.deepEqual([first?.labels.host, first?.fires], ['edge-1', true]);
      // A database answers in real time, which passes between these steps.
      await until(async () => {
        await passTime(stores, 5_000);
        return hook.taken.length === 2;
      });
      assert.deepEqual(
        alerts().map(({ startsAt }) => startsAt),
        [first?.startsAt, first?.startsAt],
      );
      // What happens in maintenance is silent, also that it is up again.
      await liveness.maintain(admin, uuid, {});
      await liveness.beat(admin, uuid);
      await passTime(stores, 1_000);
      assert.equal(hook.taken.length, 2);
      await until(async () => {
        await liveness.beat(admin, uuid);
        await passTime(stores, 5_000);
        return hook.taken.length === 3;
      });
      assert.deepEqual([alerts()[2]?.startsAt, alerts()[2]?.fires], [first?.startsAt, false]);
      for (let beats = 0; beats < 4; beats += 1) {
        await liveness.beat(admin, uuid);
        await passTime(stores, 50_000);
      }
      assert.equal(hook.taken.length, 3, 'what is over is not told again');
    });

    it('is told of a lost region in place of its hosts', async (t) => {
      const { stores, start, clock } = await open(t);
      const hook = await hookServer(t);
      await start(planFor(hook, { select: { types: ['host.lapsed'] }, groupWait: '5s' }));
      for (let index = 0; index < 6; index += 1) {
        const { beat } = await joinHost(stores, `edge-${index}`, 'eu');
        await beat();
      }
      await passTime(stores, 60_000);
      await hook.came(1);
      await clock.advance(60_000);
      assert.deepEqual(titles(hook), ['region eu is lost: 6 of 6 hosts are silent']);
    });

    it('that registry.yaml names no more is forgotten, and begins anew when it comes back', async (t) => {
      const { release, start, clock, sinkOf } = await open(t);
      const hook = await hookServer(t);
      const first = await start(planFor(hook));
      await clock.settle();
      first.life.serving = false;
      await (await start({})).notifier.stop();
      await release('meanwhile');
      const { notifier } = await start(planFor(hook));
      await clock.settle();
      assert.deepEqual([(await sinkOf(notifier)).behind, hook.taken.length], [0, 0]);
    });

    it('is tested by its name only, and says what it answered', async (t) => {
      const { start } = await open(t);
      const hook = await hookServer(t);
      const { notifier } = await start(planFor(hook));
      hook.answer = (_taken, response) => response.writeHead(200).end('got it\n');
      const [tested] = await notifier.test({ ...admin, subject: 'ann' }, ['ops']);
      assert.deepEqual([tested?.ok, tested?.detail], [true, '200: got it']);
      assert.match(titles(hook)[0] ?? '', /^This is a test of the sink "ops" of Holdfast, asked for by ann/);
      hook.answer = (_taken, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end();
      const [moved] = await notifier.test(admin, null);
      assert.deepEqual([moved?.ok, hook.taken.length], [false, 2]);
      assert.match(moved?.detail ?? '', /answered 302; redirects are not followed/);
      await assert.rejects(notifier.test(admin, ['opps']), (error) => isAppError(error, 'not-found'));
    });
  });
}
