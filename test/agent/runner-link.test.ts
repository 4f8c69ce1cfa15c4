import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { type RunnerAccess, RunnerLink } from '../../src/agent/runner-link.ts';
import { silentLogger } from '../../src/base/log.ts';
import { AppError } from '../../src/domain/error.ts';
import type { TrustKey } from '../../src/domain/trust.ts';
import { LineReader } from '../../src/wire/lines.ts';
import {
  decodeLine,
  encodeLine,
  type RunnerAnswer,
  type RunnerRequest,
  type RunnerStatus,
  readRequest,
  toRefusal,
} from '../../src/wire/runner.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { ScriptedRunner } from './scripted-runner.ts';

const status: RunnerStatus = {
  version: '1.2.3',
  launcher: 'processes',
  running: 0,
  kept: 0,
  putAside: [],
  trust: null,
  problem: null,
};
const keys: readonly TrustKey[] = [{ key: `sha256:${'a'.repeat(64)}`, publicKey: 'AAAA' }];

/** Somebody on a socket who answers as the test says; null: not at all. */
function answering(t: TestContext) {
  const file = join(tempFolder(t), 'runner.sock');
  const asked: RunnerRequest['op'][] = [];
  const open = new Set<Socket>();
  const fake = {
    file,
    asked,
    answer: (request: RunnerRequest): RunnerAnswer | null =>
      request.op === 'run' ? null : { kind: 'status', status },
    server: null as Server | null,
    async listen() {
      const server = createServer((socket) => {
        open.add(socket);
        socket.on('error', () => undefined);
        const reader = new LineReader({
          bytesMax: 1_000_000,
          onTooLong: () => undefined,
          onLine: (line) => {
            const { id, body } = decodeLine(line);
            const request = readRequest(body);
            asked.push(request.op);
            const answer = fake.answer(request);
            if (answer !== null) socket.write(encodeLine(id, answer));
          },
        });
        socket.on('data', (chunk) => reader.push(chunk));
      });
      fake.server = server;
      await new Promise<void>((resolve) => server.listen(file, resolve));
    },
    async end() {
      const { server } = fake;
      if (server === null) return;
      fake.server = null;
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  t.after(() => fake.end());
  return fake;
}

function linked(
  t: TestContext,
  runner: RunnerAccess | null,
  trusted: ConstructorParameters<typeof RunnerLink>[0]['trusted'] = () => null,
) {
  const clock = new FakeClock();
  const found = { count: 0 };
  const link = new RunnerLink({
    clock,
    random: new SeededRandom(1),
    logger: silentLogger,
    runner,
    needed: true,
    trusted,
    registryNowMs: () => null,
    onFound: () => {
      found.count += 1;
    },
  });
  t.after(() => link.stop());
  link.start();
  /** Time passes until the status is as wanted. */
  const becomes = (wanted: (now: NonNullable<RunnerLink['status']>) => boolean) =>
    until(
      async () => {
        await clock.advance(1_000);
        return link.status !== null && wanted(link.status);
      },
      () => JSON.stringify(link.status),
    );
  return { clock, link, found, becomes };
}

suite('RunnerLink', () => {
  test('a host without a runner says so, and one in the same program is there', async (t) => {
    const none = linked(t, null);
    assert.deepEqual([none.link.status, none.link.service], [null, null]);
    const own = new ScriptedRunner();
    const { link } = linked(t, own);
    assert.equal(link.service, own);
    assert.deepEqual([link.status?.connected, link.status?.socket], [true, null]);
  });

  test('finds the runner when it comes, notices when it goes, and finds it again', async (t) => {
    const runner = answering(t);
    const { link, found, becomes } = linked(t, { socket: runner.file });
    await becomes(({ problem }) => problem !== null);
    assert.match(link.status?.problem ?? '', /no runner at .*there is no such socket/);
    assert.equal(found.count, 0);
    await runner.listen();
    await becomes(({ connected }) => connected);
    assert.deepEqual(link.status, {
      socket: runner.file,
      connected: true,
      kind: 'processes',
      version: '1.2.3',
      problem: null,
    });
    assert.equal(found.count, 1);
    await runner.end();
    await becomes(({ connected }) => !connected);
    assert.equal(link.status?.kind, null);
    await runner.listen();
    await becomes(({ connected }) => connected);
    assert.equal(found.count, 2);
  });

  test('notices a runner that was away for less than the time between two looks', async (t) => {
    const runner = answering(t);
    await runner.listen();
    const { clock, found, becomes } = linked(t, { socket: runner.file });
    await becomes(({ connected }) => connected);
    const beforeMs = clock.monotonic();
    await runner.end();
    await runner.listen();
    await until(async () => {
      await clock.advance(100);
      return found.count === 2;
    });
    assert(clock.monotonic() - beforeMs < 20_000, `after ${clock.monotonic() - beforeMs} ms`);
  });

  test('one that does not answer is not there', async (t) => {
    const runner = answering(t);
    runner.answer = () => null;
    await runner.listen();
    const { link, becomes } = linked(t, { socket: runner.file });
    await becomes(({ problem }) => problem !== null);
    assert.deepEqual(
      [link.status?.connected, link.status?.problem],
      [false, 'Cannot ask the runner: no answer within 5 s'],
    );
  });

  test('names whom the runner is to believe once it is known, and tells when that believes another', async (t) => {
    const runner = answering(t);
    let trust: RunnerStatus['trust'] = null;
    runner.answer = (request) => {
      if (request.op === 'trust') {
        if (request.hostId !== 'host-1')
          return toRefusal(new AppError('forbidden', 'Cannot believe another registry: remove trust.json'));
        trust = { hostId: request.hostId, epoch: null, serial: null };
      }
      return { kind: 'status', status: { ...status, trust } };
    };
    await runner.listen();
    let trusted: { hostId: string; keys: readonly TrustKey[] } | null = null;
    const { link, clock, becomes } = linked(t, { socket: runner.file }, () => trusted);
    await becomes(({ connected }) => connected);
    assert.ok(!runner.asked.includes('trust'), 'nobody has joined yet');
    trusted = { hostId: 'host-1', keys };
    link.wake();
    await until(async () => {
      await clock.settle();
      return trust !== null;
    });
    const times = () => runner.asked.filter((op) => op === 'trust').length;
    const looks = runner.asked.length;
    await until(async () => {
      await clock.advance(10_000);
      return runner.asked.length > looks + 3;
    });
    assert.equal(times(), 1, 'once');
    trusted = { hostId: 'host-2', keys };
    await becomes(({ problem }) => problem !== null);
    assert.deepEqual(
      [link.status?.connected, link.status?.problem],
      [true, 'Cannot believe another registry: remove trust.json'],
    );
  });

  test('shows that the runner cannot use agent.yaml', async (t) => {
    const runner = answering(t);
    runner.answer = () => ({
      kind: 'status',
      status: { ...status, problem: 'Cannot use agent.yaml: others can write' },
    });
    await runner.listen();
    const { becomes } = linked(t, { socket: runner.file });
    await becomes(
      ({ connected, problem }) => connected && problem === 'Cannot use agent.yaml: others can write',
    );
  });
});
