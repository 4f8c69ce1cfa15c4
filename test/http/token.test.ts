/** Tokens over real HTTP, on a real registry and agent. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemCaller } from '../../src/domain/access.ts';
import { isAppError } from '../../src/domain/error.ts';
import { Stage } from '../helpers/boot.ts';

const dayMs = 86_400_000;

describe('/v1/tokens', () => {
  it('issues a token that opens what its role may, shows it once, and ends it', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const made = await registry.http({
      method: 'POST',
      path: '/v1/tokens',
      body: { role: 'viewer', subject: 'ann', expiresIn: '2d' },
    });
    assert.equal(made.status, 201);
    const { token, ...document } = made.json;
    assert.match(token, /^hf_tok-/);
    assert.deepEqual(document, {
      id: document.id,
      kind: 'api',
      role: 'viewer',
      subject: 'ann',
      scope: null,
      uses: null,
      labels: {},
      region: null,
      name: null,
      host: null,
      createdBy: 'admin.token',
      createdAt: '2026-01-01T00:00:00.000Z',
      expiresAt: '2026-01-03T00:00:00.000Z',
      revokedAt: null,
    });
    const path = `/v1/tokens/${document.id}`;
    assert.deepEqual((await registry.http({ path })).json, document);
    assert.equal((await registry.http({ path: '/v1/hosts', token })).status, 200);
    assert.equal((await registry.http({ path, token })).status, 403);
    assert.equal((await registry.http({ method: 'DELETE', path })).status, 204);
    assert.equal((await registry.http({ method: 'DELETE', path })).status, 204, 'twice is once');
    assert.equal((await registry.http({ path: '/v1/hosts', token })).status, 401);
    assert.equal((await registry.http({ path })).json.revokedAt, '2026-01-01T00:00:00.000Z');
    const unknown = await registry.http({ method: 'DELETE', path: '/v1/tokens/tok-none' });
    assert.deepEqual([unknown.status, unknown.json.code], [404, 'not-found']);
  });

  it('keeps no answer that holds a secret, whatever Idempotency-Key it came with', async (t) => {
    const registry = await Stage.open(t).registry();
    const ask = () =>
      registry.http({
        method: 'POST',
        path: '/v1/tokens',
        headers: { 'idempotency-key': 'one' },
        body: { role: 'viewer', subject: 'ann' },
      });
    const [first, second] = [await ask(), await ask()];
    assert.notEqual(first.json.token, second.json.token);
  });

  it('lists tokens page by page, those of hosts when asked', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const { tokens, hosts } = registry.client;
    for (const subject of ['ann', 'bob', 'cat']) {
      await stage.clock.advance(1);
      await tokens.create(systemCaller, { role: subject === 'cat' ? 'operator' : 'viewer', subject });
    }
    await hosts.join(systemCaller, { name: 'edge-1', region: null, machineId: 'm' });
    const first = await tokens.list({}, { limit: 2 });
    assert.deepEqual(
      first.items.map(({ subject }) => subject),
      ['admin.token', 'ann'],
    );
    const second = await tokens.list({}, { limit: 2, cursor: first.next ?? '' });
    assert.deepEqual(
      second.items.map(({ subject }) => subject),
      ['bob', 'cat'],
    );
    assert.equal(second.next, null);
    const of = async (filter: Parameters<typeof tokens.list>[0]) =>
      (await tokens.list(filter, { limit: 10 })).items.map(({ subject }) => subject);
    assert.deepEqual(await of({ role: ['operator'] }), ['cat']);
    assert.deepEqual(await of({ subject: ['ann', 'bob'] }), ['ann', 'bob']);
    assert.deepEqual(await of({ kind: ['host'] }), ['host:edge-1']);
  });

  it('names what is wrong with a request, and makes nothing', async (t) => {
    const registry = await Stage.open(t).registry();
    const wrong: readonly (readonly [field: string, status: number, body: object])[] = [
      ['role', 400, { role: 'god', subject: 'ann' }],
      ['role', 400, { subject: 'ann' }],
      ['subject', 400, { role: 'viewer' }],
      ['subject', 400, { role: 'viewer', subject: 'local' }],
      ['expiresIn', 400, { role: 'viewer', subject: 'ann', expiresIn: '500d' }],
      ['expiresIn', 400, { role: 'viewer', subject: 'ann', expiresIn: 'soon' }],
      ['uses', 400, { role: 'viewer', subject: 'ann', uses: 1 }],
      ['secret', 400, { role: 'viewer', subject: 'ann', secret: 'x' }],
    ];
    for (const [field, status, body] of wrong) {
      const answer = await registry.http({ method: 'POST', path: '/v1/tokens', body });
      assert.deepEqual([answer.status, answer.json.field], [status, field], JSON.stringify(body));
    }
    assert.equal((await registry.client.tokens.list({}, { limit: 10 })).items.length, 1);
  });

  it('makes no join tokens on an agent', async (t) => {
    const agent = await Stage.open(t).agent({ registry: null });
    await assert.rejects(agent.client.tokens.create(systemCaller, { role: 'host' }), (error) =>
      isAppError(error, 'unprocessable'),
    );
    const { record } = await agent.client.tokens.create(systemCaller, { role: 'reporter', subject: 'shop' });
    assert.equal(record.expiresAtMs - record.createdAtMs, 90 * dayMs);
  });
});

describe('/v1/whoami', () => {
  it('says who the caller is, by its credential', async (t) => {
    const registry = await Stage.open(t).registry();
    const { id, credential } = await registry.client.hosts.join(systemCaller, {
      name: 'edge-1',
      region: null,
      machineId: 'm',
    });
    const who = async (token: string | undefined) =>
      (await registry.http({ path: '/v1/whoami', token })).json;
    assert.deepEqual(await who(registry.token), {
      role: 'admin',
      subject: 'admin.token',
      host: null,
      scope: null,
      expiresAt: '2026-01-31T00:00:00.000Z',
    });
    const { role, subject, host } = await who(credential);
    assert.deepEqual([role, subject, host], ['host', 'host:edge-1', id]);
    assert.equal((await who(undefined)).code, 'unauthenticated');
  });
});
