/**
 * The unpacked SQLite addon: it loads, and nothing that somebody else could have put there does.
 * Owner checks need root to prepare and are in test/system/addon.test.ts.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import Database from 'better-sqlite3';
import { loadAddon, sqliteAddon, unpackAddon } from '../../../src/store/engine/addon.ts';

const packageFile = createRequire(import.meta.url).resolve('better-sqlite3/package.json');
const prebuild = join(dirname(packageFile), `prebuilds/${process.platform}-${process.arch}.node`);
const bytes = readFileSync(prebuild);
const digest = createHash('sha256').update(bytes).digest('hex');

/** A folder that does not exist yet, below one that the test removes. */
function cacheFolder(t: TestContext): string {
  const base = mkdtempSync(join(tmpdir(), 'holdfast-addon-'));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  return join(base, 'cache/holdfast');
}

const unpack = (folder: string): string => unpackAddon(() => bytes, digest, folder);
const load = (path: string): object => loadAddon(path, digest, 'unpacked');

test('sqliteAddon() leaves the choice to better-sqlite3 outside the binary', (t) => {
  const folder = cacheFolder(t);
  assert.equal(sqliteAddon(folder), undefined);
  assert.throws(() => statSync(folder), { code: 'ENOENT' });
});

test('unpackAddon() makes a private folder and file, and the addon in it opens databases', (t) => {
  const folder = cacheFolder(t);
  const path = unpack(folder);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(statSync(path).mode & 0o777, 0o400);
  assert.deepEqual(readdirSync(folder), [`sqlite-${digest}.node`]);
  const db = new Database(':memory:', { nativeBinding: load(path) as unknown as string });
  assert.equal(db.prepare('select 1 + 1').pluck().get(), 2);
  db.close();
});

test('unpackAddon() writes once: the second start reads nothing from the binary', (t) => {
  const folder = cacheFolder(t);
  const first = statSync(unpack(folder));
  unpackAddon(() => assert.fail('read again'), digest, folder);
  assert.equal(statSync(unpack(folder)).ino, first.ino);
});

test('loadAddon() refuses a changed file', (t) => {
  const path = unpack(cacheFolder(t));
  chmodSync(path, 0o600);
  const changed = Buffer.from(bytes);
  changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);
  writeFileSync(path, changed);
  assert.throws(() => load(unpack(dirname(path))), /Cannot load .* its sha256 is .*, expected .*, delete it/);
});

test('loadAddon() refuses a file or a folder that group or others can write', (t) => {
  const path = unpack(cacheFolder(t));
  for (const mode of [0o620, 0o602]) {
    chmodSync(path, mode);
    assert.throws(() => load(path), new RegExp(`its mode is 0${mode.toString(8)}`));
  }
  chmodSync(path, 0o400);
  chmodSync(dirname(path), 0o770);
  assert.throws(() => load(path), /Cannot keep .* its mode is 0770/);
  assert.throws(() => unpack(dirname(path)), /Cannot keep .* its mode is 0770/);
});

test('loadAddon() follows no symbolic link, neither of the file nor of the folder', (t) => {
  const folder = cacheFolder(t);
  const path = unpack(folder);
  const elsewhere = join(dirname(folder), 'elsewhere.node');
  renameSync(path, elsewhere);
  symlinkSync(elsewhere, path);
  assert.throws(() => load(unpack(folder)), /it is a symbolic link/);
  rmSync(path);
  symlinkSync(join(folder, 'nothing'), path);
  assert.throws(() => load(unpack(folder)), /it is a symbolic link/);

  const link = join(dirname(folder), 'link');
  symlinkSync(folder, link);
  assert.throws(() => unpack(link), /it is not a folder \(links are not followed\)/);
});

test('loadAddon() refuses what is not a regular file, and reports a missing one as ENOENT', (t) => {
  const folder = cacheFolder(t);
  const path = join(folder, `sqlite-${digest}.node`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  assert.throws(() => load(unpack(folder)), /it is not a regular file/);
  assert.throws(() => load(join(folder, 'none.node')), { code: 'ENOENT' });
});

test('unpackAddon() names the folder that it cannot make, and the wish', (t) => {
  const folder = cacheFolder(t);
  mkdirSync(dirname(dirname(folder)), { recursive: true });
  writeFileSync(dirname(folder), 'a file where a folder should be');
  assert.throws(() => unpack(folder), /Cannot unpack the SQLite addon into .*XDG_CACHE_HOME/);
});

test('unpackAddon() by several processes at once: all load, one file stays', async (t) => {
  const folder = cacheFolder(t);
  const module = join(import.meta.dirname, '../../../src/store/engine/addon.ts');
  // Every child says that it is ready and waits for its stdin to close, so that all begin together.
  const script = `
    import { readFileSync } from 'node:fs';
    import { loadAddon, unpackAddon } from ${JSON.stringify(module)};
    const bytes = readFileSync(${JSON.stringify(prebuild)});
    process.stdout.write('ready\\n');
    process.stdin.on('end', () => {
      loadAddon(unpackAddon(() => bytes, '${digest}', ${JSON.stringify(folder)}), '${digest}', 'unpacked');
    }).resume();`;
  const children = Array.from({ length: 6 }, () =>
    spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  await Promise.all(children.map((child) => once(child.stdout, 'data')));
  const exits = children.map((child) => once(child, 'exit'));
  for (const child of children) child.stdin.end();
  assert.deepEqual(
    await Promise.all(exits),
    children.map(() => [0, null]),
  );
  assert.deepEqual(readdirSync(folder), [`sqlite-${digest}.node`]);
});
