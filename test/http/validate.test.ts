import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TSchema, Type } from 'typebox';
import { createValidators, type Part } from '../../src/http/validate.ts';
import { Count, Digest, Duration, nullable, repeatable, strictObject, words } from '../../src/wire/schema.ts';

function refused(schema: TSchema, data: unknown, part: Part = 'body'): string {
  const answer = createValidators()(schema, part, { optional: false })(data);
  assert(answer !== true, `${JSON.stringify(data)} was taken`);
  return `${answer.error.field}: ${answer.error.message}`;
}

test('createValidators() says what it found and what it expected, in our own words', () => {
  const Body = strictObject({
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 5 })),
    note: Type.Optional(nullable(Type.String({ maxLength: 5 }))),
    ttl: Type.Optional(Duration),
    version: Type.Optional(Count),
    status: Type.Optional(words(['UP', 'DOWN'])),
    hash: Type.Optional(Digest),
    on: Type.Optional(Type.Boolean()),
    items: Type.Optional(Type.Array(strictObject({ uuid: Type.String() }), { maxItems: 2 })),
  });
  for (const [data, message] of [
    [{ colour: 1 }, 'colour: Cannot accept the body: "colour" is unknown'],
    [{ items: [{}] }, 'items/0/uuid: Cannot accept the body: "items/0/uuid" is missing'],
    [{ name: 1 }, 'name: Cannot accept the body: "name" is 1, expected a text'],
    [{ name: null }, 'name: Cannot accept the body: "name" is null, expected a text'],
    [{ name: '' }, 'name: Cannot accept the body: "name" is empty'],
    [{ name: 'abcdef' }, 'name: Cannot accept the body: "name" is longer than 5 characters'],
    [{ note: [] }, 'note: Cannot accept the body: "note" is a list, expected a text or null'],
    [{ note: 'abcdef' }, 'note: Cannot accept the body: "note" is longer than 5 characters'],
    [{ ttl: {} }, 'ttl: Cannot accept the body: "ttl" is an object, expected a number or a text'],
    [{ version: -1 }, 'version: Cannot accept the body: "version" is -1, expected at least 0'],
    [{ version: 1.5 }, 'version: Cannot accept the body: "version" is 1.5, expected a whole number'],
    [
      { status: 'sideways' },
      'status: Cannot accept the body: "status" is "sideways", expected one of UP, DOWN',
    ],
    [
      { hash: 'x' },
      'hash: Cannot accept the body: "hash" is "x", expected sha256: and 64 hexadecimal digits',
    ],
    [{ on: 'yes' }, 'on: Cannot accept the body: "on" is a text, expected true or false'],
    [{ items: {} }, 'items: Cannot accept the body: "items" is an object, expected a list'],
    [
      { items: [{ uuid: '' }, { uuid: '' }, { uuid: '' }] },
      'items: Cannot accept the body: "items" has 3 items, expected at most 2',
    ],
    [[], 'body: Cannot accept the body: it is a list, expected an object'],
  ] as const)
    assert.equal(refused(Body, data), message);
  const Query = strictObject({
    limit: Type.Optional(Type.Integer({ maximum: 9 })),
    name: repeatable(Type.String()),
  });
  assert.equal(
    refused(Query, { limit: 'x' }, 'query'),
    'limit: Cannot accept the query: "limit" is a text, expected a whole number',
  );
  assert.equal(
    refused(Query, { limit: '10' }, 'query'),
    'limit: Cannot accept the query: "limit" is 10, expected at most 9',
  );
});

test('createValidators() shows no more of what a stranger sent than a line', () => {
  const message = refused(strictObject({ status: words(['UP']) }), { status: 'x'.repeat(100_000) });
  assert(message.length < 200, message);
});
