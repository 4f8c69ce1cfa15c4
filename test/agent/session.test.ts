import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { systemCaller } from '../../src/domain/access.ts';
import { inventoryHash } from '../../src/domain/inventory.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { component, startAgent, until } from './fleet.ts';
import { closing, connected, inSync, type StatusDocument, settles, type World, world } from './world.ts';

const uuidOf = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const options = { takeover: false };
/** Longer than any test: no record lapses by itself. */
const ttlMs = 7 * 86_400_000;

/** Ours and what the registry has of us are the same. */
async function assertSame({ agent, registry }: World): Promise<void> {
  const plain = ({
    uuid,
    type,
    host,
    status,
    reason,
  }: {
    uuid: string;
    type: string;
    host: string;
    status: string;
    reason: string | null;
  }) => ({
    uuid,
    type,
    host,
    status,
    reason,
  });
  const page = { limit: 1_000 };
  const ours = (await agent.own.list({}, page)).items.map(plain);
  const theirs = (await registry.stores.liveness.list({}, page)).items.map(plain);
  assert.deepEqual(theirs, ours);
  const installed = (await agent.components.ofHost(agent.hostName(), page)).items.map(({ name, version }) => [
    name,
    version,
  ]);
  const known = (await registry.stores.inventory.ofHost(agent.hostName(), page)).items.map(
    ({ name, version }) => [name, version],
  );
  assert.deepEqual(known, installed);
}

suite('a session with the registry', () => {
  test('joins once, beats, checks in and reports', async (t) => {
    const w = await world(t);
    await w.agent.liveness.register(systemCaller, { type: 'web', ttlMs }, options);
    await inSync(w);
    await assertSame(w);
    assert.equal(w.registry.calls.checkIns.length, 1);
    assert.equal(w.registry.calls.checkIns[0]?.base, null);
    const credential = join(w.dataDir, 'credential');
    assert.equal(statSync(credential).mode & 0o777, 0o600);
    const { host, credential: secret } = JSON.parse(readFileSync(credential, 'utf8'));
    assert.equal(host, (await w.registry.stores.hosts.get('edge-1')).id);
    assert.match(secret, /^hf_/);
    const database =
      readFileSync(join(w.dataDir, 'holdfast.db'), 'latin1') +
      readFileSync(join(w.dataDir, 'holdfast.db-wal'), 'latin1');
    assert(!database.includes(secret), 'the credential is in the database');
  });

  test('comes back as itself without a token, and is UP and DOWN as it says', async (t) => {
    const w = await world(t);
    await inSync(w);
    const { id } = await w.registry.stores.hosts.get('edge-1');
    await closing(w.clock, w.agent);
    assert.equal((await w.registry.stores.hosts.get('edge-1')).reason, 'left');
    w.agent = await startAgent({
      dataDir: w.dataDir,
      clock: w.clock,
      random: w.random,
      registry: w.registry,
      detectors: [w.dpkg],
      token: null,
    });
    await connected(w);
    const { status, id: again } = await w.registry.stores.hosts.get('edge-1');
    assert.deepEqual([status, again], ['UP', id]);
    assert.equal(w.registry.calls.checkIns.length, 1, 'nothing had changed');
  });

  test('moves its records to the name that the registry gave it', async (t) => {
    const w = await world(t);
    await w.registry.stores.hosts.join(systemCaller, { name: 'edge-2', region: null, machineId: 'another' });
    const dataDir = tempFolder(t);
    w.registry.line = 'down';
    const second = await startAgent({
      dataDir,
      clock: w.clock,
      random: w.random,
      registry: w.registry,
      name: 'Edge-2',
    });
    t.after(() => closing(w.clock, second));
    const { uuid, host } = await second.liveness.register(systemCaller, { type: 'web', ttlMs }, options);
    assert.equal(host, 'edge-2');
    const short = await second.liveness.register(systemCaller, { type: 'job', ttlMs: 5_000 }, options);
    await until(w.clock, 10_000, 'a lapse', () => second.own.find(short.uuid)?.reason === 'lapsed');
    w.registry.line = 'up';
    await settles(
      w.clock,
      second,
      'joined',
      ({ registry, outbox }) => registry.connected && outbox.pending === 0,
    );
    assert.match(second.hostName(), /^edge-2-[0-9a-f]{4}$/);
    assert.equal((await second.liveness.get(uuid)).host, second.hostName());
    assert.equal((await w.registry.stores.liveness.get(uuid)).host, second.hostName());
    await w.clock.advance(1_000);
    const { status, reason } = await second.liveness.get(short.uuid);
    assert.deepEqual([status, reason], ['DOWN', 'lapsed'], 'a new name is no heartbeat');
  });

  test('tells what changed in the inventory as a difference, also after a restart', async (t) => {
    const w = await world(t);
    await inSync(w);
    const base = w.registry.calls.checkIns[0]?.hash;
    w.registry.line = 'down';
    w.dpkg.found = [component('bash', '5.3'), component('curl', '8')];
    await w.clock.advance(31_000);
    await w.restart({ crash: true });
    await w.clock.advance(1_000);
    w.dpkg.found = [component('bash', '5.4'), component('curl', '8')];
    await w.clock.advance(31_000);
    w.registry.calls.checkIns.length = 0;
    w.registry.line = 'up';
    await inSync(w);
    await assertSame(w);
    const [delta, ...more] = w.registry.calls.checkIns;
    assert.deepEqual(more, []);
    assert.equal(delta?.base, base);
    assert.deepEqual(
      delta?.components.map(({ name, version }) => [name, version]),
      [
        ['bash', '5.4'],
        ['curl', '8'],
      ],
    );
    assert.deepEqual(delta?.removed, [{ detector: 'dpkg', name: 'zlib' }]);
  });

  test('sends the complete inventory when the registry does not know the base', async (t) => {
    const w = await world(t);
    await inSync(w);
    w.registry.calls.checkIns.length = 0;
    const { hosts } = w.registry.stores;
    const { id } = await hosts.get('edge-1');
    // Behind the agent's back.
    const components = [component('odd', '1')];
    await hosts.checkIn(systemCaller, id, {
      base: null,
      hash: inventoryHash(components),
      components,
      removed: [],
    });
    await until(w.clock, 60_000, 'a complete check-in', () => w.registry.calls.checkIns.length >= 1);
    await inSync(w);
    await assertSame(w);
    assert.equal(w.registry.calls.checkIns.at(-1)?.base, null);
  });

  test('knows a lost answer to a batch from the next beat', async (t) => {
    const w = await world(t);
    await inSync(w);
    w.registry.line = 'deaf';
    await w.agent.liveness.put(systemCaller, uuidOf(1), { type: 'web', status: 'DOWN', ttlMs }, options);
    await w.agent.liveness.put(systemCaller, uuidOf(1), { status: 'UP' }, options);
    await w.clock.advance(300_000);
    w.registry.line = 'up';
    await inSync(w);
    await assertSame(w);
    assert.deepEqual((await w.registry.history()).get(uuidOf(1)), ['DOWN', 'UP']);
  });
});

