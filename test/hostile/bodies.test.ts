/** What may come as a body, and must not harm: texts that are no JSON, bombs, depth, names of prototypes, masses of keys. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { limits } from '../../src/base/limits.ts';
import { inventoryHash } from '../../src/domain/inventory.ts';
import { bundleProgram } from '../helpers/bundle.ts';
import { acceptedJson, refusedJson } from '../helpers/json-corpus.ts';
import { portOf, reach, registryArguments, startProcess } from '../helpers/process.ts';
import { raw } from '../helpers/raw.ts';
import { tempFolder } from '../helpers/temp.ts';
import { assertRefused, assertUnharmed, head, joinedHost, type Target, targets, uuidOf } from './world.ts';

const jsonHeader = { 'content-type': 'application/json' };

test('F1: texts that are no JSON are refused with their place at every door that reads bodies', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    for (const [method, path] of bodyDoors(target)) {
      for (const [text, column] of refusedJson) {
        // No body at all is another matter.
        if (text === '') continue;
        const answer = await target.http({ method, path, body: text, headers: jsonHeader });
        assertRefused(answer, 'bad-request', `${method} ${path} ${JSON.stringify(text)}`);
        assert.match(answer.json.detail, new RegExp(`line \\d+, column ${column}$`), text);
      }
    }
    await assertUnharmed(target);
  }
});

test('F1: texts that are JSON are read, whatever they hold', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    for (const text of Object.keys(acceptedJson)) {
      const body = `{"type":"web","host":"edge-1","reason":${text}}`;
      const { status } = await target.http({
        method: 'PUT',
        path: `/v1/services/${uuidOf(1)}`,
        body,
        headers: jsonHeader,
      });
      assert(status === 200 || status === 201, `${text}: ${status}`);
    }
    await assertUnharmed(target);
  }
});

test('F1: bytes that are no UTF-8, other encodings, marks and numbers that nobody can hold are refused', async (t) => {
  const { both } = await targets(t);
  const bodies: [name: string, bytes: Buffer][] = [
    ['a byte order mark', Buffer.from('\ufeff{}')],
    ['UTF-16 LE', Buffer.from('\ufeff{"type":"web"}', 'utf16le')],
    ['UTF-16 without a mark', Buffer.from('{"type":"web"}', 'utf16le')],
    ['Latin-1', Buffer.from('{"type":"Büro"}', 'latin1')],
    ['overlong NUL', Buffer.from([0x7b, 0x22, 0xc0, 0x80, 0x22, 0x3a, 0x31, 0x7d])],
    [
      'CESU-8 surrogates',
      Buffer.concat([
        Buffer.from('{"'),
        Buffer.from([0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]),
        Buffer.from('":1}'),
      ]),
    ],
    ['a cut sequence', Buffer.from([0x7b, 0x22, 0xe2, 0x82, 0x22, 0x3a, 0x31, 0x7d])],
    ['1e400', Buffer.from('{"ttl":1e400}')],
    ['-1e400', Buffer.from('{"ttl":-1e400}')],
    ['half a surrogate pair', Buffer.from('{"type":"\\ud800"}')],
    ['half a surrogate pair in a key', Buffer.from('{"\\udfff":1}')],
    ['NUL in a text', Buffer.from('{"type":"a\\u0000b"}')],
    ['NaN', Buffer.from('{"ttl":NaN}')],
    ['a comment', Buffer.from('{/**/}')],
    ['nothing but white space', Buffer.from(' \r\n ')],
    ['binary', Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))],
  ];
  for (const target of both) {
    for (const [name, bytes] of bodies) {
      const lines = [
        'Content-Type: application/json',
        `Content-Length: ${bytes.length}`,
        'Connection: close',
      ];
      const text = await raw(
        target.port,
        Buffer.concat([Buffer.from(head(target, `PUT /v1/services/${uuidOf(1)} HTTP/1.1`, lines)), bytes]),
      );
      assert.match(text, /^HTTP\/1\.1 400 .*"code":"bad-request"/s, `${target.kind}: ${name}`);
    }
    // Of a key that is repeated the last one counts: everywhere, and not the first here and the last there.
    const { json } = await target.http({
      method: 'PUT',
      path: `/v1/services/${uuidOf(2)}`,
      headers: jsonHeader,
      body: '{"type":"first","type":"last","host":"edge-1"}',
    });
    assert.equal(json.type, 'last');
    await assertUnharmed(target);
  }
});

