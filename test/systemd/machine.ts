/**
 * A Debian of its own, booted: systemd as its first process, nothing of this machine's processes, and no network but its
 * own loopback. What a test does to it is gone with it.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { until } from '../helpers/until.ts';
import { makeControlGroups } from './control-groups.ts';
import { copyDebianRoot } from './debian-root.ts';

const BOOT_MS = 45_000;
const POWER_OFF_MS = 20_000;
const COMMAND_MS = 60_000;
const OUTPUT_BYTES = 16 * 1024 * 1024;

/** SIGRTMIN+4, which Linux gives no other name: systemd takes it for an orderly power-off. */
const POWER_OFF = 38;

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
}

export interface Machine {
  /** Its name on this machine: of its folder, and of what else it needs while it runs. */
  readonly id: string;
  /** Its root file system, seen from outside; what its tmpfs hold too. */
  readonly root: string;
  /** Runs a command as its root, and gives what it wrote to stdout. Throws, with the journal's end, when it fails. */
  run(command: readonly string[], options?: CommandOptions): Promise<string>;
  /** `run` of a shell's script, which ends at the first command that fails; without the last newline. */
  sh(script: string, options?: CommandOptions): Promise<string>;
  /** As `run`, whatever the exit code. */
  attempt(command: readonly string[], options?: CommandOptions): Promise<Output>;
  /** Everything since the boot, of one unit or all. */
  journal(unit?: string): Promise<string>;
  /** In an orderly way. The root file system stays until the test ends. */
  powerOff(): Promise<void>;
}

export interface MachineOptions {
  readonly name?: string;
  /** Folders and files of this machine that it may read: outside → inside. */
  readonly readable?: Readonly<Record<string, string>>;
}

/** Boots one; when the test or suite `t` ends, it is ended too, and nothing of it is left. */
export async function startMachine(
  t: { after(fn: () => Promise<void>): void },
  options: MachineOptions = {},
): Promise<Machine> {
  const { name = 'edge-1', readable = {} } = options;
  const folder = await copyDebianRoot();
  const root = join(folder, 'root');
  writeFileSync(join(root, 'etc/hostname'), `${name}\n`);
  writeFileSync(join(root, 'etc/hosts'), `127.0.0.1 localhost ${name}\n`);
  // Empty: the boot gives it one of its own.
  writeFileSync(join(root, 'etc/machine-id'), '');

  const id = basename(folder).toLowerCase();
  const { child, remove } = boot(`holdfast-${id}`, root, readable);
  let console = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    console += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    console += text;
  });
  const exited = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', (error) => {
      console += String(error);
      resolve();
    });
  });
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
  let leader: number | undefined;
  const end = async () => {
    const cancel = setTimeout(() => {
      child.kill('SIGKILL');
      // Its first process does not go with it, and all others go with that one.
      if (leader !== undefined) process.kill(leader, 'SIGKILL');
    }, POWER_OFF_MS);
    if (!hasEnded()) child.kill('SIGTERM');
    await exited;
    clearTimeout(cancel);
  };
  t.after(async () => {
    await end();
    await remove();
    rmSync(folder, { recursive: true, force: true });
  });

  leader = await until(
    () => {
      assert(!hasEnded(), `the machine ended while it booted; its console:\n${console}`);
      return leaderOf(child.pid ?? -1);
    },
    () => `systemd-nspawn started no init; its console:\n${console}`,
    BOOT_MS,
  );
  const pid = leader;
  const attempt = (command: readonly string[], more: CommandOptions = {}) => enter(pid, command, more);
  const journal = async (of?: string) =>
    (
      await attempt([
        'journalctl',
        '--no-pager',
        '--output=short-monotonic',
        ...(of === undefined ? [] : ['-u', of]),
      ])
    ).stdout;
  const run = async (command: readonly string[], more: CommandOptions = {}) => {
    const { code, stdout, stderr } = await attempt(command, more);
    if (code === 0) return stdout;
    const tail = (await journal()).split('\n').slice(-40).join('\n');
    throw new Error(
      `${command.join(' ')}: exit ${code}, expected 0\n${stdout}${stderr}\nthe journal's end:\n${tail}`,
    );
  };
  let state = '';
  await until(
    async () => {
      assert(!hasEnded(), `the machine ended while it booted; its console:\n${console}`);
      state = (await attempt(['systemctl', 'is-system-running'])).stdout.trim();
      return ['running', 'degraded'].includes(state);
    },
    'never',
    BOOT_MS,
  ).catch(() => undefined);
  if (state !== 'running') throw new Error(`the machine is "${state}" after its boot:\n${await journal()}`);
  return {
    id,
    root: `/proc/${pid}/root`,
    attempt,
    run,
    sh: async (script, more) => (await run(['sh', '-euc', script], more)).replace(/\n$/, ''),
    journal,
    powerOff: end,
  };
}

