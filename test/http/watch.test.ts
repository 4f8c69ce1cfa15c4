import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { formatPosition } from '../../src/domain/event.ts';
import type { WatchMessage } from '../../src/wire/watch.ts';
import { FakeAccess, type FakeLog, startServer, type TestServer, tokenOf } from './fakes.ts';

type Message = WatchMessage & { readonly id: string };

/** A WebSocket client that keeps what it hears and hands it out by waiting. */
class Watcher {
  readonly heard: Message[] = [];
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
  #waiting: (() => void)[] = [];

  constructor(
    url: string,
    options: { protocols?: string[]; token?: string | null; headers?: Record<string, string> } = {},
  ) {
    const { token = tokenOf('viewer') } = options;
    this.socket = new WebSocket(
      `${url.replace('http', 'ws')}/v1/watch`,
      options.protocols ?? ['holdfast.v1'],
      {
        headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...options.headers },
      },
    );
    this.socket.on('message', (data: Buffer) => {
      const { v, id, mimetype, body } = JSON.parse(data.toString()) as {
        v: number;
        id: string;
        mimetype: string;
        body: WatchMessage;
      };
      assert.deepEqual([v, mimetype], [1, 'application/json']);
      this.heard.push({ ...body, id });
      for (const wake of this.#waiting) wake();
    });
    this.closed = new Promise((resolve) => this.socket.on('close', resolve));
    // Refused upgrades and closed sockets are what some tests are about.
    this.socket.on('error', () => undefined);
  }

  async open(): Promise<this> {
    await once(this.socket, 'open');
    return this;
  }

  say(id: string, body: unknown): void {
    this.socket.send(JSON.stringify({ v: 1, id, mimetype: 'application/json', body }));
  }

  async until(wanted: (heard: readonly Message[]) => boolean): Promise<void> {
    while (!wanted(this.heard)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      await promise;
      this.#waiting = this.#waiting.filter((other) => other !== resolve);
    }
  }

  of(id: string): Message[] {
    return this.heard.filter((message) => message.id === id);
  }
}

async function refusedUpgrade(
  url: string,
  options: ConstructorParameters<typeof Watcher>[1],
): Promise<{ status: number; body: Record<string, unknown> }> {
  const watcher = new Watcher(url, options);
  const [, response] = (await once(watcher.socket, 'unexpected-response')) as [
    unknown,
    NodeJS.ReadableStream & { statusCode: number },
  ];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode, body: JSON.parse(text) as Record<string, unknown> };
}

function upgradeBytes(path: string, version: number): string {
  return [
    `GET ${path} HTTP/1.1`,
    'Host: 127.0.0.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    `Sec-WebSocket-Version: ${version}`,
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    `Authorization: Bearer ${tokenOf('viewer')}`,
    '\r\n',
  ].join('\r\n');
}

function put(log: FakeLog, count = 1): void {
  for (let i = 0; i < count; i += 1)
    log.append([{ type: 'service.set', host: 'a', service: 'web', body: { i } }]);
}

