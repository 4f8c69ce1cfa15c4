import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameOf } from '../../src/http/message.ts';

test('frameOf() shares a large body between all frames and copies a small one', () => {
  const large = Buffer.alloc(100_000, 'x');
  const frames = ['a', 'b'].map((id) => frameOf(Buffer.from(id), large, Buffer.from('}')));
  assert.deepEqual(
    frames.map((frame) => frame.map(({ length }) => length)),
    [
      [1, 100_000, 1],
      [1, 100_000, 1],
    ],
  );
  assert.ok(frames.every((frame) => frame[1] === large));
  const small = frameOf(Buffer.from('a'), Buffer.from('body'), Buffer.from('}'));
  assert.deepEqual(small.map(String), ['abody}']);
});