test('F2: one byte more than a route takes is refused, with a length and without', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    for (const [method, path, bytesMax] of [
      ['PUT', `/v1/services/${uuidOf(1)}`, limits.bodyBytes],
      ['POST', '/v1/is-up', limits.bodyBytes],
      ['POST', `/v1/services/${uuidOf(1)}/heartbeat`, limits.heartbeatBodyBytes],
    ] as const) {
      const line = `${method} ${path} HTTP/1.1`;
      const json = 'Content-Type: application/json';
      const body = `{}${' '.repeat(bytesMax - 2)}`;
      const fits = await raw(
        target.port,
        head(target, line, [json, `Content-Length: ${bytesMax}`, 'Connection: close']) + body,
      );
      assert.doesNotMatch(fits, /^HTTP\/1\.1 413 /, path);
      const refusal = /^HTTP\/1\.1 413 .*"code":"too-large"/s;
      assert.match(
        await raw(target.port, `${head(target, line, [json, `Content-Length: ${bytesMax + 1}`])}${body} `, {
          until: refusal,
        }),
        refusal,
      );
      const size = (bytesMax + 1).toString(16);
      assert.match(
        await raw(
          target.port,
          `${head(target, line, [json, 'Transfer-Encoding: chunked'])}${size}\r\n${body} \r\n`,
          {
            until: refusal,
          },
        ),
        refusal,
        `${path}, chunked`,
      );
    }
    await assertUnharmed(target);
  }
});

test('F2: a Content-Length that lies harms nobody but its sender', async (t) => {
  const { both } = await targets(t, { limits: { requestTimeMs: 500, headerTimeMs: 500 } });
  for (const target of both) {
    const line = `POST /v1/services/${uuidOf(1)}/heartbeat HTTP/1.1`;
    const json = 'Content-Type: application/json';
    // Too short: what is left over is no request, and nothing of it is run as one.
    const short = await raw(target.port, `${head(target, line, [json, 'Content-Length: 2'])}{}smuggled`);
    assert.equal(statuses(short).at(-1), 400, short);
    assert(!short.includes('HTTP/1.1 200'), short);
    // Too long: waited for, and cut.
    assert.match(
      await raw(target.port, `${head(target, line, [json, 'Content-Length: 20'])}{}`),
      /^HTTP\/1\.1 408 /,
    );
    // The sender goes in the middle.
    await raw(target.port, `${head(target, line, [json, 'Content-Length: 20'])}{}`, { halfClose: true });
    await assertUnharmed(target);
  }
});

test('F2: compressed bodies are refused from their head, so that no bomb is unpacked', async (t) => {
  const { both } = await targets(t);
  const zeros = Buffer.alloc(10_000_000);
  const bombs = {
    gzip: gzipSync(zeros),
    deflate: deflateSync(zeros),
    br: brotliCompressSync(zeros),
    zstd: zstdCompressSync(zeros),
  };
  for (const target of both) {
    for (const [encoding, bomb] of Object.entries(bombs)) {
      assert(bomb.length < zeros.length / 900, 'it is a bomb');
      for (const named of [encoding, `identity, ${encoding}`, encoding.toUpperCase()]) {
        const lines = [
          'Content-Type: application/json',
          `Content-Length: ${bomb.length}`,
          `Content-Encoding: ${named}`,
          'Connection: close',
        ];
        const bytes = Buffer.concat([Buffer.from(head(target, 'POST /v1/is-up HTTP/1.1', lines)), bomb]);
        assert.match(await raw(target.port, bytes), /^HTTP\/1\.1 415 .*"field":"content-encoding"/s, named);
      }
    }
    await assertUnharmed(target);
  }
});

