/** The launcher of transient units, inside of a machine that systemd runs: transient-units.test.ts starts this there. */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { systemRandom } from '../../../src/base/random.ts';
import { isAppError } from '../../../src/domain/error.ts';
import type { StepEnd } from '../../../src/domain/step.ts';
import type { Launch, Launcher, Running } from '../../../src/runner/launcher.ts';
import { createTransientUnits } from '../../../src/runner/transient-units.ts';
import { until } from '../../helpers/until.ts';
import { launcherContract } from '../../runner/launcher.contract.ts';
import { isUnified } from '../control-groups.ts';

const MiB = 1_024 * 1_024;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

function newFolder(t: TestContext): string {
  const folder = mkdtempSync('/run/ends-');
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function start(t: { after(fn: () => Promise<void>): void }, folder: string, owner = 'test'): Launcher {
  const launcher = createTransientUnits({
    owner,
    folder,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
  });
  t.after(() => launcher.close({ stop: true }));
  return launcher;
}

function order(command: readonly string[], more: Partial<Launch> = {}): Launch {
  return {
    name: 'look',
    command,
    user: null,
    env: { PATH },
    timeoutMs: 20_000,
    limits: { memoryBytes: 128 * MiB, tasks: 64, cpuPercent: 100 },
    ...more,
  };
}

interface Whole {
  readonly end: StepEnd;
  readonly stdout: string;
  readonly stderr: string;
}

async function whole(running: Running): Promise<Whole> {
  const kept = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  running.onOutput((stream, chunk) => kept[stream].push(chunk));
  const end = await running.ended;
  return {
    end,
    stdout: Buffer.concat(kept.stdout).toString(),
    stderr: Buffer.concat(kept.stderr).toString(),
  };
}

const run = async (launcher: Launcher, one: Launch) => whole(await launcher.launch(one));
const shell = (script: string, more: Partial<Launch> = {}) => order(['/bin/sh', '-c', script], more);

/** Processes in the control groups of steps, with the unit that each is in. */
function processesOfSteps(): { pid: number; unit: string; words: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const unit = /holdfast-step-[^/\n]+/.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[0];
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        // The shell that tells of the end is in it too, for a moment.
        return unit === undefined || /printenv/.test(words) ? [] : [{ pid: Number(pid), unit, words }];
      } catch {
        return [];
      }
    });
}

launcherContract({ make: (t, place) => start(t, `/run/ends-${place}`) });

test('launch() runs a command with its output and exit code, and conflicts with itself while it runs', async (t) => {
  const launcher = start(t, newFolder(t));
  const began = performance.now();
  assert.deepEqual(await run(launcher, shell('echo out; echo err >&2; exit 3')), {
    end: { kind: 'exited', exitCode: 3 },
    stdout: 'out\n',
    stderr: 'err\n',
  });
  t.diagnostic(`one step takes ${Math.round(performance.now() - began)} ms`);
  assert.deepEqual((await run(launcher, order(['true']))).end, { kind: 'exited', exitCode: 0 });

  const first = await launcher.launch(order(['sleep', '60']));
  await assert.rejects(launcher.launch(order(['true'])), (error) => isAppError(error, 'conflict'));
  const other = await run(launcher, order(['true'], { name: 'another' }));
  assert.deepEqual(other.end, { kind: 'exited', exitCode: 0 });
  await first.stop({ graceMs: 5_000 });
  assert.deepEqual(await first.ended, { kind: 'cancelled' });
  // The name is free as soon as it has ended.
  assert.deepEqual((await run(launcher, order(['true']))).end, { kind: 'exited', exitCode: 0 });
});

test('launch() tells signals, time and memory apart', async (t) => {
  const launcher = start(t, newFolder(t));
  assert.deepEqual((await run(launcher, shell('kill -KILL $$'))).end, {
    kind: 'signalled',
    signal: 'SIGKILL',
  });
  assert.deepEqual((await run(launcher, shell('kill -USR1 $$'))).end, {
    kind: 'signalled',
    signal: 'SIGUSR1',
  });
  const slow = await run(launcher, shell('echo begun; exec sleep 60', { timeoutMs: 500 }));
  assert.deepEqual([slow.end, slow.stdout], [{ kind: 'timed-out' }, 'begun\n']);
  // It goes when it is told to, and says that all is well: it was too slow all the same.
  const polite = shell("trap 'exit 0' TERM; while :; do sleep 0.1; done", { timeoutMs: 500 });
  assert.deepEqual((await run(launcher, polite)).end, { kind: 'timed-out' });
});

