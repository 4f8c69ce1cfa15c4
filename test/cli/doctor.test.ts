/** `holdfast doctor` with a real registry and a real agent, and with what an agent has left. */
import assert from 'node:assert/strict';
import { chownSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { problemsFile } from '../../src/agent/problems.ts';
import { takeOwnership } from '../../src/store/engine/owner.ts';
import { readLeftBehind } from '../../src/store/left-behind.ts';
import { Stage } from '../helpers/boot.ts';
import { until } from '../helpers/until.ts';
import { type CliOptions, cli } from './harness.ts';

const component = (detector: string, name: string, version: string) => ({ detector, name, version });

async function boot(t: TestContext) {
  const stage = Stage.live(t);
  const folder = stage.folder();
  const registry = await stage.registry();
  const dataDir = join(folder, 'agent');
  const agent = await stage.agent({
    dataDir,
    socketDir: join(folder, 'run'),
    registry: { url: registry.url, token: registry.token },
    detectors: [
      {
        name: 'dpkg',
        everyMs: 60_000,
        detect: async () => [component('dpkg', 'nginx', '1.22'), component('dpkg', 'bash', '5.2')],
      },
      { name: 'kernel', everyMs: 60_000, detect: async () => [component('kernel', 'linux', '6.1')] },
    ],
  });
  await until(async () => (await agent.http({ path: '/v1/status' })).json.inventory.acknowledged === true);
  const doctor = (args: readonly string[], options: CliOptions = {}) =>
    cli(['doctor', ...args], {
      home: folder,
      roles: { readLeftBehind: (at) => readLeftBehind({ dataDir: at, pid: process.pid }) },
      ...options,
    });
  const reports = async () => (await registry.http({ path: '/v1/doctor' })).json.items as { id: string }[];
  const sent = async (id: string) => (await registry.http({ path: `/v1/doctor/${id}` })).json;
  return { stage, registry, agent, folder, dataDir, doctor, reports, sent };
}

const at = (folder: string) => ['--socket', join(folder, 'run')];

test('doctor shows what the agent tells, and sends it through the agent when it is told to', async (t) => {
  const { folder, doctor, reports, sent } = await boot(t);
  const shown = await doctor([...at(folder), '--dry-run']);
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /gathered from +the running agent/);
  assert.match(shown.stdout, /Out of the ordinary:\n/);
  assert.match(shown.stdout, /linux +6\.1 +kernel/);
  assert.doesNotMatch(shown.stdout, /nginx/);
  const unasked = await doctor(at(folder));
  assert.match(unasked.stderr, /not sent: nobody can be asked here, --send sends it/);
  assert.deepEqual(await reports(), []);

  const done = await doctor(
    [...at(folder), '--send', '--component', 'nginx', '--comment', '@-', '-o', 'json'],
    {
      stdin: 'it restarts\nsince password=hunter22\n',
    },
  );
  assert.equal(done.code, 0, done.stderr);
  const printed = JSON.parse(done.stdout);
  assert.equal(printed.comment, 'it restarts\nsince password=(masked)');
  assert.deepEqual(
    printed.report.components.map((one: { name: string }) => one.name),
    ['nginx'],
  );
  const kept = await sent(printed.id);
  assert.deepEqual([kept.host, kept.sender, kept.comment], ['edge-1', 'host:edge-1', printed.comment]);
  assert.deepEqual(kept.report, printed.report);
});

test('doctor --component says which name is that of nothing', async (t) => {
  const { folder, doctor } = await boot(t);
  const names = ['nginx', 'kernel', 'ngnix'].flatMap((name) => ['--component', name]);
  const { stdout } = await doctor([...at(folder), '--dry-run', ...names]);
  const [, unseen] = /Not looked into:\n((?: {2}.*\n)+)/.exec(stdout) ?? [];
  assert.equal(unseen, '  ngnix: no component, check or detector that is known here has this name\n');
});

test('doctor asks on a terminal, and only yes sends', async (t) => {
  const { folder, doctor, reports } = await boot(t);
  for (const stdin of ['n\n', '', 'yesterday\n']) {
    const { stderr } = await doctor(at(folder), { columns: 100, stdin });
    assert.match(stderr, /Send it to the registry of this host, through its agent\? \[y\/N\] not sent/);
  }
  assert.deepEqual(await reports(), []);
  const { stderr } = await doctor(at(folder), { columns: 100, stdin: 'y\n' });
  const [, id] = /holdfast doctor get (\S+)/.exec(stderr) ?? [];
  assert.deepEqual(
    (await reports()).map((one) => one.id),
    [id],
  );
});