test('F2: a compressed check-in is inflated up to its limit and no further, and read only when it is whole', async (t) => {
  const { registry } = await targets(t);
  const { id, token } = await joinedHost(registry, 'edge-1');
  const send = (body: Buffer, { encoding = 'gzip', length = body.length } = {}) => {
    const lines = [
      `POST /v1/hosts/${id}/checkin HTTP/1.1`,
      ...['Host: 127.0.0.1', `Authorization: Bearer ${token}`, 'Content-Type: application/json'],
      ...[`Content-Length: ${length}`, `Content-Encoding: ${encoding}`, 'Connection: close', '', ''],
    ];
    return raw(registry.port, Buffer.concat([Buffer.from(lines.join('\r\n')), body]));
  };
  const hash = inventoryHash([]);
  const good = Buffer.from(JSON.stringify({ base: null, hash, components: [], removed: [] }));
  const padded = Buffer.concat([good, Buffer.alloc(limits.checkInBodyBytes - good.length, ' ')]);
  assert.match(await send(gzipSync(good)), /^HTTP\/1\.1 200 .*"accepted":true/s);
  assert.match(await send(gzipSync(good), { encoding: 'GZIP' }), /^HTTP\/1\.1 200 /);
  assert.match(await send(gzipSync(padded)), /^HTTP\/1\.1 200 /, 'as large as it may be');
  const members = [good.subarray(0, 9), good.subarray(9)].map((part) => gzipSync(part));
  assert.match(await send(Buffer.concat(members)), /^HTTP\/1\.1 200 /, 'RFC 1952: members follow each other');

  const tooLarge = /^HTTP\/1\.1 413 .*"code":"too-large"/s;
  assert.match(await send(gzipSync(Buffer.concat([padded, Buffer.from(' ')]))), tooLarge, 'one byte more');
  const bomb = gzipSync(Buffer.alloc(256 * 1_024 * 1_024, ' '), { level: 9 });
  assert(bomb.length < 300_000, 'it is a bomb');
  const beforeBytes = process.memoryUsage().rss;
  let mostBytes = 0;
  const watching = setInterval(() => (mostBytes = Math.max(mostBytes, process.memoryUsage().rss)), 2);
  t.after(() => clearInterval(watching));
  for (let n = 0; n < 4; n += 1) assert.match(await send(bomb), tooLarge);
  assert(mostBytes - beforeBytes < 8 * limits.checkInBodyBytes, `${mostBytes - beforeBytes} bytes more`);

  // Blocks of nothing become nothing, however many there are; sent in pieces, so that no length says it beforehand.
  const nothing = Buffer.alloc(limits.checkInBodyBytes + 5, Buffer.from([0, 0, 0, 0xff, 0xff]));
  const pieces = [
    Buffer.from(
      `POST /v1/hosts/${id}/checkin HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n` +
        'Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n' +
        `Connection: close\r\n\r\n${(nothing.length + 10).toString(16)}\r\n`,
    ),
    ...[gzipSync(good).subarray(0, 10), nothing, Buffer.from('\r\n0\r\n\r\n')],
  ];
  assert.match(await raw(registry.port, Buffer.concat(pieces)), tooLarge, 'much of nothing');

  const broken = /^HTTP\/1\.1 400 .*"field":"content-encoding"/s;
  for (const [what, bytes] of [
    ['no gzip', good],
    ['deflate under its name', deflateSync(good)],
    ['cut', gzipSync(good).subarray(0, -9)],
    ['a wrong checksum', Buffer.concat([gzipSync(good).subarray(0, -8), Buffer.alloc(8)])],
    ['only a head', gzipSync(good).subarray(0, 10)],
  ] as const)
    assert.match(await send(bytes), broken, what);
  assert.match(await send(gzipSync('{"base":')), /^HTTP\/1\.1 400 .*line 1, column/s);
  for (const encoding of ['br', 'deflate', 'gzip, gzip', 'identity', 'x-gzip', ''])
    assert.match(await send(gzipSync(good), { encoding }), /^HTTP\/1\.1 415 .*or gzip/s, encoding);
  // Whoever leaves in the middle takes nothing along.
  const socket = connect(registry.port, '127.0.0.1');
  socket.write(
    `POST /v1/hosts/${id}/checkin HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n` +
      'Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 90000\r\n\r\n',
  );
  await new Promise((resolve) => socket.write(bomb.subarray(0, 5_000), resolve));
  socket.destroy();
  await assertUnharmed(registry);
});

