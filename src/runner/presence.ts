/**
 * Who has this data directory: one runner at a time, and whether the one before ended by itself. A file and not a lock,
 * because the kernel's locks are out of Node's reach, and it is to say both.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { removeFile, writeFileAtomic } from '../base/atomic-file.ts';
import type { Random } from '../base/random.ts';
import { AppError } from '../domain/error.ts';
import { readStat } from './processes.ts';

export interface Presence {
  /** The runner before this one was killed, or the machine lost its power. */
  readonly crashed: boolean;
  /** Ended by itself. */
  leave(): Promise<void>;
}

interface Holder {
  readonly pid: number;
  readonly startTicks: number;
  readonly bootId: string;
}

/** `conflict` while another runner is there. */
export async function enter(options: {
  readonly file: string;
  readonly dataDir: string;
  readonly random: Random;
}): Promise<Presence> {
  const { file, dataDir, random } = options;
  const before = await readHolder(file);
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const isThere =
    before !== null && before.bootId === bootId && readStat(before.pid)?.startTicks === before.startTicks;
  if (isThere)
    throw new AppError(
      'conflict',
      `Cannot use data directory "${dataDir}": a runner uses it already (process ${before.pid}); stop that one, or name another with --data-dir`,
      { field: 'dataDir' },
    );
  const { pid } = process;
  const own: Holder = { pid, startTicks: readStat(pid)?.startTicks ?? 0, bootId };
  await writeFileAtomic(file, `${JSON.stringify(own)}\n`, { mode: 0o600, random });
  // A machine that was restarted took its runner with it, and that is nobody's fault.
  return { crashed: before !== null && before.bootId === bootId, leave: () => removeFile(file) };
}

async function readHolder(file: string): Promise<Holder | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Holder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return null;
    throw error;
  }
}
