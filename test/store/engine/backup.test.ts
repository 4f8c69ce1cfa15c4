import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { systemCaller } from '../../../src/domain/access.ts';
import { type RestoreOptions, restore } from '../../../src/store/engine/backup.ts';
import { addKeys } from '../../../src/store/engine/backup-keys.ts';
import type { OpenStore } from '../../../src/store/engine/core.ts';
import { openStore } from '../../../src/store/engine/store.ts';
import { FakeClock } from '../../helpers/clock.ts';
import { tempFolder } from '../../helpers/temp.ts';
import { until } from '../../helpers/until.ts';

const startMs = Date.UTC(2026, 5, 1);

function open(dataDir: string, atMs = startMs): Promise<OpenStore> {
  return openStore({
    role: 'registry',
    dataDir,
    clock: new FakeClock({ startMs: atMs }),
    limits: { ballastBytes: 0 },
  });
}

async function fill(store: OpenStore, count: number): Promise<void> {
  const body = 'x'.repeat(500);
  await Promise.all(
    Array.from({ length: count }, () =>
      store.write(systemCaller, async (tx) => tx.append({ type: 'service.set', body })),
    ),
  );
}

function restoreInto(dataDir: string, file: string, options: Partial<RestoreOptions> = {}) {
  return restore({
    file,
    dataDir,
    role: 'registry',
    force: false,
    now: startMs,
    pid: process.pid,
    passphrase: async () => null,
    ...options,
  });
}

/** A closed store with `count` revisions and a backup of it. */
async function stored(folder: string, count: number): Promise<{ dataDir: string; file: string }> {
  const dataDir = join(folder, 'data');
  const file = join(folder, 'backup.db');
  const store = await open(dataDir);
  await fill(store, count);
  await store.backup(file);
  await store.close();
  return { dataDir, file };
}

test('backup() writes one private, complete file while writes go on, as of one revision', async (t) => {
  const folder = tempFolder(t);
  const store = await open(join(folder, 'data'));
  await fill(store, 3_000);
  const file = join(folder, 'backup.db');
  let going = true;
  const writer = (async () => {
    while (going) await fill(store, 20);
  })();
  const result = await store.backup(file);
  going = false;
  await writer;
  assert(result.head.revision >= 3_000 && result.head.revision <= store.log.head().revision);
  assert.equal(await store.log.hashAt(result.head.revision), result.head.hash);
  assert.deepEqual(readdirSync(folder), ['backup.db', 'data']);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(result.sizeBytes, statSync(file).size);
  const db = new Database(file, { readonly: true });
  assert.equal(db.pragma('integrity_check', { simple: true }), 'ok');
  assert.equal(db.prepare('select max(revision) from revisions').pluck().get(), result.head.revision);
  db.close();
  await store.close();
});

test('backup() never overwrites, and leaves nothing of an attempt that fails', async (t) => {
  const folder = tempFolder(t);
  const store = await open(join(folder, 'data'));
  writeFileSync(join(folder, 'mine.txt'), 'precious');
  await assert.rejects(store.backup(join(folder, 'mine.txt')), { code: 'conflict' });
  assert.equal(readFileSync(join(folder, 'mine.txt'), 'utf8'), 'precious');
  await assert.rejects(store.backup(join(folder, 'nowhere', 'b.db')), {
    code: 'internal',
    message: /Cannot back up to .*nowhere/,
  });
  assert.deepEqual(readdirSync(folder), ['data', 'mine.txt']);
  await store.close();
});

test('restore() makes a backup the store of an empty directory, and the next start begins a new epoch', async (t) => {
  const folder = tempFolder(t);
  const { file } = await stored(folder, 5);
  chmodSync(file, 0o644);
  const dataDir = join(folder, 'other');
  const result = await restoreInto(dataDir, file);
  assert.equal(statSync(join(dataDir, 'holdfast.db')).mode & 0o777, 0o600);
  assert.equal(result.head.revision, 5);
  assert.equal(result.kept, null);
  const store = await open(dataDir);
  const head = store.log.head();
  // The clock has not moved since the first epoch, and still the new one is greater.
  assert.deepEqual({ epoch: head.epoch, revision: head.revision }, { epoch: startMs + 1, revision: 6 });
  assert.equal((await store.log.read(5, { revisions: 1, bytes: 1e6 }))[0]?.events[0]?.type, 'system.rewound');
  assert.deepEqual(await store.verify(), { ok: true, from: 0, to: 6 });
  await store.close();
  const again = await open(dataDir);
  assert.deepEqual(again.log.head(), head);
  await again.close();
});

