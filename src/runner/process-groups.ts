/**
 * Steps without systemd. Each is started in a session of its own, with a mark in its environment by which its processes
 * are found again: those that left the session, and those that an earlier runner started, wherever it was killed.
 *
 * A step that runs on without its runner writes into a closed pipe, of which most programs die (SIGPIPE): so what an
 * adopted one ended with says little, and it is told as lost.
 *
 * What this cannot do, and transient units can: keep a step from taking memory and processes until the next look, take
 * its rights away, and find what hides from it on purpose (members.ts). The disk is not limited by either, but units
 * write to next to none of it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { Cancel, Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { AppError } from '../domain/error.ts';
import type { StepEnd } from '../domain/step.ts';
import { handOver } from './input.ts';
import type { Launch, Launcher, Running } from './launcher.ts';
import { Members, markVariable, ProcessTable, signalAll } from './members.ts';
import { OutputBudget } from './output.ts';
import { type ProcessStat, pageBytes, readStat } from './processes.ts';
import { requireForeignUser, userRefusal } from './users.ts';

export interface ProcessGroupsOptions {
  /** Whose steps these are: only what carries it is adopted. `[a-z0-9]+`, the same for each start on a data directory. */
  readonly owner: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createProcessGroups(options: ProcessGroupsOptions): Launcher {
  return new ProcessGroups(options);
}

/** How often what ends is looked for, and how long at most after KILL. */
const lookMs = 20;
const killMs = 5_000;
/** How often steps are counted and measured that run on. */
const watchMs = 1_000;
/** Of what is left in a pipe when all processes are gone. */
const drainMs = 1_000;

class ProcessGroups implements Launcher {
  readonly kind = 'processes';
  readonly #options: ProcessGroupsOptions;
  readonly #budget: OutputBudget;
  readonly #tables: Tables;
  readonly #pageBytes = pageBytes();
  readonly #steps = new Set<GroupStep>();
  /** By name: those that are about to run. */
  readonly #starting = new Map<string, Promise<GroupStep>>();
  #cancelWatch: Cancel | null = null;
  #closed = false;

  constructor(options: ProcessGroupsOptions) {
    this.#options = options;
    this.#budget = new OutputBudget({ clock: options.clock });
    this.#tables = new Tables(options.clock);
  }

