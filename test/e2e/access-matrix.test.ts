/**
 * G1: every route × every credential in every state × every entrance, made from the route table and asked over real
 * sockets of a real registry and a real agent. What a cell must be is worked out here, from what the table declares
 * and what the credential is, and not by the code that decides it.
 */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { roles, type TokenRole } from '../../src/domain/access.ts';
import { credentialStatement, joinStatement, signProof } from '../../src/domain/proof.ts';
import type { Kind } from '../../src/http/operation.ts';
import { type Route, routesOf } from '../../src/http/routes.ts';
import { joinBearer, parseJoinToken } from '../../src/wire/join-token.ts';
import { type Booted, Stage } from '../helpers/boot.ts';

const dayMs = 86_400_000;
const nobody = '0190a1b2-0000-7000-8000-00000000000f';

/** A way in and what is shown there. */
interface Credential {
  readonly name: string;
  readonly token?: string;
  /** A Unix socket instead of TCP. */
  readonly socket?: string;
  /** Whom the server must take it for; null: for nobody, it is no good. */
  readonly role: string | null;
  /** Of a host's credential: the id of that host. */
  readonly host?: string;
}

interface World {
  readonly server: Booted<unknown>;
  readonly stage: Stage;
  readonly credentials: readonly Credential[];
}

/** `401`, `403`, or `in`: whatever else the answer is, it is the operation's own. */
type Verdict = '401' | '403' | 'in';

function expected({ access }: Pick<Route, 'access'>, credential: Credential, target: Target): Verdict {
  const { role, socket } = credential;
  if (access === 'open' || access === 'proof') return 'in';
  if (access === 'probe' && socket === undefined) return 'in';
  if (role === null) return '401';
  if (access === 'known') return role === 'joiner' ? '403' : 'in';
  const may: readonly string[] =
    access === 'probe' ? ['viewer', 'operator', 'approver', 'admin', 'reader'] : access;
  if (!may.includes(role)) return '403';
  return role === 'host' && target === 'other' ? '403' : 'in';
}

/** Whose path it is: the host's own, another's, or one that has no host in it. */
type Target = 'own' | 'other' | 'none';

function placesOf(
  route: Route,
  credential: Credential,
): readonly (readonly [path: string, target: Target])[] {
  const path = route.path.replace(':uuid', nobody).replace(':token', 'tok-none');
  if (!path.includes(':host')) return [[path, 'none']];
  const at = (host: string) => path.replace(':host', host);
  const { host } = credential;
  // What everybody else is let in for must not be done to a host that the next cells need.
  if (host === undefined) return [[at(nobody), 'other']];
  return [
    [at(host), 'own'],
    [at(nobody), 'other'],
    [at('edge-1'), 'other'],
  ];
}

for (const kind of ['registry', 'agent'] as const) {
  describe(`G1: the routes of the ${kind}`, () => {
    let world: World;
    let stage: Stage;
    let cells = 0;
    const ends: (() => Promise<void> | void)[] = [];
    before(async () => {
      stage = Stage.open({ after: (end) => ends.push(end) });
      world = await (kind === 'registry' ? registryWorld(stage) : agentWorld(stage));
    });
    after(async () => {
      for (const end of ends) await end();
    });

    for (const route of routesOf(kind)) {
      it(`${route.method} ${route.path} lets in whom it names, with a good credential`, async () => {
        const wrong: string[] = [];
        for (const credential of world.credentials) {
          for (const [path, target] of placesOf(route, credential)) {
            const wanted = expected(route, credential, target);
            const status = await ask(world, credential, { method: route.method, path });
            cells += 1;
            const got: Verdict = status === 401 ? '401' : status === 403 ? '403' : 'in';
            if (got !== wanted || status >= 500)
              wrong.push(`${credential.name} at ${path}: ${status}, expected ${wanted}`);
          }
        }
        assert.deepEqual(wrong, []);
      });
    }

    it('WebSockets of /v1/watch open for the same callers', async () => {
      const watch = routesOf(kind).find(({ path }) => path === '/v1/watch');
      assert.ok(watch);
      const wrong: string[] = [];
      for (const credential of world.credentials) {
        const wanted = expected(watch, credential, 'none');
        const status = await ask(world, credential, { method: 'GET', path: '/v1/watch', upgrade: true });
        if (status !== { '401': 401, '403': 403, in: 101 }[wanted])
          wrong.push(`${credential.name}: ${status}, expected ${wanted}`);
      }
      assert.deepEqual(wrong, []);
    });

    it('were asked all of them', (t) => {
      t.diagnostic(
        `${cells} cells: ${routesOf(kind).length} routes, ${world.credentials.length} credentials`,
      );
      assert.ok(cells >= routesOf(kind).length * world.credentials.length);
    });

    it('what is no route is denied, and told to those alone who are known', async () => {
      const wrong: string[] = [];
      const strays = [
        ['GET', '/v1/nothing'],
        ['POST', '/v1'],
        ['PATCH', '/v1/services'],
        ['DELETE', '/v1/watch'],
        ...(kind === 'agent'
          ? [
              ['POST', '/v1/join'],
              ['GET', '/v1/hosts'],
            ]
          : []),
      ] as const;
      for (const credential of world.credentials) {
        for (const [method, path] of strays) {
          const { role } = credential;
          const wanted = role === null ? [401] : role === 'joiner' ? [403] : [404, 405];
          const status = await ask(world, credential, { method, path });
          if (!wanted.includes(status)) wrong.push(`${credential.name}, ${method} ${path}: ${status}`);
        }
        const outside = await ask(world, credential, { method: 'GET', path: '/nothing' });
        if (outside !== 404) wrong.push(`${credential.name}, /nothing: ${outside}`);
      }
      assert.deepEqual(wrong, []);
    });
  });
}

