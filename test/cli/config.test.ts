import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigurationError } from '../../src/cli/exit.ts';
import type {
  AgentConfig,
  RegistryConfig,
  Roles,
  RunnerConfig,
  RunningRegistry,
} from '../../src/cli/roles.ts';
import { knownVariables } from '../../src/cli/variables.ts';
import { encodeJoinToken } from '../../src/wire/join-token.ts';
import { HastyClock } from '../client/hasty-clock.ts';
import { tempFolder } from '../helpers/temp.ts';
import { fakeFleet } from './fake-fleet.ts';
import { cli } from './harness.ts';

/** Roles that note what they were started with, and run until they are closed. */
function notingRoles() {
  const started: { registry?: RegistryConfig; agent?: AgentConfig; runner?: RunnerConfig } = {};
  const closed: string[] = [];
  const running = (role: string, dataDir: string): RunningRegistry => ({
    url: `http://127.0.0.1:${role === 'registry' ? 7420 : 7421}`,
    dataDir,
    joinToken: async () => 'hfj1.made',
    async close() {
      closed.push(role);
    },
    failed: new Promise(() => undefined),
    stuckMs: () => 0,
  });
  const roles: Partial<Roles> = {
    async startRegistry(config) {
      started.registry = config;
      return running('registry', config.dataDir);
    },
    async startRunner(config) {
      started.runner = config;
      return running('runner', config.dataDir);
    },
    async startAgent(config) {
      started.agent = config;
      return running('agent', config.dataDir);
    },
  };
  return { started, closed, roles };
}

/** Starts a role, and stops it when its last ready line is out. */
async function startAndStop(argv: string[], options: Parameters<typeof cli>[1] = {}) {
  const stop = new AbortController();
  const noting = notingRoles();
  const last = argv[0] === 'registry' || argv[0] === 'runner' ? argv[0] : 'agent';
  const outcome = await cli(argv, {
    roles: noting.roles,
    signal: stop.signal,
    onStdout: (text) => {
      if (text.includes(`"ready":"${last}"`)) stop.abort(new Error('got SIGTERM'));
    },
    ...options,
  });
  return { ...noting, ...outcome };
}

function file(t: TestContext, text: string): string {
  const path = join(tempFolder(t), 'agent.yaml');
  writeFileSync(path, text);
  return path;
}

test('up starts the registry, a runner, then an agent that reports to the one and asks the other, says when each is ready, and stops in reverse', async () => {
  const { started, closed, stdout, code } = await startAndStop(['up'], {
    home: '/home/me',
    env: { XDG_RUNTIME_DIR: '/run/user/7' },
  });
  assert.equal(code, 0);
  assert.equal(
    stdout,
    `\
{"ready":"registry","url":"http://127.0.0.1:7420","dataDir":"/home/me/.local/share/holdfast/registry"}
{"ready":"runner","url":"http://127.0.0.1:7421","dataDir":"/home/me/.local/share/holdfast/runner"}
{"ready":"agent","url":"http://127.0.0.1:7421","dataDir":"/home/me/.local/share/holdfast/agent"}
`,
  );
  assert.deepEqual(started.registry, {
    dataDir: '/home/me/.local/share/holdfast/registry',
    socketDir: '/run/user/7/holdfast/registry',
    listen: { host: '127.0.0.1', port: 7420 },
    logLevel: 'info',
    tls: { kind: 'off' },
    advertiseUrls: [],
    behindProxy: false,
    legacyAnonymous: false,
    doctorReader: null,
    databaseUrl: null,
    notify: { rules: [], sinks: [] },
    proxy: {},
    runnerSocket: '/run/user/7/holdfast/runner/notify.sock',
  });
  assert.deepEqual(started.runner, {
    dataDir: '/home/me/.local/share/holdfast/runner',
    socketDir: '/run/user/7/holdfast/runner',
    logLevel: 'info',
    agentUser: null,
    orders: null,
    registry: { user: null, orders: null },
    stopsSteps: true,
  });
  assert.equal(started.agent?.runnerSocket, '/run/user/7/holdfast/runner/runner.sock');
  assert.equal(started.agent?.registry?.url, 'http://127.0.0.1:7420');
  assert.equal(await started.agent?.registry?.joinToken?.(), 'hfj1.made', 'made in this process, in no file');
  assert.equal(started.agent?.registry?.knownAs, 'file:///home/me/.local/share/holdfast/registry');
  assert.equal(started.agent?.name, 'this-machine');
  assert.deepEqual(closed, ['agent', 'runner', 'registry']);
});

