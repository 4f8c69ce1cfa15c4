/**
 * Steps as transient units of systemd: each with a user, limits and a sandbox of its own, outside of the runner's unit.
 * They go on when the runner ends, however that comes, and the next one finds them by their names.
 *
 * How one ended is told by the unit itself: its last command writes it into a file (unit-words.ts), so it is known also
 * when nobody was there. A unit that is gone without its file, as after the power was cut, is lost.
 */
import type { ChildProcess } from 'node:child_process';
import {
  type FSWatcher,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  watch,
} from 'node:fs';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { createGroup, type Group } from '../base/group.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Random } from '../base/random.ts';
import { AppError } from '../domain/error.ts';
import type { StepEnd } from '../domain/step.ts';
import type { Launch, Launcher, Running } from './launcher.ts';
import { OutputBudget } from './output.ts';
import { isRunning, listUnits, spawnTool, stateOf, systemctl } from './unit-tools.ts';
import {
  envProgram,
  isPlainPath,
  readUnitEnd,
  readUnitName,
  startFailure,
  stepEndOf,
  type UnitEnd,
  type UnitIdentity,
  unitArguments,
  unitName,
} from './unit-words.ts';
import { requireForeignUser } from './users.ts';

export interface TransientUnitsOptions {
  /** Whose steps these are: only what its name says to be of it is adopted, or ended. `[a-z0-9]+`. */
  readonly owner: string;
  /** Where the ends are told: a folder that is emptied by a restart of the machine. Made, closed to all others. */
  readonly folder: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Whether this machine is run by systemd; else steps are process groups. */
export function isSystemdThere(): boolean {
  try {
    return statSync('/run/systemd/system').isDirectory();
  } catch {
    return false;
  }
}

export function createTransientUnits(options: TransientUnitsOptions): Launcher {
  return new TransientUnits(options);
}

/** The folder is watched; this is for what no file tells. */
const lookMs = 5_000;
const startMs = 30_000;
const startLookMs = 5;
/** First, then twice as long each time. */
const goneLookMs = 10;
/** How long an end that was told is kept: until its record is written. */
const keptMs = 1_000;
/** Of what is left in a pipe when all processes are gone. */
const drainMs = 1_000;

class TransientUnits implements Launcher {
  readonly kind = 'systemd';
  readonly #options: TransientUnitsOptions;
  readonly #budget: OutputBudget;
  /** By name. */
  readonly #steps = new Map<string, UnitStep>();
  readonly #watcher: FSWatcher;
  readonly #loop: Loop;
  /** What goes on beside the loop. None of it is waited for: what it looks after may go on for long. */
  readonly #group: Group;
  #lastListMs: number;
  #closed = false;

