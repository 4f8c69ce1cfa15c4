/** Installed components over HTTP, of a real registry: as they were, and what became of them. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';
import { Stage } from '../helpers/boot.ts';

async function boot(t: TestContext) {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const { json: joined } = await registry.http({
    method: 'POST',
    path: '/v1/join',
    body: { name: 'edge-1', region: null, machineId: 'm' },
  });
  const checkIn = async (...components: Component[]) => {
    const body = { base: null, hash: inventoryHash(components), components };
    const path = `/v1/hosts/${joined.id}/checkin`;
    const answer = await registry.http({ method: 'POST', path, body, token: joined.credential });
    assert.equal(answer.json.accepted, true, answer.text);
    stage.clock.stall(60_000);
  };
  const get = async (path: string) => registry.http({ path });
  return { registry, stage, checkIn, get, id: joined.id as string };
}

const openssl = (version: string): Component => ({ name: 'openssl', version, detector: 'dpkg' });

test('listComponents and listHostComponents answer as of a moment, which stands in asOf', async (t) => {
  const { checkIn, get, stage } = await boot(t);
  await checkIn(openssl('3.0.11'));
  await checkIn(openssl('3.0.13'));
  const at = new Date(stage.clock.now() - 90_000).toISOString();
  const then = await get('/v1/components?asOf=90s');
  assert.deepEqual(then.json.items, [{ name: 'openssl', versions: [{ version: '3.0.11', hosts: 1 }] }]);
  assert.equal(then.json.asOf, at);
  const ofHost = await get(`/v1/hosts/edge-1/components?asOf=${at}`);
  assert.deepEqual([ofHost.json.items[0].version, ofHost.json.asOf], ['3.0.11', at]);
  const none = await get('/v1/components?has=openssl%3C3.0.13');
  assert.deepEqual(none.json.items, []);
  const had = await get('/v1/components?has=openssl%3C3.0.13&asOf=90s');
  assert.equal(had.json.items.length, 1);
});

test('listComponentChanges tells the difference, listHostHistory each step', async (t) => {
  const { checkIn, get, id } = await boot(t);
  await checkIn(openssl('3.0.11'));
  await checkIn(openssl('3.0.12'));
  await checkIn(openssl('3.0.13'));
  const turn = { name: 'openssl', detector: 'dpkg' };
  const [a, b, c] = ['3.0.11', '3.0.12', '3.0.13'].map((version) => ({ version }));
  const differences = await get('/v1/history/components?from=150s&name=openssl');
  assert.deepEqual(differences.json.items, [
    { hostId: id, host: 'edge-1', kind: 'changed', ...turn, before: a, after: c },
  ]);
  const history = await get('/v1/hosts/edge-1/history?from=150s');
  assert.deepEqual(
    (history.json.items as { at: string }[]).map(({ at: _, ...step }) => step),
    [
      { kind: 'component.changed', ...turn, before: a, after: b },
      { kind: 'component.changed', ...turn, before: b, after: c },
    ],
  );
  const whole = (await get(`/v1/hosts/${id}/history`)).json.items as { kind: string; at: string }[];
  const [joined, ...rest] = whole;
  assert.deepEqual([joined?.kind, rest.length], ['host.joined', 3]);
  const state = { name: 'edge-1', region: null, labels: {}, self: {}, status: 'UP', reason: null };
  const after = { ...state, revokedAt: null, version: 1 };
  assert.deepEqual(joined, {
    at: joined?.at,
    kind: 'host.joined',
    name: 'edge-1',
    changed: [],
    before: null,
    after,
  });
});

test('what cannot be answered of the past is refused, and says why', async (t) => {
  const { get } = await boot(t);
  const refused = async (path: string) => {
    const { status, json } = await get(path);
    return [status, json.code, json.field];
  };
  assert.deepEqual(await refused('/v1/components?asOf=2099-01-01T00:00:00Z'), [400, 'bad-request', 'asOf']);
  assert.deepEqual(await refused('/v1/components?asOf=2001-01-01T00:00:00Z'), [410, 'compacted', 'asOf']);
  assert.deepEqual(await refused('/v1/components?has=openssl'), [400, 'bad-request', 'has']);
  const ranges = 'has=a%3D1&'.repeat(limits.rangesMax + 1);
  assert.deepEqual(await refused(`/v1/components?${ranges}`), [400, 'bad-request', 'has']);
  assert.deepEqual(await refused(`/v1/hosts?${ranges}`), [400, 'bad-request', 'has']);
  assert.deepEqual(await refused('/v1/history/components'), [400, 'bad-request', 'from']);
  assert.deepEqual(await refused('/v1/history/components?from=1d&host=none'), [404, 'not-found', undefined]);
  assert.deepEqual(await refused('/v1/history/components?from=1d&to=2d'), [400, 'bad-request', 'from']);
});
