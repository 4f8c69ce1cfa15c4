/** One Unix socket for each privilege: the kernel lets in by the file's mode, the server by the socket's role. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { createAgent } from '../../src/agent/agent.ts';
import { silentLogger } from '../../src/base/log.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import { startProcess } from '../helpers/process.ts';

/** `nobody`, who owns nothing. */
const nobody = 65_534;
const root = process.getuid?.() === 0;
/** Another user runs the sources too, so each folder above them has to let others in. */
const isOpenToOthers = foldersAbove(import.meta.dirname).every((path) => (statSync(path).mode & 0o001) !== 0);
const whyNot = !root ? 'needs root' : !isOpenToOthers && 'needs a checkout that other users can enter';

function foldersAbove(path: string): string[] {
  return path === '/' ? ['/'] : [path, ...foldersAbove(dirname(path))];
}

/** Short, because a socket's path is; and open, as /run is. */
function openFolder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'hf-'));
  chmodSync(path, 0o755);
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function start(t: TestContext, kind: 'agent' | 'registry') {
  const folder = openFolder(t);
  const socketDir = join(folder, 'run', kind);
  const common = { dataDir: join(folder, 'data'), socketDir, logger: silentLogger };
  const listen = { host: '127.0.0.1', port: 0 };
  const role =
    kind === 'agent'
      ? await createAgent({ ...common, name: 'edge-1', registry: null, detectors: [] })
      : await createRegistry({ ...common, listen, limits: { store: { ballastBytes: 0 } } });
  t.after(() => role.close());
  return { socketDir, folder };
}

function ask(socketPath: string, path: string, method = 'GET'): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, method }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    asked.on('error', reject);
    asked.end();
  });
}

