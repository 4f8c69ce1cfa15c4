import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mask, maskText } from '../../src/base/mask.ts';

/** What is planted, and a secret in it that must not be left. */
const planted: readonly (readonly [text: string, secret: string])[] = [
  ['token hf_tok-01m7.abcDEF123 was refused', 'abcDEF123'],
  ['HOLDFAST_JOIN is hfj1.eyJ1cmxzIjpbXX0', 'eyJ1cmxz'],
  ['postgres://ann:p@ss/w0rd@db/fleet failed', 'p@ss/w0rd'],
  ['https://ann@db/x', 'ann'],
  ['GET http://h/health?token=qqq&a=1 gave 500', 'qqq'],
  ['Authorization: Bearer abcdef.ghijkl', 'abcdef'],
  ['authorization: basic YW5uOnNlY3JldA==', 'YW5uOn'],
  ['PGPASSWORD=hunter22 psql', 'hunter22'],
  ['mysql --password "hunter 22" -u a', 'hunter 22'],
  ['mysql --password=hunter22', 'hunter22'],
  ['{"clientSecret": "hunter22"}', 'hunter22'],
  ["api_key: 'hunter22'", 'hunter22'],
  ['{"text":"{\\"password\\":\\"hunter22\\"}"}', 'hunter22'],
  ['{"password":"hunter22, cut', 'hunter22'],
  ['{"password":"a\\"hunter22"}', 'hunter22'],
  ['https://hooks.slack.com/services/T0/B0/XXhunter', 'XXhunter'],
  ['AKIAIOSFODNN7EXAMPLE', 'IOSFODNN7'],
  ['ghp_16C7e42F292c6912E7710c838347Ae178B4a', '16C7e42F'],
  ['-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ\n-----END PRIVATE KEY-----', 'MC4CAQAwBQ'],
  ['-----BEGIN EC PRIVATE KEY-----\nMC4CAQAwBQ cut', 'MC4CAQAwBQ'],
  ['eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln', 'eyJzdWIi'],
];

test('Mask.text() leaves none of the planted secrets', () => {
  const mask = new Mask();
  for (const [text, secret] of planted) {
    assert(text.includes(secret));
    const shown = mask.text(text);
    assert(!shown.includes(secret), `${text} → ${shown}`);
    assert(shown.includes(maskText));
  }
});

test('Mask.text() hides what it is told is a secret, the longest first, wherever it stands', () => {
  const mask = new Mask(['correct-horse', 'correct-horse-battery\n', 'abc']);
  assert.equal(mask.text('x correct-horse-battery y correct-horse'), `x ${maskText} y ${maskText}`);
  // One of three letters would be found in every word.
  assert.equal(mask.text('abcdef'), 'abcdef');
});

test('Mask.text() leaves what people look for', () => {
  const mask = new Mask();
  for (const text of [
    'Cannot reach https://registry.example:7420: nobody listens there',
    '/var/lib/holdfast/agent/admin.token has mode 644',
    'detector dpkg: no such file /var/lib/dpkg/status',
    '01a1faf9-f6b5-7620-b23f-53dfdf01b16b at 2026-01-01T00:00:00.000Z',
    'Give it a new join token with holdfast agent --join-file FILE',
    'openssl 3.0.11-1~deb12u2',
  ])
    assert.equal(mask.text(text), text);
});

test('Mask.text() takes time in proportion to a long text', () => {
  const mask = new Mask();
  for (const piece of ['https://', 'token', '-----BEGIN PRIVATE KEY-----', '"password": "', 'a:b@', 'x.'])
    mask.text(piece.repeat(20_000));
});

test('Mask.text() does not look for an option at each dash of a line', () => {
  const startMs = performance.now();
  new Mask().text('-'.repeat(20_000));
  const tookMs = performance.now() - startMs;
  // 970 ms when it did.
  assert(tookMs < 300, `${tookMs} ms`);
});

test('Mask.value() hides by name: environments, commands, and what sounds like a secret', () => {
  const mask = new Mask();
  const shown = mask.value({
    url: 'https://ann:pw@h/x',
    password: 'a',
    apiKey: ['a', 'b'],
    tokenFile: '/etc/holdfast/token',
    credential: { generation: 2, expiresAt: 'x', secret: 'a' },
    environment: { PATH: '/bin', PASS: 'a' },
    env: ['PASS=a'],
    command: ['/usr/bin/mysql', '-psecret'],
    exec: { command: '/bin/sh -c x' },
    one: { command: ['/bin/true'] },
    joinToken: null,
    nested: [{ deeper: 'token=abc' }],
    fn: () => 1,
  });
  assert.deepEqual(shown, {
    url: `https://${maskText}@h/x`,
    password: maskText,
    apiKey: maskText,
    tokenFile: '/etc/holdfast/token',
    credential: { generation: 2, expiresAt: 'x', secret: maskText },
    environment: { PATH: maskText, PASS: maskText },
    env: [`PASS=${maskText}`],
    command: `/usr/bin/mysql ${maskText}`,
    exec: { command: `/bin/sh ${maskText}` },
    one: { command: '/bin/true' },
    joinToken: null,
    nested: [{ deeper: `token=${maskText}` }],
  });
});
