import assert from 'node:assert/strict';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { Type } from 'typebox';
import { answerBytesMax, Connection, type ConnectionOptions } from '../../src/client/connection.ts';
import { LinkError, type LinkFailure } from '../../src/client/link.ts';
import { type ApiRequest, expectBody } from '../../src/client/request.ts';
import { AppError, type ErrorCode } from '../../src/domain/error.ts';
import { strictObject } from '../../src/wire/schema.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { fakeServer, json, problem } from './fake-server.ts';
import { HastyClock } from './hasty-clock.ts';

const answer = expectBody(strictObject({ up: Type.Boolean() }));
const ask = { method: 'GET', path: '/v1/is-up', answer } satisfies ApiRequest;

function connectionTo(
  t: TestContext,
  options: Partial<ConnectionOptions> & Pick<ConnectionOptions, 'target'>,
): Connection {
  const connection = new Connection({ clock: new HastyClock(), random: new SeededRandom(), ...options });
  t.after(() => connection.close());
  return connection;
}

function failsWith(failure: LinkFailure, words: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof LinkError, String(error));
    assert.equal(error.failure, failure);
    assert.equal(error.code, 'unavailable');
    assert.match(error.message, words);
    return true;
  };
}

function refusedWith(code: ErrorCode) {
  return (error: unknown) =>
    error instanceof AppError && !(error instanceof LinkError) && error.code === code;
}

test('call() gives the text as it came and the document without members that this version does not know', async (t) => {
  const text = '{"up":true,  "since":"a newer server says this"}';
  const server = await fakeServer(t, (_asked, response) => json(response, 200, text));
  const connection = connectionTo(t, { target: { url: server.url }, token: 'secret' });
  const { headers, ...given } = await connection.call({
    ...ask,
    query: { type: ['a b', 'c'], none: undefined },
  });
  assert.equal(headers['content-type'], 'application/json; charset=utf-8');
  assert.deepEqual(given, {
    status: 200,
    text,
    document: { up: true },
  });
  assert.equal(server.asked[0]?.url, '/v1/is-up?type=a+b&type=c');
  assert.equal(server.asked[0]?.headers['authorization'], 'Bearer secret');
});

test('call() keeps the path of a URL as a prefix', async (t) => {
  const server = await fakeServer(t, (_asked, response) => json(response, 200, { up: true }));
  const connection = connectionTo(t, { target: { url: `${server.url}/fleet/` } });
  await connection.call(ask);
  assert.equal(server.asked[0]?.url, '/fleet/v1/is-up');
});

test('call() talks through a Unix socket', async (t) => {
  const socket = join(tempFolder(t), 's');
  await fakeServer(t, (_asked, response) => json(response, 200, { up: true }), socket);
  const connection = connectionTo(t, { target: { socket } });
  assert.deepEqual((await connection.call(ask)).document, { up: true });
  assert.equal(connection.label, socket);
});

for (const [name, respond, words] of [
  [
    'a login page',
    (r) => r.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>'),
    /text\/html, not JSON/,
  ],
  ['an answer without a type', (r) => r.writeHead(200).end('{"up":true}'), /of no type/],
  ['JSON of another shape', (r) => json(r, 200, { up: 'yes' }), /unknown shape/],
  ['JSON null', (r) => json(r, 200, 'null'), /unknown shape/],
  ['broken JSON', (r) => json(r, 200, '{"up":true'), /no valid JSON/],
  [
    'what is no UTF-8',
    (r) => r.writeHead(200, { 'content-type': 'application/json' }).end(Buffer.from([0x22, 0xff, 0x22])),
    /not UTF-8/,
  ],
  ['more than the limit', (r) => json(r, 200, `"${'x'.repeat(answerBytesMax)}"`), /larger than 16 MiB/],
  ['a redirect', (r) => r.writeHead(302, { location: 'http://127.0.0.1:1/login' }).end(), /HTTP 302/],
  [
    'a 404 page',
    (r) => r.writeHead(404, { 'content-type': 'text/html' }).end('no'),
    /HTTP 404 without a problem/,
  ],
  ['no content', (r) => r.writeHead(204).end(), /of no type/],
] as [string, (response: import('node:http').ServerResponse) => void, RegExp][]) {
  test(`call() does not believe ${name}`, async (t) => {
    const server = await fakeServer(t, (_asked, response) => respond(response));
    const connection = connectionTo(t, { target: { url: server.url } });
    await assert.rejects(connection.call(ask), failsWith('foreign', words));
    assert.equal(server.asked.length, 1, 'and does not ask again');
  });
}

