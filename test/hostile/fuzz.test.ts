/**
 * Drawn requests against registry and agent: by their own descriptions and against them, byte by byte, as frames. A
 * seed for each run stands in the output; HOLDFAST_SEED=new draws others.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { test } from 'node:test';
import { Described, type Operation } from '../helpers/described.ts';
import { SeededRandom } from '../helpers/random.ts';
import { raw } from '../helpers/raw.ts';
import { assertUnharmed, head, joinedHost, type Target, targets, uuidOf } from './world.ts';

const httpCases = 3_000;
const byteCases = 600;
const frameCases = 1_500;

test('F16, F18: whatever is sent by the description or beside it gets an answer that is described, and no 500', async (t) => {
  const random = SeededRandom.fresh(t);
  const { both, registry } = await targets(t);
  const host = await joinedHost(registry, 'fuzzed');
  const answered = new Map<string, number>();
  const undescribed = new Map<string, unknown>();
  for (const target of both) {
    const described = await Described.of(target.http);
    const operations = described.operations.filter(({ path }) => !neverEnding.has(path));
    const tokens = [target.token, target.token, target.token, host.token, undefined, 'hf_x_y'];
    for (let count = 0; count < httpCases / 2; count += 1) {
      const operation = random.pick(operations);
      const exchange = draw(random, operation, host.id);
      const isHosts = /\{host\}\/(heartbeat|checkin|reports)/.test(operation.path);
      const token = isHosts && random.uniform() < 0.8 ? host.token : random.pick(tokens);
      const answer = await target.http({ ...exchange, token });
      const what = `${JSON.stringify(exchange).slice(0, 2_000)} (${random}, case ${count})`;
      assert(answer.status < 500, `${answer.status} ${answer.text.slice(0, 500)} to ${what}`);
      try {
        described.check(operation, answer);
      } catch (error) {
        // All kinds of it in one run.
        undescribed.set(`${target.kind}: ${operation.method} ${operation.path}: ${answer.status}`, error);
      }
      const kind = `${Math.floor(answer.status / 100)}xx`;
      answered.set(kind, (answered.get(kind) ?? 0) + 1);
    }
    await assertUnharmed(target);
  }
  t.diagnostic([...answered].map(([kind, count]) => `${kind} × ${count}`).join(', '));
  for (const [kind, error] of undescribed) t.diagnostic(`${kind}: ${(error as Error).message}`);
  assert.deepEqual([...undescribed.keys()], []);
  // Cases that only ever miss would show nothing.
  assert((answered.get('2xx') ?? 0) > httpCases / 20, 'too few were taken');
  assert((answered.get('4xx') ?? 0) > httpCases / 20, 'too few were refused');
});

test('F16: requests with bytes changed, cut, doubled and strewn in get an answer or a closed connection', async (t) => {
  const random = SeededRandom.fresh(t);
  const { both } = await targets(t, { limits: { headerTimeMs: 700, requestTimeMs: 700 } });
  const answered = new Map<string, number>();
  for (const target of both) {
    const json = 'Content-Type: application/json';
    const body = '{"type":"web","host":"edge-1","ttl":30}';
    const originals = [
      head(target, 'GET /livez HTTP/1.1', ['Connection: close']),
      head(target, `PUT /v1/services/${uuidOf(1)} HTTP/1.1`, [
        json,
        `Content-Length: ${body.length}`,
        'Connection: close',
      ]) + body,
      `${head(target, `PUT /v1/services/${uuidOf(1)} HTTP/1.1`, [json, 'Transfer-Encoding: chunked', 'Connection: close'])}${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
      head(target, 'GET /v1/watch HTTP/1.1', [
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Protocol: holdfast.v1',
      ]),
    ].map((text) => Buffer.from(text));
    // A hundred at once: most end with a time-out.
    for (let count = 0; count < byteCases / 2; count += 100) {
      await Promise.all(
        Array.from({ length: 100 }, async () => {
          const bytes = mutate(random, random.pick(originals));
          const answer = await raw(target.port, bytes, {
            // Whole, and not the 100 before it.
            until: /^HTTP\/1\.1 (?!100)\d{3} .*\r\n\r\n/s,
            timeoutMs: 15_000,
          });
          const status = /^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 'closed';
          assert(
            !status.startsWith('5'),
            `${status} to ${JSON.stringify(bytes.toString('latin1'))} (${random})`,
          );
          answered.set(status, (answered.get(status) ?? 0) + 1);
        }),
      );
    }
    await assertUnharmed(target);
  }
  t.diagnostic([...answered].map(([status, count]) => `${status} × ${count}`).join(', '));
});

test('F16: frames of every kind, whole and broken, get an error or a closed socket, and no other socket notices', async (t) => {
  const random = SeededRandom.fresh(t);
  const { both } = await targets(t);
  let closed = 0;
  let errors = 0;
  for (const target of both) {
    const watcher = await openSocket(target);
    watcher.send(frame(1, JSON.stringify(envelope('steady', { op: 'watch' }))));
    let sent = 0;
    while (sent < frameCases / 2) {
      const socket = await openSocket(target);
      for (let count = random.integer(1, 40); count > 0 && !socket.closed(); count -= 1, sent += 1) {
        socket.send(drawFrame(random));
        if (random.uniform() < 0.3) await socket.turn();
      }
      await socket.turn();
      if (socket.closed()) closed += 1;
      errors += socket.heard().split('"kind":"error"').length - 1;
      socket.destroy();
      await socket.ended;
    }
    assert(!watcher.closed(), 'a socket of somebody else was closed');
    await target.http({
      method: 'PUT',
      path: `/v1/services/${uuidOf(3)}`,
      body: { type: 'seen', host: 'edge-1' },
    });
    for (let turns = 0; turns < 100 && !watcher.heard().includes('service.registered'); turns += 1)
      await watcher.turn();
    assert(watcher.heard().includes('service.registered'), watcher.heard().slice(-300));
    watcher.destroy();
    await watcher.ended;
    await assertUnharmed(target);
  }
  t.diagnostic(`${closed} sockets were closed, ${errors} errors were told`);
  assert(closed > 5 && errors > 50, 'too little was refused');
});

/** They answer until the caller goes. */
const neverEnding = new Set(['/v1/watch', '/v1/events', '/v1/backup']);

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

