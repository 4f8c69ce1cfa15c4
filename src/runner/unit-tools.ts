/** The tools of systemd, as the launcher of transient units calls them. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { AppError } from '../domain/error.ts';
import { handOver } from './input.ts';
import { envProgram, unitPattern } from './unit-words.ts';

/** Nothing of the runner's own: there may be secrets in it. */
const toolEnvironment = { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LANG: 'C.UTF-8' };
/** systemd answers within milliseconds, also while it is busy. */
const answerMs = 30_000;

/** What systemd has of a unit. */
export async function stateOf(
  unit: string,
): Promise<{ isLoaded: boolean; isActive: boolean; mainPid: number }> {
  const { stdout } = await systemctl(['show', '--property=LoadState,ActiveState,MainPID', '--', unit]);
  const values = new Map(stdout.split('\n').map((line) => line.split('=', 2) as [string, string]));
  return {
    // One that has ended is unloaded, which --collect asks for.
    isLoaded: values.get('LoadState') === 'loaded',
    isActive: values.get('ActiveState') === 'active',
    mainPid: Number(values.get('MainPID') ?? 0),
  };
}

/** Whether the unit's own program runs, and not that which starts it. */
export async function isRunning(unit: string, program: string): Promise<boolean> {
  const { isActive, mainPid } = await stateOf(unit);
  if (!isActive || mainPid === 0) return false;
  try {
    const comm = readFileSync(`/proc/${mainPid}/comm`, 'utf8').trim();
    return comm !== basename(envProgram) || basename(program) === basename(envProgram);
  } catch {
    // It has ended, and the unit will tell how.
    return false;
  }
}

/** The units of all steps, also of other runners. `unavailable` when systemd does not answer. */
export async function listUnits(): Promise<string[]> {
  const { code, stdout, stderr } = await systemctl([
    'list-units',
    '--all',
    '--plain',
    '--no-legend',
    '--',
    unitPattern,
  ]);
  if (code !== 0)
    throw new AppError('unavailable', `Cannot list the units of steps: systemctl failed: ${stderr.trim()}`);
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split(' ')[0] ?? '']));
}

/** Rejects with `unavailable` only where the tool cannot be used; else `code` says how it ended. */
export function systemctl(
  words: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      env: toolEnvironment,
      timeout: answerMs,
      killSignal: 'SIGKILL',
      encoding: 'utf8',
    } as const;
    execFile(
      'systemctl',
      ['--system', '--no-pager', '--no-ask-password', ...words],
      options,
      (error, stdout, stderr) => {
        if (error === null) resolve({ code: 0, stdout, stderr });
        else if (typeof error.code === 'number') resolve({ code: error.code, stdout, stderr });
        else reject(toolFailure('systemctl', error));
      },
    );
  });
}

/** Starts a tool whose output is read, with `input` on its stdin; `unavailable` when it is not there. */
export function spawnTool(program: string, argv: readonly string[], input?: string): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, {
      cwd: '/',
      env: toolEnvironment,
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    handOver(child, input);
    child.once('spawn', () => resolve(child));
    child.once('error', (error) => reject(toolFailure(program, error)));
  });
}

function toolFailure(program: string, error: Error): AppError {
  const { code } = error as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? 'it is not there; install the package systemd' : error.message;
  return new AppError('unavailable', `Cannot use ${program}: ${why}`, { cause: error });
}
