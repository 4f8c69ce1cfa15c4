/** Two registries on one PostgreSQL: one leads, the other waits and writes nothing, until the first is gone. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { createAgent } from '../../src/agent/agent.ts';
import { createClient } from '../../src/client/client.ts';
import type { Caller } from '../../src/domain/access.ts';
import { readNotify } from '../../src/domain/notify.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import { hookServer } from '../helpers/hook-server.ts';
import { usePostgres } from '../helpers/postgres.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

const postgres = usePostgres();

async function startRegistry(t: TestContext, databaseUrl: string, notify: object = {}) {
  const dataDir = join(tempFolder(t), 'registry');
  const registry = await createRegistry({
    ...{ dataDir, databaseUrl },
    listen: { host: '127.0.0.1', port: 0 },
    notify: readNotify(notify),
  });
  t.after(() => registry.close());
  const token = async () => (await readFile(join(dataDir, 'admin.token'), 'utf8')).trim();
  const client = async (by = token) => createClient({ target: { url: registry.url }, token: await by() });
  const ready = async () => (await fetch(`${registry.url}/readyz`)).status;
  return { registry, dataDir, token, client, ready };
}

it('a registry on PostgreSQL keeps its fleet, and a second one waits until it may lead', async (t) => {
  const url = await postgres.createDatabase();
  const first = await startRegistry(t, url);
  const agent = await createAgent({
    dataDir: join(tempFolder(t), 'agent'),
    name: 'edge-1',
    detectors: [
      {
        name: 'test',
        everyMs: 60_000,
        detect: async () => [{ name: 'bash', version: '5', detector: 'test' }],
      },
    ],
    registry: { url: first.registry.url, joinToken: first.token },
  });
  t.after(() => agent.close());
  const one = await first.client();
  t.after(() => one.close());
  const { items } = await until(async () => {
    const page = await one.components.list({}, { limit: 10 });
    return page.items.length > 0 && page;
  }, 'the inventory did not arrive');
  assert.deepEqual(items, [{ name: 'bash', versions: [{ version: '5', hosts: 1 }] }]);

  const second = await startRegistry(t, url);
  assert.equal(await first.ready(), 200);
  assert.equal(await second.ready(), 503);
  const refused = await fetch(`${second.registry.url}/v1/hosts`, {
    headers: { authorization: `Bearer ${await first.token()}` },
  });
  assert.equal(refused.status, 503);
  const { code, detail } = (await refused.json()) as { code: string; detail: string };
  assert.equal(code, 'unavailable');
  assert.match(detail, /another registry leads/);
  await assert.rejects(second.token(), /ENOENT/, 'a registry that waits writes nothing, not even a token');

  await first.registry.close();
  await until(async () => (await second.ready()) === 200, 'the second registry did not take the lead');
  // The token that the first one wrote is in the database, so it opens the second one too, which writes none.
  const two = await second.client(first.token);
  t.after(() => two.close());
  const host = await two.hosts.get('edge-1');
  assert.deepEqual([host.name, host.status], ['edge-1', 'UP']);
  await assert.rejects(second.token(), /ENOENT/);
});

it('a sink is told on by the registry that takes the lead, from where the other one was', async (t) => {
  const hook = await hookServer(t);
  const notify = {
    sinks: { hook: { webhook: hook.url } },
    rules: [{ select: { types: ['service.registered'] }, to: 'hook', groupWait: 0 }],
  };
  const url = await postgres.createDatabase();
  const first = await startRegistry(t, url, notify);
  const second = await startRegistry(t, url, notify);
  const one = await first.client();
  t.after(() => one.close());
  const caller: Caller = { role: 'admin', subject: 'test' };
  const register = (client: typeof one, type: string) =>
    client.liveness.register(caller, { type, host: 'edge-1' }, { takeover: false });
  await register(one, 'a');
  await hook.came(1);
  // It is taken, and the answer comes too late: whoever leads next tells it again, under the same id.
  hook.answer = () => undefined;
  await register(one, 'b');
  await hook.came(2);
  hook.answer = (_taken, response) => response.writeHead(204).end();
  await first.registry.close();
  await until(async () => (await second.ready()) === 200, 'the second registry did not take the lead');
  const two = await second.client(first.token);
  t.after(() => two.close());
  await hook.came(3);
  await register(two, 'c');
  await hook.came(4);
  const titles = hook.taken.map(({ body }) => body?.title.replace(/ on .*/, ''));
  assert.deepEqual(titles, ['a', 'b', 'b', 'c']);
  assert.equal(hook.taken[1]?.body?.id, hook.taken[2]?.body?.id);
});

it('transactional upsert: 30 identical publishes at once are all taken on PostgreSQL too, and are one release', async (t) => {
  const first = await startRegistry(t, await postgres.createDatabase());
  const token = await first.token();
  const releases = `${first.registry.url}/v1/components/shop%2Fapi/trains/stable/releases`;
  const ask = (url: string, more: RequestInit = {}) =>
    fetch(url, {
      ...more,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    });
  const put = async () => (await ask(`${releases}/1.4.2`, { method: 'PUT', body: '{"image":"i"}' })).status;
  const statuses = await Promise.all(Array.from({ length: 30 }, put));
  assert.deepEqual(statuses.sort(), [...Array.from({ length: 29 }, () => 200), 201]);
  const { items } = (await (await ask(releases)).json()) as { items: readonly unknown[] };
  assert.equal(items.length, 1);
});

it('a backup of a store on PostgreSQL is refused and names pg_dump', async (t) => {
  const first = await startRegistry(t, await postgres.createDatabase());
  const client = await first.client();
  t.after(() => client.close());
  await assert.rejects(client.backup(join(tempFolder(t), 'copy')), /pg_dump/);
});