describe('GET /v1/watch', () => {
  const server = startServer({ after });

  test('many watches share a socket, each under its id; unwatch ends one of them', async () => {
    const { url, log } = await server;
    const watcher = await new Watcher(url).open();
    assert.equal(watcher.socket.protocol, 'holdfast.v1');
    watcher.say('all', { op: 'watch' });
    watcher.say('hosts "ü"', { op: 'watch', select: { types: ['host.*'] } });
    await watcher.until((heard) => heard.length === 2);
    log.append([
      { type: 'service.set', body: 1 },
      { type: 'host.joined', host: 'ä', body: 2 },
    ]);
    await watcher.until((heard) => heard.length === 4);
    const [all] = watcher.of('all').slice(1);
    const [hosts] = watcher.of('hosts "ü"').slice(1);
    assert.deepEqual(all?.kind === 'events' && all.events.map(({ index }) => index), [0, 1]);
    assert.deepEqual(hosts?.kind === 'events' && hosts.events.map(({ index, host }) => [index, host]), [
      [1, 'ä'],
    ]);
    watcher.say('all', { op: 'unwatch' });
    watcher.say('all', { op: 'unwatch' });
    watcher.say('mark', { op: 'watch', since: formatPosition(log.head()) });
    await watcher.until((heard) => heard.at(-1)?.id === 'mark');
    log.append([{ type: 'host.joined', body: 3 }]);
    await watcher.until(() => watcher.of('mark').length === 2 && watcher.of('hosts "ü"').length === 3);
    assert.equal(watcher.of('all').length, 2);
    watcher.socket.close();
    await watcher.closed;
  });

  test('frames of every size arrive whole', async () => {
    const { url, log } = await server;
    const watcher = await new Watcher(url).open();
    watcher.say('', { op: 'watch' });
    await watcher.until((heard) => heard[0]?.kind === 'error');
    watcher.say('w', { op: 'watch' });
    await watcher.until(() => watcher.of('w').length === 1);
    for (const size of [1, 50, 125, 126, 60_000, 65_400, 65_600, 300_000]) {
      const heardBefore = watcher.of('w').length;
      log.append([{ type: 'service.set', body: 'x'.repeat(size) }]);
      await watcher.until(() => watcher.of('w').length > heardBefore);
      const last = watcher.of('w').at(-1);
      assert.equal(last?.kind === 'events' && String(last.events[0]?.body).length, size);
    }
    watcher.socket.terminate();
  });

  test('D13: garbage gets an error on id "" and the socket stays; a bad request an error on its id', async () => {
    const { url } = await server;
    const watcher = await new Watcher(url).open();
    for (const garbage of [
      '',
      '{',
      '[]',
      '{"v":2,"id":"x","mimetype":"application/json","body":{}}',
      `{"v":1,"id":"${'['.repeat(50)}`,
      '['.repeat(60_000),
      '{"v":1,"id":"x","mimetype":"application/json","body":{},"extra":1}',
      'null',
    ]) {
      const before = watcher.heard.length;
      watcher.socket.send(garbage);
      await watcher.until((heard) => heard.length > before);
      const last = watcher.heard.at(-1);
      assert.deepEqual(
        [last?.id, last?.kind, last?.kind === 'error' && last.code],
        ['', 'error', 'bad-request'],
        garbage.slice(0, 40),
      );
    }
    const binary = watcher.heard.length;
    watcher.socket.send(Buffer.from([1, 2, 3]));
    await watcher.until((heard) => heard.length > binary);
    assert.equal(watcher.heard.at(-1)?.id, '');
    const bad: [unknown, string][] = [
      [{}, 'bad-request'],
      [{ op: 'watch', colour: 1 }, 'bad-request'],
      [{ op: 'watch', since: 'x' }, 'bad-request'],
      [{ op: 'watch', since: 5 }, 'bad-request'],
      [{ op: 'watch', select: { types: ['x'] } }, 'bad-request'],
      [{ op: 'watch', select: { hosts: '(' } }, 'bad-request'],
      [{ op: 'unwatch', since: null }, 'bad-request'],
      [null, 'bad-request'],
      ['watch', 'bad-request'],
    ];
    for (const [body, code] of bad) {
      const before = watcher.heard.length;
      watcher.say('q', body);
      await watcher.until((heard) => heard.length > before);
      const last = watcher.heard.at(-1);
      assert.deepEqual([last?.id, last?.kind === 'error' && last.code], ['q', code], JSON.stringify(body));
    }
    watcher.say('q', { op: 'watch' });
    await watcher.until((heard) => heard.at(-1)?.kind === 'progress');
    watcher.say('q', { op: 'watch' });
    await watcher.until((heard) => heard.at(-1)?.kind === 'error');
    assert.equal(watcher.socket.readyState, WebSocket.OPEN);
    watcher.socket.terminate();
  });

  test('D13: over 64 KiB closes with 1009, invalid UTF-8 with 1007, an unmasked frame with 1002', async () => {
    const { url } = await server;
    const large = await new Watcher(url).open();
    large.socket.send('x'.repeat(65_537));
    assert.equal(await large.closed, 1009);
    const invalid = await new Watcher(url).open();
    invalid.socket.send(Buffer.from([0xff, 0xfe]), { binary: false });
    assert.equal(await invalid.closed, 1007);
    const unmasked = await new Watcher(url).open();
    unmasked.socket.send('{}', { mask: false });
    assert.equal(await unmasked.closed, 1002);
  });

  test('a socket takes 64 watches; one more is rate-limited', async () => {
    const { url } = await server;
    const watcher = await new Watcher(url).open();
    for (let i = 0; i < 65; i += 1) watcher.say(`w${i}`, { op: 'watch' });
    await watcher.until((heard) => heard.length === 65);
    assert.deepEqual(
      watcher.of('w64').map((message) => message.kind === 'error' && message.code),
      ['rate-limited'],
    );
    watcher.socket.terminate();
  });

  test('D14: upgrades are refused before they are one: who, where, what', async () => {
    const { url, call, port } = await server;
    const cases: [ConstructorParameters<typeof Watcher>[1], number, string][] = [
      [{ token: null }, 401, 'unauthenticated'],
      [{ token: 'wrong' }, 401, 'unauthenticated'],
      [{ token: tokenOf('reporter') }, 403, 'forbidden'],
      [{ headers: { origin: 'http://evil.example' } }, 403, 'forbidden'],
      [{ headers: { host: 'evil.example' } }, 403, 'forbidden'],
      [{ protocols: ['holdfast.v9'] }, 400, 'bad-request'],
    ];
    for (const [options, status, code] of cases) {
      const answer = await refusedUpgrade(url, options ?? {});
      assert.deepEqual([answer.status, answer.body['code']], [status, code]);
    }
    assert.equal((await call('/v1/watch')).status, 400);
    for (const [path, version, status] of [
      ['/v1/nope', 13, 404],
      ['/v1/services', 13, 400],
      ['/v1/watch?x=1', 13, 400],
      ['/v1/watch', 8, 400],
    ] as const) {
      const socket = connect(port, '127.0.0.1', () => socket.write(upgradeBytes(path, version)));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      assert.match(answer.toString(), new RegExp(`^HTTP/1.1 ${status} .*"field"`, 's'), path);
      socket.destroy();
    }
  });

  test('browsers give the token as a subprotocol; it is never chosen', async () => {
    const { url } = await server;
    const watcher = new Watcher(url, {
      protocols: ['holdfast.v1', `bearer.${tokenOf('viewer')}`],
      token: null,
      headers: { origin: url },
    });
    await watcher.open();
    assert.equal(watcher.socket.protocol, 'holdfast.v1');
    watcher.socket.terminate();
    const stranger = await refusedUpgrade(url, { protocols: ['holdfast.v1', 'bearer.wrong'], token: null });
    assert.equal(stranger.status, 401);
  });

  test('a peer that reads nothing is closed; others do not notice', async (t) => {
    const warned: string[] = [];
    const logger: Logger = { ...silentLogger, error: (_fields, message) => warned.push(message) };
    const { url, log, port, call } = await startServer(t, {
      logger,
      limits: { bufferedBytes: 200_000, slowReaderMs: 1_000 },
    });
    const fast = await new Watcher(url).open();
    fast.say('w', { op: 'watch' });
    const deaf = connect(port, '127.0.0.1');
    deaf.on('error', () => undefined);
    deaf.write(upgradeBytes('/v1/watch', 13));
    await once(deaf, 'data');
    deaf.pause();
    const text = Buffer.from('{"v":1,"id":"d","mimetype":"application/json","body":{"op":"watch"}}');
    deaf.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), text]));
    await fast.until((heard) => heard.length === 1);
    for (let i = 0; i < 600; i += 1) {
      log.append([{ type: 'service.set', body: 'x'.repeat(20_000) }]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await fast.until(
      (heard) =>
        heard.flatMap((message) => (message.kind === 'events' ? [...message.events] : [])).length === 600,
    );
    let metrics = '';
    do metrics = await (await call('/metrics')).text();
    while (!/^holdfast_watch_sockets 1$/m.test(metrics));
    await once(deaf.resume(), 'close');
    assert.deepEqual(warned, []);
    fast.socket.terminate();
  });

  test('close() tells watchers where to resume, and closes with 1001', async (t) => {
    const { url, log, server: other } = await startServer(t);
    const watcher = await new Watcher(url).open();
    watcher.say('w', { op: 'watch' });
    await watcher.until((heard) => heard.length === 1);
    put(log, 3);
    await other.close();
    assert.equal(await watcher.closed, 1001);
    assert.deepEqual(watcher.heard.at(-1), {
      id: 'w',
      kind: 'closing',
      reason: 'shutdown',
      resume: formatPosition(log.head()),
    });
  });

  test('a socket whose credential ends is closed with 1008; so is one that asks for a watch then', async (t) => {
    const access = new FakeAccess();
    const { url, log, call } = await startServer(t, { services: { access }, limits: { slowReaderMs: 500 } });
    const watcher = await new Watcher(url).open();
    for (const id of ['a', 'b']) watcher.say(id, { op: 'watch' });
    const stream = await call('/v1/events', { role: 'viewer' });
    const idle = await new Watcher(url).open();
    await watcher.until((heard) => heard.length === 2);
    access.ended.add('viewer');
    assert.equal(await watcher.closed, 1008);
    const closing = { kind: 'closing', reason: 'credential', resume: formatPosition(log.head()) };
    for (const id of ['a', 'b']) assert.deepEqual(watcher.of(id).at(-1), { ...closing, id });
    assert.ok((await stream.text()).endsWith(`data: ${JSON.stringify(closing)}\n\n`));
    // The second comes after the close frame, which nothing may follow.
    for (const id of ['c', 'd']) idle.say(id, { op: 'watch' });
    assert.equal(await idle.closed, 1008);
    assert.deepEqual(
      idle.heard.map((message) => [message.id, message.kind === 'error' && message.code]),
      [['c', 'unauthenticated']],
    );
  });

  test('1,000 watchers each get every event once and in order', async (t) => {
    const { url, log, call } = await startServer(t);
    const watchers = await Promise.all(Array.from({ length: 1_000 }, () => new Watcher(url).open()));
    for (const watcher of watchers) watcher.say('w', { op: 'watch' });
    await Promise.all(watchers.map((watcher) => watcher.until((heard) => heard.length === 1)));
    for (let i = 0; i < 20; i += 1) {
      put(log);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const positions = Array.from({ length: 20 }, (_, index) =>
      formatPosition({ epoch: log.epoch, revision: index + 1 }),
    );
    await Promise.all(
      watchers.map(async (watcher) => {
        await watcher.until(
          (heard) =>
            'position' in (heard.at(-1) ?? {}) &&
            (heard.at(-1) as { position: string }).position === positions.at(-1),
        );
        assert.deepEqual(
          watcher.heard.flatMap((message) =>
            message.kind === 'events' ? message.events.map(({ position }) => position) : [],
          ),
          positions,
        );
      }),
    );
    assert.match(await (await call('/metrics')).text(), /^holdfast_watch_subscriptions 1000$/m);
    for (const watcher of watchers) watcher.socket.terminate();
  });
});

