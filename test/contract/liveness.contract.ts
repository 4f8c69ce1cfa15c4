/** What service records promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { AppError } from '../../src/domain/error.ts';
import type { ServiceView } from '../../src/domain/liveness.ts';
import type { Store } from '../../src/store/engine/port.ts';
import { loadPageMax } from '../../src/store/liveness-sql.ts';
import { FakeClock } from '../helpers/clock.ts';
import { countStatements } from '../helpers/counted.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, openRegistryStores, passTime, type RegistryStores } from '../helpers/registry-stores.ts';

export type OpenStoreForTest = (t: TestContext, clock: FakeClock) => Promise<Store>;

const a = '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223';
const b = 'de541c29-ec54-49e9-ab9c-ea9d938e395c';
const alone = { takeover: false };
const all = { limit: 100 };

export function livenessContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
  }
  const web = (stores: RegistryStores, uuid = a, host = 'edge-1') =>
    stores.liveness.put(admin, uuid, { type: 'web', host, ttlMs: 5_000 }, alone);

  describe('LivenessStore.put()', () => {
    it('registers, then sets, and writes no event when nothing changed', async (t) => {
      const stores = await open(t);
      assert.equal((await web(stores)).created, true);
      assert.equal((await web(stores)).created, false);
      const { service } = await stores.liveness.put(admin, a, { region: 'eu' }, alone);
      assert.deepEqual([service.region, service.version], ['eu', 2]);
      assert.deepEqual(typesOf(stores), ['service.registered', 'service.set']);
    });

    it('refuses a second uuid on the same type and host, naming the holder (L13)', async (t) => {
      const stores = await open(t);
      await web(stores);
      await assert.rejects(web(stores, b), (error) => {
        assert(error instanceof AppError);
        assert.deepEqual([error.code, error.details['holder']], ['conflict', a]);
        return true;
      });
      await assert.rejects(stores.liveness.get(b), isCode('not-found'));
    });

    it('replaces the holder in one revision when told to, and the loser hears of it (L13)', async (t) => {
      const stores = await open(t);
      await web(stores);
      const before = stores.store.log.head().revision;
      await stores.liveness.put(admin, b, { type: 'web', host: 'edge-1' }, { takeover: true });
      assert.equal(stores.store.log.head().revision, before + 1);
      assert.deepEqual(typesOf(stores).slice(1), ['service.taken-over', 'service.registered']);
      await assert.rejects(stores.liveness.beat(admin, a), isCode('taken-over'));
      assert.deepEqual(await stores.liveness.beatMany(admin, [a, b]), [
        { uuid: a, code: 'taken-over' },
        { uuid: b, code: null, status: 'UP' },
      ]);
      await assert.rejects(stores.liveness.delete(admin, { uuid: a }), isCode('not-found'));
      assert.equal((await stores.liveness.isUp({ type: 'web', host: 'edge-1' })).up, true);
    });

    it('lets the loser register again elsewhere', async (t) => {
      const stores = await open(t);
      await web(stores);
      await stores.liveness.put(admin, b, { type: 'web', host: 'edge-1' }, { takeover: true });
      await web(stores, a, 'edge-2');
      assert.equal((await stores.liveness.beat(admin, a)).status, 'UP');
    });

    it('moves a record to a place that is free only', async (t) => {
      const stores = await open(t);
      await web(stores);
      await web(stores, b, 'edge-2');
      await assert.rejects(stores.liveness.put(admin, b, { host: 'edge-1' }, alone), isCode('conflict'));
      await stores.liveness.put(admin, b, { host: 'edge-3' }, alone);
      assert.equal((await stores.liveness.isUp({ type: 'web', host: 'edge-2' })).known, false);
      assert.equal((await stores.liveness.isUp({ type: 'web', host: 'edge-3' })).known, true);
    });

    it('keeps one winner among parallel registrations of one place', async (t) => {
      const stores = await open(t);
      const random = new SeededRandom(7);
      const tries = Array.from({ length: 30 }, () =>
        stores.liveness.put(admin, uuidOf(random), { type: 'web', host: 'edge-1' }, alone),
      );
      const settled = await Promise.allSettled(tries);
      assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1);
      assert.equal((await stores.liveness.list({}, all)).items.length, 1);
    });
  });

  describe('LivenessStore.beat()', () => {
    it('keeps a record UP for as long as it beats, without an event (L5)', async (t) => {
      const stores = await open(t);
      await web(stores);
      for (let second = 0; second < 30; second += 1) {
        await passTime(stores, 1_000);
        await stores.liveness.beat(admin, a);
        assert.equal((await stores.liveness.isUp({ uuid: a })).up, true);
      }
      assert.deepEqual(typesOf(stores), ['service.registered']);
    });

    it('control: without beats the same record lapses, once (L20)', async (t) => {
      const stores = await open(t);
      await web(stores);
      await passTime(stores, 30_000);
      assert.deepEqual(typesOf(stores), ['service.registered', 'service.lapsed']);
    });

    it('revives a lapsed record (L7)', async (t) => {
      const stores = await open(t);
      await web(stores);
      await passTime(stores, 6_000);
      assert.equal((await stores.liveness.isUp({ uuid: a })).up, false);
      assert.equal((await stores.liveness.beat(admin, a)).status, 'UP');
      assert.deepEqual(typesOf(stores), ['service.registered', 'service.lapsed', 'service.revived']);
    });

    it('leaves DOWN that was set, and is not-found for the unknown', async (t) => {
      const stores = await open(t);
      await web(stores);
      await stores.liveness.put(admin, a, { status: 'DOWN' }, alone);
      assert.equal((await stores.liveness.beat(admin, a)).status, 'DOWN');
      await assert.rejects(stores.liveness.beat(admin, b), isCode('not-found'));
    });
  });

  describe('LivenessStore.sweep()', () => {
    it('writes a lapse within 500 ms after its instant, and every answer shows it alike (L8)', async (t) => {
      const stores = await open(t);
      await web(stores);
      await passTime(stores, 4_750);
      assert.equal((await stores.liveness.isUp({ uuid: a })).up, true);
      await passTime(stores, 500);
      const { items } = await stores.liveness.list({ status: ['UP'] }, all);
      assert.deepEqual(items, []);
      assert.deepEqual(statusOf(await stores.liveness.get(a)), ['DOWN', 'lapsed']);
      const { up, known, reason } = await stores.liveness.isUp({ type: 'web', host: 'edge-1' });
      assert.deepEqual([up, known, reason], [false, true, 'lapsed']);
      assert.equal((await stores.liveness.list({ status: ['DOWN'] }, all)).items.length, 1);
    });
  });

  describe('LivenessStore.list()', () => {
    it('is OR inside a field and AND across, in the order of uuids, page by page (L10)', async (t) => {
      const stores = await open(t);
      const random = new SeededRandom(3);
      const wanted: ServiceView[] = [];
      for (let i = 0; i < 25; i += 1) {
        const region = ['eu', 'us', 'ap'][i % 3] ?? 'eu';
        const type = i % 2 === 0 ? 'web' : 'db';
        const { service } = await stores.liveness.put(
          admin,
          uuidOf(random),
          { type, host: `h${i}`, region },
          alone,
        );
        wanted.push(service);
      }
      const expected = wanted
        .filter(({ region, type }) => (region === 'eu' || region === 'us') && type === 'web')
        .map(({ uuid }) => uuid)
        .sort();
      const seen: string[] = [];
      for (let cursor: string | null | undefined; cursor !== null; ) {
        const page = await stores.liveness.list(
          { region: ['eu', 'us'], type: ['web'] },
          { limit: 2, ...(cursor === undefined ? {} : { cursor }) },
        );
        seen.push(...page.items.map(({ uuid }) => uuid));
        cursor = page.next;
      }
      assert.deepEqual(seen, expected);
      assert.equal((await stores.liveness.list({ host: ['h3', 'h4'] }, all)).items.length, 2);
      const none = await stores.liveness.list({ uuid: [expected[0] ?? ''], type: ['db'] }, all);
      assert.equal(none.items.length, 0);
    });

    it('finds a record in the region that it moved to, and there only (L11)', async (t) => {
      const stores = await open(t);
      await stores.liveness.put(admin, a, { type: 'web', host: 'h', region: 'east' }, alone);
      await stores.liveness.put(admin, a, { region: 'west' }, alone);
      assert.equal((await stores.liveness.list({ region: ['east'] }, all)).items.length, 0);
      assert.equal((await stores.liveness.list({ region: ['west'] }, all)).items.length, 1);
    });

    it('refuses a cursor that no list gave', async (t) => {
      const stores = await open(t);
      await assert.rejects(
        stores.liveness.list({}, { limit: 1, cursor: 'x' }),
        isCode('bad-request', 'cursor'),
      );
    });
  });

  describe('LivenessStore.delete()', () => {
    it('works by uuid and by type and host; unknown is not-found (L14)', async (t) => {
      const stores = await open(t);
      await web(stores);
      await stores.liveness.delete(admin, { type: 'web', host: 'edge-1' });
      assert.equal((await stores.liveness.isUp({ uuid: a })).known, false);
      await web(stores);
      await stores.liveness.delete(admin, { uuid: a });
      await assert.rejects(stores.liveness.delete(admin, { uuid: a }), isCode('not-found'));
      await assert.rejects(
        stores.liveness.delete(admin, { type: 'web', host: 'edge-1' }),
        isCode('not-found'),
      );
      const deleted = stores.events.filter(({ type }) => type === 'service.deleted');
      assert.equal(deleted.length, 2);
      assert.equal((deleted[0]?.body as { uuid: string } | undefined)?.uuid, a);
    });
  });

  describe('LivenessStore.maintain()', () => {
    it('stands in every answer and changes no status', async (t) => {
      const stores = await open(t);
      await web(stores);
      await stores.liveness.maintain(admin, a, { note: 'Failed disk /dev/sda' });
      const { up, maintenance } = await stores.liveness.isUp({ uuid: a });
      assert.deepEqual([up, maintenance?.note], [true, 'Failed disk /dev/sda']);
      assert.equal((await stores.liveness.list({}, all)).items[0]?.maintenance?.note, 'Failed disk /dev/sda');
      await stores.liveness.endMaintenance(admin, a);
      assert.equal((await stores.liveness.get(a)).maintenance, null);
      await assert.rejects(stores.liveness.maintain(admin, b, {}), isCode('not-found'));
    });
  });

  describe('LivenessStore after a restart', () => {
    it('has every record again, also of more than two pages, each once and where it was', async (t) => {
      const stores = await open(t);
      const count = 2 * loadPageMax + 1;
      const uuidOf = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
      const numbers = Array.from({ length: count }, (_, n) => n);
      await Promise.all(
        numbers.map((n) =>
          stores.liveness.put(
            admin,
            uuidOf(n),
            { type: `type-${n % 3}`, host: `host-${n}`, region: n % 2 === 0 ? 'eu' : null },
            alone,
          ),
        ),
      );
      const before = stores.liveness.records();
      const again = await openRegistryStores(stores.store, stores.clock, new SeededRandom(2));
      const byUuid = (x: { uuid: string }, y: { uuid: string }) => (x.uuid < y.uuid ? -1 : 1);
      assert.deepEqual(again.liveness.records().sort(byUuid), before.sort(byUuid));
      for (const n of numbers) {
        const { known } = await again.liveness.isUp({ type: `type-${n % 3}`, host: `host-${n}` });
        assert(known, `host-${n}`);
      }
      assert.equal((await again.liveness.isUp({ type: 'type-1', host: 'host-0' })).known, false);
    });

    it('keeps every status, unconfirmed, for one ttl; what is new gets no grace', async (t) => {
      const stores = await open(t);
      await web(stores);
      await stores.liveness.put(admin, b, { type: 'db', host: 'edge-1', status: 'DOWN' }, alone);
      await stores.liveness.flush();
      const again = await openRegistryStores(stores.store, stores.clock, new SeededRandom(2));
      assert.deepEqual(shown(await again.liveness.get(a)), ['UP', null, false]);
      assert.deepEqual(shown(await again.liveness.get(b)), ['DOWN', 'set', false]);
      assert.equal((await again.liveness.isUp({ uuid: a })).confirmed, false);
      await web(again, uuidOf(new SeededRandom(9)), 'edge-9');
      await passTime(again, 4_750);
      assert.deepEqual(shown(await again.liveness.get(a)), ['UP', null, false]);
      await passTime(again, 500);
      assert.deepEqual(shown(await again.liveness.get(a)), ['DOWN', 'lapsed', true]);
    });

    it('raises nobody from the dead: a lapsed record stays DOWN until it is heard', async (t) => {
      const stores = await open(t);
      await web(stores);
      await passTime(stores, 6_000);
      const again = await openRegistryStores(stores.store, stores.clock, new SeededRandom(2));
      assert.deepEqual(shown(await again.liveness.get(a)), ['DOWN', 'lapsed', false]);
      await passTime(again, 4_750);
      assert.deepEqual(shown(await again.liveness.get(a)), ['DOWN', 'lapsed', false]);
      await passTime(again, 10_000);
      assert.deepEqual(shown(await again.liveness.get(a)), ['DOWN', 'lapsed', true]);
      assert.deepEqual(typesOf(again), []);
      await again.liveness.beat(admin, a);
      assert.deepEqual(shown(await again.liveness.get(a)), ['UP', null, true]);
    });

    it('confirms what beats, and knows when it was last heard before', async (t) => {
      const stores = await open(t);
      await web(stores);
      const heardMs = stores.clock.now();
      await stores.liveness.flush();
      await stores.clock.advance(60_000);
      const again = await openRegistryStores(stores.store, stores.clock, new SeededRandom(2));
      assert.equal((await again.liveness.get(a)).lastSeenMs, heardMs);
      await again.liveness.beat(admin, a);
      assert.deepEqual(shown(await again.liveness.get(a)), ['UP', null, true]);
    });
  });

  describe('LivenessStore.flush()', () => {
    it('writes who was heard when, of many records in one statement, and of none twice', async (t) => {
      const clock = new FakeClock();
      const { store, counts } = countStatements(await openStore(t, clock));
      const stores = await openRegistryStores(store, clock, new SeededRandom(1));
      await web(stores, a);
      await web(stores, b, 'edge-2');
      await stores.liveness.flush();
      await clock.advance(1_000);
      await stores.liveness.beat(admin, a);
      await clock.advance(1_000);
      await stores.liveness.beat(admin, b);
      const writes = counts.length;
      await stores.liveness.flush();
      await stores.liveness.flush();
      assert.deepEqual(counts.slice(writes), [1]);
      const again = await openRegistryStores(store, clock, new SeededRandom(2));
      const seen = async (uuid: string) => clock.now() - ((await again.liveness.get(uuid)).lastSeenMs ?? 0);
      assert.deepEqual([await seen(a), await seen(b)], [1_000, 0]);
    });
  });

  describe('LivenessStore.isUp()', () => {
    it('of the unknown is an answer (L1)', async (t) => {
      const stores = await open(t);
      for (const query of [{ uuid: a }, { type: 'web', host: 'nowhere' }]) {
        const { up, known, stale, ageMs } = await stores.liveness.isUp(query);
        assert.deepEqual({ up, known, stale, ageMs }, { up: false, known: false, stale: false, ageMs: 0 });
      }
    });
  });
}

function uuidOf(random: SeededRandom): string {
  const hex = Buffer.from(random.bytes(16)).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function typesOf(stores: RegistryStores): string[] {
  return stores.events.map(({ type }) => type);
}

function statusOf({ status, reason }: ServiceView) {
  return [status, reason];
}

function shown({ status, reason, confirmed }: ServiceView) {
  return [status, reason, confirmed];
}

function isCode(code: string, field?: string) {
  return (error: unknown) =>
    error instanceof AppError && error.code === code && (field === undefined || error.field === field);
}
