import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { limits } from '../../src/base/limits.ts';
import { isAppError } from '../../src/domain/error.ts';
import {
  decodeEnvelope,
  type Envelope,
  encodeEnvelope,
  fromFrames,
  jsonBody,
  replyEnvelope,
  textBody,
  toFrames,
} from '../../src/wire/envelope.ts';

const json = (body: unknown, replyTo: string[] = []): Envelope => ({
  id: 'i',
  mimetype: 'application/json',
  body,
  replyTo,
});
const strings = (frames: readonly Uint8Array[]) => frames.map((frame) => Buffer.from(frame).toString());

test('encodeEnvelope() writes JSON as it is, text as a string, all else in base64', () => {
  const frame = (mimetype: string, body: unknown, replyTo: string[] = []) =>
    encodeEnvelope({ id: 'x', mimetype, body, replyTo });
  assert.equal(
    frame('application/json', { a: [1] }),
    '{"v":1,"id":"x","mimetype":"application/json","body":{"a":[1]}}',
  );
  assert.equal(
    frame('application/json', null, ['a', 'b']),
    '{"v":1,"id":"x","mimetype":"application/json","body":null,"replyTo":["a","b"]}',
  );
  assert.equal(frame('text/plain', 'hi'), '{"v":1,"id":"x","mimetype":"text/plain","body":"hi"}');
  assert.equal(
    frame('image/png', new Uint8Array([0, 255])),
    '{"v":1,"id":"x","mimetype":"image/png","body":"AP8=","encoding":"base64"}',
  );
});

test('decodeEnvelope() takes the media type without its parameters and in any case', () => {
  const body = (mimetype: string, value: unknown) =>
    decodeEnvelope(JSON.stringify({ v: 1, id: '', mimetype, body: value })).body;
  assert.deepEqual(body('application/json; charset=utf-8', [1]), [1]);
  assert.deepEqual(body('Application/JSON', [1]), [1]);
  assert.equal(body('TEXT/html;charset=utf-8', '<p>'), '<p>');
});

test('decodeEnvelope() names the field that is wrong', () => {
  const good = { v: 1, id: 'x', mimetype: 'text/plain', body: 'hi' };
  const binary = { v: 1, id: 'x', mimetype: 'image/png', body: 'AP8=', encoding: 'base64' };
  const cases: [unknown, string][] = [
    [{ ...good, v: 2 }, 'v'],
    [{ ...good, v: '1' }, 'v'],
    [{ id: 'x', mimetype: 'text/plain', body: 'hi' }, 'v'],
    [{ ...good, id: 1 }, 'id'],
    [{ ...good, id: null }, 'id'],
    [{ ...good, mimetype: ['text/plain'] }, 'mimetype'],
    [{ ...good, body: 1 }, 'body'],
    [{ ...good, body: undefined }, 'body'],
    [{ ...good, mimetype: 'application/json', body: undefined }, 'body'],
    [{ ...good, encoding: 'base64' }, 'encoding'],
    [{ ...good, encoding: null }, 'encoding'],
    [{ ...binary, encoding: undefined }, 'encoding'],
    [{ ...binary, encoding: 'hex' }, 'encoding'],
    [{ ...binary, body: 'AP8' }, 'body'],
    [{ ...binary, body: 'AP8=\n' }, 'body'],
    [{ ...binary, body: 'AP_=' }, 'body'],
    [{ ...binary, body: { a: 1 } }, 'body'],
    [{ ...good, replyTo: 'a' }, 'replyTo'],
    [{ ...good, replyTo: null }, 'replyTo'],
    [{ ...good, replyTo: ['a', 1] }, 'replyTo/1'],
    [{ ...good, replyTo: [''] }, 'replyTo/0'],
    [{ ...good, reply_to: ['a'] }, 'reply_to'],
    [{ ...good, toString: 1 }, 'toString'],
  ];
  for (const [frame, field] of cases) {
    assert.throws(() => decodeEnvelope(JSON.stringify(frame)), { code: 'bad-request', field });
  }
  for (const text of ['[]', 'null', '"x"', '1']) {
    assert.throws(() => decodeEnvelope(text), { code: 'bad-request', message: /not a JSON object/ });
  }
  assert.throws(
    () => decodeEnvelope('{"v":1,"id":"","mimetype":"application/json","body":1,"__proto__":{}}'),
    {
      code: 'bad-request',
      field: '__proto__',
      message: /unknown field "__proto__", expected v, id/,
    },
  );
});

test('F3: decodeEnvelope() takes a body as deep as a request may be, and not deeper', () => {
  let deep: unknown = [];
  for (let level = 1; level < limits.jsonDepthMax; level += 1) deep = { a: deep };
  assert.deepEqual(decodeEnvelope(encodeEnvelope(json(deep))).body, deep);
  assert.throws(() => encodeEnvelope(json([deep])), { code: 'bad-request' });
  assert.throws(
    () => decodeEnvelope(encodeEnvelope(json(null)).replace('null', JSON.stringify([deep]))),
    /deeper than/,
  );
});

