/** Debian's prometheus-alertmanager (unpacked where it is not installed) gets what fires and what is over, grouped as it groups: seen through its own API. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import type { Caller } from '../../src/domain/access.ts';
import { readNotify } from '../../src/domain/notify.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import { unpackPackages } from '../helpers/debian.ts';
import { hookServer } from '../helpers/hook-server.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

let program = '/usr/bin/prometheus-alertmanager';
const ends: (() => void)[] = [];

before(() => {
  if (existsSync(program)) return;
  const folder = unpackPackages({ after: (fn) => ends.push(fn) }, ['prometheus-alertmanager']);
  program = join(folder, 'usr/bin/prometheus-alertmanager');
});
after(() => {
  for (const end of ends) end();
});

interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly endsAt: string;
}

/** One that groups by alertname and tells `receiver`. */
async function startAlertmanager(t: TestContext, receiver: string) {
  const folder = tempFolder(t);
  const config = join(folder, 'alertmanager.yml');
  writeFileSync(
    config,
    `route: {receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: '${receiver}', send_resolved: true}]}]
`,
  );
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(
    program,
    [
      `--config.file=${config}`,
      `--storage.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--cluster.listen-address=',
    ],
    { stdio: 'ignore' },
  );
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill();
    await ended;
  });
  await until(
    async () => (await fetch(`${url}/-/ready`).catch(() => undefined))?.ok === true,
    'it is not ready',
    30_000,
  );
  const alerts = async () => (await (await fetch(`${url}/api/v2/alerts`)).json()) as Alert[];
  return { url, alerts };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

test('Alertmanager has what is down, groups it, and is told when it is up again', async (t) => {
  const receiver = await hookServer(t);
  const alertmanager = await startAlertmanager(t, receiver.url);
  const dataDir = join(tempFolder(t), 'registry');
  const registry = await createRegistry({
    dataDir,
    listen: { host: '127.0.0.1', port: 0 },
    notify: readNotify({
      sinks: { alerts: { alertmanager: alertmanager.url, labels: { team: 'ops' } } },
      rules: [
        { name: 'records', select: { types: ['service.lapsed', 'service.set'] }, to: 'alerts', groupWait: 0 },
      ],
    }),
  });
  t.after(() => registry.close());
  const token = (await readFile(join(dataDir, 'admin.token'), 'utf8')).trim();
  const client = createClient({ target: { url: registry.url }, token });
  t.after(() => client.close());
  const caller: Caller = { role: 'admin', subject: 'test' };
  const uuids: string[] = [];
  for (const host of ['edge-1', 'edge-2']) {
    const { uuid } = await client.liveness.register(caller, { type: 'shop/api', host }, { takeover: false });
    uuids.push(uuid);
    await client.liveness.put(caller, uuid, { status: 'DOWN' }, { takeover: false });
  }
  const firing = await until(async () => {
    const found = await alertmanager.alerts();
    return found.length === 2 && found;
  }, 'the alerts did not come');
  assert.deepEqual(
    firing.map(({ labels }) => labels).sort((a, b) => ((a['host'] ?? '') < (b['host'] ?? '') ? -1 : 1)),
    ['edge-1', 'edge-2'].map((host) => ({
      ...{ alertname: 'HoldfastServiceDown', host, rule: 'records', service: 'shop/api', team: 'ops' },
    })),
  );
  assert.match(firing[0]?.annotations['summary'] ?? '', /^shop\/api on edge-\d is DOWN \(set by hand\)$/);
  const groups = await receiver.came(1);
  const group = () =>
    groups.map(
      ({ text }) => JSON.parse(text) as { status: string; groupLabels: object; alerts: { status: string }[] },
    );
  assert.deepEqual(group()[0]?.groupLabels, { alertname: 'HoldfastServiceDown' });

  // `service.revived` and a set UP are not what the rule selects: they end its alerts all the same.
  for (const uuid of uuids) await client.liveness.put(caller, uuid, { status: 'UP' }, { takeover: false });
  await until(async () => (await alertmanager.alerts()).length === 0, 'the alerts were not resolved');
  await until(() => group().at(-1)?.status === 'resolved', 'nobody was told that it is over', 20_000);
  assert.ok(
    group()
      .at(-1)
      ?.alerts.every(({ status }) => status === 'resolved'),
  );

  const [tested] = await client.notify.test(caller, ['alerts']);
  assert.deepEqual([tested?.ok, tested?.detail], [true, '200']);
  await until(async () =>
    (await alertmanager.alerts()).some(({ labels }) => labels['alertname'] === 'HoldfastTest'),
  );
});
