import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeCursor, encodeCursor } from '../../src/store/page.ts';

test('decodeCursor() gives back the key of encodeCursor()', () => {
  assert.deepEqual(decodeCursor(encodeCursor(['ä"b', '']), 2), ['ä"b', '']);
});

test('decodeCursor() refuses what encodeCursor() did not write, and NUL, which PostgreSQL cannot hold', () => {
  const cursors = ['', 'x', encodeCursor(['a']), encodeCursor(['a', 'b', 'c']), encodeCursor(['a', 'b\0'])];
  for (const cursor of cursors)
    assert.throws(() => decodeCursor(cursor, 2), { code: 'bad-request', field: 'cursor' });
});