test('up --data-dir puts everything below it', async (t) => {
  const dataDir = tempFolder(t);
  const { started } = await startAndStop(['up', '--data-dir', dataDir, '--registry-listen', '127.0.0.1:0'], {
    env: { XDG_RUNTIME_DIR: '/run/user/7' },
  });
  assert.deepEqual(
    [started.registry?.socketDir, started.registry?.listen.port],
    [join(dataDir, 'run/registry'), 0],
  );
  assert.deepEqual(
    [started.agent?.dataDir, started.agent?.socketDir],
    [join(dataDir, 'agent'), join(dataDir, 'run/agent')],
  );
});

test('runner reads of its file what it does for the agent, and nothing that is the agent’s own', async (t) => {
  const config = file(t, 'dataDir: /of-the-agent\nregistry: none\nchecks: [{type: a, exec: [/bin/true]}]\n');
  const argv = ['runner', '--config', config, '--agent-user', 'holdfast-agent'];
  const { started, code } = await startAndStop(argv, { uid: 0 });
  assert.equal(code, 0);
  assert.deepEqual(started.runner, {
    dataDir: '/var/lib/holdfast/runner',
    socketDir: '/run/holdfast/runner',
    logLevel: 'info',
    agentUser: 'holdfast-agent',
    orders: { file: config, role: 'agent' },
    registry: null,
    stopsSteps: false,
  });
  assert.equal((await cli(['config', 'check', 'runner', '--config', config])).code, 0);
  const wrong = file(t, 'checks: [{type: a, exce: [/bin/true]}]\n');
  const checked = await cli(['config', 'check', 'runner', '--config', wrong]);
  assert.equal(checked.code, 78);
  assert.match(checked.stderr, /agent\.yaml:1\).*did you mean "exec"/);
});

test('config check finds for up and runner a file that the runner would not believe', async (t) => {
  const config = file(t, 'checks: [{type: a, exec: [/bin/true]}]\n');
  const check = (role: string) => cli(['config', 'check', role, '--config', config]);
  for (const role of ['up', 'runner']) assert.equal((await check(role)).code, 0, role);
  chmodSync(config, 0o664);
  for (const role of ['up', 'runner']) {
    const { code, stderr } = await check(role);
    assert.equal(code, 78, role);
    assert.match(stderr, /others can write to .*; run chmod go-w /, role);
  }
});

test('agent finds the runner beside its sockets, where it is told, or nowhere', async () => {
  const runnerOf = async (argv: string[]) =>
    (await startAndStop(['agent', '--registry', 'none', ...argv], { uid: 0 })).started.agent?.runnerSocket;
  assert.equal(await runnerOf([]), '/run/holdfast/runner/runner.sock');
  assert.equal(await runnerOf(['--socket', '/s/agent']), '/s/runner/runner.sock');
  assert.equal(await runnerOf(['--runner-socket', '/r.sock']), '/r.sock');
  assert.equal(await runnerOf(['--runner-socket', 'none']), null);
});

test('flags stand above variables, those above the file, that above defaults', async (t) => {
  const config = file(
    t,
    'registry: http://127.0.0.1:1\nlisten: 127.0.0.1:1\nlogLevel: debug\nhost: {name: from-file, region: eu-west}\n',
  );
  const env = { HOLDFAST_LISTEN: '127.0.0.1:2', HOLDFAST_NAME: 'From.Env' };
  const { started, code, stderr } = await startAndStop(
    ['agent', '--config', config, '--listen', '[::1]:3', '--data-dir', '/d'],
    { env },
  );
  assert.equal(code, 0, stderr);
  const { listen, name, region, registry, logLevel } = started.agent ?? ({} as AgentConfig);
  assert.deepEqual(
    [listen, name, region, registry?.url, logLevel, registry?.joinToken],
    [{ host: '::1', port: 3 }, 'from.env', 'eu-west', 'http://127.0.0.1:1', 'debug', null],
  );
  const none = await startAndStop(['agent', '--registry', 'none', '--data-dir', '/d']);
  assert.equal(none.started.agent?.registry, null);
});

