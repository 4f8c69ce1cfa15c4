import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { Steps } from '../../src/agent/checks/step.ts';
import { createChecks } from '../../src/agent/checks.ts';
import { startSweep } from '../../src/agent/sweep.ts';
import { silentLogger } from '../../src/base/log.ts';
import { createSearch } from '../../src/base/search.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { readChecks } from '../../src/domain/check.ts';
import { AppError } from '../../src/domain/error.ts';
import type { ServiceDocument } from '../../src/domain/liveness.ts';
import { CheckRecords } from '../../src/store/check.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { LivenessStore } from '../../src/store/liveness.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { exited, ScriptedRunner } from './scripted-runner.ts';

const exec = ['true'];
const takeover = { takeover: false };

async function start(
  t: TestContext,
  checks: readonly object[],
  { dataDir = tempFolder(t), clock = new FakeClock(), runner = new ScriptedRunner() } = {},
) {
  const random = new SeededRandom(1);
  const store = await openStore({ role: 'agent', dataDir, clock, limits: { ballastBytes: 0 } });
  const own: LivenessStore = await LivenessStore.open({
    store,
    clock,
    random,
    heldBy: 'agent',
    onChange: async (tx) => tx.onCommit(() => sweep.changed()),
  });
  const sweep = startSweep({ own, clock, random, logger: silentLogger });
  const running = createChecks({
    clock,
    random,
    logger: silentLogger,
    specs: readChecks(checks),
    records: new CheckRecords({ store, clock, random }),
    own,
    hostName: () => 'edge-1',
    steps: new Steps(runner),
    search: createSearch(),
  });
  own.ready();
  running.start();
  const close = async () => {
    await running.stop();
    await sweep.stop();
    await store.close();
  };
  t.after(close);
  const record = async (type = 'web') => {
    const { items } = await own.list({ type: [type] }, { limit: 10 });
    return items[0];
  };
  const said = async (type = 'web') => {
    const found = await record(type);
    return found === undefined
      ? 'none'
      : found.reason === null
        ? found.status
        : `${found.status} ${found.reason}`;
  };
  /** What the log tells of statuses, in order. */
  const events = async () =>
    (await store.log.read(0, { revisions: 1_000, bytes: 1_000_000 })).flatMap((revision) =>
      revision.events.map(({ type, body }) => `${type} ${(body as ServiceDocument).status}`),
    );
  const status = (type = 'web') => running.status().find((one) => one.type === type);
  return { store, own, running, runner, clock, record, said, events, status, close, dataDir };
}

