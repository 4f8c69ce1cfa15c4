/** The machine that the other tests stand on: it boots, takes commands, limits what it runs, and leaves nothing. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { startMachine } from './machine.ts';

test('startMachine() boots a Debian with systemd, runs commands in it, and powers it off', async (t) => {
  let id = '';
  await t.test('while it runs', async (inner) => {
    id = await useMachine(inner);
    assert(left(id).length > 0, 'it is not looked for where it is');
  });
  assert.deepEqual(left(id), [], 'the machine left something behind');
});

async function useMachine(t: TestContext): Promise<string> {
  const began = performance.now();
  const machine = await startMachine(t);
  t.diagnostic(`booted after ${Math.round(performance.now() - began)} ms`);
  assert.equal(await machine.sh('cat /proc/1/comm; hostname'), 'systemd\nedge-1');
  assert.equal((await machine.attempt(['false'])).code, 1);
  await assert.rejects(machine.run(['sh', '-c', 'echo why >&2; exit 3']), /exit 3, expected 0\nwhy/);
  await assert.rejects(machine.run(['sleep', '60'], { timeoutMs: 200 }), /exit 124/);
  assert.equal(await machine.sh('cat', { input: 'said' }), 'said');
  // Its own loopback is all the network that there is.
  assert.equal(await machine.sh("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), 'lo');
  // The limits of units are real ones.
  const forks = 'for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done';
  const { code, stderr } = await machine.attempt([
    ...['systemd-run', '--quiet', '--pipe', '--collect', '--property=TasksMax=4', '--', 'sh', '-c', forks],
  ]);
  assert.deepEqual([code, /Cannot fork/.test(stderr)], [2, true]);

  const { root } = machine;
  assert(existsSync(`${root}/etc/debian_version`));
  await machine.powerOff();
  assert(!existsSync(root));
  return machine.id;
}

/** What a machine needs of this one while it runs: a root file system, a folder of nspawn, control groups. */
function left(id: string): string[] {
  const folders = ['/var/cache/holdfast-test', '/run/systemd/nspawn/propagate', '/sys/fs/cgroup/pids'];
  return folders.flatMap(list).filter((name) => name.toLowerCase().includes(id));
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}