test('call() throws the problem that the server answered, with field, details and Retry-After', async (t) => {
  const server = await fakeServer(t, (_asked, response) =>
    problem(response, new AppError('conflict', 'held', { field: 'type', details: { holder: 'u-1' } }), {
      'retry-after': '7',
    }),
  );
  const connection = connectionTo(t, { target: { url: server.url } });
  await assert.rejects(connection.call(ask), (error) => {
    assert.ok(error instanceof AppError);
    assert.deepEqual(
      [error.code, error.message, error.field, error.details, error.retryAfterMs],
      ['conflict', 'held', 'type', { holder: 'u-1' }, 7_000],
    );
    return true;
  });
});

test('call() asks again while the server is away, with equal jitter, and not before Retry-After', async (t) => {
  const clock = new HastyClock();
  const answers = [
    (r: import('node:http').ServerResponse) =>
      problem(r, new AppError('unavailable', 'starting'), { 'retry-after': '3' }),
    (r: import('node:http').ServerResponse) =>
      r.writeHead(502, { 'content-type': 'text/html' }).end('bad gateway'),
    (r: import('node:http').ServerResponse) => json(r, 200, { up: true }),
  ];
  const server = await fakeServer(t, (_asked, response) => answers.shift()?.(response));
  const connection = connectionTo(t, { target: { url: server.url }, clock });
  assert.equal((await connection.call(ask)).document.up, true);
  const [first = 0, second = 0] = clock.sleptMs;
  assert.ok(first >= 3_000 && first <= 3_050, `${first}`);
  assert.ok(second >= 100 && second <= 200, `${second}`);
});

test('call() tells a 503 at once when Retry-After is beyond its time', async (t) => {
  const clock = new HastyClock();
  const server = await fakeServer(t, (_asked, response) =>
    problem(response, new AppError('unavailable', 'busy'), { 'retry-after': '60' }),
  );
  const connection = connectionTo(t, { target: { url: server.url }, clock });
  await assert.rejects(connection.call(ask), refusedWith('unavailable'));
  assert.deepEqual(clock.sleptMs, []);
});

test('call() reads a Retry-After that is a date', async (t) => {
  const clock = new HastyClock();
  const date = new Date(clock.now() + 60_000).toUTCString();
  const server = await fakeServer(t, (_asked, response) =>
    problem(response, new AppError('rate-limited', 'slow down'), { 'retry-after': date }),
  );
  const connection = connectionTo(t, { target: { url: server.url }, clock });
  await assert.rejects(connection.call(ask), (error) => (error as AppError).retryAfterMs === 60_000);
});

test('call() sends once what may not be sent twice', async (t) => {
  const server = await fakeServer(t, (_asked, response) =>
    problem(response, new AppError('unavailable', 'no')),
  );
  const connection = connectionTo(t, { target: { url: server.url } });
  await assert.rejects(connection.call({ ...ask, method: 'POST', body: {} }), refusedWith('unavailable'));
  assert.equal(server.asked.length, 1);
});

test('call() gives each attempt of a creation the same Idempotency-Key', async (t) => {
  const server = await fakeServer(t, (_asked, response) =>
    problem(response, new AppError('unavailable', 'no')),
  );
  const connection = connectionTo(t, { target: { url: server.url } });
  await assert.rejects(
    connection.call({ ...ask, method: 'POST', body: {}, idempotent: true, creates: true }),
  );
  const keys = server.asked.map(({ headers }) => headers['idempotency-key']);
  assert.equal(keys.length, 3);
  assert.match(String(keys[0]), /^[0-9a-f]{32}$/);
  assert.equal(new Set(keys).size, 1);
});

test('call() takes a half answer for a broken connection', async (t) => {
  const server = await fakeServer(t, (_asked, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '11' });
    response.write('{"up"', () => response.destroy());
  });
  const connection = connectionTo(t, { target: { url: server.url } });
  await assert.rejects(
    connection.call(ask),
    failsWith('unreachable', /broke before the answer was complete/),
  );
  assert.equal(server.asked.length, 3);
});

