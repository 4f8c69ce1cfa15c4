/**
 * What the store costs: durable writes per second through the queue, and the query layer against prepared SQL by hand.
 *
 *     node test/bench/store.ts
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { systemClock } from '../../src/base/clock.ts';
import { formatInstant } from '../../src/base/time.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { chain, emptyHash } from '../../src/store/engine/log.ts';
import { type Arg, compile } from '../../src/store/engine/query.ts';
import { SqliteSession } from '../../src/store/engine/sqlite.ts';
import { openStore } from '../../src/store/engine/store.ts';

const durationMs = Number(process.argv[2] ?? 3_000);

const touch = compile('sqlite', (db, arg: Arg<{ uuid: string; at: number }>) =>
  db
    .updateTable('services')
    .set({ last_seen_ms: arg('at') })
    .where('uuid', '=', arg('uuid')),
);
const find = compile('sqlite', (db, arg: Arg<{ uuid: string }>) =>
  db.selectFrom('services').selectAll().where('uuid', '=', arg('uuid')),
);
const insert = compile('sqlite', (db, arg: Arg<{ uuid: string; host: string }>) =>
  db.insertInto('services').values({
    uuid: arg('uuid'),
    type: 'web',
    host: arg('host'),
    status: 'UP',
    ttl_ms: 60_000,
    held_by: 'registry',
    version: 1,
  } as never),
);

const uuidOf = (i: number) => `00000000-0000-7000-8000-${String(i).padStart(12, '0')}`;
const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
try {
  await run();
} finally {
  rmSync(dataDir, { recursive: true });
}

async function run() {
  const store = await openStore({
    role: 'registry',
    dataDir,
    clock: systemClock,
    limits: { ballastBytes: 0 },
  });
  await store.write(systemCaller, async (tx) => {
    for (let i = 0; i < 1_000; i += 1) await tx.run(insert, { uuid: uuidOf(i), host: `h${i}` });
  });
  for (const [name, events, callers] of [
    ['update + event', true, 64],
    ['update + event', true, 512],
    ['update + event', true, 1],
    ['update only', false, 64],
  ] as const) {
    const cpu = process.cpuUsage();
    const started = performance.now();
    let done = 0;
    await Promise.all(
      Array.from({ length: callers }, async (_, caller) => {
        while (performance.now() - started < durationMs) {
          const uuid = uuidOf((caller * 31 + done) % 1_000);
          await store.write(systemCaller, async (tx) => {
            await tx.run(touch, { uuid, at: tx.now });
            if (events)
              tx.append({
                type: 'service.set',
                host: 'h1',
                service: 'web',
                body: { uuid, type: 'web', host: 'h1', status: 'UP', ttl: 60, version: 3 },
              });
          });
          done += 1;
        }
      }),
    );
    const ms = performance.now() - started;
    const used = process.cpuUsage(cpu);
    console.log(
      `${name}, ${callers} callers: ${Math.round(done / (ms / 1000))}/s, ${((used.user + used.system) / done).toFixed(1)} µs CPU each`,
    );
  }
  await store.close();
  await layer();
}

/** The least that the same durable work costs: 64 updates and revisions in a transaction, prepared by hand. */
function byHand(db: Database.Database): void {
  db.pragma('synchronous = FULL');
  const update = db.prepare(touch.sql);
  const add = db.prepare('insert into revisions values (?, ?, ?, ?)');
  let revision = db.prepare<[], number>('select max(revision) from revisions').pluck().get() ?? 0;
  let previous = emptyHash;
  const batch = db.transaction(() => {
    for (let i = 0; i < 64; i += 1) {
      const uuid = uuidOf((revision * 31) % 1_000);
      const now = Date.now();
      update.run(now, uuid);
      revision += 1;
      const body = { uuid, type: 'web', host: 'h1', status: 'UP', ttl: 60, version: 3 };
      const event = {
        position: `1.${revision}`,
        index: 0,
        at: formatInstant(now),
        actor: 'system',
        type: 'service.set',
        host: 'h1',
        service: 'web',
        body,
      };
      const events = JSON.stringify([event]);
      previous = chain(previous, revision, events);
      add.run(revision, now, events, previous);
    }
  });
  const started = performance.now();
  let done = 0;
  while (performance.now() - started < durationMs) {
    batch();
    done += 64;
  }
  console.log(
    `update + event by hand, 64 a commit: ${Math.round(done / ((performance.now() - started) / 1_000))}/s`,
  );
}

async function layer() {
  const db = new Database(join(dataDir, 'holdfast.db'));
  byHand(db);
  const session = new SqliteSession(db);
  const count = 200_000;
  const prepared = db.prepare(find.sql);
  for (let round = 0; round < 3; round += 1) {
    const a = performance.now();
    for (let i = 0; i < count; i += 1) prepared.get(uuidOf(i % 1_000));
    const b = performance.now();
    for (let i = 0; i < count; i += 1) await session.get(find, { uuid: uuidOf(i % 1_000) });
    const c = performance.now();
    const [hand, layered] = [b - a, c - b].map((ms) => ((ms * 1_000) / count).toFixed(2));
    console.log(`point read: by hand ${hand} µs, Session.get ${layered} µs`);
  }
  db.close();
}
