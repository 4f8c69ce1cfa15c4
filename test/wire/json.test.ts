import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { limits } from '../../src/base/limits.ts';
import { AppError, isAppError } from '../../src/domain/error.ts';
import { parseJson, stringifyJson } from '../../src/wire/json.ts';
import { acceptedJson, refusedJson } from '../helpers/json-corpus.ts';

const bytes = (...parts: (string | number)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from([part]))));

describe('parseJson()', () => {
  for (const [text, value] of Object.entries(acceptedJson)) {
    test(`accepts ${JSON.stringify(text)}, as string and as bytes`, () => {
      assert.deepEqual(parseJson(text), value);
      assert.deepEqual(parseJson(Buffer.from(text)), value);
    });
  }

  for (const [text, column, expected] of refusedJson) {
    test(`refuses ${JSON.stringify(text)} at column ${column}`, () => {
      for (const input of [text, Buffer.from(text)]) {
        assert.throws(
          () => parseJson(input),
          (error) =>
            isAppError(error, 'bad-request') &&
            error.message.includes(`expected ${expected} at line `) &&
            error.message.endsWith(`, column ${column}`),
        );
      }
    });
  }
});

test('parseJson() names line and column', () => {
  assert.throws(() => parseJson('{\n  "a": 1,\n  "b": tru\n}'), {
    code: 'bad-request',
    message: 'Cannot read JSON: found "\\n", expected true at line 3, column 11',
  });
  assert.throws(() => parseJson('{"a":1'), /found the end, expected "," or "}" at line 1, column 7$/);
});

test('F3: parseJson() takes depthMax levels and refuses one more, whatever stands around it', () => {
  const nested = (depth: number, inner = '') => '['.repeat(depth) + inner + ']'.repeat(depth);
  assert.doesNotThrow(() => parseJson(nested(limits.jsonDepthMax)));
  assert.throws(() => parseJson(nested(limits.jsonDepthMax + 1)), {
    code: 'bad-request',
    message: 'Cannot read JSON: nesting is deeper than 32 at line 1, column 33',
  });
  assert.throws(() => parseJson('{"a":[{"b":1}]}', { depthMax: 2 }), /deeper than 2 at line 1, column 7/);
  assert.doesNotThrow(() => parseJson(`[${nested(31)},${nested(31)},${nested(31)}]`));
  assert.doesNotThrow(
    () => parseJson(nested(32, JSON.stringify('\\"[[[[['))),
    'brackets in strings are text',
  );
  assert.throws(() => parseJson(`["${'[\\"'.repeat(40)}",${nested(32)}]`), /deeper/);
});

test('parseJson() refuses what is too deep before it looks whether it is JSON', () => {
  assert.throws(() => parseJson('['.repeat(16 * 1_024 * 1_024)), /deeper than 32 at line 1, column 33$/);
  assert.throws(() => parseJson('{"a":'.repeat(100_000)), /deeper than 32 at line 1, column 161$/);
});

test('F5: parseJson() refuses an object of too many members, and too many objects, before it builds them', () => {
  const { jsonMembersMax, jsonValuesMax } = limits;
  const members = (count: number) =>
    `{${Array.from({ length: count }, (_, n) => `"a long key, number ${n}":[1,2,3]`).join(',')}}`;
  assert.equal(Object.keys(parseJson(members(jsonMembersMax)) as object).length, jsonMembersMax);
  assert.throws(
    () => parseJson(members(jsonMembersMax + 1)),
    /an object has more than 1000 members at line 1, column/,
  );
  assert.throws(
    () => parseJson(`[{},${members(jsonMembersMax + 1)}]`),
    /an object has more than 1000 members/,
  );
  // Neither commas in strings, nor those of lists, nor those of other objects are an object's.
  const many = `{"list":[${'1,'.repeat(20_000)}1],"text":"${','.repeat(20_000)}","rows":[${Array.from({ length: 5_000 }, () => '{"a":1,"b":2}').join(',')}]}`;
  assert.equal((parseJson(many) as { list: number[] }).list.length, 20_001);
  // A bracket that opens and a comma count: each stands before a value.
  assert.equal((parseJson(`[${'1,'.repeat(jsonValuesMax - 1)}1]`) as unknown[]).length, jsonValuesMax);
  assert.throws(() => parseJson(`[${'1,'.repeat(jsonValuesMax)}1]`), /it has more than 1000000 values/);
  assert.throws(() => parseJson(`[${'{},'.repeat(jsonValuesMax / 2)}1]`), /it has more than 1000000 values/);
});

test('parseJson() refuses what is no UTF-8, and says at which byte', () => {
  const cases: [Buffer, number][] = [
    [bytes('"', 0xff, '"'), 1],
    [bytes('"é', 0xc3, '"'), 3],
    [bytes('"\ufffd', 0xe2, 0x82), 4],
    [bytes('"', 0xed, 0xa0, 0x80, '"'), 1], // a surrogate, encoded
    [bytes('"', 0xc0, 0xaf, '"'), 1], // an overlong "/"
    [bytes('"', 0xf4, 0x90, 0x80, 0x80, '"'), 1], // beyond U+10FFFF
    [bytes('"\ufffd\ufffd', 0x80), 7],
  ];
  for (const [input, byte] of cases) {
    assert.throws(() => parseJson(input), { message: `Cannot read JSON: it is not UTF-8 at byte ${byte}` });
  }
  for (const utf16 of ['utf16le', 'latin1'] as const)
    assert.throws(() => parseJson(Buffer.from('["é"]', utf16)), AppError);
});

