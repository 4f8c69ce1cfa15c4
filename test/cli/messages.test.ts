/** What somebody reads who meets the program for the first time and slips. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { builtInRoles } from '../../src/cli/built-in-roles.ts';
import { describe, withAllBelow } from '../../src/cli/described.ts';
import { wholeProgram } from '../../src/cli/run.ts';
import { AppError } from '../../src/domain/error.ts';
import { fakeServer, json, problem } from '../client/fake-server.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';
import { fakeFleet } from './fake-fleet.ts';
import { cli } from './harness.ts';

const roles = builtInRoles(undefined);

test('a data directory that cannot be says why, and nothing of tokens', async (t) => {
  const file = join(tempFolder(t), 'README.md');
  writeFileSync(file, '');
  for (const [dataDir, why] of [
    [file, /: something in its path is a file, expected a folder; name one .*--data-dir\n$/],
    ['/proc/nope', /the system lets nothing be made in it; name one .*--data-dir\n$/],
  ] as const) {
    const { code, stderr } = await cli(['registry', '--data-dir', dataDir, '--listen', '127.0.0.1:0'], {
      roles,
    });
    assert.equal(code, 77, stderr);
    assert.match(stderr, why);
  }
});

test('a Host that is not answered names the loopback address and --advertise-url', async (t) => {
  const server = await fakeServer(t, (_asked, response) =>
    problem(response, new AppError('forbidden', 'Cannot answer for Host "x": so', { field: 'host' })),
  );
  const refused = await cli(['hosts', 'ls', '--url', server.url]);
  assert.equal(refused.code, 77);
  assert.match(refused.stderr, /loopback address.*--advertise-url/);
  assert.doesNotMatch(refused.stderr, /token/);
});

test('plain http that breaks off asks whether it is https', async (t) => {
  const server = createServer((socket) => socket.resetAndDestroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const { code, stderr } = await cli(['hosts', 'ls', '--url', `http://127.0.0.1:${port}`]);
  assert.equal(code, 6);
  assert.match(stderr, /the connection broke.*\nDoes it speak https\?/);
});

test('an agent that is asked for what a registry has says that it is one', async (t) => {
  const server = await fakeServer(t, ({ url }, response) => {
    if (url === '/v1/status') return json(response, 200, { role: 'agent' });
    return problem(response, new AppError('not-found', `Cannot find ${url}: there is no such path here`));
  });
  const { code, stderr } = await cli(['hosts', 'ls', '--url', server.url]);
  assert.equal(code, 3);
  assert.match(stderr, /: this is an agent, that is asked of the registry; name that one/);
});

test('an address that this machine does not have: exit 78, in words', async (t) => {
  const argv = ['registry', '--data-dir', join(tempFolder(t), 'r'), '--listen', '192.0.2.1:0'];
  const { code, stderr } = await cli([...argv, '--advertise-url', 'https://r.example'], { roles });
  assert.equal(code, 78, stderr);
  assert.match(stderr, /Cannot listen at 192\.0\.2\.1:0: this machine has no such address/);
});

test('backup into a folder that is not there says so', async (t) => {
  const server = await fakeServer(t);
  const { code, stderr } = await cli(['backup', '/nonexistent/x', '--url', server.url]);
  assert.equal(code, 78);
  assert.match(stderr, /Cannot write the backup \/nonexistent\/x: there is no folder \/nonexistent\n/);
});

test('watch tells that it is connected again', async (t) => {
  const { server, env } = await fakeFleet(t);
  const whole = server.onSocket;
  let opened = 0;
  const stop = new AbortController();
  server.onSocket = (socket, asked) => {
    opened += 1;
    if (opened === 1) socket.terminate();
    else whole?.(socket, asked);
  };
  const { stderr } = await cli(['watch', '-o', 'json'], {
    env,
    signal: stop.signal,
    onStdout: () => stop.abort(new Error('got SIGINT')),
  });
  assert.match(stderr, /trying again in \d+ s\nconnected again\n/);
  assert.equal(stderr.match(/connected again/g)?.length, 1);
});

test('slips are told in the words of the command line', async () => {
  const nowhere = ['--url', 'http://127.0.0.1:1'];
  for (const [argv, words] of [
    [['help', 'hosts', 'nosuch'], /Cannot explain "hosts nosuch": .*it has ls, get, label/],
    [['help', 'hosts', 'lss'], /did you mean "ls"/],
    [['help', 'status', 'x'], /Cannot explain "status x"/],
    [['config', 'print', 'foo'], /Cannot use "foo" for <role>: expected one of up, registry, agent/],
    [['hosts', 'ls', '--status', 'UPP', ...nowhere], /--status "UPP": expected UP or DOWN/],
    [['services', 'ls', '--status', 'up', ...nowhere], /--status "up": expected UP or DOWN/],
  ] as [string[], RegExp][]) {
    const { code, stderr } = await cli(argv);
    assert.equal(code, 2, `${argv.join(' ')}: ${stderr}`);
    assert.match(stderr, words);
  }
});

test('help of a group has one block of examples, and no heading of the program', async () => {
  for (const group of ['registry', 'hosts']) {
    const { stdout, code } = await cli(['help', group]);
    assert.equal(code, 0);
    assert.equal(stdout.match(/^Examples:/gm)?.length, 1, group);
    assert.doesNotMatch(stdout, /Look after it:/);
  }
});

test('registry warns when hosts cannot be told where it is', async () => {
  const warningsOf = async (...argv: string[]) => {
    const warnings: string[] = [];
    const logger: Logger = {
      ...silentLogger,
      warn: (_fields, message) => warnings.push(message),
      child: () => logger,
    };
    const stop = new AbortController();
    const running = {
      url: '',
      dataDir: '',
      failed: new Promise<never>(() => undefined),
      stuckMs: () => 0,
      close: async () => undefined,
      joinToken: async () => '',
    };
    await cli(['registry', ...argv], {
      logger,
      signal: stop.signal,
      roles: { startRegistry: async () => running },
      onStdout: () => stop.abort(new Error('got SIGINT')),
    });
    return warnings;
  };
  const [warning] = await warningsOf('--listen', '0.0.0.0:0');
  assert.match(warning ?? '', /no join tokens can be made until --advertise-url/);
  assert.deepEqual(await warningsOf('--listen', '0.0.0.0:0', '--advertise-url', 'https://r.example'), []);
  assert.deepEqual(await warningsOf('--listen', '127.0.0.1:0'), []);
});

test('the help that a mistake points to is that of the command itself', async () => {
  for (const { path } of withAllBelow(describe(await wholeProgram()))) {
    if (path.length !== 2) continue;
    const { stderr } = await cli([...path, '--no-such-flag']);
    assert.match(stderr, new RegExp(`See "holdfast ${path.join(' ')} --help"`));
  }
});

test('notify test waits as long as a sink may take, unless --timeout says otherwise', async (t) => {
  const clock = new FakeClock();
  const items = [{ sink: 'pager', ok: true, detail: 'exit 0', durationMs: 59_999 }];
  const server = await fakeServer(t, (_asked, response) => {
    clock.advance(limits.notifyTimeoutMs).then(() => json(response, 200, { items }), t.assert.ifError);
  });
  const env = { HOLDFAST_URL: server.url };
  const { code, stdout, stderr } = await cli(['notify', 'test'], { env, clock });
  assert.deepEqual([code, /pager +taken +59999 ms/.test(stdout)], [0, true], stderr);
  assert.equal((await cli(['notify', 'test', '--timeout', '30s'], { env, clock })).code, 7);
});

test('help fits a terminal of 80 columns, but for examples, which are pasted', async () => {
  for (const { path } of withAllBelow(describe(await wholeProgram()))) {
    const { stdout } = await cli(['help', ...path], { columns: 80 });
    const [words = ''] = stdout.split('\nExamples:\n');
    for (const line of words.split('\n').filter((one) => !/^("holdfast help| {2}holdfast )/.test(one)))
      assert.ok(line.length <= 80, `${path.join(' ')}: ${line}`);
  }
});
