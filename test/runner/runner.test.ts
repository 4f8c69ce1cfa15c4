import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAppError } from '../../src/domain/error.ts';
import { createRunner } from '../../src/runner/runner.ts';
import { until } from '../helpers/until.ts';
import { startRunner } from './world.ts';

const never = new AbortController().signal;

test('a runner does what its orders name, and says how it ended', async (t) => {
  const world = await startRunner(t, {
    checks: [
      { type: 'good', exec: ['sh', '-c', 'echo out; echo err >&2'] },
      { type: 'bad', exec: ['sh', '-c', 'exit 3'] },
      { type: 'killed', exec: ['sh', '-c', 'kill -9 $$'] },
      { type: 'node', process: process.title },
      { type: 'nobody', process: 'no-such-program' },
    ],
    detectors: [{ command: ['echo', 'v1.2'], match: 'v(?<version>.*)', component: 'echo' }],
  });
  const { stdout, stderr, end, adopted } = await world.check('good');
  assert.deepEqual(
    { stdout, stderr, end, adopted },
    { stdout: 'out\n', stderr: 'err\n', end: { kind: 'exited', exitCode: 0 }, adopted: false },
  );
  assert.deepEqual((await world.check('bad')).end, { kind: 'exited', exitCode: 3 });
  assert.deepEqual((await world.check('killed')).end, { kind: 'signalled', signal: 'SIGKILL' });
  assert.equal((await world.check('nobody')).end.kind, 'failed');
  const found = await world.client.run({ kind: 'detector', component: 'echo' }, { signal: never });
  assert.equal(found.stdout, 'v1.2\n');
  await until(() => readdirSync(join(world.dataDir, 'steps')).length === 0, 'the records are not removed');
});

test('a runner that can write nothing down looks on, tells each end once, and can be asked again', async (t) => {
  const world = await startRunner(t, { checks: [{ type: 'a', exec: ['sh', '-c', 'echo fine; exit 3'] }] });
  rmSync(join(world.dataDir, 'steps'), { recursive: true });
  for (let round = 0; round < 2; round += 1) {
    const { end, stdout } = await world.check('a');
    assert.deepEqual([end, stdout], [{ kind: 'exited', exitCode: 3 }, 'fine\n']);
    await until(async () => (await world.client.status()).kept === 0);
  }
});

test('a runner refuses what its orders do not name, and what cannot start', async (t) => {
  const world = await startRunner(t, {
    checks: [
      { type: 'web', http: 'http://127.0.0.1/' },
      { type: 'gone', exec: ['/nonexistent/program'] },
      { type: 'folder', exec: ['/'] },
    ],
  });
  await assert.rejects(world.check('other'), (error) => isAppError(error, 'not-found'));
  await assert.rejects(world.check('web'), (error) => isAppError(error, 'unprocessable'));
  for (const type of ['gone', 'folder'])
    await assert.rejects(
      world.check(type),
      (error) => isAppError(error, 'unprocessable') && /Cannot start "/.test(error.message),
    );
  assert.deepEqual(readdirSync(join(world.dataDir, 'steps')), []);
});

test('one step by name runs once: who asks meanwhile joins it, and one who takes the question back does not stop it', async (t) => {
  const world = await startRunner(t, {
    checks: [{ type: 'slow', exec: ['sh', '-c', 'date +%N; sleep 0.5'], timeout: '1m' }],
  });
  const asked = new AbortController();
  const first = world.check('slow', { signal: asked.signal });
  first.catch(() => undefined);
  await until(async () => (await world.client.status()).running === 1);
  const second = world.check('slow');
  asked.abort(new Error('never mind'));
  await assert.rejects(first, /never mind/);
  const { stdout } = await second;
  assert.notEqual((await world.check('slow')).stdout, stdout, 'a later question starts it anew');
});

test('a result that nobody waited for is given to the next who asks, once', async (t) => {
  const world = await startRunner(t, {
    checks: [{ type: 'slow', exec: ['sh', '-c', 'date +%N; sleep 0.2'], timeout: '1m' }],
  });
  const asked = new AbortController();
  const first = world.check('slow', { signal: asked.signal });
  await until(async () => (await world.client.status()).running === 1);
  asked.abort(new Error('never mind'));
  await assert.rejects(first, /never mind/);
  await until(async () => (await world.client.status()).kept === 1);
  const kept = await world.check('slow');
  await until(async () => (await world.client.status()).kept === 0);
  assert.notEqual((await world.check('slow')).stdout, kept.stdout);
});

test('two runners do not share a data directory, and the socket goes with the runner', async (t) => {
  const world = await startRunner(t);
  assert.equal(statSync(world.socket).mode & 0o777, 0o600);
  await world.runner.close();
  assert.equal(existsSync(world.socket), false);
  await assert.rejects(
    world.check('x'),
    (error) => isAppError(error, 'unavailable') && /no runner at/.test(error.message),
  );
  await startRunner(t, { dataDir: world.dataDir });
  assert.deepEqual((await world.client.status()).running, 0, 'the client connects again');
  // Another socket, the same folder, and somebody who is alive.
  const other = {
    dataDir: world.dataDir,
    socketDir: join(world.dataDir, 'other'),
    duties: { read: () => Promise.resolve(world.duties) },
    stopsSteps: true,
  };
  await assert.rejects(createRunner(other), (error) => isAppError(error, 'conflict'));
});
