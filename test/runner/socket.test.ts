import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { LineReader } from '../../src/wire/lines.ts';
import type { RunnerAnswer } from '../../src/wire/runner.ts';
import { startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { startRunner, type Test, type World } from './world.ts';

const sleeper = [{ type: 'slow', exec: ['sleep', '1000'], timeout: '1h' }];

interface Told {
  readonly id: string;
  readonly body: RunnerAnswer;
}

/** A connection that says whatever a test wants. */
async function rawly(t: Test, { socket: path }: Pick<World, 'socket'>) {
  const socket = connect({ path, allowHalfOpen: true });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  t.after(() => {
    socket.destroy();
  });
  let text = '';
  let isEnded = false;
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  socket.on('end', () => {
    isEnded = true;
  });
  socket.on('error', () => undefined);
  const told = () =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Told);
  return { socket, told, isEnded: () => isEnded };
}

function line(id: string, body: unknown): string {
  return `${JSON.stringify({ v: 1, id, mimetype: 'application/json', body })}\n`;
}

const status = (id: string) => line(id, { op: 'status' });

test('what is no question is answered with an error and harms nothing', async (t) => {
  const world = await startRunner(t);
  const { socket, told } = await rawly(t, world);
  const run = (step: unknown) => line('x', { op: 'run', step, registryNowMs: null });
  const wrong: readonly string[] = [
    '\n',
    'no JSON\n',
    '{}\n',
    '[]\n',
    'null\n',
    '{"v":2,"id":"","mimetype":"application/json","body":{}}\n',
    '{"v":1,"id":"a","mimetype":"text/plain","body":"x"}\n',
    `${'['.repeat(10_000)}\n`,
    line('x', null),
    line('x', 'status'),
    line('x', { op: 'exec', command: ['id'] }),
    line('x', { op: 'status', extra: 1 }),
    line('x', { op: '__proto__' }),
    line('x', { op: 'constructor' }),
    '{"v":1,"id":"x","mimetype":"application/json","body":{"op":"status","__proto__":{"op":"run"}}}\n',
    line('x', { op: 'run' }),
    run(null),
    run({ kind: 'job' }),
    run({ kind: 'check' }),
    run({ kind: 'check', check: '' }),
    run({ kind: 'check', check: 1 }),
    run({ kind: 'check', check: 'a', command: ['id'] }),
    run({ kind: 'check', check: 'x'.repeat(1_000) }),
    run({ kind: 'detector', component: ['a'] }),
    run({ kind: 'placement', service: 'a', command: 'remove', target: { body: 'x', signature: 'y' } }),
    run({ kind: 'placement', service: 'a', command: 'apply', target: 'x' }),
    run({
      kind: 'placement',
      service: 'a',
      command: 'apply',
      target: { body: 'x', signature: 'y', tag: 'z' },
    }),
    line('x', { op: 'run', step: { kind: 'check', check: 'a' }, registryNowMs: -1 }),
    line('x', { op: 'trust', hostId: 'a', keys: [] }),
    line('x', { op: 'trust', hostId: 'a', keys: new Array(9).fill({ key: 'a', publicKey: 'b' }) }),
    line('x', { op: 'trust', hostId: 'a', keys: [{ key: 'a', publicKey: 'b' }] }),
    line('i'.repeat(200), { op: 'status' }),
  ];
  for (const one of wrong) socket.write(one);
  await until(() => told().length === wrong.length);
  for (const [index, { body }] of told().entries())
    assert(
      body.kind === 'error' && ['bad-request', 'unsupported'].includes(body.code),
      `${wrong[index]} was answered ${JSON.stringify(body)}`,
    );
  // Names that objects have anyway are names like others.
  for (const name of ['__proto__', 'constructor', 'toString', '../../etc/passwd', 'a\nb', '$(id)'])
    socket.write(line(name, { op: 'run', step: { kind: 'check', check: name }, registryNowMs: null }));
  await until(() => told().length === wrong.length + 6);
  for (const { body } of told().slice(wrong.length))
    assert(body.kind === 'error' && body.code === 'not-found');
  assert.equal(({} as Record<string, unknown>)['op'], undefined);
  socket.write(status('last'));
  await until(() => told().at(-1)?.id === 'last');
  assert.equal(told().at(-1)?.body.kind, 'status', 'the same connection still serves');
});