test('a role has the folders of its unit, unless somebody names others', async () => {
  const env = {
    STATE_DIRECTORY: '/var/lib/holdfast/registry',
    RUNTIME_DIRECTORY: '/run/holdfast/registry:/run/more',
  };
  const unit = await startAndStop(['registry', '--tls', 'off'], { uid: 998, env });
  assert.deepEqual(
    [unit.started.registry?.dataDir, unit.started.registry?.socketDir],
    ['/var/lib/holdfast/registry', '/run/holdfast/registry'],
  );
  const named = await startAndStop(['registry', '--tls', 'off', '--data-dir', '/srv/registry'], { env });
  assert.deepEqual(
    [named.started.registry?.dataDir, named.started.registry?.socketDir],
    ['/srv/registry', '/run/holdfast/registry'],
  );
  const both = ['--data-dir', '/srv/registry', '--socket', '/srv/sockets'];
  const { started } = await startAndStop(['registry', '--tls', 'off', ...both], { env });
  assert.equal(started.registry?.socketDir, '/srv/sockets');
});

test('root has the folders of the system for a role of its own, all others their own', async () => {
  const root = await startAndStop(['registry', '--tls', 'off'], { uid: 0 });
  assert.deepEqual(
    [root.started.registry?.dataDir, root.started.registry?.socketDir],
    ['/var/lib/holdfast/registry', '/run/holdfast/registry'],
  );
  const user = await startAndStop(['registry', '--tls', 'off'], { uid: 1000, home: '/home/me' });
  assert.deepEqual(
    [user.started.registry?.dataDir, user.started.registry?.socketDir],
    ['/home/me/.local/share/holdfast/registry', '/home/me/.local/share/holdfast/run/registry'],
  );
});

test('the database URL comes from its variable only', async () => {
  const { started } = await startAndStop(['registry', '--tls', 'off'], {
    env: { HOLDFAST_DATABASE_URL: 'postgres://me:secret@db/fleet' },
  });
  assert.equal(started.registry?.databaseUrl, 'postgres://me:secret@db/fleet');
  const { stdout } = await cli(['config', 'print', 'registry'], {
    env: { HOLDFAST_DATABASE_URL: 'postgres://me:secret@db/fleet' },
  });
  assert.match(stdout, /databaseUrl +\(set\) +HOLDFAST_DATABASE_URL/);
  assert.doesNotMatch(stdout, /secret/);
});

test('a database URL with a password that is not escaped is refused, and nothing of it told', async () => {
  for (const url of [
    'postgres://me:pa/ss@db/fleet',
    'postgres://me:pa#ss@db/fleet',
    'mysql://me:pass@db/fleet',
  ]) {
    const { code, stderr } = await cli(['registry', '--tls', 'off'], { env: { HOLDFAST_DATABASE_URL: url } });
    assert.equal(code, 78, url);
    assert.match(stderr, /HOLDFAST_DATABASE_URL.*expected postgres:\/\/user:password@host\/database/s);
    assert.doesNotMatch(stderr, /me:|pa.ss|fleet/);
  }
});

test('the registry serves TLS of its own unless it is told otherwise, beyond loopback too', async () => {
  const started = async (argv: string[], env: Record<string, string> = {}) =>
    (await startAndStop(['registry', ...argv], { env })).started.registry;
  const plain = await started([]);
  assert.deepEqual([plain?.tls, plain?.advertiseUrls, plain?.behindProxy], [{ kind: 'own' }, [], false]);
  const far = await started([
    ...['--listen', '0.0.0.0:7420'],
    ...['--advertise-url', 'https://R.example:7420/,https://10.0.0.1:7420'],
  ]);
  assert.deepEqual(far?.advertiseUrls, ['https://r.example:7420', 'https://10.0.0.1:7420']);
  const given = await started(['--tls-cert', '/c.pem', '--tls-key', '/k.pem']);
  assert.deepEqual(given?.tls, { kind: 'given', certFile: '/c.pem', keyFile: '/k.pem' });
  const proxied = await started(['--tls', 'off', '--listen', '0.0.0.0:1'], {
    HOLDFAST_BEHIND_PROXY: 'true',
    HOLDFAST_ADVERTISE_URL: 'https://registry.example/fleet',
  });
  assert.deepEqual(
    [proxied?.behindProxy, proxied?.advertiseUrls],
    [true, ['https://registry.example/fleet']],
  );
});

