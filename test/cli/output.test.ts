import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventLines } from '../../src/cli/watch.ts';
import { fakeServer, json } from '../client/fake-server.ts';
import { fakeFleet, fleetNow } from './fake-fleet.ts';
import { cli } from './harness.ts';

const esc = '\u001b';

async function smallFleet(t: TestContext) {
  const fleet = await fakeFleet(t);
  const set = (...argv: string[]) => cli(['services', 'set', ...argv], { env: fleet.env });
  await set(
    '--type',
    'nova-compute',
    '--host',
    'edge-1.shop-0042.eu-west.example.com',
    '--region',
    'eu-west',
  );
  await set('--type', 'nova-conductor', '--host', 'db', '--status', 'DOWN', '--ttl', '2h');
  return fleet;
}

test('services ls fits 80 columns: spare columns give way, the widest are cut, ids are not', async (t) => {
  const { env } = await smallFleet(t);
  const { stdout, stderr, code } = await cli(['services', 'ls'], {
    env: { ...env, NO_COLOR: '1' },
    columns: 80,
    now: fleetNow,
  });
  assert.equal(code, 0);
  assert.equal(stderr, `asking ${env['HOLDFAST_URL']} (HOLDFAST_URL)\n`);
  assert.equal(
    stdout,
    `\
TYPE        HOST        STATUS      SEEN    UUID
nova-comp…  edge-1.sh…  UP          4s ago  00000000-0000-7000-8000-000000000001
nova-cond…  db          DOWN (set)  4s ago  00000000-0000-7000-8000-000000000002
`,
  );
});

test('a status is never cut while anything else can be', async (t) => {
  const { env } = await smallFleet(t);
  for (const columns of [60, 70, 80]) {
    const { stdout } = await cli(['services', 'ls'], {
      env: { ...env, NO_COLOR: '1' },
      columns,
      now: fleetNow,
    });
    assert.match(stdout, / DOWN \(set\) /, `${columns} columns`);
    assert.match(stdout, / STATUS /, `${columns} columns`);
  }
});

test('services ls fits 120 columns', async (t) => {
  const { env } = await smallFleet(t);
  const { stdout } = await cli(['services', 'ls'], {
    env: { ...env, NO_COLOR: '1' },
    columns: 120,
    now: fleetNow,
  });
  assert.equal(
    stdout,
    `\
TYPE            HOST                                  STATUS      REGION   SEEN    UUID
nova-compute    edge-1.shop-0042.eu-west.example.com  UP          eu-west  4s ago  00000000-0000-7000-8000-000000000001
nova-conductor  db                                    DOWN (set)  -        4s ago  00000000-0000-7000-8000-000000000002
`,
  );
});

test('services ls writes whole cells into a pipe, without colors', async (t) => {
  const { env } = await smallFleet(t);
  const { stdout } = await cli(['services', 'ls', '-o', 'wide'], { env, now: fleetNow });
  assert.equal(
    stdout,
    `\
TYPE            HOST                                  STATUS      REGION   SEEN    TTL  MAINTENANCE  CONFIRMED  COUNTED BY  UUID
nova-compute    edge-1.shop-0042.eu-west.example.com  UP          eu-west  4s ago  1m   -            yes        registry    00000000-0000-7000-8000-000000000001
nova-conductor  db                                    DOWN (set)  -        4s ago  2h   -            yes        registry    00000000-0000-7000-8000-000000000002
`,
  );
});

test('services ls colors status words on a terminal only, and not with NO_COLOR', async (t) => {
  const { env } = await smallFleet(t);
  const colored = await cli(['services', 'ls'], { env, columns: 120 });
  assert.ok(colored.stdout.includes(`${esc}[32mUP`));
  assert.ok(colored.stdout.includes(`${esc}[31mDOWN`));
  for (const options of [
    { env },
    { env: { ...env, NO_COLOR: '1' }, columns: 120 },
    { env: { ...env, TERM: 'dumb' }, columns: 120 },
  ]) {
    assert.ok(!(await cli(['services', 'ls'], options)).stdout.includes(esc));
  }
});

test('no row is wider than the terminal, whatever it is', async (t) => {
  const { env } = await smallFleet(t);
  for (const columns of [20, 40, 60, 80, 100, 133]) {
    for (const form of ['table', 'wide']) {
      const { stdout } = await cli(['services', 'ls', '-o', form], {
        env: { ...env, NO_COLOR: '1' },
        columns,
      });
      for (const line of stdout.trimEnd().split('\n'))
        assert.ok(line.length <= columns, `${columns}: ${line}`);
    }
  }
});

