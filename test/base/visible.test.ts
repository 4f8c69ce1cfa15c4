import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { visibleJson } from '../../src/base/visible.ts';

test('visibleJson() escapes what a terminal obeys, and nothing else', () => {
  const written = visibleJson(
    JSON.stringify({ a: '\u001b[2J\u009b2J\u007f', 'b\u202e': 'x\u2028y\u{e0001}', c: 'é😀' }),
  );
  assert.equal(written, '{"a":"\\u001b[2J\\u009b2J\\u007f","b\\u202e":"x\\u2028y\\udb40\\udc01","c":"é😀"}');
  assert.equal(visibleJson('{"level":"info"}\n'), '{"level":"info"}\n');
});

test('F14: visibleJson() is the same JSON for any value, in one line of what can be seen', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      const text = JSON.stringify(value);
      assert.deepEqual(JSON.parse(visibleJson(text)), JSON.parse(text));
      assert(!/[\p{C}\p{Zl}\p{Zp}]/u.test(visibleJson(text)));
    }),
  );
});