test('registry settings stand in a file too, and config check reads a given certificate', async (t) => {
  const text =
    'tls: off\nbehindProxy: true\nlisten: 0.0.0.0:1\nadvertiseUrl: [https://a.example, https://b.example]\n';
  const path = file(t, text);
  const { started } = await startAndStop(['registry', '--config', path]);
  assert.deepEqual(started.registry?.advertiseUrls, ['https://a.example', 'https://b.example']);
  assert.deepEqual(started.registry?.tls, { kind: 'off' });
  const printed = await cli(['config', 'print', 'registry', '--config', path]);
  assert.match(printed.stdout, /advertiseUrl +https:\/\/a\.example, https:\/\/b\.example +.*:4\n/);
  const given = file(t, `dataDir: ${tempFolder(t)}\ntlsCert: /nonexistent.crt\ntlsKey: /nonexistent.key\n`);
  const { code, stderr } = await cli(['config', 'check', 'registry', '--config', given]);
  assert.equal(code, 78);
  assert.match(stderr, /Cannot serve TLS with \/nonexistent\.crt: it does not exist/);
});

test('what cannot be is refused with 78, its place, and what to do', async (t) => {
  for (const [argv, words] of [
    [['registry', '--tls', 'off', '--listen', '0.0.0.0:7420'], /without TLS.*127\.0\.0\.1:7420/],
    [['registry', '--tls', 'on'], /--tls: "on" given, expected one of own, off/],
    [['registry', '--tls', 'off', '--listen', '7420'], /--listen: "7420" given, expected host:port/],
    [['registry', '--tls-cert', '/c'], /--tls-cert alone: pass --tls-key too/],
    [['registry', '--tls-key', '/k'], /--tls-key alone: pass --tls-cert too/],
    [['registry', '--tls', 'own', '--tls-cert', '/c', '--tls-key', '/k'], /either given or its own/],
    [['registry', '--tls', 'off', '--tls-cert', '/c', '--tls-key', '/k'], /either given or none/],
    [
      ['registry', '--advertise-url', 'http://r.example'],
      /Cannot advertise http:\/\/r\.example: .*unencrypted/,
    ],
    [['registry', '--advertise-url', 'http://localhost:1'], /answers https only/],
    [['registry', '--tls', 'off', '--advertise-url', 'https://localhost:1'], /pass --behind-proxy/],
    [
      ['registry', '--advertise-url', 'https://r.example'],
      /pass --listen 0\.0\.0\.0:7420, or --behind-proxy/,
    ],
    [['registry', '--advertise-url', 'r.example:7420'], /expected URLs such as https:/],
    [['registry', '--advertise-url', 'https://r.example?a=1'], /a name, a port and perhaps a path/],
    [['agent'], /"--join-file FILE" with a join token, "--registry URL", or "--registry none"/],
    [['agent', '--join-file', '/a', '--token-file', '/b'], /Cannot join with two tokens/],
    [['agent', '--registry', 'http://10.0.0.1:7420'], /unencrypted, use https/],
    [['agent', '--registry', 'registry'], /expected a URL/],
    [
      ['agent', '--config', '/nonexistent/agent.yaml'],
      /Cannot read \/nonexistent\/agent\.yaml: it does not exist/,
    ],
    [['up', '--agent-listen', '192.168.0.1:1'], /the agent listen on 192\.168\.0\.1:1 without TLS/],
  ] as [string[], RegExp][]) {
    const { code, stderr } = await cli(argv);
    assert.equal(code, 78, argv.join(' '));
    assert.match(stderr, words);
    assert.ok(stderr.trimEnd().split('\n').length <= 2, stderr);
  }
  for (const [text, words] of [
    [
      'listen: 127.0.0.1:1\nregistri: none\n',
      /agent\.yaml:2: unknown key "registri"; did you mean "registry"\?/,
    ],
    ['host:\n  nmae: x\n', /agent\.yaml:2: unknown key "host\.nmae"; did you mean "host\.name"\?/],
    ['programs: {}\n', /agent\.yaml:1: this version does not act on "programs" yet/],
    [
      'registry: none\nchecks:\n  - type: web\n    http: http://127.0.0.1/\n    every: 5x\n',
      /Cannot use checks\/0\/every \(.*agent\.yaml:5\): "5x" given, expected a duration/,
    ],
    [
      'checks:\n  - {type: web, tcp: "127.0.0.1:1"}\n  - {type: db,\n     tpc: "127.0.0.1:1"}\n',
      /Cannot use checks\/1\/tpc \(.*agent\.yaml:4\): unknown key "tpc"; did you mean "tcp"\?/,
    ],
    ['checks:\n\n  - {type: web}\n', /checks\/0 \(.*agent\.yaml:3\): it does not say what to look at/],
    ['checks:\n', /checks \(.*agent\.yaml:1\): null given, expected a list of checks/],
    ['detectors:\n- dpkg\n- apk\n', /detectors\/1 \(.*agent\.yaml:3\): "apk" given, expected one of dpkg/],
    ['allow:\n  drivers:\n  - fake\n', /allow\/drivers\/0 \(.*agent\.yaml:3\): "fake" given/],
    ['weather: sunny\n', /agent\.yaml:1: unknown key "weather"; agent knows dataDir, listen/],
    ['listen: [1]\n', /listen \(.*agent\.yaml:1\): \[1\] given, expected/],
    ['listen:\n', /listen \(.*agent\.yaml:1\): null given/],
    ['host: edge-1\n', /agent\.yaml:1: expected keys with values/],
    ['- a\n', /agent\.yaml:1: expected keys with values/],
    ['a: b: c\n', /agent\.yaml:1: a second ": " on this line/],
    ['listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n', /agent\.yaml:2: this key stands there twice/],
    ['registry: none\nhost:\n\tname: x\n', /agent\.yaml:3: a tab indents this line; use spaces/],
    ['registry: [none\n', /agent\.yaml:2: a bracket is not closed/],
    ['registry: "none\n', /agent\.yaml:2: a quote, a bracket or/],
    ['registry: @none\n', /agent\.yaml:1: a value cannot begin with this character; put it into quotes/],
    ['registry: !secret x\n', /agent\.yaml:1: a "!" begins a tag/],
    ['registry: none\n---\nregistry: none\n', /agent\.yaml:2: a second document begins here/],
    ['host:\n  name: &a x\n  region: *a\n', /agent\.yaml:3: "\*a" stands for what is written elsewhere/],
  ] as [string, RegExp][]) {
    const { code, stderr } = await cli(['config', 'check', 'agent', '--config', file(t, text)]);
    assert.equal(code, 78, text);
    assert.match(stderr, words);
  }
});

