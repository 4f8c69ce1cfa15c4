import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { AgentLiveness, type RemoteLiveness } from '../../src/agent/liveness.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import type { IsUp, ServiceView } from '../../src/domain/liveness.ts';
import type { Page } from '../../src/domain/services.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { LivenessStore } from '../../src/store/liveness.ts';
import { encodeCursor } from '../../src/store/page.ts';
import { RemoteAnswers } from '../../src/store/remote-answers.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { never } from './fleet.ts';

const uuidOf = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const options = { takeover: false };

function viewOf(n: number, more: Partial<ServiceView> = {}): ServiceView {
  return {
    uuid: uuidOf(n),
    type: `t${n}`,
    host: 'other',
    region: null,
    status: 'UP',
    reason: null,
    ttlMs: 60_000,
    maintenance: null,
    heldBy: 'registry',
    told: null,
    version: 1,
    confirmed: true,
    lastSeenMs: 1,
    ...more,
  };
}

/** A registry written by hand: it has these records, or does not answer. */
class FakeRegistry implements RemoteLiveness {
  records: ServiceView[] = [];
  mode: 'up' | 'down' | 'hung' = 'up';
  asked = 0;
  nowMs = 1_000_000;

  get(uuid: string): Promise<ServiceView> {
    return this.#answer(() => {
      const record = this.records.find((one) => one.uuid === uuid);
      if (record === undefined) throw new AppError('not-found', 'no such record');
      return record;
    });
  }

  isUpMany(queries: Parameters<RemoteLiveness['isUpMany']>[0]): Promise<IsUp[]> {
    return this.#answer(() =>
      queries.map((query) => {
        const record = this.records.find((one) =>
          'uuid' in query ? one.uuid === query.uuid : one.type === query.type && one.host === query.host,
        );
        const common = { maintenance: null, confirmed: true, stale: false, asOfMs: this.nowMs, ageMs: 0 };
        if (record === undefined) return { ...common, up: false, known: false, reason: null };
        return { ...common, up: record.status === 'UP', known: true, reason: record.reason };
      }),
    );
  }

  list(
    filter: Parameters<RemoteLiveness['list']>[0],
    page: Parameters<RemoteLiveness['list']>[1],
  ): Promise<Page<ServiceView>> {
    return this.#answer(() => {
      const after =
        page.cursor === undefined
          ? ''
          : (JSON.parse(Buffer.from(page.cursor, 'base64url').toString())[0] as string);
      const all = this.records
        .filter(
          (one) =>
            one.uuid > after &&
            (filter.host?.includes(one.host) ?? true) &&
            (filter.status?.includes(one.status) ?? true),
        )
        .sort((a, b) => (a.uuid < b.uuid ? -1 : 1));
      const items = all.slice(0, page.limit);
      const next = all.length > page.limit ? encodeCursor([items.at(-1)?.uuid ?? '']) : null;
      return { items, next, asOfMs: this.nowMs, position: { epoch: 1, revision: 1 }, stale: false };
    });
  }

  async #answer<T>(answer: () => T): Promise<T> {
    this.asked += 1;
    if (this.mode === 'hung') return never();
    if (this.mode === 'down') throw new AppError('unavailable', 'nobody listens there');
    return answer();
  }
}

async function open(t: TestContext, how: { registry?: boolean; dataDir?: string; answersMax?: number } = {}) {
  const clock = new FakeClock();
  const store = await openStore({
    role: 'agent',
    dataDir: how.dataDir ?? tempFolder(t),
    clock,
    limits: { ballastBytes: 0 },
  });
  t.after(() => store.close());
  const own = await LivenessStore.open({ store, clock, random: new SeededRandom(1), heldBy: 'agent' });
  const answers = await RemoteAnswers.open({
    store,
    clock,
    ...(how.answersMax === undefined ? {} : { answersMax: how.answersMax }),
  });
  const registry = new FakeRegistry();
  const liveness = new AgentLiveness({
    clock,
    own,
    hostName: () => 'edge-1',
    registry:
      how.registry === false ? null : { url: () => 'https://registry.test', liveness: () => registry },
    answers,
  });
  return { clock, store, own, answers, registry, liveness };
}

