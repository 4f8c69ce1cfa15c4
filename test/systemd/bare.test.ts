/** The bare binary, which has systemd run it by itself, on a machine without the package. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../helpers/until.ts';
import { type Machine, startMachine } from './machine.ts';

const checkout = join(import.meta.dirname, '../..');

test('the bare binary installs a host on its own, keeps it from a wrong setting, and takes itself away', async (t) => {
  const machine = await startMachine(t, { readable: { [checkout]: '/checkout' } });
  // As root has it on a hardened host.
  const install = (words: string) => machine.sh(`umask 077; /checkout/dist/holdfast install ${words} 2>&1`);
  await install('agent --registry none');
  const units = ['holdfast-agent.service', 'holdfast-runner.service'];
  const active = await machine.sh(
    `systemctl is-active ${units.join(' ')}; systemctl is-enabled ${units.join(' ')}`,
  );
  assert.deepEqual(active.split('\n'), ['active', 'active', 'enabled', 'enabled']);
  await hasRunner(machine);
  assert.match(await install('agent'), /everything is installed as it shall be/);

  // A mistake of a person: systemd does not try it again and again.
  await machine.sh(`cp /etc/holdfast/agent.yaml /root; echo 'registri: none' >> /etc/holdfast/agent.yaml`);
  assert.notEqual((await machine.attempt(['systemctl', 'restart', 'holdfast-agent.service'])).code, 0);
  assert.equal(
    await machine.sh(
      'systemctl show --property=Result,ExecMainStatus,NRestarts holdfast-agent.service | sort',
    ),
    'ExecMainStatus=78\nNRestarts=0\nResult=exit-code',
  );
  assert.match(await machine.journal('holdfast-agent.service'), /agent\.yaml:\d+.*registri/);
  await machine.sh('cp /root/agent.yaml /etc/holdfast/agent.yaml; systemctl restart holdfast-agent.service');

  // The package was here once, was removed so that the binary could take over, and is purged now.
  assert.match(await machine.sh('sh /checkout/packaging/deb/postrm purge 2>&1'), /so it stays/);
  await hasRunner(machine);

  await install('--remove');
  assert.equal(await machine.sh("systemctl list-unit-files --no-legend 'holdfast*' || true"), '');
  assert.equal(
    await machine.sh('ls -d /usr/local/lib/holdfast /usr/local/bin/holdfast 2>/dev/null || true'),
    '',
  );
  assert.equal(await machine.sh('cat /proc/[0-9]*/cgroup 2>/dev/null | grep holdfast || true'), '');
  assert.equal(
    await machine.sh('stat --format=%U:%a /var/lib/holdfast/agent/holdfast.db'),
    'holdfast-agent:600',
  );
});

/** The agent is ready before it has asked its runner. */
async function hasRunner(machine: Machine): Promise<void> {
  let last = '';
  await until(
    async () => {
      last = await machine.sh('holdfast status -o json');
      const { runner } = JSON.parse(last);
      return runner.connected && runner.kind === 'systemd';
    },
    () => `the agent has not found its runner: ${last}`,
    45_000,
  );
}
