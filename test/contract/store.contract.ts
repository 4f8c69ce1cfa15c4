/**
 * What every store does, on whichever database: the rules of port.ts, the log's order and hashes, and what is told to
 * whom. Run by store.sqlite.test.ts and store.postgres.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Caller } from '../../src/domain/access.ts';
import { AppError, isAppError } from '../../src/domain/error.ts';
import type { EventDraft, Revision } from '../../src/domain/event.ts';
import type { CoreLimits, OpenStore } from '../../src/store/engine/core.ts';
import { chain, emptyHash } from '../../src/store/engine/log.ts';
import type { Dialect, Session, Transaction } from '../../src/store/engine/port.ts';
import { type Arg, compile } from '../../src/store/engine/query.ts';
import { FakeClock } from '../helpers/clock.ts';

/** A database that a test has for itself: opened, closed and opened again by the test. */
export interface StoreBed {
  open(options?: { limits?: Partial<CoreLimits>; clock?: FakeClock }): Promise<OpenStore>;
  /** Runs SQL beside the closed store, as a bad disk or a careless administrator would. */
  tamper(sql: string): Promise<void>;
}

export interface StoreContract {
  dialect: Dialect;
  bed(t: { after(fn: () => void | Promise<void>): void }): StoreBed | Promise<StoreBed>;
}

const caller: Caller = { role: 'admin', subject: 'token:ops' };
const everything = { revisions: 10_000, bytes: 1e9 };

