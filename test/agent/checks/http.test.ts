import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { probeHttp } from '../../../src/agent/checks/http.ts';
import { createSearch } from '../../../src/base/search.ts';
import { type Probe, readChecks } from '../../../src/domain/check.ts';

async function listening(t: TestContext, server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

function served(t: TestContext, listener: RequestListener): Promise<string> {
  return listening(t, createServer(listener));
}

/** Somebody who speaks as `talk` does. */
function spoken(t: TestContext, talk: (socket: Socket) => void): Promise<string> {
  return listening(t, createTcpServer(talk));
}

function look(http: string, options: { status?: unknown; match?: string; signal?: AbortSignal } = {}) {
  const { signal = new AbortController().signal, ...given } = options;
  const [spec] = readChecks([{ type: 'web', http, ...given }]);
  return probeHttp(spec?.probe as Extract<Probe, { kind: 'http' }>, { signal, search: createSearch() });
}

suite('probeHttp()', () => {
  test('passes with a status that is expected, and says which one it got', async (t) => {
    let asked = '';
    const url = await served(t, (request, response) => {
      asked = `${request.method} ${request.url} ${request.headers.connection}`;
      response.statusCode = request.url === '/gone' ? 410 : 204;
      response.end();
    });
    assert.deepEqual(await look(`${url}a?b=c`), { kind: 'passed', detail: 'HTTP 204' });
    assert.equal(asked, 'GET /a?b=c close');
    assert.deepEqual(await look(`${url}gone`), { kind: 'failed', detail: 'HTTP 410, expected 200-299' });
    assert.equal((await look(`${url}gone`, { status: [200, '400-499'] })).kind, 'passed');
    assert.deepEqual(await look(url, { status: [200, '400-499'] }), {
      kind: 'failed',
      detail: 'HTTP 204, expected 200, 400-499',
    });
  });

  test('looks for a pattern in the beginning of the body', async (t) => {
    const url = await served(t, (request, response) => {
      if (request.url === '/long') response.write(Buffer.alloc(65_536, '.'));
      response.end('{"status": "ok"}');
    });
    assert.equal((await look(url, { match: '"status":\\s*"ok"' })).kind, 'passed');
    assert.deepEqual(await look(url, { match: 'degraded' }), {
      kind: 'failed',
      detail: 'HTTP 200, and nothing in the body matches degraded',
    });
    assert.equal((await look(`${url}long`, { match: 'ok' })).kind, 'failed');
  });

  test('a pattern that would take forever fails within its limit', async (t) => {
    const url = await served(t, (_, response) => response.end(`${'a'.repeat(60)}b`));
    const { kind, detail } = await look(url, { match: '^(a+)+$' });
    assert.equal(kind, 'failed');
    assert.match(detail, /took longer than 100 ms/);
  });

  test('a body without end is not read to its end', async (t) => {
    const closed = Promise.withResolvers<void>();
    const url = await served(t, (_, response) => {
      const flood = () => {
        while (response.write(Buffer.alloc(65_536, 'x')));
      };
      response.on('drain', flood).on('close', closed.resolve);
      flood();
    });
    assert.equal((await look(url)).kind, 'passed');
    assert.equal((await look(url, { match: 'y' })).kind, 'failed');
    await closed.promise;
  });

  test('follows redirects on the same host, and none to another', async (t) => {
    const url = await served(t, (request, response) => {
      const to = { '/': '/a', '/a': 'b', '/far': 'http://127.0.0.2/', '/odd': 'gopher://x/' }[
        request.url ?? ''
      ];
      if (request.url === '/round') response.writeHead(302, { location: '/round' });
      else if (to !== undefined) response.writeHead(302, { location: to });
      response.end('here');
    });
    assert.deepEqual(await look(url), { kind: 'passed', detail: 'HTTP 200' });
    for (const [path, words] of [
      ['far', /^HTTP 302, a redirect to http:\/\/127\.0\.0\.2\/, which is another host$/],
      ['odd', /which is no URL of HTTP/],
      ['round', /after 5 redirects/],
    ] as const) {
      const { kind, detail } = await look(`${url}${path}`);
      assert.equal(kind, 'failed');
      assert.match(detail, words);
    }
    assert.deepEqual(await look(`${url}far`, { status: 302 }), { kind: 'passed', detail: 'HTTP 302' });
  });

  test('fails with words where nobody listens, the connection breaks, or no HTTP is spoken', async (t) => {
    const gone = createTcpServer();
    const nobody = await listening(t, gone);
    await new Promise((resolve) => gone.close(resolve));
    for (const [url, words] of [
      [nobody, /^Cannot reach http:\/\/127\.0\.0\.1:\d+: nobody listens there$/],
      [await spoken(t, (socket) => socket.resetAndDestroy()), /the connection broke/],
      [await spoken(t, (socket) => socket.end()), /the connection broke/],
      [await spoken(t, (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')), /what answers there is not HTTP/],
      [
        await spoken(t, (socket) => socket.end(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(10_000)}\r\n`)),
        /what answers there is not HTTP/,
      ],
      ['http://name.invalid/', /its name cannot be resolved/],
    ] as const) {
      const { kind, detail } = await look(url);
      assert.equal(kind, 'failed');
      assert.match(detail, words);
    }
  });

  test('fails for a body that breaks off before the match', async (t) => {
    const url = await served(t, (_, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('12345', () => response.destroy());
    });
    const { kind, detail } = await look(url, { match: '9' });
    assert.equal(kind, 'failed');
    assert.match(detail, /the connection broke/);
  });

  test('ends with the reason of the signal when nothing, or no end, comes', async (t) => {
    for (const talk of [
      () => undefined,
      (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\n'),
      (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345'),
    ]) {
      const connected = Promise.withResolvers<Socket>();
      const url = await spoken(t, (socket) => {
        talk(socket);
        socket.on('data', () => connected.resolve(socket));
      });
      const stop = new AbortController();
      const looking = look(url, { signal: stop.signal, match: '9' });
      const socket = await connected.promise;
      const closed = new Promise((resolve) => socket.on('close', resolve));
      const reason = new Error('too late');
      stop.abort(reason);
      await assert.rejects(looking, reason);
      await closed;
    }
  });
});
