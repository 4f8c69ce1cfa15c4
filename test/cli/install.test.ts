/** `holdfast install` on a machine that is a folder, with a systemd that notes what it is told. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CommandResult } from '../../src/runner/systemctl.ts';
import { encodeJoinToken } from '../../src/wire/join-token.ts';
import { type FakeServer, fakeServer, json } from '../client/fake-server.ts';
import { HastyClock } from '../client/hasty-clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { type CliOptions, cli } from './harness.ts';

const joinToken = encodeJoinToken(
  { urls: ['https://registry.example:7420'], key: `sha256:${'0'.repeat(64)}`, ca: null },
  `hf_tok-${'0'.repeat(26)}_${'s'.repeat(43)}`,
);
const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];

interface MachineOptions {
  /** How it came here. */
  readonly by: 'package' | 'binary';
  /** What the agent says of its registry. */
  readonly registry?: object | null;
  /** Units that cannot start, and what they say. */
  readonly broken?: Readonly<Record<string, string>>;
}

async function machine(t: TestContext, { by, registry = null, broken = {} }: MachineOptions) {
  const root = tempFolder(t);
  const at = (path: string) => join(root, path);
  const put = (path: string, text: string) => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), text);
  };
  const users = `holdfast-agent:x:${uid}:${gid}::/:/bin/false\nholdfast-registry:x:${uid}:${gid}::/:/bin/false\n`;
  put('/etc/passwd', by === 'package' ? users : 'root:x:0:0::/root:/bin/sh\n');
  put('/etc/group', by === 'package' ? `holdfast:x:${gid}:\n` : 'root:x:0:\n');
  const program = at(by === 'package' ? '/usr/lib/holdfast/holdfast' : '/root/holdfast');
  put(by === 'package' ? '/usr/lib/holdfast/holdfast' : '/root/holdfast', 'the binary');
  if (by === 'package') {
    put('/usr/lib/systemd/system/holdfast-agent.service', '[Unit]\n');
    put('/etc/holdfast/agent.yaml', '# as shipped\n');
    put('/etc/holdfast/registry.yaml', '# as shipped\n');
  }
  const told: string[] = [];
  /** Verbs of systemctl that fail. */
  const failing = new Set<string>();
  const [active, enabled] = [new Set<string>(), new Set<string>()];
  const result = (code: number, stderr = ''): CommandResult => ({ code, stdout: '', stderr });
  mkdirSync(at('/run/holdfast/agent'), { recursive: true });
  const agent: FakeServer = await fakeServer(
    t,
    (_asked, response) =>
      json(response, 200, { role: 'agent', host: { id: null, name: 'edge-1' }, registry }),
    at('/run/holdfast/agent/admin.sock'),
  );
  const installHost: CliOptions['installHost'] = async () => ({
    root,
    program,
    addon: () => Buffer.from('the addon'),
    random: new SeededRandom(),
    manager: {
      runs: true,
      async control([verb = '', ...words]) {
        const units = words.filter((word) => !word.startsWith('--'));
        if (verb === 'is-active') return result(units.every((unit) => active.has(unit)) ? 0 : 3);
        if (verb === 'is-enabled') return result(units.every((unit) => enabled.has(unit)) ? 0 : 1);
        told.push([verb, ...words].join(' '));
        if (failing.has(verb)) return result(1, 'Connection refused');
        for (const unit of units) {
          if (verb === 'restart' && broken[unit] !== undefined) return result(1, `Job for ${unit} failed.`);
          if (verb === 'restart') active.add(unit);
          if (verb === 'enable') enabled.add(unit);
          if (verb === 'disable') enabled.delete(unit);
        }
        return result(0);
      },
      async makeUsers(lines) {
        told.push(`users: ${lines.match(/^u \S+/gm)?.join(', ')}`);
        put('/etc/passwd', users);
        put('/etc/group', `holdfast:x:${gid}:\n`);
        return result(0);
      },
      async journal(unit) {
        return { code: 0, stdout: `Starting…\nholdfast: ${broken[unit]}\nFailed.\n`, stderr: '' };
      },
    },
  });
  const install = (argv: readonly string[], options: CliOptions = {}) =>
    cli(['install', ...argv], { uid: 0, installHost, ...options });
  return { at, put, told, failing, agent, install, read: (path: string) => readFileSync(at(path), 'utf8') };
}

