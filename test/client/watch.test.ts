import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { WebSocket } from 'ws';
import { createClient, type HoldfastClient } from '../../src/client/client.ts';
import { LinkError } from '../../src/client/link.ts';
import type { WatchOptions, WatchUpdate } from '../../src/client/watch.ts';
import { AppError } from '../../src/domain/error.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { envelope, type FakeServer, fakeServer, problem } from './fake-server.ts';
import { HastyClock } from './hasty-clock.ts';

const events = (revision: number) => ({
  kind: 'events',
  position: `7.${revision}`,
  events: [{ type: 'service.set', revision }],
});
const progress = (revision: number) => ({ kind: 'progress', position: `7.${revision}` });
const snapshot = (revision: number, items: string[], done: boolean) => ({
  kind: 'snapshot',
  position: `7.${revision}`,
  items,
  done,
});

/** What a client asked for on a socket, and a way to answer it. */
interface Subscription {
  readonly request: Record<string, unknown>;
  readonly headers: Record<string, unknown>;
  say(...bodies: unknown[]): void;
  readonly socket: WebSocket;
}

/** A server whose n-th connection is played by the n-th script; more connections than scripts fail the test. */
async function scripted(
  t: TestContext,
  scripts: ((subscription: Subscription) => void)[],
): Promise<{ server: FakeServer; asked: Record<string, unknown>[] }> {
  const server = await fakeServer(t);
  const asked: Record<string, unknown>[] = [];
  server.onSocket = (socket, { headers }) => {
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as { id: string; body: Record<string, unknown> };
      asked.push(frame.body);
      const script = scripts.shift();
      assert.ok(script !== undefined, 'one connection too many');
      script({
        request: frame.body,
        headers,
        socket,
        say(...bodies) {
          for (const body of bodies) socket.send(envelope(frame.id, body));
        },
      });
    });
  };
  return { server, asked };
}

function clientOf(
  t: TestContext,
  server: FakeServer,
  clock: HastyClock | FakeClock = new HastyClock(),
): HoldfastClient {
  const client = createClient({ target: { url: server.url }, clock, random: new SeededRandom() });
  t.after(() => client.close());
  return client;
}

/** The first `count` updates. */
async function take(
  client: HoldfastClient,
  count: number,
  options: WatchOptions = {},
): Promise<WatchUpdate[]> {
  const updates: WatchUpdate[] = [];
  for await (const update of client.watch(options)) {
    updates.push(update);
    if (updates.length === count) break;
  }
  return updates;
}

const positions = (updates: WatchUpdate[]) =>
  updates.map((update) => ('position' in update ? update.position : update.kind));

test('watch() asks for what was selected and delivers what comes', async (t) => {
  const { server, asked } = await scripted(t, [({ say }) => say(events(1), progress(5), events(9))]);
  const select = { types: ['service.*'], services: { type: ['web'], host: ['edge-1'] } };
  const updates = await take(clientOf(t, server), 3, { select, since: '7.0' });
  assert.deepEqual(asked, [{ op: 'watch', select, since: '7.0' }]);
  assert.deepEqual(updates, [events(1), progress(5), events(9)]);
});

test('watch() resumes after a broken connection: nothing is missed, nothing comes twice', async (t) => {
  const { server, asked } = await scripted(t, [
    ({ say, socket }) => {
      say(events(1), events(2));
      socket.close(1011);
    },
    // A server may repeat what it is not sure that we have.
    ({ say, socket }) => {
      say(events(2), events(3), progress(8));
      socket.terminate();
    },
    ({ say }) => say(progress(8), events(9)),
  ]);
  const clock = new HastyClock();
  const updates = await take(clientOf(t, server, clock), 6, {});
  assert.deepEqual(positions(updates), ['7.1', '7.2', '7.3', '7.8', '7.8', '7.9']);
  assert.deepEqual(
    asked.map(({ since }) => since),
    [undefined, '7.2', '7.8'],
  );
  assert.equal(clock.sleptMs.length, 2);
  for (const ms of clock.sleptMs) assert.ok(ms >= 125 && ms <= 250, `${ms}`);
});

test('watch() compares ids exactly and skips kinds that it does not know', async (t) => {
  const { server } = await scripted(t, [
    ({ say, socket }) => {
      for (const id of ['watc', 'watch2', 'Watch', 'watch ']) socket.send(envelope(id, events(1)));
      say({ kind: 'weather', position: '7.1' }, events(2));
    },
  ]);
  assert.deepEqual(positions(await take(clientOf(t, server), 1)), ['7.2']);
});