suite('an hour without the registry', () => {
  test('the agent keeps serving, backs off, and catches up once and in order', async (t) => {
    const w = await world(t);
    await inSync(w);
    w.registry.line = 'down';
    w.registry.calls.beats.length = 0;
    w.registry.calls.batches.length = 0;
    const produced = new Map<string, string[]>();
    const recordsCount = 50;
    for (let second = 0; second < 3_600; second += 1) {
      // Ten changes a second, of ten records in turn; one commit, as the write queue makes of what comes together.
      await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const n = (second * 10 + i) % recordsCount;
          const status = Math.floor((second * 10) / recordsCount) % 2 === 0 ? 'DOWN' : 'UP';
          await w.agent.liveness.put(systemCaller, uuidOf(n), { type: `t${n}`, status, ttlMs }, options);
          produced.set(uuidOf(n), [...(produced.get(uuidOf(n)) ?? []), status]);
        }),
      );
      await w.clock.advance(1_000);
    }
    assert.equal((await w.agent.liveness.isUp({ type: 't1', host: 'edge-1' })).known, true);
    const attempts = w.registry.calls.beats.length;
    // No more often than it beats when all is well.
    assert(attempts >= 200 && attempts <= 360, `${attempts} attempts in an hour`);
    // Until a beat has noticed; from then on only beats knock.
    assert(w.registry.calls.batches.length < 10, `${w.registry.calls.batches.length} batches into nowhere`);
    w.registry.calls.batches.length = 0;
    const { outbox } = (await w.agent.status()) as unknown as StatusDocument;
    assert.deepEqual([outbox.pending, outbox.dropped], [36_000, 0]);

    w.registry.line = 'up';
    w.registry.calls.arrivedMs.length = 0;
    await inSync(w);
    const [first = 0, last = 0] = [w.registry.calls.arrivedMs[0], w.registry.calls.arrivedMs.at(-1)];
    t.diagnostic(
      `36,000 reports replayed in ${Math.round(last - first)} ms, ${w.registry.calls.batches.length} batches`,
    );
    await assertSame(w);
    assert.deepEqual(await w.registry.history(), produced);
    for (const batch of w.registry.calls.batches) assert(batch.items.length <= 1_000);
  });
});