/** Places that are asked with a POST, because what is asked about is long. */
const questions = ['/v3/versions/latest', '/v2/versions/latest', '/v1/is-up', '/v1/releases/latest'];

/** What everybody on the machine may not see, whatever the table says. */
describe('G1: a reader', () => {
  it('is named by no route that changes anything, nor by one of what is not for everybody', () => {
    const named = (['registry', 'agent'] as const)
      .flatMap((kind) => routesOf(kind))
      .filter(({ access }) => typeof access !== 'string' && access.includes('reader'));
    for (const { method, path } of named) {
      assert.ok(method === 'GET' || questions.includes(path), `${method} ${path}`);
      assert.doesNotMatch(path, /config|backup|target|audit|token|output|logs|secret/);
    }
  });

  it('and a joiner are roles that no token can be made for', () => {
    assert.equal((roles as readonly string[]).includes('reader'), false);
    assert.equal((roles as readonly string[]).includes('joiner'), false);
  });
});

async function registryWorld(stage: Stage): Promise<World> {
  const socketDir = join(stage.folder(), 'run');
  const registry = await stage.registry({ socketDir });
  // Its admin.token would not outlive the time that passes here.
  const { token: admin } = await make(registry, registry.token, {
    role: 'admin',
    subject: 'matrix',
    expiresIn: '400d',
  });
  const keyless = async (name: string) => {
    const body = { name, machineId: `machine of ${name}` };
    return (await registry.http({ method: 'POST', path: '/v1/join', token: admin, body })).json;
  };
  const hostExpired = await keyless('edge-0');
  const expired = await expiredTokens(registry, admin);
  stage.clock.stall(91 * dayMs);
  const own = await keyless('edge-1');
  const other = await keyless('edge-2');
  const revokedHost = await keyless('edge-3');
  await registry.http({ method: 'DELETE', path: `/v1/hosts/${revokedHost.id}/credential`, token: admin });
  const proved = await joinWithKey(registry, admin);
  const fresh = await make(registry, admin, { role: 'host' });
  const revokedJoin = await make(registry, admin, { role: 'host' });
  await registry.http({ method: 'DELETE', path: `/v1/tokens/${revokedJoin.id}`, token: admin });
  const host = (name: string, { id, credential }: { id: string; credential: string }): Credential => ({
    name,
    token: credential,
    role: 'host',
    host: id,
  });
  return {
    server: registry,
    stage,
    credentials: [
      ...(await common(registry, admin, socketDir, 'registry')),
      ...expired,
      host('a host', own),
      host('another host', other),
      host('a host that proved its key', proved),
      { name: 'the offered credential of that host', token: proved.offered, role: 'host', host: proved.id },
      { ...host('a revoked host', revokedHost), role: null },
      { ...host('a host whose credential has expired', hostExpired), role: null },
      { name: 'a join token', token: bearerOf(fresh.token), role: 'joiner' },
      { name: 'a join token that is used up', token: proved.joinedWith, role: 'joiner' },
      { name: 'a revoked join token', token: bearerOf(revokedJoin.token), role: null },
    ],
  };
}

async function agentWorld(stage: Stage): Promise<World> {
  const socketDir = join(stage.folder(), 'run');
  const agent = await stage.agent({ registry: null, socketDir });
  const { token: admin } = await make(agent, agent.token, {
    role: 'admin',
    subject: 'matrix',
    expiresIn: '400d',
  });
  const expired = await expiredTokens(agent, admin);
  stage.clock.stall(2 * dayMs);
  return {
    server: agent,
    stage,
    credentials: [...(await common(agent, admin, socketDir, 'agent')), ...expired],
  };
}

