/** Opening a store on SQLite, and staying alive: newer and damaged databases, full disks, commits without an answer. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { type Logger, silentLogger } from '../../../src/base/log.ts';
import { systemCaller } from '../../../src/domain/access.ts';
import type { EventDraft } from '../../../src/domain/event.ts';
import type { OpenStore } from '../../../src/store/engine/core.ts';
import { copiesOf } from '../../../src/store/engine/files.ts';
import { migrationFiles } from '../../../src/store/engine/migrations.ts';
import {
  connect,
  prepareConnection,
  SqliteDriver,
  type SqliteOptions,
} from '../../../src/store/engine/sqlite.ts';
import { openStore, type StoreOptions } from '../../../src/store/engine/store.ts';
import { FakeClock } from '../../helpers/clock.ts';
import { tempFolder } from '../../helpers/temp.ts';

const note: EventDraft = { type: 'service.set', body: 'x' };
const noBallast = { ballastBytes: 0 };

function open(dataDir: string, options: Partial<StoreOptions> = {}): Promise<OpenStore> {
  return openStore({ role: 'registry', dataDir, clock: new FakeClock(), limits: noBallast, ...options });
}

/** Writes `count` revisions. */
async function fill(store: OpenStore, count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, () => store.write(systemCaller, async (tx) => tx.append(note))),
  );
}

function sql(text: string) {
  return { sql: text, parameters: [], query: undefined as never, queryId: undefined as never };
}

/** Everything that a reader of the folder could see change. */
function fingerprint(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder)
      .filter((name) => name !== 'owner.lock')
      .map((name) => {
        const path = join(folder, name);
        return [
          name,
          `${statSync(path).mtimeMs} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`,
        ];
      }),
  );
}

test('openStore() makes a private directory and a database with everything that durability needs', async (t) => {
  const dataDir = join(tempFolder(t), 'deep', 'registry');
  const store = await open(dataDir);
  assert.equal(statSync(dataDir).mode & 0o777, 0o700);
  assert.equal(statSync(join(dataDir, 'holdfast.db')).mode & 0o777, 0o600);
  const found = await store.write(systemCaller, async (tx) => ({
    journal: await tx.query(sql('pragma journal_mode')),
    synchronous: await tx.query(sql('pragma synchronous')),
    keys: await tx.query(sql('pragma foreign_keys')),
  }));
  assert.deepEqual(found, {
    journal: [{ journal_mode: 'wal' }],
    synchronous: [{ synchronous: 2 }],
    keys: [{ foreign_keys: 1 }],
  });
  await store.close();
});

test('openStore() opens an agent store with its own tables', async (t) => {
  const store = await open(tempFolder(t), { role: 'agent' });
  const tables = await store.read((session) =>
    session.query<{ name: string }>(sql("select name from sqlite_schema where type = 'table'")),
  );
  assert(tables.some(({ name }) => name === 'outbox'));
  assert(!tables.some(({ name }) => name === 'hosts'));
  await store.close();
});

for (const mode of [0o777, 0o770, 0o702]) {
  test(`openStore() refuses a directory of mode ${mode.toString(8)}, which others can write to`, async (t) => {
    const dataDir = tempFolder(t);
    chmodSync(dataDir, mode);
    await assert.rejects(open(dataDir), {
      code: 'forbidden',
      message: /others can write to it .*; run "chmod 700 /,
    });
    assert.equal(statSync(dataDir).mode & 0o777, mode);
  });
}

test('openStore() closes its directory when others can read it, and says so', async (t) => {
  const dataDir = tempFolder(t);
  const said: unknown[] = [];
  const logger = { ...silentLogger, warn: (fields: object) => said.push(fields) } as Logger;
  for (const mode of [0o755, 0o750]) {
    chmodSync(dataDir, mode);
    await (await open(dataDir, { logger })).close();
    assert.equal(statSync(dataDir).mode & 0o777, 0o700);
  }
  assert.deepEqual(said, [
    { dataDir, mode: '755' },
    { dataDir, mode: '750' },
  ]);
});

test('openStore() does not take over a directory that others can read and that holds something else', async (t) => {
  const dataDir = tempFolder(t);
  writeFileSync(join(dataDir, 'notes.txt'), 'x');
  chmodSync(dataDir, 0o755);
  await assert.rejects(open(dataDir), { code: 'forbidden', message: /others can read it .* something else/ });
  assert.equal(statSync(dataDir).mode & 0o777, 0o755);
  chmodSync(dataDir, 0o700);
  await (await open(dataDir)).close();
});

