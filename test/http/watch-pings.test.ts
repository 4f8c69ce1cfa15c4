/** Sockets that say nothing are asked whether they are there, at one pace however many came and went before. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import WebSocket from 'ws';
import { type Booted, Stage, settle } from '../helpers/boot.ts';
import { until } from '../helpers/until.ts';

async function open({ url, token }: Booted<unknown>): Promise<WebSocket> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/watch`, ['holdfast.v1'], {
    headers: { authorization: `Bearer ${token}` },
  });
  await once(socket, 'open');
  return socket;
}

test('watch sockets are pinged once in a while, not once for every socket that there ever was', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  for (let visitor = 0; visitor < 5; visitor += 1) {
    const socket = await open(registry);
    socket.close();
    await once(socket, 'close');
    await stage.clock.advance(3_000);
  }
  const socket = await open(registry);
  let pings = 0;
  socket.on('ping', () => {
    pings += 1;
  });
  for (let second = 0; second < 60; second += 1) {
    await stage.clock.advance(1_000);
    await settle([registry]);
  }
  assert(pings >= 1 && pings <= 4, `${pings} pings in a minute`);
  assert.equal(socket.readyState, WebSocket.OPEN);
  socket.terminate();
});

test('a watch socket that answers no ping is cut off', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const socket = await open(registry);
  // It is there, and reads nothing.
  socket.pause();
  for (let second = 0; second < 90; second += 1) await stage.clock.advance(1_000);
  await until(
    async () =>
      (await registry.http({ path: '/metrics' })).text.match(/^holdfast_\w*sockets\w* 0$/m) !== null,
    'it is still there',
  );
  socket.terminate();
});
