/** Checks from agent.yaml to whoever watches the registry, with processes and a web server that comes and goes. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ServiceDocument } from '../../src/domain/liveness.ts';
import { cli } from '../cli/harness.ts';
import { bundleProgram } from '../helpers/bundle.ts';
import { type Followed, follow } from '../helpers/follow.ts';
import { agentArguments, reach, registryArguments, startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

/** A web server that a test can make ill. */
async function webServer(t: TestContext) {
  const web = { status: 200, url: '' };
  const server = createServer((_, response) => response.writeHead(web.status).end('hello'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  web.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return web;
}

/** What a watch of one type has told, in order. */
function told(followed: Followed): string[] {
  return followed.events().map(({ type, body }) => {
    const { status, reason } = body as ServiceDocument;
    return `${type} ${status}${reason === null ? '' : ` (${reason})`}`;
  });
}

test('what a check finds is told by the registry to whoever watches, and a check without a runner says why it cannot look', async (t) => {
  const program = await bundleProgram(tempFolder(t));
  const web = await webServer(t);
  const registryProcess = startProcess(t, registryArguments(tempFolder(t)), program);
  const registry = reach(t, await registryProcess.ready('registry'));
  const watched = await follow(registry.client, { select: { services: { type: ['shop/web'] } } });

  const file = join(tempFolder(t), 'agent.yaml');
  const yaml = (checks: string) => writeFileSync(file, `checks:\n${checks}`);
  yaml(
    `  - {type: shop/web, http: "${web.url}", every: 1s, failAfter: 2}\n  - {type: shop/db, exec: [pg_isready]}\n`,
  );
  const dataDir = tempFolder(t);
  const argv = [...agentArguments(dataDir, { registry }), '--config', file];
  const first = startProcess(t, argv, program);
  const agent = reach(t, await first.ready('agent'));
  await watched.count(1);
  web.status = 503;
  await watched.count(2);
  web.status = 200;
  await watched.count(3);
  assert.deepEqual(told(watched), ['service.registered UP', 'service.set DOWN (check)', 'service.set UP']);

  const env = { HOLDFAST_URL: agent.url, HOLDFAST_TOKEN: agent.token };
  await until(async () => (await agent.http({ path: '/v1/status' })).json.checks[1].state === 'unknown');
  const { json } = await agent.http({ path: '/v1/status' });
  const [shop, db] = json.checks;
  assert.deepEqual(
    [shop.type, shop.kind, shop.state, shop.detail],
    ['shop/web', 'http', 'passing', 'HTTP 200'],
  );
  assert.deepEqual([db.type, db.kind, db.state], ['shop/db', 'exec', 'unknown']);
  assert.match(db.detail, /no runner/);
  const { stdout } = await cli(['services', 'ls'], { env });
  assert.match(stdout, /^shop\/web +edge-1 +UP /m);
  assert.doesNotMatch(stdout, /shop\/db/, 'nobody has looked yet');

  // One that agent.yaml names no more takes its record with it, at the registry too.
  await first.kill('SIGTERM');
  yaml(`  - {type: shop/db, exec: [pg_isready]}\n`);
  await startProcess(t, argv, program).ready('agent');
  await watched.until((followed) => told(followed).at(-1)?.startsWith('service.deleted') === true);
});

test('with a runner, commands and processes are looked at, and a command tells a version', async (t) => {
  const program = await bundleProgram(tempFolder(t));
  const folder = tempFolder(t);
  const [flag, version] = [join(folder, 'flag'), join(folder, 'version')];
  writeFileSync(flag, '');
  writeFileSync(version, 'shop 1.2.3\n');
  const file = join(folder, 'up.yaml');
  writeFileSync(
    file,
    `
checks:
  - {type: shop/flag, exec: [test, -e, ${flag}], every: 1s, failAfter: 1}
  - {type: shop/node, process: ${process.execPath}}
  - {type: shop/none, process: no-such-program, failAfter: 1}
detectors:
  - kernel
  - {command: [cat, ${version}], match: '^shop (?<version>\\S+)$', component: shop, every: 1s}
  - {command: [no-such-program, -v], match: '(?<version>.+)', component: none}
`,
    { mode: 0o600 },
  );
  const dataDir = tempFolder(t);
  const any = ['--registry-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'];
  const up = startProcess(t, ['up', '--data-dir', dataDir, '--config', file, ...any], program);
  const agent = reach(t, await up.ready('agent'));
  const registry = reach(t, await up.ready('registry'));
  const watched = await follow(registry.client, {
    select: { services: { type: ['shop/flag'] } },
    snapshot: true,
  });
  const statuses = async () => {
    const { items } = (await registry.http({ path: '/v1/services' })).json as { items: ServiceDocument[] };
    return items.map(({ type, status, reason }) => `${type} ${reason ?? status}`).sort();
  };
  let seen: string[] = [];
  await until(
    async () => {
      seen = await statuses();
      return seen.join() === 'shop/flag UP,shop/node UP,shop/none check';
    },
    () => seen.join(),
  );
  rmSync(flag);
  await watched.until((followed) => told(followed).at(-1) === 'service.set DOWN (check)');
  const { json } = await agent.http({ path: '/v1/status' });
  assert.deepEqual([json.runner.connected, json.runner.kind], [true, 'processes']);
  assert.deepEqual([json.checks[0].state, json.checks[0].detail], ['failing', 'exit code 1']);
  assert.equal((await agent.http({ path: '/healthz' })).json.checks.runner.status, 'ok');

  const { hostId } = JSON.parse(readFileSync(join(dataDir, 'runner/trust.json'), 'utf8'));
  assert.equal(hostId, json.host.id, 'the agent has named whom the runner is to believe');
  const none = json.inventory.detectors.find((one: { name: string }) => one.name === 'command:none');
  assert.deepEqual([none.state, none.error], ['off', null], 'there is no such program');

  const versionNow = async () => {
    const { items } = (await registry.http({ path: '/v1/components' })).json as {
      items: { name: string; versions: { version: string }[] }[];
    };
    return items.find(({ name }) => name === 'shop')?.versions[0]?.version;
  };
  await until(async () => (await versionNow()) === '1.2.3');
  writeFileSync(version, 'shop 1.3.0\n');
  await until(async () => (await versionNow()) === '1.3.0');
});