test('openStore() refuses the store of the other role and leaves it as it is', async (t) => {
  const dataDir = tempFolder(t);
  await (await open(dataDir, { role: 'agent' })).close();
  const before = fingerprint(dataDir);
  await assert.rejects(open(dataDir), {
    code: 'unprocessable',
    message: /it is the store of an agent, expected that of a registry/,
  });
  assert.deepEqual(fingerprint(dataDir), before);
});

test('openStore() refuses a newer database, says both versions and writes nothing', async (t) => {
  const dataDir = tempFolder(t);
  const files = migrationFiles('registry', 'sqlite');
  const next = { version: files.length + 1, name: 'more', sql: 'CREATE TABLE more (a INTEGER) STRICT;' };
  await (await open(dataDir, { migrations: [...files, next] })).close();
  const before = fingerprint(dataDir);
  await assert.rejects(open(dataDir, { migrations: files }), {
    code: 'unprocessable',
    message: new RegExp(
      `its schema has version ${next.version}, this holdfast knows up to ${files.length}; run the newer holdfast`,
    ),
  });
  assert.deepEqual(fingerprint(dataDir), before);
});

test('openStore() migrates an older database and keeps a copy that names its version', async (t) => {
  const dataDir = tempFolder(t);
  const files = migrationFiles('registry', 'sqlite');
  const store = await open(dataDir);
  await fill(store, 3);
  const head = store.log.head();
  await store.close();
  const next = { version: files.length + 1, name: 'more', sql: 'CREATE TABLE more (a INTEGER) STRICT;' };
  // What a crash leaves while it copies.
  const file = join(dataDir, 'holdfast.db');
  writeFileSync(`${file}.v${files.length}.partial`, 'half a copy', { mode: 0o644 });
  const migrated = await open(dataDir, { migrations: [...files, next] });
  assert.deepEqual(migrated.log.head(), head);
  assert.deepEqual(await migrated.read((session) => session.query(sql('select count(*) as n from more'))), [
    { n: 0 },
  ]);
  await migrated.close();
  assert.deepEqual(copiesOf(file), [`${file}.v${files.length}`]);
  assert(!existsSync(`${file}.v${files.length}.partial`));
  const copy = new Database(`${file}.v${files.length}`, { readonly: true });
  assert.equal(copy.prepare('select max(version) from migrations').pluck().get(), files.length);
  assert.equal(copy.prepare('select count(*) from revisions').pluck().get(), 3);
  copy.close();
  for (const name of readdirSync(dataDir))
    assert.equal(statSync(join(dataDir, name)).mode & 0o077, 0, `${name} is open to others`);
});

test('openStore() leaves nothing of a migration that fails, and keeps those before it', async (t) => {
  const dataDir = tempFolder(t);
  const files = migrationFiles('registry', 'sqlite');
  await (await open(dataDir)).close();
  const good = { version: files.length + 1, name: 'good', sql: 'CREATE TABLE good (a INTEGER) STRICT;' };
  const bad = {
    version: files.length + 2,
    name: 'bad',
    sql: 'CREATE TABLE bad (a INTEGER) STRICT; SELECT nonsense;',
  };
  await assert.rejects(open(dataDir, { migrations: [...files, good, bad] }), {
    message: /schema version \d+ \(bad\): no such column/,
  });
  const store = await open(dataDir, { migrations: [...files, good] });
  const tables = await store.read((session) =>
    session.query(sql("select name from sqlite_schema where name in ('good', 'bad')")),
  );
  assert.deepEqual(tables, [{ name: 'good' }]);
  await store.close();
});

test('prepareConnection() refuses a connection without WAL', (t) => {
  const file = join(tempFolder(t), 'a.db');
  const db = connect({ file, mode: 'create' });
  t.after(() => db.close());
  db.exec('CREATE TABLE a (a)');
  assert.throws(() => prepareConnection(db, { applicationId: 7 }), {
    code: 'unprocessable',
    message: /its application_id is 0, expected 7/,
  });
});

for (const [what, harm] of [
  [
    'garbage in its header',
    (file: string) => writeFileSync(file, 'not a database at all, sorry'.repeat(1_000)),
  ],
  ['no bytes', (file: string) => truncateSync(file, 0)],
  ['half of its bytes', (file: string) => truncateSync(file, statSync(file).size / 2)],
  ['only its log left', (file: string) => renameSync(file, `${file}-wal`)],
] as const) {
  test(`openStore() says of a database with ${what} which file, which copy and which command`, async (t) => {
    const dataDir = tempFolder(t);
    const store = await open(dataDir);
    await fill(store, 400);
    await store.close();
    const file = join(dataDir, 'holdfast.db');
    writeFileSync(`${file}.v1`, 'a copy');
    harm(file);
    const before = fingerprint(dataDir);
    await assert.rejects(open(dataDir), (error: Error) => {
      assert.match(
        error.message,
        /Cannot open ".*holdfast\.db": it is (damaged|empty|missing).*Nothing was changed/,
      );
      assert(
        error.message.includes(`run "holdfast restore ${file}.v1 --data-dir ${dataDir} --force"`),
        error.message,
      );
      return true;
    });
    assert.deepEqual(fingerprint(dataDir), before);
  });
}