const all = { limit: 100 };

suite("AgentLiveness: the host's own records", () => {
  test('fills in its own host and answers without asking anyone', async (t) => {
    const { liveness, registry } = await open(t);
    registry.mode = 'down';
    const { uuid, host } = await liveness.register(systemCaller, { type: 'web' }, options);
    assert.equal(host, 'edge-1');
    const put = await liveness.put(
      systemCaller,
      uuidOf(1),
      { type: 'db', host: 'EDGE_1'.replace('_', '-') },
      options,
    );
    assert.equal(put.service.host, 'edge-1');
    assert.equal((await liveness.isUp({ uuid })).up, true);
    const { known, stale, ageMs } = await liveness.isUp({ type: 'web', host: 'edge-1' });
    assert.deepEqual([known, stale, ageMs], [true, false, 0]);
    assert.equal((await liveness.list({ host: ['edge-1'] }, all)).items.length, 2);
    assert.equal((await liveness.beat(systemCaller, uuid)).uuid, uuid);
    await liveness.delete(systemCaller, { type: 'web', host: 'edge-1' });
    assert.equal(registry.asked, 0);
  });

  test("refuses another host's record and names the registry that takes it", async (t) => {
    const { liveness } = await open(t);
    for (const work of [
      liveness.register(systemCaller, { type: 'web', host: 'other' }, options),
      liveness.put(systemCaller, uuidOf(1), { type: 'web', host: 'other' }, options),
      liveness.delete(systemCaller, { type: 'web', host: 'other' }),
    ]) {
      await assert.rejects(work, {
        code: 'unprocessable',
        field: 'host',
        message: /https:\/\/registry\.test/,
      });
    }
  });

  test('an unknown uuid without a type is not found', async (t) => {
    const { liveness } = await open(t);
    await assert.rejects(liveness.put(systemCaller, uuidOf(1), { status: 'DOWN' }, options), {
      code: 'not-found',
    });
  });

  test('knows a record that a local program registered at the registry itself', async (t) => {
    const { liveness, registry } = await open(t);
    registry.records = [viewOf(1, { host: 'edge-1' })];
    assert.equal((await liveness.isUp({ type: 't1', host: 'edge-1' })).up, true);
    registry.mode = 'down';
    const kept = await liveness.isUp({ type: 't1', host: 'edge-1' });
    assert.deepEqual([kept.up, kept.stale], [true, true]);
    assert.equal(
      (await liveness.isUp({ type: 'never', host: 'edge-1' })).known,
      false,
      'of its own host it knows all there is',
    );
  });
});