suite('createChecks()', () => {
  test('makes no record before a look says something, and the first that does decides', async (t) => {
    const { clock, runner, said, status, record } = await start(t, [{ type: 'web', exec, every: '10s' }]);
    assert.deepEqual([status()?.state, status()?.lastLookMs], ['waiting', null]);
    runner.scripts.set('web', new AppError('unavailable', 'Cannot reach the runner: no runner'));
    await clock.advance(30_000);
    assert.equal(await said(), 'none');
    assert.deepEqual([status()?.state, status()?.detail], ['unknown', 'Cannot reach the runner: no runner']);
    runner.scripts.set('web', exited(2, 'connection refused'));
    await clock.advance(10_000);
    assert.equal(await said(), 'DOWN check');
    assert.deepEqual(
      [status()?.state, status()?.detail, status()?.output],
      ['failing', 'exit code 2', 'connection refused'],
    );
    const { host, ttlMs, heldBy } = (await record()) ?? {};
    assert.deepEqual([host, ttlMs, heldBy], ['edge-1', 65_000, 'agent']);
  });

  test('DOWN after failAfter failures in a row, UP after passAfter, and steady looks write nothing', async (t) => {
    const checks = [{ type: 'web', exec, every: '10s', failAfter: 3, passAfter: 2 }];
    const { clock, runner, said, events, store, status } = await start(t, checks);
    runner.scripts.set('web', exited(0));
    await clock.advance(60_000);
    const { revision } = store.log.head();
    await clock.advance(3_600_000);
    assert.equal(store.log.head().revision, revision, 'steady looks write nothing');
    assert.equal(await said(), 'UP', 'and renew the ttl');
    runner.scripts.set('web', exited(1));
    await clock.advance(20_000);
    assert.equal(await said(), 'UP');
    runner.scripts.set('web', exited(0));
    await clock.advance(10_000);
    runner.scripts.set('web', exited(1));
    await clock.advance(20_000);
    assert.deepEqual([await said(), status()?.state], ['UP', 'passing']);
    await clock.advance(10_000);
    assert.equal(await said(), 'DOWN check');
    const sinceMs = status()?.sinceMs;
    await clock.advance(600_000);
    assert.deepEqual([await said(), status()?.sinceMs], ['DOWN check', sinceMs]);
    runner.scripts.set('web', exited(0));
    await clock.advance(10_000);
    assert.equal(await said(), 'DOWN check');
    await clock.advance(10_000);
    assert.equal(await said(), 'UP');
    assert.deepEqual(await events(), ['service.registered UP', 'service.set DOWN', 'service.set UP']);
  });

  test('a record lapses when no look can say anything, and the next that can decides at once', async (t) => {
    const { clock, runner, said, events } = await start(t, [{ type: 'web', exec, every: '10s' }]);
    runner.scripts.set('web', exited(0));
    await clock.advance(20_000);
    runner.scripts.set('web', new AppError('unavailable', 'no runner'));
    await clock.advance(50_000);
    assert.equal(await said(), 'UP', 'unknown is neither passed nor failed');
    await clock.advance(20_000);
    assert.equal(await said(), 'DOWN lapsed');
    runner.scripts.set('web', exited(1));
    await clock.advance(10_000);
    assert.equal(await said(), 'DOWN check');
    runner.scripts.set('web', exited(0));
    await clock.advance(10_000);
    assert.equal(await said(), 'UP');
    runner.scripts.set('web', { end: { kind: 'lost', detail: 'killed' } });
    await clock.advance(80_000);
    runner.scripts.set('web', exited(0));
    await clock.advance(10_000);
    assert.deepEqual((await events()).slice(-2), ['service.lapsed DOWN', 'service.revived UP']);
  });

  test('what somebody set DOWN stays, until somebody sets UP', async (t) => {
    const { clock, runner, said, own, record, status } = await start(t, [
      { type: 'web', exec, every: '10s' },
    ]);
    runner.scripts.set('web', exited(0));
    await clock.advance(10_000);
    const uuid = (await record())?.uuid ?? '';
    await own.put(systemCaller, uuid, { status: 'DOWN' }, takeover);
    await clock.advance(60_000);
    assert.deepEqual([await said(), status()?.state], ['DOWN set', 'passing']);
    runner.scripts.set('web', exited(1));
    await clock.advance(60_000);
    assert.equal(await said(), 'DOWN set');
    await own.put(systemCaller, uuid, { status: 'UP' }, takeover);
    await clock.advance(10_000);
    assert.equal(await said(), 'DOWN check', 'the check still fails');
  });

  test("somebody else's record of the type is a conflict, which ends when that is deleted", async (t) => {
    const { clock, runner, own, said, record, status } = await start(t, [
      { type: 'web', exec, every: '10s' },
    ]);
    const foreign = await own.register(
      systemCaller,
      { type: 'web', host: 'edge-1', ttlMs: 3_600_000 },
      takeover,
    );
    runner.scripts.set('web', exited(1));
    await clock.advance(60_000);
    assert.equal(await said(), 'UP');
    assert.equal(status()?.state, 'failing');
    assert.match(status()?.detail ?? '', new RegExp(`record ${foreign.uuid} has the type "web" here`));
    await own.delete(systemCaller, { uuid: foreign.uuid });
    await clock.advance(10_000);
    assert.equal(await said(), 'DOWN check');
    assert.equal(status()?.detail, 'exit code 1');
    // And one that is deleted by itself comes back.
    await own.delete(systemCaller, { type: 'web', host: 'edge-1' });
    await clock.advance(10_000);
    assert.equal(await said(), 'DOWN check');
    // And one whose place was taken says so.
    await own.register(systemCaller, { type: 'web', host: 'edge-1' }, { takeover: true });
    await clock.advance(10_000);
    assert.match(status()?.detail ?? '', /is not the check's; delete it/);
    assert.notEqual((await record())?.reason, 'check');
  });

  test('after a restart it goes on where it was: no failure alone is a DOWN, and a DOWN stays one', async (t) => {
    const checks = [
      { type: 'web', exec, every: '10s' },
      { type: 'db', exec, every: '10s' },
    ];
    const first = await start(t, checks);
    first.runner.scripts.set('web', exited(0)).set('db', exited(1));
    await first.clock.advance(20_000);
    const before = await first.record();
    await first.close();
    const { clock, runner, said, record } = await start(t, checks, first);
    runner.scripts.set('web', exited(1)).set('db', exited(1));
    await clock.advance(20_000);
    assert.deepEqual([await said('web'), await said('db')], ['UP', 'DOWN check']);
    await clock.advance(10_000);
    assert.equal(await said('web'), 'DOWN check');
    assert.equal((await record())?.uuid, before?.uuid, 'the same record');
  });

  test('a check that left agent.yaml takes its record with it, and nobody else’s', async (t) => {
    const first = await start(t, [
      { type: 'web', exec },
      { type: 'db', exec },
    ]);
    first.runner.scripts.set('web', exited(0)).set('db', exited(0));
    await first.clock.advance(10_000);
    await first.own.register(systemCaller, { type: 'mail', host: 'edge-1' }, takeover);
    await first.close();
    const { said, clock, events } = await start(t, [{ type: 'db', exec }], first);
    await clock.advance(100);
    assert.deepEqual([await said('web'), await said('db'), await said('mail')], ['none', 'UP', 'UP']);
    assert.equal((await events()).at(-1), 'service.deleted UP');
  });

  test('one that hangs ends at its time limit and harms no other', async (t) => {
    const { clock, runner, said, status } = await start(t, [
      { type: 'web', exec, every: '10s', timeout: '5s' },
      { type: 'db', exec, every: '10s' },
    ]);
    runner.scripts.set('web', 'hung').set('db', exited(0));
    await clock.advance(14_900);
    assert.equal(status()?.state, 'waiting', 'the runner has its limit, and time to end it');
    await clock.advance(10_000);
    assert.deepEqual([status()?.state, status()?.detail], ['unknown', 'the runner does not answer']);
    assert.equal(await said('db'), 'UP');
    assert.ok(runner.asked.filter((name) => name === 'db').length >= 2);
  });

  test('a look during which this machine stood still says nothing', async (t) => {
    const asked = { count: 0 };
    const server = createServer((socket) => {
      asked.count += 1;
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const http = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const check = { type: 'web', http, every: '10s', timeout: '5s', failAfter: 1 };
    const { clock, said, status } = await start(t, [check]);
    await clock.advance(5_000);
    await until(() => asked.count === 1);
    clock.stall(60_000);
    await clock.advance(1);
    assert.deepEqual(
      [status()?.state, status()?.detail],
      ['unknown', 'this machine stood still during the look'],
    );
    assert.equal(await said(), 'none');
    await clock.advance(9_000);
    await until(() => asked.count === 2);
    await clock.advance(5_000);
    assert.deepEqual([status()?.state, status()?.detail], ['failing', 'no answer within 5 s']);
    assert.equal(await said(), 'DOWN check');
  });

  test('hundreds of them look, each in its own time, spread at the start', async (t) => {
    const clock = new FakeClock();
    const checks = Array.from({ length: 300 }, (_, index) => ({ type: `s${index}`, exec, every: '10s' }));
    const { runner, running } = await start(t, checks, { clock });
    for (const { type } of checks) runner.scripts.set(type, exited(0));
    await clock.advance(1_000);
    const early = runner.asked.length;
    assert.ok(early > 20 && early < 150, `${early} of 300 looks in the first of 5 s`);
    await clock.advance(4_100);
    assert.equal(runner.asked.length, 300);
    await clock.advance(55_000);
    assert.ok(running.status().every(({ state }) => state === 'passing'));
    assert.ok(Math.abs(runner.asked.length - 6 * 300) <= 300, `${runner.asked.length}`);
    assert.ok(runner.mostUnderWay <= 16);
  });

  test('retryUnknown() has those look at once that could not, and no others', async (t) => {
    const { clock, runner, running, said } = await start(t, [
      { type: 'web', exec, every: '1h' },
      { type: 'db', exec, every: '1h' },
    ]);
    runner.scripts.set('db', exited(0));
    await clock.advance(10_000);
    runner.scripts.set('web', exited(0));
    runner.asked.length = 0;
    running.retryUnknown();
    await clock.settle();
    await clock.advance(1);
    assert.deepEqual([runner.asked, await said('web')], [['web'], 'UP']);
  });

  test('stopping ends a look that is under way, and starting after it does nothing', async (t) => {
    const { clock, runner, running } = await start(t, [{ type: 'web', exec }]);
    runner.scripts.set('web', 'hung');
    await clock.advance(6_000);
    assert.equal(runner.underWay, 1);
    await running.stop();
    assert.equal(runner.underWay, 0);
    running.start();
    await clock.advance(60_000);
    assert.equal(runner.asked.length, 1);
  });
});
