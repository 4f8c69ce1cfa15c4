/**
 * The rows of conformance/liveness.md that need more than one host: lists, regions, and what an agent answers about
 * the rest of the fleet. The last test is in real time, the control of all that a fake clock has shown.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Booted, cable, passTime, Stage, settle } from '../helpers/boot.ts';
import { follow, told } from '../helpers/follow.ts';
import { compute, conductor, nobody, outcome, uuidNo } from '../helpers/records.ts';
import { until } from '../helpers/until.ts';

/** Five services of which two are DOWN, in uuid order. */
const fleet = [
  { type: 'nova-compute', host: 'rack1-a', region: 'us-east' },
  { type: 'nova-compute', host: 'rack1-b', region: 'us-east', status: 'DOWN' },
  { type: 'nova-conductor', host: 'rack1-a', region: 'us-east' },
  { type: 'nova-compute', host: 'rack2-a', region: 'us-west', status: 'DOWN' },
  { type: 'shop/api', host: 'rack3-a' },
].map((body, index) => ({ uuid: uuidNo(index), ...body }));

async function register({ http }: Booted<unknown>): Promise<void> {
  for (const { uuid, ...body } of fleet) {
    const { status, text } = await http({
      method: 'PUT',
      path: `/v1/services/${uuid}`,
      body: { ...body, ttl: '1d' },
    });
    assert.equal(status, 201, text);
  }
}

async function found({ http }: Booted<unknown>, query: string): Promise<number[]> {
  const { status, json, text } = await http({ path: `/v1/services${query}` });
  assert.equal(status, 200, text);
  return json.items.map(({ uuid }: { uuid: string }) => fleet.findIndex((one) => one.uuid === uuid));
}

/** L10: query → which of the fleet. */
const lists: readonly (readonly [string, readonly number[]])[] = [
  ['', [0, 1, 2, 3, 4]],
  ['?region=us-east', [0, 1, 2]],
  ['?region=us-east&region=us-west', [0, 1, 2, 3]],
  ['?region=nowhere', []],
  ['?region=US-EAST', []],
  ['?type=nova-compute', [0, 1, 3]],
  ['?type=shop%2Fapi', [4]],
  ['?type=shop%2Fapi&type=nova-conductor', [2, 4]],
  ['?host=rack1-a', [0, 2]],
  ['?host=RACK1-A&host=rack2-a', [0, 2, 3]],
  ['?status=UP', [0, 2, 4]],
  ['?status=DOWN', [1, 3]],
  ['?status=DOWN&status=UP', [0, 1, 2, 3, 4]],
  ['?region=us-east&status=UP', [0, 2]],
  ['?region=us-east&status=UP&type=nova-compute', [0]],
  ['?region=us-east&region=us-west&type=nova-compute&status=DOWN', [1, 3]],
  ['?type=nova-compute&host=rack3-a', []],
  [`?uuid=${uuidNo(3).toUpperCase()}&uuid=${uuidNo(0).replaceAll('-', '')}`, [0, 3]],
  [`?uuid=${uuidNo(3)}&region=us-east`, []],
  [`?uuid=${nobody}`, []],
];

test('L10 lists: each filter alone, repeated (OR), combined (AND), none', async (t) => {
  const registry = await Stage.open(t).registry();
  await register(registry);
  for (const [query, which] of lists) assert.deepEqual([query, await found(registry, query)], [query, which]);
  const { items } = await registry.client.liveness.list(
    { region: ['us-east'], status: ['UP', 'DOWN'] },
    { limit: 2 },
  );
  assert.deepEqual(
    items.map(({ uuid }) => uuid),
    [uuidNo(0), uuidNo(1)],
  );
});

test('L10 an agent lists the fleet as its registry does, with its own records where they belong', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const agent = await stage.agent({ registry, name: 'rack9-a' });
  await register(registry);
  await until(
    () =>
      agent.role.hostName() === 'rack9-a' &&
      agent.role.status().then((status) => JSON.stringify(status).includes('rack9-a')),
  );
  for (const [query, which] of lists) {
    await until(
      // Before it has joined it answers what it has itself, and says so.
      async () => (await agent.http({ path: `/v1/services${query}` })).json.stale === false,
      'the agent never joined',
    );
    assert.deepEqual([query, await found(agent, query)], [query, which]);
  }
  const own = '11111111-2222-4333-8444-000000000002'.replace('1111', '0111');
  assert.equal(
    (
      await agent.http({
        method: 'PUT',
        path: `/v1/services/${own}`,
        body: { type: 'local', host: 'rack9-a', region: 'us-east' },
      })
    ).status,
    201,
  );
  assert.deepEqual(await found(agent, '?region=us-east'), [-1, 0, 1, 2]);
  // And the registry knows it from the agent, once, held by it.
  const { json } = await until(async () => {
    const answer = await registry.http({ path: `/v1/services/${own}` });
    return answer.status === 200 && answer;
  });
  assert.deepEqual([json.heldBy, json.host, json.type], ['agent', 'rack9-a', 'local']);
  assert.deepEqual(await found(agent, '?region=us-east'), [-1, 0, 1, 2]);
  // Others are asked of it, never changed through it.
  assert.equal((await agent.http({ path: `/v1/is-up?uuid=${uuidNo(0)}` })).json.up, true);
  assert.equal((await agent.http({ path: '/v1/is-up?type=nova-compute&host=rack1-b' })).json.reason, 'set');
  assert.equal((await agent.http({ path: `/v1/is-up?uuid=${nobody}` })).json.known, false);
  const foreign = { type: 'nova-compute', host: 'rack1-b' };
  assert.equal(
    outcome(await agent.http({ method: 'PUT', path: `/v1/services/${compute.uuid}`, body: foreign })),
    '422 unprocessable host',
  );
});

