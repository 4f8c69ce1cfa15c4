/** Real agents and a real registry over TLS: first contact, and who may stand in between. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Agent } from '../../src/agent/agent.ts';
import { createClient } from '../../src/client/client.ts';
import type { WatchLink } from '../../src/client/watch.ts';
import type { Registry } from '../../src/registry/registry.ts';
import { connectProxy, type TunnelProxy, tlsServer } from '../client/tls-server.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import { makePair } from '../helpers/certificates.ts';
import { FakeClock } from '../helpers/clock.ts';
import { until } from '../helpers/until.ts';

const dayMs = 86_400_000;
const name = 'registry.test';

interface RegistryStatus {
  readonly joined: boolean;
  readonly connected: boolean;
  readonly problem: string | null;
  readonly clockAheadMs: number | null;
  readonly target: { readonly tag: string | null; readonly refused: unknown };
}

async function statusOf(agent: Booted<Agent>): Promise<RegistryStatus> {
  return ((await agent.role.status()) as unknown as { registry: RegistryStatus }).registry;
}

/** Fake time passes until the status is so. */
async function settles(
  agent: Booted<Agent>,
  clocks: readonly FakeClock[],
  condition: (status: RegistryStatus) => boolean,
): Promise<RegistryStatus> {
  return until(
    async () => {
      for (const clock of clocks) await clock.advance(500);
      const status = await statusOf(agent);
      return condition(status) && status;
    },
    'the agent did not get there',
    20_000,
  );
}

async function joinToken(registry: Booted<Registry>): Promise<string> {
  const { json } = await registry.http({ method: 'POST', path: '/v1/tokens', body: { role: 'host' } });
  return json.token;
}

/** What is opened after the stage is closed before what stands on it. */
const endOf = (stage: Stage<FakeClock>) => ({ after: (close: () => Promise<void>) => stage.closing(close) });

const portOf = (url: string) => Number(new URL(url).port);

/** A registry that hosts find by a name that only the proxy knows. */
async function behind(stage: Stage<FakeClock>, advertiseUrls: readonly string[] = [`https://${name}`]) {
  const registry = await stage.registry({
    tls: { kind: 'own' },
    host: '0.0.0.0',
    advertiseUrls,
  });
  const proxy = await connectProxy(endOf(stage));
  proxy.names.set(`${name}:443`, portOf(registry.url));
  return { registry, proxy, token: await joinToken(registry) };
}

const through = (proxy: TunnelProxy, token: string) => ({
  registry: { url: null, token },
  proxy: { https: proxy.url },
});