test('restore() refuses a directory with a store, and with force keeps the old files', async (t) => {
  const folder = tempFolder(t);
  const { dataDir, file } = await stored(folder, 5);
  const store = await open(dataDir);
  await fill(store, 2);
  await assert.rejects(restoreInto(dataDir, file, { force: true }), {
    code: 'conflict',
    message: /process \d+ owns/,
  });
  await store.close();
  await assert.rejects(restoreInto(dataDir, file), { code: 'conflict', message: /pass --force/ });
  const { kept } = await restoreInto(dataDir, file, { force: true });
  assert.equal(kept, join(dataDir, 'replaced-2026-06-01T000000.000Z'));
  const old = new Database(join(kept ?? '', 'holdfast.db'), { readonly: true });
  assert.equal(old.prepare('select max(revision) from revisions').pluck().get(), 7);
  old.close();
  const restored = await open(dataDir, startMs + 10);
  assert.equal(restored.log.head().revision, 6);
  await restored.close();
});

test('restore() replaces a damaged store and keeps its write-ahead log aside', async (t) => {
  const folder = tempFolder(t);
  const { dataDir, file } = await stored(folder, 5);
  writeFileSync(join(dataDir, 'holdfast.db'), 'garbage');
  writeFileSync(join(dataDir, 'holdfast.db-wal'), 'old log');
  const { kept } = await restoreInto(dataDir, file, { force: true });
  assert.deepEqual(readdirSync(kept ?? ''), ['holdfast.db', 'holdfast.db-wal']);
  assert(!existsSync(join(dataDir, 'holdfast.db-wal')));
  const store = await open(dataDir);
  assert.equal(store.log.head().revision, 6);
  await store.close();
});

test('restore() refuses what is no good backup and changes nothing', async (t) => {
  const folder = tempFolder(t);
  const { dataDir, file } = await stored(folder, 200);
  const bad = (name: string, harm: (path: string) => void) => {
    const path = join(folder, name);
    copyFileSync(file, path);
    harm(path);
    return path;
  };
  const edit = (sql: string) => (path: string) => {
    const db = new Database(path);
    db.exec(sql);
    db.close();
  };
  const before = readdirSync(dataDir);
  for (const [path, message] of [
    [
      bad('garbage', (at) => writeFileSync(at, 'not a database'.repeat(99))),
      /it is damaged \(file is not a database\)/,
    ],
    [bad('empty', (at) => writeFileSync(at, '')), /it is no backup of the store of role registry/],
    [bad('kind', edit('pragma application_id = 5')), /it is no backup of the store of role registry/],
    [
      bad('chain', edit("update revisions set events = replace(events, 'xx', 'xy') where revision = 77")),
      /revision 77 does not match its hash/,
    ],
    [bad('newer', edit("insert into migrations values (99, 'far', 0)")), /its schema has version 99/],
  ] as const) {
    await assert.rejects(restoreInto(dataDir, path, { force: true }), { code: 'unprocessable', message });
    assert.deepEqual(readdirSync(dataDir), before);
  }
  await assert.rejects(restoreInto(dataDir, join(folder, 'absent'), { force: true }), { code: 'not-found' });
});

test('restore() finds a flipped page of a backup', async (t) => {
  const folder = tempFolder(t);
  const { file } = await stored(folder, 400);
  const bytes = readFileSync(file);
  bytes.fill(0xff, 8 * 4_096, 8 * 4_096 + 64);
  writeFileSync(file, bytes);
  const dataDir = join(folder, 'other');
  mkdirSync(dataDir, { mode: 0o700 });
  await assert.rejects(restoreInto(dataDir, file), { code: 'unprocessable', message: /it is damaged/ });
});

