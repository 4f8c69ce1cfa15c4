import assert from 'node:assert/strict';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tempFolder } from './temp.ts';

test('tempFolder() is private, its own, and gone afterwards', () => {
  const hooks: (() => void)[] = [];
  const t = { after: (fn: () => void) => hooks.push(fn) };
  const [one, other] = [tempFolder(t), tempFolder(t)];
  assert.notEqual(one, other);
  assert.equal(statSync(one).mode & 0o777, 0o700);
  mkdirSync(join(one, 'a', 'b'), { recursive: true });
  for (const hook of hooks) hook();
  assert(!existsSync(one) && !existsSync(other));
});
