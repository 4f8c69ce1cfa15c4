import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { startOutboxSender } from '../../src/agent/outbox.ts';
import { silentLogger } from '../../src/base/log.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import type { ReportBatch } from '../../src/domain/services.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { type Acked, Outbox } from '../../src/store/outbox.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';

async function start(t: TestContext, report: (batch: ReportBatch) => Promise<{ acked: number }>) {
  const clock = new FakeClock();
  const store = await openStore({
    role: 'agent',
    dataDir: tempFolder(t),
    clock,
    limits: { ballastBytes: 0 },
  });
  const outbox = await Outbox.open({
    store,
    reportAll: async () => [{ type: 'services', uuid: null, body: 'all' }],
  });
  await store.write(systemCaller, (tx) => outbox.reset(tx, { epoch: 1, acked: null }));
  const batches: ReportBatch[] = [];
  const conflicts: Acked[] = [];
  const ahead: Acked[] = [];
  const line = { up: true };
  const sender = startOutboxSender({
    clock,
    random: new SeededRandom(1),
    logger: silentLogger,
    hosts: {
      report: (_, __, batch) => {
        batches.push(batch);
        return report(batch);
      },
    },
    hostId: 'host',
    outbox,
    ready: () => line.up,
    onConflict: async (acked) => {
      conflicts.push(acked);
      await store.write(systemCaller, (tx) => outbox.reset(tx, { epoch: 1, acked }));
    },
    onAhead: async (acked) => {
      ahead.push(acked);
      await store.write(systemCaller, (tx) => outbox.reset(tx, { epoch: 1, acked }));
    },
  });
  outbox.onQueued(() => sender.wake());
  t.after(async () => {
    await sender.stop();
    await store.close();
  });
  const append = (...bodies: readonly unknown[]) =>
    store.write(systemCaller, async (tx) => {
      for (const body of bodies) await outbox.append(tx, { type: 'service', uuid: String(body), body });
    });
  return { clock, outbox, batches, conflicts, ahead, sender, append, line };
}

const takeAll = async (batch: ReportBatch) => ({ acked: batch.items.at(-1)?.seq ?? 0 });
const bodiesOf = (batch: ReportBatch | undefined) => batch?.items.map(({ body }) => body);

suite('startOutboxSender()', () => {
  test('sends what is queued, in batches of a thousand, and nothing while the registry is gone', async (t) => {
    const { clock, outbox, batches, append, line, sender } = await start(t, takeAll);
    line.up = false;
    await append(...Array.from({ length: 2_500 }, (_, i) => i));
    await clock.advance(60_000);
    assert.equal(batches.length, 0);
    line.up = true;
    sender.wake();
    await clock.advance(1_000);
    assert.deepEqual(
      batches.map(({ items }) => items.length),
      [1_000, 1_000, 501],
    );
    assert.equal(outbox.status().pending, 0);
  });

  test('takes a part that is acknowledged, and sends the rest again with the same numbers', async (t) => {
    const { clock, outbox, batches, append } = await start(t, async ({ items }) => ({
      acked: Math.min(items.at(-1)?.seq ?? 0, (items[0]?.seq ?? 0) + 1),
    }));
    await append('a', 'b', 'c', 'd');
    await clock.advance(1_000);
    assert.equal(outbox.status().pending, 0);
    const sent = new Map(batches.flatMap(({ items }) => items.map(({ seq, body }) => [seq, body])));
    assert.deepEqual(
      [...sent],
      [
        [1, 'all'],
        [2, 'a'],
        [3, 'b'],
        [4, 'c'],
        [5, 'd'],
      ],
    );
  });

  test('backs off when nothing is acknowledged, and obeys Retry-After', async (t) => {
    let failure: AppError | null = null;
    const { clock, batches } = await start(t, async () => {
      if (failure !== null) throw failure;
      return { acked: 0 };
    });
    await clock.advance(60_000);
    assert(batches.length >= 5 && batches.length <= 12, `${batches.length}`);
    failure = new AppError('rate-limited', 'slower', { retryAfterMs: 300_000 });
    await clock.advance(60_000);
    batches.length = 0;
    await clock.advance(250_000);
    assert.equal(batches.length, 0);
  });

  test('singles out a report that the registry refuses, gives it up and sends the others', async (t) => {
    const { clock, outbox, batches, append } = await start(t, async (batch) => {
      if (batch.items.some(({ body }) => body === 'bad'))
        throw new AppError('bad-request', 'no', { field: 'items/2/body' });
      return takeAll(batch);
    });
    await append('a', 'b', 'bad', 'c', 'd');
    await clock.advance(10_000);
    assert.deepEqual([outbox.status().pending, outbox.status().dropped], [0, 1]);
    const taken = batches.filter(({ items }) => items.every(({ body }) => body !== 'bad'));
    assert.deepEqual(
      taken.flatMap((batch) => bodiesOf(batch)),
      ['all', 'a', 'b', 'c', 'd'],
    );
    assert.deepEqual(
      taken.flatMap(({ items }) => items.map(({ seq }) => seq)),
      [1, 2, 3, 4, 5],
    );
  });

  test('never gives up the report of all records', async (t) => {
    let small = true;
    const { clock, outbox, batches, append } = await start(t, async (batch) => {
      if (small && batch.items.some(({ type }) => type === 'services')) throw new AppError('too-large', 'no');
      return takeAll(batch);
    });
    await append('a', 'b');
    await clock.advance(300_000);
    assert.deepEqual([outbox.status().pending, outbox.status().dropped], [3, 0]);
    assert(batches.length >= 5 && batches.length <= 25, `${batches.length} attempts, with back-off`);
    small = false;
    batches.length = 0;
    await clock.advance(60_000);
    assert.deepEqual(
      batches.flatMap((batch) => bodiesOf(batch)),
      ['all', 'a', 'b'],
    );
    assert.deepEqual([outbox.status().pending, outbox.status().dropped], [0, 0]);
  });

  test('begins a new life when the registry misses reports that it had acknowledged', async (t) => {
    let lost = false;
    const { clock, outbox, batches, append, conflicts } = await start(t, async (batch) => {
      if (lost && batch.items[0]?.seq !== 1)
        throw new AppError('conflict', 'report 1 is missing', { details: { expected: 1 } });
      return takeAll(batch);
    });
    await append('a');
    await clock.advance(1_000);
    lost = true;
    await append('b');
    await clock.advance(1_000);
    assert.equal(conflicts.length, 1);
    assert.deepEqual(bodiesOf(batches.at(-1)), ['b', 'all']);
    assert.equal(outbox.status().pending, 0);
  });

  test('goes beyond a later life that the registry knows', async (t) => {
    const { clock, outbox, batches, conflicts } = await start(t, async (batch) => {
      if (batch.epoch < 1_000)
        throw new AppError('conflict', 'epoch 1000 has begun', { details: { epoch: 1_000 } });
      return takeAll(batch);
    });
    await clock.advance(1_000);
    assert.deepEqual(conflicts, [{ epoch: 1_000, seq: 0 }]);
    assert.equal(batches.at(-1)?.epoch, 1_001);
    assert.equal(outbox.status().pending, 0);
  });

  test('tells when more is acknowledged than was ever sent', async (t) => {
    let first = true;
    const { clock, outbox, ahead } = await start(t, async (batch) => {
      if (!first) return takeAll(batch);
      first = false;
      return { acked: 50 };
    });
    await clock.advance(1_000);
    assert.equal(ahead.length, 1);
    assert.equal(outbox.status().pending, 0);
  });
});