suite('a store that was put back', () => {
  test("the agent's: it begins a new life and tells everything again", async (t) => {
    const w = await world(t);
    await w.agent.liveness.put(systemCaller, uuidOf(1), { type: 'one', ttlMs }, options);
    await inSync(w);
    const copy = join(tempFolder(t), 'copy');
    await w.restart({ crash: true, between: () => cpSync(w.dataDir, copy, { recursive: true }) });
    await connected(w);
    await w.agent.liveness.put(systemCaller, uuidOf(2), { type: 'two', ttlMs }, options);
    await w.agent.liveness.put(systemCaller, uuidOf(1), { status: 'DOWN' }, options);
    await inSync(w);
    const { epoch } = w.agent.store.log.head();

    await w.restart({
      crash: true,
      between: () => {
        rmSync(w.dataDir, { recursive: true });
        cpSync(copy, w.dataDir, { recursive: true });
      },
    });
    // More changes than were lost: the revision alone tells nothing then.
    for (let n = 10; n < 20; n += 1)
      await w.agent.liveness.put(systemCaller, uuidOf(n), { type: `t${n}`, ttlMs }, options);
    await inSync(w);
    await until(w.clock, 60_000, 'a new life', () => w.agent.store.log.head().epoch > epoch);
    await inSync(w);
    await assertSame(w);
    const history = await w.registry.history();
    for (let n = 10; n < 20; n += 1) assert.deepEqual(history.get(uuidOf(n)), ['UP'], 'told once');
    assert.deepEqual(history.get(uuidOf(2)), ['UP', 'deleted']);
  });

  test("the registry's: everything is told again, what was waiting once", async (t) => {
    const w = await world(t);
    await w.agent.liveness.put(systemCaller, uuidOf(1), { type: 'one', ttlMs }, options);
    await inSync(w);
    const copy = join(tempFolder(t), 'copy');
    await w.registry.copy(copy);
    const { epoch } = w.registry.stores.store.log.head();
    await connected(w);
    await w.agent.liveness.put(systemCaller, uuidOf(2), { type: 'two', ttlMs }, options);
    w.dpkg.found = [component('bash', '6')];
    await w.clock.advance(31_000);
    await inSync(w);
    w.registry.line = 'down';
    await w.agent.liveness.put(systemCaller, uuidOf(3), { type: 'three', ttlMs }, options);
    await w.agent.liveness.put(systemCaller, uuidOf(3), { status: 'DOWN' }, options);
    await w.registry.putBack(copy);
    w.registry.line = 'up';
    await until(w.clock, 120_000, 'a new life', () => w.registry.stores.store.log.head().epoch > epoch);
    await w.clock.advance(60_000);
    await inSync(w);
    await assertSame(w);
    const history = await w.registry.history();
    assert.deepEqual(history.get(uuidOf(3)), ['UP', 'DOWN']);
    assert.deepEqual(history.get(uuidOf(2)), ['UP']);
  });
});

suite('a bad line', () => {
  test('every report is in effect once and in order, whatever is lost, doubled or restarted', async (t) => {
    const random = SeededRandom.fresh(t);
    const w = await world(t, { random });
    await inSync(w);
    w.registry.chances = { down: 0.2, deaf: 0.2, twice: 0.2 };
    const produced = new Map<string, string[]>();
    const note = (uuid: string, word: string) => produced.set(uuid, [...(produced.get(uuid) ?? []), word]);
    for (let step = 0; step < 400; step += 1) {
      const uuid = uuidOf(random.integer(1, 8));
      const known = w.agent.own.find(uuid);
      if (known !== undefined && random.uniform() < 0.1) {
        await w.agent.liveness.delete(systemCaller, { uuid });
        note(uuid, 'deleted');
      } else {
        const status = known?.status === 'UP' ? 'DOWN' : 'UP';
        await w.agent.liveness.put(systemCaller, uuid, { type: uuid, status, ttlMs }, options);
        note(uuid, status);
      }
      if (random.uniform() < 0.1)
        w.dpkg.found = [component('bash', `5.${step}`), component(`p${random.integer(1, 5)}`, '1')];
      if (random.uniform() < 0.05) await w.restart({ crash: true });
      await w.clock.advance(random.integer(0, 5_000));
    }
    w.registry.chances = { down: 0, deaf: 0, twice: 0 };
    await w.clock.advance(120_000);
    await inSync(w);
    await assertSame(w);
    assert.deepEqual(sorted(await w.registry.history()), sorted(produced));
  });
});

function sorted(map: Map<string, string[]>): [string, string[]][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