test('L10 host names are found however they are written, as they are stored', async (t) => {
  const registry = await Stage.open(t).registry();
  const body = { type: 'web', host: 'My_Host.Example' };
  const { json } = await registry.http({ method: 'PUT', path: `/v1/services/${conductor.uuid}`, body });
  assert.equal(json.host, 'my-host.example');
  for (const host of ['My_Host.Example', 'my_host.example', 'my-host.example', 'MY%5FHOST.example']) {
    assert.equal((await registry.http({ path: `/v1/is-up?type=web&host=${host}` })).json.up, true, host);
    assert.equal((await registry.http({ path: `/v1/services?host=${host}` })).json.items.length, 1, host);
  }
  const many = await registry.http({ method: 'POST', path: '/v1/is-up', body: { items: [body] } });
  assert.equal(many.json.items[0].up, true);
  assert.equal(
    (await registry.http({ method: 'DELETE', path: '/v1/services?type=web&host=My_Host.Example' })).status,
    204,
  );
});

test('L11 a service that changes its region is found in the new one only, by list, record and watch', async (t) => {
  const registry = await Stage.open(t).registry();
  await register(registry);
  const west = await follow(registry.client, { select: { services: { region: ['us-west'] } } });
  const set = (region: string | null) =>
    registry.http({ method: 'PUT', path: `/v1/services/${uuidNo(0)}`, body: { region } });
  assert.equal((await set('us-west')).json.region, 'us-west');
  assert.deepEqual(await found(registry, '?region=us-east'), [1, 2]);
  assert.deepEqual(await found(registry, '?region=us-west'), [0, 3]);
  assert.deepEqual(await found(registry, '?region=us-east&region=us-west'), [0, 1, 2, 3]);
  assert.equal((await west.count(1))[0]?.service, 'nova-compute');
  await set(null);
  assert.deepEqual(await found(registry, '?region=us-west'), [3]);
  assert.deepEqual(await found(registry, ''), [0, 1, 2, 3, 4]);
  // os-lively forgot a whole region with the first record that was deleted in it.
  assert.equal((await registry.http({ method: 'DELETE', path: `/v1/services/${uuidNo(1)}` })).status, 204);
  assert.deepEqual(await found(registry, '?region=us-east'), [2]);
  await west.stop();
});

test('a record that an agent holds is DOWN with its host, UP with its return, and beaten at the agent', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const link = cable(stage.clock);
  const agent = await stage.agent({ registry, name: 'edge-1', connect: link.connect });
  const put = {
    method: 'PUT',
    path: `/v1/services/${conductor.uuid}`,
    body: { type: 'web', host: 'edge-1', ttl: '1d' },
  };
  assert.equal((await agent.http(put)).status, 201);
  await until(async () => (await registry.http({ path: `/v1/services/${conductor.uuid}` })).status === 200);
  const watch = await follow(registry.client, { select: { types: ['host.*', 'service.*'] } });
  link.pulled = true;
  await passTime(stage.clock, 30_000, [registry, agent]);
  assert.deepEqual((await watch.count(2)).map(told), ['host.lapsed DOWN', 'service.lapsed DOWN']);
  assert.equal(watch.events()[0]?.position, watch.events()[1]?.position);
  const lost = (await registry.http({ path: `/v1/is-up?uuid=${conductor.uuid}` })).json;
  assert.deepEqual([lost.up, lost.reason], [false, 'host']);
  // At home it never was down.
  assert.equal((await agent.http({ path: `/v1/is-up?uuid=${conductor.uuid}` })).json.up, true);
  link.pulled = false;
  await passTime(stage.clock, 60_000, [registry, agent]);
  assert.deepEqual((await watch.count(4)).slice(2).map(told).sort(), [
    'host.returned UP',
    'service.revived UP',
  ]);
  assert.equal((await registry.http({ path: `/v1/is-up?uuid=${conductor.uuid}` })).json.up, true);
  await watch.stop();
});

test('in real time: beaten every second it stays UP, silent it lapses after its ttl and not before', async (t) => {
  const stage = Stage.live(t);
  const servers = [await stage.registry(), await stage.agent({ registry: null, name: 'edge-1' })];
  await Promise.all(
    servers.map(async (server) => {
      const put = (uuid: string, type: string) =>
        server.http({ method: 'PUT', path: `/v1/services/${uuid}`, body: { type, host: 'edge-1', ttl: 5 } });
      const watch = await follow(server.client, { select: { types: ['service.lapsed', 'service.revived'] } });
      await put(conductor.uuid, 'beaten');
      await put(compute.uuid, 'silent');
      const began = performance.now();
      const beating = setInterval(
        () =>
          server
            .http({ method: 'POST', path: `/v1/services/${conductor.uuid}/heartbeat` })
            .catch(() => undefined),
        1_000,
      );
      try {
        const [event] = await watch.count(1);
        const tookMs = performance.now() - began;
        assert.equal(event?.service, 'silent');
        assert(tookMs > 4_900, `lapsed after ${tookMs} ms already`);
        t.diagnostic(`a ttl of 5,000 ms lapsed after ${Math.round(tookMs)} ms`);
        // The beaten one is past its ttl too by now.
        await until(() => performance.now() - began > 6_500);
        assert.equal((await server.http({ path: `/v1/is-up?uuid=${conductor.uuid}` })).json.up, true);
      } finally {
        clearInterval(beating);
      }
      await server.http({ method: 'POST', path: `/v1/services/${compute.uuid}/heartbeat` });
      assert.deepEqual((await watch.count(2)).map(told), ['service.lapsed DOWN', 'service.revived UP']);
      await watch.stop();
    }),
  );
  await settle(servers);
});