export function storeContract({ dialect, bed }: StoreContract): void {
  const sql = statements(dialect);
  const put = (tx: Transaction, key: string, value: string) => tx.run(sql.put, { key, value });
  const read = (store: OpenStore) => store.read((session) => session.all(sql.all, {}));

  test('write() resolves with what the function returned, once it is committed', async (t) => {
    const store = await (await bed(t)).open();
    const result = await store.write(caller, async (tx) => {
      await put(tx, 'k', 'v');
      return 42;
    });
    assert.equal(result, 42);
    assert.deepEqual(await read(store), [{ key: 'k', value: 'v' }]);
    await store.close();
  });

  test('write() leaves no trace of a function that throws, and keeps its neighbours', async (t) => {
    const store = await (await bed(t)).open();
    const results = await Promise.allSettled([
      store.write(caller, async (tx) => {
        await put(tx, 'a', '1');
        tx.append(event('a'));
      }),
      store.write(caller, async (tx) => {
        await put(tx, 'b', '1');
        tx.append(event('b'));
        throw new AppError('conflict', 'refused');
      }),
      store.write(caller, async (tx) => {
        await put(tx, 'c', '1');
        tx.append(event('c'));
      }),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(
      (await read(store)).map(({ key }) => key),
      ['a', 'c'],
    );
    assert.deepEqual(namesOf(await store.log.read(0, everything)), [['a'], ['c']]);
    assert.equal(store.log.head().revision, 2);
    await store.close();
  });

  test('write() shows each function what those before it wrote, and a later failure changes nothing of that', async (t) => {
    const store = await (await bed(t)).open();
    const seen: (string | undefined)[] = [];
    await Promise.allSettled([
      store.write(caller, (tx) => put(tx, 'n', '1')),
      store.write(caller, async (tx) => {
        seen.push((await tx.get(sql.get, { key: 'n' }))?.value);
        await put(tx, 'n', '2');
        throw new Error('no');
      }),
      store.write(caller, async (tx) => {
        seen.push((await tx.get(sql.get, { key: 'n' }))?.value);
      }),
    ]);
    // The batch is undone when the second fails, and runs again with it undone alone.
    assert.deepEqual(seen, ['1', '1', '1']);
    await store.close();
  });

  test('write() rejects a function that throws before it writes without running the others again', async (t) => {
    const store = await (await bed(t)).open();
    let runs = 0;
    const results = await Promise.allSettled([
      store.write(caller, async (tx) => {
        runs += 1;
        await put(tx, 'a', '1');
      }),
      store.write(caller, async (tx) => {
        await tx.get(sql.get, { key: 'a' });
        throw new AppError('not-found', 'no');
      }),
    ]);
    assert.equal(results[1].status, 'rejected');
    assert.equal(runs, 1);
    await store.close();
  });

  test('write() fails a function that swallows the failure of a statement', async (t) => {
    const store = await (await bed(t)).open();
    const results = await Promise.allSettled([
      store.write(caller, (tx) => put(tx, 'a', '1')),
      store.write(caller, async (tx) => {
        await tx.run(sql.insert, { key: 'a', value: '2' }).catch(() => 0);
        return 'fine';
      }),
      store.write(caller, (tx) => put(tx, 'b', '1')),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(await read(store), [
      { key: 'a', value: '1' },
      { key: 'b', value: '1' },
    ]);
    await store.close();
  });

  test('Transaction refuses to be used after its function has ended', async (t) => {
    const store = await (await bed(t)).open();
    let leaked: Transaction | undefined;
    await store.write(caller, async (tx) => {
      leaked = tx;
      await put(tx, 'a', '1');
    });
    assert.throws(() => leaked?.append(event('late')), /after its function has ended/);
    await store.close();
  });

  test('write() tells effects, then listeners, then callers, in commit order', async (t) => {
    const store = await (await bed(t)).open();
    const told: string[] = [];
    store.log.subscribe((revisions) =>
      told.push(`log ${revisions.map(({ revision }) => revision)} of ${store.log.head().revision}`),
    );
    const one = (name: string) =>
      store
        .write(caller, async (tx) => {
          tx.append(event(name));
          tx.onCommit(() => told.push(`effect ${name}`));
        })
        .then(() => told.push(`caller ${name}`));
    await Promise.all([one('a'), one('b')]);
    assert.deepEqual(told, ['effect a', 'effect b', 'log 1,2 of 2', 'caller a', 'caller b']);
    await store.close();
  });

  test('write() survives an effect and a listener that throw', async (t) => {
    const store = await (await bed(t)).open();
    const told: string[] = [];
    store.log.subscribe(() => {
      throw new Error('bad listener');
    });
    store.log.subscribe(() => told.push('good listener'));
    await store.write(caller, async (tx) => {
      tx.append(event('a'));
      tx.onCommit(() => {
        throw new Error('bad effect');
      });
      tx.onCommit(() => told.push('good effect'));
    });
    assert.deepEqual(told, ['good effect', 'good listener']);
    await store.close();
  });

  test('write() gives one function one revision with its events in order', async (t) => {
    const store = await (await bed(t)).open({ clock: new FakeClock({ startMs: 1_000 }) });
    await store.write(caller, async (tx) => {
      tx.append({ type: 'service.set', host: 'h', service: 's', body: { text: 'ü \0 "' } });
      tx.append({ type: 'service.deleted', body: null });
    });
    const [revision] = await store.log.read(0, everything);
    const { epoch } = store.log.head();
    assert.deepEqual(revision?.events, [
      {
        position: `${epoch}.1`,
        index: 0,
        at: '1970-01-01T00:00:01.000Z',
        actor: 'token:ops',
        type: 'service.set',
        host: 'h',
        service: 's',
        body: { text: 'ü \0 "' },
      },
      {
        position: `${epoch}.1`,
        index: 1,
        at: '1970-01-01T00:00:01.000Z',
        actor: 'token:ops',
        type: 'service.deleted',
        body: null,
      },
    ]);
    assert.deepEqual(JSON.parse(revision?.encoded ?? ''), revision?.events);
    await store.close();
  });

  test('write() without events takes no revision', async (t) => {
    const store = await (await bed(t)).open();
    await store.write(caller, (tx) => put(tx, 'a', '1'));
    assert.equal(store.log.head().revision, 0);
    assert.equal(store.log.head().hash, emptyHash);
    await store.close();
  });

  test('write() refuses as unavailable when too many wait, and says when to come back', async (t) => {
    const limits = { queue: { batchCountMax: 2, batchTimeMaxMs: 20, lengthMax: 3 } };
    const store = await (await bed(t)).open({ limits });
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, (_, i) => store.write(caller, (tx) => put(tx, `k${i}`, ''))),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected'],
    );
    const refused = results[3];
    assert(refused?.status === 'rejected' && isAppError(refused.reason, 'unavailable'));
    assert((refused.reason.retryAfterMs ?? 0) >= 100);
    await store.close();
  });

  test('close() finishes what is queued and refuses the rest; what was acknowledged is there afterwards', async (t) => {
    const place = await bed(t);
    const store = await place.open();
    const writes = Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        store.write(caller, async (tx) => {
          await put(tx, `k${i}`, '');
          tx.append(event(`${i}`));
        }),
      ),
    );
    const closed = store.close();
    await assert.rejects(
      store.write(caller, (tx) => put(tx, 'late', '')),
      { code: 'unavailable' },
    );
    await writes;
    await closed;
    const head = store.log.head();
    assert.equal(head.revision, 10);
    const again = await place.open();
    assert.equal((await read(again)).length, 10);
    assert.deepEqual(again.log.head(), head);
    await again.close();
  });

  test('read() is one consistent view, also while writes commit', async (t) => {
    const store = await (await bed(t)).open();
    await store.write(caller, (tx) => put(tx, 'n', '0'));
    const views = await store.read(async (session) => {
      const first = (await session.get(sql.get, { key: 'n' }))?.value;
      await store.write(caller, (tx) => put(tx, 'n', '1'));
      return [first, (await session.get(sql.get, { key: 'n' }))?.value];
    });
    assert.deepEqual(views, ['0', '0']);
    assert.equal((await store.read((session) => session.get(sql.get, { key: 'n' })))?.value, '1');
    await store.close();
  });

  test('read() may be called many times at once', async (t) => {
    const store = await (await bed(t)).open();
    await store.write(caller, (tx) => put(tx, 'n', '0'));
    const twice = (session: Session) =>
      Promise.all([session.get(sql.get, { key: 'n' }), session.get(sql.get, { key: 'n' })]);
    const views = await Promise.all(Array.from({ length: 20 }, () => store.read(twice)));
    assert.deepEqual(new Set(views.flat().map((row) => row?.value)), new Set(['0']));
    await assert.rejects(
      store.read(() => Promise.reject(new Error('mine'))),
      /mine/,
    );
    assert.equal((await read(store)).length, 1);
    await store.close();
  });

  test('read() cannot write', async (t) => {
    const store = await (await bed(t)).open();
    await assert.rejects(store.read((session) => session.run(sql.put, { key: 'a', value: '1' })));
    assert.deepEqual(await read(store), []);
    await store.close();
  });

  test('log hashes chain each revision to all before it', async (t) => {
    const store = await (await bed(t)).open();
    await fill(store, 5);
    let hash = emptyHash;
    for (const { revision, encoded } of await store.log.read(0, everything)) {
      hash = chain(hash, revision, encoded);
      assert.equal(await store.log.hashAt(revision), hash);
    }
    assert.equal(store.log.head().hash, hash);
    assert.deepEqual(await store.verify(), { ok: true, from: 0, to: 5 });
    await store.close();
  });

  const altered = 'does not match its hash';
  for (const [what, change, detail] of [
    ['events', `UPDATE revisions SET events = replace(events, '"n3"', '"n9"') WHERE revision = 3`, altered],
    [
      'a hash',
      `UPDATE revisions SET hash = replace(hash, substr(hash, 20, 4), 'beef') WHERE revision = 3`,
      altered,
    ],
    ['a time', 'UPDATE revisions SET at_ms = at_ms + 1 WHERE revision = 3', /has another time/],
    ['a lost row', 'DELETE FROM revisions WHERE revision = 3', 'is missing'],
  ] as const) {
    test(`verify() names the revision with a change of ${what}, far from the end`, async (t) => {
      const place = await bed(t);
      const store = await place.open();
      await fill(store, 300);
      await store.close();
      await place.tamper(change);
      const again = await place.open();
      const found = await again.verify();
      assert(!found.ok);
      assert.equal(found.revision, 3);
      assert.match(found.detail, new RegExp(detail));
      assert.deepEqual(await again.verify({ from: 10 }), { ok: true, from: 10, to: 300 });
      await again.close();
    });
  }

  test('open refuses a log whose end does not hold together', async (t) => {
    const place = await bed(t);
    const store = await place.open();
    await fill(store, 3);
    await store.close();
    await place.tamper(`UPDATE revisions SET events = replace(events, '"n2"', '"n9"') WHERE revision = 2`);
    await assert.rejects(place.open(), { code: 'internal', message: /revision 2 does not match its hash/ });
  });

  test('log.read() answers the same from memory and from the database, and obeys its limits', async (t) => {
    const place = await bed(t);
    const store = await place.open({ limits: { ring: { countMax: 4, bytesMax: 1e6 } } });
    await fill(store, 10);
    const all = await store.log.read(0, everything);
    assert.deepEqual(
      all.map(({ revision }) => revision),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    );
    for (let after = 0; after <= 10; after += 1) {
      assert.deepEqual(
        namesOf(await store.log.read(after, everything)),
        namesOf(all.slice(after)),
        `after ${after}`,
      );
      assert.equal(
        (await store.log.read(after, { revisions: 2, bytes: 1e9 })).length,
        Math.min(2, 10 - after),
      );
      assert.equal((await store.log.read(after, { revisions: 5, bytes: 1 })).length, Math.min(1, 10 - after));
    }
    assert.deepEqual(await store.log.read(11, everything), []);
    await store.close();
  });

  test('compact() forgets what is too old or too much, never breaks a read, and keeps the chain', async (t) => {
    const clock = new FakeClock();
    const place = await bed(t);
    const limits = {
      compaction: { ageMaxMs: 60_000, countMax: 1_500 },
      ring: { countMax: 10, bytesMax: 1e6 },
    };
    const store = await place.open({ clock, limits });
    await fill(store, 600);
    await clock.advance(61_000);
    await fill(store, 1_400);
    assert.equal(await store.compact(), 600);
    assert.deepEqual(store.log.oldest(), { epoch: store.log.head().epoch, revision: 600 });
    await assert.rejects(store.log.read(599, everything), {
      code: 'compacted',
      details: { oldest: `${store.log.head().epoch}.600` },
    });
    assert.equal((await store.log.read(600, everything))[0]?.revision, 601);
    await fill(store, 200);
    assert.equal(await store.compact(), 100);
    assert.equal(store.log.oldest().revision, 700);
    assert.deepEqual(await store.verify(), { ok: true, from: 700, to: 2_200 });
    assert.equal(await store.log.hashAt(699), null);
    assert.match((await store.log.hashAt(700)) ?? '', /^sha256:/);
    await store.close();
    const again = await place.open({ clock, limits });
    assert.equal(again.log.oldest().revision, 700);
    await clock.advance(61_000);
    assert.equal(await again.compact(), 1_500);
    assert.equal(again.log.head().revision, 2_200);
    await again.close();
    const last = await place.open({ clock, limits });
    assert.deepEqual(last.log.head(), store.log.head());
    await fill(last, 1);
    assert.deepEqual(await last.verify(), { ok: true, from: 2_200, to: 2_201 });
    await last.close();
  });

  test('compact() stops at its signal and keeps what is done', async (t) => {
    const store = await (await bed(t)).open({ limits: { compaction: { ageMaxMs: 1e12, countMax: 1 } } });
    await fill(store, 3);
    const stopped = new Error('stopped');
    await assert.rejects(store.compact({ signal: AbortSignal.abort(stopped) }), stopped);
    assert.equal(store.log.oldest().revision, 0);
    await store.close();
  });

  test('beginEpoch() takes a greater epoch, tells of it, and hides what was before', async (t) => {
    const clock = new FakeClock({ startMs: 5_000 });
    const place = await bed(t);
    const store = await place.open({ clock });
    const first = store.log.head().epoch;
    assert.equal(first, 5_000);
    await fill(store, 2);
    const mark = await store.beginEpoch(caller, { atLeast: 9_000, reason: 'peer saw more' });
    assert.deepEqual(mark, store.log.head());
    assert.deepEqual({ epoch: mark.epoch, revision: mark.revision }, { epoch: 9_000, revision: 3 });
    assert.deepEqual(store.log.oldest(), { epoch: 9_000, revision: 2 });
    const [rewound] = await store.log.read(2, everything);
    assert.equal(rewound?.events[0]?.type, 'system.rewound');
    assert.equal(rewound?.events[0]?.position, '9000.3');
    assert.deepEqual(rewound?.events[0]?.body, { epoch: 9_000, previous: 5_000, reason: 'peer saw more' });
    await assert.rejects(store.log.read(1, everything), { code: 'compacted' });
    assert.equal(await store.log.hashAt(1), null);
    const next = await store.beginEpoch(caller, { atLeast: 0, reason: 'again' });
    assert.equal(next.epoch, 9_001);
    assert.deepEqual(await store.verify(), { ok: true, from: 0, to: 4 });
    await store.close();
    const again = await place.open({ clock });
    assert.deepEqual(again.log.head(), next);
    assert.deepEqual(again.log.oldest(), { epoch: 9_001, revision: 3 });
    await again.close();
  });

  test('beginEpoch() takes its place among other writes of the batch', async (t) => {
    const store = await (await bed(t)).open({ clock: new FakeClock({ startMs: 5_000 }) });
    const [, mark] = await Promise.all([
      store.write(caller, async (tx) => tx.append(event('before'))),
      store.beginEpoch(caller, { atLeast: 7_000, reason: 'r' }),
      store.write(caller, async (tx) => tx.append(event('after'))),
    ]);
    assert.deepEqual({ epoch: mark.epoch, revision: mark.revision }, { epoch: 7_000, revision: 2 });
    assert.deepEqual(store.log.oldest(), { epoch: 7_000, revision: 1 });
    const positions = (await store.log.read(1, everything)).map(({ events }) => events[0]?.position);
    assert.deepEqual(positions, ['7000.2', '7000.3']);
    await store.close();
  });

  test('write() in random batches with random failures does what a model does', async (t) => {
    const place = await bed(t);
    await fc.assert(
      fc.asyncProperty(
        fc.array(callPlan, { minLength: 1, maxLength: 24 }),
        fc.integer({ min: 1, max: 6 }),
        async (plans, batchCountMax) => {
          const store = await place.open({
            limits: { queue: { batchCountMax, batchTimeMaxMs: 1_000, lengthMax: 100 } },
          });
          await store.write(caller, (tx) => tx.run(sql.clear, {}));
          const before = store.log.head().revision;
          const effects: string[] = [];
          const told: Revision[] = [];
          store.log.subscribe((revisions) => told.push(...revisions));
          const results = await Promise.allSettled(
            plans.map((plan, i) => store.write(caller, (tx) => runPlan(tx, { plan, i, sql, effects }))),
          );
          const expected = model(plans);
          assert.deepEqual(
            results.map(({ status }) => status === 'fulfilled'),
            expected.fulfilled,
          );
          const rows = Object.fromEntries((await read(store)).map(({ key, value }) => [key, value]));
          assert.deepEqual(rows, expected.rows);
          assert.deepEqual(namesOf(told), expected.events);
          assert.deepEqual(namesOf(await store.log.read(before, everything)), expected.events);
          assert.deepEqual(
            told.map(({ revision }) => revision),
            expected.events.map((_, i) => before + 1 + i),
          );
          assert.deepEqual(effects, expected.effects);
          assert.equal((await store.verify()).ok, true);
          await store.close();
        },
      ),
      { numRuns: 60 },
    );
  });
}

