/** What /proc says of the processes of this machine (proc(5)). One that ends meanwhile is one that is not there. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';

export interface ProcessStat {
  readonly pid: number;
  /** As the kernel has it, at most 15 characters; whoever runs may change it. */
  readonly name: string;
  /** Ended, and only waits to be asked how. */
  readonly isZombie: boolean;
  /** A thread of the kernel: it runs no program, whatever it is called. */
  readonly isKernel: boolean;
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

/** PF_KTHREAD of the kernel's sched.h. */
const kernelThread = 0x200000;

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
    isKernel: (Number(rest[2]) & kernelThread) !== 0,
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

/** Bytes of a page of memory: 4 KiB on most machines, 16 or 64 KiB on many with arm64. */
export function pageBytes(auxv: Buffer = readFileSync('/proc/self/auxv')): number {
  // Pairs of words (getauxval(3)): what it is, and its value.
  for (let at = 0; at + 16 <= auxv.length; at += 16)
    if (auxv.readBigUInt64LE(at) === pageSizeEntry) return Number(auxv.readBigUInt64LE(at + 8));
  throw new Error('Cannot tell the size of a page: /proc/self/auxv does not have it');
}

/** AT_PAGESZ */
const pageSizeEntry = 6n;

/** Most files of /proc are shorter, and `stat` always is. */
const pieceBytes = 4_096;

/**
 * By hand, because `readFileSync` asks for the size first, which is 0: with hundreds of processes to look at, that and its
 * larger buffers are half of the time.
 */
function readProc(pid: number, file: 'stat' | 'environ' | 'cmdline'): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(`/proc/${pid}/${file}`, 'r');
    const pieces: Buffer[] = [];
    for (let last = pieceBytes; last > 0; ) {
      const piece = Buffer.allocUnsafe(pieceBytes);
      last = readSync(fd, piece, 0, pieceBytes, null);
      pieces.push(piece.subarray(0, last));
      if (file === 'stat') break;
    }
    const [only] = pieces;
    return (pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces)).toString('utf8');
  } catch {
    // ENOENT and ESRCH: it has ended. EACCES: it is somebody else's.
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