for (const [name, spoil] of [
  ['garbage', ({ socket }) => socket.send('no envelope')],
  ['a binary frame', ({ socket }) => socket.send(Buffer.from(envelope('watch', events(2))))],
  ['a message without its members', ({ say }) => say({ kind: 'events', position: 'soon', events: [] })],
  ['a body that is no message', ({ say }) => say(null)],
  [
    'an error that no subscription has',
    ({ socket }) => socket.send(envelope('', { kind: 'error', code: 'bad-request', detail: 'what?' })),
  ],
] as [string, (subscription: Subscription) => void][]) {
  test(`watch() starts a new connection after ${name}`, async (t) => {
    const links: boolean[] = [];
    const { server, asked } = await scripted(t, [
      (subscription) => {
        subscription.say(events(1));
        spoil(subscription);
      },
      ({ say }) => say(events(2)),
    ]);
    assert.deepEqual(positions(await take(clientOf(t, server), 2, { onLink: ({ up }) => links.push(up) })), [
      '7.1',
      '7.2',
    ]);
    assert.equal(asked[1]?.['since'], '7.1');
    assert.deepEqual(links, [true, false, true]);
  });
}

test('watch() resumes at once when the server closes in good order', async (t) => {
  const { server, asked } = await scripted(t, [
    ({ say }) => say(events(4), { kind: 'closing', reason: 'slow-reader', resume: '7.4' }),
    ({ say }) => say(events(5)),
  ]);
  const clock = new HastyClock();
  assert.deepEqual(positions(await take(clientOf(t, server, clock), 2)), ['7.4', '7.5']);
  assert.equal(asked[1]?.['since'], '7.4');
  assert.deepEqual(clock.sleptMs, [0]);
});

test('watch() tells where a snapshot that broke off begins anew', async (t) => {
  const { server, asked } = await scripted(t, [
    ({ say, socket }) => {
      say(snapshot(3, ['a'], false));
      socket.close(1011);
    },
    ({ say }) => say(snapshot(4, ['a'], false), snapshot(4, ['b'], true), events(5)),
  ]);
  const updates = await take(clientOf(t, server), 5, { snapshot: true });
  assert.deepEqual(
    updates.map(({ kind }) => kind),
    ['snapshot', 'restart', 'snapshot', 'snapshot', 'events'],
  );
  assert.deepEqual(
    asked.map(({ snapshot, since }) => [snapshot, since]),
    [
      [true, undefined],
      [true, undefined],
    ],
  );
});

test('watch() does not ask for a finished snapshot again', async (t) => {
  const { server, asked } = await scripted(t, [
    ({ say, socket }) => {
      say(snapshot(3, ['a'], true));
      socket.close(1011);
    },
    ({ say }) => say(events(4)),
  ]);
  assert.deepEqual(positions(await take(clientOf(t, server), 2, { snapshot: true })), ['7.3', '7.4']);
  assert.deepEqual(asked[1], { op: 'watch', since: '7.3' });
});

for (const gap of [
  { kind: 'compacted', oldest: '7.50' },
  { kind: 'reset', epoch: 8 },
]) {
  test(`watch() delivers ${gap.kind} and ends, or goes on with a snapshot if asked to`, async (t) => {
    const ending = await scripted(t, [({ say }) => say(gap)]);
    assert.deepEqual(await take(clientOf(t, ending.server), 9, { since: '7.1' }), [gap]);
    const going = await scripted(t, [
      ({ say }) => say(gap),
      ({ say }) => say(snapshot(60, [], true), events(61)),
    ]);
    const updates = await take(clientOf(t, going.server), 3, { since: '7.1', onGap: 'resnapshot' });
    assert.deepEqual(updates, [gap, snapshot(60, [], true), events(61)]);
    assert.deepEqual(going.asked[1], { op: 'watch', snapshot: true });
  });
}

