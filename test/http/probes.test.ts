import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { errorCodes } from '../../src/domain/error.ts';
import { openApiDocument } from '../../src/http/openapi.ts';
import { routes, routesOf } from '../../src/http/routes.ts';
import { knownUuid, startServer } from './fakes.ts';

describe('probes', () => {
  const server = startServer({ after });

  test('/livez and /version answer', async () => {
    const { call } = await server;
    assert.deepEqual(await (await call('/livez', { role: null })).json(), { status: 'ok', checks: {} });
    assert.deepEqual(await (await call('/version', { role: null })).json(), {
      version: '1.2.3',
      commit: 'abc',
      wire: [1],
    });
  });

  test('/ping is 503 in the old form while it cannot serve, and while the store does not answer', async (t) => {
    let store: Error | null = null;
    const fakes = await startServer(t, {
      services: {
        async probeStore() {
          if (store !== null) throw store;
          return {
            ...{ dialect: 'sqlite', leader: true, position: '1.1' },
            ...{ writesWaiting: 0, sizeBytes: 1, answerMs: 1 },
          };
        },
      },
    });
    const ping = async () => {
      const response = await fakes.call('/ping', { role: null });
      return [response.status, await response.text(), response.headers.get('retry-after')];
    };
    assert.deepEqual(await ping(), [200, '', null]);
    const down = '{"code":503,"message":"Cannot serve now: /healthz says why, try again"}';
    store = new Error('disk I/O error in /var/lib');
    assert.deepEqual(await ping(), [503, down, '1']);
    store = null;
    assert.deepEqual(await ping(), [200, '', null]);
    fakes.health = { ready: false, checks: {} };
    assert.deepEqual(await ping(), [503, down, '1']);
  });

  test('/readyz and /healthz say 503 with what is wrong', async (t) => {
    const fakes = await startServer(t);
    const answer = async (path: string) => {
      const response = await fakes.call(path);
      return [response.status, await response.json()];
    };
    const checks = {
      store: { status: 'ok' as const },
      registry: { status: 'degraded' as const, detail: 'unreachable for 5s' },
    };
    fakes.health = { ready: true, checks };
    assert.deepEqual(await answer('/readyz'), [200, { status: 'degraded', checks }]);
    assert.deepEqual(await answer('/healthz'), [200, { status: 'degraded', checks }]);
    const failed = { store: { status: 'failed' as const, detail: 'disk full' } };
    fakes.health = { ready: false, checks: failed };
    assert.deepEqual(await answer('/readyz'), [503, { status: 'failed', checks: failed }]);
    assert.deepEqual(await answer('/healthz'), [503, { status: 'failed', checks: failed }]);
    fakes.health = { ready: false, checks: {} };
    assert.deepEqual(await answer('/readyz'), [
      503,
      { status: 'failed', checks: { ready: { status: 'failed' } } },
    ]);
  });

  test('F17: /metrics counts by route, never by URL', async (t) => {
    const { call } = await startServer(t, {
      samples: () => [
        { name: 'holdfast_outbox_reports', help: 'Reports that wait', type: 'gauge', value: 7 },
      ],
    });
    for (let i = 0; i < 20; i += 1) await call(`/v1/hosts/h${i}/components?limit=${i + 1}`);
    for (let i = 0; i < 20; i += 1) await call(`/nope${i}`);
    await call(`/v1/services/${knownUuid}`, { role: null });
    const response = await call('/metrics', { role: null });
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0.0.4/);
    const text = await response.text();
    assert.match(
      text,
      /^holdfast_http_requests_total\{method="GET",route="\/v1\/hosts\/:host\/components",status="200"\} 20$/m,
    );
    assert.match(text, /^holdfast_http_requests_total\{method="",route="none",status="404"\} 20$/m);
    assert.match(
      text,
      /^holdfast_http_requests_total\{method="GET",route="\/v1\/services\/:uuid",status="401"\} 1$/m,
    );
    assert.match(
      text,
      /^holdfast_http_request_duration_seconds_bucket\{method="GET",route="\/v1\/hosts\/:host\/components",le="\+Inf"\} 20$/m,
    );
    assert.match(
      text,
      /^holdfast_http_request_duration_seconds_count\{method="GET",route="\/v1\/hosts\/:host\/components"\} 20$/m,
    );
    assert.match(text, /^holdfast_build_info\{role="registry",version="1.2.3",commit="abc"\} 1$/m);
    assert.match(text, /^holdfast_outbox_reports 7$/m);
    for (const name of [
      'process_resident_memory_bytes',
      'process_cpu_seconds_total',
      'holdfast_event_loop_lag_seconds',
      'holdfast_log_revision',
      'holdfast_watch_subscriptions',
      'holdfast_http_connections',
    ]) {
      assert.match(text, new RegExp(`^${name}[ {]`, 'm'));
      assert.match(text, new RegExp(`^# HELP ${name} .`, 'm'));
    }
    assert.doesNotMatch(text, /nope|h19|NaN|undefined/);
  });

  test('/v1/status, /v1/config and /v1/backup give what the role gives', async (t) => {
    const { call } = await server;
    assert.deepEqual(await (await call('/v1/status')).json(), { role: 'registry' });
    const config = await call('/v1/config');
    assert.deepEqual(
      [config.headers.get('etag'), await config.json()],
      ['"5"', { version: 5, config: { listen: 'x' } }],
    );
    assert.equal((await call('/v1/backup')).status, 422);
    const { Readable } = await import('node:stream');
    const withBackup = await startServer(t, {
      services: { backup: async () => Readable.from([Buffer.from('SQLite'), Buffer.from(' format 3')]) },
    });
    const backup = await withBackup.call('/v1/backup');
    assert.equal(backup.headers.get('content-type'), 'application/vnd.sqlite3');
    assert.equal(await backup.text(), 'SQLite format 3');
    assert.equal((await withBackup.call('/v1/backup', { role: 'operator' })).status, 403);
  });

  test('Idempotency-Key runs a POST that creates once, where the role remembers', async (t) => {
    const stored = new Map<string, { status: number; body: unknown }>();
    const keys: string[] = [];
    const { call } = await startServer(t, {
      services: {
        idempotency: {
          async run(key, caller, fingerprint, fn) {
            keys.push(`${caller.subject} ${key} ${fingerprint.length}`);
            const known = stored.get(key) ?? (await fn());
            stored.set(key, known);
            return known;
          },
        },
      },
    });
    const post = (key: string) =>
      call('/v1/services', {
        method: 'POST',
        json: { type: 'once', host: 'a' },
        headers: { 'idempotency-key': key },
      });
    const first = await post('k1');
    const again = await post('k1');
    assert.deepEqual([first.status, again.status], [201, 201]);
    assert.deepEqual(await again.json(), await first.json());
    assert.equal((await post('k2')).status, 409);
    assert.equal((await post('x'.repeat(129))).status, 400);
    assert.deepEqual(keys.slice(0, 2), ['token:admin k1 64', 'token:admin k1 64']);
  });
});