/** One call: steps in order; `fail` throws, `bad` runs a statement that violates a constraint. */
type Step = { kind: 'put'; key: string } | { kind: 'event' } | { kind: 'fail' } | { kind: 'bad' };
const callPlan = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('put' as const), key: fc.constantFrom('a', 'b', 'c') }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('event' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('fail' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('bad' as const) }) },
  ),
  { maxLength: 5 },
);

async function runPlan(
  tx: Transaction,
  {
    plan,
    i,
    sql,
    effects,
  }: { plan: readonly Step[]; i: number; sql: ReturnType<typeof statements>; effects: string[] },
): Promise<void> {
  tx.onCommit(() => effects.push(`e${i}`));
  for (const [place, step] of plan.entries()) {
    switch (step.kind) {
      case 'put': {
        // Depends on what is there, so that a function run twice or on leftovers shows.
        const before = (await tx.get(sql.get, { key: step.key }))?.value ?? '';
        await tx.run(sql.put, { key: step.key, value: `${before}${i},` });
        break;
      }
      case 'event':
        tx.append(event(`${i}.${place}`));
        break;
      case 'fail':
        throw new AppError('conflict', 'planned');
      case 'bad':
        await tx.run(sql.insert, { key: 'z', value: null as never });
    }
  }
}

function model(plans: readonly (readonly Step[])[]) {
  const rows: Record<string, string> = {};
  const events: string[][] = [];
  const effects: string[] = [];
  const fulfilled = plans.map((plan, i) => {
    if (plan.some(({ kind }) => kind === 'fail' || kind === 'bad')) return false;
    const names: string[] = [];
    for (const [place, step] of plan.entries()) {
      if (step.kind === 'put') rows[step.key] = `${rows[step.key] ?? ''}${i},`;
      else names.push(`${i}.${place}`);
    }
    if (names.length > 0) events.push(names);
    effects.push(`e${i}`);
    return true;
  });
  return { rows, events, effects, fulfilled };
}