describe('the sockets of a role', () => {
  for (const kind of ['agent', 'registry'] as const) {
    it(`G11: have the modes of their privileges, whatever the umask (${kind})`, async (t) => {
      const before = process.umask(0o077);
      t.after(() => process.umask(before));
      const { socketDir } = await start(t, kind);
      const modes = Object.fromEntries(
        ['admin.sock', 'agent.sock', 'read.sock'].flatMap((name) => {
          const found = statSync(join(socketDir, name), { throwIfNoEntry: false });
          return found === undefined ? [] : [[name, found.mode & 0o777]];
        }),
      );
      const agentOnly = kind === 'agent' ? { 'agent.sock': 0o660 } : {};
      assert.deepEqual(modes, { 'admin.sock': 0o600, ...agentOnly, 'read.sock': 0o666 });
      assert.equal(statSync(socketDir).mode & 0o777, 0o755);
    });
  }

  it('G12: are not put where others could put theirs in their place', async (t) => {
    const folder = openFolder(t);
    const socketDir = join(folder, 'run');
    const startIn = () =>
      createAgent({
        dataDir: join(folder, 'data'),
        socketDir,
        logger: silentLogger,
        name: 'edge-1',
        registry: null,
        detectors: [],
      });
    mkdirSync(socketDir);
    for (const mode of [0o777, 0o775]) {
      chmodSync(socketDir, mode);
      await assert.rejects(startIn(), {
        code: 'forbidden',
        message: /others can write to the folder \(mode 77[57]\).*; run "chmod go-w /,
      });
    }
    // As /tmp is: nobody can rename or remove what is ours.
    chmodSync(socketDir, 0o1777);
    await (await startIn()).close();
    chmodSync(socketDir, 0o755);
    if (!root) return;
    chownSync(socketDir, nobody, nobody);
    await assert.rejects(startIn(), {
      code: 'forbidden',
      message: /belongs to user id 65534, who could put others in their place/,
    });
  });

  it('are the callers that they are named for', async (t) => {
    const { socketDir } = await start(t, 'agent');
    const who = async (name: string) => {
      const { role, subject } = JSON.parse((await ask(join(socketDir, name), '/v1/whoami')).text);
      return [role, subject];
    };
    assert.deepEqual(await who('admin.sock'), ['admin', 'local']);
    assert.deepEqual(await who('agent.sock'), ['reporter', 'local-program']);
    assert.deepEqual(await who('read.sock'), ['reader', 'local-reader']);
    const read = join(socketDir, 'read.sock');
    for (const path of ['/v1/services', '/v1/components', '/v1/status', '/healthz', '/metrics'])
      assert.equal((await ask(read, path)).status, 200, path);
    for (const path of ['/v1/config', '/v1/backup', '/v1/tokens', '/v1/audit'])
      assert.equal((await ask(read, path)).status, 403, path);
    assert.equal((await ask(read, '/v1/services', 'POST')).status, 403);
  });

  it('G12: let an unprivileged user read and nothing else', { skip: whyNot }, async (t) => {
    const { socketDir } = await start(t, 'agent');
    const script = `
      const { createConnection } = require('node:net');
      for (const name of ['admin.sock', 'agent.sock', 'read.sock']) {
        const socket = createConnection(process.env.FOLDER + '/' + name);
        const say = (word) => { console.log(name + ' ' + word); socket.destroy(); };
        socket.on('connect', () => say('open')).on('error', (error) => say(error.code));
      }`;
    const child = startProcess(t, ['-e', script], {
      command: [process.execPath],
      env: { FOLDER: socketDir },
      uid: nobody,
    });
    assert.deepEqual((await child.exited).code, 0, child.stderr());
    assert.deepEqual(child.stdout().trim().split('\n').sort(), [
      'admin.sock EACCES',
      'agent.sock EACCES',
      'read.sock open',
    ]);
  });

  it('are chosen by the command line: who is in the group of agent.sock reports services, and reads all else', {
    skip: whyNot,
  }, async (t) => {
    const { socketDir, folder } = await start(t, 'agent');
    const group = 50_000;
    chownSync(join(socketDir, 'agent.sock'), 0, group);
    const run = async (line: string, gid = group) => {
      const argv = [...line.split(' '), '--socket', socketDir];
      const child = startProcess(t, argv, { env: { HOME: folder }, uid: nobody, gid });
      const { code } = await child.exited;
      const socket = /^asking \S*\/(\S+)$/m.exec(child.stderr())?.[1];
      return { code, socket, stdout: child.stdout(), stderr: child.stderr() };
    };
    const set = await run('services set --type web --ttl 1h -o json');
    assert.deepEqual([set.code, set.socket], [0, 'agent.sock'], set.stderr);
    const { uuid, host } = JSON.parse(set.stdout) as { uuid: string; host: string };
    assert.equal(host, 'edge-1');
    // Again without a host: it is the same record.
    const again = await run('services set --type web --status DOWN -o json');
    assert.equal((JSON.parse(again.stdout) as { uuid: string }).uuid, uuid, again.stderr);
    for (const [line, code] of [
      [`services beat ${uuid}`, 0],
      ['services is-up --type web --host edge-1', 1],
      ['services ls', 0],
      [`services get ${uuid}`, 0],
      // Planning work is an operator's.
      [`services maintenance ${uuid} --for 1h`, 77],
      [`services delete ${uuid}`, 0],
    ] as const) {
      const answer = await run(line);
      assert.deepEqual([answer.code, answer.socket], [code, 'agent.sock'], `${line}: ${answer.stderr}`);
    }
    for (const line of ['status', 'components']) {
      const answer = await run(line);
      assert.deepEqual([answer.code, answer.socket], [0, 'read.sock'], `${line}: ${answer.stderr}`);
    }
    const outsider = await run('services set --type web', nobody);
    assert.deepEqual([outsider.code, outsider.socket], [77, 'read.sock']);
    assert.match(outsider.stderr, /its role is reader, expected one of reporter, admin/);
  });

  it('are chosen by the command line: who may not open admin.sock reads', {
    skip: whyNot,
  }, async (t) => {
    const { socketDir, folder } = await start(t, 'agent');
    const run = async (...argv: string[]) => {
      const child = startProcess(t, [...argv, '--socket', socketDir], { env: { HOME: folder }, uid: nobody });
      const { code } = await child.exited;
      return { code, stderr: child.stderr(), stdout: child.stdout() };
    };
    const status = await run('status');
    assert.equal(status.code, 0, status.stderr);
    assert.match(status.stderr, /^asking .*\/read\.sock/);
    const open = openFolder(t);
    chmodSync(open, 0o777);
    const backup = await run('backup', '--role', 'agent', join(open, 'stolen'));
    assert.equal(backup.code, 77);
    assert.match(backup.stderr, /as local-reader: its role is reader, expected one of admin/);
  });
});