test('doctor --save writes a private file, never over another, and sends nothing', async (t) => {
  const { folder, doctor, reports } = await boot(t);
  const file = join(folder, 'report.json');
  const { code, stderr } = await doctor([...at(folder), '--save', file]);
  assert.equal(code, 0, stderr);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(JSON.parse(readFileSync(file, 'utf8')).report.format, 1);
  const again = await doctor([...at(folder), '--save', file]);
  assert.deepEqual([again.code, /exists, remove it or name another file/.test(again.stderr)], [2, true]);
  const nowhere = await doctor([...at(folder), '--save', join(folder, 'none', 'report.json')]);
  assert.deepEqual([nowhere.code, nowhere.stdout], [2, '']);
  assert.match(nowhere.stderr, /Cannot write the report: there is no folder .*none, make it or name another/);
  const both = await doctor([...at(folder), '--dry-run', '--send']);
  assert.equal(both.code, 2);
  assert.deepEqual(await reports(), []);
});

test('doctor of an agent that is down tells what it left, and sends it as the host', async (t) => {
  const { folder, dataDir, agent, doctor, reports, sent } = await boot(t);
  const secrets = readFileSync(join(dataDir, 'credential'), 'utf8');
  const { credential } = JSON.parse(secrets);
  const adminToken = readFileSync(join(dataDir, 'admin.token'), 'utf8').trim();
  await agent.close();
  const left = [{ at: 'x', level: 'error', message: 'fell', detail: `over ${credential}`, count: 3 }];
  writeFileSync(problemsFile(dataDir), JSON.stringify(left), { mode: 0o600 });
  writeFileSync(join(dataDir, 'join.token'), 'correct-horse-battery', { mode: 0o600 });
  const config = join(folder, 'agent.yaml');
  writeFileSync(
    config,
    'registry: https://registry.example:7420\nhost: { self: { note: correct-horse-battery, via: "http://u:planted-pw@h" } }\n' +
      'checks:\n  - { type: web, http: "http://127.0.0.1:9/?key=planted-query" }\n' +
      '  - { type: cmd, exec: [/bin/true, --planted-argument] }\n',
  );
  const before = statSync(join(dataDir, 'holdfast.db')).mtimeMs;
  const done = await doctor(
    [...at(folder), '--data-dir', dataDir, '--config', config, '--send', '-o', 'json'],
    {
      env: { HOLDFAST_TOKEN: 'planted-environment' },
    },
  );
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stderr, /, as host edge-1; an admin reads it/);
  const { id, report } = JSON.parse(done.stdout);
  assert.equal(report.gatheredFrom, 'files');
  assert.deepEqual(report.findings, ['the agent does not run']);
  assert.equal(report.host, 'edge-1');
  assert.equal(report.store.state, 'ok');
  assert.equal(report.target.settings.name, 'edge-1');
  assert.deepEqual(report.unseen.slice(1), []);
  assert.deepEqual(report.problems, [{ ...left[0], detail: 'over (masked)' }]);
  assert.deepEqual(
    report.configuration.checks.map((one: { type: string }) => one.type),
    ['web', 'cmd'],
  );
  const kept = await sent(id);
  assert.deepEqual([kept.host, kept.sender], ['edge-1', 'host:edge-1']);
  const all = `${done.stdout}${done.stderr}${JSON.stringify(kept)}`;
  for (const secret of [
    ...[credential, adminToken, 'correct-horse-battery', 'planted-environment'],
    ...['planted-pw', 'planted-query', 'planted-argument'],
  ])
    assert(!all.includes(secret), `${secret} is in the report`);
  // It was looked at, and left as it was.
  assert.equal(statSync(join(dataDir, 'holdfast.db')).mtimeMs, before);
  assert(!existsSync(join(dataDir, 'holdfast.db-shm')));
  assert.equal((await reports()).length, 1);
});

