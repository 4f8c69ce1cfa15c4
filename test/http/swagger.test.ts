/** `/swagger.json` as others read it: a public linter, and the routes that are really served. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { routes } from '../../src/http/routes.ts';
import { Stage } from '../helpers/boot.ts';

test('/swagger.json is Swagger 2.0 that Redocly finds no error in', async (t) => {
  const { json, status, headers } = await (await Stage.open(t).registry()).http({ path: '/swagger.json' });
  assert.deepEqual([status, headers['content-type'], json.swagger], [200, 'application/json', '2.0']);
  const config = await createConfig({ extends: ['spec'] });
  const lint = async (document: object) =>
    (await lintFromString({ source: JSON.stringify(document), absoluteRef: '/swagger.json', config }))
      .filter(({ severity }) => severity === 'error')
      .map(({ ruleId, message, location }) => `${ruleId} at ${location[0]?.pointer}: ${message}`);
  assert.deepEqual(await lint(json), []);
  assert.notDeepEqual(await lint({ ...json, paths: { '/a': { get: {} } } }), []);
});

test('/swagger.json lists every route of the old wire formats, and nothing else', async (t) => {
  const { json } = await (await Stage.open(t).registry()).http({ path: '/swagger.json' });
  const listed = Object.entries(json.paths as Record<string, object>).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const served = routes
    .filter(({ operation }) => operation.legacy !== null)
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`);
  assert.deepEqual(listed.sort(), served.sort());
  assert.ok(listed.includes('POST /v3/clusters') && listed.includes('GET /v2/clusters/age'));
});
