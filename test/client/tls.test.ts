import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Type } from 'typebox';
import { Connection, type ConnectionOptions } from '../../src/client/connection.ts';
import { LinkError, type LinkFailure } from '../../src/client/link.ts';
import { type ApiRequest, expectBody } from '../../src/client/request.ts';
import { strictObject } from '../../src/wire/schema.ts';
import { makeCertificate, makePair } from '../helpers/certificates.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { until } from '../helpers/until.ts';
import { fakeServer, json } from './fake-server.ts';
import { tlsServer } from './tls-server.ts';

const answer = expectBody(strictObject({ up: Type.Boolean() }));
const ask = { method: 'GET', path: '/v1/is-up', answer } satisfies ApiRequest;
const dayMs = 86_400_000;
const days = (count: number) => new Date(Date.now() + count * dayMs);

function connectionTo(t: TestContext, url: string, more: Partial<ConnectionOptions> = {}): Connection {
  const connection = new Connection({
    target: { url },
    clock: new FakeClock({ startMs: Date.now() }),
    random: new SeededRandom(),
    attemptsMax: 1,
    ...more,
  });
  t.after(() => connection.close());
  return connection;
}

function failsWith(failure: LinkFailure, words: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof LinkError, String(error));
    assert.equal(error.failure, failure, error.message);
    assert.match(error.message, words);
    return true;
  };
}

test('a connection believes a server whose certificate its CA has signed, and speaks TLS 1.3', async (t) => {
  const { ca, leaf } = makePair();
  const server = await tlsServer(t, leaf, { chain: ca.cert });
  const connection = connectionTo(t, server.url, { tls: { ca: [ca.cert] }, token: 'secret' });
  assert.equal((await connection.call(ask)).document.up, true);
  assert.equal(server.requests[0]?.['authorization'], 'Bearer secret');
  assert.deepEqual(server.connections, [{ protocol: 'TLSv1.3', resumed: false }]);
});

test('a connection believes an address in the certificate', async (t) => {
  const { ca, leaf } = makePair();
  const server = await tlsServer(t, leaf);
  const connection = connectionTo(t, `https://127.0.0.1:${server.port}`, { tls: { ca: [ca.cert] } });
  assert.equal((await connection.call(ask)).document.up, true);
});

test('a connection believes either CA while a registry goes from one to the next', async (t) => {
  const [old, next] = [makePair({ caName: 'old' }), makePair({ caName: 'next' })];
  for (const { leaf } of [old, next]) {
    const server = await tlsServer(t, leaf);
    const connection = connectionTo(t, server.url, { tls: { ca: [old.ca.cert, next.ca.cert] } });
    assert.equal((await connection.call(ask)).document.up, true);
  }
});

test('a connection after the first goes on from its session', async (t) => {
  const { ca, leaf } = makePair();
  const server = await tlsServer(t, leaf, { keepAlive: false });
  const connection = connectionTo(t, server.url, { tls: { ca: [ca.cert] } });
  await connection.call(ask);
  const socket = await connection.dial();
  await until(() => server.connections.length === 2, 'two connections');
  socket.destroy();
  assert.deepEqual(
    server.connections.map(({ resumed }) => resumed),
    [false, true],
  );
});

test('a connection says for which names the certificate is when it is for others', async (t) => {
  const { ca, leaf } = makePair({ names: ['registry.example', '10.0.0.1'] });
  const server = await tlsServer(t, leaf);
  const connection = connectionTo(t, server.url, { tls: { ca: [ca.cert] }, token: 'secret' });
  await assert.rejects(
    connection.call(ask),
    failsWith('untrusted', /is for registry\.example, 10\.0\.0\.1, not for localhost; .*--advertise-url/),
  );
  assert.equal(server.requests.length, 0, 'the token was not sent');
});

for (const [what, words, certificates] of [
  [
    'of another CA',
    /not signed by the CA that belongs to it/,
    () => ({ ca: makePair().ca, leaf: makePair().leaf }),
  ],
  [
    'that it signed itself',
    /not signed by the CA that belongs to it/,
    () => ({ ca: makePair().ca, leaf: makeCertificate({ name: 'server', names: ['localhost'] }) }),
  ],
  [
    'that a server signed with its own',
    /not signed by the CA that belongs to it|cannot be trusted/,
    () => {
      const { ca, leaf } = makePair();
      return {
        ca,
        leaf: makeCertificate({ name: 'evil', by: leaf, names: ['localhost'] }),
        chain: leaf.cert,
      };
    },
  ],
  [
    'that has expired',
    /has expired; this machine's clock says .*, is that right\?/,
    () => makePair({ notBefore: days(-20), notAfter: days(-1) }),
  ],
  [
    'that is not valid yet',
    /is not valid yet; this machine's clock says .*, is that right\?/,
    () => {
      const { ca } = makePair();
      return { ca, leaf: makeCertificate({ name: 's', by: ca, names: ['localhost'], notBefore: days(1) }) };
    },
  ],
  ['for clients only', /INVALID_PURPOSE/, () => makePair({ usage: '1.3.6.1.5.5.7.3.2' })],
] as [string, RegExp, () => ReturnType<typeof makePair> & { chain?: string }][]) {
  test(`a connection does not believe a certificate ${what}`, async (t) => {
    const { ca, leaf, chain = '' } = certificates();
    const server = await tlsServer(t, leaf, { chain });
    const connection = connectionTo(t, server.url, {
      tls: { ca: [ca.cert] },
      token: 'secret',
      attemptsMax: 3,
    });
    await assert.rejects(connection.call(ask), failsWith('untrusted', words));
    assert.equal(server.requests.length, 0, 'the token was not sent');
    assert.ok(server.connections.length <= 1, 'nor is it asked again');
  });
}