const connected = {
  url: 'https://registry.example:7420',
  joined: true,
  connected: true,
  problem: null,
};
const handed = '/var/lib/holdfast/agent/join.token';

test('install agent hands the join token over, starts runner and agent, and waits until it has joined', async (t) => {
  const { install, told, at, read, agent } = await machine(t, { by: 'package', registry: connected });
  // Looked at while the agent is asked: afterwards the token is gone.
  let seen: { text: string; mode: number; uid: number } | undefined;
  const { handler } = agent;
  agent.handler = (...all) => {
    const stat = statSync(at(handed));
    seen ??= { text: read(handed), mode: stat.mode & 0o777, uid: stat.uid };
    handler(...all);
  };
  const { code, stderr } = await install(['agent', '--join-file', '-', '--allow', 'exec'], {
    stdin: `${joinToken}\n`,
  });
  assert.equal(code, 0, stderr);
  assert.deepEqual(seen, { text: `${joinToken}\n`, mode: 0o600, uid });
  assert(!existsSync(at(handed)));
  assert.deepEqual(told, [
    'enable --quiet holdfast-runner.service holdfast-agent.service',
    'reset-failed holdfast-runner.service',
    'restart holdfast-runner.service',
    'reset-failed holdfast-agent.service',
    'restart holdfast-agent.service',
  ]);
  assert.equal(
    read('/etc/holdfast/agent.yaml'),
    '# as shipped\n\n# Written by "holdfast install".\nallow:\n  drivers: [archive, files, exec]\n  handlers: [http, snapshot, exec]\n',
  );
  assert.match(stderr, /joined https:\/\/registry\.example:7420 as edge-1\./);
  assert(!stderr.includes(joinToken));
  assert.equal(statSync(at('/var/lib/holdfast/agent')).mode & 0o777, 0o700);
});

test('install does nothing the second time, and what changed the third', async (t) => {
  const { install, told, read, put, at } = await machine(t, { by: 'package', registry: connected });
  await install(['agent', '--join-file', '-'], { stdin: joinToken });
  put('/var/lib/holdfast/agent/credential', '{}');
  told.length = 0;
  const again = await install(['agent']);
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stderr, /^everything is installed as it shall be\njoined/);
  assert.equal(told.length, 0);
  const dry = await install(['agent', '--region', 'eu-west', '--dry-run']);
  assert.equal(
    dry.stderr,
    'would write /etc/holdfast/agent.yaml\nwould restart holdfast-runner.service and holdfast-agent.service\n',
  );
  assert.deepEqual([told.length, read('/etc/holdfast/agent.yaml')], [0, '# as shipped\n']);
  await install(['agent', '--region', 'eu-west']);
  assert.match(read('/etc/holdfast/agent.yaml'), /^host:\n {2}region: eu-west$/m);
  assert.equal(told.filter((words) => words.startsWith('restart')).length, 2);
  assert(!existsSync(at(handed)));
});

