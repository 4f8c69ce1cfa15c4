/**
 * Which processes belong to a step that was started without systemd: those whose environment carries its mark, those in
 * a session that it began, their children, and whoever was known to be one before. What one look cannot see is a process
 * that has cleared its environment, begun a session of its own and lost its parent, all between two looks.
 */
import { listPids, type ProcessStat, readStat, readVariable } from './processes.ts';

/** In the environment of each process of a step; its value is the step's mark. */
export const markVariable = 'HOLDFAST_STEP';

/** One look at all processes. The environment is read only of those that are asked for, and once of each. */
export class ProcessTable {
  readonly #stats: readonly ProcessStat[];
  /** By pid. */
  readonly #marks = new Map<number, string | undefined>();

  constructor() {
    this.#stats = listPids().flatMap((pid) => {
      const stat = readStat(pid);
      return stat === undefined || stat.isZombie || stat.isKernel ? [] : [stat];
    });
  }

  /** All but those that have ended. */
  get running(): readonly ProcessStat[] {
    return this.#stats;
  }

  /** The mark that a process carries; undefined without one. */
  markOf(pid: number): string | undefined {
    if (!this.#marks.has(pid)) this.#marks.set(pid, readVariable(pid, markVariable));
    return this.#marks.get(pid);
  }

  /** Marks of one owner (see `markOf`), with the processes that carry them, the oldest first. */
  marked(owner: string): ReadonlyMap<string, readonly ProcessStat[]> {
    const found = new Map<string, ProcessStat[]>();
    for (const stat of [...this.#stats].sort((a, b) => a.startTicks - b.startTicks || a.pid - b.pid)) {
      const mark = this.markOf(stat.pid);
      if (mark === undefined || !mark.startsWith(`${owner}.`)) continue;
      const others = found.get(mark);
      if (others === undefined) found.set(mark, [stat]);
      else others.push(stat);
    }
    return found;
  }
}

/** The processes of one step, as far as they were ever seen. */
export class Members {
  readonly #mark: string;
  /** Older ones cannot be any of it. */
  readonly #sinceTicks: number;
  /** A session keeps its number for as long as somebody is in it, so one that was seen empty is none of ours any more. */
  #sessions: ReadonlySet<number>;
  /** By pid, when it was started. */
  #known: ReadonlyMap<number, number> = new Map();

  constructor(options: { readonly mark: string; readonly session: number; readonly sinceTicks: number }) {
    this.#mark = options.mark;
    this.#sessions = new Set([options.session]);
    this.#sinceTicks = options.sinceTicks;
  }

  /** Those that run now. */
  find(table: ProcessTable): readonly ProcessStat[] {
    const candidates = table.running.filter(({ startTicks }) => startTicks >= this.#sinceTicks);
    const found = new Map<number, ProcessStat>();
    for (const stat of candidates) if (this.#isMember(stat, table)) found.set(stat.pid, stat);
    // Children of children: as often as somebody is found.
    for (let before = -1; before !== found.size; ) {
      before = found.size;
      for (const stat of candidates) if (found.has(stat.parent)) found.set(stat.pid, stat);
    }
    const all = [...found.values()];
    this.#sessions = new Set(all.map(({ session }) => session));
    this.#known = new Map(all.map(({ pid, startTicks }) => [pid, startTicks]));
    return all;
  }

  #isMember({ pid, session, startTicks }: ProcessStat, table: ProcessTable): boolean {
    return (
      this.#known.get(pid) === startTicks || this.#sessions.has(session) || table.markOf(pid) === this.#mark
    );
  }
}

/** Sends a signal to processes and to the groups that they are in, which also takes those that are just being made. */
export function signalAll(processes: readonly ProcessStat[], signal: NodeJS.Signals): void {
  const groups = new Set(processes.map(({ group }) => group));
  for (const group of groups) send(-group, signal);
  for (const { pid, group } of processes) if (group <= 1) send(pid, signal);
}

function send(target: number, signal: NodeJS.Signals): void {
  // Never everybody: kill(2) takes -1 for that, and 0 for our own group.
  if (target === 0 || target === -1) return;
  try {
    process.kill(target, signal);
  } catch (error) {
    // ESRCH: it has ended meanwhile. EPERM: it became somebody else's; it is found again, and told of.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}
