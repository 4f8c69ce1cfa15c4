import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { startSweep } from '../../src/agent/sweep.ts';
import { silentLogger } from '../../src/base/log.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { LivenessStore } from '../../src/store/liveness.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';

const web = '00000000-0000-7000-8000-000000000001';
const options = { takeover: false };
const never = Number.POSITIVE_INFINITY;
const idle = () => Promise.resolve();

/** A clock whose process can stand still: time passes, and no timer fires. */
class StallingClock extends FakeClock {
  stalledMs = 0;

  override monotonic(): number {
    return super.monotonic() + this.stalledMs;
  }
}

/** Records written by hand: due at `dueMs`, and what was done to them when. */
function records(clock: FakeClock) {
  const own = {
    dueMs: never,
    sweptAt: [] as number[],
    forgiven: [] as number[],
    sweep: async () => {
      own.sweptAt.push(clock.monotonic());
    },
    forgive: (ms: number) => {
      own.forgiven.push(ms);
    },
    nextDueMs: () => own.dueMs,
  };
  return own;
}

function setup(t: TestContext) {
  const clock = new StallingClock();
  const own = records(clock);
  const sweep = startSweep({ own, clock, random: new SeededRandom(1), logger: silentLogger });
  t.after(() => sweep.stop());
  return { clock, own, sweep };
}

suite('startSweep()', () => {
  test('rests without a timer while nobody is waited for, and looks when a record changes', async (t) => {
    const { clock, own, sweep } = setup(t);
    await clock.advance(60_000);
    assert.deepEqual(own.sweptAt, [0]);
    assert.deepEqual(clock.pendingMs, []);
    own.dueMs = 65_000;
    sweep.changed();
    await clock.advance(1);
    assert.deepEqual(own.sweptAt, [0, 60_000]);
    assert.equal(clock.pendingMs.length, 1);
  });

  test('looks when a record is due, and each second before', async (t) => {
    const { clock, own } = setup(t);
    own.dueMs = 2_600;
    await clock.advance(2_500);
    assert.deepEqual(own.sweptAt, [0, 1_000, 2_000]);
    await clock.advance(100);
    assert.deepEqual(own.sweptAt, [0, 1_000, 2_000, 2_600]);
  });

  test('keeps looks apart, however much is due', async (t) => {
    const { clock, own } = setup(t);
    own.dueMs = 0;
    await clock.advance(1_000);
    assert.deepEqual(own.sweptAt, [0, 250, 500, 750, 1_000]);
  });

  test('does not look at once for a change while it waits for somebody', async (t) => {
    const { clock, own, sweep } = setup(t);
    own.dueMs = 30_000;
    await clock.advance(500);
    sweep.changed();
    await clock.advance(400);
    assert.deepEqual(own.sweptAt, [0]);
  });

  test('forgives the time in which it stood still, and a rest is none', async (t) => {
    const { clock, own, sweep } = setup(t);
    await clock.advance(60_000);
    own.dueMs = 90_000;
    sweep.changed();
    await clock.advance(1_000);
    assert.deepEqual(own.forgiven, []);
    clock.stalledMs = 5_000;
    await clock.advance(1_000);
    assert.deepEqual(own.forgiven, [6_000]);
  });
});

suite('LivenessStore.nextDueMs()', () => {
  async function open(
    t: TestContext,
    onChange: (own: LivenessStore, change: string) => Promise<void> = idle,
  ) {
    const clock = new FakeClock();
    const dataDir = tempFolder(t);
    const store = await openStore({ role: 'agent', dataDir, clock, limits: { ballastBytes: 0 } });
    t.after(() => store.close());
    const own: LivenessStore = await LivenessStore.open({
      store,
      clock,
      random: new SeededRandom(1),
      heldBy: 'agent',
      onChange: (_tx, change) => onChange(own, change),
    });
    const put = (patch: object) => own.put(systemCaller, web, { type: 'web', host: 'h', ...patch }, options);
    return { clock, own, put };
  }

  test('is the end of the shortest silence that would be a lapse', async (t) => {
    const { clock, own, put } = await open(t);
    assert.equal(own.nextDueMs(), never);
    await put({ ttlMs: 5_000, status: 'UP' });
    assert.equal(own.nextDueMs(), 5_000);
    await clock.advance(2_000);
    await own.beat(systemCaller, web);
    assert.equal(own.nextDueMs(), 7_000);
    await clock.advance(5_000);
    await own.sweep();
    assert.equal((await own.get(web)).reason, 'lapsed');
    assert.equal(own.nextDueMs(), never);
  });

  test('is never for a record that is DOWN by its own word', async (t) => {
    const { own, put } = await open(t);
    await put({ ttlMs: 5_000, status: 'DOWN' });
    assert.equal(own.nextDueMs(), never);
  });

  test('is the end of its ttl for a record that is unconfirmed since the start', async (t) => {
    const { clock, own, put } = await open(t);
    await put({ ttlMs: 5_000, status: 'DOWN' });
    await own.load();
    assert.equal(own.nextDueMs(), 5_000);
    await clock.advance(5_000);
    await own.sweep();
    assert.equal(own.nextDueMs(), never);
  });

  test('is now for one that was heard while its lapse was being written', async (t) => {
    const { clock, own, put } = await open(t, async (records, change) => {
      if (change === 'service.lapsed') await records.beat(systemCaller, web);
    });
    await put({ ttlMs: 5_000, status: 'UP' });
    await clock.advance(5_000);
    await own.sweep();
    assert.equal((await own.get(web)).status, 'DOWN');
    assert.equal(own.nextDueMs(), Number.NEGATIVE_INFINITY);
    await own.sweep();
    assert.equal((await own.get(web)).status, 'UP');
  });
});