test('parseJson() reads a view, not the memory around it', () => {
  const whole = Buffer.from('x[1]x');
  assert.deepEqual(parseJson(new Uint8Array(whole.buffer, whole.byteOffset + 1, 3)), [1]);
});

test('parseJson() refuses a byte order mark', () => {
  assert.throws(() => parseJson('\ufeff{}'), /byte order mark/);
  assert.throws(() => parseJson(bytes(0xef, 0xbb, 0xbf, '{}')), /byte order mark/);
});

test('parseJson() refuses numbers out of range and half surrogate pairs, naming the field', () => {
  const cases: [string, string][] = [
    ['{"items":[1,{"size":1e400}]}', 'items/1/size'],
    ['[-1e309]', '0'],
    [`{"n":${'9'.repeat(400)}}`, 'n'],
    ['1e999', ''],
    ['{"a":"\\ud800"}', 'a'],
    ['{"a":"\\ude00\\ud83d"}', 'a'],
    ['{"a":{"b":["x","\ud800"]}}', 'a/b/1'],
    ['{"\\ud800":1}', '\ufffd'],
  ];
  for (const [text, field] of cases) assert.throws(() => parseJson(text), { code: 'bad-request', field });
});

test('parseJson() refuses NUL in strings and keys, naming the field', () => {
  const cases: [string, string][] = [
    ['"\\u0000"', ''],
    ['{"note":"x\\u0000"}', 'note'],
    ['{"items":[{"a":"b"},{"a":"\\u0000b"}]}', 'items/1/a'],
    ['{"a":{"b\\u0000":1}}', 'a/b\ufffd'],
  ];
  for (const [text, field] of cases)
    assert.throws(() => parseJson(text), { code: 'bad-request', field, message: /a NUL character/ });
  assert.equal(parseJson('"\\\\u0000"'), '\\u0000');
  assert.throws(() => stringifyJson({ note: 'x\0' }), { code: 'bad-request', field: 'note' });
});

test('F4: parseJson() keeps __proto__ an ordinary key', () => {
  const value = parseJson('{"__proto__":{"admin":true},"constructor":{"prototype":{"x":1}}}') as Record<
    string,
    unknown
  >;
  assert.deepEqual(Object.keys(value), ['__proto__', 'constructor']);
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
  assert.equal(value['admin'], undefined);
  assert.throws(() => parseJson('{"__proto__":{"n":1e400}}'), { field: '__proto__/n' });
});

test('parseJson() gives back what JSON.stringify wrote', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'grapheme' }), (value) => {
      const text = JSON.stringify(value);
      assert.deepEqual(parseJson(text), JSON.parse(text));
      assert.deepEqual(parseJson(Buffer.from(text)), JSON.parse(text));
    }),
  );
});

test('stringifyJson() writes what parseJson() reads, and refuses what it would not', () => {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  let deep: unknown = [];
  for (let level = 1; level < limits.jsonDepthMax; level += 1) deep = [deep];
  assert.equal(
    stringifyJson({ a: ['\\ud800', '😀', new Date(0)] }),
    '{"a":["\\\\ud800","😀","1970-01-01T00:00:00.000Z"]}',
  );
  assert.doesNotThrow(() => parseJson(stringifyJson(deep)));
  assert.throws(() => stringifyJson([deep]), { code: 'bad-request', message: /deeper than 32/ });
  assert.throws(() => stringifyJson({ a: [1, Number.NaN] }), { code: 'bad-request', field: 'a/1' });
  assert.throws(() => stringifyJson({ a: '\ud800' }), { code: 'bad-request', field: 'a' });
  for (const value of [undefined, () => 1, cyclic, 1n])
    assert.throws(() => stringifyJson(value), { code: 'bad-request' });
});

/** Texts near JSON: pieces of it in any order, and valid texts with one character changed. */
const nearlyJson = fc.oneof(
  fc.string(),
  fc
    .array(
      fc.constantFrom(
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '"',
        '\\',
        'a',
        '"a"',
        '1',
        '-',
        '.',
        'e',
        '0',
        'true',
        ' ',
        '\n',
        '\\u',
        'd800',
      ),
    )
    .map((parts) => parts.join('')),
  fc.tuple(fc.json(), fc.nat(), fc.string({ maxLength: 1 })).map(([text, at, insert]) => {
    const place = at % (text.length + 1);
    return text.slice(0, place) + insert + text.slice(place + 1);
  }),
);

test('F16: parseJson() accepts a subset of JSON.parse and throws nothing but bad-request', () => {
  fc.assert(
    fc.property(nearlyJson, (text) => {
      const reference = attempt(() => JSON.parse(text));
      const ours = attempt(() => parseJson(text));
      if ('value' in ours) return assert.deepEqual(ours, reference);
      assert(isAppError(ours.error, 'bad-request'));
      // A syntax error must have been found by our reader too, at a place in the text.
      if ('error' in reference)
        assert.match(ours.error.message, /(expected .* at line \d+, column \d+|byte order mark.*)$/s);
    }),
    { numRuns: 5_000 },
  );
});

test('F16: parseJson() throws nothing but bad-request on arbitrary bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (input) => {
      const ours = attempt(() => parseJson(input));
      if ('error' in ours) assert(isAppError(ours.error, 'bad-request'));
    }),
    { numRuns: 2_000 },
  );
});

function attempt(fn: () => unknown): { value: unknown } | { error: unknown } {
  try {
    return { value: fn() };
  } catch (error) {
    return { error };
  }
}
