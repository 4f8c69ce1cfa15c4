/** What happens when people change hosts, on any store: one revision with all that follows from it. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { AppError } from '../../src/domain/error.ts';
import { inventoryHash } from '../../src/domain/inventory.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import {
  admin,
  joinHost,
  openRegistryStores,
  passTime,
  type RegistryStores,
} from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const page = { limit: 1_000 };
const heldUuid = '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223';

export function hostChangeContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
  }

  /** edge-1 with a record that its agent holds, one of the registry's, and a component. */
  async function furnished(t: TestContext) {
    const stores = await open(t);
    const edge = await joinHost(stores, 'edge-1', 'eu');
    await edge.beat();
    await told(stores, edge, 1);
    const own = await stores.liveness.register(admin, { type: 'db', host: 'edge-1' }, { takeover: false });
    const components = [{ name: 'bash', version: '5', detector: 'dpkg' }];
    const checkIn = { base: null, hash: inventoryHash(components), components, removed: [] };
    await stores.hosts.checkIn(edge.caller, edge.id, checkIn);
    return { stores, edge, own, since: stores.events.length };
  }

  describe('HostStore.change()', () => {
    it('sets and removes labels and the region, tells what was before, and counts in the target', async (t) => {
      const { stores, edge, since } = await furnished(t);
      const serialBefore = await serialOf(stores, edge.id);
      const changed = await stores.hosts.change(
        admin,
        'edge-1',
        { labels: { env: 'prod', tier: 'web' }, region: 'us' },
        null,
      );
      assert.deepEqual(
        [changed.labels, changed.region, changed.version],
        [{ env: 'prod', tier: 'web' }, 'us', 2],
      );
      await stores.hosts.change(admin, edge.id.toUpperCase(), { labels: { tier: null, rack: '7' } }, [2]);
      assert.deepEqual((await stores.hosts.get('edge-1')).labels, { env: 'prod', rack: '7' });
      assert.deepEqual(
        stores.events.slice(since).map(({ type, before }) => [type, before]),
        [
          ['host.labelled', { region: 'eu', labels: {} }],
          ['host.labelled', { labels: { env: 'prod', tier: 'web' } }],
        ],
      );
      assert.equal(await serialOf(stores, edge.id), serialBefore + 2);
      await reloaded(stores);
      assert.deepEqual((await stores.hosts.get('edge-1')).labels, { env: 'prod', rack: '7' });
    });

    it('keeps a caller inside its scope, also by changes at once that leave it together only', async (t) => {
      const { stores, edge } = await furnished(t);
      await stores.hosts.change(admin, edge.id, { labels: { a: '1', b: '1' } }, null);
      const caller = { role: 'operator', subject: 'scoped', scope: { hosts: '(a=1 + b=1)' } } as const;
      const change = (labels: Record<string, null>) =>
        stores.hosts.change(caller, edge.id, { labels }, null).then(
          () => 'done',
          (error: AppError) => error.code,
        );
      assert.deepEqual(await Promise.all([change({ a: null }), change({ b: null })]), ['done', 'forbidden']);
      assert.deepEqual((await stores.hosts.get(edge.id)).labels, { b: '1' });
    });

    it('writes nothing when all is so already', async (t) => {
      const { stores, edge, since } = await furnished(t);
      const revision = stores.store.log.head().revision;
      for (const patch of [{}, { name: 'EDGE-1' }, { region: 'eu', labels: { none: null } }, { version: 1 }])
        assert.equal((await stores.hosts.change(admin, edge.id, patch, null)).version, 1);
      assert.equal(stores.store.log.head().revision, revision);
      assert.equal(stores.events.length, since);
    });

    it('renames: records, components and the subject of its credential follow the name', async (t) => {
      const { stores, edge, own, since } = await furnished(t);
      const patch = { name: 'Web_1', labels: { env: 'prod' } };
      const renamed = await stores.hosts.change(admin, 'edge-1', patch, null);
      assert.deepEqual([renamed.name, renamed.version], ['web-1', 3]);
      const events = stores.events.slice(since);
      assert.equal(new Set(events.map(({ position }) => position)).size, 1);
      assert.deepEqual(
        events.map(({ type, host, before }) => [type, host, before]),
        [
          ['host.renamed', 'web-1', { name: 'edge-1' }],
          ['host.labelled', 'web-1', { labels: {} }],
          ...[heldUuid, own.uuid].sort().map(() => ['service.set', 'web-1', { host: 'edge-1' }]),
        ],
      );
      for (const uuid of [heldUuid, own.uuid]) assert.equal((await stores.liveness.get(uuid)).host, 'web-1');
      assert.equal((await stores.liveness.isUp({ type: 'web', host: 'web-1' })).up, true);
      assert.equal((await stores.liveness.isUp({ type: 'web', host: 'edge-1' })).known, false);
      assert.equal((await stores.inventory.ofHost('web-1', page)).items.length, 1);
      await assert.rejects(stores.hosts.get('edge-1'), isCode('not-found'));
      // The agent goes on, whatever name it still writes into its reports.
      await told(stores, edge, 2, 'DOWN');
      assert.equal((await stores.liveness.get(heldUuid)).status, 'DOWN');
      await passTime(stores, 40_000);
      assert.equal((await stores.liveness.get(heldUuid)).reason, 'host');
      assert.equal((await stores.hosts.get('web-1')).status, 'DOWN');
      await reloaded(stores);
      assert.equal((await stores.hosts.get('web-1')).id, edge.id);
    });

    it('names its credential anew, and keeps open watches', async (t) => {
      const stores = await open(t);
      const request = { name: 'edge-1', region: null, machineId: 'm' };
      const { credential } = await stores.hosts.join(admin, request);
      const before = stores.access.authenticate(credential);
      await stores.hosts.change(admin, 'edge-1', { name: 'web-1' }, null);
      assert.equal(stores.access.authenticate(credential).subject, 'host:web-1');
      assert.equal(stores.access.stillValid(before), true);
      await stores.access.load();
      assert.equal(stores.access.authenticate(credential).subject, 'host:web-1');
    });

    it('refuses a name that is taken, an id, and one under which something is registered; nothing is half done', async (t) => {
      const { stores, edge } = await furnished(t);
      const other = await joinHost(stores, 'edge-2');
      const rename = (name: string) =>
        stores.hosts.change(admin, 'edge-1', { name, labels: { env: 'prod' } }, null);
      const revision = stores.store.log.head().revision;
      await assert.rejects(rename('edge-2'), isCode('conflict', 'name'));
      await assert.rejects(rename(other.id), isCode('bad-request', 'name'));
      await assert.rejects(rename(' '), isCode('bad-request', 'name'));
      const { uuid } = await stores.liveness.register(
        admin,
        { type: 'web', host: 'never-joined' },
        { takeover: false },
      );
      await assert.rejects(
        rename('never-joined'),
        (error) => isCode('conflict', 'name')(error) && (error as AppError).details['holder'] === uuid,
      );
      assert.equal(stores.store.log.head().revision, revision + 1);
      const { name, labels } = await stores.hosts.get(edge.id);
      assert.deepEqual([name, labels], ['edge-1', {}]);
    });

    it('refuses a stale version, as conflict in the body and as precondition-failed in If-Match', async (t) => {
      const { stores } = await furnished(t);
      const labels = { env: 'prod' };
      const change = (version: number | undefined, condition: number[] | null) =>
        stores.hosts.change(
          admin,
          'edge-1',
          { labels, ...(version === undefined ? {} : { version }) },
          condition,
        );
      await assert.rejects(change(2, null), isCode('conflict', 'version'));
      await assert.rejects(change(undefined, [2, 3]), isCode('precondition-failed', 'if-match'));
      await assert.rejects(change(undefined, []), isCode('precondition-failed', 'if-match'));
      await assert.rejects(stores.hosts.remove(admin, 'edge-1', [2]), isCode('precondition-failed'));
      const both = [change(1, null), change(1, null)];
      const [first, second] = await Promise.allSettled(both);
      assert.deepEqual([first?.status, second?.status], ['fulfilled', 'rejected']);
    });

    it('bounds the labels of a host, not of a patch', async (t) => {
      const { stores } = await furnished(t);
      const many = (from: number, count: number, value: string | null = 'v') =>
        Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${from + index}`, value]));
      await stores.hosts.change(admin, 'edge-1', { labels: many(0, limits.labelsMax) }, null);
      await assert.rejects(
        stores.hosts.change(admin, 'edge-1', { labels: { one: 'more' } }, null),
        isCode('unprocessable', 'labels'),
      );
      const turned = { ...many(0, limits.labelsMax, null), ...many(100, limits.labelsMax) };
      const { labels } = await stores.hosts.change(admin, 'edge-1', { labels: turned }, null);
      assert.equal(Object.keys(labels).length, limits.labelsMax);
    });

    it('by many at once: each on what the one before left', async (t) => {
      const { stores, edge } = await furnished(t);
      const changes = Array.from({ length: 50 }, (_, index) =>
        stores.hosts.change(admin, edge.id, { name: `name-${index}`, labels: { [`k${index}`]: 'v' } }, null),
      );
      await Promise.all(changes);
      const { name, labels, version } = await stores.hosts.get(edge.id);
      assert.deepEqual([name, Object.keys(labels).length, version], ['name-49', 50, 101]);
      assert.equal((await stores.liveness.get(heldUuid)).host, 'name-49');
      for (let index = 0; index < 49; index += 1) assert.equal(stores.hosts.find(`name-${index}`), undefined);
    });
  });

  describe('HostStore.remove()', () => {
    it('removes the host, its records, components and credentials in one revision', async (t) => {
      const { stores, edge, own, since } = await furnished(t);
      const request = { name: 'edge-9', region: null, machineId: 'm9' };
      const { credential } = await stores.hosts.join(admin, request);
      const caller = stores.access.authenticate(credential);
      await stores.hosts.remove(admin, 'edge-9', null);
      assert.throws(() => stores.access.authenticate(credential), isCode('unauthenticated'));
      assert.equal(stores.access.stillValid(caller), false);

      const from = stores.events.length;
      await stores.hosts.remove(admin, 'edge-1', [1]);
      const events = stores.events.slice(from);
      assert.equal(new Set(events.map(({ position }) => position)).size, 1);
      assert.deepEqual(
        events.map(({ type }) => type),
        ['host.removed', 'service.deleted', 'service.deleted', 'component.removed'],
      );
      for (const uuid of [heldUuid, own.uuid])
        await assert.rejects(stores.liveness.get(uuid), isCode('not-found'));
      await assert.rejects(stores.inventory.ofHost('edge-1', page), isCode('not-found'));
      assert.deepEqual((await stores.inventory.list({}, page)).items, []);
      await assert.rejects(stores.hosts.get(edge.id), isCode('not-found'));
      await assert.rejects(edge.beat(), isCode('not-found'));
      await assert.rejects(stores.hosts.remove(admin, 'edge-1', null), isCode('not-found'));
      await passTime(stores, 60_000);
      assert.deepEqual(stores.events.slice(from + 4), []);
      await reloaded(stores);
      assert.deepEqual((await stores.hosts.list({}, page)).items, []);
      assert.ok(since > 0);
    });

    it('leaves a name that another host may have, and a machine that may come back as a new one', async (t) => {
      const { stores, edge } = await furnished(t);
      await stores.hosts.remove(admin, edge.id, null);
      const { id } = await stores.hosts.join(admin, {
        name: 'edge-1',
        region: null,
        machineId: edge.machineId,
      });
      assert.notEqual(id, edge.id);
      assert.deepEqual((await stores.liveness.list({}, page)).items, []);
    });

    it('while it beats, lapses and reports: whoever is late is not-found, and nothing else breaks', async (t) => {
      const { stores, edge } = await furnished(t);
      const all = await Promise.allSettled([
        stores.hosts.remove(admin, edge.id, null),
        edge.beat({ leaving: true }),
        told(stores, edge, 2, 'DOWN'),
        stores.hosts.lapse(edge.id),
        stores.hosts.revive(edge.id),
        stores.hosts.change(admin, edge.id, { labels: { env: 'prod' } }, null),
        stores.hosts.flush(),
      ]);
      assert.deepEqual(
        all.map((outcome) => (outcome.status === 'fulfilled' ? 'done' : (outcome.reason as AppError).code)),
        ['done', 'not-found', 'not-found', 'done', 'done', 'not-found', 'done'],
      );
      await passTime(stores, 1_000);
      assert.equal(stores.hosts.find(edge.id), undefined);
    });
  });

  describe('HostStore.revoke()', () => {
    it('ends all credentials, keeps the host and its records, and lets it join again', async (t) => {
      const stores = await open(t);
      const request = { name: 'edge-1', region: null, machineId: 'm' };
      const first = await stores.hosts.join(admin, request);
      const caller = stores.access.authenticate(first.credential);
      await stores.hosts.revoke(admin, 'edge-1');
      assert.throws(() => stores.access.authenticate(first.credential), isCode('unauthenticated'));
      assert.equal(stores.access.stillValid(caller), false);
      assert.equal((await stores.hosts.get('edge-1')).revokedAtMs, stores.clock.now());
      await stores.hosts.revoke(admin, first.id);
      assert.deepEqual(
        stores.events.filter(({ type }) => type.startsWith('host.')).map(({ type }) => type),
        ['host.joined', 'host.revoked'],
      );
      await reloaded(stores);
      assert.notEqual((await stores.hosts.get('edge-1')).revokedAtMs, null);
      const again = await stores.hosts.join(admin, request);
      assert.equal(again.id, first.id);
      assert.equal((await stores.hosts.get('edge-1')).revokedAtMs, null);
      assert.equal(stores.access.authenticate(again.credential).hostId, first.id);
      await assert.rejects(stores.hosts.revoke(admin, 'edge-2'), isCode('not-found'));
    });
  });

  describe('a report of what the host says of itself', () => {
    it('counts the last of a batch, and only so many over time', async (t) => {
      const { stores, edge, since } = await furnished(t);
      let seq = 1;
      const say = async (...racks: string[]) => {
        const items = racks.map((rack, n) => ({
          seq: seq + n + 1,
          type: 'host' as const,
          atMs: 0,
          body: { self: { rack } },
        }));
        ({ acked: seq } = await stores.hosts.report(edge.caller, edge.id, { epoch: 1, items }));
        return (await stores.hosts.get('edge-1')).self['rack'];
      };
      assert.equal(await say('r0', 'r1', 'r2'), 'r2');
      for (let n = 0; n < 9; n += 1) assert.equal(await say(`s${n}`), `s${n}`);
      await assert.rejects(say('too-many'), isCode('rate-limited'));
      // What changes nothing costs nothing; and time makes room again, also for the report that waited.
      assert.equal(await say('s8'), 's8');
      await stores.clock.advance(60_000);
      assert.equal(await say('later'), 'later');
      const told = stores.events.slice(since).filter(({ type }) => type === 'host.labelled');
      assert.equal(told.length, 11);
    });

    it('is told once, selects by @self, and does not count in the target', async (t) => {
      const { stores, edge, since } = await furnished(t);
      const serial = await serialOf(stores, edge.id);
      const say = (seq: number, self: unknown) =>
        stores.hosts.report(edge.caller, edge.id, {
          epoch: 1,
          items: [{ seq, type: 'host', atMs: 0, body: { self } }],
        });
      await say(2, { rack: 'r7' });
      await say(3, { rack: 'r7' });
      const two = ['r8', 'r7'].map((rack, index) => ({
        seq: 4 + index,
        type: 'host' as const,
        atMs: 0,
        body: { self: { rack } },
      }));
      await stores.hosts.report(edge.caller, edge.id, { epoch: 1, items: two });
      assert.deepEqual(
        stores.events.slice(since).map(({ type, before }) => [type, before]),
        [['host.labelled', { self: {} }]],
      );
      assert.equal((await stores.hosts.get('edge-1')).version, 2);
      assert.deepEqual((await stores.hosts.get('edge-1')).self, { rack: 'r7' });
      assert.equal(await serialOf(stores, edge.id), serial);
      await assert.rejects(say(6, { 'a b': 'x' }), isCode('bad-request', 'items/0/body/self'));
      await assert.rejects(say(6, ['x']), isCode('bad-request', 'items/0/body/self'));
      await reloaded(stores);
      assert.deepEqual((await stores.hosts.get('edge-1')).self, { rack: 'r7' });
    });
  });
}

function told(
  stores: RegistryStores,
  edge: Awaited<ReturnType<typeof joinHost>>,
  seq: number,
  status: 'UP' | 'DOWN' = 'UP',
) {
  const reason = status === 'UP' ? null : 'set';
  const body = { uuid: heldUuid, type: 'web', host: 'edge-1', region: null, status, reason, ttl: 60 };
  return stores.hosts.report(edge.caller, edge.id, {
    epoch: 1,
    items: [{ seq, type: 'service', atMs: 0, body }],
  });
}

async function serialOf({ store }: RegistryStores, id: string): Promise<number> {
  const rows = await store.read((session) =>
    session.all({ sql: 'SELECT id, target_serial AS serial FROM hosts', bind: () => [] }, {}),
  );
  return Number((rows as { id: string; serial: number }[]).find((row) => row.id === id)?.serial);
}

/** What a process that starts now would know. */
async function reloaded({ access, liveness, hosts }: RegistryStores): Promise<void> {
  await access.load();
  await liveness.load();
  await hosts.load();
}

function isCode(code: string, field?: string) {
  return (error: unknown) =>
    error instanceof AppError && error.code === code && (field === undefined || error.field === field);
}
