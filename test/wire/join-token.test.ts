import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isAppError } from '../../src/domain/error.ts';
import { encodeJoinToken, joinBearer, joinTokenPrefix, parseJoinToken } from '../../src/wire/join-token.ts';

const secret = 'aB3_-'.repeat(9).slice(0, 43);
const id = `tok-${'0123456789abcdefghjkmnpqrs'}`;
const trust = {
  urls: ['https://registry.example:7420', 'https://[2001:db8::1]:7420'],
  key: `sha256:${'a'.repeat(64)}`,
  ca: `sha256:${'b'.repeat(64)}`,
};
const bearer = `hf_${id}_${secret}`;
const text = encodeJoinToken(trust, bearer);

function of(parts: Record<string, unknown>): string {
  return joinTokenPrefix + Buffer.from(JSON.stringify(parts)).toString('base64url');
}

describe('parseJoinToken()', () => {
  test('reads what encodeJoinToken() wrote, with and without a CA', () => {
    assert.deepEqual(parseJoinToken(text), { ...trust, id, secret });
    const public_ = { ...trust, ca: null };
    assert.deepEqual(parseJoinToken(encodeJoinToken(public_, bearer)), { ...public_, id, secret });
    assert.equal(joinBearer(parseJoinToken(text)), bearer);
  });

  test('reads one that a terminal or a file has wrapped', () => {
    assert.deepEqual(parseJoinToken(`  ${text.slice(0, 90)}\r\n${text.slice(90)}\n`), {
      ...trust,
      id,
      secret,
    });
  });

  const parts = { ...trust, id, secret };
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['', /empty/],
    [' \n', /empty/],
    [bearer, /API token/],
    [text.slice(5), /does not begin with hfj1\./],
    [text.replace('hfj1.', 'hfj2.'), /newer Holdfast/],
    [text.slice(0, -40), /missing/],
    [joinTokenPrefix, /character|missing/],
    [`${text}"`, /character/],
    [joinTokenPrefix + 'A'.repeat(20_000), /too long/],
    [of([] as never), /missing/],
    [of({ ...parts, urls: [] }), /URLs/],
    [of({ ...parts, urls: ['ftp://x'] }), /URLs/],
    [of({ ...parts, urls: ['https://user:pass@x'] }), /URLs/],
    [of({ ...parts, urls: 'https://x' }), /URLs/],
    [of({ ...parts, key: 'sha256:1' }), /signing key/],
    [of({ ...parts, ca: 'sha256:1' }), /CA/],
    [of({ ...parts, id: 'tok-1' }), /id/],
    [of({ ...parts, secret: 'short' }), /secret/],
    [of({ ...parts, more: 1 }), /does not know/],
  ];
  for (const [index, [given, words]] of wrong.entries()) {
    test(`says what is wrong without showing it: ${words.source} (${index})`, () => {
      assert.throws(
        () => parseJoinToken(given),
        (error) => {
          assert.ok(isAppError(error, 'bad-request'));
          assert.match(error.message, words);
          assert.equal(error.message.includes(secret), false);
          return true;
        },
      );
    });
  }

  test('takes no cut of a token for a whole one', () => {
    for (let length = 0; length < text.length; length += 1)
      assert.throws(() => parseJoinToken(text.slice(0, length)), /Cannot read the join token/);
  });
});