test('watch() takes the refusal of a position that the server itself had said for a reset', async (t) => {
  const refusal = { kind: 'error', code: 'bad-request', detail: 'the log ends at 7.2' };
  const { server, asked } = await scripted(t, [
    ({ say, socket }) => {
      say(events(4));
      socket.close();
    },
    ({ say }) => say(refusal),
    ({ say }) => say(snapshot(2, ['left'], true)),
  ]);
  const updates = await take(clientOf(t, server), 3, { onGap: 'resnapshot' });
  assert.deepEqual(updates, [events(4), { kind: 'reset', epoch: 7 }, snapshot(2, ['left'], true)]);
  assert.deepEqual(
    asked.map(({ since, snapshot: wanted }) => [since, wanted]),
    [
      [undefined, undefined],
      ['7.4', undefined],
      [undefined, true],
    ],
  );
  // A position of one's own is one's own mistake.
  const other = await scripted(t, [({ say }) => say(refusal)]);
  await assert.rejects(take(clientOf(t, other.server), 1, { since: '7.9' }), { code: 'bad-request' });
});

test('watch() takes another epoch for the reset that the server did not say', async (t) => {
  const { server } = await scripted(t, [
    ({ say }) => say(events(4), { kind: 'events', position: '9.1', events: [] }),
  ]);
  assert.deepEqual(await take(clientOf(t, server), 9), [events(4), { kind: 'reset', epoch: 9 }]);
});

test('watch() throws what the server refuses', async (t) => {
  const { server } = await scripted(t, [
    ({ say }) => say({ kind: 'error', code: 'bad-request', detail: 'the future' }),
  ]);
  await assert.rejects(
    take(clientOf(t, server), 1, { since: '7.99' }),
    (error) => error instanceof AppError && error.code === 'bad-request',
  );
});

test('watch() throws 401 and does not try another way', async (t) => {
  const server = await fakeServer(t);
  server.handler = (_asked, response) => problem(response, new AppError('unauthenticated', 'who are you?'));
  await assert.rejects(
    take(clientOf(t, server), 1),
    (error) => error instanceof AppError && error.code === 'unauthenticated',
  );
});

test('watch() throws when nobody is there at first, and waits for it if patient', async (t) => {
  const server = await fakeServer(t);
  const gone = { ...server, url: 'http://127.0.0.1:1' };
  await assert.rejects(
    take(clientOf(t, gone), 1),
    (error) => error instanceof LinkError && error.failure === 'unreachable',
  );
  const stop = new AbortController();
  let tries = 0;
  const onLink = () => {
    tries += 1;
    if (tries === 3) stop.abort(new Error('enough'));
  };
  await assert.rejects(take(clientOf(t, gone), 1, { patient: true, signal: stop.signal, onLink }), /enough/);
});

test('watch() ends with the reason of its signal, and leaves no timer', async (t) => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const { server } = await scripted(t, [({ say }) => say(events(1))]);
  const watching = (async () => {
    for await (const _ of clientOf(t, server, clock).watch({ signal: stop.signal }))
      stop.abort(new Error('enough'));
  })();
  await assert.rejects(watching, /enough/);
  assert.deepEqual(clock.pendingMs, []);
});

test('watch() takes silence for a broken connection', async (t) => {
  const clock = new FakeClock();
  const links: string[] = [];
  let second: () => void = () => undefined;
  const { server } = await scripted(t, [({ say }) => say(events(1)), ({ say }) => say(events(2))]);
  const lost = new Promise<void>((resolve) => {
    second = resolve;
  });
  const updates: string[] = [];
  let first: () => void = () => undefined;
  const heard = new Promise<void>((resolve) => {
    first = resolve;
  });
  const watching = (async () => {
    const onLink = (link: { up: boolean }) => {
      links.push(String(link.up));
      if (!link.up) second();
    };
    for await (const update of clientOf(t, server, clock).watch({ onLink })) {
      updates.push(update.kind);
      if (updates.length === 2) return;
      first();
    }
  })();
  await heard;
  await clock.advance(75_000);
  await lost;
  await clock.advance(250);
  await watching;
  assert.deepEqual(links, ['true', 'false', 'true']);
});

/** Server-sent events, written in pieces that cut lines and characters. */
function stream(...bodies: unknown[]) {
  const text = `: hello\n\n${bodies.map((body) => `id: 7.1\r\ndata: ${JSON.stringify(body)}\r\n\r\n`).join('')}`;
  return Buffer.from(text);
}