describe('first contact', () => {
  test('an agent joins by its token alone, through a proxy, and goes on through it', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { registry, proxy, token } = await behind(stage);
    const agent = await stage.agent(through(proxy, token));
    await settles(agent, [stage.clock], ({ connected, target }) => connected && target.tag !== null);
    assert.ok(proxy.asked.length > 0 && proxy.asked.every(({ authority }) => authority === `${name}:443`));
    assert.equal((await registry.client.hosts.get('edge-1')).status, 'UP');
    proxy.cut();
    const before = proxy.asked.length;
    const at = stage.clock.now();
    await until(async () => {
      await stage.clock.advance(500);
      return ((await registry.client.hosts.get('edge-1')).lastSeenMs ?? 0) > at + 15_000;
    });
    assert.ok(proxy.asked.length > before);
    const record = await agent.client.liveness.register(
      { role: 'admin', subject: '' },
      { type: 'web', ttlMs: dayMs },
      { takeover: false },
    );
    await until(async () => {
      await stage.clock.advance(100);
      return registry.client.liveness.get(record.uuid).catch(() => false);
    });
  });

  test('of the URLs of a registry, one that lets connections hang is left for the next', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const held = new Set<Socket>();
    const hole = createServer((socket) => held.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => hole.listen(0, '127.0.0.1', resolve));
    endOf(stage).after(async () => {
      for (const socket of held) socket.destroy();
      await new Promise((resolve) => hole.close(resolve));
    });
    const { registry, proxy, token } = await behind(stage, ['https://hole.test', `https://${name}`]);
    proxy.names.set('hole.test:443', (hole.address() as AddressInfo).port);
    const agent = await stage.agent(through(proxy, token));
    await settles(agent, [stage.clock], ({ connected, target }) => connected && target.tag !== null);
    assert.equal((await registry.client.hosts.get('edge-1')).status, 'UP');
  });

  /** Somebody with a certificate of his own between the agent and the registry, who hears all that is said to him. */
  async function manInTheMiddle(
    stage: Stage<FakeClock>,
    registry: Booted<Registry>,
    handler: RequestListener,
  ) {
    const heard: string[] = [];
    const { leaf, ca } = makePair({ names: [name] });
    const server = await tlsServer(endOf(stage), leaf, {
      chain: ca.cert,
      handler: (request, response) => {
        heard.push(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`);
        request.on('data', (chunk: Buffer) => heard.push(chunk.toString()));
        handler(request, response);
      },
    });
    const relay: RequestListener = (request, response) => {
      const { hostname, port } = new URL(registry.url);
      const { method, url: path, headers } = request;
      const asked = httpsRequest(
        { hostname, port, method, path, headers, rejectUnauthorized: false, agent: false },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        },
      );
      request.pipe(asked);
    };
    return { server, heard, relay, ca };
  }

  test('G4: nobody with another CA is told a secret, and the host says why it waits', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { registry, proxy, token } = await behind(stage);
    const another = makePair().ca.cert;
    const evil = await manInTheMiddle(stage, registry, (_request, response) => {
      const body = JSON.stringify({ urls: [], keys: [], ca: [another, 'no certificate'] });
      response.writeHead(200, { 'content-type': 'application/json' }).end(body);
    });
    proxy.names.set(`${name}:443`, evil.server.port);
    const agent = await stage.agent(through(proxy, token));
    const { problem, joined } = await settles(agent, [stage.clock], (status) => status.problem !== null);
    assert.match(problem ?? '', /does not have the CA that the join token names .* man in the middle/i);
    assert.equal(joined, false);
    assert.ok(evil.heard.length > 0);
    requireNoSecret(evil.heard, token);
    // Out of the way, the same token is still good: its use was never spent.
    proxy.names.set(`${name}:443`, portOf(registry.url));
    await settles(agent, [stage.clock], ({ connected }) => connected);
  });

  test('G4: whoever shows the right CA needs a certificate of it too', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { registry, proxy, token } = await behind(stage);
    const evil = await manInTheMiddle(stage, registry, (request, response) => evil.relay(request, response));
    proxy.names.set(`${name}:443`, evil.server.port);
    const agent = await stage.agent(through(proxy, token));
    const { problem, joined } = await settles(agent, [stage.clock], (status) => status.problem !== null);
    assert.match(problem ?? '', /not signed by the CA that belongs to it .*reads along/);
    assert.equal(joined, false);
    assert.deepEqual(
      evil.heard.map((line) => line.split(' ')[1]),
      evil.heard.map(() => '/v1/trust'),
    );
    requireNoSecret(evil.heard, token);
  });

  test('G4: nobody comes in behind the right CA, in one text with it', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { registry, proxy, token } = await behind(stage);
    const { json: trust } = await registry.http({ path: '/v1/trust', token: undefined });
    const evil = await manInTheMiddle(stage, registry, (request, response) => {
      if (request.url !== '/v1/trust') return evil.relay(request, response);
      const body = JSON.stringify({ ...trust, ca: [`${trust.ca[0]}${evil.ca.cert}`] });
      response.writeHead(200, { 'content-type': 'application/json' }).end(body);
    });
    proxy.names.set(`${name}:443`, evil.server.port);
    const agent = await stage.agent(through(proxy, token));
    const { joined } = await settles(
      agent,
      [stage.clock],
      (status) => status.joined || status.problem !== null,
    );
    assert.equal(joined, false);
    requireNoSecret(evil.heard, token);
  });

  test('G4: nobody steps in between later either', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { registry, proxy, token } = await behind(stage);
    const agent = await stage.agent(through(proxy, token));
    await settles(agent, [stage.clock], ({ connected }) => connected);
    const evil = await manInTheMiddle(stage, registry, (request, response) => evil.relay(request, response));
    proxy.names.set(`${name}:443`, evil.server.port);
    proxy.cut();
    const { problem } = await settles(agent, [stage.clock], ({ connected }) => !connected);
    assert.match(problem ?? '', /reads along/);
    assert.deepEqual(evil.heard, []);
    proxy.names.set(`${name}:443`, portOf(registry.url));
    await settles(agent, [stage.clock], ({ connected }) => connected);
  });

  test('B6: an agent whose clock stands in 1970 joins, and says how far it is off', async (t) => {
    // The certificates begin after the day on which this test runs, as all do for a machine in 1970.
    const stage = Stage.open(t, { startMs: Date.now() + 5 * dayMs });
    const past = new FakeClock({ startMs: 0 });
    const registry = await stage.registry({ tls: { kind: 'own' } });
    // As a machine in 1970 that holds the CA.
    const ca = readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8');
    const { url, token: adminToken } = registry;
    const client = createClient({ target: { url }, token: adminToken, tls: { ca: [ca] }, clock: past });
    stage.closing(() => client.close());
    const { token } = await client.tokens.create({ role: 'admin', subject: '' }, { role: 'host' });
    const agent = await stage.agent({ registry: { url: null, token }, clock: past });
    const clocks = [stage.clock, past];
    const { clockAheadMs, target } = await settles(
      agent,
      clocks,
      (status) => status.connected && status.target.tag !== null,
    );
    const off = past.now() - stage.clock.now();
    assert.ok(Math.abs((clockAheadMs ?? 0) - off) < 5_000, `${clockAheadMs}`);
    assert.equal(target.refused, null);
    assert.equal((await client.hosts.get('edge-1')).status, 'UP');
  });
});

describe('a registry that lost its keys', () => {
  test('is joined anew with a join token that it made since, by no other, and keeps the host as it was', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { registry, proxy, token } = await behind(stage);
    const agent = await stage.agent(through(proxy, token));
    await settles(agent, [stage.clock], ({ connected, target }) => connected && target.tag !== null);
    const { id } = await registry.client.hosts.get('edge-1');
    const { dataDir } = registry;
    await registry.close();
    rmSync(join(dataDir, 'keys'), { recursive: true });
    const again = await stage.registry({
      dataDir,
      tls: { kind: 'own' },
      host: '0.0.0.0',
      advertiseUrls: [`https://${name}`],
    });
    proxy.names.set(`${name}:443`, portOf(again.url));
    const { problem } = await settles(agent, [stage.clock], ({ connected }) => !connected);
    assert.match(problem ?? '', /not signed by the CA that belongs to it/);
    for (let turn = 0; turn < 40; turn += 1) await stage.clock.advance(1_000);
    assert.equal((await statusOf(agent)).connected, false, 'the token that it had come with');
    await agent.close();
    const restarted = await stage.agent({
      ...through(proxy, await joinToken(again)),
      dataDir: agent.dataDir,
    });
    const after = await settles(
      restarted,
      [stage.clock],
      ({ connected, target }) => connected && target.tag !== null,
    );
    assert.equal(after.problem, null);
    assert.equal((await again.client.hosts.get('edge-1')).id, id);
  });
});

