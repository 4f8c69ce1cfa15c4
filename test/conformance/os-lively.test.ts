/**
 * What os-lively (seed 002) shows and tests, on a real registry: each example of its README through the command line
 * and through the client, and its two functional tests. Where it was wrong (a heartbeat that did not renew, a lapse
 * that nobody saw) the expectation is what its README promises.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatInstant } from '../../src/base/time.ts';
import { systemCaller as caller } from '../../src/domain/access.ts';
import { cli, type Outcome } from '../cli/harness.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import { follow, told } from '../helpers/follow.ts';
import { compute, conductor, nobody, uuidNo } from '../helpers/records.ts';

const once = { takeover: false };
const any = { limit: 100 };
const localhost = { type: 'nova-compute', host: 'localhost' };

/** The command line, talking to this server as its admin. */
function commandLine({
  url,
  token,
}: Booted<unknown>): (line: string, onStdout?: (text: string) => void) => Promise<Outcome> {
  const env = { HOLDFAST_URL: url, HOLDFAST_TOKEN: token };
  return (line, onStdout) => {
    const argv = (line.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
    return cli(argv, { env, ...(onStdout === undefined ? {} : { onStdout }) });
  };
}

test('README "Getting started" through the command line: update, is_up, notify', async (t) => {
  const registry = await Stage.open(t).registry();
  const holdfast = commandLine(registry);

  // service.update(cfg, s), without a uuid of its own
  const updated = await holdfast(
    'services set --type nova-compute --status UP --host localhost --region myregion --ttl 60s',
  );
  assert.equal(updated.code, 0, updated.stderr);
  assert.match(updated.stderr, /registered/);
  // if service.is_up(cfg, type='nova-compute', host='localhost'): print "compute is UP"
  const up = await holdfast('services is-up --type nova-compute --host localhost');
  assert.deepEqual([up.code, up.stdout], [0, 'UP\n']);
  const other = await holdfast('services is-up --type nova-compute --host elsewhere');
  assert.deepEqual([other.code, other.stdout], [3, 'UNKNOWN\n']);

  // n = service.notify(type, host); for change_event in n.events: ...; n.cancel() after the fourth
  const { promise: watching, resolve: begun } = Promise.withResolvers<void>();
  const notified = holdfast(
    'services watch --type nova-compute --host localhost --count 4 -o json',
    (text) => {
      if (text.includes('"progress"')) begun();
    },
  );
  await watching;
  for (const status of ['DOWN', 'UP', 'DOWN', 'UP']) {
    assert.equal(
      (await holdfast(`services set --type nova-compute --host localhost --status ${status}`)).code,
      0,
    );
  }
  const { code, stdout } = await notified;
  assert.equal(code, 0);
  const seen = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { events?: { body: { status: string } }[] })
    .flatMap(({ events = [] }) =>
      events.map(({ body }) => `nova-compute on localhost changed status to ${body.status}`),
    );
  assert.deepEqual(
    seen,
    ['DOWN', 'UP', 'DOWN', 'UP'].map((status) => `nova-compute on localhost changed status to ${status}`),
  );
});

test('README "Getting started" through the client: update, is_up, notify', async (t) => {
  const { client } = await Stage.open(t).registry();
  const { liveness } = client;
  const record = await liveness.register(
    caller,
    { ...localhost, status: 'UP', region: 'myregion', ttlMs: 60_000 },
    once,
  );
  assert.equal((await liveness.isUp(localhost)).up, true);
  const n = await follow(client, { select: { services: { type: ['nova-compute'], host: ['localhost'] } } });
  for (const status of ['DOWN', 'UP', 'DOWN', 'UP'] as const)
    await liveness.put(caller, record.uuid, { status }, once);
  assert.deepEqual(
    (await n.count(4)).map(told),
    ['DOWN', 'UP', 'DOWN', 'UP'].map((status) => `service.set ${status}`),
  );
  await n.stop();
});