describe('/openapi.json', () => {
  test('describes every route with its roles, failures and schemas; ids are unique', async (t) => {
    const [registry, agent] = [await startServer(t), await startServer(t, { kind: 'agent' })];
    const describe = async ({ call }: typeof agent) => (await call('/openapi.json', { role: null })).json();
    const ofAgent = (await describe(agent)) as { paths: Record<string, object> };
    const document = (await describe(registry)) as {
      openapi: string;
      info: { license: { name: string } };
      tags: { name: string }[];
      paths: Record<
        string,
        Record<
          string,
          {
            operationId: string;
            tags: string[];
            description: string;
            responses: Record<string, { description: string }>;
            parameters: { name: string; in: string }[];
          }
        >
      >;
      components: { schemas: Record<string, { properties: Record<string, { enum?: string[] }> }> };
    };
    assert.equal(document.openapi, '3.1.0');
    assert.equal(document.info.license.name, 'Apache-2.0');
    const ids = new Set<string>();
    for (const { method, path, on, operation: served } of routes) {
      if (served.legacy !== null) continue;
      if (on === 'agent') {
        assert.ok(path in ofAgent.paths && !(path in document.paths), path);
        continue;
      }
      const operation = document.paths[path.replaceAll(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()];
      assert.ok(operation, `${method} ${path}`);
      assert.ok(!ids.has(operation.operationId));
      ids.add(operation.operationId);
      assert.ok(operation.tags.every((tag) => document.tags.some(({ name }) => name === tag)));
      for (const [, name] of path.matchAll(/:(\w+)/g))
        assert.ok(
          operation.parameters.some((parameter) => parameter.name === name && parameter.in === 'path'),
        );
      assert.ok(Object.keys(operation.responses).some((status) => Number(status) < 300));
    }
    assert.deepEqual(document.components.schemas['Problem']?.properties['code']?.enum, [...errorCodes]);
    const text = JSON.stringify(document);
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g))
      assert.ok(name !== undefined && name in document.components.schemas, name);
  });

  test("the agent's has no routes of the registry", () => {
    const text = JSON.stringify(openApiDocument(routesOf('agent'), { kind: 'agent', version: '1' }));
    assert.ok(text.includes('/v1/is-up') && !text.includes('/v1/join'));
  });
});
