/** What systemd is told while roles start, serve and stop: `serve()` with a notifier that notes it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Notifier } from '../../src/base/notify.ts';
import type { RunningRegistry } from '../../src/cli/roles.ts';
import { FakeClock } from '../helpers/clock.ts';
import { cli } from './harness.ts';

const watchdogMs = 120_000;
const argv = ['registry', '--tls', 'off'];

/** A registry whose start, stop and health the test decides. */
function stage(env: Record<string, string> = { WATCHDOG_USEC: String(watchdogMs * 1_000) }) {
  const clock = new FakeClock();
  const told: string[] = [];
  const note = (text: string) => {
    told.push(text);
    return Promise.resolve();
  };
  const ready = Promise.withResolvers<void>();
  const notifier: Notifier = {
    heard: true,
    ready: async (status) => {
      await note(`ready, ${status}`);
      ready.resolve();
    },
    extend: (byMs) => note(`extend ${byMs}`),
    watchdog: () => note('watchdog'),
    stopping: () => note('stopping'),
  };
  const stop = new AbortController();
  const started = Promise.withResolvers<RunningRegistry>();
  const health = { stuckMs: 0 };
  const role: RunningRegistry = {
    url: 'http://127.0.0.1:7420',
    dataDir: '',
    joinToken: async () => '',
    close: () => note('closed'),
    failed: new Promise<never>(() => undefined),
    stuckMs: () => health.stuckMs,
  };
  const outcome = cli(argv, {
    env,
    clock,
    notifier,
    signal: stop.signal,
    roles: { startRegistry: () => started.promise },
  });
  return {
    clock,
    told,
    health,
    outcome,
    fail: (error: Error) => started.reject(error),
    serve: async () => {
      started.resolve(role);
      await ready.promise;
    },
    stop: () => {
      stop.abort(new Error('got SIGTERM'));
      return outcome;
    },
  };
}

test('serve() tells systemd that it serves, is alive every half of the watchdog, and stops before it closes', async () => {
  const { serve, clock, told, stop } = stage();
  await serve();
  await clock.advance(watchdogMs);
  assert.equal((await stop()).code, 0);
  assert.deepEqual(told, [
    'ready, serving: http://127.0.0.1:7420',
    'watchdog',
    'watchdog',
    'stopping',
    'closed',
  ]);
});

test('serve() feeds no watchdog while a loop is stuck, and again when it moves', async () => {
  const { serve, clock, told, health, stop } = stage();
  await serve();
  health.stuckMs = limits.stuckMs + 1;
  await clock.advance(watchdogMs);
  assert(!told.includes('watchdog'));
  health.stuckMs = limits.stuckMs;
  await clock.advance(watchdogMs / 2);
  assert(told.includes('watchdog'));
  await stop();
});

test('serve() feeds only the watchdog that is its own', async () => {
  for (const env of [{}, { WATCHDOG_USEC: '60000000', WATCHDOG_PID: String(process.pid + 1) }]) {
    const { serve, clock, told, stop } = stage(env);
    await serve();
    await clock.advance(watchdogMs);
    await stop();
    assert(!told.includes('watchdog'));
  }
  const { serve, clock, told, stop } = stage({
    WATCHDOG_USEC: '60000000',
    WATCHDOG_PID: String(process.pid),
  });
  await serve();
  await clock.advance(30_000);
  await stop();
  assert(told.includes('watchdog'));
});

test('serve() asks for more time while a start takes long, up to a limit', async () => {
  const { serve, clock, told, stop } = stage();
  await clock.advance(60_000);
  assert.deepEqual(told, ['extend 60000', 'extend 60000', 'extend 60000']);
  await clock.advance(2 * limits.startExtendedMs);
  const asked = told.length;
  assert(asked <= limits.startExtendedMs / 20_000, `${asked} times`);
  await serve();
  await stop();
});

test('serve() tells of the stop of a start that failed, and nothing after it', async () => {
  const { fail, told, outcome, clock } = stage();
  fail(new Error('no room'));
  assert.equal((await outcome).code, 1);
  await clock.advance(600_000);
  assert.deepEqual(told, ['stopping']);
});