test('a HOLDFAST_ variable that nothing reads is refused with 78 and the nearest', async () => {
  for (const [name, words] of [
    ['HOLDFAST_LISTN', /HOLDFAST_LISTN: nothing reads it; did you mean HOLDFAST_LISTEN\?/],
    ['HOLDFAST_TOKENS', /did you mean HOLDFAST_TOKEN\?/],
    ['HOLDFAST_WEATHER_OF_TOMORROW', /nothing reads it; unset it/],
  ] as const) {
    for (const argv of [
      ['up'],
      ['agent', '--registry', 'none'],
      ['registry', '--tls', 'off'],
      ['config', 'check', 'up'],
    ]) {
      const { code, stderr } = await cli(argv, { env: { [name]: 'secret-value' } });
      assert.equal(code, 78, argv.join(' '));
      assert.match(stderr, words);
      assert.doesNotMatch(stderr, /secret-value/);
    }
  }
  const everyone = { HOLDFAST_URL: 'http://127.0.0.1:1', HOLDFAST_TOKEN: 'x', HOLDFAST_TLS: 'off' };
  assert.equal((await cli(['config', 'check', 'up'], { env: everyone })).code, 0);
});

test('every HOLDFAST_ variable that src/ names is known to the roles', () => {
  const folder = join(import.meta.dirname, '../../src');
  const named = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').match(/HOLDFAST_[A-Z_]*[A-Z]\b(?!_)/g) ?? []);
  const known = knownVariables();
  assert.deepEqual(
    [...new Set(named)].filter((name) => !known.has(name)),
    [],
  );
});

test('a registry URL with a password is refused in a file and a variable, and not repeated', async (t) => {
  for (const url of ['https://me:secret@registry', 'https://:secret@registry', 'ftp://me:secret@registry']) {
    for (const [argv, env] of [
      [['--config', file(t, `registry: ${url}\n`)], {}],
      [[], { HOLDFAST_REGISTRY: url }],
    ] as const) {
      for (const command of [['config', 'print', 'agent'], ['config', 'check', 'agent'], ['agent']]) {
        const { code, stdout, stderr } = await cli([...command, ...argv], { env });
        assert.equal(code, 78, `${command} ${url}`);
        assert.match(stderr, /\(not shown\)@registry/);
        assert.doesNotMatch(stdout + stderr, /secret/);
      }
    }
  }
});

