import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { systemCaller } from '../../src/domain/access.ts';
import type { ReportBatch } from '../../src/domain/services.ts';
import type { Store } from '../../src/store/engine/port.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { Outbox, type OutboxOptions, type ReportDraft } from '../../src/store/outbox.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';

type Limits = Pick<OutboxOptions, 'itemsMax' | 'bytesMax'>;

const everything: ReportDraft = { type: 'services', uuid: null, body: 'everything' };

async function open(t: TestContext, limits: Limits = {}) {
  const dataDir = tempFolder(t);
  const store = await openStore({
    role: 'agent',
    dataDir,
    clock: new FakeClock(),
    limits: { ballastBytes: 0 },
  });
  t.after(() => store.close());
  const outbox = await reopen(store, limits);
  await reset(store, outbox, null);
  assert.deepEqual(bodies(await outbox.cut()), ['everything']);
  assert.equal(await outbox.ack({ epoch: outbox.status().epoch, seq: 1 }), 'ok');
  return { store, outbox };
}

const reopen = (store: Store, limits: Limits = {}) =>
  Outbox.open({ store, reportAll: async () => [everything], ...limits });

function reset(store: Store, outbox: Outbox, acked: { epoch: number; seq: number } | null): Promise<void> {
  return store.write(systemCaller, (tx) => outbox.reset(tx, { epoch: 1, acked }));
}

async function append(
  store: Store,
  outbox: Outbox,
  ...reports: readonly (readonly [uuid: string, body: unknown])[]
): Promise<void> {
  for (const [uuid, body] of reports) {
    await store.write(systemCaller, (tx) =>
      outbox.append(tx, { type: body === 'deleted' ? 'service-deleted' : 'service', uuid, body }),
    );
  }
}

const bodies = (batch: ReportBatch | null) => batch?.items.map(({ body }) => body) ?? [];
const seqs = (batch: ReportBatch | null) => batch?.items.map(({ seq }) => seq) ?? [];

suite('Outbox', () => {
  test('hands out the same numbers until they are acknowledged, also after a restart', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 1], ['b', 2], ['a', 3]);
    assert.deepEqual(seqs(await outbox.cut({ items: 2, bytes: 1_000 })), [2, 3]);
    const again = await reopen(store);
    assert.deepEqual(bodies(await again.cut({ items: 2, bytes: 1_000 })), [1, 2]);
    assert.deepEqual(seqs(await again.cut()), [2, 3, 4]);
    const { epoch } = again.status();
    assert.equal(await again.ack({ epoch, seq: 3 }), 'ok');
    assert.equal(await again.ack({ epoch, seq: 2 }), 'ok', 'an old acknowledgement changes nothing');
    assert.equal(await again.ack({ epoch: epoch - 1, seq: 4 }), 'ok', 'nor one of another life');
    assert.deepEqual([seqs(await again.cut()), bodies(await again.cut())], [[4], [3]]);
  });

  test('keeps a report if and only if its transaction commits', async (t) => {
    const { store, outbox } = await open(t);
    let wakes = 0;
    outbox.onQueued(() => {
      wakes += 1;
    });
    const refused = store.write(systemCaller, async (tx) => {
      await outbox.append(tx, { type: 'service', uuid: 'a', body: 1 });
      throw new Error('no');
    });
    await assert.rejects(refused, { message: 'no' });
    assert.equal(await outbox.cut(), null);
    assert.deepEqual([outbox.status().pending, wakes], [0, 0]);
    await append(store, outbox, ['a', 2]);
    assert.deepEqual([outbox.status().pending, wakes], [1, 1]);
  });

  test('cuts by bytes, but sends a report that is larger alone', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 'x'.repeat(5_000)], ['b', 'y'], ['c', 'z'.repeat(900)]);
    const { epoch } = outbox.status();
    assert.deepEqual(seqs(await outbox.cut({ items: 10, bytes: 1_000 })), [2]);
    await outbox.ack({ epoch, seq: 2 });
    assert.deepEqual(seqs(await outbox.cut({ items: 10, bytes: 1_000 })), [3]);
  });

  test('says that it is behind when more is acknowledged than was sent', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 1], ['b', 2]);
    await outbox.cut({ items: 1, bytes: 1_000 });
    const { epoch } = outbox.status();
    assert.equal(await outbox.ack({ epoch, seq: 3 }), 'ahead');
    assert.equal(outbox.status().pending, 2);
    assert.equal(await outbox.ack({ epoch, seq: 2 }), 'ok');
  });

  test('drops superseded reports of a record when full, the oldest first, without a hole in the numbers', async (t) => {
    const { store, outbox } = await open(t, { itemsMax: 10 });
    await append(store, outbox, ['sent', 0], ['sent', 1]);
    assert.deepEqual(seqs(await outbox.cut()), [2, 3]);
    for (let n = 0; n < 5; n += 1) await append(store, outbox, ['a', `a${n}`]);
    await append(store, outbox, ['b', 'b'], ['c', 'deleted'], ['a', 'a5'], ['d', 'd']);
    const batch = await outbox.cut();
    assert.deepEqual(
      bodies(batch),
      [0, 1, 'a3', 'a4', 'b', 'deleted', 'a5', 'd'],
      'what was sent keeps its number',
    );
    assert.deepEqual(seqs(batch), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual([outbox.status().pending, outbox.status().dropped], [8, 3]);
  });

  test('gives way to one report of everything when nothing is superseded', async (t) => {
    const { store, outbox } = await open(t, { itemsMax: 10 });
    await append(store, outbox, ['sent', 'sent']);
    await outbox.cut();
    for (let n = 0; n < 10; n += 1) await append(store, outbox, [`u${n}`, n]);
    assert.deepEqual(bodies(await outbox.cut()), ['sent', 'everything']);
    assert.equal(outbox.status().dropped, 10);
    await append(store, outbox, ['u0', 'after']);
    assert.deepEqual(bodies(await outbox.cut()), ['sent', 'everything', 'after']);
  });

  test('is bounded by bytes too', async (t) => {
    const { store, outbox } = await open(t, { bytesMax: 10_000 });
    for (let n = 0; n < 100; n += 1) await append(store, outbox, [`u${n % 20}`, 'x'.repeat(1_000)]);
    assert(outbox.status().pendingBytes <= 10_000);
    const batch = await outbox.cut({ items: 1_000, bytes: 1_000_000 });
    assert.equal(outbox.status().pending, batch?.items.length);
  });

  test('discard() gives up the first report, and the next one takes its number', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 1], ['b', 2]);
    await outbox.cut({ items: 1, bytes: 1_000 });
    const { epoch } = outbox.status();
    await outbox.discard({ epoch, seq: 3 });
    assert.equal(outbox.status().pending, 2, 'only the first one');
    await outbox.discard({ epoch, seq: 2 });
    const batch = await outbox.cut();
    assert.deepEqual([seqs(batch), bodies(batch), outbox.status().dropped], [[2], [2], 1]);
  });

  test('keeps nothing while it is suspended, and begins anew with everything', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 1]);
    await outbox.suspend();
    await append(store, outbox, ['a', 2]);
    assert.equal(await outbox.cut(), null);
    const { epoch } = outbox.status();
    await reset(store, outbox, null);
    const batch = await outbox.cut();
    assert.deepEqual([bodies(batch), seqs(batch)], [['everything'], [1]]);
    assert((batch?.epoch ?? 0) > epoch);
  });
});