test('doctor says what it could not look into: a database in use, damaged, somebody else’s, or not there', async (t) => {
  const { folder, dataDir, agent, doctor } = await boot(t);
  await agent.close();
  const look = async () => {
    const { code, stdout, stderr } = await doctor([
      ...at(folder),
      '--data-dir',
      dataDir,
      '--dry-run',
      '-o',
      'json',
    ]);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout).report;
  };
  const owner = takeOwnership({ file: join(dataDir, 'owner.lock'), pid: process.pid });
  const used = await look();
  owner.release();
  assert.match(
    used.findings.join(),
    /the database is in use, by a process that does not answer: .*owns this/,
  );

  const database = join(dataDir, 'holdfast.db');
  const good = readFileSync(database);
  writeFileSync(database, 'no database at all, and longer than a header'.repeat(50));
  assert.match((await look()).findings.join(), /the database is not readable: file is not a database/);
  writeFileSync(database, good);
  assert.deepEqual((await look()).findings, ['the agent does not run']);

  if (process.getuid?.() === 0) {
    chownSync(dataDir, 4_711, 4_711);
    assert.match((await look()).unseen.join(), /run: sudo -u '#4711' holdfast doctor --data-dir/);
    const unsent = await doctor([...at(folder), '--data-dir', dataDir, '--send']);
    assert.equal(unsent.code, 6);
    assert.match(unsent.stderr, /sudo -u '#4711' holdfast doctor .* or name the registry with --url/);
    chownSync(dataDir, 0, 0);
  }
  const gone = await doctor([
    '--socket',
    join(folder, 'run'),
    '--data-dir',
    join(folder, 'none'),
    '--dry-run',
  ]);
  assert.match(gone.stdout, /there is no .*none; name another with --data-dir/);
});

test('doctor ls, get and rm are for admins, and show what a host wrote without obeying it', async (t) => {
  const { registry, folder, doctor, sent } = await boot(t);
  const whom = ['--url', registry.url];
  const env = { HOLDFAST_TOKEN: registry.token };
  assert.match((await doctor(['ls', ...whom], { env })).stderr, /no reports/);
  const done = await doctor([...at(folder), '--send', '-o', 'json']);
  const { id } = JSON.parse(done.stdout);
  assert.match((await doctor(['ls', ...whom], { env })).stdout, new RegExp(`edge-1 +${id}`));
  assert.match((await doctor(['get', id, ...whom], { env })).stdout, /^host +edge-1\n/);
  const raw = await doctor(['get', id, ...whom, '-o', 'json'], { env });
  assert.deepEqual(JSON.parse(raw.stdout).report, (await sent(id)).report);

  const odd = '01a1faf9-f6b5-7620-b23f-53dfdf01b16c';
  const report = { format: 1, checks: 'none', text: '\u009b31m' };
  await registry.http({ method: 'POST', path: `/v1/doctor/${odd}`, body: { host: 'x', report } });
  const shown = await doctor(['get', odd, ...whom], { env });
  assert.equal(shown.code, 0, shown.stderr);
  assert(shown.stdout.includes('\\u009b31m'));

  // A host that lies within the form of a report does not keep it from being read.
  const evil = { toString: 1, valueOf: 1 };
  const liar = '01a1faf9-f6b5-7620-b23f-53dfdf01b16d';
  const members = ['versions', 'registry', 'target', 'runner', 'outbox', 'store'];
  const told = {
    format: 1,
    at: 'never',
    host: '\u009b31m',
    resources: { machine: { load: [evil], cpus: evil }, process: null, dataDir: 'none' },
    ...Object.fromEntries(members.map((name) => [name, { pending: evil, node: evil, placements: evil }])),
    ...Object.fromEntries(
      ['checks', 'detectors', 'problems', 'components'].map((name) => [
        name,
        [{ type: evil, name: evil, message: evil }],
      ]),
    ),
    configuration: { evil },
    findings: ['a\nb'],
    unseen: [],
  };
  const sentLie = await registry.http({
    method: 'POST',
    path: `/v1/doctor/${liar}`,
    body: { host: 'x', report: told },
  });
  assert.equal(sentLie.status, 201, sentLie.text);
  const lie = await doctor(['get', liar, ...whom], { env });
  assert.equal(lie.code, 0, lie.stderr);
  assert.match(lie.stdout, /^waiting to be sent +\{"toString":1,"valueOf":1\}$/m);
  assert(!lie.stdout.includes('\u009b'));

  assert.match((await doctor(['rm', odd, ...whom], { env })).stderr, /removed report/);
  assert.equal((await doctor(['get', odd, ...whom], { env })).code, 3);
  const agentCredential = await doctor(['ls', ...whom], { env: { HOLDFAST_TOKEN: 'hf_wrong' } });
  assert.equal(agentCredential.code, 77);
});