describe('a registry whose CA is rotated', () => {
  test('G7: keeps its hosts, which verify new connections by what they were told', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { registry, proxy, token } = await behind(stage);
    const agent = await stage.agent(through(proxy, token));
    await settles(agent, [stage.clock], ({ connected, target }) => connected && target.tag !== null);
    for (let turn = 0; turn < 3; turn += 1) {
      const { tag } = (await statusOf(agent)).target;
      const rotated = await registry.http({ method: 'POST', path: '/v1/trust/rotate', body: { what: 'ca' } });
      assert.equal(rotated.status, 200);
      proxy.cut();
      await settles(agent, [stage.clock], ({ connected, target }) => connected && target.tag !== tag);
      // Rotations are not closer than hosts can follow.
      stage.clock.stall(3_600_000);
    }
    assert.equal((await statusOf(agent)).problem, null);
  });
});

describe('a proxy in front that ends TLS and drops WebSockets', () => {
  test('C16: agent and watch go on without them', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ behindProxy: true, advertiseUrls: ['https://localhost'] });
    const { ca, leaf } = makePair();
    const { request } = await import('node:http');
    const front = await tlsServer(endOf(stage), leaf, {
      handler: (incoming, response) => {
        const { hostname, port } = new URL(registry.url);
        const { method, url: path, headers } = incoming;
        const asked = request({ hostname, port, method, path, headers, agent: false }, (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        });
        response.on('close', () => asked.destroy());
        asked.on('error', () => response.destroy());
        incoming.pipe(asked);
      },
    });
    front.refuseUpgrades = true;
    const agent = await stage.agent({
      registry: { url: front.url, token: await joinToken(registry), ca: [ca.cert] },
    });
    await settles(agent, [stage.clock], ({ connected, target }) => connected && target.tag !== null);
    const client = createClient({
      target: { url: front.url },
      token: registry.token,
      tls: { ca: [ca.cert] },
    });
    stage.closing(() => client.close());
    const links: WatchLink[] = [];
    const watching = client.watch({ snapshot: true, onLink: (link) => links.push(link) });
    for await (const update of watching) {
      if (update.kind === 'snapshot' && update.done) {
        await agent.client.liveness.register(
          { role: 'admin', subject: '' },
          { type: 'web', ttlMs: dayMs },
          { takeover: false },
        );
        await stage.clock.advance(1_000);
      }
      if (update.kind === 'events') break;
    }
    assert.deepEqual(links, [{ up: true, via: 'event-stream' }]);
  });
});