test('launch() loses nothing of what a command writes before anybody listens, and keeps no flood of it', async (t) => {
  const launcher = start(t, newFolder(t));
  const pieces = 200_000;
  const ended = await run(launcher, shell(`seq ${pieces}; exit 4`));
  assert.deepEqual(ended.end, { kind: 'exited', exitCode: 4 });
  assert.equal(ended.stdout.trim().split('\n').length, pieces);
  const flood = await launcher.launch(shell('cat /dev/zero'));
  await pause(500);
  const before = process.memoryUsage();
  await pause(1_500);
  const { rss } = process.memoryUsage();
  assert(rss - before.rss < 16 * MiB, `${rss - before.rss} bytes more`);
  await flood.stop({ graceMs: 1_000 });
});

test('launch() refuses what cannot be started, and says why', async (t) => {
  const launcher = start(t, newFolder(t));
  const refused = (one: Launch, message: RegExp) =>
    assert.rejects(launcher.launch(one), (error: Error) => {
      assert(isAppError(error, 'unprocessable'), String(error));
      assert.match(error.message, message);
      return true;
    });
  for (let round = 0; round < 10; round += 1)
    await refused(order(['/no/such/program']), /"\/no\/such\/program": it cannot be executed: No such file/);
  await refused(order(['no-such-program']), /cannot be executed: No such file/);
  await refused(order(['/etc/passwd']), /cannot be executed: Permission denied/);
  await refused(order(['true'], { user: 'nobody-of-that-name' }), /no such user/);
  await refused(order(['true'], { user: 'root' }), /nothing foreign runs as root/);
  // env(1) would take it for a variable, and start what comes after it.
  await refused(order(['/usr/bin/a=b', 'true']), /has a "=", which no program has/);
  // What it looks like when it was started is none of these.
  assert.deepEqual((await run(launcher, shell('exit 127'))).end, { kind: 'exited', exitCode: 127 });
  assert.deepEqual((await run(launcher, shell('exit 217'))).end, { kind: 'exited', exitCode: 217 });
});

test('E14: launch() gives the command its environment and nothing else, no rights, no place to write', async (t) => {
  const launcher = start(t, newFolder(t));
  const env = { PATH, GIVEN: 'a $HOME %n\n"b"', EMPTY: '' };
  const { stdout } = await run(launcher, order(['/usr/bin/env', '-0'], { env }));
  assert.deepEqual(
    Object.fromEntries(
      stdout
        .split('\0')
        .slice(0, -1)
        .map((one) => one.split(/=(.*)/s).slice(0, 2)),
    ),
    env,
  );
  const looks = await run(
    launcher,
    shell(`id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ulimit -c; umask
      echo $(ls /proc/self/fd)
      for place in / /etc /var/lib /run /home /root /dev /sys/fs/cgroup /proc/sys/kernel /run/ends-*; do
        if ( : > "$place/planted" ) 2>/dev/null; then echo "wrote to $place"; fi
      done
      : > /tmp/own && echo own temporary folder`),
  );
  const [uid, ...lines] = looks.stdout.trim().split('\n');
  assert(Number(uid) >= 61_184 && Number(uid) <= 65_519, `uid ${uid} is none of systemd's dynamic users`);
  assert.deepEqual(
    lines.map((line) => line.replaceAll('\t', ' ')),
    [
      'CapEff: 0000000000000000',
      'CapBnd: 0000000000000000',
      'NoNewPrivs: 1',
      'Seccomp: 2',
      '0',
      '0077',
      // The last is that of ls, for the folder.
      '0 1 2 3',
      'own temporary folder',
    ],
  );
  assert(!existsSync('/tmp/own'));
  const named = await run(launcher, order(['id', '-un'], { user: 'daemon' }));
  assert.equal(named.stdout, 'daemon\n');
});

