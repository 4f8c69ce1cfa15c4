/** The audit over real HTTP. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemCaller } from '../../src/domain/access.ts';
import { Stage } from '../helpers/boot.ts';

describe('/v1/audit', () => {
  it('tells who did what with which token, to an admin only', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const { tokens, audit } = registry.client;
    const { token, record } = await tokens.create(systemCaller, { role: 'admin', subject: 'ann' });
    const { id } = await registry.client.hosts.join(systemCaller, {
      name: 'edge-1',
      region: null,
      machineId: 'm',
    });
    const made = await registry.http({
      method: 'POST',
      path: '/v1/tokens',
      token,
      body: { role: 'viewer', subject: 'bob' },
    });
    const { items } = await audit.list({}, { limit: 10 });
    assert.deepEqual(
      items.map(({ actor, tokenId, type, host }) => [actor, tokenId, type, host]),
      [
        ['ann', record.id, 'token.issued', null],
        ['admin.token', items[1]?.tokenId, 'host.joined', 'edge-1'],
        ['admin.token', items[1]?.tokenId, 'token.issued', null],
        ['system', null, 'token.issued', null],
      ],
    );
    assert.deepEqual(
      items.slice(0, 2).map(({ body }) => (body as { id: string }).id),
      [made.json.id, id],
    );
    const refused = await registry.http({ path: '/v1/audit', token: made.json.token });
    assert.equal(refused.status, 403);
    const verified = await registry.http({ path: '/v1/audit/verification' });
    assert.equal(verified.json.ok, true);
    const wrong = await registry.http({ path: '/v1/audit?type=token.eaten' });
    assert.deepEqual([wrong.status, wrong.json.field], [400, 'type']);
  });

  it('G2: notes each who is known and was refused, once a minute', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const { hosts, audit } = registry.client;
    const join = (name: string) => hosts.join(systemCaller, { name, region: null, machineId: name });
    const [mine, other] = [await join('edge-1'), await join('edge-2')];
    const attack = () =>
      registry.http({
        method: 'POST',
        path: `/v1/hosts/${other.id}/heartbeat`,
        token: mine.credential,
        body: {},
      });
    for (let i = 0; i < 5; i += 1) assert.equal((await attack()).status, 403);
    const noted = async () => (await audit.list({ type: ['token.refused'] }, { limit: 10 })).items;
    const [entry, ...more] = await noted();
    assert.deepEqual([entry?.actor, entry?.role, more.length], ['host:edge-1', 'host', 0]);
    const path = `/v1/hosts/${other.id}/heartbeat`;
    assert.deepEqual(entry?.body, { role: 'host', token: entry?.tokenId, operation: 'beatHost', path });
    stage.clock.stall(60_000);
    await attack();
    assert.equal((await noted()).length, 2);
  });

  it('holds no secret', async (t) => {
    const registry = await Stage.open(t).registry();
    const { token } = await registry.client.tokens.create(systemCaller, { role: 'viewer', subject: 'ann' });
    const { text } = await registry.http({ path: '/v1/audit' });
    for (const secret of [token, registry.token]) assert.equal(text.includes(secret.slice(34)), false);
  });
});
