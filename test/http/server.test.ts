import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, describe, test } from 'node:test';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { AppError, errorCodes } from '../../src/domain/error.ts';
import { type Problem, statusOf } from '../../src/wire/problem.ts';
import { raw } from '../helpers/raw.ts';
import { knownUuid, startServer, type TestServer, tokenOf } from './fakes.ts';

const json = { 'content-type': 'application/json' };

async function refused(response: Response, code: string, field?: string): Promise<Problem> {
  const problem = (await response.json()) as Problem;
  assert.equal(problem.code, code, JSON.stringify(problem));
  assert.equal(response.status, statusOf(problem.code));
  assert.equal(problem.status, response.status);
  assert.match(response.headers.get('content-type') ?? '', /^application\/problem\+json/);
  assert.equal(problem.requestId, response.headers.get('x-request-id'));
  assert.equal(problem.type, `urn:holdfast:problem:${code}`);
  if (field !== undefined) assert.equal(problem.field, field);
  return problem;
}

function rawRequest(line: string, headers: readonly string[] = [], body = ''): string {
  return [line, 'Host: 127.0.0.1', `Authorization: Bearer ${tokenOf('admin')}`, ...headers, '', body].join(
    '\r\n',
  );
}

describe('service records over HTTP', () => {
  const server = suiteServer();

  test('PUT of an unknown uuid registers (201) and of a known one sets (200); both tag the version', async () => {
    const { call } = await server;
    const uuid = '0190a1b2-0000-7000-8000-0000000000ff';
    const created = await call(`/v1/services/${uuid}`, {
      method: 'PUT',
      json: { type: 'db', host: 'Edge-9', ttl: '1m' },
    });
    assert.equal(created.status, 201);
    assert.equal(created.headers.get('etag'), '"1"');
    const body = (await created.json()) as Record<string, unknown>;
    assert.deepEqual(
      [body['host'], body['ttl'], body['status'], body['heldBy']],
      ['edge-9', 60, 'UP', 'registry'],
    );
    const set = await call(`/v1/services/${uuid.toUpperCase().replaceAll('-', '')}`, {
      method: 'PUT',
      json: { status: 'DOWN' },
    });
    assert.equal(set.status, 200);
    assert.equal(set.headers.get('etag'), '"2"');
    // A record sent back with its read-only fields is accepted.
    assert.equal((await call(`/v1/services/${uuid}`, { method: 'PUT', json: await set.json() })).status, 200);
    const other = '0190a1b2-0000-7000-8000-0000000000fe';
    await refused(
      await call(`/v1/services/${uuid}`, { method: 'PUT', json: { uuid: other, status: 'DOWN' } }),
      'bad-request',
      'uuid',
    );
    assert.equal((await call(`/v1/services/${uuid}`, { method: 'DELETE' })).status, 204);
    await refused(await call(`/v1/services/${uuid}`), 'not-found');
  });

  test('POST mints (201); a taken place is a conflict with its holder', async () => {
    const { call } = await server;
    assert.equal(
      (await call('/v1/services', { method: 'POST', json: { type: 'cache', host: 'edge-1' } })).status,
      201,
    );
    const problem = await refused(
      await call('/v1/services', { method: 'POST', json: { type: 'web', host: 'edge-1' } }),
      'conflict',
    );
    assert.equal(problem['holder'], knownUuid);
    assert.equal((await call('/v1/services?type=cache&host=EDGE-1', { method: 'DELETE' })).status, 204);
    await refused(await call('/v1/services?type=cache', { method: 'DELETE' }), 'bad-request', 'host');
  });

  test('a heartbeat takes no body, an empty one, {} and nothing else', async () => {
    const { call } = await server;
    const path = `/v1/services/${knownUuid}/heartbeat`;
    assert.equal((await call(path, { method: 'POST' })).status, 200);
    assert.equal((await call(path, { method: 'POST', json: {} })).status, 200);
    assert.equal((await call(path, { method: 'POST', headers: json })).status, 200);
    await refused(await call(path, { method: 'POST', json: { ttl: 5 } }), 'bad-request');
    await refused(
      await call(path, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } }),
      'unsupported',
    );
  });

  test('heartbeats of many answer each', async () => {
    const { call } = await server;
    const unknown = '0190a1b2-0000-7000-8000-00000000eeee';
    const answer = await call('/v1/heartbeats', {
      method: 'POST',
      json: { items: [{ uuid: knownUuid }, { uuid: unknown }] },
    });
    assert.deepEqual(await answer.json(), {
      items: [
        { uuid: knownUuid, code: null, status: 'UP' },
        { uuid: unknown, code: 'not-found' },
      ],
    });
    await refused(
      await call('/v1/heartbeats', { method: 'POST', json: { items: [{ uuid: knownUuid }, { uuid: 'x' }] } }),
      'bad-request',
      'items/1/uuid',
    );
    await refused(
      await call('/v1/heartbeats', {
        method: 'POST',
        json: { items: Array.from({ length: 1_001 }, () => ({ uuid: knownUuid })) },
      }),
      'too-large',
      'items',
    );
  });

  test('is-up answers by uuid, by type and host, for unknown ones, and for many', async () => {
    const { call } = await server;
    const one = (await (await call(`/v1/is-up?uuid=${knownUuid}`)).json()) as Record<string, unknown>;
    assert.deepEqual(
      [one['up'], one['known'], one['reason'], one['maintenance'], one['ageMs']],
      [true, true, null, null, 0],
    );
    assert.deepEqual(Object.keys(one), [
      'up',
      'known',
      'reason',
      'maintenance',
      'confirmed',
      'stale',
      'asOf',
      'ageMs',
    ]);
    const unknown = await call('/v1/is-up?type=none&host=nowhere');
    assert.equal(unknown.status, 200);
    assert.equal(((await unknown.json()) as { known: boolean }).known, false);
    const many = await call('/v1/is-up', {
      method: 'POST',
      json: { items: [{ uuid: knownUuid }, { type: 'web', host: 'EDGE-1' }] },
    });
    assert.equal(
      ((await many.json()) as { items: { up: boolean }[] }).items.filter(({ up }) => up).length,
      2,
    );
    await refused(await call('/v1/is-up'), 'bad-request', 'type');
    await refused(await call('/v1/is-up?type=web'), 'bad-request', 'host');
    await refused(await call(`/v1/is-up?uuid=${knownUuid}&type=web`), 'bad-request', 'uuid');
  });

  test('lists have position, repeatable filters and a limit', async () => {
    const { call, liveness } = await server;
    const list = (await (
      await call('/v1/services?status=UP&status=DOWN&host=EDGE-1&limit=7')
    ).json()) as Record<string, unknown>;
    assert.deepEqual(Object.keys(list), ['items', 'next', 'asOf', 'position', 'stale']);
    assert.equal(list['position'], '7.3');
    assert.equal(liveness.calls.at(-1), 'list {"host":["edge-1"],"status":["UP","DOWN"]} {"limit":7}');
    await refused(await call('/v1/services?status=SIDEWAYS'), 'bad-request', 'status/0');
    await refused(await call('/v1/services?limit=0'), 'bad-request', 'limit');
    await refused(await call('/v1/services?limit=1001'), 'bad-request', 'limit');
    await refused(await call('/v1/services?limit=x'), 'bad-request', 'limit');
    await refused(await call('/v1/services?limit=1&limit=2'), 'bad-request', 'limit');
    await refused(await call('/v1/services?colour=red'), 'bad-request', 'colour');
  });

  test('maintenance is planned with or without a body, and ended', async () => {
    const { call } = await server;
    const path = `/v1/services/${knownUuid}/maintenance`;
    const planned = (await (await call(path, { method: 'PUT', json: { note: 'disk' } })).json()) as {
      maintenance: Record<string, unknown>;
    };
    assert.deepEqual(
      [planned.maintenance['note'], planned.maintenance['end'], planned.maintenance['active']],
      ['disk', null, true],
    );
    assert.equal((await call(path, { method: 'PUT' })).status, 200);
    await refused(
      await call(path, {
        method: 'PUT',
        json: { start: '2026-02-01T00:00:00Z', end: '2026-01-01T00:00:00Z' },
      }),
      'bad-request',
      'end',
    );
    await refused(await call(path, { method: 'PUT', json: { start: 'tomorrow' } }), 'bad-request', 'start');
    assert.equal(
      ((await (await call(path, { method: 'DELETE' })).json()) as { maintenance: null }).maintenance,
      null,
    );
  });

  test('If-None-Match answers 304 without a body', async () => {
    const { call } = await server;
    const etag = (await call(`/v1/services/${knownUuid}`)).headers.get('etag') ?? '';
    for (const tag of [etag, `W/${etag}, "x"`, '*']) {
      const same = await call(`/v1/services/${knownUuid}`, { headers: { 'if-none-match': tag } });
      assert.equal(same.status, 304);
      assert.equal(await same.text(), '');
    }
    assert.equal(
      (await call(`/v1/services/${knownUuid}`, { headers: { 'if-none-match': '"0"' } })).status,
      200,
    );
    assert.equal((await call('/v1/hosts/edge-1')).headers.get('etag'), '"4"');
  });
});