test('call() takes a reset for a broken connection', async (t) => {
  const server = await fakeServer(t, (_asked, _response, request) => request.socket.resetAndDestroy());
  const connection = connectionTo(t, { target: { url: server.url } });
  await assert.rejects(connection.call(ask), failsWith('unreachable', /broke/));
});

test('call() says so when what answers is not HTTP', async (t) => {
  const server = createServer((socket) => socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.2\r\n')));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const connection = connectionTo(t, {
    target: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
  });
  await assert.rejects(connection.call(ask), failsWith('foreign', /not HTTP/));
});

test('call() tells a closed port and a missing socket from an answer', async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  await assert.rejects(
    connectionTo(t, { target: { url: `http://127.0.0.1:${port}` } }).call(ask),
    failsWith('unreachable', /nobody listens/),
  );
  await assert.rejects(
    connectionTo(t, { target: { socket: join(tempFolder(t), 's') } }).call(ask),
    failsWith('unreachable', /no such socket/),
  );
});

test('call() gives up after its deadline, and says what the last attempt met if there was one', async (t) => {
  const clock = new FakeClock();
  let heard: () => void = () => undefined;
  const received = new Promise<void>((resolve) => {
    heard = resolve;
  });
  const server = await fakeServer(t, () => heard());
  const connection = connectionTo(t, { target: { url: server.url }, clock, timeoutMs: 5_000 });
  const call = assert.rejects(connection.call(ask), failsWith('timed-out', /no answer within 5 s/));
  await received;
  await clock.advance(4_999);
  await clock.advance(1);
  await call;
  assert.deepEqual(clock.pendingMs, []);
});

test('call() throws the reason of an aborted signal', async (t) => {
  const stop = new AbortController();
  const server = await fakeServer(t, () => stop.abort(new Error('enough')));
  const connection = connectionTo(t, { target: { url: server.url }, signal: stop.signal });
  await assert.rejects(connection.call(ask), /enough/);
  await assert.rejects(connection.call(ask), /enough/);
  await assert.doesNotReject(async () => connection.with({ signal: new AbortController().signal }));
});

test('Connection refuses targets that would tell a secret', () => {
  const options = { clock: new HastyClock(), random: new SeededRandom() };
  const create = (url: string, token?: string) => () =>
    new Connection({ ...options, target: { url }, ...(token === undefined ? {} : { token }) });
  assert.throws(create('http://10.0.0.1:7420', 't'), /unencrypted/);
  assert.throws(
    create('https://me:secret@10.0.0.1'),
    (error) => error instanceof AppError && !error.message.includes('secret'),
  );
  assert.throws(create('registry:7420'), /expected one like/);
  assert.doesNotThrow(create('https://10.0.0.1', 't'));
  assert.doesNotThrow(create('http://127.0.0.1:1', 't'));
  assert.doesNotThrow(create('http://[::1]:1', 't'));
});

test('call() compresses a large body where that is taken, and sends it plain to whom has refused it so', async (t) => {
  const large = { text: 'installed '.repeat(2_000) };
  const check = { method: 'POST', path: '/v1/checkin', gzip: true, answer } as const;
  const asked: { encoding: string | undefined; body: string }[] = [];
  let takesGzip = true;
  const server = createHttpServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const encoding = request.headers['content-encoding'];
      const bytes = Buffer.concat(chunks);
      asked.push({ encoding, body: (encoding === 'gzip' ? gunzipSync(bytes) : bytes).toString() });
      if (encoding === undefined || takesGzip) json(response, 200, '{"up":true}');
      else problem(response, new AppError('unsupported', 'Cannot read an encoded body'));
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  const connection = connectionTo(t, {
    target: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
  });
  const encodings = () => asked.splice(0).map(({ encoding }) => encoding);
  await connection.call({ ...check, body: large });
  assert.equal(asked[0]?.body, JSON.stringify(large));
  await connection.call({ ...check, body: { text: 'short' } });
  const { gzip: _gzip, ...plain } = check;
  await connection.call({ ...plain, body: large });
  assert.deepEqual(encodings(), ['gzip', undefined, undefined]);
  takesGzip = false;
  await connection.call({ ...check, body: large });
  assert.equal(asked[1]?.body, JSON.stringify(large));
  await connection.with({ timeoutMs: 5_000 }).call({ ...check, body: large });
  assert.deepEqual(encodings(), ['gzip', undefined, undefined], 'it is not asked so again');
});
