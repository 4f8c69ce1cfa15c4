import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, renameSync, statSync, watch, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Caller, roles } from '../../src/domain/access.ts';
import { isAppError } from '../../src/domain/error.ts';
import { checkRoutes, routes, routesOf } from '../../src/http/routes.ts';
import { paths } from '../../src/wire/paths.ts';
import { tempFolder } from '../helpers/temp.ts';
import { hostId, knownUuid, otherHostId, startServer } from './fakes.ts';

function pathFor(pattern: string, host = hostId): string {
  return pattern.replace(':uuid', knownUuid).replace(':host', host).replace(':token', 'tok-1');
}

function requestTo(
  options:
    | { socketPath: string; path: string; method?: string }
    | { port: number; path: string; headers: Record<string, string> },
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', ...options }, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.on('error', reject);
    request.end();
  });
}

describe('the route table', () => {
  const [registry, agent] = [startServer({ after }), startServer({ after }, { kind: 'agent' })];

  for (const { method, path, on, access, operation } of routes) {
    const server = on === 'agent' ? agent : registry;
    test(`${method} ${path}: 401 without and with a wrong token, 403 for every role that may not`, async () => {
      const { call } = await server;
      if (access === 'known') return assert.equal((await call(pathFor(path), { role: null })).status, 401);
      if (typeof access === 'string')
        // For a proof the body comes first; whom it lets in stands in the contract of hosts.
        return assert.equal(
          (await call(pathFor(path), { method, role: null })).status,
          access === 'proof' ? 400 : 200,
        );
      assert.equal((await call(pathFor(path), { method, role: null })).status, 401);
      const wrong = await call(pathFor(path), {
        method,
        role: null,
        headers: { authorization: 'Bearer nope' },
      });
      assert.equal(wrong.status, 401);
      const asked =
        operation.legacy?.basic === true
          ? 'Basic realm="holdfast", charset="UTF-8"'
          : 'Bearer realm="holdfast"';
      assert.equal(wrong.headers.get('www-authenticate'), asked);
      for (const role of roles) {
        // What may be is not done here: a body or an upgrade is missing, or the stream would go on.
        if (access.includes(role)) continue;
        assert.equal((await call(pathFor(path), { method, role })).status, 403, role);
      }
      // Refused before the body is looked at.
      if (method !== 'GET')
        assert.equal(
          (
            await call(pathFor(path), {
              method,
              role: null,
              body: '{',
              headers: { 'content-type': 'application/json' },
            })
          ).status,
          401,
        );
    });
  }

  test('a host speaks only for itself, by its id', async () => {
    const { call } = await registry;
    for (const { method, path, access } of routes) {
      if (!path.includes(':host') || typeof access === 'string' || !access.includes('host')) continue;
      assert.equal((await call(pathFor(path, otherHostId), { method, role: 'host' })).status, 403, path);
      assert.equal((await call(pathFor(path, 'edge-1'), { method, role: 'host' })).status, 403, path);
      assert.notEqual((await call(pathFor(path), { method, role: 'host' })).status, 403, path);
      assert.notEqual(
        (await call(pathFor(path, hostId.toUpperCase()), { method, role: 'host' })).status,
        403,
        path,
      );
    }
  });

  test('checkRoutes() refuses a route without roles and a second one at the same place', () => {
    const [first] = routes;
    assert.ok(first);
    assert.throws(() => checkRoutes([{ ...first, access: [] }]), /names no role/);
    assert.throws(() => checkRoutes([first, { ...first, path: first.path }]), /is there already/);
    checkRoutes(routes);
  });

  test('wire/paths.ts and the table name the same places', () => {
    // Nothing of ours calls the paths of old clients.
    const own = routes.filter(({ operation }) => operation.legacy === null);
    const fromTable = new Set(own.map(({ path }) => path.replaceAll(/:\w+/g, 'x')));
    const name = Object.assign('x', { component: 'x', train: 'x', version: 'x' });
    const fromPaths = Object.values(paths).map((path) => (typeof path === 'string' ? path : path(name)));
    assert.deepEqual([...fromTable].sort(), fromPaths.sort());
  });

  test('the agent has no routes of the registry', async (t) => {
    const { call } = await startServer(t, { kind: 'agent' });
    assert.equal((await call('/v1/hosts')).status, 404);
    assert.equal((await call('/v1/join', { method: 'POST', json: {} })).status, 404);
    assert.equal((await call(`/v1/hosts/${hostId}/components`)).status, 200);
    assert.ok(routesOf('agent').length < routes.length);
  });
});

