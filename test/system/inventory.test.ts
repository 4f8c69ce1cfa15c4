/** The packages of this machine, as `holdfast up` of the built binary sees them: installed, removed, out of date. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { reach, startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { freshPackage, installedVersion, installPackage, removePackage } from './packages.ts';

const binary = join(import.meta.dirname, '../../dist/holdfast');
/** dpkg's file is looked at every 30 s, and the next beat says that it was different. */
const seenWithinMs = 120_000;

test('the real packages of a machine show up, change with apt, and are out of date once a newer release is out', async (t) => {
  const name = freshPackage(['hello', 'sl', 'cowsay']);
  t.after(() => removePackage(name));
  const home = tempFolder(t);
  const data = join(home, 'data');
  const listen = ['--registry-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'];
  const running = startProcess(t, ['up', '--name', 'edge-1', '--data-dir', data, ...listen], {
    command: [binary],
    env: { HOME: home },
  });
  const registry = reach(t, await running.ready('registry'));
  await running.ready('agent');
  const holdfast = (...argv: string[]) => {
    const asked = spawnSync(binary, [...argv, '--socket', join(data, 'run')], {
      env: { HOME: home, PATH: '' },
      encoding: 'utf8',
    });
    return { code: asked.status, stdout: asked.stdout, stderr: asked.stderr };
  };
  /** Null: it is not installed. */
  const seen = async (component: string): Promise<string | null> => {
    for (let cursor = ''; ; ) {
      const path = `/v1/hosts/edge-1/components?limit=1000${cursor}`;
      const { status, json } = await registry.http({ path });
      if (status !== 200) return null;
      const items = json.items as { name: string; detector: string; version: string }[];
      const found = items.find((one) => one.name === component && one.detector === 'dpkg');
      if (found !== undefined) return found.version;
      if (json.next === null) return null;
      cursor = `&cursor=${encodeURIComponent(json.next)}`;
    }
  };

  const installed = installedVersion('dpkg');
  assert.ok(installed, 'this machine has dpkg');
  await until(async () => (await seen('dpkg')) === installed, 'dpkg did not show up', seenWithinMs);
  assert.equal(await seen(name), null);
  for (const one of ['bash', 'libc6', 'base-files'])
    assert.equal(await seen(one), installedVersion(one), one);

  installPackage(name);
  const version = installedVersion(name);
  assert.ok(version, `${name} is installed`);
  await until(async () => (await seen(name)) === version, `${name} did not show up`, seenWithinMs);

  const nothing = holdfast('updates');
  assert.equal(nothing.code, 0, nothing.stderr);
  assert.match(nothing.stderr, /holdfast releases publish/);
  // To Debian a version with ~ is the older one, a further revision the newer one.
  const publish = (released: string) =>
    assert.equal(holdfast('releases', 'publish', name, released, '--train', 'stable').code, 0, released);
  publish(`${version}~rc1`);
  assert.equal(holdfast('updates').code, 0);
  publish(`${version}+deb99u1`);
  const updates = holdfast('updates', '--host', 'edge-1', '-o', 'json');
  assert.equal(updates.code, 1, updates.stderr);
  assert.deepEqual(
    JSON.parse(updates.stdout).items.map((item: Record<string, string>) => [
      item['component'],
      item['installed'],
      item['latest'],
    ]),
    [[name, version, `${version}+deb99u1`]],
  );
  const table = holdfast('updates');
  assert.deepEqual([table.code, table.stdout.split('\n').length], [1, 3], table.stdout);
  assert.equal(holdfast('releases', 'withdraw', name, `${version}+deb99u1`, '--train', 'stable').code, 0);
  assert.equal(holdfast('updates', '--host', 'edge-1').code, 0);

  removePackage(name);
  await until(async () => (await seen(name)) === null, `${name} did not go`, seenWithinMs);
  const { json } = await registry.http({ path: '/v1/hosts/edge-1/components?limit=1000' });
  assert.ok(json.items.length > 10, 'all else is still there');
  assert.deepEqual(await running.kill('SIGTERM'), { code: 0, signal: null }, running.stderr());
});
