/** Join tokens over real HTTP: made, used, raced, reused, and refused where hosts could not come. */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { joinStatement, signProof } from '../../src/domain/proof.ts';
import type { TokenRequest } from '../../src/domain/token.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import { joinBearer, parseJoinToken } from '../../src/wire/join-token.ts';
import { type AgentBoot, type Booted, Stage } from '../helpers/boot.ts';
import { exchange } from '../helpers/http.ts';
import { tempFolder } from '../helpers/temp.ts';

/** A machine with a key of its own. */
class Machine {
  readonly #key = generateKeyPairSync('ed25519').privateKey;
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** What it sends to join with a token. */
  body(tokenId: string) {
    const publicKey = createPublicKey(this.#key).export({ format: 'der', type: 'spki' }).toString('base64');
    const said = { name: this.name, machineId: `machine of ${this.name}`, publicKey };
    return { ...said, proof: signProof(this.#key, joinStatement({ tokenId, ...said })) };
  }

  join(registry: Booted<unknown>, token: string, change: object = {}) {
    const parts = parseJoinToken(token);
    const body = { ...this.body(parts.id), ...change };
    return registry.http({ method: 'POST', path: '/v1/join', token: joinBearer(parts), body });
  }
}

async function make(registry: Booted<unknown>, request: Omit<TokenRequest, 'role'> = {}): Promise<string> {
  return (await registry.client.tokens.create(systemCaller, { role: 'host', ...request })).token;
}

describe('a join token', () => {
  it('says where the registry is and by which keys it is known', async (t) => {
    const registry = await Stage.open(t).registry({ advertiseUrls: ['https://registry.example:7420'] });
    const { urls, key, ca } = parseJoinToken(await make(registry));
    const { json } = await registry.http({ path: '/v1/trust', token: undefined });
    assert.deepEqual([urls, key, ca], [['https://registry.example:7420'], json.keys[0].key, null]);
  });

  it('is told to be used once the host has joined, not before and not again', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const used = Promise.withResolvers<string | undefined>();
    let count = 0;
    const dataDir = stage.folder();
    const boot: AgentBoot = {
      dataDir,
      registry: {
        url: null,
        token: await make(registry),
        tokenUsed: async () => {
          count += 1;
          const { json } = await registry.http({ path: '/v1/hosts' });
          used.resolve(json.items[0]?.name);
        },
      },
    };
    const agent = await stage.agent(boot);
    assert.equal(await used.promise, 'edge-1');
    await agent.close();
    await (await stage.agent(boot)).close();
    assert.equal(count, 1);
  });

  it('lets a host in, with what the token gives it, and opens nothing else', async (t) => {
    const registry = await Stage.open(t).registry();
    const token = await make(registry, { labels: { env: 'prod' }, region: 'eu', name: 'shop-*' });
    const bearer = joinBearer(parseJoinToken(token));
    for (const path of ['/v1/hosts', '/v1/services', '/v1/whoami', '/v1/watch', '/v1/components'])
      assert.equal((await registry.http({ path, token: bearer })).status, 403, path);
    const stranger = await new Machine('edge-1').join(registry, token);
    assert.deepEqual([stranger.status, stranger.json.field], [403, 'name']);
    const joined = await new Machine('shop-1').join(registry, token);
    assert.equal(joined.status, 200, joined.text);
    const { json: host } = await registry.http({ path: '/v1/hosts/shop-1' });
    assert.deepEqual([host.id, host.labels, host.region], [joined.json.id, { env: 'prod' }, 'eu']);
    const [entry] = (await registry.client.audit.list({ type: ['host.joined'] }, { limit: 1 })).items;
    assert.deepEqual([entry?.role, entry?.tokenId], ['joiner', parseJoinToken(token).id]);
  });

  it('G3: lets exactly one of 100 at once in, and nobody afterwards', async (t) => {
    const registry = await Stage.open(t).registry();
    const token = await make(registry);
    const machines = Array.from({ length: 100 }, (_, index) => new Machine(`edge-${index}`));
    const answers = await Promise.all(machines.map((machine) => machine.join(registry, token)));
    const statuses = answers.map(({ status }) => status).sort();
    assert.deepEqual(statuses, [200, ...Array.from({ length: 99 }, () => 401)]);
    assert.equal((await registry.client.hosts.list({}, { limit: 10 })).items.length, 1);
    const [winner] = answers.flatMap((answer, index) => (answer.status === 200 ? [index] : []));
    const other = machines[(winner ?? 0) === 0 ? 1 : 0];
    assert.match((await other?.join(registry, token))?.json.detail, /used up/);
  });

  it('G3: is good again for the very host that may not have heard the answer, by its key alone', async (t) => {
    const registry = await Stage.open(t).registry();
    const token = await make(registry);
    const machine = new Machine('edge-1');
    const first = await machine.join(registry, token);
    const again = await machine.join(registry, token);
    assert.deepEqual([first.status, again.status, again.json.id], [200, 200, first.json.id]);
    const thief = await new Machine('edge-1').join(registry, token);
    assert.equal(thief.status, 401, 'the same name and machine, another key');
    await registry.http({ method: 'DELETE', path: `/v1/hosts/${first.json.id}/credential` });
    assert.equal((await machine.join(registry, token)).status, 401, 'a revoked host needs another token');
  });

  it('G3: is refused once it has expired or was revoked, and without a proof of the key', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const machine = new Machine('edge-1');
    const revoked = await make(registry);
    await registry.client.tokens.revoke(systemCaller, parseJoinToken(revoked).id);
    assert.equal((await machine.join(registry, revoked)).status, 401);
    const late = await make(registry, { expiresInMs: 60_000 });
    stage.clock.stall(60_000);
    assert.equal((await machine.join(registry, late)).status, 401);
    const token = await make(registry);
    const keyless = await machine.join(registry, token, { publicKey: undefined, proof: undefined });
    assert.equal(keyless.status, 400, keyless.text);
    const otherName = await machine.join(registry, token, { name: 'edge-2' });
    assert.deepEqual(
      [otherName.status, otherName.json.field],
      [400, 'proof'],
      'it was proved for another name',
    );
    assert.equal((await machine.join(registry, token)).status, 200, 'none of these has used it up');
  });

  it('is not made where hosts elsewhere could not find the registry', async (t) => {
    const dataDir = tempFolder(t);
    const registry = await createRegistry({
      dataDir,
      listen: { host: '0.0.0.0', port: 0 },
      tls: { kind: 'off' },
      behindProxy: true,
      logger: silentLogger,
      limits: { store: { ballastBytes: 0 } },
    });
    t.after(() => registry.close());
    const token = readFileSync(join(dataDir, 'admin.token'), 'utf8').trim();
    const at = `http://127.0.0.1:${new URL(registry.url).port}`;
    const path = '/v1/tokens';
    const refused = await exchange(at, { method: 'POST', path, token, body: { role: 'host' } });
    assert.equal(refused.status, 422, refused.text);
    assert.match(refused.json.detail, /--advertise-url/);
    const { json } = await exchange(at, { path: `${path}?kind=join`, token });
    assert.deepEqual(json.items, [], 'nothing of it is left');
  });
});