test('F2: a body of 64 MiB takes no more memory than twice its limit', async (t) => {
  const program = await bundleProgram(tempFolder(t));
  const started = startProcess(t, registryArguments(tempFolder(t)), program);
  const { url, token, http } = reach(t, await started.ready('registry'));
  const uuid = uuidOf(1);
  await http({ method: 'PUT', path: `/v1/services/${uuid}`, body: { type: 'web', host: 'edge-1' } });
  const chunk = Buffer.from(`10000\r\n${'x'.repeat(65_536)}\r\n`);
  const pour = async (chunks: number) => {
    const socket = connect(portOf(url), '127.0.0.1');
    const closed = new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.on('error', () => socket.destroy());
    });
    socket.resume();
    socket.write(
      `PUT /v1/services/${uuid} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    for (let sent = 0; sent < chunks && !socket.destroyed; sent += 1) {
      if (!socket.write(chunk))
        await new Promise<void>((resolve) => {
          socket.once('drain', resolve);
          socket.once('close', resolve);
        });
    }
    socket.destroy();
    await closed;
  };
  // What a refusal costs at all.
  for (let i = 0; i < 5; i += 1) await pour(20);
  const before = peakBytes(started.pid);
  await pour(1_024);
  const grown = peakBytes(started.pid) - before;
  t.diagnostic(`peak grown by ${(grown / 1_048_576).toFixed(1)} MiB`);
  // Twice the limit, and what the collector leaves lying for a while.
  assert(grown <= 2 * limits.bodyBytes + 8 * 1_048_576, `${grown} bytes more`);
  assert.equal((await http({ path: '/livez' })).status, 200);
});

test('F3: depth from 33 to 5,000,000 is refused in a time that its length explains', async (t) => {
  const { both, registry } = await targets(t);
  const host = await joinedHost(registry, 'deep');
  for (const target of both) {
    for (const depth of [33, 65, 1_000, 10_000, 100_000, 500_000]) {
      for (const [open, close] of [
        ['[', ']'],
        ['{"a":', '}'],
      ] as const) {
        const nested = open.repeat(depth) + (depth < 100_000 ? `1${close.repeat(depth)}` : '');
        const body = `{"reason":${nested}}`;
        const answer = await target.http({
          method: 'PUT',
          path: `/v1/services/${uuidOf(1)}`,
          body,
          headers: jsonHeader,
        });
        assertRefused(
          answer,
          body.length > limits.bodyBytes ? 'too-large' : 'bad-request',
          `${depth} of ${open}`,
        );
        if (body.length <= limits.bodyBytes) assert.match(answer.json.detail, /nesting is deeper than 32/);
      }
    }
    await assertUnharmed(target);
  }
  // The largest body that any route takes.
  const startedMs = performance.now();
  const answer = await registry.http({
    method: 'POST',
    path: `/v1/hosts/${host.id}/checkin`,
    token: host.token,
    headers: jsonHeader,
    body: `{"base":null,"hash":"sha256:${'0'.repeat(64)}","components":${'['.repeat(5_000_000)}`,
  });
  assertRefused(answer, 'bad-request', '5,000,000 deep');
  const tookMs = performance.now() - startedMs;
  t.diagnostic(`5,000,000 deep: ${tookMs.toFixed(0)} ms`);
  assert(tookMs < 2_000, `${tookMs} ms`);
  await assertUnharmed(registry);
});

/** What a prototype has, and what code likes to ask an object for. */
const prototypeNames = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'valueOf',
  'hasOwnProperty',
  '__defineGetter__',
  '__lookupSetter__',
  'toJSON',
  'then',
  'length',
];

test('F4: names of prototypes as fields are refused by name and change nothing', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    for (const name of prototypeNames) {
      const body = `{${JSON.stringify(name)}:{"polluted":true,"status":"DOWN"}}`;
      const path = `/v1/services/${uuidOf(1)}`;
      assertRefused(
        await target.http({ method: 'PUT', path, body, headers: jsonHeader }),
        'bad-request',
        name,
        name,
      );
      const nested = `{"items":[{"uuid":"${uuidOf(1)}",${JSON.stringify(name)}:1}]}`;
      const many = await target.http({
        method: 'POST',
        path: '/v1/heartbeats',
        body: nested,
        headers: jsonHeader,
      });
      assertRefused(many, 'bad-request', name, `items/0/${name}`);
      assertRefused(await target.http({ path: `/v1/services?${name}=x` }), 'bad-request', name, name);
      assertRefused(await target.http({ path: `/v1/services?${name}[polluted]=x` }), 'bad-request', name);
    }
    assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
    await assertUnharmed(target);
  }
});

test('F4: names of prototypes as values are names like any other', async (t) => {
  const { both, registry } = await targets(t);
  for (const target of both) {
    for (const [index, name] of prototypeNames.entries()) {
      const uuid = uuidOf(index + 1);
      // At an agent a record is on its own host.
      const host = target.kind === 'agent' ? 'edge-1' : name.toLowerCase();
      const put = await target.http({
        method: 'PUT',
        path: `/v1/services/${uuid}`,
        body: { type: name, host, region: name },
      });
      assert.equal(put.status, 201, put.text);
      assert.equal(put.json.type, name);
      const up = await target.http({
        path: `/v1/is-up?type=${name}&host=${encodeURIComponent(put.json.host)}`,
      });
      assert.equal(up.json.known, true, name);
      const { json } = await target.http({ path: `/v1/services?type=${name}&region=${name}` });
      assert.deepEqual(
        json.items.map((item: { uuid: string }) => item.uuid),
        [uuid],
      );
    }
    const { json } = await target.http({ path: '/v1/is-up?type=isPrototypeOf&host=edge-1' });
    assert.equal(json.known, false);
  }
  const host = await joinedHost(registry, '__proto__');
  const components = prototypeNames.map((name) => ({
    name,
    version: name,
    detector: name,
    architecture: name,
  }));
  const { status, text, json } = await registry.http({
    method: 'POST',
    path: `/v1/hosts/${host.id}/checkin`,
    token: host.token,
    body: { base: null, hash: inventoryHash(components), components },
  });
  assert.equal(status, 200, text);
  assert.equal(json.accepted, true);
  const all = await registry.http({ path: '/v1/components' });
  assert.deepEqual(
    all.json.items.map(({ name, versions }: { name: string; versions: unknown }) => [name, versions]),
    [...prototypeNames].sort().map((name) => [name, [{ version: name, hosts: 1 }]]),
  );
});

test('F5: a million keys are refused without holding everybody up', async (t) => {
  const { both, registry } = await targets(t);
  const host = await joinedHost(registry, 'keys');
  for (const target of both) {
    for (const keyOf of [short, numeric, (n: number) => `\\u0061${short(n)}`]) {
      const body = bodyOfKeys(keyOf, limits.bodyBytes);
      await assertQuick(t, target, `1 MiB of keys like ${keyOf(77)}`, () =>
        target.http({ method: 'PUT', path: `/v1/services/${uuidOf(1)}`, body, headers: jsonHeader }),
      );
    }
    const million = bodyOfKeys(short, Number.POSITIVE_INFINITY);
    const answer = await target.http({
      method: 'PUT',
      path: `/v1/services/${uuidOf(1)}`,
      body: million,
      headers: jsonHeader,
    });
    assertRefused(answer, 'too-large', 'a million keys');
    await assertUnharmed(target);
  }
  const many = limits.checkInBodyBytes - 100;
  const masses: Record<string, string> = {
    'a million keys': bodyOfKeys(short, Number.POSITIVE_INFINITY),
    'a million numbers as keys': bodyOfKeys(numeric, Number.POSITIVE_INFINITY),
    'five million objects': `[${'{},'.repeat(many / 3)}1]`,
    'five million lists': `[${'[],'.repeat(many / 3)}1]`,
    'eight million numbers': `[${'1,'.repeat(many / 2)}1]`,
    'two million texts': `[${'"abcde",'.repeat(many / 8)}1]`,
  };
  for (const [name, mass] of Object.entries(masses)) {
    for (const body of [mass, `{"base":null,"components":[${mass}]}`]) {
      await assertQuick(t, registry, `a check-in of ${name}`, () =>
        registry.http({
          method: 'POST',
          path: `/v1/hosts/${host.id}/checkin`,
          token: host.token,
          body,
          headers: jsonHeader,
        }),
      );
    }
  }
  await assertUnharmed(registry);
});

/** Base 36, so that ten million characters are a million keys. */
function short(n: number): string {
  return n.toString(36);
}

function numeric(n: number): string {
  return String(n * 1_000_003);
}

function bodyOfKeys(keyOf: (n: number) => string, bytesMax: number): string {
  const parts: string[] = [];
  let size = 2;
  for (let n = 0; n < 1_000_000; n += 1) {
    const part = `"${keyOf(n)}":1`;
    size += part.length + 1;
    if (size > bytesMax) break;
    parts.push(part);
  }
  return `{${parts.join(',')}}`;
}

/** Refused as the client's fault; CPU of this whole process, client included, the least of three. */
async function assertQuick(
  t: TestContext,
  target: Target,
  what: string,
  send: () => ReturnType<Target['http']>,
): Promise<void> {
  let leastMs = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3; run += 1) {
    const before = process.cpuUsage();
    const { status, text } = await send();
    const { user, system } = process.cpuUsage(before);
    assert(status === 400 || status === 413, `${what}: ${status} ${text.slice(0, 200)}`);
    leastMs = Math.min(leastMs, (user + system) / 1_000);
  }
  t.diagnostic(`${target.kind}, ${what}: ${leastMs.toFixed(0)} ms of CPU`);
  assert(leastMs < 250, `${what}: ${leastMs} ms`);
}

/** Method and path of each route that reads a body, as admin. */
function bodyDoors({ kind }: Target): [method: string, path: string][] {
  const doors: [string, string][] = [
    ['PUT', `/v1/services/${uuidOf(1)}`],
    ['POST', '/v1/services'],
    ['POST', '/v1/heartbeats'],
    ['POST', '/v1/is-up'],
    ['PUT', `/v1/services/${uuidOf(1)}/maintenance`],
    ['POST', '/v1/tokens'],
  ];
  return kind === 'agent' ? doors : [...doors, ['POST', '/v1/join']];
}

function statuses(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

/** `VmHWM`: the most that it ever had in memory. */
function peakBytes(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
}