test('install says what is missing, and changes nothing then', async (t) => {
  const { install, told, put } = await machine(t, { by: 'package' });
  const refusals: [readonly string[], CliOptions, number, RegExp][] = [
    [['agent'], {}, 2, /pass "--join-file FILE" with a join token/],
    [[], {}, 2, /name a role, agent or registry/],
    [['agent'], { uid: 1000 }, 77, /it needs root; use sudo\n$/],
    [['agent', '--join-file', '-'], { stdin: 'hfj1.cut' }, 78, /\(in stdin\)/],
    [['agent', '--join-file', '/nonexistent/t'], {}, 78, /Cannot read \/nonexistent\/t/],
    [['agent', '--registry', 'none', '--allow', 'exce'], {}, 2, /Cannot allow "exce": expected some of exec/],
    [['agent', '--listen', '0.0.0.0:1'], {}, 2, /--listen here: it belongs to "install registry"/],
    [['registry', '--join-file', '-'], {}, 2, /--join-file here: it belongs to "install agent"/],
    [['registry', '--listen', 'here'], {}, 78, /--listen: "here" given/],
    [['agent', '--join-file', joinToken], {}, 2, /Cannot take a secret as an argument/],
  ];
  for (const [argv, options, code, words] of refusals) {
    const found = await install(argv, options);
    assert.equal(found.code, code, found.stderr);
    assert.match(found.stderr, words);
  }
  put('/etc/holdfast/agent.yaml', 'registry: none\n');
  const both = await install(['agent', '--join-file', '-'], { stdin: joinToken });
  assert.equal(both.code, 78);
  assert.match(both.stderr, /\/etc\/holdfast\/agent\.yaml:1 says "registry: none"; remove that line/);
  put('/etc/holdfast/agent.yaml', 'lisen: 127.0.0.1:1\n');
  assert.match(
    (await install(['agent'])).stderr,
    /agent\.yaml:1: unknown key "lisen"; did you mean "listen"/,
  );
  assert.deepEqual(told, []);
});

test('install refuses a machine that systemd does not run, and a Holdfast that is no binary', async (t) => {
  const { install } = await machine(t, { by: 'package' });
  const given = { root: tempFolder(t), addon: () => Buffer.of(), random: new SeededRandom() };
  const never = () => assert.fail('asked');
  const manager = { runs: false, control: never, makeUsers: never, journal: never };
  const host = (program: string | null, runs: boolean): CliOptions => ({
    installHost: async () => ({ ...given, program, manager: { ...manager, runs } }),
  });
  const argv = ['agent', '--registry', 'none'];
  const without = await install(argv, host('/h', false));
  assert.deepEqual([without.code, /systemd does not run this machine/.test(without.stderr)], [78, true]);
  const sources = await install(argv, host(null, true));
  assert.deepEqual([sources.code, /npm run build/.test(sources.stderr)], [78, true]);
});

test('install tells in its own words why a unit did not start', async (t) => {
  const broken = { 'holdfast-agent.service': 'Cannot use listen (/etc/holdfast/agent.yaml:3): "x" given' };
  const { install } = await machine(t, { by: 'package', broken });
  const { code, stderr } = await install(['agent', '--registry', 'none']);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /Cannot start holdfast-agent\.service: Cannot use listen \(\/etc\/holdfast\/agent\.yaml:3\)/,
  );
  assert.match(stderr, /run this command again/);
});

test('install gives up waiting for the registry with 7, and leaves the token to the agent', async (t) => {
  const registry = {
    ...connected,
    joined: false,
    connected: false,
    problem: 'Cannot reach it: nobody listens',
  };
  const { install, at } = await machine(t, { by: 'package', registry });
  const argv = ['agent', '--join-file', '-', '--timeout', '1s'];
  const { code, stderr } = await install(argv, { stdin: joinToken, clock: new HastyClock() });
  assert.equal(code, 7, stderr);
  assert.match(stderr, /has not joined within 1s: Cannot reach it: nobody listens/);
  assert(existsSync(at(handed)));
});