test('the agent takes a join token from a file, stdin or HOLDFAST_JOIN, which says where the registry is', async (t) => {
  const path = join(tempFolder(t), 'edge-1.join');
  const trust = { urls: ['https://here.test'], key: `sha256:${'a'.repeat(64)}`, ca: null };
  const [one = '', two = ''] = ['1', '2'].map((n) =>
    encodeJoinToken(trust, `hf_tok-${n.repeat(26)}_${n.repeat(43)}`),
  );
  writeFileSync(path, `${one}\n`, { mode: 0o600 });
  const proxies = { HTTPS_PROXY: 'http://user:hunter2@proxy:3128', NO_PROXY: 'a.test' };
  for (const [argv, options] of [
    [['--join-file', path], { env: proxies }],
    [['--join-file', '-'], { stdin: one, env: proxies }],
    [[], { env: { HOLDFAST_JOIN: one, ...proxies } }],
  ] as const) {
    const { started, code } = await startAndStop(['agent', ...argv, '--data-dir', '/d'], options);
    assert.equal(code, 0);
    const { registry, proxy } = started.agent ?? {};
    assert.equal(registry?.url, null);
    assert.deepEqual(proxy, { https: proxies.HTTPS_PROXY, none: proxies.NO_PROXY });
    // Also the second time: what came from stdin is kept, what is in a file may be another one by then.
    assert.equal(await registry?.joinToken?.(), one);
    writeFileSync(path, two, { mode: 0o600 });
    assert.equal(await registry?.joinToken?.(), argv[1] === path ? two : one);
    writeFileSync(path, one, { mode: 0o600 });
  }
  const named = ['agent', '--join-file', path, '--registry', 'https://here.test', '--ca-file', path];
  const { started } = await startAndStop([...named, '--data-dir', '/d']);
  assert.deepEqual(
    [started.agent?.registry?.url, started.agent?.registry?.caFile],
    ['https://here.test', path],
  );
});

test('the agent ends at once for a join token that cannot be read, unless it has joined', async (t) => {
  const dataDir = tempFolder(t);
  const path = join(dataDir, 'edge-1.join');
  const argv = ['agent', '--join-file', path, '--data-dir', dataDir];
  const absent = await cli(argv);
  assert.deepEqual([absent.code, absent.stdout], [78, '']);
  assert.match(absent.stderr, /edge-1\.join: it does not exist/);
  writeFileSync(path, 'hf_tok-x', { mode: 0o600 });
  assert.match((await cli(argv)).stderr, /an API token does not say where the registry is/);
  writeFileSync(join(dataDir, 'credential'), '{}', { mode: 0o600 });
  assert.equal((await startAndStop(argv)).code, 0);
});

test('config check says ok, config print says who said what', async (t) => {
  const checks = '[{type: web, http: "http://127.0.0.1/"}, {type: db, tcp: "127.0.0.1:5432"}]';
  const config = file(
    t,
    `registry: none\nhost: {name: edge-1}\nchecks: ${checks}\nallow: {drivers: [exec]}\n`,
  );
  assert.deepEqual(await cli(['config', 'check', 'agent', '--config', config]), {
    code: 0,
    stdout: '',
    stderr: 'ok\n',
  });
  const { stdout } = await cli(['config', 'print', 'agent', '--config', config], {
    env: { HOLDFAST_LISTEN: '127.0.0.1:9' },
    home: '/home/me',
    uid: 1_000,
  });
  assert.equal(
    // Columns are as wide as their widest cell: what counts here is what stands in them.
    stdout.replaceAll(config, 'agent.yaml').replace(/ {2,}/g, '  '),
    `\
SETTING  VALUE  FROM
dataDir  /home/me/.local/share/holdfast/agent  default
listen  127.0.0.1:9  HOLDFAST_LISTEN
socket  /home/me/.local/share/holdfast/run/agent  default
registry  none  agent.yaml:1
joinFile  -  not set
tokenFile  -  not set
caFile  -  not set
runnerSocket  /home/me/.local/share/holdfast/run/runner/runner.sock  default
name  edge-1  agent.yaml:2
region  -  not set
self  -  not set
checks  web, db  agent.yaml:3
detectors  dpkg, rpm, os-release, kernel, agent  default
allow  drivers=exec,handlers=http+snapshot,users=none,paths=none  agent.yaml:4
logLevel  info  default
`,
  );
});

