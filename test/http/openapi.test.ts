/** `/openapi.json` as others read it: a public linter, and the routes that are really served. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { systemCaller } from '../../src/domain/access.ts';
import { routes } from '../../src/http/routes.ts';
import { type Booted, Stage, type TestEnd } from '../helpers/boot.ts';

type Kind = 'registry' | 'agent';

interface Described {
  readonly paths: Readonly<
    Record<string, Readonly<Record<string, { readonly operationId: string; readonly responses: object }>>>
  >;
}

function boot(t: TestEnd, kind: Kind): Promise<Booted<unknown>> {
  const stage = Stage.open(t);
  return kind === 'registry' ? stage.registry() : stage.agent({ registry: null });
}

function listed({ paths }: Described): string[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
}

for (const kind of ['registry', 'agent'] as const) {
  describe(`/openapi.json of the ${kind}`, () => {
    it('follows the recommended rules of Redocly', async (t) => {
      const { json, status, headers } = await (await boot(t, kind)).http({ path: '/openapi.json' });
      assert.equal(status, 200);
      assert.match(String(headers['content-type']), /^application\/json/);
      const config = await createConfig({ extends: ['recommended'] });
      const source = JSON.stringify(json);
      const problems = await lintFromString({ source, absoluteRef: '/openapi.json', config });
      assert.deepEqual(
        problems.map(({ ruleId, location }) => `${ruleId} at ${location[0]?.pointer}`),
        // A WebSocket has no 2xx: its one success is 101.
        ['operation-2xx-response at #/paths/~1v1~1watch/get/responses'],
      );
    });

    it('has a linter that can fail', async () => {
      const config = await createConfig({ extends: ['recommended'] });
      const source = '{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{"/a":{"get":{}}}}';
      assert(
        (await lintFromString({ source, absoluteRef: '/openapi.json', config })).some(
          ({ severity }) => severity === 'error',
        ),
      );
    });

    it('lists every route of the table, and nothing else', async (t) => {
      const { json } = await (await boot(t, kind)).http({ path: '/openapi.json' });
      const table = routes
        .filter(({ on, operation }) => (on === 'both' || on === kind) && operation.legacy === null)
        .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`);
      assert.deepEqual(listed(json).sort(), table.sort());
    });

    it('lists nothing that is not served', async (t) => {
      const server = await boot(t, kind);
      const { json } = await server.http({ path: '/openapi.json' });
      // Not the admin.token, which one of the routes ends.
      const { token } = await server.client.tokens.create(systemCaller, { role: 'admin', subject: 'test' });
      for (const route of listed(json)) {
        const [method = '', path = ''] = route.split(' ');
        const filled = path
          .replaceAll(/\{uuid\}/g, '00000000-0000-4000-8000-000000000001')
          .replaceAll(/\{\w+\}/g, 'nobody');
        if (streams.has(path)) continue;
        const { status, text, json: body } = await server.http({ method, path: filled, token });
        // Whatever it thinks of an empty request: the path is known, with this method.
        assert(![401, 405, 500].includes(status), `${route}: ${status} ${text}`);
        assert(status !== 404 || !body.detail.includes(filled), `${route}: ${text}`);
      }
    });

    it('says of each answer that was got what it is: the status is described', async (t) => {
      const server = await boot(t, kind);
      const { json } = await server.http({ path: '/openapi.json' });
      const { token: own } = await server.client.tokens.create(systemCaller, {
        role: 'admin',
        subject: 'test',
      });
      for (const [path, methods] of Object.entries((json as Described).paths)) {
        for (const [method, { responses }] of Object.entries(methods)) {
          if (streams.has(path)) continue;
          const filled = path.replaceAll(/\{uuid\}/g, 'no-uuid').replaceAll(/\{\w+\}/g, 'nobody');
          for (const token of [own, undefined]) {
            const { status } = await server.http({ method: method.toUpperCase(), path: filled, token });
            assert(
              String(status) in responses,
              `${method} ${path} answered ${status}, which is not among ${Object.keys(responses)}`,
            );
          }
        }
      }
    });
  });
}

/** They answer until the caller goes. */
const streams = new Set(['/v1/watch', '/v1/events', '/v1/backup']);