/** What both roles know: nobody, nonsense, a token of each role, a revoked one, each socket. */
async function common(
  server: Booted<unknown>,
  admin: string,
  socketDir: string,
  kind: Kind,
): Promise<Credential[]> {
  const made: Credential[] = [];
  for (const role of roles.filter((one): one is Exclude<TokenRole, 'host'> => one !== 'host')) {
    const { token } = await make(server, admin, { role, subject: `a ${role}` });
    made.push({ name: `a token of role ${role}`, token, role });
  }
  const revoked = await make(server, admin, { role: 'admin', subject: 'gone' });
  await server.http({ method: 'DELETE', path: `/v1/tokens/${revoked.id}`, token: admin });
  const [, id = ''] = revoked.token.split('_');
  const good = made.find(({ role }) => role === 'admin')?.token ?? '';
  const socket = (name: string, role: string): Credential => ({ name, socket: join(socketDir, name), role });
  return [
    { name: 'nobody', role: null },
    { name: 'nonsense', token: 'nonsense', role: null },
    { name: 'a token that was never made', token: `hf_tok-${'0'.repeat(26)}_${'A'.repeat(43)}`, role: null },
    {
      name: 'the id of a good token with another secret',
      token: `${good.slice(0, 34)}${'A'.repeat(43)}`,
      role: null,
    },
    { name: 'the secret of a good token with another id', token: `hf_${id}_${good.slice(34)}`, role: null },
    { name: 'a good token that was cut', token: good.slice(0, -1), role: null },
    { name: 'a revoked token', token: revoked.token, role: null },
    ...made,
    socket('admin.sock', 'admin'),
    socket('read.sock', 'reader'),
    ...(kind === 'agent' ? [socket('agent.sock', 'reporter')] : []),
  ];
}

async function expiredTokens(server: Booted<unknown>, admin: string): Promise<Credential[]> {
  const made: Credential[] = [];
  for (const role of ['viewer', 'operator', 'admin'] as const) {
    const { token } = await make(server, admin, { role, subject: `late ${role}`, expiresIn: '1h' });
    made.push({ name: `an expired token of role ${role}`, token, role: null });
  }
  return made;
}

/** A host with a key, and a credential on offer to it. */
async function joinWithKey(registry: Booted<unknown>, admin: string) {
  const { token } = await make(registry, admin, { role: 'host' });
  const parts = parseJoinToken(token);
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).toString('base64');
  const said = { name: 'edge-9', machineId: 'machine of edge-9', publicKey };
  const proof = signProof(privateKey, joinStatement({ tokenId: parts.id, ...said }));
  const joinedWith = joinBearer(parts);
  const joined = await registry.http({
    method: 'POST',
    path: '/v1/join',
    token: joinedWith,
    body: { ...said, proof },
  });
  assert.equal(joined.status, 200, joined.text);
  const { id, credential, generation } = joined.json;
  const renewed = await registry.http({
    method: 'POST',
    path: `/v1/hosts/${id}/credential`,
    token: undefined,
    body: { generation, proof: signProof(privateKey, credentialStatement(id, generation)) },
  });
  assert.equal(renewed.status, 200, renewed.text);
  return { id, credential, joinedWith, offered: renewed.json.credential as string };
}

async function make(
  server: Booted<unknown>,
  admin: string,
  body: object,
): Promise<{ readonly id: string; readonly token: string }> {
  const { status, text, json } = await server.http({
    method: 'POST',
    path: '/v1/tokens',
    token: admin,
    body,
  });
  assert.equal(status, 201, text);
  return json;
}

function bearerOf(joinToken: string): string {
  return joinBearer(parseJoinToken(joinToken));
}

/** The status alone; what streams is cut after its head. Who was wrong too often waits, as he is told to. */
async function ask(
  { server, stage }: World,
  { token, socket }: Credential,
  asked: { method: string; path: string; upgrade?: boolean },
): Promise<number> {
  for (;;) {
    const { status, retryAfterMs } = await new Promise<{ status: number; retryAfterMs: number }>(
      (resolve, reject) => {
        const { hostname, port } = new URL(server.url);
        const sent = request({
          ...(socket === undefined ? { hostname, port } : { socketPath: socket }),
          method: asked.method,
          path: asked.path,
          agent: false,
          headers: {
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
            ...(asked.method === 'GET' ? {} : { 'content-type': 'application/json', 'content-length': '2' }),
            ...(asked.upgrade === true ? upgradeHeaders : {}),
          },
        });
        sent.on('response', ({ statusCode = 0, headers }) => {
          resolve({ status: statusCode, retryAfterMs: Number(headers['retry-after'] ?? 0) * 1_000 });
          sent.destroy();
        });
        sent.on('upgrade', (_response, opened) => {
          resolve({ status: 101, retryAfterMs: 0 });
          opened.destroy();
        });
        sent.on('error', reject);
        sent.end(asked.method === 'GET' ? undefined : '{}');
      },
    );
    if (status !== 429) return status;
    assert.ok(retryAfterMs > 0);
    stage.clock.stall(retryAfterMs);
  }
}

const upgradeHeaders = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'sec-websocket-protocol': 'holdfast.v1',
};
