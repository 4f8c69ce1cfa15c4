/** `holdfast up` of the built binary, as a newcomer runs it: ready, asked in every way, stopped. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Ready, reach, startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

const binary = join(import.meta.dirname, '../../dist/holdfast');

test('up on a fresh folder: all roles serve, this machine is a live host with its packages, SIGTERM ends it with 0', async (t) => {
  const home = tempFolder(t);
  // Nothing of this environment: no PATH, so no node and no dpkg.
  const env = { HOME: home, PATH: '' };
  const config = join(home, 'looks.yaml');
  // Of each kind that needs no program: the binary holds less of its libraries than the tests of the sources see.
  writeFileSync(
    config,
    `checks:
  - {type: http, http: 'http://127.0.0.1:1/'}
  - {type: tcp, tcp: '127.0.0.1:1'}
  - {type: process, process: holdfast}
`,
  );
  const argv = [
    'up',
    '--config',
    config,
    '--data-dir',
    join(home, 'data'),
    '--registry-listen',
    '127.0.0.1:0',
    '--agent-listen',
    '127.0.0.1:0',
  ];
  const running = startProcess(t, argv, { command: [binary], env });
  const registry = reach(t, await running.ready('registry'));
  const agent = reach(t, await running.ready('agent'));
  assert.deepEqual(
    running
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Ready)
      .map(({ ready, ...more }) => [ready, ...Object.keys(more)]),
    [
      ['registry', 'url', 'dataDir'],
      ['runner', 'url', 'dataDir'],
      ['agent', 'url', 'dataDir'],
    ],
  );

  for (const { http } of [registry, agent]) {
    for (const path of ['/livez', '/readyz', '/healthz', '/metrics', '/version', '/openapi.json']) {
      // On loopback these need no token.
      const { status, text } = await http({ path, token: undefined });
      assert.equal(status, 200, `${path}: ${text}`);
    }
    assert.equal((await http({ path: '/readyz' })).json.status, 'ok');
    assert.deepEqual(Object.keys((await http({ path: '/version' })).json), ['version', 'commit', 'wire']);
    assert.match((await http({ path: '/metrics' })).text, /^holdfast_build_info\{.*\} 1$/m);
    assert.equal((await http({ path: '/v1/services', token: undefined })).status, 401);
  }

  const holdfast = (line: string) => {
    const { status, stdout, stderr } = spawnSync(
      binary,
      [...line.split(' '), '--socket', join(home, 'data/run')],
      { env, encoding: 'utf8' },
    );
    assert.equal(status, 0, `${line}: ${stderr}`);
    return stdout;
  };
  const [host] = await until(() => {
    const { items } = JSON.parse(holdfast('hosts ls -o json')) as {
      items: { name: string; status: string }[];
    };
    return items.length === 1 && items;
  });
  assert.equal(host?.status, 'UP');
  const expected = installedPackages();
  const installed = await until(() => {
    const { items } = JSON.parse(holdfast(`components ls --host ${host?.name} --limit 1000 -o json`)) as {
      items: { name: string; version: string; detector: string }[];
    };
    return items.length > 0 && items;
  }, 'nothing was checked in');
  const byName = new Map(installed.map(({ name, version }) => [name, version]));
  for (const [name, version] of expected) assert.equal(byName.get(name), version, name);
  t.diagnostic(
    `${host?.name}: ${installed.length} components on its first page, ${expected.size} packages compared`,
  );
  const looks = await until(() => {
    const { checks } = JSON.parse(holdfast('status -o json')) as {
      checks: { type: string; state: string; detail: string | null }[];
    };
    return checks.every(({ state }) => state !== 'waiting') && checks;
  }, 'a check never looked');
  assert.deepEqual(
    new Map(looks.map(({ type, state }) => [type, state])),
    new Map([
      ['http', 'failing'],
      ['tcp', 'failing'],
      ['process', 'passing'],
    ]),
    JSON.stringify(looks),
  );
  assert.match(holdfast('status'), /^runner +connected, starts processes$/m);
  holdfast(`services set --type web --host ${host?.name}`);
  assert.equal(holdfast(`services is-up --type web --host ${host?.name}`), 'UP\n');

  assert.deepEqual(await running.kill('SIGTERM'), { code: 0, signal: null }, running.stderr());
  assert(existsSync(join(home, 'data/registry/holdfast.db')));
});

/** Some of what dpkg says is installed here, by name; nothing where there is no dpkg. */
function installedPackages(): Map<string, string> {
  if (!existsSync('/usr/bin/dpkg-query')) return new Map();
  const lines = execFileSync(
    'dpkg-query',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
    ['-W', '-f', '${db:Status-Status} ${Package} ${Version}\n', 'base-files', 'bash', 'dpkg', 'libc6'],
    { encoding: 'utf8' },
  );
  return new Map(
    lines
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([status]) => status === 'installed')
      .map(([, name = '', version = '']) => [name, version]),
  );
}