function boot(
  name: string,
  root: string,
  readable: Readonly<Record<string, string>>,
): { child: ChildProcess; remove: () => Promise<void> } {
  const nspawn = [
    'systemd-nspawn',
    `--directory=${root}`,
    `--machine=${name}`,
    '--private-network',
    '--resolv-conf=off',
    '--timezone=off',
    '--link-journal=no',
    '--console=pipe',
    `--kill-signal=${POWER_OFF}`,
    ...Object.entries(readable).map(([outside, inside]) => `--bind-ro=${outside}:${inside}`),
  ];
  const stdio = ['ignore', 'pipe', 'pipe'] as const;
  // Where systemd runs already, it gives the machine a group of its own, with every controller.
  if (existsSync('/run/systemd/system')) {
    const child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...nspawn, '--boot'], { stdio: [...stdio] });
    return { child, remove: () => Promise.resolve() };
  }
  const groups = makeControlGroups(name);
  const script =
    'for group; do [ "$group" != -- ] || break; echo $$ > "$group/cgroup.procs"; shift; done; shift; exec "$@"';
  const remount = groups.controllers.map((path) => `mount -o remount,bind,rw ${path} && `).join('');
  const child = spawn(
    'setpriv',
    [
      // A test that is killed leaves no machine behind.
      '--pdeathsig=KILL',
      ...['--', 'sh', '-euc', script, 'sh', ...groups.folders, '--'],
      ...nspawn,
      ...['--register=no', '--keep-unit', '--', '/bin/sh', '-c', `${remount}exec /lib/systemd/systemd`],
    ],
    { stdio: [...stdio] },
  );
  return {
    child,
    async remove() {
      await groups.remove();
      // It would remove this one itself, but not where /run is no tmpfs.
      rmSync(`/run/systemd/nspawn/propagate/${name}`, { recursive: true, force: true });
    },
  };
}

/** The machine's first process, once it is systemd. */
function leaderOf(pid: number): number | undefined {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    if (child === undefined || child === '') return undefined;
    return readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'systemd' ? Number(child) : undefined;
  } catch {
    // Gone between two looks.
    return undefined;
  }
}

function enter(leader: number, command: readonly string[], options: CommandOptions): Promise<Output> {
  const { timeoutMs = COMMAND_MS, input = '' } = options;
  const argv = [
    `--target=${leader}`,
    '--all',
    '--',
    // Nothing of whoever runs the tests.
    ...[
      'env',
      '-i',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'HOME=/root',
      'LANG=C.UTF-8',
    ],
    // Inside, where it reaches the command itself: what is outside is only the way in.
    ...['timeout', '--kill-after=5', String(timeoutMs / 1_000)],
    ...command,
  ];
  return new Promise((resolve, reject) => {
    const child = execFile(
      'nsenter',
      argv,
      { timeout: timeoutMs + 15_000, killSignal: 'SIGKILL', maxBuffer: OUTPUT_BYTES, encoding: 'utf8' },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ code: 0, stdout, stderr });
        if (typeof error.code === 'number') return resolve({ code: error.code, stdout, stderr });
        reject(new Error(`${command.join(' ')}: ${error.message}\n${stdout}${stderr}`, { cause: error }));
      },
    );
    // A command that does not read closes its end.
    child.stdin?.on('error', () => undefined).end(input);
  });
}
