/** token, login, logout, context, audit and reset-admin, against a real registry. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { builtInRoles } from '../../src/cli/built-in-roles.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import type { TlsChoice } from '../../src/registry/trust.ts';
import { exchange } from '../helpers/http.ts';
import { tempFolder } from '../helpers/temp.ts';
import { cli } from './harness.ts';

async function world(t: TestContext, tls: TlsChoice = { kind: 'off' }) {
  const home = tempFolder(t);
  const dataDir = join(tempFolder(t), 'registry');
  const socketDir = join(dataDir, 'run');
  const start = () =>
    createRegistry({
      dataDir,
      socketDir,
      listen: { host: '127.0.0.1', port: 0 },
      tls,
      logger: silentLogger,
      limits: { store: { ballastBytes: 0 } },
    });
  let registry = await start();
  t.after(() => registry.close());
  const adminFile = join(dataDir, 'admin.token');
  const opens = async (token: string) =>
    (await exchange(registry.url, { path: '/v1/tokens', token })).status === 200;
  return {
    home,
    dataDir,
    socketDir,
    adminFile,
    opens,
    contextsFile: join(home, '.config/holdfast/contexts.yaml'),
    url: () => registry.url,
    adminToken: () => readFileSync(adminFile, 'utf8').trim(),
    run: (argv: readonly string[], options: Parameters<typeof cli>[1] = {}) =>
      cli(argv, { home, roles: builtInRoles(undefined), ...options, env: { USER: 'ann', ...options.env } }),
    stop: () => registry.close(),
    async restart() {
      await registry.close();
      registry = await start();
    },
  };
}

const tokenPattern = /^hf_tok-[0-9a-z]{26}_[\w-]{43}$/;

describe('holdfast token', () => {
  it('makes a token, lists it without its secret, and ends it', async (t) => {
    const { run, socketDir, opens } = await world(t);
    const socket = ['--socket', socketDir];
    const made = await run(['token', 'create', '--role', 'admin', '--subject', 'bob', ...socket]);
    assert.equal(made.code, 0, made.stderr);
    const token = made.stdout.trim();
    assert.match(token, tokenPattern, 'stdout is the token and nothing else');
    assert.match(made.stderr, /^asking .*admin\.sock\ntok-\w+, good until /);
    assert.equal(await opens(token), true);
    const listed = await run(['token', ...socket]);
    assert.match(listed.stdout, /^SUBJECT +ROLE +STATE +USES +MADE BY +ID\n/);
    assert.match(listed.stdout, /\nbob +admin +good for 89d 23h +- +local +tok-/);
    assert.equal(listed.stdout.includes(token.slice(34)), false);
    const id = token.split('_')[1] ?? '';
    const revoked = await run(['token', 'revoke', id, ...socket]);
    assert.equal(revoked.code, 0, revoked.stderr);
    assert.equal(await opens(token), false);
    assert.match((await run(['token', 'ls', '--subject', 'bob', ...socket])).stdout, /bob +admin +revoked/);
    assert.equal((await run(['token', 'revoke', 'tok-none', ...socket])).code, 3);
  });

  it('writes a token into a file of its owner', async (t) => {
    const { run, socketDir, home, opens } = await world(t);
    const file = join(home, 'bob.token');
    const made = await run([
      ...['token', 'create', '--role', 'admin', '--subject', 'bob', '--write', file],
      ...['--socket', socketDir],
    ]);
    assert.equal(made.code, 0, made.stderr);
    assert.equal(made.stdout, '');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(await opens(readFileSync(file, 'utf8').trim()), true);
  });

  it('names what is wrong before or after asking', async (t) => {
    const { run, socketDir } = await world(t);
    const fails = async (words: RegExp, ...argv: string[]) => {
      const { code, stderr } = await run(['token', 'create', ...argv, '--socket', socketDir]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, words);
    };
    await fails(/role "god": expected one of viewer/, '--role', 'god');
    await fails(/subject: it is missing/, '--role', 'viewer');
    await fails(/--label "x": expected key=value/, '--role', 'host', '--label', 'x');
    await fails(/--expires-in "soon"/, '--role', 'host', '--expires-in', 'soon');
    await fails(/--uses "0"/, '--role', 'host', '--uses', '0');
    await fails(/is how Holdfast itself calls somebody/, '--role', 'viewer', '--subject', 'local');
  });

  it('takes no secret as an argument', async (t) => {
    const { run } = await world(t);
    const secret = `hf_tok-${'0'.repeat(26)}_${'x'.repeat(43)}`;
    for (const argv of [
      ['token', 'revoke', secret],
      ['login', '--url', 'http://127.0.0.1:1', '--token-file', secret],
      ['hosts', 'ls', `--cursor=${secret}`],
      ['agent', '--join-file', 'hfj1.eyJ1cmxzIjpbXX0'],
      ['services', 'get', `Bearer ${secret}`],
      ['services', 'get', `"${secret}"`],
    ]) {
      const { code, stderr } = await run(argv);
      assert.equal(code, 2, argv.join(' '));
      assert.match(stderr, /Cannot take a secret as an argument/);
      assert.equal(stderr.includes('x'.repeat(43)), false);
    }
  });
});

describe('holdfast login', () => {
  it('with the admin.token makes a token of your own and ends that one, for good', async (t) => {
    const w = await world(t);
    const first = w.adminToken();
    const login = await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    assert.equal(login.code, 0, login.stderr);
    assert.match(login.stderr, /logged in as ann \(admin\), kept as "prod" in /);
    assert.equal(statSync(w.contextsFile).mode & 0o777, 0o600);
    assert.equal(await w.opens(first), false);
    await w.restart();
    assert.equal(await w.opens(w.adminToken()), false, 'no other is written at the next start');
    assert.equal(w.adminToken(), first);
    const token = /token: (\S+)/.exec(readFileSync(w.contextsFile, 'utf8'))?.[1] ?? '';
    assert.equal(await w.opens(token), true);
  });

  it('keeps another token as it is, and asks that server from now on', async (t) => {
    const w = await world(t);
    const made = await w.run([
      ...['token', 'create', '--role', 'viewer', '--subject', 'bob', '--socket', w.socketDir],
    ]);
    const login = await w.run(['login', '--url', w.url(), '--token-file', '-'], { stdin: made.stdout });
    assert.equal(login.code, 0, login.stderr);
    assert.match(login.stderr, /logged in as bob \(viewer\), kept as "127\.0\.0\.1"/);
    const asked = await w.run(['hosts', 'ls']);
    assert.equal(asked.code, 0, asked.stderr);
    assert.match(asked.stderr, new RegExp(`^asking ${w.url()} \\(context 127\\.0\\.0\\.1\\)\n`));
    assert.equal((await w.run(['token', 'ls'])).code, 77, 'with the role of that token');
    const listed = await w.run(['context']);
    assert.equal(listed.stdout, `NAME       CURRENT  URL\n127.0.0.1  yes      ${w.url()}\n`);
    assert.equal(
      `${listed.stdout}${login.stderr}${asked.stderr}`.includes(made.stdout.trim().slice(34)),
      false,
    );
  });

  it('keeps nothing when the token is no good', async (t) => {
    const w = await world(t);
    const { code, stderr } = await w.run(['login', '--url', w.url()], {
      env: { HOLDFAST_TOKEN: 'nonsense' },
    });
    assert.equal(code, 77, stderr);
    assert.equal(existsSync(w.contextsFile), false);
    assert.equal((await w.run(['login', '--url', w.url()])).code, 2);
    assert.match((await w.run(['login'])).stderr, /pass --url/);
  });

  it('sends the token of a context to its own server only, and gives way to what is named', async (t) => {
    const w = await world(t);
    await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    const wide = await w.run(['token', 'ls'], { columns: 80, now: Date.now() + 60_000 });
    assert.match(wide.stdout, /good for 29d 23h/, 'the state is whole at 80 columns');
    assert.equal((await w.run(['token', 'ls', '--url', w.url()])).code, 0, 'the same server by its URL');
    const other = await world(t);
    const { code, stderr } = await w.run(['token', 'ls', '--url', other.url()]);
    assert.equal(code, 77);
    assert.match(stderr, /Cannot tell who asks/, 'no token was sent');
    const bySocket = await w.run(['token', 'ls', '--socket', other.socketDir]);
    assert.match(bySocket.stderr, /^asking .*admin\.sock/);
    const local = await w.run(['token', 'ls'], { env: { HOLDFAST_CONTEXT: 'local' } });
    assert.match(local.stderr, /the registry on this machine/, 'the variable stands above the current one');
    const named = await w.run(['token', 'ls'], {
      env: { HOLDFAST_CONTEXT: 'prod', HOLDFAST_SOCKET: other.socketDir },
    });
    assert.match(named.stderr, /^asking .*admin\.sock/, 'and gives way to a socket');
    const both = await w.run(['token', 'ls', '--context', 'prod', '--url', other.url()]);
    assert.equal(both.code, 2);
    const wrong = await w.run(['token', 'ls', '--context', 'prd']);
    assert.deepEqual([wrong.code, /did you mean "prod"/.test(wrong.stderr)], [2, true]);
  });

  it('under a name that is taken says how long the token before is good; logout says who is asked then', async (t) => {
    const w = await world(t);
    await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    const before = /token: hf_(tok-\w{26})/.exec(readFileSync(w.contextsFile, 'utf8'))?.[1];
    const made = await w.run(['token', 'create', '--role', 'admin', '--subject', 'bob']);
    const login = ['login', 'prod', '--url', w.url(), '--token-file', '-'];
    const again = await w.run(login, { stdin: made.stdout });
    assert.match(
      again.stderr,
      new RegExp(`before stays good until \\d{4}-.*Z: "holdfast token revoke ${before}" ends it`),
    );
    assert.doesNotMatch((await w.run(login, { stdin: made.stdout })).stderr, /before stays good/);
    await w.run(['login', 'dev', '--url', w.url(), '--token-file', '-'], { stdin: made.stdout });
    assert.match((await w.run(['logout', 'prod'])).stderr, /\nasking "dev" from now on\n$/);
  });

  it('keeps the CA of a registry that has its own, beside the token', async (t) => {
    const w = await world(t, { kind: 'own' });
    assert.match(w.url(), /^https:/);
    const without = await w.run(['login', '--url', w.url(), '--token-file', w.adminFile]);
    assert.equal(without.code, 6, without.stderr);
    assert.match(without.stderr, /Cannot trust/);
    const ca = ['--ca-file', join(w.dataDir, 'ca.pem')];
    const login = await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile, ...ca]);
    assert.equal(login.code, 0, login.stderr);
    const asked = await w.run(['token', 'ls']);
    assert.equal(asked.code, 0, asked.stderr);
    assert.match(asked.stderr, /\(context prod\)/);
    const made = await w.run(['token', 'create', '--role', 'viewer', '--subject', 'bob']);
    const anew = ['login', 'prod', '--url', w.url(), '--token-file', '-'];
    assert.equal((await w.run(anew, { stdin: made.stdout })).code, 0, 'it knows the CA already');
    const whom = await w.run(['hosts', 'ls']);
    assert.equal(whom.code, 0, `with another token it is kept: ${whom.stderr}`);
  });

  it('refuses a file that others can read, and one that is damaged, without showing it', async (t) => {
    const w = await world(t);
    await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    chmodSync(w.contextsFile, 0o644);
    const open = await w.run(['hosts', 'ls']);
    assert.equal(open.code, 78, open.stderr);
    chmodSync(w.contextsFile, 0o600);
    writeFileSync(w.contextsFile, 'contexts: [ : {hf_secret');
    const damaged = await w.run(['hosts', 'ls']);
    assert.equal(damaged.code, 78, damaged.stderr);
    assert.equal(damaged.stderr.includes('hf_secret'), false);
  });
});

describe('holdfast logout, context', () => {
  it('ends the token and forgets the context', async (t) => {
    const w = await world(t);
    await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    const token = /token: (\S+)/.exec(readFileSync(w.contextsFile, 'utf8'))?.[1] ?? '';
    const out = await w.run(['logout']);
    assert.equal(out.code, 0, out.stderr);
    assert.match(out.stderr, /logged out of "prod": its token has ended/);
    assert.equal(await w.opens(token), false);
    assert.match((await w.run(['context'])).stderr, /no contexts/);
    assert.equal((await w.run(['logout'])).code, 2);
  });

  it('ends the token of the context, whatever else HOLDFAST_TOKEN holds', async (t) => {
    const w = await world(t);
    await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    const token = /token: (\S+)/.exec(readFileSync(w.contextsFile, 'utf8'))?.[1] ?? '';
    const ended = w.adminToken();
    const out = await w.run(['logout'], { env: { HOLDFAST_TOKEN: ended } });
    assert.match(out.stderr, /its token has ended/);
    assert.equal(await w.opens(token), false);
  });

  it('use chooses one or this machine, rm forgets one', async (t) => {
    const w = await world(t);
    await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    assert.equal((await w.run(['context', 'use', 'local'])).code, 0);
    const env = { HOLDFAST_SOCKET: w.socketDir };
    assert.match((await w.run(['hosts', 'ls'], { env })).stderr, /^asking .*admin\.sock/);
    assert.equal((await w.run(['context', 'use', 'prod'])).code, 0);
    assert.match((await w.run(['hosts', 'ls'])).stderr, /\(context prod\)/);
    assert.equal((await w.run(['context', 'use', 'none'])).code, 2);
    assert.equal((await w.run(['context', 'rm', 'prod'])).code, 0);
    assert.deepEqual(JSON.parse((await w.run(['context', '-o', 'json'])).stdout), { items: [] });
  });
});

describe('holdfast audit', () => {
  it('lists who did what, and verifies the chain', async (t) => {
    const w = await world(t);
    await w.run(['login', 'prod', '--url', w.url(), '--token-file', w.adminFile]);
    const listed = await w.run(['audit']);
    assert.equal(listed.code, 0, listed.stderr);
    assert.match(listed.stdout, /^AT +WHO +DID +HOST +WHAT\n/);
    assert.match(listed.stdout, /\n\S+ +admin\.token +token\.revoked +- +admin\.token tok-\w+\n/);
    assert.match(listed.stdout, /\n\S+ +admin\.token +token\.issued +- +ann tok-\w+\n/);
    assert.match(listed.stdout, /\n\S+ +system +token\.issued /);
    const filtered = await w.run(['audit', 'ls', '--actor', 'system', '--since', '1h']);
    assert.equal(filtered.stdout.trim().split('\n').length, 2);
    const verified = await w.run(['audit', 'verify']);
    assert.equal(verified.code, 0, verified.stderr);
    assert.match(verified.stdout, /^3 sha256:[0-9a-f]{64}\n$/);
    assert.match(verified.stderr, /as it was written, entries 1 to 3/);
    assert.equal((await w.run(['audit', 'verify', '--noted', verified.stdout])).code, 0);
    const other = await w.run(['audit', 'verify', '--noted', `3 sha256:${'0'.repeat(64)}`]);
    assert.deepEqual([other.code, /entry 3 is another than was noted/.test(other.stderr)], [1, true]);
    assert.equal((await w.run(['audit', 'verify', '--noted', 'x'])).code, 2);
  });
});

describe('holdfast registry reset-admin', () => {
  it('writes another admin.token, through the socket where it runs', async (t) => {
    const w = await world(t);
    const before = w.adminToken();
    const { code, stderr } = await w.run(['registry', 'reset-admin', '--data-dir', w.dataDir]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^asking .*admin\.sock\nwrote .*admin\.token\n$/);
    assert.notEqual(w.adminToken(), before);
    assert.deepEqual([await w.opens(before), await w.opens(w.adminToken())], [false, true]);
    assert.equal(statSync(w.adminFile).mode & 0o777, 0o600);
  });

  it('touches no registry that runs beside the agent whose folder is named', async (t) => {
    const folder = tempFolder(t);
    const start = {
      listen: { host: '127.0.0.1', port: 0 },
      tls: { kind: 'off' },
      logger: silentLogger,
    } as const;
    const registry = await createRegistry({
      ...start,
      dataDir: join(folder, 'registry'),
      socketDir: join(folder, 'run/registry'),
      limits: { store: { ballastBytes: 0 } },
    });
    t.after(() => registry.close());
    const reset = (name: string) =>
      cli(['registry', 'reset-admin', '--data-dir', join(folder, name)], { roles: builtInRoles(undefined) });
    const before = readFileSync(join(folder, 'registry/admin.token'), 'utf8');
    const agent = await reset('agent');
    assert.deepEqual([agent.code, /wrote/.test(agent.stderr)], [3, false], agent.stderr);
    assert.equal(readFileSync(join(folder, 'registry/admin.token'), 'utf8'), before);
    const own = await reset('registry');
    assert.equal(own.code, 0, own.stderr);
    assert.notEqual(readFileSync(join(folder, 'registry/admin.token'), 'utf8'), before);
  });

  it('and under the lock of the store where it does not', async (t) => {
    const w = await world(t);
    const before = w.adminToken();
    await w.stop();
    const { code, stderr } = await w.run(['registry', 'reset-admin', '--data-dir', w.dataDir]);
    assert.equal(code, 0, stderr);
    await w.restart();
    assert.deepEqual([await w.opens(before), await w.opens(w.adminToken())], [false, true]);
    const nowhere = await w.run(['registry', 'reset-admin', '--data-dir', join(w.home, 'none')]);
    assert.equal(nowhere.code, 3, nowhere.stderr);
    assert.equal(existsSync(join(w.home, 'none')), false, 'nothing is made there');
  });
});
