import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeCursor, encodeCursor, firstBy } from '../../src/store/page.ts';
import { SeededRandom } from '../helpers/random.ts';

test('decodeCursor() gives back the key of encodeCursor()', () => {
  assert.deepEqual(decodeCursor(encodeCursor(['ä"b', '']), 2), ['ä"b', '']);
});

test('decodeCursor() refuses what encodeCursor() did not write, and NUL, which PostgreSQL cannot hold', () => {
  const cursors = ['', 'x', encodeCursor(['a']), encodeCursor(['a', 'b', 'c']), encodeCursor(['a', 'b\0'])];
  for (const cursor of cursors)
    assert.throws(() => decodeCursor(cursor, 2), { code: 'bad-request', field: 'cursor' });
});

test('firstBy() is the beginning of the sorted whole', () => {
  const random = new SeededRandom(3);
  for (let run = 0; run < 200; run += 1) {
    const items = Array.from({ length: random.integer(0, 300) }, () => String(random.integer(0, 1e9)));
    const unique = [...new Set(items)];
    const count = random.integer(1, 40);
    assert.deepEqual(
      firstBy(unique, count, (item) => item),
      unique.toSorted().slice(0, count),
    );
  }
});
