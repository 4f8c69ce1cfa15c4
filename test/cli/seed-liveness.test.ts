/** Each example of seed 002 (os-lively's README), through the command line and through the client. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import { systemCaller as caller } from '../../src/domain/access.ts';
import { fakeFleet, fleetNow } from './fake-fleet.ts';
import { cli } from './harness.ts';

const s1 = '3b059e33bbc44bc8b0d37df6e8d70223';
const s2 = 'de541c29ec5449e9ab9cea9d938e395c';

test('seed 002 through the command line', async (t) => {
  const { env } = await fakeFleet(t);
  const holdfast = (...argv: string[]) => cli(argv, { env });

  // service.update(cfg, s)
  const updated = await holdfast(
    'services',
    'set',
    '--type',
    'nova-compute',
    '--status',
    'UP',
    '--host',
    'localhost',
    '--region',
    'myregion',
    '--ttl',
    '60s',
  );
  assert.equal(updated.code, 0, updated.stderr);
  assert.match(updated.stderr, /\nregistered\n$/);
  assert.match(updated.stdout, /^status {7}UP$/m);
  // service.is_up(cfg, type='nova-compute', host='localhost')
  const is = await holdfast('services', 'is-up', '--type', 'nova-compute', '--host', 'localhost');
  assert.deepEqual([is.code, is.stdout], [0, 'UP\n']);

  // service.notify(service_type='nova-compute', host='localhost'), cancelled after the fourth event
  let ready: () => void = () => undefined;
  const watching = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const notified = cli(
    ['services', 'watch', '--type', 'nova-compute', '--host', 'localhost', '--count', '4', '-o', 'json'],
    {
      env,
      onStdout: (text) => {
        if (text.includes('progress')) ready();
      },
    },
  );
  await watching;
  for (const status of ['DOWN', 'UP', 'DOWN', 'UP'])
    await holdfast('services', 'set', '--type', 'nova-compute', '--host', 'localhost', '--status', status);
  const { stdout, code } = await notified;
  const messages = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; events?: { body: { status: string } }[] });
  assert.equal(code, 0);
  assert.deepEqual(
    messages.flatMap(({ events = [] }) => events.map(({ body }) => body.status)),
    ['DOWN', 'UP', 'DOWN', 'UP'],
  );
  assert.equal(
    (await holdfast('services', 'delete', '--type', 'nova-compute', '--host', 'localhost')).code,
    0,
  );

  // The interactive example: two services with uuids of their own, one with maintenance
  assert.equal(
    (
      await holdfast(
        'services',
        'set',
        '--uuid',
        s1,
        '--type',
        'nova-conductor',
        '--host',
        'otherhost',
        '--region',
        'us-west',
        '--status',
        'UP',
      )
    ).code,
    0,
  );
  assert.equal(
    (
      await holdfast(
        'services',
        'set',
        '--uuid',
        s2,
        '--type',
        'nova-compute',
        '--host',
        'localhost',
        '--region',
        'us-east',
        '--status',
        'DOWN',
      )
    ).code,
    0,
  );
  const maintained = await holdfast(
    'services',
    'maintenance',
    s2,
    '--note',
    'Failed disk /dev/sda',
    '--start',
    '2026-01-31T12:00:00Z',
  );
  assert.match(maintained.stdout, /^maintenance {2}now: Failed disk \/dev\/sda$/m);
  // is_up by uuid and by type and host
  assert.deepEqual((await holdfast('services', 'is-up', s1)).stdout, 'UP\n');
  const down = await holdfast('services', 'is-up', s2);
  assert.deepEqual([down.code, down.stdout], [1, 'DOWN\n']);
  assert.equal(
    (await holdfast('services', 'is-up', '--type', 'nova-conductor', '--host', 'otherhost')).code,
    0,
  );
  assert.equal(
    (await holdfast('services', 'is-up', '--type', 'nova-compute', '--host', 'localhost')).code,
    1,
  );
  // get_many(cfg, region='us-east')
  const east = await holdfast('services', 'ls', '--region', 'us-east', '-o', 'json');
  assert.deepEqual(
    (JSON.parse(east.stdout) as { items: { uuid: string }[] }).items.map(({ uuid }) =>
      uuid.replaceAll('-', ''),
    ),
    [s2],
  );
  // get_one, delete, get_one, is_up
  assert.match((await holdfast('services', 'get', s1)).stdout, /^type {9}nova-conductor$/m);
  assert.equal((await holdfast('services', 'delete', s1)).code, 0);
  assert.equal((await holdfast('services', 'get', s1)).code, 3);
  const gone = await holdfast('services', 'is-up', s1);
  assert.deepEqual([gone.code, gone.stdout], [3, 'UNKNOWN\n']);
  // etcdctl get /services --keys-only: all uuids; by status
  assert.match(
    (await holdfast('services', 'ls', '--status', 'DOWN')).stdout,
    new RegExp(`${s2.slice(0, 8)}-`),
  );
});

test('seed 002 through the client', async (t) => {
  const { server } = await fakeFleet(t);
  const client = createClient({ target: { url: server.url } });
  t.after(() => client.close());
  const { liveness } = client;
  const options = { takeover: false };

  await liveness.register(
    caller,
    { type: 'nova-compute', status: 'UP', host: 'localhost', region: 'myregion', ttlMs: 60_000 },
    options,
  );
  const at = { type: 'nova-compute', host: 'localhost' };
  assert.equal((await liveness.isUp(at)).up, true);

  const { items } = await liveness.list({ type: [at.type], host: [at.host] }, { limit: 1 });
  const uuid = items[0]?.uuid ?? '';
  const statuses: unknown[] = [];
  for await (const update of client.watch({
    select: { types: ['service.*'], services: { type: [at.type], host: [at.host] } },
  })) {
    if (update.kind === 'events')
      statuses.push(...update.events.map(({ body }) => (body as { status: string }).status));
    if (statuses.length === 3) break;
    await liveness.put(caller, uuid, { status: statuses.length % 2 === 0 ? 'DOWN' : 'UP' }, options);
  }
  assert.deepEqual(statuses, ['DOWN', 'UP', 'DOWN']);
  await liveness.delete(caller, at);

  await liveness.put(
    caller,
    s1,
    { status: 'UP', type: 'nova-conductor', host: 'otherhost', region: 'us-west' },
    options,
  );
  await liveness.put(
    caller,
    s2,
    { status: 'DOWN', type: 'nova-compute', host: 'localhost', region: 'us-east' },
    options,
  );
  await liveness.maintain(caller, s2, { note: 'Failed disk /dev/sda', startMs: fleetNow });
  assert.deepEqual(
    [(await liveness.isUp({ uuid: s1 })).up, (await liveness.isUp({ uuid: s2 })).up],
    [true, false],
  );
  assert.equal((await liveness.isUp({ type: 'nova-conductor', host: 'otherhost' })).up, true);
  const east = await liveness.list({ region: ['us-east'] }, { limit: 100 });
  assert.deepEqual(
    east.items.map((one) => [one.uuid.replaceAll('-', ''), one.maintenance?.note]),
    [[s2, 'Failed disk /dev/sda']],
  );
  assert.equal((await liveness.get(s1)).type, 'nova-conductor');
  await liveness.delete(caller, { uuid: s1 });
  await assert.rejects(liveness.get(s1), /not registered/);
  assert.deepEqual(
    [(await liveness.isUp({ uuid: s1 })).up, (await liveness.isUp({ uuid: s1 })).known],
    [false, false],
  );
});