  constructor(options: TransientUnitsOptions) {
    this.#options = options;
    const { folder, clock, random, logger } = options;
    requirePlainPath(folder);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    requireOwn(folder);
    this.#budget = new OutputBudget({ clock });
    this.#group = createGroup((unit, error) =>
      logger.warn({ unit, err: error }, 'a unit cannot be looked after'),
    );
    this.#lastListMs = clock.monotonic();
    this.#loop = startLoop({
      ...{ name: 'units', clock, random, logger },
      ...{ everyMs: lookMs, backoffBaseMs: 1_000, backoffCapMs: 30_000 },
      run: () => this.#look(),
    });
    this.#watcher = watch(folder, { persistent: false }, () => this.#loop.wake());
    // Then the loop alone tells.
    this.#watcher.on('error', (error) => logger.warn({ err: error, folder }, 'a folder cannot be watched'));
  }

  async launch(order: Launch): Promise<Running> {
    const { clock, owner } = this.#options;
    const { name, timeoutMs, user } = order;
    if (this.#closed) throw new AppError('unavailable', `Cannot start ${name}: the runner stops`);
    if (this.#steps.has(name))
      throw new AppError('conflict', `Cannot start ${name}: it runs already, wait until it has ended`);
    if (user !== null) requireForeignUser(user, name);
    requireNoVariable(order);
    const step = this.#add({ owner, name, startedAtMs: clock.now(), timeoutMs }, { adopted: false });
    try {
      await step.start(order, this.#budget);
    } catch (error) {
      this.#steps.delete(name);
      throw error;
    }
    this.#loop.wake();
    return step;
  }

  async adopt(): Promise<readonly Running[]> {
    const { folder, logger, owner } = this.#options;
    const found = new Map<string, UnitIdentity>();
    for (const file of readdirSync(folder)) {
      const identity = readUnitName(`${file}.service`);
      if (identity === undefined) rmSync(join(folder, file), { recursive: true, force: true });
      else if (identity.owner === owner) found.set(file, identity);
    }
    for (const unit of await listUnits()) {
      const identity = readUnitName(unit);
      if (identity?.owner === owner) found.set(basename(unit, '.service'), identity);
      else if (identity === undefined) {
        logger.warn({ unit }, 'ending a unit whose name is none of a step');
        await systemctl(['stop', '--no-block', '--', unit]);
      }
    }
    // The newest of a name is the one that is asked for; the end of an earlier one was told.
    const newest = new Map<string, UnitIdentity>();
    for (const [file, identity] of [...found].sort(([, a], [, b]) => b.startedAtMs - a.startedAtMs)) {
      if (newest.has(identity.name)) rmSync(join(folder, file), { force: true });
      else newest.set(identity.name, identity);
    }
    const adopted = [...newest.values()].map((identity) => this.#add(identity, { adopted: true }));
    this.#loop.wake();
    return adopted;
  }

  async close({ stop }: { readonly stop: boolean }): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const steps = [...this.#steps.values()];
    if (stop) await Promise.all(steps.map((step) => step.stop({ graceMs: limits.runnerStopMs })));
    this.#watcher.close();
    await this.#loop.stop();
    for (const step of this.#steps.values()) step.leave();
  }

  #add(identity: UnitIdentity, { adopted }: { readonly adopted: boolean }): UnitStep {
    const forget = () => {
      if (this.#steps.get(step.name) === step) this.#steps.delete(step.name);
    };
    const options = { ...this.#options, group: this.#group, adopted };
    const step: UnitStep = new UnitStep(options, identity, forget);
    this.#steps.set(step.name, step);
    return step;
  }

  /** Ends the steps whose units have ended. */
  async #look(): Promise<void> {
    const { clock } = this.#options;
    for (const step of this.#steps.values()) step.lookForEnd();
    if (this.#steps.size === 0 || clock.monotonic() - this.#lastListMs < lookMs) return;
    const before = [...this.#steps.values()].filter(({ hasStarted }) => hasStarted);
    const units = new Set(await listUnits());
    this.#lastListMs = clock.monotonic();
    for (const step of before) {
      // The file comes before the unit goes, so who has neither now never had one.
      if (!units.has(step.unit) && !step.lookForEnd()) step.lose();
    }
  }
}

type StepOptions = TransientUnitsOptions & { readonly group: Group; readonly adopted: boolean };

class UnitStep implements Running {
  readonly name: string;
  readonly startedAtMs: number;
  readonly adopted: boolean;
  readonly unit: string;
  readonly ended: Promise<StepEnd>;
  readonly #options: StepOptions;
  readonly #identity: UnitIdentity;
  readonly #endFile: string;
  readonly #end: (end: StepEnd) => void;
  /** systemd-run, which holds the unit's output; it ends after the unit. */
  #child: ChildProcess | null = null;
  #childEnded: Promise<void> = Promise.resolve();
  #streams: readonly { readonly stream: Readable; readonly closed: Promise<void> }[] = [];
  #listener: ((stream: 'stdout' | 'stderr', chunk: Uint8Array) => void) | null = null;
  /** What came before somebody listened. */
  readonly #early: { readonly stream: 'stdout' | 'stderr'; readonly chunk: Uint8Array }[] = [];
  #earlyBytes = 0;
  /** Resolves when that is as much as is kept: the rest stays with its writer until somebody listens. */
  readonly #earlyFull = Promise.withResolvers<void>();
  #hasStarted: boolean;
  #cancelled = false;
  #isEnding = false;

  constructor(options: StepOptions, identity: UnitIdentity, onEnd: () => void) {
    const { adopted } = options;
    this.#options = options;
    this.#identity = identity;
    this.name = identity.name;
    this.startedAtMs = identity.startedAtMs;
    this.adopted = adopted;
    this.unit = unitName(identity);
    this.#endFile = join(options.folder, basename(this.unit, '.service'));
    this.#hasStarted = adopted;
    const { promise, resolve } = Promise.withResolvers<StepEnd>();
    this.ended = promise;
    this.#end = (end) => {
      onEnd();
      resolve(end);
    };
  }

  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  onOutput(listener: (stream: 'stdout' | 'stderr', chunk: Uint8Array) => void): void {
    this.#listener = listener;
    for (const { stream, chunk } of this.#early.splice(0)) listener(stream, chunk);
    for (const { stream } of this.#streams) stream.resume();
  }

  async stop({ graceMs }: { readonly graceMs: number }): Promise<void> {
    const { clock, logger, group } = this.#options;
    const tell = async (...words: string[]) => {
      const { code, stderr } = await systemctl([...words, '--', this.unit]);
      // One that has ended meanwhile needs no telling.
      if (code !== 0 && !/not loaded/.test(stderr))
        logger.warn({ unit: this.unit, stderr }, 'a unit cannot be ended');
    };
    this.#cancelled = true;
    await tell('stop', '--no-block');
    const cancel = clock.after(graceMs, () => group.own(this.unit, tell('kill', '--signal=KILL')));
    await this.ended;
    cancel();
  }

  /** Starts the unit; throws as `Launcher.launch` says. */
  async start(order: Launch, budget: OutputBudget): Promise<void> {
    const argv = unitArguments(order, { unit: this.unit, endFile: this.#endFile });
    const child = await spawnTool('systemd-run', argv, order.input);
    this.#child = child;
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    this.#childEnded = exited.then(() => Promise.race([closed, this.#earlyFull.promise]));
    this.#streams = (['stdout', 'stderr'] as const).flatMap((name) => {
      const stream = child[name];
      return stream === null
        ? []
        : [{ stream, closed: budget.read(stream, (chunk) => this.#output(name, chunk)) }];
    });
    await this.#begun(order.command[0] ?? '');
    this.#hasStarted = true;
  }

  /** Whether its unit has told how it ended; if so, that is passed on. */
  lookForEnd(): boolean {
    const end = this.#readEnd();
    if (end === undefined) return false;
    if (this.#hasStarted) this.#finish(stepEndOf(end, this.#identity));
    return true;
  }

  /** Its unit is gone, and nothing tells how it ended. */
  lose(): void {
    this.#finish({ kind: 'lost', detail: 'Its unit is gone and has not told how it ended' });
  }

  /** Lets it run on without us. */
  leave(): void {
    for (const { stream } of this.#streams) stream.destroy();
    this.#child?.kill();
  }

  /** Resolves when the program runs, or has run; rejects when it could not be started. */
  async #begun(program: string): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.monotonic() + startMs;
    let hasClosed = false;
    const closed = this.#childEnded.then(() => {
      hasClosed = true;
    });
    while (!hasClosed) {
      if (await isRunning(this.unit, program)) return;
      if (clock.monotonic() > endMs) {
        await systemctl(['kill', '--signal=KILL', '--', this.unit]);
        this.leave();
        throw new AppError(
          'unavailable',
          `Cannot start ${this.name}: systemd has not started it within ${startMs} ms`,
        );
      }
      await Promise.race([closed, clock.sleep(startLookMs)]);
    }
    this.#refuseUnlessBegun(program);
  }

  /** systemd-run has ended: after the unit, or because it got none. What it then says is all of stderr. */
  #refuseUnlessBegun(program: string): void {
    const pieces = this.#early.filter(({ stream }) => stream === 'stderr').map(({ chunk }) => chunk);
    const said = Buffer.concat(pieces).toString().slice(0, 1_000).trim();
    const end = this.#readEnd();
    const refuse = (
      code: 'unprocessable' | 'unavailable',
      why: string,
      details: AppError['details'] = {},
    ) => {
      rmSync(this.#endFile, { force: true });
      throw new AppError(code, `Cannot start "${program.slice(0, 256)}": ${why}`, { details });
    };
    if (end === undefined && said.includes('connect to bus'))
      refuse('unavailable', `systemd is not reached (${said}); install dbus, and see that dbus.service runs`);
    else if (end === undefined) refuse('unavailable', `systemd-run failed: ${said || 'it said nothing'}`);
    else if (said.startsWith(`Job for ${this.unit} `)) refuse('unprocessable', startFailure(end));
    else if (end.code === 'exited' && /^12[67]$/.test(end.status) && said.startsWith(`${envProgram}: `))
      refuse(
        'unprocessable',
        `it cannot be executed: ${said.slice(said.lastIndexOf(': ') + 2)}`,
        // env(1): 127 when there is no such program, 126 when it may not be executed.
        end.status === '127' ? { reason: 'no-program' } : {},
      );
  }

  #readEnd(): UnitEnd | undefined {
    try {
      return readUnitEnd(readFileSync(this.#endFile, 'utf8'), statSync(this.#endFile).mtimeMs);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  #output(stream: 'stdout' | 'stderr', chunk: Uint8Array): void {
    if (this.#listener !== null) {
      this.#listener(stream, chunk);
      return;
    }
    this.#early.push({ stream, chunk });
    this.#earlyBytes += chunk.length;
    if (this.#earlyBytes <= limits.runnerOutputBytes) return;
    for (const one of this.#streams) one.stream.pause();
    this.#earlyFull.resolve();
  }

  #finish(end: StepEnd): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#options.group.own(this.unit, this.#seeOff(end));
  }

  async #seeOff(end: StepEnd): Promise<void> {
    const { clock } = this.#options;
    try {
      await this.#isGone();
      await this.#drain();
    } finally {
      this.#end(this.#cancelled ? { kind: 'cancelled' } : end);
      // Who is killed before has it in the next runner.
      clock.after(keptMs, () => rmSync(this.#endFile, { force: true }));
    }
  }

  /** Its command has ended; what that has left behind is ended by systemd, before or after the unit tells. */
  async #isGone(): Promise<void> {
    const { clock } = this.#options;
    for (
      let pauseMs = goneLookMs;
      (await stateOf(this.unit)).isLoaded;
      pauseMs = Math.min(pauseMs * 2, lookMs)
    )
      await clock.sleep(pauseMs);
  }

  /** What is still in the pipes is read; one that somebody else holds open is not waited for. */
  async #drain(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(drainMs, late.resolve);
    await Promise.race([Promise.all(this.#streams.map(({ closed }) => closed)), late.promise]);
    cancel();
    for (const { stream } of this.#streams) stream.destroy();
  }
}

/** It stands in a script and in a unit, which have quotes of their own. */
function requirePlainPath(folder: string): void {
  if (isPlainPath(folder)) return;
  const wish = 'letters, digits, "_", ".", "-" and "/" only; give the runner another folder with --socket';
  throw new AppError('unprocessable', `Cannot keep in ${folder} how steps end: expected ${wish}`);
}

/** What ends in there is believed, and what is none of an end is removed: through a link it would be somebody else's. */
function requireOwn(folder: string): void {
  const found = lstatSync(folder);
  const own = process.geteuid?.() ?? 0;
  if (found.isDirectory() && found.uid === own && (found.mode & 0o077) === 0) return;
  throw new AppError(
    'forbidden',
    `Cannot keep in ${folder} how steps end: it is not a folder of uid ${own} that is closed to others; remove it`,
  );
}

/** env(1) gives a program its environment, and takes for a variable what has a "=". */
function requireNoVariable({ command: [program = ''] }: Launch): void {
  if (!program.includes('=')) return;
  throw new AppError(
    'unprocessable',
    `Cannot start "${program.slice(0, 256)}": it has a "=", which no program has that is started as a unit; start it by a link of another name`,
  );
}
