import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { isAppError } from '../../src/domain/error.ts';
import { look, lookForProcess, readUnit } from '../../src/runner/looks.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import type { Test } from './world.ts';

/** A program that sleeps, under another name. */
async function startProgram(t: Test, path: string, words: readonly string[] = ['1000']): Promise<number> {
  const child = spawn(path, words, { stdio: 'ignore' });
  await new Promise((resolve) => child.once('spawn', resolve));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return child.pid ?? 0;
}

test('a process is found by the file name of its program, by its path, and by what a script is called', async (t) => {
  const folder = tempFolder(t);
  const program = join(folder, 'a-program-with-a-long-name');
  copyFileSync('/usr/bin/sleep', program);
  const script = join(folder, 'script-of-test');
  writeFileSync(script, '#!/bin/sh\nwhile :; do sleep 1; done\n');
  chmodSync(script, 0o755);
  const nowhere = ['a-program-with-a-long-name', program, 'script-of-test', script];
  for (const name of nowhere) assert.equal(lookForProcess(name).kind, 'failed', name);
  const pids = [await startProgram(t, program), await startProgram(t, script, [])];
  await until(() => lookForProcess('script-of-test').kind === 'passed');
  for (const [index, name] of nowhere.entries())
    assert.deepEqual(lookForProcess(name), { kind: 'passed', detail: `process ${pids[index < 2 ? 0 : 1]}` });
  for (const name of ['a-program-with', 'program', join(folder, 'other/script-of-test'), ''])
    assert.equal(lookForProcess(name).kind, 'failed', name);
});

test('a script with a long name is not taken for another that begins like it', async (t) => {
  const folder = tempFolder(t);
  const [script, collector] = ['a-node-of-test-exporter', 'a-node-of-test-collector'].map((name) => {
    const path = join(folder, name);
    writeFileSync(path, '#!/bin/sh -u\nwhile :; do sleep 1; done\n');
    chmodSync(path, 0o755);
    return path;
  });
  await startProgram(t, collector ?? '', []);
  await until(() => lookForProcess('a-node-of-test-collector').kind === 'passed');
  assert.equal(lookForProcess('a-node-of-test-exporter').kind, 'failed');
  await startProgram(t, script ?? '', []);
  await until(() => lookForProcess('a-node-of-test-exporter').kind === 'passed');
});

test('a process that has ended and one of the kernel are none', async (t) => {
  const folder = tempFolder(t);
  const program = join(folder, 'ends-at-once');
  copyFileSync('/usr/bin/true', program);
  // Its parent, a shell that waits for a word, never asks how it ended.
  const parent = spawn('sh', ['-c', `${program} & read word`], { stdio: ['pipe', 'ignore', 'ignore'] });
  t.after(() => {
    parent.kill('SIGKILL');
  });
  await until(() => /\(ends-at-once\) Z/.test(statsOf(parent.pid ?? 0)));
  assert.equal(lookForProcess('ends-at-once').kind, 'failed');
  assert.equal(lookForProcess('kthreadd').kind, 'failed');
});

/** What /proc says of the children of a process. */
function statsOf(parent: number): string {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
  return children
    .split(' ')
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/stat`, 'utf8');
      } catch {
        return '';
      }
    })
    .join('\n');
}

/** A program in place of systemctl. */
function fakeSystemctl(t: Test, script: string) {
  const folder = tempFolder(t);
  const systemctl = join(folder, 'systemctl');
  writeFileSync(systemctl, `#!/bin/sh\n${script}\n`);
  chmodSync(systemctl, 0o755);
  const systemdFolder = join(folder, 'system');
  mkdirSync(systemdFolder);
  return { systemctl, systemdFolder, clock: systemClock };
}

const unitLook = (unit: string) => ({ kind: 'systemd', unit, timeoutMs: 5_000 }) as const;

test('a unit passes while it is active; its name is never an option', async (t) => {
  const states = fakeSystemctl(
    t,
    `[ "$1 $2 $3" = "show --property=LoadState,ActiveState,SubState --" ] || exit 9
     case "$4" in
       up.service) printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\n';;
       down.service) printf 'LoadState=loaded\\nActiveState=failed\\nSubState=failed\\n';;
       --version) printf 'LoadState=not-found\\nActiveState=inactive\\nSubState=dead\\n';;
       *) echo "no" >&2; exit 1;;
     esac`,
  );
  assert.deepEqual(await look(unitLook('up.service'), states), {
    kind: 'passed',
    detail: 'active (running)',
  });
  assert.deepEqual(await look(unitLook('down.service'), states), {
    kind: 'failed',
    detail: 'failed (failed)',
  });
  assert.deepEqual(await look(unitLook('--version'), states), {
    kind: 'failed',
    detail: 'unit is not-found',
  });
  await assert.rejects(
    look(unitLook('odd'), states),
    (error) => isAppError(error, 'unprocessable') && /Cannot look at unit "odd": no/.test(error.message),
  );
});

test('a systemd that does not answer is a look that took too long, and none is told in words', async (t) => {
  const clock = new FakeClock();
  const stuck = { ...fakeSystemctl(t, 'exec sleep 1000'), clock };
  const asked = look(unitLook('a.service'), stuck);
  await clock.advance(5_000);
  assert.deepEqual(await asked, { kind: 'timed-out' });
  await assert.rejects(
    look(unitLook('a.service'), { ...stuck, systemdFolder: '/nonexistent' }),
    (error) => isAppError(error, 'unprocessable') && /this host does not run systemd/.test(error.message),
  );
});

test('readUnit() tells a property of a unit, each of several, and that there is no such unit', async (t) => {
  const folder = tempFolder(t);
  const systemctl = join(folder, 'systemctl');
  const options = { clock: systemClock, systemctl, systemdFolder: folder };
  const deed = { kind: 'unit', unit: 'api.service', property: 'ExecStart', timeoutMs: 5_000 } as const;
  const say = (body: string) => {
    writeFileSync(systemctl, `#!/bin/sh\n${body}\n`);
    chmodSync(systemctl, 0o755);
  };
  say('echo "LoadState=loaded"; echo "ExecStart=a=$2"; echo "ExecStart=$4"');
  assert.deepEqual(await readUnit(deed, options), {
    end: { kind: 'passed', detail: 'loaded' },
    stdout: 'a=--property=LoadState,ExecStart\napi.service',
  });
  say('echo LoadState=not-found; echo ExecStart=');
  const none = { end: { kind: 'failed', detail: 'unit is not-found' }, stdout: '' };
  assert.deepEqual(await readUnit(deed, options), none);
  say('echo no bus >&2; exit 1');
  await assert.rejects(readUnit(deed, options), /no bus/);
  await assert.rejects(readUnit(deed, { ...options, systemdFolder: join(folder, 'none') }), {
    code: 'unprocessable',
    details: { reason: 'no-systemd' },
  });
  say('exec sleep 1000');
  assert.deepEqual((await readUnit({ ...deed, timeoutMs: 50 }, options)).end, { kind: 'timed-out' });
});
