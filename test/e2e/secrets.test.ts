/** G8: whatever is secret, and every place where a secret must not be. The roles are processes, at log level debug. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { joinBearer, parseJoinToken } from '../../src/wire/join-token.ts';
import { bundleProgram } from '../helpers/bundle.ts';
import { exchange } from '../helpers/http.ts';
import { startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

const passphrase = 'correct horse battery staple';
/** Below a data directory: where secrets live. */
const secretFiles = /^(registry|agent)\/(admin\.token|credential|host\.key|keys\/.*)$/;

/** Name → a text that nobody else may ever see. */
type Secrets = ReadonlyMap<string, string>;

test('G8: no secret is in logs, events, answers, process lists, databases or backups', async (t) => {
  const home = tempFolder(t);
  const program = await bundleProgram(home);
  const { command } = program;
  const env = { ...program.env, HOME: home, XDG_RUNTIME_DIR: '', XDG_DATA_HOME: '' };
  const [registryDir, agentDir] = [join(home, 'registry'), join(home, 'agent')];
  const said: string[] = [];
  const holdfast = (argv: string[], options: { input?: string; code?: number } = {}) => {
    const { input = '', code = 0 } = options;
    const [file = '', ...first] = command;
    const { status, stdout, stderr } = spawnSync(file, [...first, ...argv], { env, input, encoding: 'utf8' });
    assert.equal(status, code, `${argv.join(' ')}: ${stderr}`);
    said.push(stderr);
    return stdout;
  };
  const onRegistry = ['--socket', join(registryDir, 'run')];
  const common = ['--listen', '127.0.0.1:0', '--log-level', 'debug'];
  const registry = startProcess(t, ['registry', ...common, '--data-dir', registryDir], { command, env });
  const { url } = await registry.ready('registry');
  const ca = readFileSync(join(registryDir, 'ca.pem'), 'utf8');

  const joinFile = join(home, 'edge-1.join');
  const joinText = holdfast(['token', 'create', '--role', 'host', ...onRegistry]).trim();
  writeFileSync(joinFile, joinText, { mode: 0o600 });
  const viewer = holdfast([
    'token',
    'create',
    '--role',
    'viewer',
    '--subject',
    'dashboard',
    ...onRegistry,
  ]).trim();
  const agentArgv = ['agent', ...common, '--name', 'edge-1', '--data-dir', agentDir, '--join-file', joinFile];
  const agent = startProcess(t, agentArgv, { command, env });
  const agentUrl = (await agent.ready('agent')).url;
  await until(() => agent.stderr().includes('holds another target'), 'the agent did not get a target');

  const adminToken = readFileSync(join(registryDir, 'admin.token'), 'utf8').trim();
  const agentToken = readFileSync(join(agentDir, 'admin.token'), 'utf8').trim();
  const answers: string[] = [];
  const ask = async (base: string, path: string, token: string | undefined, method = 'GET') => {
    const { text, headers } = await exchange(base, { path, method, token, ...(base === url ? { ca } : {}) });
    answers.push(text, JSON.stringify(headers));
  };
  // Where people put secrets by mistake: in queries, in the wrong header, twice.
  for (const secret of [adminToken, viewer, joinBearer(parseJoinToken(joinText))]) {
    await ask(url, `/v1/hosts?token=${secret}`, viewer);
    await ask(url, '/v1/tokens', secret, 'POST');
    await ask(url, '/v1/hosts', `${secret}x`);
    await ask(agentUrl, `/v1/status?access_token=${secret}`, agentToken);
  }
  const reads = [
    'status',
    'config',
    'hosts',
    'tokens',
    'audit',
    'trust',
    'hosts/edge-1/target',
    'whoami',
    'services',
  ];
  for (const path of reads) await ask(url, `/v1/${path}`, adminToken);
  for (const path of reads) await ask(agentUrl, `/v1/${path}`, agentToken);
  for (const path of ['/metrics', '/healthz', '/openapi.json']) {
    await ask(url, path, adminToken);
    await ask(agentUrl, path, agentToken);
  }
  const commandLines = [registry.pid, agent.pid].map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
  const environments = [registry.pid, agent.pid].map((pid) => readFileSync(`/proc/${pid}/environ`, 'latin1'));

  for (const secret of [adminToken, joinText, `--token-file=${viewer}`])
    holdfast(['hosts', 'get', secret, ...onRegistry], { code: 2 });
  const passphraseFile = join(home, 'passphrase');
  writeFileSync(passphraseFile, `${passphrase}\n`, { mode: 0o600 });
  const backups = [join(home, 'plain.backup'), join(home, 'sealed.backup')] as const;
  holdfast(['backup', backups[0], ...onRegistry]);
  holdfast(['backup', '--with-keys', '--passphrase-file', passphraseFile, backups[1], ...onRegistry]);
  holdfast(['registry', 'rotate', 'signing-key', ...onRegistry]);
  holdfast(['hosts', 'revoke', 'edge-1', ...onRegistry]);
  await until(() => agent.stderr().includes('refuses this host'), 'the agent did not notice', 30_000);

  const secrets: Secrets = new Map([
    ['passphrase', passphrase],
    ['admin.token', secretOf(adminToken)],
    ["the agent's admin.token", secretOf(agentToken)],
    ['join token', parseJoinToken(joinText).secret],
    ['API token', secretOf(viewer)],
    ...filesBelow(home)
      .filter((file) => secretFiles.test(relative(home, file)))
      .flatMap((file) =>
        [...secretsIn(file)].map((secret, n) => [`${relative(home, file)} ${n}`, secret] as const),
      ),
  ]);
  for (const name of ['registry/keys/signing.pem 0', 'agent/credential 0', 'agent/host.key 0'])
    assert.ok(secrets.has(name), `the control: ${name} is one of ${[...secrets.keys()].join(', ')}`);

  // While they run, so that what is in the write-ahead log counts too.
  const files = filesBelow(home).filter(
    (file) => !secretFiles.test(relative(home, file)) && file !== joinFile && file !== passphraseFile,
  );
  const places = new Map<string, string>([
    ['log of the registry', registry.stderr() + registry.stdout()],
    ['log of the agent', agent.stderr() + agent.stdout()],
    ['answers', answers.join('\n')],
    ['words of the command line', said.join('\n')],
    ['command lines', commandLines.join('\n')],
    ['environments', environments.join('\n')],
    ...files.map((file) => [relative(home, file), readFileSync(file, 'latin1')] as const),
  ]);
  for (const name of [
    'registry/holdfast.db',
    'registry/holdfast.db-wal',
    'agent/holdfast.db',
    'sealed.backup',
  ])
    assert.ok(places.has(name), `${name} is looked at`);
  for (const [place, text] of places) {
    for (const [name, secret] of secrets) assert.ok(!text.includes(secret), `${name} is in ${place}`);
  }
});

/** The 43 characters after `hf_tok-<26 characters>_`. */
function secretOf(token: string): string {
  const [, secret] = /^hf_tok-[0-9a-z]{26}_([\w-]{43})$/.exec(token) ?? [];
  assert.ok(secret !== undefined, 'a token has the form of one');
  return secret;
}

/** Of tokens the secret part; of keys each line of base64 that is long enough to be nobody else's. */
function* secretsIn(file: string): Generator<string> {
  const text = readFileSync(file, 'utf8');
  for (const [token] of text.matchAll(/hf_tok-[0-9a-z]{26}_[\w-]{43}/g)) yield secretOf(token);
  for (const [, body = ''] of text.matchAll(/-----BEGIN [A-Z ]*PRIVATE KEY-----\n([^-]*)-----END/g))
    for (const line of body.split('\n')) if (line.length >= 32) yield line;
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => statSync(file).isFile() && !file.endsWith('.cjs'));
}