test('install of the bare binary puts binary, addon, units and users there, and --remove takes them away', async (t) => {
  const { install, told, at, read } = await machine(t, { by: 'binary' });
  const { code, stderr } = await install(['agent', '--registry', 'none']);
  assert.equal(code, 0, stderr);
  assert.equal(told[0], 'users: u holdfast-agent, u holdfast-registry');
  assert.equal(told[1], 'daemon-reload');
  assert.equal(read('/usr/local/lib/holdfast/holdfast'), 'the binary');
  assert.equal(statSync(at('/usr/local/lib/holdfast/holdfast')).mode & 0o777, 0o755);
  assert.equal(read('/usr/local/lib/holdfast/holdfast.node'), 'the addon');
  assert.equal(readlinkSync(at('/usr/local/bin/holdfast')), '../lib/holdfast/holdfast');
  assert.match(
    read('/etc/systemd/system/holdfast-agent.service'),
    /^ExecStart=\/usr\/local\/lib\/holdfast\/holdfast agent --config \/etc\/holdfast\/agent\.yaml$/m,
  );
  assert.match(read('/etc/holdfast/agent.yaml'), /\nregistry: none\n$/);
  told.length = 0;
  const again = await install(['agent']);
  assert.match(again.stderr, /^everything is installed/);

  const removed = await install(['--remove']);
  assert.equal(removed.code, 0, removed.stderr);
  assert.match(told[0] ?? '', /^disable --quiet --now holdfast-agent\.service .*holdfast-runner\.service$/);
  assert.equal(told[1], 'stop holdfast-step-*.service');
  for (const gone of ['/usr/local/lib/holdfast', '/etc/systemd/system/holdfast-runner.service'])
    assert(!existsSync(at(gone)), gone);
  assert.throws(() => readlinkSync(at('/usr/local/bin/holdfast')));
  assert(existsSync(at('/etc/holdfast/agent.yaml')));
  assert.match((await install(['--remove'])).stderr, /nothing of the bare binary is installed/);
});

