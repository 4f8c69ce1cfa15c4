import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAppError } from '../../src/domain/error.ts';
import { requireForeignUser } from '../../src/runner/users.ts';
import { tempFolder } from '../helpers/temp.ts';

test('requireForeignUser() refuses whoever has the number of root or of a user of ours, whatever the name', (t) => {
  const file = join(tempFolder(t), 'passwd');
  const users = ['root:0', 'toor:0', 'holdfast-agent:990', 'helper:990', 'web:1000', 'odd:-1'];
  writeFileSync(file, users.map((one) => `${one.replace(':', ':x:')}:1000::/:/bin/sh\n`).join(''));
  assert.deepEqual(requireForeignUser('web', 'look', file), { uid: 1_000, gid: 1_000 });
  for (const [user, words] of [
    ['toor', /another name of root/],
    ['helper', /another name of holdfast-agent/],
    ['odd', /no such user/],
    ['nobody', /no such user/],
    ['', /no such user/],
  ] as const)
    assert.throws(
      () => requireForeignUser(user, 'look', file),
      (error) => isAppError(error, 'unprocessable') && words.test(error.message),
      user,
    );
});
