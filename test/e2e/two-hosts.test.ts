/** Two agents on one machine, as processes: one goes away, and whoever watches sees it. Told by the command line. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { cli, type Outcome } from '../cli/harness.ts';
import { bundleProgram } from '../helpers/bundle.ts';
import { follow, told } from '../helpers/follow.ts';
import { agentArguments, type Reached, reach, registryArguments, startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

async function fleet(t: TestContext) {
  const program = await bundleProgram(tempFolder(t));
  const registryProcess = startProcess(t, registryArguments(tempFolder(t)), program);
  const registry = reach(t, await registryProcess.ready('registry'));
  const agents = await Promise.all(
    ['edge-1', 'edge-2'].map(async (name) => {
      const running = startProcess(t, agentArguments(tempFolder(t), { registry, name }), program);
      return { name, running, ...reach(t, await running.ready('agent')) };
    }),
  );
  for (const { name, http } of agents) {
    const { status } = await http({
      method: 'POST',
      path: '/v1/services',
      body: { type: 'shop/api', host: name, ttl: '1h' },
    });
    assert.equal(status, 201);
  }
  await until(async () => (await registry.http({ path: '/v1/services?status=UP' })).json.items.length === 2);
  const [stays, goes] = agents;
  assert(stays !== undefined && goes !== undefined);
  return { registryProcess, registry, stays, goes };
}

/** What the command line prints, asking `server`. */
async function holdfast({ url, token }: Reached, line: string): Promise<string> {
  const { code, stdout, stderr } = await cli(line.split(' '), {
    env: { HOLDFAST_URL: url, HOLDFAST_TOKEN: token },
  });
  assert.equal(code, 0, stderr);
  return stdout;
}

/** The rows of a table, each by the first words of its columns. */
function rows(table: string, columns: number): string[] {
  const [, ...lines] = table.trimEnd().split('\n');
  return lines.map((line) =>
    line
      .split(/\s{2,}/)
      .slice(0, columns)
      .join(' '),
  );
}

test('of two hosts on one machine one leaves: hosts, services, components and watch tell it', async (t) => {
  const { registry, goes } = await fleet(t);
  assert.deepEqual(rows(await holdfast(registry, 'hosts ls'), 2), ['edge-1 UP', 'edge-2 UP']);
  assert.deepEqual(rows(await holdfast(registry, 'services ls'), 3).sort(), [
    'shop/api edge-1 UP',
    'shop/api edge-2 UP',
  ]);
  // What is installed on this machine is installed on both; a machine without dpkg has a kernel all the same.
  await until(
    async () => /^linux\s+2\s/m.test(await holdfast(registry, 'components ls')),
    'nobody checked in',
  );
  assert.match(await holdfast(registry, 'components ls --host edge-2'), /^holdfast\s/m);

  let begun: () => void = () => undefined;
  const watching = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const env = { HOLDFAST_URL: registry.url, HOLDFAST_TOKEN: registry.token };
  const watched: Promise<Outcome> = cli(
    ['watch', '--type', 'host.*', '--type', 'service.*', '--count', '2', '--snapshot'],
    {
      env,
      onStdout: () => begun(),
    },
  );
  await watching;
  assert.deepEqual(await goes.running.kill('SIGTERM'), { code: 0, signal: null });
  const { code, stdout } = await watched;
  assert.equal(code, 0);
  const lines = stdout.trim().split('\n');
  assert.deepEqual(
    lines
      .slice(0, 4)
      .map((line) => line.trim().replaceAll(/\s+/g, ' '))
      .sort(),
    [
      'host edge-1 is UP',
      'host edge-2 is UP',
      'service shop/api on edge-1 is UP',
      'service shop/api on edge-2 is UP',
    ],
  );
  assert.match(lines[4] ?? '', /^\d\d:\d\d:\d\dZ host\.left +edge-2 is DOWN \(left\)$/);
  assert.match(lines[5] ?? '', /^\d\d:\d\d:\d\dZ service\.lapsed +shop\/api on edge-2 is DOWN \(left\)$/);

  assert.deepEqual(rows(await holdfast(registry, 'hosts ls'), 2), ['edge-1 UP', 'edge-2 DOWN (left)']);
  assert.deepEqual(rows(await holdfast(registry, 'hosts ls --status DOWN'), 1), ['edge-2']);
  assert.deepEqual(rows(await holdfast(registry, 'services ls --status UP'), 2), ['shop/api edge-1']);
  // Asked about it, the other host's agent says the same.
  const away = await cli(['services', 'is-up', '--type', 'shop/api', '--host', 'edge-2'], { env });
  assert.deepEqual([away.code, away.stdout], [1, 'DOWN\n']);
});

test('in real time: a registry that is stopped for 16 s tells nobody DOWN, a host that is killed is DOWN at its deadline', async (t) => {
  const { registryProcess, registry, stays, goes } = await fleet(t);
  const path = '/v1/services/11111111-2222-4333-8444-000000000001';
  await registry.http({ method: 'PUT', path, body: { type: 'beaten', host: 'elsewhere', ttl: 5 } });
  const watch = await follow(registry.client, { select: { types: ['host.*', 'service.*', 'system.*'] } });
  // Its heartbeats wait in the socket while the registry stands still, for more than three times its ttl.
  const beating = setInterval(() => {
    registry.http({ method: 'POST', path: `${path}/heartbeat`, timeoutMs: 30_000 }).catch(() => undefined);
  }, 1_000);
  t.after(() => clearInterval(beating));
  const end = performance.now() + 16_000;
  registryProcess.signal('SIGSTOP');
  await until(() => performance.now() > end, 'time stands still', 20_000);
  registryProcess.signal('SIGCONT');
  // Twenty sweeps later still nobody is DOWN.
  const later = performance.now() + 5_000;
  await until(() => performance.now() > later);
  assert.deepEqual(watch.events(), []);
  assert.equal((await registry.http({ path })).json.status, 'UP');

  await goes.running.kill('SIGKILL');
  const killed = performance.now();
  // 2.5 × 10 s + 2 s after its last beat, which was at most 12 s ago or is yet to be forgiven.
  await watch.until(({ events }) => events().length >= 2, 45_000);
  t.diagnostic(`killed, told DOWN ${Math.round(performance.now() - killed)} ms later`);
  assert.deepEqual(
    watch.events().map((event) => `${event.host} ${told(event)}`),
    ['edge-2 host.lapsed DOWN', 'edge-2 service.lapsed DOWN'],
  );
  assert.equal((await stays.http({ path: '/v1/is-up?type=shop%2Fapi&host=edge-2' })).json.reason, 'host');
  assert.equal((await registry.http({ path: '/v1/hosts/edge-1' })).json.status, 'UP');
  assert.equal((await registry.http({ path })).json.status, 'UP');
  await watch.stop();
});
