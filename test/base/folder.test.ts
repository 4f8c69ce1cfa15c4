import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolder } from '../../src/base/folder.ts';
import { tempFolder } from '../helpers/temp.ts';

test('makeFolder() makes what is missing, with its mode, and tells the topmost', (t) => {
  const base = tempFolder(t);
  const deep = join(base, 'a', 'b', 'c');
  assert.equal(makeFolder(deep, 0o700), join(base, 'a'));
  for (const made of [deep, join(base, 'a'), join(base, 'a', 'b')])
    assert.equal(statSync(made).mode & 0o777, 0o700);
  assert.equal(makeFolder(deep, 0o700), undefined);
  assert.equal(makeFolder(join(deep, 'd'), 0o755), join(deep, 'd'));
});

test('makeFolder() refuses at once where nothing can be made', () => {
  assert.throws(
    () => makeFolder('/proc/holdfast', 0o700),
    /\/proc is there, but the system lets nothing be made in it/,
  );
  assert.throws(() => makeFolder('/proc/holdfast/registry', 0o700), /lets nothing be made in it/);
});

test('makeFolder() refuses a file in the way', (t) => {
  const file = join(tempFolder(t), 'file');
  writeFileSync(file, '');
  assert.throws(() => makeFolder(file, 0o700), { code: 'EEXIST' });
  assert.throws(() => makeFolder(join(file, 'below'), 0o700), { code: 'ENOTDIR' });
  assert(existsSync(file));
});