interface Drawn {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** Mostly as described, with a mistake now and then. */
function draw(random: SeededRandom, operation: Operation, hostId: string): Drawn {
  const names: Record<string, () => string> = {
    uuid: () => (random.uniform() < 0.9 ? uuidOf(random.integer(1, 12)) : text(random)),
    host: () => random.pick([hostId, hostId, 'fuzzed', 'edge-1', text(random)]),
  };
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_whole, name: string) =>
    encoded((names[name] ?? (() => text(random)))() || 'x').replaceAll('%00', ''),
  );
  const query = operation.parameters
    .filter((parameter) => parameter.in === 'query' && random.uniform() < 0.4)
    .map(({ name, schema }) => `${name}=${encoded(String(value(random, schema, 0)))}`);
  if (random.uniform() < 0.05) query.push(`${encoded(text(random))}=1`);
  const url = query.length === 0 ? path : `${path}?${query.join('&')}`;
  const { method, body: schema } = operation;
  if (method === 'GET' || (schema === null && random.uniform() < 0.8)) return { method, path: url };
  const drawn = value(random, schema ?? {}, 0);
  const body = random.uniform() < 0.3 ? spoil(random, drawn) : drawn;
  const sent = random.uniform() < 0.03 ? JSON.stringify(body).slice(0, -1) : JSON.stringify(body);
  return { method, path: url, body: sent, headers: { 'content-type': 'application/json' } };
}

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

interface Schema {
  readonly type?: string | string[];
  readonly anyOf?: object[];
  readonly enum?: Json[];
  readonly const?: Json;
  readonly properties?: Record<string, object>;
  readonly required?: string[];
  readonly items?: object;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly description?: string;
}

/** What fits a schema, roughly. */
function value(random: SeededRandom, schema: object, depth: number): Json {
  const {
    type,
    anyOf,
    enum: words,
    properties,
    required = [],
    items,
    pattern,
    minimum,
    maximum,
    description,
  } = schema as Schema;
  const constant = (schema as Schema).const;
  if (constant !== undefined) return constant;
  if (words !== undefined) return random.pick(words);
  if (anyOf !== undefined) return value(random, random.pick(anyOf), depth);
  const one = Array.isArray(type) ? random.pick(type) : type;
  switch (one) {
    case 'object':
      return Object.fromEntries(
        Object.entries(properties ?? {})
          .filter(([name]) => required.includes(name) || random.uniform() < 0.6)
          .map(([name, of]) => [name, value(random, of, depth + 1)]),
      );
    case 'array':
      return Array.from({ length: random.integer(0, depth > 3 ? 0 : 4) }, () =>
        value(random, items ?? {}, depth + 1),
      );
    case 'integer':
    case 'number':
      return random.pick([minimum ?? 0, maximum ?? 1e6, 1, 5, 60, 0, -1, 0.5, 2 ** 53, 1e300]);
    case 'boolean':
      return random.uniform() < 0.5;
    case 'null':
      return null;
    case 'string':
      if (pattern?.includes('sha256') === true) return `sha256:${random.pick(['0', 'a', 'g']).repeat(64)}`;
      if (description?.startsWith('UUID') === true) return uuidOf(random.integer(1, 12));
      if (description?.startsWith('RFC 3339') === true)
        return random.pick(['2026-01-01T00:00:00Z', '2026-02-30T00:00:00Z', text(random)]);
      return text(random);
    default:
      return random.pick<Json>([null, true, 0, 'x', [], {}]);
  }
}