describe('errors over HTTP', () => {
  const server = suiteServer();

  test('every code reaches the client with its status, field, details and Retry-After', async () => {
    const { call, liveness } = await server;
    for (const code of errorCodes) {
      liveness.failure = new AppError(code, 'Cannot do it', {
        field: 'x',
        details: { holder: 'h' },
        retryAfterMs: 1_200,
      });
      const response = await call(`/v1/services/${knownUuid}`);
      const problem = await refused(response, code, 'x');
      assert.equal(problem['holder'], 'h');
      assert.equal(response.headers.get('retry-after'), '2');
      assert.equal(response.headers.has('www-authenticate'), code === 'unauthenticated');
    }
  });

  test('F15: an unexpected error is internal; its words stay in the log', async (t) => {
    const logged: Record<string, unknown>[] = [];
    const logger: Logger = { ...silentLogger, error: (fields) => logged.push(fields) };
    const { call, liveness } = await startServer(t, { logger });
    for (const failure of [new Error('secret path /etc/x'), 'a string', { code: 'SQLITE_CORRUPT' }]) {
      liveness.failure = failure;
      const problem = await refused(
        await call(`/v1/services/${knownUuid}`, { headers: { 'x-request-id': 'mine 1' } }),
        'internal',
      );
      assert.doesNotMatch(JSON.stringify(problem), /secret|etc|string|SQLITE/);
      assert.equal(problem.requestId, 'mine 1');
      assert.equal(logged.at(-1)?.['requestId'], 'mine 1');
      assert.equal(String(logged.at(-1)?.['err']), String(failure));
    }
  });

  test('X-Request-Id is accepted when sane, minted otherwise, and unique', async () => {
    const { call } = await server;
    const ids = await Promise.all([1, 2].map(async () => (await call('/livez')).headers.get('x-request-id')));
    assert.notEqual(ids[0], ids[1]);
    const long = 'x'.repeat(129);
    assert.notEqual(
      (await call('/livez', { headers: { 'x-request-id': long } })).headers.get('x-request-id'),
      long,
    );
    assert.equal(
      (await call('/livez', { headers: { 'x-request-id': 'trace/1' } })).headers.get('x-request-id'),
      'trace/1',
    );
  });

  test('F1: bodies: malformed, too deep, unknown field, wrong type, wrong charset, encoded, too large', async () => {
    const { call } = await server;
    const put = (body: string | Uint8Array, headers: Record<string, string> = json) =>
      call(`/v1/services/${knownUuid}`, { method: 'PUT', body, headers });
    for (const body of [
      '{',
      '',
      'nul',
      '{"ttl":1e400}',
      '{"type":"\\ud800"}',
      '\ufeff{}',
      '[]',
      '"x"',
      '{"a":1}{}',
      '{"ttl":NaN}',
    ])
      await refused(await put(body), 'bad-request');
    await refused(await put(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 'bad-request');
    await refused(await put(`{"reason":${'['.repeat(500_000)}`), 'bad-request');
    await refused(await put(`{"reason":${'['.repeat(33)}${']'.repeat(33)}}`), 'bad-request');
    await refused(await put('{"colour":1}'), 'bad-request', 'colour');
    await refused(await put('{"__proto__":{"status":"UP"}}'), 'bad-request', '__proto__');
    await refused(await put('{"status":"sideways"}'), 'bad-request', 'status');
    await refused(await put('{"type":1}'), 'bad-request', 'type');
    await refused(await put('{"ttl":"1 fortnight"}'), 'bad-request', 'ttl');
    await refused(await put('{"ttl":true}'), 'bad-request', 'ttl');
    await refused(await put('{"version":"1"}'), 'bad-request', 'version');
    await refused(
      await put('{}', { 'content-type': 'application/json; charset=latin1' }),
      'unsupported',
      'content-type',
    );
    await refused(await put('{}', { 'content-type': 'application/xml' }), 'unsupported');
    await refused(await put('{}', { 'content-type': '///' }), 'unsupported');
    await refused(
      await put('{}', { ...json, 'content-encoding': 'gzip' }),
      'unsupported',
      'content-encoding',
    );
    await refused(await put(`{"type":"${'x'.repeat(1_048_576)}"}`), 'too-large');
    await refused(
      await call(`/v1/services/${knownUuid}/heartbeat`, {
        method: 'POST',
        headers: json,
        body: ' '.repeat(65_537),
      }),
      'too-large',
    );
    assert.equal((await put('{}', { 'content-type': 'Application/JSON; Charset="UTF-8"' })).status, 200);
    assert.equal(({} as Record<string, unknown>)['status'], undefined);
  });

  test('F10: names in paths are decoded once, after routing; what is no path is refused', async () => {
    const { call, components } = await server;
    assert.equal((await call('/v1/hosts/shop%2Fapi/components')).status, 200);
    assert.equal((await call('/v1/hosts/shop%252Fapi/components')).status, 200);
    assert.equal((await call('/v1/hosts/caf%C3%A9/components')).status, 200);
    assert.deepEqual(components.asked.slice(-3), ['shop/api', 'shop%2Fapi', 'café']);
    for (const path of [
      '/v1/hosts/%zz',
      '/v1/hosts/%00',
      '/v1/hosts/a%00b/components',
      '/v1/hosts/%ff',
      '/v1/services?type=%00',
    ])
      await refused(await call(path), 'bad-request');
    await refused(await call('/v1/services/'), 'bad-request', 'uuid');
    await refused(await call(`/v1/hosts/${'x'.repeat(4_000)}`), 'bad-request');
    await refused(await call(`/v1/services?cursor=${'x'.repeat(9_000)}`), 'bad-request', 'url');
    for (const path of [
      '/v1/Services',
      '/v1//services',
      '/v1/hosts/a/b/components',
      '/V1/services',
      '/v1',
      '/v1/',
      '/v1/services;x',
    ]) {
      const response = await call(path);
      assert.equal(response.status, 404, path);
    }
    const { port } = await server;
    for (const path of ['/v1/../livez', '/v1/hosts/../services', '/v1/hosts/%2e%2e/components/..']) {
      assert.match(
        await raw(port, rawRequest(`GET ${path} HTTP/1.1`, ['Connection: close'])),
        /^HTTP\/1.1 404 /,
      );
    }
  });

  test('unknown paths: 401 then 404 under /v1, the old form elsewhere', async () => {
    const { call } = await server;
    await refused(await call('/v1/nope', { role: null }), 'unauthenticated');
    await refused(await call('/v1/nope'), 'not-found');
    await refused(await call('/v1/nope', { headers: { authorization: 'Bearer wrong' } }), 'unauthenticated');
    const elsewhere = await call('/nope?x=1', { role: null });
    assert.equal(elsewhere.status, 404);
    assert.deepEqual(await elsewhere.json(), { code: 404, message: 'path /nope was not found' });
    assert.equal((await call('/nope', { role: null, method: 'POST', body: 'x'.repeat(70_000) })).status, 404);
  });

  test('F11: wrong methods are 405 with Allow; HEAD is GET without a body; unknown methods too', async () => {
    const { call, port } = await server;
    const wrong = await call('/v1/services', { method: 'PATCH', json: {} });
    assert.equal(wrong.headers.get('allow'), 'DELETE, GET, HEAD, POST');
    await refused(wrong, 'method-not-allowed');
    const options = await call('/v1/hosts/edge-1/heartbeat', { method: 'OPTIONS' });
    assert.equal(options.headers.get('allow'), 'POST');
    assert.equal(options.headers.get('access-control-allow-origin'), null);
    await refused(options, 'method-not-allowed');
    await refused(await call('/livez', { method: 'POST', role: null }), 'method-not-allowed');
    const head = await call(`/v1/services/${knownUuid}`, { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.ok(Number(head.headers.get('content-length')) > 100);
    assert.equal((await call('/v1/events', { method: 'HEAD' })).status, 405);
    assert.equal((await call('/v1/services', { method: 'HEAD', role: null })).status, 401);
    assert.match(
      await raw(port, rawRequest('PROPFIND /v1/services HTTP/1.1', ['Connection: close'])),
      /^HTTP\/1.1 405 .*Allow: DELETE, GET/is,
    );
    assert.match(
      await raw(port, rawRequest('BREW /v1/services HTTP/1.1')),
      /^HTTP\/1.1 400 .*"code":"bad-request"/s,
    );
  });
});

describe('raw requests', () => {
  const server = suiteServer();

  test('F8: what is not HTTP, or is two things at once, is refused and the connection closed', async () => {
    const { port } = await server;
    const post = `POST /v1/services/${knownUuid}/heartbeat HTTP/1.1`;
    const cases: [string, string][] = [
      ['garbage', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
      ['not HTTP', 'HELO example.com\r\n\r\n'],
      ['CL and TE', rawRequest(post, ['Content-Length: 4', 'Transfer-Encoding: chunked'], '0\r\n\r\n')],
      ['two lengths', rawRequest(post, ['Content-Length: 2', 'Content-Length: 3'], '{}x')],
      ['odd TE', rawRequest(post, ['Transfer-Encoding: chunked, identity'], '0\r\n\r\n')],
      [
        'bad chunk',
        rawRequest(
          post,
          ['Content-Type: application/json', 'Transfer-Encoding: chunked'],
          'zz\r\n{}\r\n0\r\n\r\n',
        ),
      ],
      ['obs-fold', rawRequest('GET /livez HTTP/1.1', ['X-A: 1', ' folded'])],
      ['LF only', 'GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n'],
      ['space before colon', rawRequest('GET /livez HTTP/1.1', ['X-A : 1'])],
      ['HTTP/9', 'GET /livez HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n'],
      ['negative length', rawRequest(post, ['Content-Length: -1'])],
    ];
    for (const [name, bytes] of cases) {
      const answer = await raw(port, bytes);
      assert.match(answer, /^HTTP\/1.1 400 .*"code":"bad-request".*"requestId":"/s, name);
      assert.equal(answer.split('HTTP/1.1 4').length, 2, `${name}: one answer`);
    }
  });

  test('F8: no Host and two Hosts are refused', async () => {
    const { port } = await server;
    assert.match(
      await raw(port, 'GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n'),
      /^HTTP\/1.1 400 .*"field":"host"/s,
    );
    assert.match(
      await raw(port, 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\nConnection: close\r\n\r\n'),
      /^HTTP\/1.1 400 .*"field":"host"/s,
    );
  });

  test('F8: header floods: too many, too large', async () => {
    const { port } = await server;
    const many = Array.from({ length: 2_000 }, (_, index) => `X-${index}: 1`);
    assert.match(
      await raw(port, rawRequest('GET /livez HTTP/1.1', many)),
      /^HTTP\/1.1 431 .*"code":"headers-too-large"/s,
    );
    assert.match(
      await raw(port, rawRequest('GET /livez HTTP/1.1', many.slice(0, 101).concat('Connection: close'))),
      /^HTTP\/1.1 431 .*"code":"headers-too-large"/s,
    );
    assert.match(
      await raw(port, rawRequest('GET /livez HTTP/1.1', [`X-Big: ${'x'.repeat(20_000)}`])),
      /^HTTP\/1.1 431 /,
    );
    assert.match(
      await raw(port, `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`),
      /^HTTP\/1.1 431 /,
    );
  });

  test('pipelined requests are answered in order', async () => {
    const { port } = await server;
    const one = rawRequest(`GET /v1/is-up?uuid=${knownUuid} HTTP/1.1`);
    const two = rawRequest('GET /version HTTP/1.1', ['Connection: close']);
    const answer = await raw(port, one.repeat(100) + two);
    const bodies = answer.split('HTTP/1.1 200 OK').slice(1);
    assert.equal(bodies.length, 101);
    assert.ok(bodies.slice(0, 100).every((body) => body.includes('"known":true')));
    assert.match(bodies[100] ?? '', /"wire":\[1\]/);
  });

  test('a body is not asked for before its sender is known (Expect: 100-continue)', async () => {
    const { port } = await server;
    const expecting = [
      'Expect: 100-continue',
      'Content-Type: application/json',
      'Content-Length: 2',
      'Connection: close',
    ];
    const path = `POST /v1/services/${knownUuid}/heartbeat HTTP/1.1`;
    const stranger = await raw(port, rawRequest(path, expecting).replace('Bearer t-admin', 'Bearer x'), {
      until: /requestId/,
    });
    assert.match(stranger, /^HTTP\/1.1 401 /);
    assert.match(
      await raw(port, rawRequest(path, expecting), { until: /100 Continue/ }),
      /^HTTP\/1.1 100 Continue/,
    );
    assert.match(
      await raw(port, rawRequest('GET /livez HTTP/1.1', ['Expect: a-pony', 'Connection: close'])),
      /^HTTP\/1.1 400 .*"field":"expect"/s,
    );
  });

  test('F2: a large body of a stranger is refused from its head, and the connection closed', async () => {
    const { port } = await server;
    const answer = await raw(
      port,
      `POST /v1/services HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n{`,
    );
    assert.match(answer, /^HTTP\/1.1 401 .*connection: close/is);
  });

  test('F7: slow headers and slow bodies are cut with 408', async (t) => {
    const { port } = await startServer(t, { limits: { headerTimeMs: 200, requestTimeMs: 400 } });
    assert.match(await raw(port, 'GET /livez HTTP/1.1\r\nHost: 127'), /^HTTP\/1.1 408 .*"code":"too-slow"/s);
    const body = rawRequest(
      `PUT /v1/services/${knownUuid} HTTP/1.1`,
      ['Content-Type: application/json', 'Content-Length: 20'],
      '{"type"',
    );
    assert.match(await raw(port, body), /^HTTP\/1.1 408 .*"code":"too-slow"/s);
  });

  test('F9: connections over the limit are closed at once; those that are there go on', async (t) => {
    const { port } = await startServer(t, { limits: { connectionsMax: 1 } });
    const first = connect(port, '127.0.0.1');
    await new Promise((resolve) => first.once('connect', resolve));
    assert.equal(await raw(port, rawRequest('GET /livez HTTP/1.1')), '');
    first.write(rawRequest('GET /livez HTTP/1.1'));
    assert.match(
      await new Promise<string>((resolve) => first.once('data', (data) => resolve(String(data)))),
      /^HTTP\/1.1 200 /,
    );
    first.destroy();
  });

  test('an h2c offer is passed over', async () => {
    const { port } = await server;
    const answer = await raw(
      port,
      rawRequest('GET /livez HTTP/1.1', [
        'Connection: Upgrade, HTTP2-Settings',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABk',
      ]),
      { until: /"status":"ok"/ },
    );
    assert.match(answer, /^HTTP\/1.1 200 /);
  });
});

describe('close', () => {
  test('close() lets requests in flight finish, refuses new ones, and ends idle connections', async (t) => {
    const gate = Promise.withResolvers<object>();
    const { server, call, port } = await startServer(t, { services: { status: () => gate.promise } });
    const idle = connect(port, '127.0.0.1');
    await new Promise((resolve) => idle.once('connect', resolve));
    const idleClosed = new Promise((resolve) => idle.once('close', resolve));
    const inFlight = call('/v1/status');
    await call('/livez');
    const closed = server.close();
    await idleClosed;
    await assert.rejects(call('/livez'));
    gate.resolve({ done: true });
    const response = await inFlight;
    assert.equal(response.headers.get('connection'), 'close');
    assert.deepEqual(await response.json(), { done: true });
    await closed;
    await server.close();
  });

  test('close() cuts what does not finish within the limit', async (t) => {
    const { server, call } = await startServer(t, {
      limits: { drainMs: 100 },
      services: { status: () => Promise.withResolvers<object>().promise },
    });
    const stuck = assert.rejects(call('/v1/status'));
    await call('/livez');
    await server.close();
    await stuck;
  });
});

/** One server for the tests of a suite. */
function suiteServer(): Promise<TestServer> {
  return startServer({ after });
}