test('E15: launch() takes every word of the command as it is', async (t) => {
  const launcher = start(t, newFolder(t));
  const words = [
    ...[
      '$HOME',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it has to arrive as it is
      '${HOME}',
      '$$',
      '$',
      '$$HOME',
      '${',
      '$(id)',
      '`id`',
      '%n',
      '%%',
      '%i',
      '%',
      '%H %t',
      '\\',
      '\\n',
    ],
    ...[
      '"',
      "'",
      `"'"`,
      '',
      ' ',
      '\t',
      'a\nb',
      '\n',
      '; id',
      '| id',
      '&& id',
      '> /tmp/x',
      '*',
      '~',
      '#',
      '!',
      '{a,b}',
    ],
    ...[
      '-',
      '--',
      '--help',
      '-p',
      'A=B',
      '=',
      '\u0001',
      '\u007f',
      'ä\u{1F600}',
      '\\x41',
      '\\$',
      '@',
      ':',
      '+',
      'x'.repeat(20_000),
    ],
  ];
  const env = { PATH, ...Object.fromEntries(words.map((word, index) => [`WORD_${index}`, word])) };
  const { stdout, stderr } = await run(launcher, order(['/usr/bin/printf', '%s\\0', ...words], { env }));
  assert.equal(stderr, '');
  assert.deepEqual(stdout.split('\0').slice(0, -1), words);
  const given = await run(launcher, order(['/usr/bin/env', '-0'], { env }));
  assert.deepEqual(
    new Set(given.stdout.split('\0')),
    new Set([...Object.entries(env).map((one) => one.join('=')), '']),
  );
});

test('E11: an output flood is read at a bounded pace, and ends with the step', async (t) => {
  const launcher = start(t, newFolder(t));
  const flood = await launcher.launch(shell('cat /dev/zero & cat /dev/urandom >&2', { timeoutMs: 4_000 }));
  let bytes = 0;
  flood.onOutput((_, chunk) => {
    bytes += chunk.length;
  });
  const [cpu, beganMs] = [process.cpuUsage(), performance.now()];
  assert.deepEqual(await flood.ended, { kind: 'timed-out' });
  const wallMs = performance.now() - beganMs;
  const { user, system } = process.cpuUsage(cpu);
  const share = (user + system) / 1_000 / wallMs;
  t.diagnostic(
    `${Math.round(bytes / MiB)} MiB in ${Math.round(wallMs)} ms took ${Math.round(share * 100)} % of a core`,
  );
  assert(bytes > 10 * MiB, `only ${bytes} bytes came`);
  assert(share < 0.5, `${share} of a core`);
  assert.deepEqual(processesOfSteps(), []);
});

/** As the kernel counts them: whoever counts what is in /proc counts one that has ended with those that came after. */
async function tasksOf(step: string): Promise<number> {
  const unit = processesOfSteps().find((one) => one.unit.includes(step))?.unit;
  if (unit === undefined) return 0;
  const words = ['show', '--property=TasksCurrent', '--value', '--', unit];
  const { stdout } = await promisify(execFile)('systemctl', words);
  const tasks = Number(stdout);
  // "[not set]": it has ended meanwhile.
  return Number.isNaN(tasks) ? 0 : tasks;
}

test('E12: a fork bomb and a memory hog stay in their unit', async (t) => {
  const launcher = start(t, newFolder(t));
  const bomb = await launcher.launch(
    shell('b() { b | b & }; b; sleep 60', {
      name: 'bomb',
      timeoutMs: 5_000,
      limits: { memoryBytes: 64 * MiB, tasks: 32, cpuPercent: 20 },
    }),
  );
  const hog = launcher.launch(
    order(['tail', '/dev/zero'], {
      name: 'hog',
      timeoutMs: 60_000,
      limits: { memoryBytes: 32 * MiB, tasks: 8, cpuPercent: 50 },
    }),
  );
  const others: number[] = [];
  let most = 0;
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      const beganMs = performance.now();
      await new Promise((resolve) => execFile('true', resolve));
      others.push(performance.now() - beganMs);
      most = Math.max(most, await tasksOf('bomb'));
      await pause(20);
    }
  })();
  // Version 2 of control groups says whose memory ran out; of version 1 all that is known is the signal.
  assert.deepEqual(
    await (await hog).ended,
    isUnified() ? { kind: 'out-of-memory' } : { kind: 'signalled', signal: 'SIGKILL' },
  );
  // Whether its first process ends by itself or is ended: what it has started goes with it.
  await bomb.ended;
  isOver = true;
  await watching;
  const slowest = Math.max(...others);
  t.diagnostic(`${most} processes at most; meanwhile a new process took ${Math.round(slowest)} ms at most`);
  // The shell that tells of the end is moved into the group, also when that is full.
  assert(most > 1 && most <= 32 + 1, `${most} processes of the bomb`);
  assert(slowest < 2_000, `a new process took ${slowest} ms`);
  assert.deepEqual(processesOfSteps(), []);
});

