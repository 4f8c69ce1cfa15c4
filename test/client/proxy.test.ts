import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Type } from 'typebox';
import { Connection, type ConnectionOptions } from '../../src/client/connection.ts';
import { LinkError } from '../../src/client/link.ts';
import { type ProxySettings, proxyFor } from '../../src/client/proxy.ts';
import { type ApiRequest, expectBody } from '../../src/client/request.ts';
import { watch } from '../../src/client/watch.ts';
import { strictObject } from '../../src/wire/schema.ts';
import { makePair } from '../helpers/certificates.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { envelope, fakeServer, json } from './fake-server.ts';
import { connectProxy, tlsServer } from './tls-server.ts';

const answer = expectBody(strictObject({ up: Type.Boolean() }));
const ask = { method: 'GET', path: '/v1/is-up', answer } satisfies ApiRequest;

function connectionTo(t: TestContext, url: string, more: Partial<ConnectionOptions>): Connection {
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

/** A server that is known to the proxy alone, as one behind a firewall is. */
async function behindProxy(t: TestContext) {
  const { ca, leaf } = makePair({ names: ['registry.test'] });
  const [server, proxy] = [await tlsServer(t, leaf), await connectProxy(t)];
  proxy.names.set('registry.test:443', server.port);
  return { server, proxy, tls: { ca: [ca.cert] }, url: 'https://registry.test' };
}

test('a connection goes through its proxy, with TLS to the server and the login for the proxy alone', async (t) => {
  const { server, proxy, tls, url } = await behindProxy(t);
  const https = proxy.url.replace('http://', 'http://us%3Aer:p%40ss@');
  const connection = connectionTo(t, url, { tls, proxy: { https }, token: 'secret' });
  assert.equal((await connection.call(ask)).document.up, true);
  const login = `Basic ${Buffer.from('us:er:p@ss').toString('base64')}`;
  assert.deepEqual(proxy.asked, [{ authority: 'registry.test:443', login }]);
  const [headers] = server.requests;
  assert.equal(headers?.['authorization'], 'Bearer secret');
  assert.equal(headers?.['proxy-authorization'], undefined);
});

test('a login for the proxy whose % is no escape is taken as it is written', async (t) => {
  const { proxy, tls, url } = await behindProxy(t);
  const https = proxy.url.replace('http://', 'http://us%40er:100%@');
  const connection = connectionTo(t, url, { tls, proxy: { https } });
  assert.equal((await connection.call(ask)).document.up, true);
  const login = `Basic ${Buffer.from('us@er:100%').toString('base64')}`;
  assert.deepEqual(proxy.asked, [{ authority: 'registry.test:443', login }]);
});

test('a WebSocket goes through the proxy too', async (t) => {
  const { server, proxy, tls, url } = await behindProxy(t);
  server.onSocket = (socket) =>
    socket.on('message', () => socket.send(envelope('watch', { kind: 'progress', position: '1.7' })));
  const connection = connectionTo(t, url, { tls, proxy: { https: proxy.url } });
  const vias: string[] = [];
  for await (const update of watch(connection, { onLink: (link) => link.up && vias.push(link.via) })) {
    assert.deepEqual(update, { kind: 'progress', position: '1.7' });
    break;
  }
  assert.deepEqual(vias, ['websocket']);
  assert.equal(proxy.asked.length, 1);
});

test('a connection that the proxy cuts is made anew', async (t) => {
  const { proxy, tls, url } = await behindProxy(t);
  const connection = connectionTo(t, url, { tls, proxy: { https: proxy.url } });
  await connection.call(ask);
  proxy.cut();
  await new Promise((resolve) => setImmediate(resolve));
  const again = await connection.call(ask).catch(() => connection.call(ask));
  assert.equal(again.document.up, true);
});

test('a proxy cannot read along: TLS ends at the server, or nothing is sent', async (t) => {
  const { proxy, tls, url } = await behindProxy(t);
  const evil = await tlsServer(t, makePair({ names: ['registry.test'] }).leaf);
  proxy.names.set('registry.test:443', evil.port);
  const connection = connectionTo(t, url, { tls, proxy: { https: proxy.url }, token: 'secret' });
  await assert.rejects(connection.call(ask), { failure: 'untrusted', message: /reads along/ });
  assert.equal(evil.requests.length, 0);
});

for (const [status, words] of [
  [407, /the proxy http:\/\/127\.0\.0\.1:\d+ wants a login \(407\)/],
  [403, /does not let us through \(403\), allow CONNECT there or name the server in NO_PROXY/],
  [502, /does not get there \(502\)/],
] as const) {
  test(`a connection says that it is the proxy which answers ${status}`, async (t) => {
    const { proxy, tls, url } = await behindProxy(t);
    proxy.refusal = status;
    const https = proxy.url.replace('http://', 'http://user:hunter2@');
    const connection = connectionTo(t, url, { tls, proxy: { https } });
    await assert.rejects(connection.call(ask), (error: unknown) => {
      assert.ok(error instanceof LinkError);
      assert.equal(error.failure, 'unreachable');
      assert.match(error.message, words);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });
  });
}

test('a connection says that the proxy is gone, not the server', async (t) => {
  const connection = connectionTo(t, 'https://registry.test', { proxy: { https: 'http://127.0.0.1:1' } });
  await assert.rejects(connection.call(ask), {
    failure: 'unreachable',
    message: /the proxy http:\/\/127\.0\.0\.1:1 cannot be used \(ECONNREFUSED\)/,
  });
});

test('a proxy that never answers is not waited for longer than a server', async (t) => {
  const clock = new FakeClock();
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.after(() => silent.close());
  const { port } = silent.address() as { port: number };
  const connection = connectionTo(t, 'https://registry.test', {
    clock,
    timeoutMs: 5_000,
    proxy: { https: `http://127.0.0.1:${port}` },
  });
  const accepted = new Promise<Socket>((resolve) => silent.once('connection', resolve));
  const failed = assert.rejects(connection.call(ask), LinkError);
  const socket = await accepted;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.resume();
  await clock.advance(5_000);
  await failed;
  await closed;
});

test('this machine and Unix sockets are never asked through a proxy', async (t) => {
  const server = await fakeServer(t, (_asked, response) => json(response, 200, { up: true }));
  const nobody = { https: 'http://127.0.0.1:1', http: 'http://127.0.0.1:1' };
  const connection = connectionTo(t, server.url, { proxy: nobody });
  assert.equal((await connection.call(ask)).document.up, true);
});

test('proxyFor() takes the proxy of the scheme', () => {
  const settings: ProxySettings = { https: 'http://secure:1', http: 'plain:2' };
  assert.equal(proxyFor(new URL('https://a.test'), settings)?.href, 'http://secure:1/');
  assert.equal(proxyFor(new URL('http://a.test'), settings)?.href, 'http://plain:2/');
  assert.equal(proxyFor(new URL('https://a.test'), {}), null);
  assert.equal(proxyFor(new URL('https://a.test'), { https: '' }), null);
});

test('proxyFor() refuses what is no HTTP proxy, and does not repeat its password', () => {
  for (const https of ['socks5://user:hunter2@proxy:1080', 'http://[', 'ftp://x'])
    assert.throws(
      () => proxyFor(new URL('https://a.test'), { https }),
      (error: Error) => /HTTPS_PROXY/.test(error.message) && !/hunter2/.test(error.message),
    );
});

test('proxyFor() reads NO_PROXY as curl and Go do', () => {
  const excepted = (url: string, none: string) => proxyFor(new URL(url), { https: 'p:1', none }) === null;
  for (const [url, none] of [
    ['https://a.test', '*'],
    ['https://a.test', 'b.test, a.test'],
    ['https://a.test', 'b.test a.test'],
    ['https://A.Test', 'a.test'],
    ['https://x.a.test', 'a.test'],
    ['https://x.a.test', '.a.test'],
    ['https://x.a.test', '*.a.test'],
    ['https://a.test', '.a.test'],
    ['https://a.test:7420', 'a.test:7420'],
    ['https://a.test', 'a.test:443'],
    ['https://10.1.2.3', '10.1.2.3'],
    ['https://10.1.2.3', '10.1.0.0/16'],
    ['https://[2001:db8::7]', '2001:db8::/32'],
    ['https://[2001:db8::7]', '[2001:db8::7]'],
    ['https://[2001:db8::7]:1', '[2001:db8:0::7]:1'],
    ['https://127.0.0.9', ''],
    ['https://localhost:1', ''],
    ['https://[::1]:1', ''],
  ] as const)
    assert.equal(excepted(url, none), true, `${url} with ${none}`);
  for (const [url, none] of [
    ['https://a.test', ''],
    ['https://xa.test', 'a.test'],
    ['https://a.test.evil', 'a.test'],
    ['https://a.test:7420', 'a.test:443'],
    ['https://10.2.2.3', '10.1.0.0/16'],
    ['https://a.test', '10.0.0.0/8'],
    ['https://10.1.2.3', '2001:db8::/32'],
    ['https://10.1.2.3', '10.1.0.0/99'],
    ['https://1.2.3', '3'],
  ] as const)
    assert.equal(excepted(url, none), false, `${url} with ${none}`);
});