describe('who asks', () => {
  const server = startServer({ after });

  test('F12: only loopback names are answered on a loopback listener, and only own pages', async () => {
    const { port } = await server;
    const status = async (headers: Record<string, string>) =>
      (await requestTo({ port, path: '/livez', headers })).status;
    for (const host of [
      'localhost',
      `localhost:${port}`,
      '127.0.0.1',
      `127.0.0.1:${port}`,
      '[::1]:80',
      'LOCALHOST',
    ])
      assert.equal(await status({ host }), 200, host);
    for (const host of [
      'evil.example',
      '127.0.0.1.evil.example',
      'localhost.evil.example:80',
      '10.0.0.1',
      '[fe80::1]',
      'a b',
      'localhost@evil',
    ]) {
      assert.equal(await status({ host }), 403, host);
    }
    assert.equal(await status({ host: `localhost:${port}`, origin: `http://localhost:${port}` }), 200);
    for (const origin of [
      'http://evil.example',
      'null',
      'file://',
      `http://localhost:${port}.evil.example`,
      'http://localhost:1',
    ]) {
      assert.equal(await status({ host: `localhost:${port}`, origin }), 403, origin);
    }
  });

  test('probes need a viewer behind a proxy, and no token on loopback', async (t) => {
    const { call } = await server;
    const proxied = await startServer(t, { behindProxy: true });
    for (const path of ['/healthz', '/metrics', '/openapi.json']) {
      assert.equal((await call(path, { role: null })).status, 200);
      assert.equal((await proxied.call(path, { role: null })).status, 401);
      assert.equal((await proxied.call(path, { role: 'viewer' })).status, 200);
      assert.equal((await proxied.call(path, { role: 'host' })).status, 403);
    }
    for (const path of ['/livez', '/readyz', '/version'])
      assert.equal((await proxied.call(path, { role: null })).status, 200);
    assert.equal(
      (await requestTo({ port: proxied.port, path: '/livez', headers: { host: 'registry.example' } })).status,
      200,
    );
  });

  test('an Authorization header that is no bearer token is refused', async () => {
    const { call } = await server;
    for (const authorization of ['Basic YTpi', 'Bearer', 'Bearer a b', 'Bearer ä', 'bearer ']) {
      assert.equal(
        (
          await call('/v1/services', {
            role: null,
            headers: { authorization: Buffer.from(authorization).toString('latin1') },
          })
        ).status,
        401,
        authorization,
      );
    }
    assert.equal(
      (await call('/v1/services', { role: null, headers: { authorization: 'bearer t-viewer' } })).status,
      200,
    );
  });
});

describe('Unix sockets', () => {
  const viewer: Caller = { role: 'viewer', subject: 'local' };

  test('the file has its mode from the first moment, carries its caller, and goes with the server', async (t) => {
    const path = join(tempFolder(t), 'read.sock');
    const { server } = await startServer(t);
    const [bound] = await server.listen([{ kind: 'unix', path, mode: 0o640, caller: viewer }]);
    assert.equal(bound?.url, `unix:${path}`);
    assert.equal(statSync(path).mode & 0o777, 0o640);
    assert.equal((await requestTo({ socketPath: path, path: '/v1/services' })).status, 200);
    assert.equal(
      (await requestTo({ socketPath: path, path: `/v1/services/${knownUuid}`, method: 'DELETE' })).status,
      403,
    );
    await server.close();
    assert.throws(() => statSync(path), /ENOENT/);
  });

  test('nothing is made beside its folder, where we may have no right to', async (t) => {
    const parent = tempFolder(t);
    const folder = join(parent, 'sockets');
    mkdirSync(folder);
    const seen: (string | null)[] = [];
    const watcher = watch(parent, (_event, name) => seen.push(name));
    t.after(() => watcher.close());
    const { server } = await startServer(t);
    await server.listen([{ kind: 'unix', path: join(folder, 'read.sock'), mode: 0o640, caller: viewer }]);
    // What the watcher tells last shows that it has told what came before.
    writeFileSync(join(parent, 'last'), '');
    while (!seen.includes('last')) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([...new Set(seen)], ['last']);
  });

  test('one that a crash left is replaced, a live one and a file are not', async (t) => {
    const folder = tempFolder(t);
    const path = join(folder, 'admin.sock');
    const { server } = await startServer(t);
    const other = await startServer(t);
    await leaveStale(path);
    await server.listen([{ kind: 'unix', path, mode: 0o600, caller: viewer }]);
    assert.equal((await requestTo({ socketPath: path, path: '/livez' })).status, 200);
    await assert.rejects(
      other.server.listen([{ kind: 'unix', path, mode: 0o600, caller: viewer }]),
      (error) => isAppError(error, 'conflict'),
    );
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    await assert.rejects(
      other.server.listen([{ kind: 'unix', path: file, mode: 0o600, caller: viewer }]),
      /no socket/,
    );
    const { port } = await startServer(t);
    await assert.rejects(other.server.listen([{ kind: 'tcp', host: '127.0.0.1', port }]), (error) =>
      isAppError(error, 'conflict'),
    );
  });

  test('a path over 107 bytes is refused with the reason', async (t) => {
    const { server } = await startServer(t);
    const path = join(tempFolder(t), 'x'.repeat(100));
    await assert.rejects(
      server.listen([{ kind: 'unix', path, mode: 0o600, caller: viewer }]),
      /at most 107 bytes/,
    );
  });
});

/** A socket file that nobody listens at any more. */
async function leaveStale(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.x`, resolve));
  renameSync(`${path}.x`, path);
  chmodSync(path, 0o600);
  await new Promise((resolve) => server.close(resolve));
  assert.ok(statSync(path).isSocket());
}