test('services ls follows pages in a table; -o json is one page as the server wrote it', async (t) => {
  const { env, server } = await fakeFleet(t);
  for (let n = 0; n < 5; n += 1) await cli(['services', 'set', '--type', 'web', '--host', `h${n}`], { env });
  server.asked.length = 0;
  const table = await cli(['services', 'ls', '--limit', '3'], { env });
  assert.equal(table.stdout.trimEnd().split('\n').length, 4);
  assert.match(table.stderr, /there are more: .*--cursor 3 goes on/);
  const json = await cli(['services', 'ls', '--limit', '2', '--cursor', '2', '-o', 'json'], { env });
  const page = JSON.parse(json.stdout) as { items: unknown[]; next: string; position: string };
  assert.deepEqual([page.items.length, page.next, page.position], [2, '4', '7.5']);
  assert.equal(json.stdout.split('\n').length, 2, 'the answer and its line end, nothing else');
  const yaml = await cli(['services', 'ls', '-o', 'yaml'], { env });
  assert.match(yaml.stdout, /^items:\n {2}- uuid: 0{8}-/);
});

test('an empty list says on stderr what to do, and prints nothing', async (t) => {
  const { env } = await fakeFleet(t);
  const { stdout, stderr, code } = await cli(['services', 'ls'], { env });
  assert.deepEqual([stdout, code], ['', 0]);
  assert.match(stderr, /no services match: "holdfast services set/);
});

test('F14: what others wrote cannot move the cursor', async (t) => {
  const { env, records } = await smallFleet(t);
  for (const record of records.values())
    records.set(record.uuid, { ...record, region: 'a\u001b[2Jb\nc\u202e' });
  const { stdout } = await cli(['services', 'ls'], { env });
  assert.ok(stdout.includes('a\ufffd[2Jb c\ufffd'));
  assert.ok(!stdout.includes(esc) && !stdout.includes('\u202e'));
});

test('services watch tells a line for each change', async (t) => {
  const { server } = await fakeFleet(t);
  server.onSocket = (socket) => {
    socket.on('message', () => {
      const event = (type: string, body: object) => ({
        position: '7.1',
        index: 0,
        type,
        at: '2026-01-31T12:03:01.000Z',
        actor: 'a',
        host: 'edge-1',
        service: 'web',
        body,
      });
      const events = [
        event('service.lapsed', { status: 'DOWN', reason: 'lapsed' }),
        event('service.maintained', {
          status: 'UP',
          reason: null,
          maintenance: { start: '2026-01-31T12:00:00.000Z', end: null, note: 'disk' },
        }),
        event('host.returned', { name: 'edge-1', status: 'UP', reason: null }),
        event('component.changed', { name: 'nginx', version: '1.26.2' }),
        event('service.deleted', { status: 'UP' }),
      ];
      socket.send(
        JSON.stringify({
          v: 1,
          id: 'watch',
          mimetype: 'application/json',
          body: {
            kind: 'snapshot',
            position: '7.0',
            items: [{ kind: 'service', body: { type: 'web', host: 'edge-1', status: 'UP', reason: null } }],
            done: true,
          },
        }),
      );
      socket.send(
        JSON.stringify({
          v: 1,
          id: 'watch',
          mimetype: 'application/json',
          body: { kind: 'events', position: '7.1', events },
        }),
      );
    });
  };
  const { stdout, code } = await cli(['watch', '--snapshot', '--count', '5'], {
    env: { HOLDFAST_URL: server.url },
  });
  assert.equal(code, 0);
  assert.equal(
    stdout,
    `\
          service              web on edge-1 is UP
12:03:01Z service.lapsed       web on edge-1 is DOWN (lapsed)
12:03:01Z service.maintained   web on edge-1 is UP, maintenance from 2026-01-31T12:00:00.000Z: disk
12:03:01Z host.returned        edge-1 is UP
12:03:01Z component.changed    nginx 1.26.2 on edge-1
12:03:01Z service.deleted      web on edge-1
`,
  );
});

test('watch ends with 0 on Ctrl-C', async (t) => {
  const { env } = await fakeFleet(t);
  const stop = new AbortController();
  const { code } = await cli(['watch', '-o', 'json'], {
    env,
    signal: stop.signal,
    onStdout: () => stop.abort(new Error('got SIGINT')),
  });
  assert.equal(code, 0);
});

test('status tells the essence, and everything with -o wide', async (t) => {
  const status = {
    role: 'agent',
    version: '1.2.3',
    dataDir: '/d',
    host: { id: 'h', name: 'edge-1' },
    registry: {
      url: 'http://r',
      connected: false,
      lastAnswer: '2026-01-31T12:00:00.000Z',
      problem: 'nobody listens there',
    },
    inventory: {
      components: 717,
      acknowledged: false,
      detectors: [
        { name: 'dpkg', state: 'ok', components: 714, error: null },
        { name: 'kernel', state: 'failed', error: 'Cannot tell the version of "linux": gone' },
      ],
    },
    outbox: { pending: 3 },
    store: { state: 'ok', detail: null },
    news: { deep: [1, 2] },
  };
  const server = await fakeServer(t, (_asked, response) => json(response, 200, status));
  const env = { HOLDFAST_URL: server.url };
  const { stdout } = await cli(['status'], { env, now: fleetNow });
  assert.equal(
    stdout,
    `\
role                agent
host                edge-1
registry            http://r, not connected, last answer 3m 1s ago: nobody listens there
components          717, not yet reported
detectors           1 failed, 1 ok
waiting to be sent  3
store               ok
data                /d
version             1.2.3

DETECTOR  STATE   LAST GOOD  ERROR
kernel    failed  -          gone
`,
  );
  const wide = await cli(['status', '-o', 'wide'], { env });
  assert.match(wide.stdout, /^inventory\.detectors\.dpkg\.components {2}714$/m);
  assert.match(wide.stdout, /^news\.deep\.1 +2$/m);
  const strange = await fakeServer(t, (_asked, response) => json(response, 200, { role: 'oracle' }));
  assert.equal((await cli(['status', '--url', strange.url])).stdout, 'role  oracle\n');
});

test('eventLines() tells many alike changes of one revision in one line', () => {
  const installed = (index: number, position: string) => ({
    position,
    index,
    type: 'component.installed' as const,
    at: '2026-01-31T09:30:00.000Z',
    actor: 'host:edge-1',
    host: 'edge-1',
    body: { name: `p${index}`, version: '1' },
  });
  const many = Array.from({ length: 700 }, (_, index) => installed(index, '1.7'));
  assert.deepEqual(eventLines([...many, installed(0, '1.8')], false), [
    '09:30:00Z component.installed  p0 1 on edge-1, and 699 more',
    '09:30:00Z component.installed  p0 1 on edge-1',
  ]);
});

test('status lists checks below the essence, what fails first, on any terminal', async (t) => {
  const since = new Date(fleetNow - 3_600_000).toISOString();
  const lastLook = new Date(fleetNow - 4_000).toISOString();
  const check = (
    type: string,
    kind: string,
    state: string,
    detail: string,
    output: string | null = null,
  ) => ({
    type,
    kind,
    state,
    since,
    lastLook,
    detail,
    output,
  });
  const server = await fakeServer(t, (_, response) =>
    json(response, 200, {
      role: 'agent',
      host: { id: null, name: 'edge-1' },
      registry: null,
      checks: [
        ...Array.from({ length: 18 }, (_, n) => check(`shop/api-${n}`, 'http', 'passing', 'HTTP 200')),
        check('postgresql', 'exec', 'failing', 'exit code 2', '/var/run/postgresql:5432 - no response'),
        check('nginx', 'systemd', 'unknown', 'Cannot run the check "nginx": no runner'),
      ],
      runner: {
        socket: '/r.sock',
        connected: false,
        kind: null,
        version: null,
        problem: 'no runner at /r.sock',
      },
    }),
  );
  const asked = (columns?: number) =>
    cli(['status', '--url', server.url], {
      now: fleetNow,
      env: { NO_COLOR: '1' },
      ...(columns === undefined ? {} : { columns }),
    });
  const { stdout } = await asked(80);
  assert.equal(
    stdout.split('\n').slice(0, 10).join('\n'),
    `\
role      agent
host      edge-1
registry  none
checks    1 failing, 1 unknown, 18 passing
runner    not connected: no runner at /r.sock

CHECK        KIND     STATE    SINCE   LOOKED  FOUND
postgresql   exec     failing  1h ago  4s ago  exit code 2: /var/run/postgresql…
nginx        systemd  unknown  1h ago  4s ago  Cannot run the check "nginx": no…
shop/api-0   http     passing  1h ago  4s ago  HTTP 200`,
  );
  for (const columns of [40, 60, 80, 100, 133]) {
    const [, table = ''] = (await asked(columns)).stdout.split('\n\n');
    for (const line of table.split('\n')) assert.ok(line.length <= columns, `${columns}: ${line}`);
  }
  assert.match((await asked()).stdout, /exit code 2: \/var\/run\/postgresql:5432 - no response\n/);
});