test('config print shows what holds where nobody said anything', async () => {
  const me = { home: '/home/me', uid: 1_000 };
  const print = async (role: string, env = {}) =>
    JSON.parse((await cli(['config', 'print', role, '-o', 'json'], { ...me, env })).stdout);
  assert.deepEqual(await print('up'), {
    dataDir: { value: '/home/me/.local/share/holdfast', source: 'default' },
    registryListen: { value: '127.0.0.1:7420', source: 'default' },
    agentListen: { value: '127.0.0.1:7421', source: 'default' },
    name: { value: 'this-machine', source: 'default' },
    region: { value: null, source: 'not set' },
    self: { value: null, source: 'not set' },
    checks: { value: 'none', source: 'default' },
    detectors: { value: 'dpkg, rpm, os-release, kernel, agent', source: 'default' },
    allow: { value: 'drivers=archive+files,handlers=http+snapshot,users=none,paths=none', source: 'default' },
    notify: { value: 'none', source: 'default' },
    logLevel: { value: 'info', source: 'default' },
  });
  const { dataDir, socket } = await print('registry', { HOLDFAST_DATA_DIR: '/d' });
  assert.deepEqual(dataDir, { value: '/d', source: 'HOLDFAST_DATA_DIR' });
  assert.deepEqual(socket, { value: '/d/run', source: 'default' });
});