test('README "A more complete example" through the command line', async (t) => {
  const stage = Stage.open(t);
  const holdfast = commandLine(await stage.registry());
  const uuids = async (line: string) => {
    const { code, stdout } = await holdfast(`services ls ${line} -o json`);
    assert.equal(code, 0);
    return (JSON.parse(stdout) as { items: { uuid: string }[] }).items.map(({ uuid }) => uuid);
  };

  const s1 = await holdfast(
    `services set --uuid ${conductor.bare} --type nova-conductor --host otherhost --region us-west --status UP`,
  );
  assert.equal(s1.code, 0, s1.stderr);
  const s2 = await holdfast(
    `services set --uuid ${compute.bare} --type nova-compute --host localhost --region us-east --status DOWN`,
  );
  assert.equal(s2.code, 0, s2.stderr);
  const maintained = await holdfast(
    `services maintenance ${compute.bare} --start ${formatInstant(stage.clock.now())} --note "Failed disk /dev/sda" -o json`,
  );
  assert.deepEqual(JSON.parse(maintained.stdout).maintenance, {
    start: '2026-01-01T00:00:00.000Z',
    end: null,
    note: 'Failed disk /dev/sda',
    active: true,
  });

  // Are our services UP? By uuid, and by type and host.
  const isUp = async (line: string) => {
    const { code, stdout } = await holdfast(`services is-up ${line}`);
    return `${stdout.trim()} ${code}`;
  };
  assert.equal(await isUp(conductor.bare), 'UP 0');
  assert.equal(await isUp(compute.bare), 'DOWN 1');
  assert.equal(await isUp('--type nova-conductor --host otherhost'), 'UP 0');
  assert.equal(await isUp('--type nova-compute --host localhost'), 'DOWN 1');
  // Which services are in the us-east region?
  assert.deepEqual(await uuids('--region us-east'), [compute.uuid]);
  // get_one, delete, get_one, is_up
  const one = JSON.parse((await holdfast(`services get ${conductor.bare} -o json`)).stdout);
  assert.deepEqual(
    [one.uuid, one.type, one.host, one.region],
    [conductor.uuid, 'nova-conductor', 'otherhost', 'us-west'],
  );
  assert.equal((await holdfast(`services delete ${conductor.bare}`)).code, 0);
  assert.equal((await holdfast(`services get ${conductor.bare}`)).code, 3);
  assert.equal(await isUp(conductor.bare), 'UNKNOWN 3');

  // "Using etcdctl for querying": all uuids, and all that are DOWN. "Using curl": see below, by the client.
  assert.deepEqual(await uuids(''), [compute.uuid]);
  assert.deepEqual(await uuids('--status DOWN'), [compute.uuid]);
  assert.deepEqual(await uuids('--status UP'), []);
});

test('README "A more complete example" through the client, and "Using curl for querying"', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const { liveness } = registry.client;
  const s1 = await liveness.put(
    caller,
    conductor.bare,
    { type: 'nova-conductor', host: 'otherhost', region: 'us-west', status: 'UP' },
    once,
  );
  const s2 = await liveness.put(
    caller,
    compute.bare,
    { ...localhost, region: 'us-east', status: 'DOWN' },
    once,
  );
  assert.deepEqual([s1.created, s2.created], [true, true]);
  await liveness.maintain(caller, compute.bare, { note: 'Failed disk /dev/sda', startMs: stage.clock.now() });
  assert.equal((await liveness.isUp({ uuid: conductor.bare })).up, true);
  assert.equal((await liveness.isUp({ uuid: compute.bare })).up, false);
  assert.equal((await liveness.isUp({ type: 'nova-conductor', host: 'otherhost' })).up, true);
  assert.equal((await liveness.isUp(localhost)).up, false);
  const { items } = await liveness.list({ region: ['us-east'] }, any);
  assert.deepEqual(
    items.map(({ uuid, maintenance }) => [uuid, maintenance?.note]),
    [[compute.uuid, 'Failed disk /dev/sda']],
  );
  const curl = await registry.http({
    path: '/v1/services',
    headers: { accept: '*/*', 'user-agent': 'curl/8' },
  });
  assert.deepEqual(
    curl.json.items.map(({ type }: { type: string }) => type),
    ['nova-conductor', 'nova-compute'],
  );
  assert.equal((await liveness.get(conductor.bare)).host, 'otherhost');
  await liveness.delete(caller, { uuid: conductor.bare });
  await assert.rejects(liveness.get(conductor.bare), { code: 'not-found' });
  assert.deepEqual((({ up, known }) => [up, known])(await liveness.isUp({ uuid: conductor.bare })), [
    false,
    false,
  ]);
});