suite('AgentLiveness: other hosts', () => {
  test('asks, and remembers with age and time for when it cannot ask', async (t) => {
    const { liveness, registry, clock } = await open(t);
    registry.records = [viewOf(1), viewOf(2, { status: 'DOWN', reason: 'lapsed' })];
    const fresh = await liveness.isUp({ type: 't1', host: 'other' });
    assert.deepEqual([fresh.up, fresh.stale, fresh.ageMs], [true, false, 0]);
    await liveness.isUp({ uuid: uuidOf(2) });
    await clock.advance(90_000);
    registry.mode = 'down';
    assert.deepEqual(await liveness.isUp({ type: 't1', host: 'other' }), {
      ...fresh,
      stale: true,
      ageMs: 90_000,
    });
    const second = await liveness.isUp({ uuid: uuidOf(2) });
    assert.deepEqual([second.up, second.known, second.reason, second.stale], [false, true, 'lapsed', true]);
  });

  test('an age never goes back when the wall clock does', async (t) => {
    const { liveness, registry, clock } = await open(t);
    registry.records = [viewOf(1)];
    await liveness.isUp({ uuid: uuidOf(1) });
    registry.mode = 'down';
    await clock.advance(60_000);
    clock.step(-3_600_000);
    assert.equal((await liveness.isUp({ uuid: uuidOf(1) })).ageMs, 60_000);
    clock.step(7_200_000);
    assert.equal((await liveness.isUp({ uuid: uuidOf(1) })).ageMs, 60_000 + 3_600_000, 'the machine slept');
  });

  test('remembers that a service is unknown, too', async (t) => {
    const { liveness, registry } = await open(t);
    assert.equal((await liveness.isUp({ uuid: uuidOf(9) })).known, false);
    registry.mode = 'down';
    const { known, stale } = await liveness.isUp({ uuid: uuidOf(9) });
    assert.deepEqual([known, stale], [false, true]);
  });

  test('is unavailable, and never down, when it can neither ask nor remember', async (t) => {
    const { liveness, registry } = await open(t);
    registry.records = [viewOf(1)];
    await liveness.isUp({ uuid: uuidOf(1) });
    registry.mode = 'down';
    await assert.rejects(liveness.isUp({ type: 'x', host: 'other' }), {
      code: 'unavailable',
      message: /nobody listens there/,
    });
    await assert.rejects(liveness.isUpMany([{ uuid: uuidOf(1) }, { uuid: uuidOf(2) }]), {
      code: 'unavailable',
      field: 'items/1',
    });
    await assert.rejects(liveness.get(uuidOf(2)), { code: 'unavailable' });
    await assert.rejects(liveness.list({ host: ['other'] }, all), { code: 'unavailable' });
  });

  test('waits two seconds for a registry that hangs, and not at all behind 64 that wait', async (t) => {
    const { liveness, registry, clock } = await open(t);
    registry.records = [viewOf(1)];
    await liveness.isUp({ uuid: uuidOf(1) });
    registry.mode = 'hung';
    const waiting = Array.from({ length: 64 }, () => liveness.isUp({ uuid: uuidOf(1) }));
    assert.equal((await liveness.isUp({ uuid: uuidOf(1) })).stale, true);
    await clock.advance(2_000);
    for (const { stale, up } of await Promise.all(waiting)) assert.deepEqual([stale, up], [true, true]);
    registry.mode = 'up';
    assert.equal((await liveness.isUp({ uuid: uuidOf(1) })).stale, false);
  });

  test('asks once for many', async (t) => {
    const { liveness, registry } = await open(t);
    await liveness.put(systemCaller, uuidOf(1), { type: 'web' }, options);
    registry.records = [viewOf(2), viewOf(3, { status: 'DOWN', reason: 'set' })];
    const answers = await liveness.isUpMany([
      { uuid: uuidOf(2) },
      { uuid: uuidOf(1) },
      { uuid: uuidOf(3) },
      { uuid: uuidOf(4) },
    ]);
    assert.deepEqual(
      answers.map(({ up, known }) => [up, known]),
      [
        [true, true],
        [true, true],
        [false, true],
        [false, false],
      ],
    );
    assert.equal(registry.asked, 1);
  });

  test('get() gives what is remembered as unconfirmed, and forgets what the registry no longer knows', async (t) => {
    const { liveness, registry } = await open(t);
    registry.records = [viewOf(1)];
    assert.equal((await liveness.get(uuidOf(1))).confirmed, true);
    registry.mode = 'down';
    assert.equal((await liveness.get(uuidOf(1))).confirmed, false);
    registry.mode = 'up';
    registry.records = [];
    await assert.rejects(liveness.get(uuidOf(1)), { code: 'not-found' });
    registry.mode = 'down';
    await assert.rejects(liveness.get(uuidOf(1)), { code: 'unavailable' });
  });

  test('remembers across a restart, and no more than its limit', async (t) => {
    const dataDir = tempFolder(t);
    const first = await open(t, { dataDir, answersMax: 3 });
    for (let n = 1; n <= 5; n += 1) {
      first.registry.records = [viewOf(n)];
      await first.liveness.isUp({ uuid: uuidOf(n) });
      await first.clock.advance(1_000);
    }
    await first.answers.flush();
    await first.store.close();
    const second = await open(t, { dataDir, answersMax: 3 });
    await second.clock.advance(60_000);
    second.registry.mode = 'down';
    for (const n of [3, 4, 5]) assert.equal((await second.liveness.isUp({ uuid: uuidOf(n) })).stale, true);
    for (const n of [1, 2])
      await assert.rejects(second.liveness.isUp({ uuid: uuidOf(n) }), { code: 'unavailable' });
  });
});