  async launch(order: Launch): Promise<Running> {
    const { name } = order;
    if (this.#closed) throw new AppError('unavailable', `Cannot start ${name}: the runner stops`);
    if (this.#starting.has(name) || [...this.#steps].some((step) => step.name === name))
      throw new AppError('conflict', `Cannot start ${name}: it runs already, wait until it has ended`);
    const started = this.#start(order);
    this.#starting.set(name, started);
    try {
      return await started;
    } finally {
      this.#starting.delete(name);
    }
  }

  async #start(order: Launch): Promise<GroupStep> {
    const { clock, owner } = this.#options;
    const {
      name,
      timeoutMs,
      limits: { memoryBytes, tasks },
    } = order;
    const origin = { name, startedAtMs: clock.now(), timeoutMs, memoryBytes, tasks };
    const step = this.#make(origin, { adopted: false });
    await step.start(order, formatMark({ owner, ...origin }), this.#budget);
    this.#add(step);
    return step;
  }

  async adopt(): Promise<readonly Running[]> {
    const { owner } = this.#options;
    const table = new ProcessTable();
    for (const [mark, processes] of table.marked(owner)) {
      const step = this.#make(parseMark(mark), { adopted: true });
      this.#add(step);
      step.adopt(mark, processes, table);
    }
    return [...this.#steps];
  }

  async close({ stop }: { readonly stop: boolean }): Promise<void> {
    this.#closed = true;
    this.#cancelWatch?.();
    await Promise.allSettled(this.#starting.values());
    const steps = [...this.#steps];
    if (stop) await Promise.all(steps.map((step) => step.stop({ graceMs: limits.runnerStopMs })));
    else for (const step of steps) step.leave();
    this.#steps.clear();
  }

  #make(origin: StepOrigin, { adopted }: { readonly adopted: boolean }): GroupStep {
    const options = { ...this.#options, tables: this.#tables, adopted };
    const step: GroupStep = new GroupStep(options, origin, () => this.#steps.delete(step));
    return step;
  }

  #add(step: GroupStep): void {
    this.#steps.add(step);
    this.#watch();
  }

  #watch(): void {
    if (this.#cancelWatch !== null || this.#closed || this.#steps.size === 0) return;
    this.#cancelWatch = this.#options.clock.after(watchMs, () => {
      this.#cancelWatch = null;
      if (this.#steps.size === 0) return;
      const table = new ProcessTable();
      for (const step of this.#steps) step.look(table, { pageBytes: this.#pageBytes });
      this.#watch();
    });
  }
}

/**
 * Looks at all processes, one for all steps that wait for one: with a look for each, thirty steps that end at once would
 * leave the runner no time for anything else.
 */
class Tables {
  readonly #clock: Clock;
  #soon: Promise<ProcessTable> | null = null;
  #later: Promise<ProcessTable> | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A look after this call, in the next turn. */
  soon(): Promise<ProcessTable> {
    this.#soon ??= new Promise<void>((resolve) => this.#clock.nextTurn(resolve)).then(() => {
      this.#soon = null;
      return new ProcessTable();
    });
    return this.#soon;
  }

  /** A look after this call, `lookMs` later at most. */
  later(): Promise<ProcessTable> {
    this.#later ??= this.#clock.sleep(lookMs).then(() => {
      this.#later = null;
      return new ProcessTable();
    });
    return this.#later;
  }
}

/** What the mark of a step says of it, so that a runner that adopts it holds it to the same. */
interface StepOrigin {
  readonly name: string;
  readonly startedAtMs: number;
  readonly timeoutMs: number;
  readonly memoryBytes: number;
  readonly tasks: number;
}

type Ending = 'timed-out' | 'cancelled' | 'out-of-memory' | 'too-many-tasks';

class GroupStep implements Running {
  readonly name: string;
  readonly startedAtMs: number;
  readonly adopted: boolean;
  readonly ended: Promise<StepEnd>;
  readonly #origin: StepOrigin;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tables: Tables;
  readonly #end: (end: StepEnd) => void;
  #members: Members | null = null;
  #child: ChildProcess | null = null;
  #streams: readonly { readonly stream: Readable; readonly closed: Promise<void> }[] = [];
  #listener: ((stream: 'stdout' | 'stderr', chunk: Uint8Array) => void) | null = null;
  /** What came before somebody listened. */
  readonly #early: { readonly stream: 'stdout' | 'stderr'; readonly chunk: Uint8Array }[] = [];
  #ending: Ending | null = null;
  #finishing: Promise<void> | null = null;
  #cancelTimeout: Cancel | null = null;
  #left = false;

  constructor(
    {
      clock,
      logger,
      tables,
      adopted,
    }: ProcessGroupsOptions & { readonly tables: Tables; readonly adopted: boolean },
    origin: StepOrigin,
    onEnd: () => void,
  ) {
    this.name = origin.name;
    this.startedAtMs = origin.startedAtMs;
    this.adopted = adopted;
    this.#origin = origin;
    this.#clock = clock;
    this.#logger = logger;
    this.#tables = tables;
    const { promise, resolve } = Promise.withResolvers<StepEnd>();
    this.ended = promise;
    this.#end = (end) => {
      onEnd();
      resolve(end);
    };
  }

