/** Looks: steps that start nothing foreign. `process` reads /proc, `systemd` asks systemctl. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { AppError } from '../domain/error.ts';
import type { Deed, StepEnd } from '../domain/step.ts';
import { listPids, type ProcessStat, readArguments, readProgram, readStat } from './processes.ts';

export interface LookOptions {
  readonly clock: Clock;
  /** Only for tests: another program in place of `systemctl`, and where systemd says that it runs. */
  readonly systemctl?: string;
  readonly systemdFolder?: string;
}

/** `unprocessable` where what it asks for does not exist. */
export async function look(deed: Exclude<Deed, { kind: 'command' }>, options: LookOptions): Promise<StepEnd> {
  return deed.kind === 'process' ? lookForProcess(deed.name) : lookAtUnit(deed, options);
}

/**
 * Whether a process runs a program of this file name, or at this path when it begins with `/`. A script is found by the
 * name that the kernel gives it, and by its own path, as its interpreter was told it.
 */
export function lookForProcess(name: string): StepEnd {
  for (const pid of listPids()) {
    if (pid === process.pid) continue;
    const stat = readStat(pid);
    if (stat !== undefined && !stat.isZombie && !stat.isKernel && runs(stat, name))
      return { kind: 'passed', detail: `process ${pid}` };
  }
  return { kind: 'failed', detail: `no process runs ${name}` };
}

function runs({ pid, name: called }: ProcessStat, name: string): boolean {
  const isPath = name.startsWith('/');
  // Which file it runs is told to few; as what it was started, to everybody.
  const program = readProgram(pid) ?? readArguments(pid)[0] ?? '';
  if (isPath) return program === name || readArguments(pid)[1] === name;
  if (basename(program) === name) return true;
  if (called !== name.slice(0, nameLengthMax)) return false;
  // The kernel has cut it, and others begin like it: then it stands among the words too, behind those of an interpreter.
  return (
    name.length <= nameLengthMax ||
    readArguments(pid)
      .slice(0, 3)
      .some((word) => basename(word) === name)
  );
}

/** TASK_COMM_LEN of the kernel, without its NUL. */
const nameLengthMax = 15;

async function lookAtUnit(
  { unit, timeoutMs }: Extract<Deed, { kind: 'systemd' }>,
  { clock, systemctl = 'systemctl', systemdFolder = '/run/systemd/system' }: LookOptions,
): Promise<StepEnd> {
  if (!existsSync(systemdFolder))
    throw new AppError('unprocessable', `Cannot look at unit "${unit}": this host does not run systemd`);
  const output = await askSystemd(clock, systemctl, timeoutMs, unit);
  if (output === 'timed-out') return { kind: 'timed-out' };
  const members = new Map(
    output.split('\n').map((line) => [line.split('=', 1)[0], line.replace(/^[^=]*=/, '')]),
  );
  const [load, active, sub] = ['LoadState', 'ActiveState', 'SubState'].map((name) => members.get(name) ?? '');
  const detail = load === 'loaded' ? `${active} (${sub})` : `unit is ${load}`;
  return { kind: active === 'active' || active === 'reloading' ? 'passed' : 'failed', detail };
}

function askSystemd(clock: Clock, systemctl: string, timeoutMs: number, unit: string): Promise<string> {
  const late = new AbortController();
  const cancel = clock.after(timeoutMs, () => late.abort());
  const words = ['show', '--property=LoadState,ActiveState,SubState', '--', unit];
  const options = {
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
    signal: late.signal,
    killSignal: 'SIGKILL' as const,
  };
  return new Promise((resolve, reject) => {
    execFile(systemctl, words, options, (error, stdout, stderr) => {
      cancel();
      if (error === null) resolve(stdout);
      else if (late.signal.aborted) resolve('timed-out');
      else
        reject(
          new AppError('unprocessable', `Cannot look at unit "${unit}": ${stderr.trim() || error.message}`, {
            cause: error,
          }),
        );
    });
  });
}