suite('AgentLiveness.list()', () => {
  async function mixed(t: TestContext) {
    const world = await open(t);
    for (const n of [2, 5, 8, 11])
      await world.liveness.put(systemCaller, uuidOf(n), { type: `own${n}` }, options);
    // The registry's copies of our own are older than ours.
    const copies = [2, 5].map((n) => viewOf(n, { host: 'edge-1', heldBy: 'agent', type: 'stale' }));
    world.registry.records = [...[1, 3, 4, 6, 7, 9, 10].map((n) => viewOf(n)), ...copies];
    return world;
  }

  for (const limit of [1, 2, 3, 4, 5, 11, 100]) {
    test(`merges both by uuid, each once, ${limit} at a time`, async (t) => {
      const { liveness } = await mixed(t);
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const page: Page<ServiceView> = await liveness.list(
          {},
          { limit, ...(cursor === null ? {} : { cursor }) },
        );
        assert(page.items.length <= limit);
        assert.deepEqual([page.position, page.stale], [null, false]);
        seen.push(...page.items.map(({ uuid }) => uuid));
        assert(page.items.every(({ type }) => type !== 'stale'));
        cursor = page.next;
      } while (cursor !== null);
      assert.deepEqual(
        seen,
        Array.from({ length: 11 }, (_, i) => uuidOf(i + 1)),
      );
    });
  }

  test('filters on both sides', async (t) => {
    const { liveness, registry } = await mixed(t);
    await liveness.put(systemCaller, uuidOf(2), { status: 'DOWN' }, options);
    registry.records = registry.records.map((one) =>
      one.uuid === uuidOf(3) ? { ...one, status: 'DOWN' } : one,
    );
    assert.deepEqual(
      (await liveness.list({ status: ['DOWN'] }, all)).items.map(({ uuid }) => uuid),
      [uuidOf(2), uuidOf(3)],
    );
  });

  test('is what it has and remembers, and stale, while the registry does not answer', async (t) => {
    const { liveness, registry } = await mixed(t);
    await liveness.get(uuidOf(3));
    await liveness.get(uuidOf(9));
    registry.mode = 'down';
    const page = await liveness.list({}, all);
    assert.deepEqual(
      page.items.map(({ uuid, confirmed }) => [uuid, confirmed]),
      [
        [uuidOf(2), true],
        [uuidOf(3), false],
        [uuidOf(5), true],
        [uuidOf(8), true],
        [uuidOf(9), false],
        [uuidOf(11), true],
      ],
    );
    assert.equal(page.stale, true);
    assert.deepEqual(
      (await liveness.list({ host: ['other'], type: ['t9'] }, all)).items.map(({ uuid }) => uuid),
      [uuidOf(9)],
    );
  });
});

test('AgentLiveness without a registry is complete in itself: the rest is unknown', async (t) => {
  const { liveness } = await open(t, { registry: false });
  await liveness.put(systemCaller, uuidOf(1), { type: 'web' }, options);
  const { known, up, stale } = await liveness.isUp({ type: 'x', host: 'other' });
  assert.deepEqual([known, up, stale], [false, false, false]);
  await assert.rejects(liveness.get(uuidOf(2)), { code: 'not-found' });
  const { items, position } = await liveness.list({}, all);
  assert.equal(items.length, 1);
  assert.notEqual(position, null);
  await assert.rejects(liveness.put(systemCaller, uuidOf(2), { type: 'x', host: 'other' }, options), {
    code: 'unprocessable',
  });
});