test('config check finds what a start would fail of', async (t) => {
  const open = tempFolder(t);
  chmodSync(open, 0o777);
  const token = join(tempFolder(t), 'token');
  writeFileSync(token, 'x', { mode: 0o644 });
  const garbled = join(tempFolder(t), 'garbled');
  writeFileSync(garbled, 'hfj1.x', { mode: 0o600 });
  const ca = join(tempFolder(t), 'ca.pem');
  writeFileSync(ca, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  for (const [argv, words, env = {}] of [
    [
      ['up', '--registry-listen', '127.0.0.1:7000', '--agent-listen', '127.0.0.1:7000'],
      /one address, 127\.0\.0\.1:7000/,
    ],
    [['agent', '--registry', 'none', '--data-dir', open], /others can write to it/],
    [['agent', '--registry', 'none', '--data-dir', token], /is a file/],
    [['agent', '--registry', 'none', '--socket', `/tmp/${'x'.repeat(100)}`], /107 bytes/],
    [['agent', '--registry', 'http://127.0.0.1:7420', '--token-file', token], /mode is 0644/],
    [['agent', '--registry', 'http://127.0.0.1:7420', '--token-file', '/nonexistent'], /it does not exist/],
    [['agent', '--join-file', garbled], /join token: .* \(in .*garbled\)/],
    [['agent'], /join token: a part of it is missing.* \(in HOLDFAST_JOIN\)/, { HOLDFAST_JOIN: 'hfj1.x' }],
    [['agent', '--registry', 'https://r.test', '--ca-file', ca], /Cannot use .*ca\.pem as the CA/],
    [['agent', '--registry', 'https://r.test'], /the proxy in HTTPS_PROXY/, { HTTPS_PROXY: 'ftp://u:pw@p' }],
  ] as [string[], RegExp, Record<string, string>?][]) {
    const [role = '', ...rest] = argv;
    const config = file(t, flagsAsYaml(rest));
    const { code, stderr } = await cli(['config', 'check', role, '--config', config], { env });
    assert.equal(code, 78, argv.join(' '));
    assert.match(stderr, words);
  }
});

/** `--data-dir x` as `dataDir: x`. */
function flagsAsYaml(flags: readonly string[]): string {
  const lines: string[] = [];
  for (let index = 0; index < flags.length; index += 2) {
    const key = (flags[index] ?? '').slice(2).replace(/-./g, (pair) => (pair[1] ?? '').toUpperCase());
    lines.push(`${key}: ${JSON.stringify(flags[index + 1])}\n`);
  }
  return lines.join('');
}

test('a start that fails exits with its reason; a role that fails later stops the others', async () => {
  const { roles, closed } = notingRoles();
  const early = await cli(['up', '--data-dir', '/d'], {
    roles: { ...roles, startAgent: () => Promise.reject(new Error('no room')) },
  });
  assert.deepEqual([early.code, closed], [1, ['runner', 'registry']]);
  assert.match(early.stderr, /holdfast: no room\n/);
  const mistaken = await cli(['up', '--data-dir', '/d'], {
    roles: { ...roles, startAgent: () => Promise.reject(new ConfigurationError('wrong word')) },
  });
  assert.equal(mistaken.code, 78);
  assert.doesNotMatch(mistaken.stderr, /stack/);
  const later = await cli(['registry', '--tls', 'off'], {
    roles: {
      startRegistry: async () => ({
        url: '',
        dataDir: '',
        joinToken: async () => '',
        close: async () => undefined,
        failed: Promise.reject(new Error('disk gone')),
        stuckMs: () => 0,
      }),
    },
  });
  assert.equal(later.code, 1);
  assert.match(later.stderr, /disk gone/);
});

test('a role that does not drain in time ends with 1', async () => {
  const stop = new AbortController();
  const stuck = {
    url: '',
    dataDir: '',
    joinToken: async () => '',
    close: () => new Promise<void>(() => undefined),
    failed: new Promise<never>(() => undefined),
    stuckMs: () => 0,
  };
  const clock = new HastyClock();
  const { code } = await cli(['registry', '--tls', 'off'], {
    roles: { startRegistry: async () => stuck },
    signal: stop.signal,
    clock,
    onStdout: () => stop.abort(new Error('got SIGTERM')),
  });
  assert.equal(code, 1);
  assert.deepEqual(clock.sleptMs, [15_000]);
});

test('commands find the role on this machine by its socket, in order, and say which', async (t) => {
  const [runtime, home] = [tempFolder(t), tempFolder(t)];
  const agentFolder = join(runtime, 'holdfast/agent');
  mkdirSync(agentFolder, { recursive: true });
  await fakeFleet(t, join(agentFolder, 'admin.sock'));
  const found = await cli(['services', 'ls'], { env: { XDG_RUNTIME_DIR: runtime }, home });
  assert.equal(found.code, 0);
  assert.match(found.stderr, new RegExp(`^asking the agent on this machine at ${agentFolder}/admin.sock\n`));
  const byFlag = await cli(['services', 'ls', '--socket', join(runtime, 'holdfast')], { home });
  assert.equal(byFlag.code, 0, byFlag.stderr);
  const registry = await cli(['hosts', 'ls'], { env: { XDG_RUNTIME_DIR: runtime }, home });
  assert.equal(registry.code, 6);
  const [message, advice] = registry.stderr.split('\n');
  assert.match(
    message ?? '',
    new RegExp(
      `the registry on this machine: nobody answers at ${runtime}/holdfast/registry/admin.sock, ${home}/.local/share/holdfast/run/registry/admin.sock, /run/`,
    ),
  );
  assert.match(advice ?? '', /--url/);
});

test('restore passes on what was asked, and tells what was kept', async () => {
  const requests: unknown[] = [];
  const roles: Partial<Roles> = {
    async restore(request) {
      const { passphrase, ...rest } = request;
      requests.push({ ...rest, passphrase: await passphrase() });
      return { role: 'registry', keys: false, kept: '/d.kept' };
    },
  };
  const { code, stderr } = await cli(['restore', '/b', '--data-dir', '/d', '--force'], { roles });
  assert.deepEqual([code, requests], [0, [{ file: '/b', dataDir: '/d', force: true, passphrase: null }]]);
  assert.match(
    stderr,
    /kept the store that was there: \/d\.kept\nrestored the registry's store into \/d\nthe backup holds no keys/,
  );
  assert.equal((await cli(['restore', '/b'])).code, 2);
});

test('host.self is read from the file, the variable and the flag, and refused where no selector could name it', async (t) => {
  const config = file(t, 'registry: none\nhost:\n  name: edge-1\n  self: {rack: r7, floor: "2"}\n');
  const fromFile = await cli(['config', 'print', 'agent', '--config', config]);
  assert.match(fromFile.stdout, /^self {2,}rack=r7,floor=2 {2,}/m);
  const fromVariable = await cli(['config', 'print', 'agent'], {
    env: { HOLDFAST_SELF: 'rack=r8, floor=3' },
  });
  assert.match(fromVariable.stdout, /^self {2,}rack=r8,floor=3 {2,}HOLDFAST_SELF/m);
  for (const [text, words] of [
    ['{rack: 7}', /host\.self .*cannot give the label rack the value number/],
    ['{"@name": x}', /cannot use the label "@name"/],
    ['[a]', /expected an object of names and texts/],
  ] as const) {
    const wrong = file(t, `registry: none\nhost: {self: ${text}}\n`);
    const { code, stderr } = await cli(['config', 'check', 'agent', '--config', wrong]);
    assert.equal(code, 78, text);
    assert.match(stderr, words, text);
  }
});