test('install opens what it makes to the daemons, whatever the umask of root', async (t) => {
  const { install, at, read } = await machine(t, { by: 'binary' });
  const before = process.umask(0o077);
  t.after(() => process.umask(before));
  const { code, stderr } = await install(['agent', '--registry', 'none']);
  assert.equal(code, 0, stderr);
  const places = ['/usr/local/lib/holdfast', '/usr/local/bin', '/etc/holdfast', '/etc/systemd/system'];
  for (const place of places) assert.equal(statSync(at(place)).mode & 0o777, 0o755, place);
  assert.match(read('/etc/holdfast/agent.yaml'), /^#host:$(.|\n)*\nregistry: none\n$/m);
  const joined = await machine(t, { by: 'package', registry: connected });
  await joined.install(['agent', '--join-file', '-'], { stdin: joinToken });
  assert.equal(statSync(joined.at('/var/lib/holdfast')).mode & 0o777, 0o755);
  assert.equal(statSync(joined.at('/var/lib/holdfast/agent')).mode & 0o777, 0o700);
});

test('install goes on where an earlier one was cut off, and what runs is of the new files', async (t) => {
  const { install, told, failing } = await machine(t, { by: 'binary' });
  await install(['agent', '--registry', 'none']);
  failing.add('restart');
  const cut = await install(['agent', '--region', 'eu-west']);
  assert.equal(cut.code, 1, cut.stderr);
  failing.clear();
  told.length = 0;
  const again = await install(['agent']);
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual(
    told.filter((words) => /^(daemon-reload|restart)/.test(words)),
    ['daemon-reload', 'restart holdfast-runner.service', 'restart holdfast-agent.service'],
  );
  assert.match((await install(['agent'])).stderr, /^everything is installed/);
});

test('install of a newer binary restarts what else runs of it', async (t) => {
  const { install, told, put } = await machine(t, { by: 'binary' });
  await install(['registry']);
  await install(['agent', '--registry', 'none']);
  put('/root/holdfast', 'a newer binary');
  told.length = 0;
  const { code, stderr } = await install(['agent']);
  assert.equal(code, 0, stderr);
  const restarted = told.filter((words) => words.startsWith('restart')).map((words) => words.slice(8));
  const all = ['holdfast-runner.service', 'holdfast-agent.service', 'holdfast-registry.service'];
  assert.deepEqual(restarted, all);
});

test('install keeps the mode of a configuration that somebody has closed', async (t) => {
  const { install, at, read } = await machine(t, { by: 'package' });
  chmodSync(at('/etc/holdfast/agent.yaml'), 0o640);
  await install(['agent', '--registry', 'none']);
  assert.match(read('/etc/holdfast/agent.yaml'), /\nregistry: none\n$/);
  assert.equal(statSync(at('/etc/holdfast/agent.yaml')).mode & 0o777, 0o640);
});

test('G11: install puts nothing that root starts where others can write', async (t) => {
  const { install, at, told } = await machine(t, { by: 'binary' });
  mkdirSync(at('/usr/local/lib/holdfast'), { recursive: true });
  chmodSync(at('/usr/local/lib/holdfast'), 0o777);
  const { code, stderr } = await install(['agent', '--registry', 'none']);
  assert.equal(code, 78, stderr);
  assert.match(stderr, /Cannot install into \/usr\/local\/lib\/holdfast: .*chown root:/);
  assert.deepEqual(told, []);
});

test('install leaves a program of that name that is not ours, and does not mix with the package', async (t) => {
  const bare = await machine(t, { by: 'binary' });
  bare.put('/usr/local/bin/holdfast', 'of somebody else');
  await bare.install(['agent', '--registry', 'none']);
  await bare.install(['--remove']);
  assert.equal(bare.read('/usr/local/bin/holdfast'), 'of somebody else');

  const packaged = await machine(t, { by: 'package' });
  packaged.put('/etc/systemd/system/holdfast-agent.service', '[Unit]\n');
  const hidden = await packaged.install(['agent', '--registry', 'none']);
  assert.equal(hidden.code, 78);
  assert.match(hidden.stderr, /run "holdfast install --remove" first/);
  bare.put('/usr/lib/systemd/system/holdfast-agent.service', '[Unit]\n');
  const both = await bare.install(['agent', '--registry', 'none']);
  assert.match(both.stderr, /the package holdfast is installed here; run \/usr\/bin\/holdfast install/);
});

test('G11: install follows no link that the agent put in its own folder', async (t) => {
  const { install, at } = await machine(t, { by: 'package', registry: { ...connected, joined: false } });
  const [folder, target] = [at('/var/lib/holdfast/agent'), at('/etc/shadow')];
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o700);
  writeFileSync(target, 'untouched');
  symlinkSync(target, at(handed));
  await install(['agent', '--join-file', '-'], { stdin: joinToken, clock: new HastyClock() });
  assert.equal(readFileSync(target, 'utf8'), 'untouched');
  assert(statSync(at(handed)).isFile());
  rmSync(at(handed));
  execFileSync('mkfifo', ['-m', '600', at(handed)]);
  const argv = ['agent', '--join-file', '-', '--timeout', '1s'];
  await install(argv, { stdin: joinToken, clock: new HastyClock() });
  assert.equal(readFileSync(at(handed), 'utf8'), `${joinToken}\n`);
  const again = await install(argv, { stdin: joinToken, clock: new HastyClock() });
  assert.match(again.stderr, /^everything is installed/);
  chmodSync(folder, 0o755);
  const open = await install(['agent', '--join-file', '-'], { stdin: joinToken.slice(0, -1) });
  assert.equal(open.code, 78, open.stderr);
});

test('install registry writes where it is found and says what comes next', async (t) => {
  const { install, told, read } = await machine(t, { by: 'package' });
  const lone = await install(['registry']);
  assert.match(lone.stderr, /Hosts on other machines join only when/);
  const urls = ['--listen', '0.0.0.0:7420', '--advertise-url', 'https://registry.example:7420'];
  const { code, stderr } = await install(['registry', ...urls]);
  assert.equal(code, 0, stderr);
  assert.match(
    read('/etc/holdfast/registry.yaml'),
    /\nlisten: 0\.0\.0\.0:7420\nadvertiseUrl: https:\/\/registry\.example:7420\n$/,
  );
  assert.equal(told.at(-1), 'restart holdfast-registry.service');
  assert.match(stderr, /holdfast token create --role host/);
});
