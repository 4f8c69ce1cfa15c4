/** The built binary over TLS: a registry of its own CA, a host that joins by a token, and keys that are rotated. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { exchange } from '../helpers/http.ts';
import { startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

const binary = join(import.meta.dirname, '../../dist/holdfast');

test('a host joins a registry over TLS by its token, and follows when key and CA are rotated', async (t) => {
  const home = tempFolder(t);
  const env = { HOME: home, PATH: '' };
  const [registryDir, agentDir] = [join(home, 'registry'), join(home, 'agent')];
  const holdfast = (line: string, socketDir: string) => {
    const argv = [...line.split(' '), '--socket', socketDir];
    const { status, stdout, stderr } = spawnSync(binary, argv, { env, encoding: 'utf8' });
    assert.equal(status, 0, `${line}: ${stderr}`);
    return stdout;
  };
  const onRegistry = (line: string) => holdfast(line, join(registryDir, 'run'));
  const start = (argv: string[]) => startProcess(t, argv, { command: [binary], env });

  const registry = start(['registry', '--listen', '127.0.0.1:0', '--data-dir', registryDir]);
  const { url } = await registry.ready('registry');
  assert.match(url, /^https:/);
  const ca = () => readFileSync(join(registryDir, 'ca.pem'), 'utf8');
  assert.equal((await exchange(url, { path: '/livez', ca: ca() })).status, 200);

  const joinFile = join(home, 'edge-1.join');
  writeFileSync(joinFile, onRegistry('token create --role host'), { mode: 0o600 });
  const listen = ['--listen', '127.0.0.1:0', '--data-dir', agentDir, '--name', 'edge-1'];
  const agent = start(['agent', '--join-file', joinFile, ...listen]);
  await agent.ready('agent');

  const target = () => JSON.parse(holdfast('status -o json', join(agentDir, 'run'))).registry?.target;
  const held = await until(() => target()?.tag, 'no target came');
  for (const what of ['signing-key', 'ca']) onRegistry(`registry rotate ${what}`);
  assert.equal((await exchange(url, { path: '/livez', ca: ca() })).status, 200);
  await until(() => target().tag !== held && target(), 'no other target came', 30_000);
  assert.equal(target().refused, null);
  const [host] = JSON.parse(onRegistry('hosts ls -o json')).items as { name: string; status: string }[];
  assert.deepEqual([host?.name, host?.status], ['edge-1', 'UP']);
  for (const running of [agent, registry])
    assert.deepEqual(await running.kill('SIGTERM'), { code: 0, signal: null }, running.stderr());
});
