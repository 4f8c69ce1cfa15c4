import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, watch, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { createNotifier } from '../../src/base/notify.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';

/** A notifier with a shell script in place of `systemd-notify`; the script gets `$LOG`, a file to write to. */
function setup(t: TestContext, script: string) {
  const folder = tempFolder(t);
  const log = join(folder, 'log');
  const command = join(folder, 'notify.sh');
  writeFileSync(command, `#!/bin/sh\nLOG=${log}\n${script}\n`, { mode: 0o700 });
  const clock = new FakeClock();
  const warnings: Record<string, unknown>[] = [];
  const logger: Logger = { ...silentLogger, warn: (fields) => warnings.push(fields) };
  const notifier = createNotifier({ notifySocket: '/run/systemd/notify', clock, logger, command });
  return { clock, warnings, notifier, log, lines: () => readFileSync(log, 'utf8').trimEnd().split('\n') };
}

test('createNotifier() sends each message to the socket and waits until it is read', async (t) => {
  const { notifier, clock, warnings, lines } = setup(t, 'echo "$NOTIFY_SOCKET $@" >> $LOG');
  await notifier.extend(60_000);
  await notifier.ready('serving');
  await notifier.watchdog();
  await notifier.stopping();
  assert.deepEqual(
    lines(),
    [
      'EXTEND_TIMEOUT_USEC=60000000',
      'READY=1 STATUS=serving',
      'WATCHDOG=1',
      'STOPPING=1 STATUS=stopping',
    ].map((message) => `/run/systemd/notify ${message}`),
  );
  assert.deepEqual(warnings, []);
  assert.deepEqual(clock.pendingMs, []);
});

test('createNotifier() does nothing when systemd did not start us', async () => {
  for (const notifySocket of [{}, { notifySocket: '' }]) {
    const notifier = createNotifier({
      ...notifySocket,
      clock: new FakeClock(),
      logger: { ...silentLogger, warn: () => assert.fail('tried') },
      command: '/does/not/exist',
    });
    await notifier.ready('serving');
    await notifier.watchdog();
    await notifier.stopping();
  }
});

test('createNotifier() passes nothing of our environment on', async (t) => {
  const { notifier, lines } = setup(t, 'env > $LOG');
  process.env['HOLDFAST_TEST_SECRET'] = 'secret';
  t.after(() => delete process.env['HOLDFAST_TEST_SECRET']);
  await notifier.ready('serving');
  assert(!lines().some((line) => line.includes('secret')));
});

test('createNotifier() logs a failure and carries on', async (t) => {
  const { notifier, warnings } = setup(t, 'exit 1');
  await notifier.ready('serving');
  await notifier.ready('serving');
  assert.equal(warnings.length, 2);
  assert.equal(warnings[0]?.['message'], 'READY=1');
});

test('createNotifier() ends what takes too long', { timeout: 20_000 }, async (t) => {
  const { notifier, clock, warnings, log } = setup(t, 'echo started > $LOG; exec sleep 600');
  const started = fileAppears(log);
  const ready = notifier.ready('serving');
  await started;
  await clock.advance(limits.notifyMs);
  await ready;
  assert.equal(warnings.length, 1);
});

test('Notifier.watchdog() joins the one that is on its way', { timeout: 20_000 }, async (t) => {
  const { notifier, lines } = setup(t, 'echo one >> $LOG');
  await Promise.all([notifier.watchdog(), notifier.watchdog(), notifier.watchdog()]);
  assert.equal(lines().length, 1);
  await notifier.watchdog();
  assert.equal(lines().length, 2);
});

async function fileAppears(path: string): Promise<void> {
  const watcher = watch(dirname(path));
  while (!existsSync(path)) await once(watcher, 'change');
  watcher.close();
}