const texts = [
  ...[
    '',
    ' ',
    'a',
    'web',
    'edge-1',
    'eu-west',
    '30s',
    '1d',
    '0',
    '-1',
    '1e400',
    'null',
    'true',
    'NaN',
    '[object Object]',
  ],
  ...[
    '__proto__',
    'constructor',
    '../../etc/passwd',
    "'; DROP TABLE services; --",
    '%s%n',
    '{{7*7}}',
    '<script>',
  ],
  ...[
    '\u0000',
    '\u001b[2J',
    '\u202e',
    '\ud800',
    '😀',
    'ﷺ',
    '\u{10ffff}',
    'é\u0301',
    'İ',
    'ß',
    '\r\nX: 1',
    '\t',
  ],
  ...[
    'env=prod',
    '(a=b+c in (d,e))',
    'a notin (',
    '!'.repeat(30),
    '@self/x=y',
    '1700000000000.5',
    'x'.repeat(129),
    'x'.repeat(254),
    'x'.repeat(5_000),
  ],
];

function text(random: SeededRandom): string {
  return random.uniform() < 0.5 ? random.pick(['web', 'edge-1', 'eu', 'a', 'fuzzed']) : random.pick(texts);
}

/** One thing in it is another, is gone, or is there too much. */
function spoil(random: SeededRandom, whole: Json): Json {
  const strange = (): Json =>
    random.pick<Json>([
      null,
      true,
      -0,
      1e308,
      2 ** 63,
      '',
      text(random),
      [],
      [[]],
      {},
      { a: { b: {} } },
      Array.from({ length: 1_001 }, () => 0),
    ]);
  if (typeof whole !== 'object' || whole === null || random.uniform() < 0.2) return strange();
  if (Array.isArray(whole)) {
    if (whole.length === 0) return [strange()];
    const at = random.integer(0, whole.length - 1);
    return whole.map((item, index) => (index === at ? spoil(random, item) : item));
  }
  const keys = Object.keys(whole);
  const key = keys.length === 0 || random.uniform() < 0.2 ? text(random) : random.pick(keys);
  if (random.uniform() < 0.2)
    return Object.fromEntries(Object.entries(whole).filter(([name]) => name !== key));
  return Object.fromEntries([...Object.entries(whole), [key, spoil(random, whole[key] ?? null)]]);
}

function mutate(random: SeededRandom, original: Buffer): Buffer {
  let bytes = original;
  for (let edits = random.integer(1, 6); edits > 0; edits -= 1) {
    const at = random.integer(0, bytes.length);
    const length = random.pick([1, 1, 2, 4, 16, 100]);
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
    const strewn = random.pick([
      Buffer.from(random.bytes(length)),
      Buffer.from(
        random.pick([
          '\r\n',
          '\n',
          '\r',
          '\0',
          ' ',
          ':',
          'Content-Length: 5\r\n',
          'Transfer-Encoding: chunked\r\n',
          '0\r\n\r\n',
          'GET / HTTP/1.1\r\n\r\n',
          '\x80',
        ]),
      ),
      bytes.subarray(at, at + length),
    ]);
    bytes = random.pick([
      Buffer.concat([before, after.subarray(length)]),
      Buffer.concat([before, strewn, after]),
      Buffer.concat([before, strewn, after.subarray(strewn.length)]),
      before.length > 0 && random.uniform() < 0.1 ? before : bytes,
    ]);
  }
  return bytes;
}

function envelope(id: string, body: Json): Json {
  return { v: 1, id, mimetype: 'application/json', body };
}