test('Store answers storage-full, keeps reading, and writes again by itself when there is room', async (t) => {
  const dataDir = tempFolder(t);
  const clock = new FakeClock();
  const store = await open(dataDir, { clock, limits: { ballastBytes: 1024 * 1024 } });
  await fill(store, 1);
  assert.deepEqual(store.health(), { state: 'ok', detail: null, ballast: 'ready', waiting: 0 });
  const pages =
    (await store.write(systemCaller, (tx) => tx.query<{ page_count: number }>(sql('pragma page_count'))))[0]
      ?.page_count ?? 0;
  await store.write(systemCaller, (tx) => tx.query(sql(`pragma max_page_count = ${pages + 2}`)));
  const big = { ...note, body: 'x'.repeat(100_000) };
  const results = await Promise.allSettled([
    store.write(systemCaller, async (tx) => tx.append(note)),
    store.write(systemCaller, async (tx) => tx.append(big)),
  ]);
  for (const result of results) assert(result.status === 'rejected' && result.reason.code === 'storage-full');
  assert.equal(store.health().state, 'storage-full');
  assert.equal(store.health().ballast, 'released');
  assert(!existsSync(join(dataDir, 'ballast')));
  await assert.rejects(fill(store, 1), { code: 'storage-full', retryAfterMs: 1_000 });
  assert.equal((await store.log.read(0, { revisions: 9, bytes: 1e6 })).length, 1);
  await clock.advance(1_000);
  assert.deepEqual(store.health(), { state: 'ok', detail: null, ballast: 'ready', waiting: 0 });
  await fill(store, 1);
  assert.equal(store.log.head().revision, 2);
  assert.equal((await store.verify()).ok, true);
  await store.close();
});

test('Store answers storage-full and comes back also when its ballast cannot be given back', async (t) => {
  const dataDir = tempFolder(t);
  const clock = new FakeClock();
  const store = await open(dataDir, { clock, limits: { ballastBytes: 1024 * 1024 } });
  rmSync(join(dataDir, 'ballast'));
  mkdirSync(join(dataDir, 'ballast'));
  await store.write(systemCaller, (tx) => tx.query(sql('pragma max_page_count = 1')));
  const big = { ...note, body: 'x'.repeat(1_000_000) };
  await assert.rejects(
    store.write(systemCaller, async (tx) => tx.append(big)),
    { code: 'storage-full' },
  );
  assert.equal(store.health().state, 'storage-full');
  await clock.advance(1_000);
  assert.equal(store.health().state, 'ok');
  await store.close();
});

/** Loses the answer of the next commit, after or instead of making it. */
class FailingDriver extends SqliteDriver {
  next: 'kept' | 'lost' | undefined;
  reopenFails = 0;

  override async commit(): Promise<void> {
    const { next } = this;
    this.next = undefined;
    if (next === 'kept') await super.commit();
    if (next !== undefined) throw new Database.SqliteError('disk I/O error', 'SQLITE_IOERR_FSYNC');
    await super.commit();
  }

  override async reopen(): Promise<void> {
    this.reopenFails -= 1;
    if (this.reopenFails >= 0) throw new Database.SqliteError('disk I/O error', 'SQLITE_IOERR_READ');
    await super.reopen();
  }
}

async function openFailing(
  dataDir: string,
  clock: FakeClock,
): Promise<{ store: OpenStore; driver: FailingDriver }> {
  let driver: FailingDriver | undefined;
  const openDriver = (options: SqliteOptions) => {
    driver = new FailingDriver(options);
    return driver;
  };
  const store = await open(dataDir, { clock, openDriver });
  assert(driver !== undefined);
  return { store, driver };
}

