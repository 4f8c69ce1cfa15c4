/** What /proc says of the processes of this machine (proc(5)). One that ends meanwhile is one that is not there. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface ProcessStat {
  readonly pid: number;
  /** As the kernel has it, at most 15 characters; whoever runs may change it. */
  readonly name: string;
  /** Ended, and only waits to be asked how. */
  readonly isZombie: boolean;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** In ticks since the machine was started: with the pid it names one process and no other. */
  readonly startTicks: number;
  readonly threads: number;
  /** Pages that are in memory; what several share counts for each of them. */
  readonly residentPages: number;
}

/** All pids, in no order. */
export function listPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Undefined when there is no such process. */
export function readStat(pid: number): ProcessStat | undefined {
  const text = readProc(pid, 'stat');
  if (text === undefined) return undefined;
  // The name is whatever the process likes, also with parentheses and spaces in it; the last one closes it.
  const [open, close] = [text.indexOf('('), text.lastIndexOf(')')];
  const [state, parent, group, session, ...rest] = text.slice(close + 2).split(' ');
  return {
    pid,
    name: text.slice(open + 1, close),
    isZombie: state === 'Z' || state === 'X',
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    startTicks: Number(rest[15]),
    threads: Number(rest[13]),
    residentPages: Number(rest[17]),
  };
}

/** The value of a variable in the environment that a process was started with; undefined also where we may not look. */
export function readVariable(pid: number, name: string): string | undefined {
  const text = readProc(pid, 'environ');
  if (text === undefined) return undefined;
  const start = `${name}=`;
  return text
    .split('\0')
    .find((one) => one.startsWith(start))
    ?.slice(start.length);
}

/** The path of the program that a process runs; undefined for the kernel's own, and where we may not look. */
export function readProgram(pid: number): string | undefined {
  try {
    // A program that was replaced while it runs, as by an upgrade, is still the one of that name.
    return readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '');
  } catch {
    return undefined;
  }
}

/** The words that a process was started with. */
export function readArguments(pid: number): readonly string[] {
  return (readProc(pid, 'cmdline') ?? '').split('\0').slice(0, -1);
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    // ENOENT and ESRCH: it has ended. EACCES: it is somebody else's.
    return undefined;
  }
}
