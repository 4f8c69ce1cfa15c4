import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  ensurePrivateFolder,
  FileError,
  readPrivateFile,
  writeFileAtomic,
} from '../../src/base/atomic-file.ts';
import { limits } from '../../src/base/limits.ts';
import { tempFolder } from '../helpers/temp.ts';

const modeOf = (path: string) => lstatSync(path).mode & 0o7777;
const uid = process.geteuid?.() ?? 0;

test('writeFileAtomic() creates and replaces, with exactly the mode', async (t) => {
  const folder = tempFolder(t);
  const path = join(folder, 'key');
  await writeFileAtomic(path, 'one', { mode: 0o666 });
  assert.equal(modeOf(path), 0o666, 'the umask takes nothing away');
  await writeFileAtomic(path, Buffer.from([0, 255]), { mode: 0o600 });
  assert.deepEqual([...readFileSync(path)], [0, 255]);
  assert.equal(modeOf(path), 0o600);
  assert.deepEqual(readdirSync(folder), ['key']);
});

test('writeFileAtomic() lets writers at the same time each be whole', async (t) => {
  const folder = tempFolder(t);
  const path = join(folder, 'shared');
  const texts = Array.from({ length: 20 }, (_, index) => String(index).repeat(50_000));
  await Promise.all(texts.map((text) => writeFileAtomic(path, text, { mode: 0o600 })));
  assert(texts.includes(readFileSync(path, 'utf8')));
  assert.deepEqual(readdirSync(folder), ['shared']);
});

test('writeFileAtomic() replaces a symbolic link and leaves its target alone', async (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'target'), 'theirs');
  symlinkSync('target', join(folder, 'link'));
  await writeFileAtomic(join(folder, 'link'), 'ours', { mode: 0o600 });
  assert.equal(readFileSync(join(folder, 'target'), 'utf8'), 'theirs');
  assert(lstatSync(join(folder, 'link')).isFile());
});

test('writeFileAtomic() does not write through what lies in the place of its temporary file', async (t) => {
  const folder = tempFolder(t);
  const random = { bytes: (count: number) => new Uint8Array(count), uniform: () => 0 };
  writeFileSync(join(folder, 'victim'), 'theirs');
  symlinkSync('victim', join(folder, '.key.0000000000000000.tmp'));
  await assert.rejects(writeFileAtomic(join(folder, 'key'), 'x', { mode: 0o600, random }), FileError);
  assert.equal(readFileSync(join(folder, 'victim'), 'utf8'), 'theirs');
});

test('writeFileAtomic() leaves nothing behind when it fails', async (t) => {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'taken', 'full'), { recursive: true });
  await assert.rejects(writeFileAtomic(join(folder, 'taken'), 'x', { mode: 0o600 }), FileError);
  assert.deepEqual(readdirSync(folder), ['taken']);
  await assert.rejects(writeFileAtomic(join(folder, 'no', 'file'), 'x', { mode: 0o600 }), {
    code: 'ENOENT',
    message: `Cannot write ${folder}/no/file: it does not exist, or a folder above it does not`,
  });
});

test('readPrivateFile() reads what only we can read', async (t) => {
  const path = join(tempFolder(t), 'token');
  for (const mode of [0o600, 0o400]) {
    await writeFileAtomic(path, 'secret', { mode });
    assert.equal((await readPrivateFile(path)).toString(), 'secret');
  }
});

test('readPrivateFile() refuses what others can reach, and says how to put it right', async (t) => {
  const path = join(tempFolder(t), 'token');
  for (const mode of [0o644, 0o640, 0o602, 0o601]) {
    await writeFileAtomic(path, 'secret', { mode });
    await assert.rejects(readPrivateFile(path), {
      message: `Cannot read ${path}: mode is 0${mode.toString(8)}, expected 0600; run chmod 600 ${path}`,
    });
  }
});

test("readPrivateFile() refuses another user's file", async (t) => {
  const path = join(tempFolder(t), 'token');
  await writeFileAtomic(path, 'secret', { mode: 0o600 });
  await assert.rejects(readPrivateFile(path, { uid: uid + 1 }), {
    message: `Cannot read ${path}: its owner is uid ${uid}, expected ${uid + 1}; run chown ${uid + 1} ${path}`,
  });
});

test('readPrivateFile() refuses links, folders, pipes, the absent and the huge', {
  timeout: 5_000,
}, async (t) => {
  const folder = tempFolder(t);
  const path = (name: string) => join(folder, name);
  await writeFileAtomic(path('token'), 'secret', { mode: 0o600 });
  symlinkSync('token', path('link'));
  mkdirSync(path('folder'), 0o700);
  execFileSync('mkfifo', ['-m', '600', path('pipe')]);
  writeFileSync(path('huge'), Buffer.alloc(limits.privateFileBytes + 1), { mode: 0o600 });
  await assert.rejects(readPrivateFile(path('link')), /it is a symbolic link/);
  await assert.rejects(readPrivateFile(path('folder')), /not a regular file/);
  await assert.rejects(readPrivateFile(path('pipe')), /not a regular file/);
  await assert.rejects(readPrivateFile(path('huge')), /1048577 bytes/);
  await assert.rejects(readPrivateFile(path('absent')), { name: 'FileError', code: 'ENOENT' });
});

test('ensurePrivateFolder() creates what is missing, closed to others, and accepts it again', async (t) => {
  const path = join(tempFolder(t), 'a', 'b', 'c');
  await ensurePrivateFolder(path);
  await ensurePrivateFolder(`${path}/`);
  assert.equal(modeOf(path), 0o700);
  assert.equal(modeOf(join(path, '..')), 0o700);
});

test('ensurePrivateFolder() refuses open folders, links, files and other owners, and changes nothing', async (t) => {
  const folder = tempFolder(t);
  const path = (name: string) => join(folder, name);
  mkdirSync(path('open'));
  chmodSync(path('open'), 0o750);
  mkdirSync(path('target'), 0o700);
  symlinkSync('target', path('link'));
  writeFileSync(path('file'), '');
  await assert.rejects(ensurePrivateFolder(path('open')), {
    message: `Cannot use the folder ${folder}/open: mode is 0750, expected 0700; run chmod 700 ${folder}/open`,
  });
  assert.equal(modeOf(path('open')), 0o750);
  await assert.rejects(ensurePrivateFolder(path('link')), /symbolic link/);
  await assert.rejects(ensurePrivateFolder(path('link/')), /symbolic link/);
  await assert.rejects(ensurePrivateFolder(path('file')), /is a file, expected a folder/);
  await assert.rejects(ensurePrivateFolder(path('file/below')), /is a file, expected a folder/);
  await assert.rejects(ensurePrivateFolder(path('target'), { uid: uid + 1 }), /owner is uid/);
});