suite('Outbox.reset()', () => {
  test('carries over what is not in effect, numbered anew, and everything after it', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 1], ['b', 2], ['c', 3]);
    await outbox.cut({ items: 2, bytes: 1_000 });
    const { epoch } = outbox.status();
    await reset(store, outbox, { epoch, seq: 2 });
    const batch = await outbox.cut();
    assert.deepEqual(
      [seqs(batch), bodies(batch)],
      [
        [1, 2, 3],
        [2, 3, 'everything'],
      ],
    );
    assert((batch?.epoch ?? 0) > epoch);
  });

  test('carries over all when the registry has none of this life', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 1]);
    await reset(store, outbox, null);
    assert.deepEqual(bodies(await outbox.cut()), [1, 'everything']);
  });

  test('leaves out what an earlier process queued when the registry knows a later life, and keeps what is new', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 'old']);
    const later = await reopen(store);
    await append(store, later, ['a', 'new']);
    const { epoch } = later.status();
    await reset(store, later, { epoch: epoch + 5, seq: 77 });
    const batch = await later.cut();
    assert.deepEqual(bodies(batch), ['new', 'everything']);
    assert((batch?.epoch ?? 0) > epoch + 5);
  });

  test('never takes for in effect what was queued after the rewind', async (t) => {
    const { store, outbox } = await open(t);
    await append(store, outbox, ['a', 'old']);
    const restored = await reopen(store);
    await append(store, restored, ['a', 'new'], ['a', 'newer']);
    const { epoch } = restored.status();
    assert.equal(await restored.ack({ epoch, seq: 3 }), 'ahead');
    await reset(store, restored, { epoch, seq: 3 });
    assert.deepEqual(bodies(await restored.cut()), ['new', 'newer', 'everything']);
  });
});

test('Outbox: a registry that applies each number once ends with all of it in order, whatever happens', async (t) => {
  const random = SeededRandom.fresh(t);
  const { store, outbox: first } = await open(t);
  let outbox = first;
  const applied: number[] = [];
  let acked = { epoch: outbox.status().epoch, seq: 1 };
  let appended = 0;
  for (let step = 0; step < 500; step += 1) {
    const dice = random.uniform();
    if (dice < 0.5) {
      appended += 1;
      await append(store, outbox, ['a', appended]);
    } else if (dice < 0.55) outbox = await reopen(store);
    else {
      const batch = await outbox.cut({ items: random.integer(1, 5), bytes: 100_000 });
      if (batch === null || random.uniform() < 0.2) continue;
      for (const { seq, body } of batch.items) {
        if (seq <= acked.seq) continue;
        assert.equal(seq, acked.seq + 1);
        applied.push(body as number);
        acked = { epoch: batch.epoch, seq };
      }
      if (random.uniform() < 0.7) assert.equal(await outbox.ack(acked), 'ok');
    }
  }
  for (let batch = await outbox.cut(); batch !== null; batch = await outbox.cut()) {
    for (const { seq, body } of batch.items) if (seq > acked.seq) applied.push(body as number);
    acked = { epoch: batch.epoch, seq: Math.max(acked.seq, batch.items.at(-1)?.seq ?? 0) };
    await outbox.ack(acked);
  }
  assert.deepEqual(
    applied,
    Array.from({ length: appended }, (_, i) => i + 1),
  );
});