describe('GET /v1/events', () => {
  const server = startServer({ after });

  interface Received {
    readonly id: string | null;
    readonly body: WatchMessage;
  }

  /** Reads messages until `count` of them are there, or the stream ends. */
  async function read(response: Response, count: number): Promise<Received[]> {
    const messages: Received[] = [];
    let text = '';
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString();
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const lines = text.slice(0, end).split('\n');
        text = text.slice(end + 2);
        assert.ok(
          lines.every((line) => line.startsWith('id: ') || line.startsWith('data: ')),
          lines.join(),
        );
        messages.push({
          id: lines.find((line) => line.startsWith('id: '))?.slice(4) ?? null,
          body: JSON.parse(lines.find((line) => line.startsWith('data: '))?.slice(6) ?? '') as WatchMessage,
        });
      }
      if (messages.length >= count) break;
    }
    return messages;
  }

  test('sends events with the position as id; Last-Event-ID goes before since and snapshot', async () => {
    const { call, log, snapshots } = await server;
    const at = (revision: number) => formatPosition({ epoch: log.epoch, revision });
    snapshots.items = [{ kind: 'service', body: { uuid: 'u' } }];
    put(log, 3);
    const snapshot = await call('/v1/events?snapshot=true');
    assert.match(snapshot.headers.get('content-type') ?? '', /^text\/event-stream/);
    assert.deepEqual(await read(snapshot, 1), [
      {
        id: at(3),
        body: {
          kind: 'snapshot',
          position: at(3),
          items: [{ kind: 'service', body: { uuid: 'u' } }],
          done: true,
        },
      },
    ]);
    const resumed = await read(
      await call(`/v1/events?snapshot=true&since=${at(0)}`, { headers: { 'last-event-id': at(2) } }),
      1,
    );
    assert.deepEqual([resumed[0]?.id, resumed[0]?.body.kind], [at(3), 'events']);
    const filtered = await read(await call(`/v1/events?since=${at(0)}&types=host.*&types=component.*`), 1);
    assert.deepEqual(filtered[0], { id: at(3), body: { kind: 'progress', position: at(3) } });
  });

  test('what cannot begin is refused as HTTP, what cannot go on is said and ends the stream', async () => {
    const { call, log } = await server;
    assert.equal((await call('/v1/events?since=x')).status, 400);
    assert.equal((await call('/v1/events', { headers: { 'last-event-id': 'x' } })).status, 400);
    assert.equal((await call('/v1/events?types=nope')).status, 400);
    assert.equal((await call('/v1/events?colour=red')).status, 400);
    assert.equal((await call('/v1/events', { role: 'publisher' })).status, 403);
    log.compact(1);
    const compacted = await read(await call(`/v1/events?since=${log.epoch}.0`), 9);
    assert.deepEqual(compacted, [{ id: null, body: { kind: 'compacted', oldest: `${log.epoch}.1` } }]);
    assert.deepEqual(await read(await call('/v1/events?since=1.1'), 9), [
      { id: null, body: { kind: 'reset', epoch: log.epoch } },
    ]);
  });

  test('close() says closing and ends the stream', async (t) => {
    const { call, log, server: other } = await startServer(t);
    put(log);
    const response = await call('/v1/events');
    const [messages] = await Promise.all([read(response, 9), other.close()]);
    assert.deepEqual(messages.at(-1)?.body, {
      kind: 'closing',
      reason: 'shutdown',
      resume: formatPosition(log.head()),
    });
  });

  test('a reader that goes is forgotten', async (t) => {
    const { call }: TestServer = await startServer(t);
    const abort = new AbortController();
    const response = await call('/v1/events');
    await read(response, 1);
    abort.abort();
    let text = '';
    do text = await (await call('/metrics')).text();
    while (!/^holdfast_watch_subscriptions 0$/m.test(text));
  });
});