test('watch() falls back to server-sent events where a WebSocket is refused, and resumes there', async (t) => {
  const server = await fakeServer(t);
  const asked: string[] = [];
  const note = { kind: 'events', position: '7.2', events: [{ type: 'service.set', body: 'größer' }] };
  server.handler = ({ url, headers }, response) => {
    asked.push(url);
    assert.equal(headers['accept'], 'text/event-stream');
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const bytes = asked.length === 1 ? stream(events(1), note) : stream(events(3));
    let at = 0;
    const writeNext = () => {
      const piece = bytes.subarray(at, at + 7);
      at += 7;
      if (piece.length > 0) response.write(piece, writeNext);
      else if (asked.length === 1) response.write('data: {"kind":"ev', () => response.destroy());
    };
    writeNext();
  };
  const select = { types: ['service.*', 'host.*'], services: { type: ['web'] } };
  assert.deepEqual(await take(clientOf(t, server), 3, { select }), [events(1), note, events(3)]);
  assert.deepEqual(asked, [
    '/v1/events?types=service.*&types=host.*&serviceType=web',
    '/v1/events?since=7.2&types=service.*&types=host.*&serviceType=web',
  ]);
});

test('watch() leaves a WebSocket that opens but never says anything', async (t) => {
  const server = await fakeServer(t);
  let opened = 0;
  server.onSocket = (socket) => {
    opened += 1;
    socket.terminate();
  };
  server.handler = (_asked, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(stream(events(1)));
  };
  assert.deepEqual(await take(clientOf(t, server), 1), [events(1)]);
  assert.equal(opened, 2);
});

test('watch() says every selection without a WebSocket too', async (t) => {
  const server = await fakeServer(t);
  server.refusal = 502;
  server.handler = (_asked, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(stream(events(1)));
  };
  const services = { uuid: ['u'], type: ['web', 'db'], host: ['a'], region: ['eu'] };
  const select = { types: ['service.*'], hosts: 'env=prod', apps: ['shop'], services };
  assert.deepEqual(positions(await take(clientOf(t, server), 1, { select })), ['7.1']);
  const query = new URLSearchParams(server.asked[0]?.url.split('?')[1]);
  assert.equal(
    query.toString(),
    'types=service.*&hosts=env%3Dprod&apps=shop&serviceUuid=u&serviceType=web&serviceType=db&serviceHost=a&serviceRegion=eu',
  );
});

test('watch() goes without a WebSocket at once when it is not to wait, and begins with one again', async (t) => {
  const server = await fakeServer(t);
  server.refusal = 502;
  server.handler = (_asked, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(stream(events(1)), () => {
      server.onSocket = (socket) => socket.on('message', () => socket.send(envelope('watch', events(2))));
      response.destroy();
    });
  };
  const via: string[] = [];
  const updates = await take(clientOf(t, server), 2, {
    onLink: (link) => via.push(link.up ? link.via : 'down'),
  });
  assert.deepEqual(positions(updates), ['7.1', '7.2']);
  assert.deepEqual(via, ['event-stream', 'down', 'websocket']);
});

test('watch() goes without a WebSocket when it is refused over and over', async (t) => {
  const server = await fakeServer(t);
  let refused = 0;
  server.refusal = null;
  server.onRefused = () => {
    refused += 1;
  };
  server.handler = (_asked, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(stream(events(refused)), () => response.destroy());
  };
  const updates = await take(clientOf(t, server), 3, { patient: true });
  // Two at first, then one for each new connection.
  assert.deepEqual(positions(updates), ['7.2', '7.3', '7.4']);
});

test('watch() does not follow a page', async (t) => {
  const server = await fakeServer(t, (_asked, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Log in</p>'),
  );
  await assert.rejects(
    take(clientOf(t, server), 1),
    (error) => error instanceof LinkError && error.failure === 'foreign',
  );
});

test('watch() holds a slow reader back instead of its memory, and loses nothing', async (t) => {
  const count = 20_000;
  const padding = 'x'.repeat(1_000);
  const { server } = await scripted(t, [
    ({ say }) => {
      for (let revision = 1; revision <= count; revision += 1) say({ ...events(revision), padding });
    },
  ]);
  let last = 0;
  for await (const update of clientOf(t, server).watch()) {
    assert.equal('position' in update ? update.position : '', `7.${last + 1}`);
    last += 1;
    if (last % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (last === count) break;
  }
});

test('close() ends a watch, which would come back to the server for ever otherwise', async (t) => {
  const { server } = await scripted(t, [({ say }) => say(events(1))]);
  const client = clientOf(t, server);
  const updates = client.watch({ since: '7.0' });
  assert.deepEqual((await updates.next()).value, events(1));
  const ended = assert.rejects(updates.next(), /the client is closed/);
  await client.close();
  await ended;
  await assert.rejects(client.watch().next(), /the client is closed/);
});