  onOutput(listener: (stream: 'stdout' | 'stderr', chunk: Uint8Array) => void): void {
    this.#listener = listener;
    for (const { stream, chunk } of this.#early.splice(0)) listener(stream, chunk);
  }

  async stop({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#stopFor('cancelled', graceMs);
    await this.ended;
  }

  /** Starts the command; throws `unprocessable` when it cannot be. */
  async start(order: Launch, mark: string, budget: OutputBudget): Promise<void> {
    const [program = '', ...words] = order.command;
    const child = await spawned(program, words, {
      ...identityOf(order.user, order.name),
      cwd: '/',
      // A session and a group of its own.
      detached: true,
      env: { ...order.env, [markVariable]: mark },
      stdio: [order.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    handOver(child, order.input);
    const pid = child.pid ?? 0;
    this.#child = child;
    preferToUs(pid);
    const main = readStat(pid);
    this.#members = new Members({ mark, session: pid, sinceTicks: main?.startTicks ?? 0 });
    this.#streams = (['stdout', 'stderr'] as const).flatMap((name) => {
      const stream = child[name];
      return stream === null
        ? []
        : [{ stream, closed: budget.read(stream, (chunk) => this.#output(name, chunk)) }];
    });
    child.once('exit', (code, signal) =>
      this.#finish(signal === null ? { kind: 'exited', exitCode: code ?? 0 } : { kind: 'signalled', signal }),
    );
    this.#cancelTimeout = this.#clock.after(this.#origin.timeoutMs, () =>
      this.#stopFor('timed-out', limits.runnerStopMs),
    );
  }

  /** Takes over what an earlier runner started. */
  adopt(mark: string, processes: readonly ProcessStat[], table: ProcessTable): void {
    const [oldest] = processes;
    // The first process of a step leads its session; when that one is gone, so is the step, but for what it left.
    const main = oldest !== undefined && oldest.session === oldest.pid ? oldest : null;
    this.#members = new Members({
      mark,
      session: oldest?.session ?? 0,
      sinceTicks: oldest?.startTicks ?? 0,
    });
    this.#members.find(table);
    const ranMs = Math.max(0, this.#clock.now() - this.startedAtMs);
    const leftMs = Math.max(0, this.#origin.timeoutMs - ranMs);
    this.#cancelTimeout = this.#clock.after(leftMs, () => this.#stopFor('timed-out', limits.runnerStopMs));
    if (main === null) this.#finish(lostEnd);
    else this.#follow(main);
  }

  /** Counts and measures; ends it when it is more than it may be. */
  look(table: ProcessTable, { pageBytes }: { readonly pageBytes: number }): void {
    const processes = this.#members?.find(table) ?? [];
    if (this.#ending !== null) return;
    const tasks = processes.reduce((sum, { threads }) => sum + threads, 0);
    const memoryBytes = processes.reduce((sum, { residentPages }) => sum + residentPages * pageBytes, 0);
    const { tasks: tasksMax, memoryBytes: memoryMaxBytes } = this.#origin;
    if (tasks <= tasksMax && memoryBytes <= memoryMaxBytes) return;
    this.#logger.warn({ step: this.name, tasks, memoryBytes }, 'a step is larger than it may be, ending it');
    this.#stopFor(tasks > tasksMax ? 'too-many-tasks' : 'out-of-memory', 0);
  }

  /** Lets it run on without us. */
  leave(): void {
    this.#left = true;
    this.#cancelTimeout?.();
    for (const { stream } of this.#streams) stream.destroy();
    this.#child?.unref();
  }

  /** An adopted one is asked again and again whether it still runs. */
  #follow(main: ProcessStat): void {
    if (this.#left || this.#finishing !== null) return;
    const now = readStat(main.pid);
    if (now === undefined || now.isZombie || now.startTicks !== main.startTicks) this.#finish(lostEnd);
    else this.#clock.after(watchMs / 4, () => this.#follow(main));
  }

  #output(stream: 'stdout' | 'stderr', chunk: Uint8Array): void {
    if (this.#listener === null) this.#early.push({ stream, chunk });
    else this.#listener(stream, chunk);
  }

  #stopFor(ending: Ending, graceMs: number): void {
    if (this.#ending !== null || this.#left) return;
    this.#ending = ending;
    this.#finishing ??= this.#finishWith(null, graceMs);
  }

  /** Its first process has ended: whatever it has left goes with it. */
  #finish(end: StepEnd): void {
    if (this.#left) return;
    this.#finishing ??= this.#finishWith(end, limits.runnerStopMs);
  }

  async #finishWith(end: StepEnd | null, graceMs: number): Promise<void> {
    this.#cancelTimeout?.();
    const left = await this.#endAll(graceMs);
    await this.#drain();
    if (left.length > 0) {
      const pids = left.map(({ pid, name }) => `${pid} (${name})`).join(', ');
      this.#logger.error({ step: this.name, left: pids }, 'processes of a step cannot be ended');
      this.#end({ kind: 'lost', detail: `It could not be ended: KILL does not reach ${pids}` });
      return;
    }
    this.#end(endOf(this.#ending, end));
  }

  /** TERM, after the grace KILL, again until nobody is left; who is left when that does not help. */
  async #endAll(graceMs: number): Promise<readonly ProcessStat[]> {
    const members = this.#members;
    if (members === null) return [];
    const startMs = this.#clock.monotonic();
    const told = new Set<number>();
    for (let look = this.#tables.soon(); ; look = this.#tables.later()) {
      const found = members.find(await look);
      const spentMs = this.#clock.monotonic() - startMs;
      if (found.length === 0) return [];
      if (spentMs >= graceMs + killMs) return found;
      if (spentMs >= graceMs) signalAll(found, 'SIGKILL');
      else {
        const fresh = found.filter(({ pid }) => !told.has(pid));
        for (const { pid } of fresh) told.add(pid);
        signalAll(fresh, 'SIGTERM');
        // A stopped process gets TERM only when it goes on.
        signalAll(fresh, 'SIGCONT');
      }
    }
  }

  /** What is still in the pipes is read; one that somebody else holds open is not waited for. */
  async #drain(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const cancel = this.#clock.after(drainMs, late.resolve);
    await Promise.race([Promise.all(this.#streams.map(({ closed }) => closed)), late.promise]);
    cancel();
    for (const { stream } of this.#streams) stream.destroy();
  }
}

const lostEnd: StepEnd = {
  kind: 'lost',
  detail: 'It ended after the runner that had started it was gone, so nobody knows how',
};

function endOf(ending: Ending | null, end: StepEnd | null): StepEnd {
  switch (ending) {
    case null:
      return end ?? lostEnd;
    case 'too-many-tasks':
      return { kind: 'signalled', signal: 'SIGKILL' };
    default:
      return { kind: ending };
  }
}

/** When memory runs out, the kernel ends what we started before it ends us. */
function preferToUs(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '800');
  } catch {
    // It has ended already, or this kernel lets nobody say so.
  }
}

function spawned(
  program: string,
  words: readonly string[],
  options: Parameters<typeof spawn>[2],
): Promise<ChildProcess> {
  const refused = (error: unknown) => {
    const { code = '' } = error as NodeJS.ErrnoException;
    const passing = ['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE'].includes(code);
    return new AppError(
      passing ? 'unavailable' : 'unprocessable',
      `Cannot start "${program.slice(0, 256)}": ${spawnWords[code] ?? (error as Error).message}`,
      { cause: error, details: code === 'ENOENT' ? { reason: 'no-program' } : {} },
    );
  };
  return new Promise((resolve, reject) => {
    try {
      const child = spawn(program, words, options);
      child.once('spawn', () => resolve(child));
      child.once('error', (error) => reject(refused(error)));
    } catch (error) {
      reject(refused(error));
    }
  });
}

const spawnWords: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such program, or what its first line names does not exist',
  EACCES: 'it may not be executed',
  EPERM: 'the runner may not do that',
  ENOEXEC: 'it is no program; a script begins with a line like #!/bin/sh',
  E2BIG: 'its arguments are too long',
  ENOTDIR: 'something in its path is a file',
  EAGAIN: 'this machine has no room for another process',
  ENOMEM: 'this machine has no memory for another process',
  EMFILE: 'the runner has too many files open',
  ENFILE: 'this machine has too many files open',
};

function identityOf(user: string | null, name: string): { uid?: number; gid?: number } {
  if (user === null) return {};
  const found = requireForeignUser(user, name);
  const own = process.geteuid?.() ?? 0;
  if (own === found.uid) return {};
  if (own !== 0)
    throw userRefusal(user, name, `the runner runs as uid ${own}, and only root starts processes of others`);
  return found;
}

interface Mark extends StepOrigin {
  readonly owner: string;
}

function formatMark({ owner, name, startedAtMs, timeoutMs, memoryBytes, tasks }: Mark): string {
  return [owner, name, startedAtMs, timeoutMs, memoryBytes, tasks].join('.');
}

/** A process can change its environment: what is no number is taken for 0, with which nothing runs on. */
function parseMark(mark: string): StepOrigin {
  const [, name = '', ...words] = mark.split('.');
  const [startedAtMs = 0, timeoutMs = 0, memoryBytes = 0, tasks = 0] = words.map((word) => Number(word) || 0);
  return { name, startedAtMs, timeoutMs, memoryBytes, tasks };
}
