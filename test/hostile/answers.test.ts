/** What answers, logs and metrics must not do: obey foreign names, repeat what moves a cursor, tell too much, or grow. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { routesOf } from '../../src/http/routes.ts';
import { AccessStore } from '../../src/store/access.ts';
import { keepAdminToken } from '../../src/store/admin-token.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { bundleProgram } from '../helpers/bundle.ts';
import { FakeClock } from '../helpers/clock.ts';
import { Described } from '../helpers/described.ts';
import { agentArguments, portOf, reach, registryArguments, startProcess } from '../helpers/process.ts';
import { SeededRandom } from '../helpers/random.ts';
import { raw } from '../helpers/raw.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { assertRefused, assertUnharmed, head, joinedHost, targets, uuidOf } from './world.ts';

test('F12: a loopback listener answers to no foreign name, for no page of another origin, and trusts no cookie', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    for (const path of ['/livez', '/metrics', '/openapi.json', '/v1/status', '/v1/watch', '/v1/events']) {
      for (const host of [
        'evil.example',
        'localhost.evil.example',
        '127.0.0.1.evil.example',
        '10.0.0.1',
        'local host',
      ]) {
        const answer = await target.http({ path, headers: { host } });
        assertRefused(answer, 'forbidden', `Host ${host} on ${path}`);
      }
      for (const origin of [
        'http://evil.example',
        'null',
        'file://',
        'http://localhost.evil.example',
        'https://127.0.0.1:1',
      ]) {
        const answer = await target.http({ path, headers: { origin } });
        assertRefused(answer, 'forbidden', `Origin ${origin} on ${path}`);
        assert.equal(answer.headers['access-control-allow-origin'], undefined);
      }
    }
    assert.match(
      await raw(target.port, 'GET /livez HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n'),
      /^HTTP\/1\.1 403 /,
      'an empty Host',
    );
    const preflight = await target.http({
      method: 'OPTIONS',
      path: '/v1/services',
      headers: { origin: target.url, 'access-control-request-method': 'DELETE' },
    });
    assert.equal(preflight.headers['access-control-allow-methods'], undefined);
    const cookie = `token=${target.token}; authorization=Bearer ${target.token}`;
    const byCookie = await target.http({ path: '/v1/status', token: undefined, headers: { cookie } });
    assertRefused(byCookie, 'unauthenticated', 'a cookie');
    for (const query of ['token', 'access_token', 'authorization'])
      assert(
        (await target.http({ path: `/v1/status?${query}=${target.token}`, token: undefined })).status >= 400,
      );
    assert.equal((await target.http({ path: '/v1/status' })).headers['set-cookie'], undefined);
  }
});

/** What a terminal or a reader of lines would obey. */
const evil = [
  '\r\nX-Injected: 1',
  '\n{"level":"error","msg":"forged"}',
  '\u001b[2J\u001b[31m',
  '\u009b2J',
  '\u0007',
  '\u202e',
  '\u2028',
];

test('F14: whatever is sent, a log line stays one line of JSON without control characters', async (t) => {
  const program = await bundleProgram(tempFolder(t));
  const debug = ['--log-level', 'debug'];
  const processes = [
    startProcess(t, [...registryArguments(tempFolder(t)), ...debug], program),
    startProcess(t, [...agentArguments(tempFolder(t), { registry: null }), ...debug], program),
  ] as const;
  const names = ['registry', 'agent'] as const;
  for (const [index, started] of processes.entries()) {
    const { url, token, http } = reach(t, await started.ready(names[index] ?? 'agent'));
    for (const text of evil) {
      const encoded = encodeURIComponent(text);
      const body = { type: `a${text}`, host: `b${text}`, region: text };
      for (const answer of [
        await http({ path: `/v1/services/${encoded}` }),
        await http({ path: `/v1/${encoded}` }),
        await http({ path: `/${encoded}` }),
        await http({ path: `/v1/services?${encoded}=1` }),
        await http({ path: `/v1/services?cursor=${encoded}` }),
        await http({ method: 'PUT', path: `/v1/services/${uuidOf(1)}`, body }),
        await http({ method: 'PUT', path: `/v1/services/${uuidOf(1)}`, body: { [text]: 1 } }),
        await http({ method: 'POST', path: '/v1/tokens', body: { role: 'viewer', subject: text } }),
        await http({ path: '/livez', headers: { 'user-agent': 'x', referer: encoded } }),
      ]) {
        assert(!/(?!\n)[\p{C}\p{Zl}\p{Zp}]/u.test(answer.text), JSON.stringify(answer.text));
        assert.equal(answer.headers['x-injected'], undefined);
      }
      // Bytes that no client sends.
      const line = `GET /v1/${Buffer.from(text).toString('latin1')} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\nX-Request-Id: ${Buffer.from(text).toString('latin1')}\r\nConnection: close\r\n\r\n`;
      await raw(portOf(url), line);
    }
    await started.kill('SIGTERM');
    const lines = started.stderr().split('\n').slice(0, -1);
    assert(lines.length > evil.length * 5, `${lines.length} lines: nothing was logged`);
    for (const logged of lines) {
      assert.doesNotThrow(() => JSON.parse(logged), `no JSON: ${logged}`);
      assert(!/[\p{C}\p{Zl}\p{Zp}]/u.test(logged), `raw in the log: ${JSON.stringify(logged)}`);
      assert.notEqual((JSON.parse(logged) as { msg: string }).msg, 'forged');
      assert(!logged.includes(token), 'the token is in the log');
    }
  }
});

