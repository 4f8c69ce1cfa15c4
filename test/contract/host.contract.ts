/** What hosts promise, on any store: joining, beats, check-ins, reports, and no false DOWN. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { AppError } from '../../src/domain/error.ts';
import { type CheckIn, type Component, inventoryHash } from '../../src/domain/inventory.ts';
import { serviceDocument } from '../../src/domain/liveness.ts';
import { keylessCredentialLifeMs } from '../../src/domain/token.ts';
import { FakeClock } from '../helpers/clock.ts';
import { countStatements } from '../helpers/counted.ts';
import { SeededRandom } from '../helpers/random.ts';
import {
  admin,
  joinHost,
  openRegistryStores,
  passTime,
  type RegistryStores,
} from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const all = { limit: 1_000 };
const uuid = '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223';

export function hostContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
  }

  describe('HostStore.join()', () => {
    it('admits a host under its name and gives it a credential that speaks for it', async (t) => {
      const stores = await open(t);
      const request = { name: 'Edge_1', region: 'eu', machineId: 'm' };
      const { id, name, credential } = await stores.hosts.join(admin, request);
      assert.equal(name, 'edge-1');
      const { role, subject, hostId } = stores.access.authenticate(credential);
      assert.deepEqual([role, subject, hostId], ['host', 'host:edge-1', id]);
      assert.deepEqual(
        stores.events.map(({ type, host }) => [type, host]),
        [['host.joined', 'edge-1']],
      );
      assert.equal((await stores.hosts.get('edge-1')).id, id);
    });

    it('gives a taken name the last digits of the id', async (t) => {
      const stores = await open(t);
      await joinHost(stores, 'edge-1');
      const request = { name: 'edge-1', region: null, machineId: 'other' };
      const { id, name } = await stores.hosts.join(admin, request);
      assert.equal(name, `edge-1-${id.slice(-4)}`);
    });

    it('knows a machine that comes back, and ends its old credential', async (t) => {
      const stores = await open(t);
      const request = { name: 'edge-1', region: null, machineId: 'm' };
      const first = await stores.hosts.join(admin, request);
      await passTime(stores, 30_000);
      const second = await stores.hosts.join(admin, request);
      assert.equal(second.id, first.id);
      assert.throws(() => stores.access.authenticate(first.credential), isCode('unauthenticated'));
      assert.equal(stores.access.authenticate(second.credential).hostId, first.id);
    });

    it('knows a machine that had to take another name, and one that writes its name differently', async (t) => {
      const stores = await open(t);
      await joinHost(stores, 'edge-1');
      const first = await stores.hosts.join(admin, { name: 'edge-1', region: null, machineId: 'm2' });
      const again = await stores.hosts.join(admin, { name: 'edge-1', region: null, machineId: 'm2' });
      assert.deepEqual([again.id, again.name], [first.id, first.name]);
      const odd = await stores.hosts.join(admin, { name: 'My_Host', region: null, machineId: 'm3' });
      const same = await stores.hosts.join(admin, { name: 'My_Host', region: null, machineId: 'm3' });
      assert.deepEqual([same.id, same.name], [odd.id, 'my-host']);
    });

    it('tells of a caller whether its credential is still good, also once memory was read anew', async (t) => {
      const stores = await open(t);
      const { access, clock } = stores;
      const request = { name: 'edge-1', region: null, machineId: 'm' };
      const before = access.authenticate((await stores.hosts.join(admin, request)).credential);
      assert.equal(access.stillValid(before), true);
      const after = access.authenticate((await stores.hosts.join(admin, request)).credential);
      assert.deepEqual([access.stillValid(before), access.stillValid(after)], [false, true]);
      await access.load();
      assert.deepEqual([access.stillValid(before), access.stillValid(after)], [false, true]);
      clock.stall(keylessCredentialLifeMs);
      assert.equal(access.stillValid(after), false);
      assert.equal(access.stillValid(admin), true);
    });

    it('takes a second agent on a machine whose first one beats for another host', async (t) => {
      const stores = await open(t);
      const request = { name: 'edge-1', region: null, machineId: 'm' };
      const first = await joinHost(stores, 'edge-1');
      await first.beat();
      const second = await stores.hosts.join(admin, { ...request, machineId: first.machineId });
      assert.notEqual(second.id, first.id);
    });
  });

  describe('HostStore.beat()', () => {
    it('writes nothing while nothing changes', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const before = stores.store.log.head().revision;
      for (let i = 0; i < 10; i += 1) {
        const { intervalMs, own } = await edge.beat();
        assert.equal(intervalMs, 10_000);
        assert.equal(own.revision, before);
        await passTime(stores, intervalMs);
      }
      assert.equal(stores.store.log.head().revision, before);
    });

    it('is not-found for a host that never joined', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await assert.rejects(stores.hosts.beat(admin, uuid, edge.next()), isCode('not-found'));
    });

    it('asks for the inventory that the registry does not have', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const hash = inventoryHash([bash]);
      assert.equal((await edge.beat({ inventory: hash })).checkin, 'complete');
      await stores.hosts.checkIn(edge.caller, edge.id, complete([bash]));
      assert.equal((await edge.beat({ inventory: hash })).checkin, 'none');
      assert.equal((await edge.beat({ inventory: inventoryHash([curl]) })).checkin, 'delta');
    });

    it('does not count a replay', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const captured = edge.next();
      await stores.hosts.beat(edge.caller, edge.id, captured);
      for (let passedMs = 0; passedMs < 30_000; passedMs += 5_000) {
        await passTime(stores, 5_000);
        await stores.hosts.beat(edge.caller, edge.id, captured);
      }
      assert.equal((await stores.hosts.get('edge-1')).status, 'DOWN');
    });

    it('tells an agent how far it had been, so that a rewound one notices', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const far = { epoch: 1, revision: 900, hash: `sha256:${'1'.repeat(64)}` };
      await edge.beat({ own: far });
      assert.deepEqual((await edge.beat({ own: { ...far, revision: 5 } })).seen, far);
      // Told once, and told again while it has not acted on it, however far it has come since.
      assert.deepEqual((await edge.beat({ own: { ...far, revision: 2_000 }, answered: null })).seen, far);
      assert.deepEqual((await edge.beat({ own: { ...far, epoch: 2, revision: 5 } })).seen?.revision, 2_000);
      assert.equal((await edge.beat({ own: { ...far, epoch: 2, revision: 6 } })).seen?.epoch, 2);
    });

    it('notices that this store was rewound, by what a host has seen of it', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const head = stores.store.log.head();
      await edge.beat({ seen: head });
      assert.deepEqual(stores.rewinds, []);
      await edge.beat({ seen: { ...head, revision: head.revision + 1 } });
      await edge.beat({ seen: { ...head, hash: `sha256:${'f'.repeat(64)}` } });
      assert.equal(stores.rewinds.length, 2);
    });
  });

  describe('a silent host', () => {
    it('is DOWN at its deadline, also when it is the only one, in one revision with its records', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP');
      await edge.beat();
      const before = stores.store.log.head().revision;
      await passTime(stores, 26_750);
      assert.equal((await stores.hosts.get('edge-1')).status, 'UP');
      await passTime(stores, 500);
      assert.deepEqual(await statusOf(stores), ['DOWN', 'lapsed']);
      assert.equal(stores.store.log.head().revision, before + 1);
      const last = stores.events.slice(-2);
      assert.deepEqual(
        last.map(({ type, index }) => [type, index]),
        [
          ['host.lapsed', 0],
          ['service.lapsed', 1],
        ],
      );
      assert.equal(last[0]?.position, last[1]?.position);
      assert.equal((await stores.liveness.isUp({ uuid })).reason, 'host');
    });

    it('comes back with its records as its agent told them last', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP');
      await passTime(stores, 30_000);
      await edge.beat();
      assert.deepEqual(await statusOf(stores), ['UP', null]);
      assert.equal((await stores.liveness.isUp({ uuid })).up, true);
    });

    it('that said goodbye has left, at once', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP');
      await edge.beat({ leaving: true });
      assert.deepEqual(await statusOf(stores), ['DOWN', 'left']);
      assert.equal((await stores.liveness.isUp({ uuid })).reason, 'left');
      await edge.beat();
      assert.deepEqual(await statusOf(stores), ['UP', null]);
    });

    it('after a restart is unconfirmed for one deadline and the spread, then DOWN', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await edge.beat();
      await stores.hosts.flush();
      const again = await openRegistryStores(stores.store, stores.clock, new SeededRandom(2));
      assert.equal((await again.hosts.get('edge-1')).confirmed, false);
      await passTime(again, 31_500);
      assert.deepEqual(await statusOf(again), ['UP', null]);
      await passTime(again, 1_000);
      assert.deepEqual(await statusOf(again), ['DOWN', 'lapsed']);
    });
  });

  describe('a host that was DOWN', () => {
    it('before a restart is DOWN after it, until it is heard', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP');
      await passTime(stores, 30_000);
      await stores.hosts.flush();
      const again = await openRegistryStores(stores.store, stores.clock, new SeededRandom(2));
      await passTime(again, 60_000);
      assert.deepEqual(await statusOf(again), ['DOWN', 'lapsed']);
      assert.equal((await again.liveness.isUp({ uuid })).up, false);
      assert.deepEqual(again.events, []);
    });

    it('before the registry suspected itself is DOWN after that too', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const others: Awaited<ReturnType<typeof joinHost>>[] = [];
      for (let i = 0; i < 24; i += 1) others.push(await joinHost(stores, `h${i}`));
      const beatAll = async () => {
        for (const host of others) await host.beat();
      };
      await edge.beat();
      for (let i = 0; i < 3; i += 1) {
        await beatAll();
        await passTime(stores, 10_000);
      }
      assert.deepEqual(await statusOf(stores), ['DOWN', 'lapsed']);
      await passTime(stores, 40_000);
      assert.equal(stores.sweep.suspicion.kind, 'frozen');
      await beatAll();
      await passTime(stores, 1_000);
      assert.equal(stores.sweep.suspicion.kind, 'trusting');
      assert.deepEqual(await statusOf(stores), ['DOWN', 'lapsed']);
    });
  });

  describe('a hostile host', () => {
    it('cannot take a record of another host, or of the registry', async (t) => {
      const stores = await open(t);
      const good = await joinHost(stores, 'edge-1');
      await report(stores, good, 1, 'UP');
      const registered = await stores.liveness.register(
        admin,
        { type: 'db', host: 'elsewhere' },
        { takeover: false },
      );
      const evil = await joinHost(stores, 'evil');
      for (const stolen of [uuid, registered.uuid]) {
        const body = { ...documentOf(stores, 'UP'), uuid: stolen };
        const items = [{ seq: 1, type: 'service' as const, atMs: 0, body }];
        await assert.rejects(
          stores.hosts.report(evil.caller, evil.id, { epoch: 1, items }),
          isCode('bad-request', 'items/0/body/uuid'),
        );
      }
      assert.equal((await stores.liveness.get(uuid)).host, 'edge-1');
      assert.equal((await stores.liveness.get(registered.uuid)).host, 'elsewhere');
      const gone = [
        { seq: 1, type: 'service-deleted' as const, atMs: 0, body: { uuid } },
        { seq: 2, type: 'service-deleted' as const, atMs: 0, body: { uuid: registered.uuid } },
      ];
      await stores.hosts.report(evil.caller, evil.id, { epoch: 1, items: gone });
      assert.equal((await stores.liveness.list({}, all)).items.length, 2);
    });

    it('cannot name an epoch that was never, and is not believed twice in an hour', async (t) => {
      const stores = await open(t);
      const evil = await joinHost(stores, 'evil');
      const head = stores.store.log.head();
      for (const epoch of [
        Number.MAX_SAFE_INTEGER,
        Number.MAX_SAFE_INTEGER - 1,
        stores.clock.now() + 172_800_000,
      ]) {
        await assert.rejects(evil.beat({ seen: { ...head, epoch } }), isCode('bad-request', 'seen/epoch'));
      }
      assert.deepEqual(stores.rewinds, []);
    });

    it('cannot hide another host behind its id', async (t) => {
      const stores = await open(t);
      const good = await joinHost(stores, 'edge-1');
      const request = { name: good.id, region: null, machineId: 'evil' };
      await assert.rejects(stores.hosts.join(admin, request), isCode('bad-request', 'name'));
      assert.equal((await stores.hosts.get(good.id)).name, 'edge-1');
    });

    it('with any field wrong is refused as the caller, and nothing is stored', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const right = documentOf(stores, 'UP');
      const wrong: Record<string, unknown>[] = [
        { reason: 'set' },
        { status: 'DOWN', reason: null },
        { status: 'up' },
        { ttl: 4.9994 },
        { ttl: 1e12 },
        { ttl: '60' },
        { maintenance: { start: '2026-01-02T00:00:00Z', end: '2026-01-01T00:00:00Z', note: null } },
        { maintenance: { start: 'soon' } },
        { uuid: 'x' },
        { type: '' },
        { region: 7 },
      ];
      for (const change of wrong) {
        const items = [{ seq: 1, type: 'service' as const, atMs: 0, body: { ...right, ...change } }];
        await assert.rejects(
          async () => stores.hosts.report(edge.caller, edge.id, { epoch: 1, items }),
          isCode('bad-request'),
          JSON.stringify(change),
        );
      }
      const items = [{ seq: 1, type: 'service' as const, atMs: 0, body: { ...right, ttl: 5.0005 } }];
      await stores.hosts.report(edge.caller, edge.id, { epoch: 1, items });
      assert.equal((await stores.liveness.list({}, all)).items.length, 1);
    });
  });

  describe('HostStore.flush()', () => {
    it('writes what was heard of many hosts in one statement, and of none twice', async (t) => {
      const clock = new FakeClock();
      const { store, counts } = countStatements(await openStore(t, clock));
      const stores = await openRegistryStores(store, clock, new SeededRandom(1));
      const first = await joinHost(stores, 'edge-1');
      const second = await joinHost(stores, 'edge-2');
      await first.beat();
      await second.beat();
      await stores.hosts.flush();
      await clock.advance(1_000);
      await first.beat();
      await clock.advance(1_000);
      await second.beat();
      const writes = counts.length;
      await stores.hosts.flush();
      await stores.hosts.flush();
      assert.deepEqual(counts.slice(writes), [1]);
      const again = await openRegistryStores(store, clock, new SeededRandom(2));
      const seen = async (name: string) => clock.now() - ((await again.hosts.get(name)).lastSeenMs ?? 0);
      assert.deepEqual([await seen('edge-1'), await seen('edge-2')], [1_000, 0]);
      for (const { id } of [first, second]) {
        const { intervalToldMs, agentMark } = stores.hosts.memory.facts(id);
        const found = again.hosts.memory.facts(id);
        assert.deepEqual([found.intervalToldMs, found.agentMark], [intervalToldMs, agentMark]);
        assert.notEqual(agentMark, null);
      }
    });
  });

  describe('the guards', () => {
    async function fleet(t: TestContext, count: number) {
      const stores = await open(t);
      const hosts: Awaited<ReturnType<typeof joinHost>>[] = [];
      for (let i = 0; i < count; i += 1)
        hosts.push(await joinHost(stores, `h${i}`, i % 2 === 0 ? 'eu' : 'us'));
      for (const host of hosts) await host.beat();
      return { stores, hosts };
    }
    const down = async (stores: RegistryStores) =>
      (await stores.hosts.list({ status: ['DOWN'] }, all)).items.length;

    it('suspect themselves when half of 20 go silent: nobody is DOWN, answers are unconfirmed', async (t) => {
      const { stores, hosts } = await fleet(t, 20);
      for (let beat = 0; beat < 6; beat += 1) {
        await passTime(stores, 10_000);
        for (const host of hosts.slice(10)) await host.beat();
      }
      assert.equal(await down(stores), 0);
      assert.equal((await stores.hosts.get('h0')).confirmed, false);
      assert.equal((await stores.hosts.get('h19')).confirmed, true);
      assert.equal(stores.events.filter(({ type }) => type === 'system.suspected').length, 1);
    });

    it('believe it after five minutes', async (t) => {
      const { stores } = await fleet(t, 20);
      await passTime(stores, 27_000 + 299_000);
      assert.equal(await down(stores), 0);
      await passTime(stores, 3_000);
      assert.equal(await down(stores), 20);
    });

    it('give a whole deadline to whoever is still silent when the others are back', async (t) => {
      const { stores, hosts } = await fleet(t, 20);
      await passTime(stores, 40_000);
      for (let beat = 0; beat < 3; beat += 1) {
        for (const host of hosts.slice(1)) await host.beat();
        await passTime(stores, 8_500);
      }
      assert.equal(await down(stores), 0);
      for (const host of hosts.slice(1)) await host.beat();
      await passTime(stores, 3_000);
      assert.equal(await down(stores), 1);
    });

    it('control: below half the silent ones are DOWN at their deadline', async (t) => {
      const { stores, hosts } = await fleet(t, 20);
      for (let beat = 0; beat < 3; beat += 1) {
        await passTime(stores, 10_000);
        for (const host of hosts.slice(9)) await host.beat();
      }
      assert.equal(await down(stores), 9);
    });

    it('forgive the time in which the registry itself stood still', async (t) => {
      const { stores } = await fleet(t, 3);
      await passTime(stores, 1_000);
      stores.clock.stall(600_000);
      await passTime(stores, 1_000);
      assert.equal(await down(stores), 0);
    });

    it('tell one event for a lost region, beside the answers that stay exact', async (t) => {
      const { stores, hosts } = await fleet(t, 30);
      const alive = hosts.filter((_, i) => i % 2 === 1 || i > 20);
      for (let beat = 0; beat < 4; beat += 1) {
        await passTime(stores, 10_000);
        for (const host of alive) await host.beat();
      }
      assert.equal(await down(stores), 11);
      const lost = stores.events.filter(({ type }) => type === 'system.region-lost');
      assert.deepEqual(
        lost.map(({ body }) => body),
        [{ region: 'eu', hosts: 15, gone: 11 }],
      );
    });

    it('thin the events of a flapping host to one a minute; its answers stay exact', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      for (let flap = 0; flap < 20; flap += 1) {
        await edge.beat();
        assert.equal((await stores.hosts.get('edge-1')).status, 'UP');
        await passTime(stores, 27_500);
        assert.equal((await stores.hosts.get('edge-1')).status, 'DOWN');
      }
      const times = stores.events
        .filter(({ type }) => type === 'host.lapsed' || type === 'host.returned')
        .map(({ at }) => Date.parse(at));
      const gaps = times.slice(3).map((at, i) => at - (times[i + 2] ?? 0));
      assert(
        gaps.every((gapMs) => gapMs >= 59_000),
        `gaps in ms: ${gaps.join(' ')}`,
      );
      await passTime(stores, 120_000);
      const told = stores.events.filter(({ type }) => type.startsWith('host.'));
      assert.equal(told.at(-1)?.type, 'host.lapsed');
    });
  });

  describe('HostStore.checkIn()', () => {
    it('takes a complete set, then deltas, and writes only changes', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const first = await stores.hosts.checkIn(edge.caller, edge.id, complete([bash, curl]));
      assert.equal(first.accepted, true);
      const newer = { ...bash, version: '6' };
      const hash = inventoryHash([newer, zlib]);
      const delta: CheckIn = { base: first.hash, hash, components: [newer, zlib], removed: [curl] };
      assert.deepEqual(await stores.hosts.checkIn(edge.caller, edge.id, delta), { accepted: true, hash });
      const { items } = await stores.inventory.ofHost('edge-1', all);
      assert.deepEqual(
        items.map(({ name, version }) => `${name} ${version}`),
        ['bash 6', 'zlib1g 1'],
      );
      assert.deepEqual(
        stores.events.slice(1).map(({ type }) => type),
        [
          'component.installed',
          'component.installed',
          'component.changed',
          'component.removed',
          'component.installed',
        ],
      );
    });

    it('sent again changes nothing, so that a lost answer does no harm', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const first = await stores.hosts.checkIn(edge.caller, edge.id, complete([bash]));
      const hash = inventoryHash([bash, curl]);
      const delta: CheckIn = { base: first.hash, hash, components: [curl], removed: [] };
      await stores.hosts.checkIn(edge.caller, edge.id, delta);
      const before = stores.store.log.head().revision;
      assert.equal((await stores.hosts.checkIn(edge.caller, edge.id, delta)).accepted, true);
      assert.equal(stores.store.log.head().revision, before);
    });

    it('asks for the complete set when the base or the sum is not what it should be', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const first = await stores.hosts.checkIn(edge.caller, edge.id, complete([bash]));
      const refused = { accepted: false, hash: first.hash };
      const otherBase = { base: inventoryHash([zlib]), hash: inventoryHash([curl]) };
      const wrongSum = { base: first.hash, hash: inventoryHash([zlib]) };
      for (const hashes of [otherBase, wrongSum]) {
        const delta: CheckIn = { ...hashes, components: [curl], removed: [] };
        assert.deepEqual(await stores.hosts.checkIn(edge.caller, edge.id, delta), refused);
      }
      assert.equal((await stores.inventory.ofHost('edge-1', all)).items.length, 1);
      const lie = { ...complete([bash, curl]), hash: inventoryHash([zlib]) };
      await assert.rejects(stores.hosts.checkIn(edge.caller, edge.id, lie), isCode('unprocessable', 'hash'));
    });

    it('takes 2,000 components and counts them over hosts', async (t) => {
      const stores = await open(t);
      const many = Array.from({ length: 2_000 }, (_, i) => ({
        name: `p${i}`,
        version: '1',
        detector: 'dpkg',
      }));
      for (const name of ['edge-1', 'edge-2']) {
        const edge = await joinHost(stores, name);
        await stores.hosts.checkIn(edge.caller, edge.id, complete(many));
      }
      const page = await stores.inventory.list({}, { limit: 2 });
      assert.deepEqual(page.items, [
        { name: 'p0', versions: [{ version: '1', hosts: 2 }] },
        { name: 'p1', versions: [{ version: '1', hosts: 2 }] },
      ]);
      const next = await stores.inventory.list({}, { limit: 1, cursor: page.next ?? '' });
      assert.equal(next.items[0]?.name, 'p10');
      assert.equal((await stores.inventory.ofHost('edge-2', all)).items.length, 1_000);
    });
  });

  describe('HostStore.report()', () => {
    it('is in effect exactly once, in order, however often it is sent', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP');
      await report(stores, edge, 2, 'DOWN');
      const before = stores.store.log.head().revision;
      assert.deepEqual(await report(stores, edge, 1, 'UP'), { acked: 2 });
      assert.equal(stores.store.log.head().revision, before);
      assert.equal((await stores.liveness.isUp({ uuid })).up, false);
      assert.deepEqual((await edge.beat()).acked, { epoch: 1, seq: 2 });
    });

    it('refuses a gap, naming what it expects', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await assert.rejects(report(stores, edge, 2, 'UP'), (error) => {
        assert(error instanceof AppError);
        assert.deepEqual([error.code, error.details['expected']], ['conflict', 1]);
        return true;
      });
    });

    it('begins again with a new life of the outbox, and refuses an older one', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP', 5);
      await report(stores, edge, 1, 'DOWN', 6);
      assert.equal((await stores.liveness.isUp({ uuid })).up, false);
      await assert.rejects(report(stores, edge, 2, 'UP', 5), isCode('conflict', 'epoch'));
    });

    it('of everything that the agent holds removes what is not among it', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP');
      await stores.hosts.report(edge.caller, edge.id, {
        epoch: 1,
        items: [{ seq: 2, type: 'services', atMs: 0, body: { items: [] } }],
      });
      assert.equal((await stores.liveness.isUp({ uuid })).known, false);
    });

    it('that cannot be read is refused by its place, and nothing of its batch is taken', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      const items = [
        { seq: 1, type: 'service' as const, atMs: 0, body: documentOf(stores, 'UP') },
        { seq: 2, type: 'service' as const, atMs: 0, body: { uuid, type: 'web' } },
      ];
      await assert.rejects(
        async () => stores.hosts.report(edge.caller, edge.id, { epoch: 1, items }),
        isCode('bad-request', 'items/1/body/status'),
      );
      assert.equal((await stores.liveness.isUp({ uuid })).known, false);
    });

    it('gives the agent what it holds: a registry does not change it', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await report(stores, edge, 1, 'UP');
      const change = stores.liveness.put(admin, uuid, { status: 'DOWN' }, { takeover: false });
      await assert.rejects(change, isCode('unprocessable'));
      await assert.rejects(stores.liveness.delete(admin, { uuid }), isCode('unprocessable'));
    });
  });
}

const bash: Component = { name: 'bash', version: '5', detector: 'dpkg', architecture: 'amd64' };
const curl: Component = { name: 'curl', version: '8', detector: 'dpkg' };
const zlib: Component = { name: 'zlib1g', version: '1', detector: 'dpkg' };

function complete(components: Component[]): CheckIn {
  return { base: null, hash: inventoryHash(components), components, removed: [] };
}

function documentOf(stores: RegistryStores, status: 'UP' | 'DOWN') {
  const record = {
    uuid,
    type: 'web',
    host: 'whatever it says',
    region: null,
    status,
    reason: status === 'UP' ? null : ('set' as const),
    ttlMs: 60_000,
    maintenance: null,
    heldBy: 'agent' as const,
    told: null,
    version: 1,
  };
  return serviceDocument({ ...record, confirmed: true, lastSeenMs: null }, stores.clock.now());
}

function report(
  stores: RegistryStores,
  edge: Awaited<ReturnType<typeof joinHost>>,
  seq: number,
  status: 'UP' | 'DOWN',
  epoch = 1,
) {
  const items = [{ seq, type: 'service' as const, atMs: 0, body: documentOf(stores, status) }];
  return stores.hosts.report(edge.caller, edge.id, { epoch, items });
}

async function statusOf(stores: RegistryStores) {
  const { status, reason } = await stores.hosts.get('edge-1');
  return [status, reason];
}

function isCode(code: string, field?: string) {
  return (error: unknown) =>
    error instanceof AppError && error.code === code && (field === undefined || error.field === field);
}