test('encodeEnvelope() and toFrames() refuse a body that does not fit its media type', () => {
  const cases: [string, unknown][] = [
    ['application/json', undefined],
    ['application/json', { a: 1n }],
    ['application/json', { a: Number.NaN }],
    ['application/json', ['\ud800']],
    ['text/plain', { a: 1 }],
    ['text/plain', Buffer.from('x')],
    ['text/plain', '\ud800'],
    ['image/png', 'AP8='],
    ['image/png', [0, 255]],
  ];
  for (const [mimetype, body] of cases) {
    const envelope = { id: 'x', mimetype, body, replyTo: [] };
    assert.throws(() => encodeEnvelope(envelope), { code: 'bad-request' }, mimetype);
    assert.throws(() => toFrames(envelope), { code: 'bad-request' }, mimetype);
  }
  assert.throws(() => encodeEnvelope(json(1, ['a', ''])), { code: 'bad-request', field: 'replyTo/1' });
  assert.throws(() => toFrames(json(1, ['a', ''])), { code: 'bad-request', field: 'replyTo/1' });
  assert.throws(() => toFrames({ ...json(1), id: '\ud800' }), { code: 'bad-request' });
});

test('D-02 fromFrames() reads the way back, and toFrames() writes the same bytes again', () => {
  const frames = ['a', 'b', 'c', '', 'id', 'mime', 'data'];
  const envelope = fromFrames(frames);
  assert.deepEqual(envelope.replyTo, ['a', 'b', 'c']);
  assert.equal(envelope.id, 'id');
  assert.equal(envelope.mimetype, 'mime');
  assert.deepEqual(envelope.body, Buffer.from('data'));
  assert.deepEqual(strings(toFrames(envelope)), frames);
});

test('D-02 toFrames() without a way back writes three parts', () => {
  assert.deepEqual(strings(toFrames({ id: '', mimetype: 'text/plain', body: 'hi', replyTo: [] })), [
    '',
    'text/plain',
    'hi',
  ]);
  assert.deepEqual(fromFrames(['', 'text/plain', 'hi']).replyTo, []);
});

test('D-02 fromFrames() refuses 4 parts, fewer than 3, and a separator that is not empty', () => {
  for (const frames of [
    [],
    ['x'],
    ['id', 'mime'],
    ['', 'id', 'mime', 'data'],
    ['a', 'id', 'mime', 'data'],
    ['a', 'b', 'id', 'mime', 'data'],
    ['', '', 'id', 'mime', 'data'],
    ['a', '', 'b', 'id', 'mime', 'data'],
  ]) {
    assert.throws(
      () => fromFrames(frames),
      { code: 'bad-request', message: /^Cannot read envelope: / },
      frames.join(),
    );
  }
});

test('fromFrames() refuses what is no UTF-8 where a text is expected, naming it', () => {
  const bad = new Uint8Array([0xff]);
  const cases: [(string | Uint8Array)[], string][] = [
    [['a', bad, '', 'id', 'text/plain', 'x'], 'replyTo/1'],
    [[bad, 'text/plain', 'x'], 'id'],
    [['id', bad, 'x'], 'mimetype'],
    [['id', 'text/plain', bad], 'body'],
  ];
  for (const [frames, field] of cases)
    assert.throws(() => fromFrames(frames), { code: 'bad-request', field });
  assert.throws(() => fromFrames(['id', 'application/json', '{"a":']), { code: 'bad-request' });
});

test('D-11 toFrames() passes on the JSON bytes as they came, but not for another body', () => {
  const frames = ['id', 'application/json', '{"big": 12345678901234567890, "float": 1.0}'];
  const envelope = fromFrames(frames);
  assert.deepEqual(strings(toFrames(envelope)), frames);
  assert.deepEqual(strings(toFrames({ ...envelope, body: { a: 1 } })).at(-1), '{"a":1}');
});

test('D-05 textBody() and jsonBody() refuse the other type with a typed error', () => {
  const text: Envelope = { id: '', mimetype: 'text/plain', body: '{"a":1}', replyTo: [] };
  assert.equal(textBody(text), '{"a":1}');
  assert.deepEqual(jsonBody(json({ a: 1 })), { a: 1 });
  assert.throws(() => textBody(json({ a: 1 })), {
    code: 'unsupported',
    field: 'mimetype',
    message: 'Cannot read text: mimetype is "application/json", expected text/plain',
  });
  assert.throws(() => jsonBody(text), { code: 'unsupported', field: 'mimetype' });
});