test('F15: refusals tell neither a stack, nor a path, nor a statement, and no more to a stranger than that', async (t) => {
  const { both, registry } = await targets(t);
  const host = await joinedHost(registry, 'known');
  for (const target of both) {
    const refusals: string[] = [];
    for (const route of routesOf(target.kind)) {
      if (route.operation.streams || route.path === '/v1/backup') continue;
      for (const fill of ['nobody', "'%20OR%201=1--", '%22%3B', uuidOf(9)]) {
        const path = route.path.replaceAll(/:\w+/g, fill);
        const body = route.method === 'GET' ? undefined : '{"type":{"$gt":""},"x":1}';
        const { status, text } = await target.http({
          method: route.method,
          path,
          body,
          headers: body === undefined ? {} : { 'content-type': 'application/json' },
        });
        assert(status < 500, `${route.method} ${path}: ${status} ${text}`);
        if (status >= 400) refusals.push(text);
      }
    }
    assert(refusals.length > 20);
    for (const text of refusals) {
      assert(
        !/\bat .*:\d+:\d+|node:|node_modules|\/src\/|\.ts\b|sqlite|kysely|SELECT |INSERT /i.test(text),
        text,
      );
      assert(!text.includes(target.dataDir), text);
    }
    // The same to a stranger whether a thing is there or not.
    const seen = new Set<string>();
    for (const path of [
      `/v1/services/${uuidOf(1)}`,
      `/v1/services/${uuidOf(2)}`,
      '/v1/status',
      '/v1/nothing',
      `/v1/hosts/${host.id}`,
      '/v1/hosts/nobody',
    ]) {
      const { status, text, headers } = await target.http({ path, token: undefined });
      seen.add(`${status} ${text.replace(/"requestId":"[^"]*"/, '')} ${headers['www-authenticate']}`);
    }
    assert.equal(seen.size, 1, [...seen].join('\n'));
  }
});

test('F15: a token that is nearly right is refused as fast as one that is all wrong', async (t) => {
  const clock = new FakeClock();
  const store = await openStore({
    role: 'registry',
    dataDir: tempFolder(t),
    clock,
    limits: { ballastBytes: 0 },
  });
  t.after(() => store.close());
  const access = await AccessStore.open({ store, clock, random: new SeededRandom() });
  const file = join(tempFolder(t), 'admin.token');
  await keepAdminToken({ access, file });
  const real = readFileSync(file, 'utf8').trim();
  assert.equal(access.authenticate(real).role, 'admin');
  const [prefix = '', secret = ''] = [real.slice(0, real.length - 43), real.slice(-43)];
  const kinds = {
    'all wrong': `hf_${'x'.repeat(prefix.length - 4)}_${'y'.repeat(43)}`,
    'known id': `${prefix}${'y'.repeat(43)}`,
    'all but the last character': real.slice(0, -1) + (real.endsWith('A') ? 'E' : 'A'),
    'another id with the secret': `hf_${'x'.repeat(prefix.length - 4)}_${secret}`,
  };
  const medians = new Map<string, number>();
  const taken = new Map(Object.keys(kinds).map((name) => [name, [] as number[]]));
  for (let round = 0; round < 10_000; round += 1) {
    for (const [name, token] of Object.entries(kinds)) {
      const startedMs = performance.now();
      assert.throws(() => access.authenticate(token), { code: 'unauthenticated' });
      taken.get(name)?.push(performance.now() - startedMs);
    }
  }
  for (const [name, times] of taken) medians.set(name, times.sort((a, b) => a - b)[times.length >> 1] ?? 0);
  const values = [...medians.values()];
  t.diagnostic([...medians].map(([name, ms]) => `${name} ${(ms * 1_000).toFixed(1)} µs`).join(', '));
  assert(Math.max(...values) - Math.min(...values) < 1, 'row F15: less than 1 ms apart');
  assert(Math.max(...values) < 3 * Math.min(...values) + 0.005, 'no kind stands out');
});