async function fill(store: OpenStore, count: number): Promise<void> {
  const first = store.log.head().revision;
  await Promise.all(
    Array.from({ length: count }, (_, i) =>
      store.write(caller, async (tx) => tx.append(event(`n${first + i + 1}`))),
    ),
  );
}

function event(name: string): EventDraft {
  return { type: 'service.set', body: name };
}

function namesOf(revisions: readonly Revision[]): unknown[][] {
  return revisions.map(({ events }) => events.map(({ body }) => body));
}

/** The table `meta` stands in for a table of a service; some keys of it are the store's own. */
const ownKeys = ['witness', 'log_base', 'restored', 'audit_head'];

function statements(dialect: Dialect) {
  return {
    put: compile(dialect, (db, arg: Arg<{ key: string; value: string }>) =>
      db
        .insertInto('meta')
        .values({ key: arg('key'), value: arg('value') })
        .onConflict((conflict) =>
          conflict.column('key').doUpdateSet({ value: (eb) => eb.ref('excluded.value') }),
        ),
    ),
    insert: compile(dialect, (db, arg: Arg<{ key: string; value: string }>) =>
      db.insertInto('meta').values({ key: arg('key'), value: arg('value') }),
    ),
    get: compile(dialect, (db, arg: Arg<{ key: string }>) =>
      db.selectFrom('meta').select('value').where('key', '=', arg('key')),
    ),
    all: compile(dialect, (db, _arg: Arg<object>) =>
      db.selectFrom('meta').selectAll().where('key', 'not in', ownKeys).orderBy('key'),
    ),
    clear: compile(dialect, (db, _arg: Arg<object>) => db.deleteFrom('meta').where('key', 'not in', ownKeys)),
  };
}