test('E13: nothing of a step outlives it: grandchildren, other sessions, deaf ones, stopped ones', async (t) => {
  const launcher = start(t, newFolder(t));
  const family = `setsid sh -c 'sleep 1000 & sleep 1000' &
    (setsid sh -c 'trap "" TERM HUP; while :; do sleep 1000; done' &)
    sh -c 'kill -STOP $$' & env -i setsid sleep 1000 &`;
  const timedOut = await launcher.launch(shell(`${family} sleep 1000`, { name: 'slow', timeoutMs: 2_000 }));
  const left = await launcher.launch(shell(`${family} echo done`, { name: 'quick' }));
  const stopped = await launcher.launch(shell(`${family} sleep 1000`, { name: 'stopped' }));
  await until(() => processesOfSteps().filter(({ unit }) => unit.includes('stopped')).length >= 5);
  await stopped.stop({ graceMs: 200 });
  assert.deepEqual(await stopped.ended, { kind: 'cancelled' });
  assert.deepEqual(
    processesOfSteps().filter(({ unit }) => unit.includes('stopped')),
    [],
  );
  assert.deepEqual(await timedOut.ended, { kind: 'timed-out' });
  // How the command itself ended is its result, also when what it left behind had to be killed.
  assert.deepEqual(await left.ended, { kind: 'exited', exitCode: 0 });
  assert.deepEqual(processesOfSteps(), []);
});

/** A runner as a process of its own, which can be killed; it launches one order after another. */
function otherRunner(folder: string, orders: readonly Launch[]) {
  const file = join(import.meta.dirname, 'launching.ts');
  // A group of its own, because a runner's unit is ended with the systemd-run that it has started.
  const child = spawn(process.execPath, [file, folder, JSON.stringify(orders)], {
    stdio: ['ignore', 'pipe', 2],
    detached: true,
  });
  let stdout = '';
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    started: (name: string) =>
      until(() => stdout.includes(`started ${name}\n`), `${name} was not started`, 20_000),
    async kill() {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
      await exited;
    },
  };
}

test('E3: a step goes on when its runner is killed, the next runner adopts it and hears how it ends', async (t) => {
  const folder = newFolder(t);
  const flag = join(folder, '../go-on');
  rmSync(flag, { force: true });
  const waits = (name: string, exitCode: number) =>
    shell(`while ! [ -e ${flag} ]; do sleep 0.05; done; exit ${exitCode}`, { name });
  const runner = otherRunner(folder, [waits('later', 7), shell('sleep 1; exit 5', { name: 'meanwhile' })]);
  await runner.started('later');
  await runner.started('meanwhile');
  await runner.kill();
  // One of them ends while nobody is there.
  await until(() => readdirSync(folder).some((name) => /^holdfast-step-meanwhile\.[\d.]+\.test$/.test(name)));

  const launcher = start(t, folder);
  const beganMs = Date.now();
  const adopted = new Map((await launcher.adopt()).map((one) => [one.name, one]));
  assert.deepEqual([...adopted.keys()].sort(), ['later', 'meanwhile']);
  for (const one of adopted.values())
    assert(one.adopted && one.startedAtMs < beganMs && one.startedAtMs > beganMs - 60_000);
  assert.deepEqual(await adopted.get('meanwhile')?.ended, { kind: 'exited', exitCode: 5 });
  await assert.rejects(launcher.launch(waits('later', 0)), (error) => isAppError(error, 'conflict'));
  // Also systemd may read its units anew meanwhile.
  execFileSync('systemctl', ['daemon-reload']);
  execFileSync('touch', [flag]);
  t.after(() => rmSync(flag));
  assert.deepEqual(await adopted.get('later')?.ended, { kind: 'exited', exitCode: 7 });
  // What was told is not told to the runner after.
  await until(() => readdirSync(folder).length === 0);
  await launcher.close({ stop: false });
  assert.deepEqual(await start(t, folder).adopt(), []);
});