test('F17: thousands of ids, paths, names, methods and tokens make no new series', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    const request = (n: number) =>
      [
        head(target, `GET /v1/services/${uuidOf(n)} HTTP/1.1`, [
          `User-Agent: a-${n}`,
          `X-Request-Id: r-${n}`,
        ]),
        head(target, `GET /v1/nothing-${n} HTTP/1.1`),
        head(target, `GET /nothing-${n}?q=${n} HTTP/1.1`),
        head(target, `GET /v1/is-up?type=t${n}&host=h${n} HTTP/1.1`),
        head(target, `${['PUT', 'LOCK', 'PURGE', 'SEARCH'][n % 4]} /livez HTTP/1.1`, ['Content-Length: 0']),
        head(target, `POST /v1/services/${uuidOf(n)}/heartbeat HTTP/1.1`, ['Content-Length: 0']),
      ].join('');
    const pour = async (from: number, to: number) => {
      let bytes = '';
      for (let n = from; n < to; n += 1) bytes += request(n);
      const answer = await raw(
        target.port,
        bytes + head(target, 'GET /livez HTTP/1.1', ['Connection: close']),
      );
      assert(answer.endsWith('{"status":"ok","checks":{}}'), answer.slice(-200));
    };
    const series = async () =>
      (await target.http({ path: '/metrics' })).text
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'));
    await pour(0, 8);
    await series();
    const before = await series();
    await pour(8, 1_000);
    const after = await series();
    assert.equal(after.length, before.length, 'series were added');
    for (let n = 0; n < 300; n += 1)
      await target.http({
        method: 'PUT',
        path: `/v1/services/${uuidOf(n)}`,
        body: {
          type: `type-${n}`,
          host: target.kind === 'agent' ? 'edge-1' : `host-${n}`,
          region: `region-${n}`,
        },
      });
    const records = await series();
    // What a PUT adds is one route's: its statuses, its buckets.
    assert(records.length <= after.length + 20, `${records.length - after.length} series more`);
    assert(!records.some((line) => /type-\d|host-\d|region-\d|nothing|t\d+&/.test(line)));
    await assertUnharmed(target);
  }
});

