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
export async function look(
  deed: Extract<Deed, { kind: 'process' | 'systemd' }>,
  options: LookOptions,
): Promise<StepEnd> {
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

/** What systemd says of a property of a unit. `unprocessable` as `look`; details.reason `no-systemd` without systemd. */
export async function readUnit(
  { unit, property, timeoutMs }: Extract<Deed, { kind: 'unit' }>,
  options: LookOptions,
): Promise<{ readonly end: StepEnd; readonly stdout: string }> {
  const members = await membersOf(unit, ['LoadState', property], { ...options, timeoutMs });
  if (members === 'timed-out') return { end: { kind: 'timed-out' }, stdout: '' };
  const load = members.get('LoadState') ?? '';
  return load === 'loaded'
    ? { end: { kind: 'passed', detail: load }, stdout: members.get(property) ?? '' }
    : { end: { kind: 'failed', detail: `unit is ${load}` }, stdout: '' };
}

async function lookAtUnit(
  { unit, timeoutMs }: Extract<Deed, { kind: 'systemd' }>,
  options: LookOptions,
): Promise<StepEnd> {
  const asked = ['LoadState', 'ActiveState', 'SubState'];
  const members = await membersOf(unit, asked, { ...options, timeoutMs });
  if (members === 'timed-out') return { kind: 'timed-out' };
  const [load, active, sub] = asked.map((name) => members.get(name) ?? '');
  const detail = load === 'loaded' ? `${active} (${sub})` : `unit is ${load}`;
  return { kind: active === 'active' || active === 'reloading' ? 'passed' : 'failed', detail };
}

/** A property that a unit has several times, as `ExecStart`, has a line for each. */
async function membersOf(
  unit: string,
  properties: readonly string[],
  options: LookOptions & { readonly timeoutMs: number },
): Promise<ReadonlyMap<string, string> | 'timed-out'> {
  const { systemdFolder = '/run/systemd/system' } = options;
  if (!existsSync(systemdFolder))
    throw new AppError('unprocessable', `Cannot look at unit "${unit}": this host does not run systemd`, {
      details: { reason: 'no-systemd' },
    });
  const output = await askSystemd(unit, properties, options);
  if (output === 'timed-out') return output;
  const members = new Map<string, string>();
  for (const line of output.split('\n')) {
    const [name = ''] = line.split('=', 1);
    const value = line.slice(name.length + 1);
    const before = members.get(name);
    members.set(name, before === undefined ? value : `${before}\n${value}`);
  }
  return members;
}

function askSystemd(
  unit: string,
  properties: readonly string[],
  { clock, systemctl = 'systemctl', timeoutMs }: LookOptions & { readonly timeoutMs: number },
): Promise<string> {
  const late = new AbortController();
  const cancel = clock.after(timeoutMs, () => late.abort());
  const words = ['show', `--property=${properties.join()}`, '--', unit];
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