/** Neither the join token nor a part of it was heard. */
function requireNoSecret(heard: readonly string[], token: string): void {
  const parts = JSON.parse(Buffer.from(token.slice(5), 'base64url').toString()) as { secret: string };
  const all = heard.join('\n');
  for (const secret of [token, parts.secret]) assert.ok(!all.includes(secret), 'a secret was told');
  assert.doesNotMatch(all, /authorization/i);
}

test('a host follows its registry to another address by a join token that names it, and stays the same host', async (t) => {
  const stage = Stage.open(t, { startMs: Date.now() });
  let registry = await stage.registry({ tls: { kind: 'own' } });
  const { dataDir } = registry;
  let agent = await stage.agent({ registry: { url: null, token: await joinToken(registry) } });
  const up = ({ connected, target }: RegistryStatus) => connected && target.tag !== null;
  await settles(agent, [stage.clock], up);
  const { id } = await registry.client.hosts.get('edge-1');
  const before = registry.url;
  await registry.close();
  registry = await stage.registry({ tls: { kind: 'own' }, dataDir });
  assert.notEqual(registry.url, before);
  const from = agent.dataDir;
  await agent.close();
  agent = await stage.agent({ dataDir: from, registry: { url: null, token: await joinToken(registry) } });
  await settles(agent, [stage.clock], up);
  const { items } = await registry.client.hosts.list({}, { limit: 10 });
  assert.deepEqual(
    items.map((host) => [host.id, host.status]),
    [[id, 'UP']],
  );
});
