import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { probeTcp } from '../../../src/agent/checks/tcp.ts';

async function server(t: TestContext, accept: (socket: Socket) => void) {
  const listening = createServer(accept);
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  t.after(() => listening.close());
  const { port } = listening.address() as AddressInfo;
  return { kind: 'tcp', host: '127.0.0.1', port, listening } as const;
}

const signal = new AbortController().signal;

suite('probeTcp()', () => {
  test('passes when a connection is accepted, also one that is reset then, and leaves none open', async (t) => {
    for (const accept of [() => undefined, (socket: Socket) => socket.resetAndDestroy()]) {
      const closed = Promise.withResolvers<void>();
      const probe = await server(t, (socket) => {
        socket.on('error', () => undefined).on('close', () => closed.resolve());
        socket.resume();
        accept(socket);
      });
      assert.deepEqual(await probeTcp(probe, { signal }), { kind: 'passed', detail: 'accepts connections' });
      await closed.promise;
    }
  });

  test('fails with words where nobody listens', async (t) => {
    const probe = await server(t, () => undefined);
    await new Promise((resolve) => probe.listening.close(resolve));
    assert.deepEqual(await probeTcp(probe, { signal }), {
      kind: 'failed',
      detail: `Cannot reach 127.0.0.1:${probe.port}: nobody listens there`,
    });
    const { detail } = await probeTcp({ kind: 'tcp', host: 'name.invalid', port: 1 }, { signal });
    assert.match(detail, /^Cannot reach name\.invalid:1: its name cannot be resolved/);
  });

  test('ends with the reason of the signal where no answer comes', async (t) => {
    const port = await portWithoutAnswer(t);
    const stop = new AbortController();
    const probe = { kind: 'tcp', host: '127.0.0.1', port } as const;
    let settled = false;
    const looking = probeTcp(probe, { signal: stop.signal }).finally(() => {
      settled = true;
    });
    // Longer than anybody on this machine takes to answer.
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(settled, false);
    const reason = new Error('too late');
    stop.abort(reason);
    await assert.rejects(looking, reason);
    await assert.rejects(probeTcp(probe, { signal: stop.signal }), reason);
  });
});

/** A listener that accepts nobody, with its queue full: Linux then drops what asks, as a firewall does. */
async function portWithoutAnswer(t: TestContext): Promise<number> {
  const child = spawn(
    process.execPath,
    [
      '-e',
      `const server = require('node:net').createServer();
      server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
        require('node:fs').writeSync(1, String(server.address().port));
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      });`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.after(() => child.kill('SIGKILL'));
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(text.toString());
  for (let taken = true; taken; ) {
    const socket = connect({ port, host: '127.0.0.1' });
    t.after(() => socket.destroy());
    socket.on('error', () => undefined);
    taken = await Promise.race([
      once(socket, 'connect').then(() => true),
      new Promise<boolean>((resolve) => setTimeout(resolve, 300, false)),
    ]);
  }
  return port;
}
