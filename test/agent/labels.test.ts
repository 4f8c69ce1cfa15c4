/** What an operator says of a host reaches its agent by the target, and the agent selects and watches by it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage } from '../helpers/boot.ts';
import { follow } from '../helpers/follow.ts';
import { until } from '../helpers/until.ts';

test('labels and a name given at the registry hold at the agent: lists select by them, watches are told', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const agent = await stage.agent({ name: 'edge-1', registry: { url: registry.url, token: registry.token } });
  await agent.http({ method: 'POST', path: '/v1/services', body: { type: 'web' } });
  const hostsWith = async (of: typeof agent | typeof registry, selector: string) =>
    ((await of.http({ path: `/v1/services?selector=${selector}` })).json.items as { host: string }[]).map(
      ({ host }) => host,
    );
  const passing = async (what: string, is: () => Promise<boolean>) => {
    await until(async () => {
      await stage.clock.advance(1_000);
      return is();
    }, what);
  };
  await passing(
    'the host did not join',
    async () => (await hostsWith(registry, '@name=edge-1')).length === 1,
  );
  const watched = await follow(agent.client, { select: { hosts: 'env=prod' } });
  const patch = (body: object) => registry.http({ method: 'PATCH', path: '/v1/hosts/edge-1', body });

  assert.equal((await patch({ labels: { env: 'prod' } })).status, 200);
  assert.deepEqual(await hostsWith(registry, 'env=prod'), ['edge-1']);
  await passing('the labels did not arrive', async () => (await hostsWith(agent, 'env=prod')).length === 1);
  assert.equal((await patch({ name: 'shop-17' })).status, 200);
  await passing('the name did not arrive', async () => agent.role.hostName() === 'shop-17');
  await passing(
    'the record did not follow',
    async () => (await hostsWith(agent, 'env=prod'))[0] === 'shop-17',
  );
  assert.deepEqual(await hostsWith(registry, 'env=prod'), ['shop-17']);

  await watched.until(({ events }) => events().some(({ type }) => type === 'service.set'));
  assert.deepEqual(
    watched.events().map(({ type, host, before }) => [type, host, before]),
    [
      ['host.labelled', 'edge-1', { labels: {} }],
      ['host.renamed', 'shop-17', { name: 'edge-1' }],
      ['service.set', 'shop-17', { host: 'edge-1' }],
    ],
  );
  await watched.stop();
  // The registry has its copy of the record once, under the new name.
  const all = (await registry.http({ path: '/v1/services' })).json.items as {
    host: string;
    status: string;
  }[];
  assert.deepEqual(
    all.map(({ host, status }) => [host, status]),
    [['shop-17', 'UP']],
  );
});

test('a host that was renamed and lost its credential comes back as itself', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const machine = { name: 'edge-1', machineId: 'machine-1' };
  const join = async () => (await registry.http({ method: 'POST', path: '/v1/join', body: machine })).json;
  const first = await join();
  await registry.http({ method: 'PATCH', path: '/v1/hosts/edge-1', body: { name: 'shop-17' } });
  const again = await join();
  assert.deepEqual([again.id, again.name], [first.id, 'shop-17']);
  const other = await registry.http({
    method: 'POST',
    path: '/v1/join',
    body: { ...machine, machineId: 'machine-2' },
  });
  assert.notEqual(other.json.id, first.id);
  assert.equal(other.json.name, 'edge-1');
});