/** A frame as a client sends it: masked, unless told otherwise (RFC 6455 §5.2). */
function frame(
  opcode: number,
  payload: string | Buffer,
  odd: { fin?: boolean; rsv?: number; masked?: boolean; length?: number } = {},
): Buffer {
  const { fin = true, rsv = 0, masked = true } = odd;
  const data = Buffer.from(payload);
  const length = odd.length ?? data.length;
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  const maskBit = masked ? 0x80 : 0;
  let start: Buffer;
  if (length < 126) start = Buffer.from([first, maskBit | length]);
  else if (length < 65_536) start = Buffer.from([first, maskBit | 126, length >> 8, length & 0xff]);
  else {
    start = Buffer.alloc(10);
    start.set([first, maskBit | 127]);
    start.writeBigUInt64BE(BigInt(length), 2);
  }
  if (!masked) return Buffer.concat([start, data]);
  const mask = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([start, mask, data.map((byte, index) => byte ^ (mask[index % 4] ?? 0))]);
}

function drawFrame(random: SeededRandom): Buffer {
  const message = (): Json =>
    random.pick<Json>([
      { op: 'watch' },
      {
        op: 'watch',
        since: random.pick<Json>([null, '0.0', '1.1', 'x', 5]),
        snapshot: random.pick<Json>([true, false, 'x']),
      },
      { op: 'watch', select: { types: [text(random)], hosts: text(random) } },
      { op: 'watch', select: { services: { uuid: [text(random)], region: [text(random)] } } },
      { op: 'unwatch' },
      { op: text(random) },
      random.pick<Json>([null, 1, 'x', [], {}]),
    ]);
  const whole = (): Json => envelope(random.pick(['a', 'b', 'c', '', text(random)]), message());
  return random.pick([
    () => frame(1, JSON.stringify(whole())),
    () => frame(1, JSON.stringify(whole())),
    () => frame(1, JSON.stringify(spoil(random, whole()))),
    () => frame(1, JSON.stringify(whole()).slice(0, random.integer(0, 40))),
    () => frame(2, Buffer.from(random.bytes(random.integer(0, 200)))),
    () => frame(1, '['.repeat(random.integer(1, 60_000))),
    () => frame(1, 'x', { fin: false }),
    () => frame(0, 'x', { fin: random.uniform() < 0.5 }),
    () => frame(9, Buffer.from(random.bytes(random.integer(0, 125)))),
    () => Buffer.concat(Array.from({ length: 500 }, () => frame(9, 'ping'))),
    () => frame(10, 'unasked'),
    () => (random.uniform() < 0.3 ? frame(random.integer(3, 7), 'reserved') : frame(10, '')),
    () => (random.uniform() < 0.3 ? frame(1, '{}', { rsv: random.integer(1, 7) }) : frame(10, '')),
    () => (random.uniform() < 0.3 ? frame(1, '{}', { masked: false }) : frame(10, '')),
    () => (random.uniform() < 0.3 ? frame(1, Buffer.from([0xff, 0xfe])) : frame(10, '')),
    () => (random.uniform() < 0.1 ? frame(1, '', { length: 2 ** 40 }) : frame(10, '')),
    () =>
      random.uniform() < 0.1
        ? frame(
            8,
            random.pick([Buffer.from([3, 232]), Buffer.from([0]), Buffer.from([0, 1]), Buffer.alloc(0)]),
          )
        : frame(10, ''),
    () => (random.uniform() < 0.1 ? Buffer.from(random.bytes(100)) : frame(10, '')),
  ])();
}

/** A WebSocket without a library, which would not send what is wrong. */
async function openSocket(target: Target) {
  const socket = connect(target.port, '127.0.0.1');
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => (text += chunk));
  socket.on('error', () => socket.destroy());
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const key = randomBytes(16).toString('base64');
  socket.write(
    head(target, 'GET /v1/watch HTTP/1.1', [
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${key}`,
      'Sec-WebSocket-Protocol: holdfast.v1',
    ]),
  );
  while (!text.includes('\r\n\r\n')) await new Promise((resolve) => socket.once('data', resolve));
  assert.match(text, /^HTTP\/1\.1 101 /);
  return {
    send(bytes: Buffer): void {
      if (!socket.destroyed) socket.write(bytes);
    },
    heard: () => text,
    closed: () => socket.destroyed || socket.readableEnded,
    destroy: () => socket.destroy(),
    ended,
    /** What was sent before has been read: an exchange of its own came back after it. */
    async turn(): Promise<void> {
      await target.http({ path: '/livez' });
    },
  };
}