test('replyEnvelope() goes back the same way under the same id, unless another is given', () => {
  const request = fromFrames(['a', 'b', '', 'job-1', 'application/json', '{}']);
  const answer = { mimetype: 'text/plain', body: 'done' };
  assert.deepEqual(replyEnvelope(request, answer), { ...answer, id: 'job-1', replyTo: ['a', 'b'] });
  assert.equal(replyEnvelope(request, { ...answer, id: 'job-2' }).id, 'job-2');
  assert.equal(replyEnvelope(request, { ...answer, id: '' }).id, '');
});

/** Any text with a UTF-8 form and without NUL. */
const text = fc.string({ unit: 'binary' }).map((value) => value.replaceAll('\0', ''));
const anyBody = fc.oneof(
  fc.record({
    mimetype: fc.constantFrom('application/json', 'Application/json; charset=utf-8'),
    // -0 has no JSON of its own, and NUL is none of ours.
    body: fc
      .jsonValue({ maxDepth: 8, stringUnit: 'binary' })
      .map((value) => JSON.parse(JSON.stringify(value).replaceAll('\\u0000', '')) as unknown),
  }),
  fc.record({ mimetype: fc.constantFrom('text/plain', 'text/html; charset=utf-8'), body: text }),
  fc.record({
    mimetype: fc.constantFrom('image/png', 'application/octet-stream', 'mime', ''),
    body: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  }),
);
const anyEnvelope = fc
  .tuple(anyBody, text, fc.array(text.filter((address) => address !== '')))
  .map(([{ mimetype, body }, id, replyTo]): Envelope => ({ id, mimetype, body, replyTo }));

test('decodeEnvelope() gives back what encodeEnvelope() was given', () => {
  fc.assert(
    fc.property(anyEnvelope, (envelope) => {
      const encoded = encodeEnvelope(envelope);
      assert.deepEqual(decodeEnvelope(encoded), envelope);
      assert.deepEqual(decodeEnvelope(Buffer.from(encoded)), envelope);
    }),
    { numRuns: 500 },
  );
});

test('fromFrames() gives back what toFrames() was given, byte for byte', () => {
  fc.assert(
    fc.property(anyEnvelope, (envelope) => {
      const frames = toFrames(envelope);
      const { original, ...read } = fromFrames(frames);
      assert.deepEqual(read, envelope);
      assert.deepEqual(toFrames({ ...read, ...(original === undefined ? {} : { original }) }), frames);
    }),
    { numRuns: 500 },
  );
});

test('encodeEnvelope() refuses half a surrogate pair wherever it stands, and carries __proto__ as data', () => {
  for (const envelope of [
    json({ a: ['\ud800'] }),
    json({ '\udc00': 1 }),
    { ...json(1), id: '\ud800' },
    json(1, ['\ud800']),
  ]) {
    assert.throws(() => encodeEnvelope(envelope), { code: 'bad-request' });
  }
  const body: unknown = JSON.parse('{"__proto__":{"a":1}}');
  const decoded = decodeEnvelope(encodeEnvelope(json(body))).body as object;
  assert.deepEqual(Object.keys(decoded), ['__proto__']);
  assert.equal(Object.getPrototypeOf(decoded), Object.prototype);
});

/** Frames with a field missing, doubled or of another type, and any text at all. */
const nearlyFrame = fc.oneof(
  fc.string(),
  fc.json(),
  fc
    .record(
      {
        v: fc.oneof(fc.constant(1), fc.jsonValue()),
        id: fc.oneof(fc.string(), fc.jsonValue()),
        mimetype: fc.oneof(fc.constantFrom('text/plain', 'application/json', 'x/y'), fc.jsonValue()),
        body: fc.oneof(fc.base64String(), fc.jsonValue()),
        encoding: fc.oneof(fc.constant('base64'), fc.jsonValue()),
        replyTo: fc.oneof(fc.array(fc.string()), fc.jsonValue()),
        more: fc.jsonValue(),
      },
      { requiredKeys: [] },
    )
    .map((frame) => JSON.stringify(frame)),
);

test('F16: decodeEnvelope() and fromFrames() throw nothing but bad-request, and what they read can be written', () => {
  const check = (read: () => Envelope) => {
    let envelope: Envelope;
    try {
      envelope = read();
    } catch (error) {
      assert(isAppError(error, 'bad-request'), String(error));
      return;
    }
    assert.deepEqual(decodeEnvelope(encodeEnvelope(envelope)).body, envelope.body);
    assert.doesNotThrow(() => toFrames(envelope));
  };
  fc.assert(
    fc.property(nearlyFrame, (frame) => check(() => decodeEnvelope(frame))),
    { numRuns: 3_000 },
  );
  const part = fc.oneof(
    fc.constantFrom('', 'text/plain', 'application/json', '{}'),
    fc.string(),
    fc.uint8Array(),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (frames) => check(() => fromFrames(frames))),
    { numRuns: 3_000 },
  );
});