test('a line that is too long is told once, passed over without being kept, and the next one is answered', async (t) => {
  const world = await startRunner(t);
  const { socket, told } = await rawly(t, world);
  const before = process.memoryUsage().rss;
  const piece = Buffer.alloc(1_048_576, 0x61);
  for (let sent = 0; sent < 80 * limits.runnerLineBytes; sent += piece.length)
    if (!socket.write(piece)) await new Promise((resolve) => socket.once('drain', resolve));
  socket.write(`\n${status('after')}`);
  await until(() => told().length === 2);
  const [first, second] = told();
  assert(first?.body.kind === 'error' && first.body.code === 'too-large' && first.id === '');
  assert.deepEqual([second?.id, second?.body.kind], ['after', 'status']);
  const grown = process.memoryUsage().rss - before;
  assert(grown < 40 * limits.runnerLineBytes, `${grown} bytes more`);
});

test('a line that comes byte by byte takes no more memory than its bytes', () => {
  let length = 0;
  const bytesMax = 2 * 1_048_576;
  const reader = new LineReader({
    bytesMax,
    onLine: (line) => {
      length = line.length;
    },
    onTooLong: () => undefined,
  });
  const before = process.memoryUsage();
  for (let sent = 0; sent < bytesMax; sent += 1) reader.push(Buffer.from('a'));
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const grown = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers;
  reader.push(Buffer.from('\n'));
  assert.equal(length, bytesMax);
  assert(grown < 16 * bytesMax, `${grown} bytes more`);
});

test('thousands of questions at once are answered or refused, each under its id, and reading nothing keeps only the asker waiting', async (t) => {
  const world = await startRunner(t, { checks: sleeper });
  const { socket, told } = await rawly(t, world);
  for (let index = 0; index < 5_000; index += 1) socket.write(status(`s${index}`));
  await until(() => told().length === 5_000);
  assert.equal(new Set(told().map(({ id }) => id)).size, 5_000);

  const greedy = await rawly(t, world);
  greedy.socket.pause();
  for (let index = 0; index < 20_000; index += 1) greedy.socket.write(status(`g${index}`));
  assert.equal((await world.client.status()).running, 0, 'others are answered meanwhile');
  greedy.socket.resume();
  await until(() => greedy.told().length === 20_000, 'and so is who reads at last', 30_000);
});

test('questions, steps and connections have their limits', async (t) => {
  const many = Array.from({ length: limits.runnerStepsMax + 1 }, (_, index) => ({
    type: `slow-${index}`,
    exec: ['sleep', '1000'],
    timeout: '1h',
  }));
  const world = await startRunner(t, { checks: many });
  const { socket, told } = await rawly(t, world);
  const run = (id: string, check: string) =>
    line(id, { op: 'run', step: { kind: 'check', check }, registryNowMs: null });
  for (const { type } of many) socket.write(run(type, type));
  await until(() => told().length === 1);
  const [refusal] = told();
  assert(refusal?.body.kind === 'error' && refusal.body.code === 'rate-limited');
  assert.match(refusal.body.detail, /32 steps run already/);

  // Joining costs no step; the number of open questions is bounded all the same.
  for (let index = 0; index < limits.runnerQuestionsMax; index += 1) socket.write(run(`j${index}`, 'slow-0'));
  await until(() => told().length === 1 + limits.runnerStepsMax);
  assert(told().every(({ body }) => body.kind === 'error' && body.code === 'rate-limited'));
  socket.write(run('slow-0', 'slow-0'));
  await until(() => told().length === 2 + limits.runnerStepsMax);

  const others: Socket[] = [];
  let [open, refused] = [0, 0];
  for (let index = 0; index < limits.runnerConnectionsMax + 4; index += 1) {
    const other = connect(world.socket);
    other
      .on('connect', () => (open += 1))
      .on('close', () => (refused += 1))
      .on('error', () => undefined);
    others.push(other);
  }
  t.after(() => {
    for (const other of others) other.destroy();
  });
  await until(
    () => refused === 5,
    () => `${refused} were refused, ${open} were open`,
  );
});

