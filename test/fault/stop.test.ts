/** SIGTERM: what is under way is answered, everything is flushed, watchers are told where to resume, exit 0. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { after, before, test } from 'node:test';
import { bundleProgram } from '../helpers/bundle.ts';
import { follow, told } from '../helpers/follow.ts';
import { readLogFile } from '../helpers/log-file.ts';
import {
  agentArguments,
  type ProcessOptions,
  portOf,
  reach,
  registryArguments,
  startProcess,
} from '../helpers/process.ts';
import { SeededRandom } from '../helpers/random.ts';
import { conductor } from '../helpers/records.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { Writers } from '../helpers/writers.ts';

/** Two seconds of farewell, and what the rest takes on a busy machine; DESIGN §11 gives it fifteen. */
const stopWithinMs = 15_000;

let program: ProcessOptions;
const ends: (() => void)[] = [];
before(async () => {
  program = await bundleProgram(tempFolder({ after: (fn) => ends.push(fn) }));
});
after(() => {
  for (const end of ends) end();
});

test('a registry that is stopped in the middle of writes exits 0 and has kept all that it answered', async (t) => {
  const dataDir = tempFolder(t);
  const running = startProcess(t, registryArguments(dataDir), program);
  const server = reach(t, await running.ready('registry'));
  const writers = new Writers({ ...server, random: SeededRandom.fresh(t), count: 4 });
  writers.resume();
  await writers.untilMore(100);
  const watch = await follow(server.client, { onLink: () => undefined });
  await writers.untilMore(20);
  const began = performance.now();
  const end = await running.kill('SIGTERM');
  const tookMs = performance.now() - began;
  await writers.close();
  assert.deepEqual(end, { code: 0, signal: null }, running.stderr());
  assert(tookMs < stopWithinMs, `it took ${tookMs} ms`);
  t.diagnostic(`stopped in ${Math.round(tookMs)} ms`);
  const log = readLogFile(dataDir);
  assert.deepEqual(writers.lost(log), []);
  // The watcher has been told everything up to the end, before it was sent away.
  const [first] = watch.updates;
  const from = Number((first?.kind === 'progress' ? first.position : '0.0').split('.')[1]);
  assert.deepEqual(
    watch.events().map(({ position }) => position),
    log
      .filter(({ revision }) => revision > from)
      .flatMap(({ events }) => events.map(({ position }) => position)),
  );
  await watch.stop();
});

test('while it drains new connections are refused, and the request under way is answered', async (t) => {
  const dataDir = tempFolder(t);
  const running = startProcess(t, registryArguments(dataDir), program);
  const server = reach(t, await running.ready('registry'));
  // A request that has begun and takes its time: headers now, body later.
  const body = JSON.stringify({ type: 'web', host: 'edge-1' });
  const socket = createConnection(portOf(server.url), '127.0.0.1');
  socket.setEncoding('utf8');
  let answer = '';
  socket.on('data', (text: string) => {
    answer += text;
  });
  await once(socket, 'connect');
  socket.write(
    `PUT /v1/services/${conductor.uuid} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${server.token}\r\nexpect: 100-continue\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`,
  );
  await until(() => answer.includes('100 Continue'));
  running.signal('SIGTERM');
  await until(
    async () => (await server.http({ path: '/livez' }).catch(() => null)) === null,
    'it still takes connections',
  );
  socket.write(body);
  await until(
    () => answer.includes('HTTP/1.1 201'),
    () => `not answered: ${answer}`,
  );
  socket.destroy();
  assert.deepEqual(await running.exited, { code: 0, signal: null });
  assert.equal(readLogFile(dataDir).at(-1)?.events[0]?.type, 'service.registered');
});

test('an agent that is stopped says goodbye: its host is left, not lost, and its services with it', async (t) => {
  const registry = startProcess(t, registryArguments(tempFolder(t)), program);
  const centre = reach(t, await registry.ready('registry'));
  const agentDir = tempFolder(t);
  let agent = startProcess(t, agentArguments(agentDir, { registry: centre }), program);
  const local = reach(t, await agent.ready('agent'));
  await local.http({
    method: 'PUT',
    path: `/v1/services/${conductor.uuid}`,
    body: { type: 'web', host: 'edge-1' },
  });
  await until(async () => (await centre.http({ path: `/v1/services/${conductor.uuid}` })).status === 200);
  const watch = await follow(centre.client, { select: { types: ['host.*', 'service.*'] } });
  const began = performance.now();
  assert.deepEqual(await agent.kill('SIGTERM'), { code: 0, signal: null });
  assert.deepEqual((await watch.count(2)).map(told), ['host.left DOWN', 'service.lapsed DOWN']);
  t.diagnostic(`left after ${Math.round(performance.now() - began)} ms`);
  const host = (await centre.http({ path: '/v1/hosts/edge-1' })).json;
  assert.deepEqual([host.status, host.reason], ['DOWN', 'left']);
  const service = (await centre.http({ path: `/v1/services/${conductor.uuid}` })).json;
  assert.deepEqual([service.status, service.reason], ['DOWN', 'left']);

  // And back: the same host, what it held is UP again.
  agent = startProcess(t, agentArguments(agentDir, { registry: centre }), program);
  await agent.ready('agent');
  assert.deepEqual((await watch.count(4)).slice(2).map(told).sort(), [
    'host.returned UP',
    'service.revived UP',
  ]);
  await watch.stop();
  // Without a registry to say goodbye to it stops as well.
  await registry.kill('SIGKILL');
  const alone = performance.now();
  assert.deepEqual(await agent.kill('SIGINT'), { code: 0, signal: null });
  assert(performance.now() - alone < stopWithinMs);
});

test('up stops all of its roles with one signal, and starts again with what it had', async (t) => {
  const dataDir = tempFolder(t);
  const argv = [
    'up',
    '--data-dir',
    dataDir,
    '--name',
    'edge-1',
    '--registry-listen',
    '127.0.0.1:0',
    '--agent-listen',
    '127.0.0.1:0',
  ];
  for (const start of [0, 1]) {
    const running = startProcess(t, argv, program);
    const registry = reach(t, await running.ready('registry'));
    const agent = reach(t, await running.ready('agent'));
    const path = `/v1/services/${conductor.uuid}`;
    if (start === 0)
      assert.equal(
        (await agent.http({ method: 'PUT', path, body: { type: 'web', host: 'edge-1' } })).status,
        201,
      );
    const { json } = await until(async () => {
      const answer = await registry.http({ path });
      return answer.status === 200 && answer.json.status === 'UP' && answer;
    });
    assert.deepEqual([json.type, json.heldBy], ['web', 'agent']);
    assert.deepEqual(await running.kill('SIGTERM'), { code: 0, signal: null }, running.stderr());
  }
});