test('a connection without a CA believes the roots of this machine only, and says how to name another', async (t) => {
  const { leaf } = makePair();
  const server = await tlsServer(t, leaf);
  const connection = connectionTo(t, server.url);
  await assert.rejects(
    connection.call(ask),
    failsWith('untrusted', /nobody whom this machine trusts.*--ca-file/),
  );
});

test('a connection to a registry with a CA of its own speaks nothing older than TLS 1.3', async (t) => {
  const { ca, leaf } = makePair();
  const server = await tlsServer(t, leaf, { maxVersion: 'TLSv1.2' });
  const connection = connectionTo(t, server.url, { tls: { ca: [ca.cert] } });
  await assert.rejects(connection.call(ask), failsWith('untrusted', /does not speak TLS 1\.3/));
});

test('a connection says so when what answers https speaks plain HTTP', async (t) => {
  const server = await fakeServer(t, (_asked, response) => json(response, 200, { up: true }));
  const connection = connectionTo(t, server.url.replace('http:', 'https:'), {
    tls: { ca: [makePair().ca.cert] },
  });
  await assert.rejects(
    connection.call(ask),
    failsWith('untrusted', /speaks plain HTTP, use http:\/\/ instead/),
  );
});

test('a connection that verifies nobody takes any answer, and no token', async (t) => {
  const server = await tlsServer(t, makePair().leaf);
  const connection = connectionTo(t, server.url, { tls: { unverified: true } });
  assert.equal((await connection.call(ask)).document.up, true);
  assert.throws(() => connectionTo(t, server.url, { tls: { unverified: true }, token: 'secret' }), {
    code: 'bad-request',
    message: /nobody has verified who it is/,
  });
});

test('a connection refuses a CA that is none', (t) => {
  assert.throws(() => connectionTo(t, 'https://localhost:1', { tls: { ca: ['-----BEGIN NOTHING-----'] } }), {
    code: 'bad-request',
    message: /no certificate in PEM form/,
  });
});

test('B6: a connection believes its CA although this machine is in 1970, and nobody else', async (t) => {
  const clock = new FakeClock({ startMs: 0 });
  // By the clock of this process they begin tomorrow: what a machine in 1970 sees of any certificate.
  const begin = { notBefore: days(1), notAfter: days(30) };
  const { ca, leaf } = makePair(begin);
  const server = await tlsServer(t, leaf);
  const good = connectionTo(t, server.url, { clock, tls: { ca: [ca.cert] }, token: 'secret' });
  assert.equal((await good.call(ask)).document.up, true);

  const another = makePair(begin);
  const wrong: [string, RegExp, Parameters<typeof tlsServer>[1]][] = [
    ['another CA', /not signed by the CA/, another.leaf],
    [
      'a name of its own',
      /is for evil\.test, not for localhost/,
      makePair({ ...begin, by: ca, names: ['evil.test'] }).leaf,
    ],
    ['itself', /not signed by the CA/, makeCertificate({ name: 'server', names: ['localhost'], ...begin })],
    [
      'a server of the CA',
      /not signed by the CA/,
      makeCertificate({ name: 'evil', by: leaf, names: ['localhost'], ...begin }),
    ],
    ['a client', /INVALID_PURPOSE/, makePair({ ...begin, by: ca, usage: '1.3.6.1.5.5.7.3.2' }).leaf],
  ];
  for (const [what, words, certificate] of wrong) {
    const evil = await tlsServer(t, certificate, { chain: leaf.cert });
    const connection = connectionTo(t, evil.url, { clock, tls: { ca: [ca.cert] }, token: 'secret' });
    await assert.rejects(connection.call(ask), failsWith('untrusted', words), what);
    assert.equal(evil.requests.length, 0, what);
  }
});

test('B3: a connection works with a clock that is a day off either way', async (t) => {
  // What registries make begins two days ago and ends in thirty at the earliest.
  const { ca, leaf } = makePair();
  const server = await tlsServer(t, leaf);
  for (const off of [-dayMs, dayMs]) {
    const clock = new FakeClock({ startMs: Date.now() + off });
    const connection = connectionTo(t, server.url, { clock, tls: { ca: [ca.cert] } });
    assert.equal((await connection.call(ask)).document.up, true);
  }
});