test('a client that has said all there is to say gets its answers, and then the end', async (t) => {
  const world = await startRunner(t, {
    checks: [{ type: 'slow', exec: ['sh', '-c', 'sleep 0.3; echo done'] }],
  });
  const { socket, told, isEnded } = await rawly(t, world);
  socket.end(line('1', { op: 'run', step: { kind: 'check', check: 'slow' }, registryNowMs: null }));
  await until(() => isEnded());
  const [answer] = told();
  assert(answer?.body.kind === 'result' && answer.body.result.stdout === 'done\n');
});

test('a client that asks and never reads does not keep the runner from stopping', async (t) => {
  const world = await startRunner(t);
  const greedy = await rawly(t, world);
  greedy.socket.pause();
  for (let index = 0; index < 20_000; index += 1) greedy.socket.write(status(`g${index}`));
  await world.client.status();
  await world.runner.close();
});

test('clients that send slowly, cut themselves off or take back what they never asked do not hold up others', async (t) => {
  const world = await startRunner(t, { checks: sleeper });
  const slow = await rawly(t, world);
  slow.socket.write('{"v":1,');
  const cut = await rawly(t, world);
  cut.socket.write(line('1', { op: 'run', step: { kind: 'check', check: 'slow' }, registryNowMs: null }));
  await until(async () => (await world.client.status()).running === 1);
  cut.socket.destroy();
  const odd = await rawly(t, world);
  odd.socket.write(line('never', { op: 'cancel' }) + status('1'));
  await until(() => odd.told().length === 1);
  assert.equal((await world.client.status()).running, 1, 'the step goes on without who asked');
  slow.socket.write(`"id":"s","mimetype":"application/json","body":{"op":"status"}}\n`);
  await until(() => slow.told().length === 1);
});

test('G12: nobody but the owner of the socket opens it: not another user, though the folder is open to all', {
  skip: process.getuid?.() !== 0 && 'only root is somebody else',
}, async (t) => {
  const [stranger, agent] = [65_534, 65_533];
  const folder = tempFolder(t);
  chmodSync(folder, 0o755);
  const socketDir = join(folder, 'run');
  const world = await startRunner(t, {
    dataDir: join(folder, 'data'),
    socketDir,
    socketOwner: { uid: agent, gid: agent },
  });
  const path = join(socketDir, 'runner.sock');
  const { mode, uid } = statSync(path);
  assert.deepEqual([mode & 0o777, uid], [0o600, agent]);
  assert.equal(statSync(world.dataDir).mode & 0o777, 0o700);
  const script = `
    require('node:net').connect(process.env.SOCKET)
      .on('connect', function () { process.stdout.write('in'); this.destroy(); })
      .on('error', ({ code }) => process.stdout.write(code));`;
  // Where others can reach it: the checkout may lie in a folder that is closed to them.
  const node = join(folder, 'node');
  copyFileSync(process.execPath, node);
  const as = async (uid: number) => {
    const child = startProcess(t, ['-e', script], {
      command: [node],
      env: { SOCKET: path },
      uid,
    });
    assert.equal((await child.exited).code, 0, child.stderr());
    return child.stdout();
  };
  assert.equal(await as(stranger), 'EACCES');
  assert.equal(await as(agent), 'in');
});