test('E3: wherever in a launch the runner is killed, there is one copy at most, and the next runner knows it', async (t) => {
  const counts = { none: 0, running: 0 };
  for (let round = 0; round < 12; round += 1) {
    const folder = newFolder(t);
    const runner = otherRunner(folder, [
      order(['sleep', '1000'], { name: 'first' }),
      order(['sleep', '1000']),
    ]);
    await runner.started('first');
    await pause(round * 4);
    await runner.kill();
    const launcher = start(t, folder);
    // systemd may have been asked already, and not yet have started it.
    await until(() => execFileSync('systemctl', ['list-jobs', '--no-legend']).length === 0);
    const names = (await launcher.adopt()).map(({ name }) => name);
    counts[names.includes('look') ? 'running' : 'none'] += 1;
    assert.deepEqual(names.toSorted(), names.includes('look') ? ['first', 'look'] : ['first']);
    // What it does not know is not there: a new one is the only one.
    if (!names.includes('look')) await launcher.launch(order(['sleep', '1000']));
    assert.deepEqual(
      processesOfSteps()
        .map(({ unit, words }) => `${unit.split('.')[0]}: ${words}`)
        .toSorted(),
      ['holdfast-step-first: sleep 1000 ', 'holdfast-step-look: sleep 1000 '],
    );
    await launcher.close({ stop: true });
    assert.deepEqual(processesOfSteps(), []);
  }
  t.diagnostic(`killed ${counts.none} times before it was asked for, ${counts.running} times after`);
});

test('a unit that cannot tell its end is lost, and one that no name explains is ended', async (t) => {
  const folder = newFolder(t);
  const launcher = start(t, folder);
  const running = await launcher.launch(shell('sleep 1; exit 0'));
  renameSync(folder, `${folder}-away`);
  t.after(() => rmSync(`${folder}-away`, { recursive: true, force: true }));
  const end = await running.ended;
  assert(end.kind === 'lost' && end.detail.includes('has not told'), JSON.stringify(end));

  execFileSync('systemd-run', ['--quiet', '--unit=holdfast-step-Strange', '--', 'sleep', '1000']);
  assert.deepEqual(await start(t, newFolder(t)).adopt(), []);
  await until(() => processesOfSteps().length === 0);
});

test('what another runner has started is neither adopted nor ended, and no folder of ends is a link', async (t) => {
  const folder = newFolder(t);
  const running = await start(t, folder).launch(order(['sleep', '1000']));
  assert.deepEqual(await start(t, newFolder(t), 'other').adopt(), []);
  assert.deepEqual(await start(t, folder, 'other').adopt(), []);
  const again = start(t, folder, 'other');
  const second = await again.launch(order(['sh', '-c', 'exit 3']));
  assert.deepEqual(await second.ended, { kind: 'exited', exitCode: 3 });
  assert.equal(processesOfSteps().length, 1);
  await running.stop({ graceMs: 1_000 });

  const link = join(newFolder(t), 'ended');
  symlinkSync('/etc', link);
  assert.throws(() => start(t, link), /it is not a folder of uid 0 that is closed to others; remove it/);
});

test('close() without a stop leaves what runs to the next runner', async (t) => {
  const folder = newFolder(t);
  const first = start(t, folder);
  await first.launch(order(['sleep', '1000']));
  await first.close({ stop: false });
  const [adopted] = await start(t, folder).adopt();
  assert.equal(adopted?.name, 'look');
  await adopted.stop({ graceMs: 1_000 });
  assert.deepEqual(await adopted.ended, { kind: 'cancelled' });
});

test('a step is scored, and cannot be started without a message bus, which is said', async (t) => {
  const launcher = start(t, newFolder(t));
  const running = await launcher.launch(order(['sleep', '1000']));
  const [unit = ''] = processesOfSteps().map((one) => one.unit);
  const score = execFileSync('systemd-analyze', ['security', '--no-pager', unit], { encoding: 'utf8' });
  t.diagnostic(score.trim().split('\n').at(-1)?.replace(/^\S* /, '') ?? '');
  await running.stop({ graceMs: 1_000 });
  execFileSync('systemctl', ['stop', 'dbus.socket', 'dbus.service']);
  t.after(() => execFileSync('systemctl', ['start', 'dbus.socket']));
  await assert.rejects(launcher.launch(order(['true'])), (error: Error) => {
    assert(isAppError(error, 'unavailable'));
    assert.match(error.message, /install dbus, and see that dbus.service runs/);
    return true;
  });
});
