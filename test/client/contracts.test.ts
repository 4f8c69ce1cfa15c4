import assert from 'node:assert/strict';
import { lstatSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import { LinkError } from '../../src/client/link.ts';
import { systemCaller as caller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { type FakeServer, fakeServer, json, problem } from './fake-server.ts';
import { HastyClock } from './hasty-clock.ts';

const uuid = '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223';
const at = Date.UTC(2026, 0, 1);
const trust = { urls: ['https://registry.test'], keys: [], ca: [] };
const nginx = { version: '1.2' };
const hostState = {
  name: 'edge-1',
  region: 'eu',
  labels: { env: 'prod' },
  self: {},
  status: 'DOWN',
  reason: 'lapsed',
  version: 3,
} as const;
const instant = '2026-01-01T00:00:00.000Z';
const document = {
  uuid,
  type: 'nova-compute',
  host: 'edge-1',
  region: 'us-east',
  status: 'DOWN',
  reason: 'set',
  ttl: 7.5,
  maintenance: { start: instant, end: null, note: 'Failed disk /dev/sda', active: true },
  confirmed: true,
  heldBy: 'registry',
  lastSeen: instant,
  version: 3,
};
const view = {
  ...(({ ttl: _ttl, lastSeen: _lastSeen, ...same }) => same)(document),
  ttlMs: 7_500,
  maintenance: { startMs: at, endMs: null, note: 'Failed disk /dev/sda' },
  lastSeenMs: at,
  told: null,
};
const page = (items: unknown[]) => ({ items, next: 'more', asOf: instant, position: '7.3', stale: false });
const readPage = (items: unknown[]) => ({
  items,
  next: 'more',
  asOfMs: at,
  position: { epoch: 7, revision: 3 },
  stale: false,
});
const isUp = {
  up: false,
  known: true,
  reason: 'lapsed',
  maintenance: null,
  confirmed: true,
  stale: false,
  asOf: instant,
  ageMs: 12,
};
const isUpView = { ...(({ asOf: _asOf, ...same }) => same)(isUp), asOfMs: at };

const hash = `sha256:${'0'.repeat(64)}`;
const tokenDocument = {
  id: 'tok-1',
  kind: 'join',
  role: 'host',
  subject: 'join:tok-1',
  scope: null,
  uses: 2,
  labels: { env: 'prod' },
  region: null,
  name: null,
  host: null,
  createdBy: 'ann',
  createdAt: instant,
  expiresAt: instant,
  revokedAt: null,
};
const tokenView = {
  ...(({ host: _host, createdAt: _at, expiresAt: _end, revokedAt: _revoked, ...same }) => same)(
    tokenDocument,
  ),
  hostId: null,
  createdAtMs: at,
  expiresAtMs: at,
  revokedAtMs: null,
};
const releaseDocument = {
  component: 'shop/api',
  train: 'stable',
  version: '1.4.2',
  released: instant,
  description: 'rn',
  fixes: null,
  image: null,
  data: { notes: ['x'] },
  publishedBy: 'ci',
  publishedAt: instant,
  changedAt: instant,
};
const releaseView = {
  ...(({ released: _released, publishedAt: _at, changedAt: _changed, ...same }) => same)(releaseDocument),
  releasedMs: at,
  publishedAtMs: at,
  changedAtMs: at,
};
const releaseKey = { component: 'shop/api', train: 'stable', version: '1.4.2' };
const trainPath = '/v1/components/shop%2Fapi/trains/stable/releases';
const auditDocument = {
  seq: 3,
  at: instant,
  actor: 'ann',
  role: 'admin',
  token: 'tok-2',
  type: 'token.issued',
  host: null,
  position: '7.3',
  body: { id: 'tok-1' },
  hash,
};
const auditView = {
  ...(({ at: _at, token: _token, ...same }) => same)(auditDocument),
  atMs: at,
  tokenId: 'tok-2',
};

async function clientOf(t: TestContext, status: number, body: unknown) {
  const server = await fakeServer(t, (_asked, response) =>
    status === 204 ? response.writeHead(204).end() : json(response, status, body),
  );
  const client = createClient({
    target: { url: server.url },
    clock: new HastyClock(),
    random: new SeededRandom(),
  });
  t.after(() => client.close());
  return { server, client };
}

type Client = Awaited<ReturnType<typeof clientOf>>['client'];

/** Contract method → what goes out, what comes in, what the caller gets. */
const calls: readonly [
  name: string,
  run: (client: Client) => Promise<unknown>,
  asked: [string, string, unknown?],
  status: number,
  body: unknown,
  result: unknown,
][] = [
  [
    'tokens.create',
    (c) => c.tokens.create(caller, { role: 'host', uses: 2, expiresInMs: 60_000, labels: { env: 'prod' } }),
    ['POST', '/v1/tokens', { role: 'host', uses: 2, labels: { env: 'prod' }, expiresIn: '60000ms' }],
    201,
    { ...tokenDocument, token: 'hfj1.x' },
    { record: tokenView, token: 'hfj1.x' },
  ],
  [
    'tokens.get',
    (c) => c.tokens.get('tok-1'),
    ['GET', '/v1/tokens/tok-1'],
    200,
    { ...tokenDocument, more: 'of a newer server' },
    tokenView,
  ],
  [
    'tokens.list',
    (c) => c.tokens.list({ kind: ['api', 'host'], subject: ['ann'] }, { limit: 2, cursor: 'x' }),
    ['GET', '/v1/tokens?kind=api&kind=host&subject=ann&limit=2&cursor=x'],
    200,
    page([tokenDocument]),
    readPage([tokenView]),
  ],
  [
    'tokens.revoke',
    (c) => c.tokens.revoke(caller, 'tok-1'),
    ['DELETE', '/v1/tokens/tok-1'],
    204,
    undefined,
    undefined,
  ],
  [
    'releases.publish (new)',
    (c) =>
      c.releases.publish(
        caller,
        releaseKey,
        { releasedMs: at, description: 'rn', fixes: null, image: null, data: { notes: ['x'] } },
        null,
      ),
    [
      'PUT',
      `${trainPath}/1.4.2`,
      { description: 'rn', fixes: null, image: null, data: { notes: ['x'] }, released: instant },
    ],
    201,
    releaseDocument,
    { created: true, release: releaseView },
  ],
  [
    'releases.publish (known)',
    (c) =>
      c.releases.publish(caller, releaseKey, { description: null, fixes: null, image: null, data: null }, [
        at,
      ]),
    ['PUT', `${trainPath}/1.4.2`, { description: null, fixes: null, image: null, data: null }],
    200,
    releaseDocument,
    { created: false, release: releaseView },
  ],
  [
    'releases.get',
    (c) => c.releases.get(releaseKey),
    ['GET', `${trainPath}/1.4.2`],
    200,
    releaseDocument,
    releaseView,
  ],
  [
    'releases.list',
    (c) => c.releases.list(releaseKey, { limit: 2, cursor: 'x' }),
    ['GET', `${trainPath}?limit=2&cursor=x`],
    200,
    page([releaseDocument]),
    readPage([releaseView]),
  ],
  [
    'releases.latest',
    (c) => c.releases.latest(releaseKey, 'semver'),
    ['GET', `${trainPath}/latest?by=semver`],
    200,
    releaseDocument,
    releaseView,
  ],
  [
    'releases.latestOf',
    (c) => c.releases.latestOf([releaseKey, { component: 'x', train: 'beta' }]),
    [
      'POST',
      '/v1/releases/latest',
      {
        items: [
          { component: 'shop/api', train: 'stable' },
          { component: 'x', train: 'beta' },
        ],
      },
    ],
    200,
    { items: [releaseDocument, null] },
    [releaseView, null],
  ],
  [
    'releases.withdraw',
    (c) => c.releases.withdraw(caller, releaseKey, null),
    ['DELETE', `${trainPath}/1.4.2`],
    204,
    undefined,
    undefined,
  ],
  [
    'audit.list',
    (c) => c.audit.list({ actor: ['ann'], type: ['token.*'], sinceMs: at }, { limit: 2 }),
    ['GET', `/v1/audit?actor=ann&type=token.*&since=${encodeURIComponent(instant)}&limit=2`],
    200,
    page([auditDocument]),
    readPage([auditView]),
  ],
  [
    'audit.verify',
    (c) => c.audit.verify(),
    ['GET', '/v1/audit/verification'],
    200,
    { ok: false, from: 1, head: { seq: 9, hash }, seq: 4, detail: 'entry 4 is missing' },
    { ok: false, from: 1, head: { seq: 9, hash }, seq: 4, detail: 'entry 4 is missing' },
  ],
  [
    'liveness.register',
    (c) =>
      c.liveness.register(caller, { type: 'nova-compute', host: 'edge-1', ttlMs: 7_500 }, { takeover: true }),
    ['POST', '/v1/services?takeover=true', { type: 'nova-compute', host: 'edge-1', ttl: 7.5 }],
    201,
    document,
    view,
  ],
  [
    'liveness.put (new)',
    (c) => c.liveness.put(caller, uuid, { status: 'DOWN' }, { takeover: false }),
    ['PUT', `/v1/services/${uuid}`, { status: 'DOWN' }],
    201,
    document,
    { created: true, service: view },
  ],
  [
    'liveness.put (known)',
    (c) => c.liveness.put(caller, uuid, { version: 2 }, { takeover: false }),
    ['PUT', `/v1/services/${uuid}`, { version: 2 }],
    200,
    document,
    { created: false, service: view },
  ],
  [
    'liveness.beat',
    (c) => c.liveness.beat(caller, uuid),
    ['POST', `/v1/services/${uuid}/heartbeat`],
    200,
    document,
    view,
  ],
  [
    'liveness.beatMany',
    (c) => c.liveness.beatMany(caller, [uuid, 'b']),
    ['POST', '/v1/heartbeats', { items: [{ uuid }, { uuid: 'b' }] }],
    200,
    {
      items: [
        { uuid, code: null, status: 'UP' },
        { uuid: 'b', code: 'not-found' },
      ],
    },
    [
      { uuid, code: null, status: 'UP' },
      { uuid: 'b', code: 'not-found' },
    ],
  ],
  ['liveness.get', (c) => c.liveness.get(uuid), ['GET', `/v1/services/${uuid}`], 200, document, view],
  [
    'liveness.list',
    (c) => c.liveness.list({ region: ['us-east', 'us-west'], status: ['DOWN'] }, { limit: 2, cursor: 'x=' }),
    ['GET', '/v1/services?region=us-east&region=us-west&status=DOWN&limit=2&cursor=x%3D'],
    200,
    page([document]),
    readPage([view]),
  ],
  [
    'liveness.delete by uuid',
    (c) => c.liveness.delete(caller, { uuid }),
    ['DELETE', `/v1/services/${uuid}`],
    204,
    null,
    undefined,
  ],
  [
    'liveness.delete by type and host',
    (c) => c.liveness.delete(caller, { type: 'a/b', host: 'h' }),
    ['DELETE', '/v1/services?type=a%2Fb&host=h'],
    204,
    null,
    undefined,
  ],
  [
    'liveness.maintain',
    (c) => c.liveness.maintain(caller, uuid, { startMs: at, endMs: null, note: 'Failed disk', down: true }),
    [
      'PUT',
      `/v1/services/${uuid}/maintenance`,
      { start: instant, end: null, note: 'Failed disk', down: true },
    ],
    200,
    document,
    view,
  ],
  [
    'liveness.endMaintenance',
    (c) => c.liveness.endMaintenance(caller, uuid),
    ['DELETE', `/v1/services/${uuid}/maintenance`],
    200,
    document,
    view,
  ],
  [
    'liveness.isUp',
    (c) => c.liveness.isUp({ type: 'nova-compute', host: 'edge-1' }),
    ['GET', '/v1/is-up?type=nova-compute&host=edge-1'],
    200,
    isUp,
    isUpView,
  ],
  [
    'liveness.isUpMany',
    (c) => c.liveness.isUpMany([{ uuid }]),
    ['POST', '/v1/is-up', { items: [{ uuid }] }],
    200,
    { items: [isUp] },
    [isUpView],
  ],
  [
    'hosts.join',
    (c) => c.hosts.join(caller, { name: 'edge-1', region: null, machineId: 'm' }),
    ['POST', '/v1/join', { name: 'edge-1', region: null, machineId: 'm' }],
    200,
    { id: uuid, name: 'edge-1', credential: 's', generation: 1, expiresAt: instant, trust },
    { id: uuid, name: 'edge-1', credential: 's', generation: 1, expiresAtMs: at, trust },
  ],
  [
    'hosts.renew',
    (c) => c.hosts.renew(uuid, { generation: 1, proof: 'p', machineId: 'm' }),
    ['POST', `/v1/hosts/${uuid}/credential`, { generation: 1, proof: 'p', machineId: 'm' }],
    200,
    { credential: 's', generation: 2, expiresAt: instant },
    { credential: 's', generation: 2, expiresAtMs: at },
  ],
  [
    'hosts.report',
    (c) =>
      c.hosts.report(caller, uuid, { epoch: 7, items: [{ seq: 1, type: 'service', atMs: at, body: {} }] }),
    [
      'POST',
      `/v1/hosts/${uuid}/reports`,
      { epoch: 7, items: [{ seq: 1, type: 'service', at: instant, body: {} }] },
    ],
    200,
    { acked: 1 },
    { acked: 1 },
  ],
  [
    'components.ofHost',
    (c) => c.components.ofHost('edge-1', { limit: 10 }),
    ['GET', '/v1/hosts/edge-1/components?limit=10'],
    200,
    page([{ name: 'nginx', version: '1.2', detector: 'dpkg', firstSeen: instant, changedAt: instant }]),
    readPage([{ name: 'nginx', version: '1.2', detector: 'dpkg', firstSeenMs: at, changedAtMs: at }]),
  ],
  [
    'components.ofHost',
    (c) => c.components.ofHost('edge-1', { limit: 10 }, { asOf: { kind: 'ago', agoMs: 60_000 } }),
    ['GET', '/v1/hosts/edge-1/components?asOf=60s&limit=10'],
    200,
    page([]),
    readPage([]),
  ],
  [
    'componentHistory.differences',
    (c) =>
      c.componentHistory.differences(
        {
          from: { kind: 'at', atMs: at },
          to: { kind: 'ago', agoMs: 1_000 },
          name: 'nginx',
          selector: 'env=prod',
        },
        { limit: 10 },
      ),
    [
      'GET',
      `/v1/history/components?from=${encodeURIComponent(instant)}&to=1s&selector=env%3Dprod&name=nginx&limit=10`,
    ],
    200,
    page([
      {
        hostId: uuid,
        host: 'edge-1',
        kind: 'installed',
        name: 'nginx',
        detector: 'dpkg',
        before: null,
        after: nginx,
      },
    ]),
    readPage([
      {
        hostId: uuid,
        host: 'edge-1',
        kind: 'installed',
        name: 'nginx',
        detector: 'dpkg',
        before: null,
        after: nginx,
      },
    ]),
  ],
  [
    'componentHistory.steps',
    (c) => c.componentHistory.steps('edge-1', { from: { kind: 'ago', agoMs: 86_400_000 } }, { limit: 10 }),
    ['GET', '/v1/hosts/edge-1/history?from=86400s&limit=10'],
    200,
    page([
      { at: instant, kind: 'component.removed', name: 'nginx', detector: 'dpkg', before: nginx, after: null },
      {
        at: instant,
        kind: 'host.revoked',
        name: 'edge-1',
        changed: ['revokedAt'],
        before: null,
        after: { ...hostState, revokedAt: instant },
      },
    ]),
    readPage([
      { atMs: at, kind: 'removed', name: 'nginx', detector: 'dpkg', before: nginx, after: null },
      {
        atMs: at,
        kind: 'host.revoked',
        name: 'edge-1',
        changed: ['revokedAt'],
        before: null,
        after: { ...hostState, revokedAtMs: at },
      },
    ]),
  ],
  [
    'components.list',
    (c) =>
      c.components.list(
        {
          selector: 'env=prod',
          has: [{ name: 'openssl', operator: '<', version: '3.0.13' }],
          asOf: { kind: 'at', atMs: at },
        },
        { limit: 1 },
      ),
    [
      'GET',
      `/v1/components?selector=env%3Dprod&has=openssl%3C3.0.13&asOf=${encodeURIComponent(instant)}&limit=1`,
    ],
    200,
    page([{ name: 'nginx', versions: [{ version: '1.2', hosts: 3 }] }]),
    readPage([{ name: 'nginx', versions: [{ version: '1.2', hosts: 3 }] }]),
  ],
  [
    'status',
    (c) => c.status(),
    ['GET', '/v1/status'],
    200,
    { role: 'agent', deep: { er: 1 } },
    { role: 'agent', deep: { er: 1 } },
  ],
  [
    'version',
    (c) => c.version(),
    ['GET', '/version'],
    200,
    { version: '1', commit: 'c', wire: [1] },
    { version: '1', commit: 'c', wire: [1] },
  ],
];

for (const [name, run, [method, url, body], status, answer, result] of calls) {
  test(`${name} asks ${method} ${url}`, async (t) => {
    const { server, client } = await clientOf(t, status, answer);
    assert.deepEqual(await run(client), result);
    assert.deepEqual(
      server.asked.map((asked) => [asked.method, asked.url, asked.body]),
      [[method, url, body]],
    );
  });
}

test('get() gives the answer as the server wrote it', async (t) => {
  const { client } = await clientOf(t, 200, '{ "b": 1,\n "a": 2 }');
  assert.equal(await client.get('/v1/whatever'), '{ "b": 1,\n "a": 2 }');
});

async function backupFrom(t: TestContext, handler: FakeServer['handler']) {
  const server = await fakeServer(t, handler);
  const client = createClient({
    target: { url: server.url },
    clock: new HastyClock(),
    random: new SeededRandom(),
  });
  t.after(() => client.close());
  return { client, file: join(tempFolder(t), 'fleet.backup') };
}

test('backup() writes a private file of what the server streams', async (t) => {
  const { client, file } = await backupFrom(t, (_asked, response) => {
    response.writeHead(200, { 'content-type': 'application/vnd.sqlite3' });
    response.write('SQLite ');
    response.end('format 3');
  });
  assert.equal(await client.backup(file), 15);
  assert.equal(readFileSync(file, 'utf8'), 'SQLite format 3');
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

test('backup() leaves nothing of a half copy', async (t) => {
  const { client, file } = await backupFrom(t, (_asked, response) => {
    response.writeHead(200, { 'content-type': 'application/vnd.sqlite3' });
    response.write('SQLite ', () => response.destroy());
  });
  await assert.rejects(
    client.backup(file),
    (error) => error instanceof LinkError && error.failure === 'unreachable',
  );
  assert.equal(statSync(file, { throwIfNoEntry: false }), undefined);
  assert.deepEqual(readdirSync(dirname(file)), []);
});

test('backup() follows no link that somebody planted', async (t) => {
  const { client, file } = await backupFrom(t, (_asked, response) => {
    response.writeHead(200, { 'content-type': 'application/vnd.sqlite3' }).end('SQLite');
  });
  const victim = join(tempFolder(t), 'victim');
  writeFileSync(victim, 'mine');
  symlinkSync(victim, `${file}.partial`);
  await client.backup(file);
  assert.equal(readFileSync(victim, 'utf8'), 'mine');
  assert.equal(lstatSync(file).isSymbolicLink(), false);
  const dangling = `${file}.2`;
  symlinkSync(join(tempFolder(t), 'nowhere'), dangling);
  await assert.rejects(
    client.backup(dangling),
    (error) => error instanceof AppError && error.code === 'conflict',
  );
});

test('backup() leaves a file that appears meanwhile as it is', async (t) => {
  const { client, file } = await backupFrom(t, (_asked, response) => {
    writeFileSync(file, 'mine');
    response.writeHead(200, { 'content-type': 'application/vnd.sqlite3' }).end('SQLite');
  });
  await assert.rejects(
    client.backup(file),
    (error) => error instanceof AppError && error.code === 'conflict',
  );
  assert.equal(readFileSync(file, 'utf8'), 'mine');
  assert.deepEqual(readdirSync(dirname(file)), ['fleet.backup']);
});

test('backup() refuses to write over a file, and what is no backup', async (t) => {
  const { client, file } = await backupFrom(t, (_asked, response) => json(response, 200, {}));
  await assert.rejects(
    client.backup(file),
    (error) => error instanceof LinkError && error.failure === 'foreign',
  );
  writeFileSync(file, 'mine');
  await assert.rejects(
    client.backup(file),
    (error) => error instanceof AppError && error.code === 'conflict',
  );
  assert.equal(readFileSync(file, 'utf8'), 'mine');
});

test('backup() tells what the server refuses', async (t) => {
  const { client, file } = await backupFrom(t, (_asked, response) =>
    problem(response, new AppError('unprocessable', 'use pg_dump')),
  );
  await assert.rejects(client.backup(file), /pg_dump/);
});