test("os-lively's functional smoke test, step by step", async (t) => {
  const stage = Stage.open(t);
  const { client } = await stage.registry();
  const { liveness } = client;
  const { uuid } = conductor;
  const has = async (filter: Parameters<typeof liveness.list>[0]) =>
    (await liveness.list(filter, any)).items.some((one) => one.uuid === uuid);
  const up = async () => [(await liveness.isUp({ uuid })).up, (await liveness.isUp(localhost)).up];
  const set = (patch: Parameters<typeof liveness.put>[2]) => liveness.put(caller, uuid, patch, once);

  assert.deepEqual(await up(), [false, false]);
  await set({ ...localhost, region: 'us-east', status: 'UP' });
  assert.deepEqual(await up(), [true, true]);
  const { type, host, region, status } = await liveness.get(uuid);
  assert.deepEqual({ type, host, region, status }, { ...localhost, region: 'us-east', status: 'UP' });
  await set({ status: 'DOWN' });
  assert.deepEqual(await up(), [false, false]);
  assert.equal(await has({}), true);
  assert.equal(await has({ region: ['us-west'] }), false);
  assert.equal(await has({ region: ['us-east'] }), true);
  await set({ region: 'us-west' });
  assert.equal(await has({ region: ['us-west'] }), true);
  assert.equal(await has({ region: ['us-east'] }), false);
  assert.equal(await has({ type: ['nova-conductor'] }), false);
  assert.equal(await has({ type: ['nova-compute'] }), true);
  assert.equal(await has({ status: ['UP'] }), false);
  assert.equal(await has({ status: ['DOWN'] }), true);
  assert.equal(await has({ host: ['otherhost'] }), false);
  assert.equal(await has({ host: ['localhost'] }), true);
  await set({ ttlMs: 5_000, status: 'UP' });
  assert.deepEqual(await up(), [true, true]);
  await stage.clock.advance(6_000);
  assert.deepEqual(await up(), [false, false]);
  // Here os-lively still said UP.
  assert.equal((await liveness.get(uuid)).status, 'DOWN');
  assert.equal(await has({ status: ['UP'] }), false);
  await liveness.delete(caller, { uuid });
  await assert.rejects(liveness.get(uuid), { code: 'not-found' });
  assert.deepEqual(await up(), [false, false]);
});

test("os-lively's functional notify test: of a hundred services one flaps", async (t) => {
  const stage = Stage.open(t);
  const { client } = await stage.registry();
  const { liveness } = client;
  for (let rack = 0; rack < 5; rack += 1) {
    for (let node = 0; node < 20; node += 1) {
      await liveness.put(
        caller,
        uuidNo(rack * 20 + node),
        { type: 'nova-compute', host: `rack${rack}-node${node}`, region: `rack${rack}` },
        once,
      );
    }
  }
  assert.equal((await liveness.list({}, { limit: 1_000 })).items.length, 100);
  const uuid = uuidNo(42);
  const one = await follow(client, { select: { types: ['service.*'], services: { uuid: [uuid] } } });
  const place = await follow(client, {
    select: { services: { type: ['nova-compute'], host: ['rack2-node2'] } },
  });
  const all = await follow(client);
  const nothing = await follow(client, { select: { services: { uuid: [nobody] } } });
  for (const status of ['DOWN', 'UP', 'DOWN'] as const) {
    await stage.clock.advance(1_000);
    await liveness.put(caller, uuid, { status }, once);
    // The others say that they are still there, which is no event.
    await liveness.beatMany(
      caller,
      Array.from({ length: 100 }, (_, number) => uuidNo(number)),
    );
  }
  for (const watch of [one, place, all]) {
    const events = await watch.count(3);
    assert.deepEqual(
      events.map(({ body }) => [(body as { uuid: string }).uuid, (body as { status: string }).status]),
      [
        [uuid, 'DOWN'],
        [uuid, 'UP'],
        [uuid, 'DOWN'],
      ],
    );
  }
  assert.deepEqual(nothing.events(), []);
  for (const watch of [one, place, all, nothing]) await watch.stop();
});

test('configuration: what the environment of os-lively set is set here, and a ttl of 1 is the same 5', async (t) => {
  const registry = await Stage.open(t).registry();
  const holdfast = commandLine(registry);
  // OSLIVELY_STATUS_TTL=1 was floored to 5; here each record has its own.
  const { code, stdout } = await holdfast(
    'services set --type nova-compute --host localhost --ttl 1s -o json',
  );
  assert.deepEqual([code, JSON.parse(stdout).ttl], [0, 5]);
  // OSLIVELY_ETCD_HOST and _PORT are HOLDFAST_URL; nobody there is exit 6, with words.
  const away = await cli(['services', 'ls'], {
    env: { HOLDFAST_URL: 'http://127.0.0.1:1', HOLDFAST_TOKEN: registry.token },
  });
  assert.equal(away.code, 6);
  assert.match(away.stderr, /127\.0\.0\.1:1/);
});