test('addKeys() seals the key files into a backup, restore() puts them in place and keeps those that were there', async (t) => {
  const folder = tempFolder(t);
  const { dataDir, file } = await stored(folder, 5);
  const keys = { 'signing.pem': '-----BEGIN PRIVATE KEY-----\nold\n', 'ca.pem': 'ca' };
  mkdirSync(join(dataDir, 'keys'), { mode: 0o700 });
  for (const [name, text] of Object.entries(keys))
    writeFileSync(join(dataDir, 'keys', name), text, { mode: 0o600 });
  await addKeys({ file, dataDir, passphrase: 'correct horse battery' });
  assert(!readFileSync(file).includes('PRIVATE KEY'));

  const elsewhere = join(folder, 'elsewhere');
  for (const [passphrase, message] of [
    [null, /--passphrase-file/],
    ['wrong horse battery', /the passphrase is wrong/],
  ] as const) {
    await assert.rejects(restoreInto(elsewhere, file, { passphrase: async () => passphrase }), {
      code: 'bad-request',
      message,
    });
    assert(!existsSync(join(elsewhere, 'holdfast.db')) && !existsSync(join(elsewhere, 'keys')));
  }
  mkdirSync(join(elsewhere, 'keys'), { mode: 0o700 });
  writeFileSync(join(elsewhere, 'keys/signing.pem'), 'another');
  const passphrase = async () => 'correct horse battery';
  const result = await restoreInto(elsewhere, file, { passphrase });
  assert.equal(result.keys, true);
  for (const [name, text] of Object.entries(keys)) {
    assert.equal(readFileSync(join(elsewhere, 'keys', name), 'utf8'), text);
    assert.equal(statSync(join(elsewhere, 'keys', name)).mode & 0o777, 0o600);
  }
  const kept = readdirSync(elsewhere).find((name) => name.startsWith('replaced-'));
  assert.equal(readFileSync(join(elsewhere, kept ?? '', 'keys/signing.pem'), 'utf8'), 'another');
  const database = new Database(join(elsewhere, 'holdfast.db'), { readonly: true });
  assert.deepEqual(database.prepare("SELECT key FROM meta WHERE key LIKE '%keys%'").all(), []);
  database.close();
  const restored = await open(elsewhere, startMs + 10);
  await restored.close();
});

test('restore() has the keys of the backup on disk before it moves those that are there', async (t) => {
  const folder = tempFolder(t);
  const { dataDir, file } = await stored(folder, 5);
  mkdirSync(join(dataDir, 'keys'), { mode: 0o700 });
  writeFileSync(join(dataDir, 'keys/signing.pem'), 'old', { mode: 0o600 });
  await addKeys({ file, dataDir, passphrase: 'correct horse battery' });
  // A restore that a crash cut off left some of them.
  mkdirSync(join(dataDir, 'keys.restoring'), { mode: 0o700 });
  writeFileSync(join(dataDir, 'keys.restoring/server.pem'), 'half', { mode: 0o600 });
  const seen: string[] = [];
  const watcher = watch(dataDir, (_event, name) => seen.push(String(name)));
  t.after(() => watcher.close());
  await restoreInto(dataDir, file, { force: true, passphrase: async () => 'correct horse battery' });
  await until(() => seen.includes('keys'));
  const written = seen.lastIndexOf('keys.restoring', seen.indexOf('keys'));
  assert(written !== -1, `there would be none after a crash: ${seen.join(' ')}`);
  assert.deepEqual(readdirSync(join(dataDir, 'keys')), ['signing.pem']);
  assert(!existsSync(join(dataDir, 'keys.restoring')));
});

test('addKeys() as root seals the keys of a registry that runs as another user, and of nobody else', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, async (t) => {
  const { dataDir, file } = await stored(tempFolder(t), 5);
  const [keys, passphrase, nobody] = [join(dataDir, 'keys'), 'correct horse battery', 65_534];
  mkdirSync(keys, { mode: 0o700 });
  writeFileSync(join(keys, 'signing.pem'), 'unmistakable', { mode: 0o600 });
  chownSync(keys, nobody, nobody);
  await assert.rejects(addKeys({ file, dataDir, passphrase }), /its owner is uid 0, expected 65534/);
  chownSync(join(keys, 'signing.pem'), nobody, nobody);
  await addKeys({ file, dataDir, passphrase });
  assert(!readFileSync(file).includes('unmistakable'));
});

test('addKeys() refuses a folder without keys and leaves the backup as it was', async (t) => {
  const { dataDir, file } = await stored(tempFolder(t), 1);
  const before = readFileSync(file);
  await assert.rejects(addKeys({ file, dataDir, passphrase: 'correct horse battery' }), {
    code: 'not-found',
  });
  assert(readFileSync(file).equals(before));
});
