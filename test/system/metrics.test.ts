/** `/metrics` of both roles through Prometheus' own checker, from Debian's package, which is unpacked and not installed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Stage } from '../helpers/boot.ts';
import { unpackPackages } from '../helpers/debian.ts';
import { until } from '../helpers/until.ts';

let promtool = '/usr/bin/promtool';
const ends: (() => void)[] = [];

before(() => {
  if (existsSync(promtool)) return;
  const folder = unpackPackages({ after: (fn) => ends.push(fn) }, ['prometheus']);
  promtool = join(folder, 'usr/bin/promtool');
});
after(() => {
  for (const end of ends) end();
});

/** What `promtool check metrics` says; empty when nothing is wrong. */
function check(text: string): string {
  const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
  });
  return status === 0 ? `${stdout}${stderr}` : `exit ${status}: ${stdout}${stderr}`;
}

test('promtool finds something wrong where there is something wrong', () => {
  assert.notEqual(check('holdfast_things 1\n'), '');
  assert.match(check('no metrics at all{'), /^exit/);
});

test('/metrics of registry and agent pass promtool check metrics, also when they have been at work', async (t) => {
  const stage = Stage.live(t);
  const registry = await stage.registry();
  const agent = await stage.agent({ registry, name: 'edge-1' });
  for (const server of [registry, agent])
    assert.equal(check((await server.http({ path: '/metrics' })).text), '', server.url);
  await agent.http({ method: 'POST', path: '/v1/services', body: { type: 'we"ird\\', host: 'edge-1' } });
  await until(async () => (await registry.http({ path: '/v1/services' })).json.items.length === 1);
  for (const server of [registry, agent]) {
    for (const path of ['/v1/is-up', '/v1/nothing', '/nothing', '/v1/hosts/x', '/v1/services?limit=x'])
      await server.http({ path });
    const { text, headers } = await server.http({ path: '/metrics' });
    assert.match(String(headers['content-type']), /^text\/plain; version=0\.0\.4/);
    assert.equal(check(text), '', server.url);
  }
});
