/** `holdfast updates` against a real registry. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';
import { Stage } from '../helpers/boot.ts';
import { cli } from './harness.ts';

async function world(t: TestContext) {
  const registry = await Stage.open(t).registry();
  const checkIn = async (name: string, components: readonly Component[], labels = {}) => {
    const { json } = await registry.http({
      method: 'POST',
      path: '/v1/join',
      body: { name, region: null, machineId: name },
    });
    await registry.http({ method: 'PATCH', path: `/v1/hosts/${json.id}`, body: { labels } });
    const body = { base: null, hash: inventoryHash(components), components };
    const path = `/v1/hosts/${json.id}/checkin`;
    const taken = await registry.http({ method: 'POST', path, body, token: json.credential });
    assert.equal(taken.json.accepted, true, taken.text);
  };
  const publish = async (component: string, version: string) => {
    const path = `/v1/components/${encodeURIComponent(component)}/trains/stable/releases/${version}`;
    assert.equal((await registry.http({ method: 'PUT', path, body: {} })).status, 201);
  };
  const env = { HOLDFAST_URL: registry.url, HOLDFAST_TOKEN: registry.token, NO_COLOR: '1' };
  const run = (...argv: string[]) => cli(['updates', ...argv], { env });
  return { registry, checkIn, publish, run };
}

const dpkg = (name: string, version: string): Component => ({ name, version, detector: 'dpkg' });

test('updates says what to do where nothing is published, and exits with 0', async (t) => {
  const { checkIn, run } = await world(t);
  const nobody = await run();
  assert.deepEqual([nobody.code, nobody.stdout], [0, '']);
  assert.match(nobody.stderr, /\nnothing is out of date\n$/);
  await checkIn('edge-1', [dpkg('bash', '5'), dpkg('curl', '7')]);
  const unknown = await run();
  assert.deepEqual([unknown.code, unknown.stdout], [0, '']);
  assert.match(unknown.stderr, /nothing is known of 2 installed components.*holdfast releases publish/);
});

test('updates is a table by component; with --host, what to install there; and exits with 1', async (t) => {
  const { checkIn, publish, run } = await world(t);
  await checkIn('edge-1', [dpkg('bash', '5.2.15-2+b8'), dpkg('openssl', '3.0.11-1~deb12u2')]);
  await checkIn('edge-2', [dpkg('openssl', '3.0.13-1~deb12u1')], { env: 'prod' });
  await publish('openssl', '3.0.13-1~deb12u1');
  const fleet = await run();
  assert.equal(fleet.code, 1);
  assert.match(
    fleet.stdout,
    /^COMPONENT +TRAIN +LATEST +RELEASED +OUT OF DATE +UP TO DATE\nopenssl +stable +3\.0\.13-1~deb12u1 +\S.* +1 host +1 host\n$/,
  );
  assert.match(fleet.stderr, /\nnothing is known of 1 installed component: no release/);
  const longest = Math.max(...fleet.stdout.split('\n').map((line) => line.length));
  assert.ok(longest <= 80, `${longest} columns`);
  const host = await run('--host', 'edge-1');
  assert.equal(host.code, 1);
  assert.match(
    host.stdout,
    /^COMPONENT +INSTALLED +LATEST +TRAIN +RELEASED\nopenssl +3\.0\.11-1~deb12u2 +3\.0\.13-1~deb12u1 +stable +\S.*\n$/,
  );
  const wide = await run('-o', 'wide');
  assert.match(wide.stdout, /3\.0\.13-1~deb12u1 \(1\), 3\.0\.11-1~deb12u2 \(1\)\n$/);
  for (const argv of [
    ['--host', 'edge-2'],
    ['--selector', 'env=prod'],
    ['--component', 'bash'],
  ])
    assert.deepEqual([(await run(...argv)).code, (await run(...argv)).stdout], [0, ''], argv.join(' '));
});

test("updates -o json is the server's own answer, with the same exit codes", async (t) => {
  const { checkIn, publish, run } = await world(t);
  await checkIn('edge-1', [dpkg('bash', '5')]);
  assert.equal((await run('-o', 'json')).code, 0);
  await publish('bash', '6');
  for (const [argv, field] of [
    [[], 'hostsOutOfDate'],
    [['--host', 'edge-1'], 'installed'],
  ] as const) {
    const { code, stdout } = await run('-o', 'json', ...argv);
    const document = JSON.parse(stdout);
    assert.deepEqual([code, document.items.length, document.unknown], [1, 1, 0]);
    assert.equal(document.items[0].latest, '6');
    assert.ok(field in document.items[0], field);
  }
});

test('updates refuses a host, a selector and an order that are none', async (t) => {
  const { run } = await world(t);
  for (const [argv, code, message] of [
    [['--host', 'nobody'], 3, /nobody/],
    [['--selector', 'env=('], 2, /selector/],
    [['--order', 'size'], 2, /version, date/],
  ] as const) {
    const refused = await run(...argv);
    assert.equal(refused.code, code, refused.stderr);
    assert.match(refused.stderr, message);
  }
});

test('updates of a token of limited scope are those of its hosts and applications', async (t) => {
  const { registry, checkIn, publish } = await world(t);
  for (const [name, env] of [['edge-in', 'in'] as const, ['edge-out', 'out'] as const])
    await checkIn(name, [dpkg('shop/api', '1'), dpkg('other/api', '1')], { env });
  await publish('shop/api', '2');
  await publish('other/api', '2');
  const body = { role: 'viewer', subject: 'v', scope: { hosts: 'env=in', apps: ['shop'] } };
  const { json } = await registry.http({ method: 'POST', path: '/v1/tokens', body });
  const ask = (path: string) => registry.http({ path, token: json.token });
  const hosts = (await ask('/v1/updates')).json;
  assert.deepEqual(
    hosts.items.map(({ host, component }: Record<string, string>) => [host, component]),
    [['edge-in', 'shop/api']],
  );
  const components = (await ask('/v1/updates/components')).json;
  assert.deepEqual(
    components.items.map((item: Record<string, unknown>) => [item['component'], item['hostsOutOfDate']]),
    [['shop/api', 1]],
  );
  for (const host of ['edge-out', 'nobody'])
    assert.equal((await ask(`/v1/updates?host=${host}`)).status, 404, host);
});

test('updates refuses one host and a selector together, and says that a component may be nowhere', async (t) => {
  const { checkIn, publish, run } = await world(t);
  await checkIn('edge-1', [dpkg('bash', '5')]);
  await publish('bash', '5');
  const both = await run('--host', 'edge-1', '--selector', 'env=prod');
  assert.equal(both.code, 2);
  assert.match(both.stderr, /pass either --host or --selector\n$/);
  const misspelt = await run('--component', 'bsh');
  assert.equal(misspelt.code, 0);
  assert.match(misspelt.stderr, /nothing is out of date: "bsh" is the latest .*, or installed nowhere\n$/);
});