test('F18: every answer that is got in a whole life of a record, a host, a token and a watch is as described', async (t) => {
  const { both, registry } = await targets(t);
  for (const target of both) {
    const described = await Described.of(target.http);
    const ask = async (
      method: string,
      template: string,
      path: string,
      more: { body?: unknown; token?: string | undefined } = {},
    ) => {
      const answer = await target.http({ method, path, ...more });
      described.check(described.operation(method, template), answer);
      return answer;
    };
    const one = '/v1/services/{uuid}';
    const path = `/v1/services/${uuidOf(1)}`;
    const body = { type: 'web', host: 'edge-1', region: 'eu', ttl: '30s' };
    for (const [method, template, url, more] of [
      ['GET', one, path, {}],
      ['PUT', one, path, { body: {} }],
      ['PUT', one, path, { body }],
      ['PUT', one, path, { body: { status: 'DOWN' } }],
      ['PUT', one, path, { body: { status: 'SIDEWAYS' } }],
      ['PUT', one, path, { body: { version: 1 } }],
      ['PUT', one, `/v1/services/${uuidOf(2)}`, { body }],
      ['GET', one, path, {}],
      ['GET', '/v1/services', '/v1/services?status=DOWN&limit=1', {}],
      ['GET', '/v1/services', '/v1/services?limit=0', {}],
      ['GET', '/v1/services', '/v1/services?cursor=nonsense', {}],
      ['POST', '/v1/services', '/v1/services', { body: { type: 'other', host: 'edge-1' } }],
      ['POST', '/v1/services', '/v1/services', { body: { type: 'other', host: 'edge-1' } }],
      ['POST', `${one}/heartbeat`, `${path}/heartbeat`, {}],
      ['POST', `${one}/heartbeat`, `/v1/services/${uuidOf(7)}/heartbeat`, {}],
      [
        'POST',
        '/v1/heartbeats',
        '/v1/heartbeats',
        { body: { items: [{ uuid: uuidOf(1) }, { uuid: uuidOf(8) }] } },
      ],
      ['PUT', `${one}/maintenance`, `${path}/maintenance`, { body: { note: 'disk', down: true } }],
      [
        'PUT',
        `${one}/maintenance`,
        `${path}/maintenance`,
        { body: { start: '2026-01-02T00:00:00Z', end: '2026-01-01T00:00:00Z' } },
      ],
      ['GET', '/v1/is-up', `/v1/is-up?uuid=${uuidOf(1)}`, {}],
      ['GET', '/v1/is-up', '/v1/is-up?type=web&host=edge-1', {}],
      ['GET', '/v1/is-up', '/v1/is-up', {}],
      [
        'POST',
        '/v1/is-up',
        '/v1/is-up',
        { body: { items: [{ uuid: uuidOf(1) }, { type: 'x', host: 'y' }] } },
      ],
      ['DELETE', `${one}/maintenance`, `${path}/maintenance`, {}],
      ['DELETE', '/v1/services', '/v1/services?type=other&host=edge-1', {}],
      ['DELETE', one, path, {}],
      ['DELETE', one, path, {}],
      ['GET', '/v1/components', '/v1/components', {}],
      ['GET', '/v1/hosts/{host}/components', '/v1/hosts/edge-1/components', {}],
      ['GET', '/v1/status', '/v1/status', {}],
      ['GET', '/v1/config', '/v1/config', {}],
      ['GET', '/v1/whoami', '/v1/whoami', {}],
      ['GET', '/livez', '/livez', {}],
      ['GET', '/readyz', '/readyz', {}],
      ['GET', '/healthz', '/healthz', {}],
      ['GET', '/metrics', '/metrics', {}],
      ['GET', '/version', '/version', {}],
      ['GET', '/openapi.json', '/openapi.json', {}],
    ] as const)
      await ask(method, template, url, more);
    for (const operation of described.operations) {
      if (
        !operation.path.startsWith('/v1') ||
        ['/v1/watch', '/v1/events', '/v1/backup'].includes(operation.path)
      )
        continue;
      const url = operation.path.replaceAll(/\{\w+\}/g, 'nobody');
      for (const token of [undefined, 'hf_wrong'])
        described.check(operation, await target.http({ method: operation.method, path: url, token }));
    }
    const { json } = await ask('POST', '/v1/tokens', '/v1/tokens', {
      body: { role: 'viewer', subject: 'a viewer' },
    });
    await ask('GET', '/v1/tokens', '/v1/tokens');
    await ask('GET', '/v1/tokens/{token}', `/v1/tokens/${json.id}`);
    await ask('PUT', one, path, { body, token: json.token });
    await ask('DELETE', '/v1/tokens/{token}', `/v1/tokens/${json.id}`);
    await ask('GET', '/v1/whoami', '/v1/whoami', { token: json.token });
    t.diagnostic(
      `${target.kind}: ${[...described.looked].map(([status, count]) => `${status} × ${count}`).join(', ')}`,
    );
  }
  const described = await Described.of(registry.http);
  const host = await joinedHost(registry, 'a-host');
  const as = async (method: string, template: string, path: string, more: object = {}) => {
    const answer = await registry.http({ method, path, ...more });
    described.check(described.operation(method, template), answer);
    return answer;
  };
  const own = { epoch: 1, revision: 1, hash: `sha256:${'0'.repeat(64)}` };
  const beat = {
    bootId: 'boot',
    startedAt: '2026-01-01T00:00:00Z',
    seq: 1,
    own,
    seen: null,
    inventory: null,
  };
  await as('POST', '/v1/hosts/{host}/heartbeat', `/v1/hosts/${host.id}/heartbeat`, {
    token: host.token,
    body: beat,
  });
  await as('POST', '/v1/hosts/{host}/heartbeat', `/v1/hosts/${host.id}/heartbeat`, {
    token: host.token,
    body: {},
  });
  await as('POST', '/v1/hosts/{host}/heartbeat', `/v1/hosts/${host.id}/heartbeat`, { body: beat });
  await as('POST', '/v1/hosts/{host}/reports', `/v1/hosts/${host.id}/reports`, {
    token: host.token,
    body: {
      epoch: 1,
      items: [{ seq: 5, type: 'service-deleted', at: '2026-01-01T00:00:00Z', body: { uuid: uuidOf(1) } }],
    },
  });
  await as('GET', '/v1/hosts', '/v1/hosts');
  await as('GET', '/v1/hosts/{host}', `/v1/hosts/${host.id}`);
  await as('GET', '/v1/hosts/{host}', '/v1/hosts/a-host', { token: host.token });
  await as('GET', '/v1/hosts/{host}', '/v1/hosts/nobody');
  await until(() => described.looked.size > 3);
});
