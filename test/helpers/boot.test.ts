import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { Stage } from './boot.ts';

/** A test's context whose end the test itself brings about. */
function end() {
  const hooks: (() => Promise<void> | void)[] = [];
  return {
    after: (fn: () => Promise<void> | void) => hooks.push(fn),
    async run() {
      for (const hook of hooks) await hook();
    },
  };
}

test('Stage closes what it booted and leaves nothing behind', async () => {
  const t = end();
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const agent = await stage.agent({ registry, name: 'edge-1' });
  assert.equal((await agent.http({ path: '/readyz' })).status, 200);
  assert.equal((await registry.client.version()).version, '0.0.0-test');
  await t.run();
  assert.deepEqual(stage.clock.pendingMs, []);
});

test('Stage fails a test that leaves a timer', async () => {
  const t = end();
  const stage = Stage.open(t, { leftoversMs: 100 });
  stage.clock.after(1_000, () => undefined);
  await assert.rejects(t.run(), /left over: 1 timers/);
});

test('Stage fails a test that leaves a socket', async (context) => {
  const t = end();
  Stage.open(t, { leftoversMs: 100 });
  const server = createServer().listen(0, '127.0.0.1');
  context.after(() => server.close());
  await once(server, 'listening');
  await assert.rejects(t.run(), /left over: 1 sockets/);
});
