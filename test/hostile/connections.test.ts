/** What may come as a connection, and must not harm: those who are slow, those who lie about where a request ends, masses. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { raw } from '../helpers/raw.ts';
import { until } from '../helpers/until.ts';
import { assertUnharmed, head, registryTarget, type Target, targets, uuidOf } from './world.ts';

test('F7: a thousand connections at each role that send headers or bodies slowly are cut, and others do not notice', async (t) => {
  const { both } = await targets(t, { limits: { headerTimeMs: 1_500, requestTimeMs: 2_500 } });
  for (const target of both) {
    const alone = await latencies(target, 200);
    const startedMs = performance.now();
    const slow = await openMany(t, target, 1_000, (n) =>
      n % 2 === 0
        ? 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: '
        : `${head(target, `PUT /v1/services/${uuidOf(1)} HTTP/1.1`, ['Content-Type: application/json', 'Content-Length: 1000'])}{`,
    );
    // A byte now and then must not buy time.
    const drip = setInterval(() => {
      for (const { socket } of slow) if (!socket.destroyed) socket.write('a');
    }, 500);
    t.after(() => clearInterval(drip));
    const beside = await latencies(target, 200);
    await until(
      () => slow.every(({ socket }) => socket.destroyed),
      () => `${slow.filter(({ socket }) => !socket.destroyed).length} slow connections are still open`,
      20_000,
    );
    clearInterval(drip);
    const tookMs = performance.now() - startedMs;
    const told = slow.filter(({ heard }) => heard().startsWith('HTTP/1.1 408 ')).length;
    t.diagnostic(
      `${target.kind}: p99 ${alone.p99.toFixed(1)} ms alone, ${beside.p99.toFixed(1)} ms beside them; all cut after ${tookMs.toFixed(0)} ms, ${told} were told 408`,
    );
    // Row F7 says twice; some milliseconds are this process's own, which has both ends of every connection.
    assert(beside.p50 <= 2 * alone.p50 + 50, `${beside.p50} ms beside them, ${alone.p50} ms alone`);
    assert(tookMs < 10_000, `${tookMs} ms`);
    // A byte that crosses the answer resets the connection, and the answer is lost.
    assert(told >= slow.length / 2, `${told} of ${slow.length} were told why`);
    await backToBaseline(target);
    await assertUnharmed(target);
  }
});

test('F7: those who show no token and send their check-in slowly take no room from those who do', async (t) => {
  const target = await registryTarget(t, {
    legacyAnonymous: true,
    limits: { http: { checkInsUnderWayMax: 2 } },
  });
  const post = 'POST /v3/clusters HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n';
  const slow = await openMany(
    t,
    target,
    8,
    () => `${post}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n`,
  );
  await until(
    () => slow.every(({ heard }) => heard().startsWith('HTTP/1.1 ')),
    () => 'not all were asked to go on',
  );
  const { status, text } = await target.http({
    method: 'POST',
    path: '/v3/clusters',
    body: { id: 'a', components: [] },
  });
  for (const { socket } of slow) socket.destroy();
  assert.equal(status, 200, text);
});

test('F7: a connection that says nothing at all is cut before it was anybody', async (t) => {
  const { both } = await targets(t, { limits: { headerTimeMs: 500 } });
  for (const target of both) {
    const startedMs = performance.now();
    const answer = await raw(target.port, '');
    assert(performance.now() - startedMs < 5_000);
    assert(answer === '' || /^HTTP\/1\.1 408 /.test(answer), answer);
    await backToBaseline(target);
  }
});

test('F7: 600 connections that never come to the end of a TLS handshake are cut, and others do not notice', async (t) => {
  const target = await registryTarget(t, { tls: { kind: 'own' }, limits: { http: { headerTimeMs: 1_500 } } });
  assert.match(target.url, /^https:/);
  // The beginning of a ClientHello that says that 512 bytes follow.
  const hello = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03';
  const startedMs = performance.now();
  const slow = await openMany(t, target, 600, (n) =>
    n % 3 === 0 ? '' : n % 3 === 1 ? hello : 'GET / HTTP/1.1\r\n',
  );
  const drip = setInterval(() => {
    for (const { socket } of slow) if (!socket.destroyed) socket.write('\0');
  }, 500);
  t.after(() => clearInterval(drip));
  const { p99 } = await latencies(target, 50);
  await until(
    () => slow.every(({ socket }) => socket.destroyed),
    () => `${slow.filter(({ socket }) => !socket.destroyed).length} connections are still open`,
    20_000,
  );
  clearInterval(drip);
  const tookMs = performance.now() - startedMs;
  t.diagnostic(`p99 ${p99.toFixed(1)} ms beside them; all cut after ${tookMs.toFixed(0)} ms`);
  assert(tookMs < 10_000, `${tookMs} ms`);
  // Not a word in plain HTTP to those who speak it here.
  assert(slow.every(({ heard }) => !heard().startsWith('HTTP')));
  await backToBaseline(target);
  await assertUnharmed(target);
});

test('F7: whoever is refused a WebSocket is cut off, also when it never goes by itself', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    const asked = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n';
    const refused = await openMany(
      t,
      target,
      50,
      () => `GET /v1/watch HTTP/1.1\r\nHost: 127.0.0.1\r\n${asked}\r\n`,
      { allowHalfOpen: true },
    );
    await until(
      () => refused.every(({ heard }) => heard().startsWith('HTTP/1.1 401 ')),
      () => 'not all are refused',
    );
    await backToBaseline(target);
    for (const { socket } of refused) socket.destroy();
  }
});

test('F7: whoever asks and never reads the answers is cut off', async (t) => {
  const target = await registryTarget(t, { limits: { http: { silenceMs: 1_000 } } });
  // Of a length that divides what is read at once, so that no head is left half read, which has a limit of its own.
  const start = `GET /v1/trust HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\nX: `;
  const request = `${start.padEnd(124, 'x')}\r\n\r\n`;
  const deaf = await openMany(t, target, 5, () => '');
  for (const { socket } of deaf) socket.pause().write(request.repeat(32_768));
  await until(
    async () => (await connectionsOf(target)) === 1,
    () => 'they still have their connections',
    20_000,
  );
  await assertUnharmed(target);
});

/** Each is one message that two readers may cut in two ways. None may be served as more than one request. */
const smuggled = 'GET /v1/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n';
const framings: readonly (readonly [name: string, headers: readonly string[], body: string])[] = [
  ['CL.TE', [`Content-Length: ${smuggled.length + 5}`, 'Transfer-Encoding: chunked'], `0\r\n\r\n${smuggled}`],
  [
    'TE.CL',
    ['Transfer-Encoding: chunked', 'Content-Length: 4'],
    `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
  ],
  ['TE.TE', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], `0\r\n\r\n${smuggled}`],
  ['TE twice', ['Transfer-Encoding: chunked, chunked'], `0\r\n\r\n${smuggled}`],
  ['TE unknown', ['Transfer-Encoding: xchunked', 'Content-Length: 0'], smuggled],
  ['TE with a tab', ['Transfer-Encoding:\tchunked', 'Content-Length: 5'], `0\r\n\r\n${smuggled}`],
  ['TE with a vertical tab', ['Transfer-Encoding: \x0bchunked', 'Content-Length: 0'], smuggled],
  ['TE folded', ['Transfer-Encoding:\r\n chunked', 'Content-Length: 0'], smuggled],
  ['TE behind a space', ['Transfer-Encoding : chunked', 'Content-Length: 0'], smuggled],
  ['TE behind LF', ['X-A: b\nTransfer-Encoding: chunked', 'Content-Length: 0'], smuggled],
  ['TE in quotes', ['Transfer-Encoding: "chunked"', 'Content-Length: 0'], smuggled],
  [
    'TE of HTTP/1.0',
    ['Transfer-Encoding: chunked', 'Content-Length: 0', 'Connection: keep-alive'],
    `0\r\n\r\n${smuggled}`,
  ],
  ['CL twice', ['Content-Length: 0', `Content-Length: ${smuggled.length}`], smuggled],
  ['CL list', [`Content-Length: 0, ${smuggled.length}`], smuggled],
  ['CL signed', [`Content-Length: +${smuggled.length}`], smuggled],
  ['CL negative', ['Content-Length: -1'], smuggled],
  ['CL hexadecimal', ['Content-Length: 0x0'], smuggled],
  ['CL with a space', ['Content-Length: 0 0'], smuggled],
  ['CL beyond 64 bits', ['Content-Length: 18446744073709551616'], smuggled],
  ['chunk size beyond 64 bits', ['Transfer-Encoding: chunked'], `10000000000000000\r\n${smuggled}`],
  ['chunk size signed', ['Transfer-Encoding: chunked'], `-1\r\n${smuggled}`],
  ['chunk size with 0x', ['Transfer-Encoding: chunked'], `0x0\r\n\r\n${smuggled}`],
  ['chunk ended by LF', ['Transfer-Encoding: chunked'], `2\n{}\n0\n\n${smuggled}`],
  ['chunk without its end', ['Transfer-Encoding: chunked'], `2\r\n{}0\r\n\r\n${smuggled}`],
  ['chunk extension with CR', ['Transfer-Encoding: chunked'], `2;a=\rb\r\n{}\r\n0\r\n\r\n${smuggled}`],
  [
    'trailer that is a length',
    ['Transfer-Encoding: chunked', 'Trailer: Content-Length'],
    `0\r\nContent-Length: ${smuggled.length}\r\n\r\n`,
  ],
];

test('F8: of a message that can be cut in two ways no part is served as a request of its own', async (t) => {
  const { both } = await targets(t, { limits: { headerTimeMs: 1_000, requestTimeMs: 1_000 } });
  for (const target of both) {
    for (const [name, headers, body] of framings) {
      const line = `POST /v1/is-up HTTP/1.${name.endsWith('1.0') ? '0' : '1'}`;
      const answer = await raw(
        target.port,
        head(target, line, ['Content-Type: application/json', ...headers]) + body,
        { until: /smuggled/ },
      );
      assert(!answer.includes('smuggled'), `${target.kind}, ${name}: a second request was served: ${answer}`);
      assert(!/HTTP\/1\.1 2/.test(answer), `${target.kind}, ${name}: ${answer}`);
      assert.match(answer, /^HTTP\/1\.1 (400|408|413|415) /, `${target.kind}, ${name}`);
    }
    await assertUnharmed(target);
  }
});

test('F8: heads that are no HTTP are answered once and the connection is closed', async (t) => {
  const { both } = await targets(t, { limits: { headerTimeMs: 1_000 } });
  const tail = 'Host: 127.0.0.1\r\nConnection: close\r\n\r\n';
  const heads: Record<string, string> = {
    'a header folded': `GET /livez HTTP/1.1\r\nX-A: 1\r\n folded\r\n${tail}`,
    'LF only': 'GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n',
    'CR only': 'GET /livez HTTP/1.1\rHost: 127.0.0.1\r\r',
    'NUL in a value': `GET /livez HTTP/1.1\r\nX-A: a\0b\r\n${tail}`,
    'NUL in a name': `GET /livez HTTP/1.1\r\nX-\0A: a\r\n${tail}`,
    'CR in a value': `GET /livez HTTP/1.1\r\nX-A: a\rb\r\n${tail}`,
    'an empty name': `GET /livez HTTP/1.1\r\n: a\r\n${tail}`,
    'no colon': `GET /livez HTTP/1.1\r\nX-A\r\n${tail}`,
    'a name in UTF-8': `GET /livez HTTP/1.1\r\nXé: a\r\n${tail}`,
    'a tab for a space': `GET\t/livez HTTP/1.1\r\n${tail}`,
    'no version': `GET /livez\r\n${tail}`,
    'version 1.2': `GET /livez HTTP/1.2\r\n${tail}`,
    'version 0.9': `GET /livez HTTP/0.9\r\n${tail}`,
    'the preface of HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'a TLS hello': '\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03',
    'another protocol': 'SSH-2.0-OpenSSH_9.2\r\n',
    'an unknown method': `BREW /livez HTTP/1.1\r\n${tail}`,
    'a small method': `get /livez HTTP/1.1\r\n${tail}`,
  };
  for (const target of both) {
    for (const [name, bytes] of Object.entries(heads)) {
      const answer = await raw(target.port, bytes);
      assert.match(answer, /^HTTP\/1\.1 (400|408|505) /, `${target.kind}, ${name}: ${answer}`);
      assert.equal(answer.match(/^HTTP\/1\.1 \d{3} /gm)?.length, 1, `${target.kind}, ${name}: one answer`);
    }
    await assertUnharmed(target);
  }
});

test('F8: long heads are refused: 16 KiB in one header or many, 2,000 headers, a URL of 10 KB', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    for (const [name, line, headers, status] of [
      ['one header', 'GET /livez HTTP/1.1', [`X-Big: ${'x'.repeat(16_384)}`], '431'],
      [
        'many bytes',
        'GET /livez HTTP/1.1',
        Array.from({ length: 90 }, (_, n) => `X-${n}: ${'x'.repeat(200)}`),
        '431',
      ],
      ['many headers', 'GET /livez HTTP/1.1', Array.from({ length: 2_000 }, (_, n) => `X-${n}: 1`), '431'],
      ['a long URL', `GET /livez?${'x'.repeat(10_000)} HTTP/1.1`, [], '400'],
      ['a longer URL', `GET /${'x'.repeat(20_000)} HTTP/1.1`, [], '431'],
      ['a long token', 'GET /v1/status HTTP/1.1', [`Authorization: Bearer ${'x'.repeat(16_384)}`], '431'],
      ['a long method', `${'G'.repeat(20_000)} / HTTP/1.1`, [], '400'],
    ] as const) {
      const answer = await raw(target.port, head(target, line, [...headers, 'Connection: close']));
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), `${target.kind}, ${name}`);
    }
    await assertUnharmed(target);
  }
});

test('F8: 10,000 pipelined requests are each answered, in order', async (t) => {
  const { both } = await targets(t);
  const count = 10_000;
  for (const target of both) {
    const one = (n: number) =>
      `GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: n-${n}\r\n${n === count - 1 ? 'Connection: close\r\n' : ''}\r\n`;
    const answer = await raw(target.port, Array.from({ length: count }, (_, n) => one(n)).join(''));
    const ids = [...answer.matchAll(/^x-request-id: n-(\d+)\r$/gim)].map(([, id]) => Number(id));
    assert.deepEqual(
      ids,
      Array.from({ length: count }, (_, n) => n),
    );
    await assertUnharmed(target);
  }
});

test('F9: connections above the cap are refused early, and those that are there go on', async (t) => {
  const { both } = await targets(t, { limits: { connectionsMax: 20 } });
  for (const target of both) {
    const first = await openMany(t, target, 20, () => '');
    const refused = await openMany(t, target, 200, () => 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    await until(
      () => refused.every(({ socket }) => socket.destroyed),
      () => 'some of 200 are still open',
    );
    assert(refused.every(({ heard }) => heard() === ''));
    for (const { socket, heard } of first) {
      socket.write('GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n');
      await until(
        () => socket.destroyed,
        () => 'one of the first is not answered',
      );
      assert.match(heard(), /^HTTP\/1\.1 200 /);
    }
    await assertUnharmed(target);
  }
});

interface Opened {
  readonly socket: Socket;
  readonly heard: () => string;
}

/** All connected, each with its first bytes sent. */
async function openMany(
  t: TestContext,
  { port }: Target,
  count: number,
  bytesOf: (n: number) => string,
  options: { allowHalfOpen?: boolean } = {},
): Promise<Opened[]> {
  const opened = Array.from({ length: count }, (_, n): Opened => {
    const socket = connect({ port, host: '127.0.0.1', ...options });
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk) => (text += chunk));
    socket.on('error', () => socket.destroy());
    const bytes = bytesOf(n);
    if (bytes !== '') socket.write(bytes);
    return { socket, heard: () => text };
  });
  t.after(() => {
    for (const { socket } of opened) socket.destroy();
  });
  await until(
    () => opened.every(({ socket }) => !socket.connecting),
    () => 'not all are connected',
  );
  return opened;
}

/** Of so many exchanges, ten at a time as admin. */
async function latencies({ http }: Target, count: number): Promise<{ p50: number; p99: number }> {
  const taken: number[] = [];
  for (let at = 0; at < count; at += 10) {
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const startedMs = performance.now();
        const { status } = await http({ path: '/v1/services' });
        assert.equal(status, 200);
        taken.push(performance.now() - startedMs);
      }),
    );
  }
  taken.sort((a, b) => a - b);
  return { p50: taken[count >> 1] ?? 0, p99: taken[Math.floor(count * 0.99)] ?? 0 };
}

/** Only the connection that asks is left. */
async function backToBaseline(target: Target): Promise<void> {
  let open = 0;
  for (let tries = 0; tries < 200; tries += 1) {
    open = await connectionsOf(target);
    if (open === 1) return;
  }
  assert.fail(`${open} connections are open`);
}

async function connectionsOf({ http }: Target): Promise<number> {
  const { text } = await http({ path: '/metrics' });
  return Number(/^holdfast_http_connections (\d+)$/m.exec(text)?.[1]);
}