for (const outcome of ['kept', 'lost'] as const) {
  for (const events of [1, 0]) {
    test(`Store never acknowledges a commit without an answer, and finds out that it was ${outcome} (${events} events)`, async (t) => {
      const clock = new FakeClock();
      const { store, driver } = await openFailing(tempFolder(t), clock);
      await fill(store, 2);
      const told: number[] = [];
      store.log.subscribe((revisions) => told.push(...revisions.map(({ revision }) => revision)));
      let effect = false;
      driver.next = outcome;
      const write = store.write(systemCaller, async (tx) => {
        await tx.query(sql("insert into meta values ('k', 'v')"));
        for (let i = 0; i < events; i += 1) tx.append(note);
        tx.onCommit(() => {
          effect = true;
        });
      });
      await assert.rejects(write, { code: 'unavailable', message: /Cannot tell whether this write is kept/ });
      assert.equal(store.health().state, 'failed');
      assert.equal(store.log.head().revision, 2);
      assert.equal(effect, false);
      await assert.rejects(fill(store, 1), { code: 'unavailable' });
      await clock.advance(100);
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(store.health().state, 'ok');
      assert.equal(effect, outcome === 'kept');
      assert.deepEqual(told, outcome === 'kept' && events === 1 ? [3] : []);
      const rows = await store.read((session) =>
        session.query(sql("select value from meta where key = 'k'")),
      );
      assert.equal(rows.length, outcome === 'kept' ? 1 : 0);
      await fill(store, 1);
      assert.equal((await store.verify()).ok, true);
      await store.close();
    });
  }
}

test('Store tries again with growing pauses when the database cannot be reopened', async (t) => {
  const clock = new FakeClock();
  const { store, driver } = await openFailing(tempFolder(t), clock);
  driver.next = 'lost';
  driver.reopenFails = 2;
  await assert.rejects(fill(store, 1), { code: 'unavailable' });
  await clock.advance(100);
  assert.match(store.health().detail ?? '', /cannot be trusted yet \(disk I\/O error\)/);
  await clock.advance(200);
  assert.equal(store.health().state, 'failed');
  await clock.advance(400);
  assert.equal(store.health().state, 'ok');
  await fill(store, 1);
  await store.close();
});

test('Store stays failed when the reopened database lacks what was acknowledged', async (t) => {
  const dataDir = tempFolder(t);
  const clock = new FakeClock();
  const { store, driver } = await openFailing(dataDir, clock);
  await fill(store, 3);
  driver.next = 'lost';
  await assert.rejects(fill(store, 1), { code: 'unavailable' });
  const db = new Database(join(dataDir, 'holdfast.db'));
  db.exec('DELETE FROM revisions WHERE revision = 3');
  db.close();
  await clock.advance(100);
  assert.equal(store.health().state, 'failed');
  assert.match(store.health().detail ?? '', /revision 3 is not what was committed: it ends at 2, expected 3/);
  await store.close();
});

for (const name of ['holdfast.db', 'holdfast.db-wal', 'owner.lock']) {
  test(`Store writes nothing more once ${name} is deleted, says so, and a backup has everything`, async (t) => {
    const dataDir = tempFolder(t);
    const clock = new FakeClock();
    const said: string[] = [];
    const logger: Logger = { ...silentLogger, error: (_fields, message) => said.push(message) };
    const store = await open(dataDir, { clock, logger });
    t.after(() => store.close());
    await fill(store, 3);
    const path = join(dataDir, name);
    const aside = join(tempFolder(t), name);
    renameSync(path, aside);
    await clock.advance(5_000);
    assert.equal(store.health().state, 'failed');
    assert.match(
      store.health().detail ?? '',
      /was deleted while it was in use; nothing is written.*holdfast backup/,
    );
    assert.deepEqual(said, ['store refuses writes']);
    await assert.rejects(fill(store, 1), { code: 'unavailable' });
    await clock.advance(60_000);
    assert.deepEqual(said, ['store refuses writes'], 'said once');
    const copy = join(tempFolder(t), 'copy');
    await store.backup(copy);
    assert.equal((await store.log.read(0, { revisions: 10, bytes: 1_000_000 })).length, 3);
    renameSync(aside, path);
    await clock.advance(5_000);
    assert.equal(store.health().state, 'ok');
    await fill(store, 1);
  });
}

test('Store writes nothing into a database that another was put in the place of', async (t) => {
  const dataDir = tempFolder(t);
  const clock = new FakeClock();
  const store = await open(dataDir, { clock });
  t.after(() => store.close());
  await fill(store, 1);
  const path = join(dataDir, 'holdfast.db');
  const bytes = readFileSync(path);
  rmSync(path);
  writeFileSync(path, bytes);
  await clock.advance(5_000);
  assert.match(store.health().detail ?? '', /holdfast\.db" was replaced while it was in use/);
});

test('Ballast that cannot be made at the start is made later', async (t) => {
  const dataDir = tempFolder(t);
  mkdirSync(join(dataDir, 'ballast'));
  const clock = new FakeClock();
  const store = await open(dataDir, { clock, limits: { ballastBytes: 4_096 } });
  assert.equal(store.health().ballast, 'released');
  rmSync(join(dataDir, 'ballast'), { recursive: true });
  await clock.advance(60_000);
  assert.equal(store.health().ballast, 'ready');
  assert.equal(statSync(join(dataDir, 'ballast')).size, 4_096);
  await store.close();
});
