/**
 * The steps of the runner: each name runs once at a time, whoever asks joins what runs, and a result that nobody has
 * fetched waits for a while.
 *
 * A record is written before a command starts and removed when its result was handed over, so the next runner knows of
 * everything that this one began, wherever it was killed: what still runs is adopted, what does not is lost. A step
 * under which the runner died again and again is put aside for a growing time, and the others go on.
 *
 * On a full disk looks go on without records, for a check that does not look would tell DOWN of what is well; the next
 * runner then ends what it finds of them. The command of a placement is not started.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { AppError } from '../domain/error.ts';
import type { Deed, Step, StepEnd, StepResult } from '../domain/step.ts';
import { deedDigest, stepName, stepTitle } from '../domain/step.ts';
import { commandEnvironment, launchLimits } from './command.ts';
import type { Launcher, Running } from './launcher.ts';
import { type LookOptions, look, readUnit } from './looks.ts';
import { OutputKeeper } from './output.ts';
import type { StepRecord, StepRecords } from './records.ts';

export interface StepsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly launcher: Launcher;
  readonly records: StepRecords;
  readonly looks?: Omit<LookOptions, 'clock'>;
  /** Only for tests: called where a death of the runner would matter. */
  readonly at?: (point: StepPoint) => void;
}

/**
 * What a command comes past: its record is about to be written and was written, it runs, it has written something, it
 * has ended, its result was recorded, was handed over, and is forgotten. `adopting`: a new runner has looked for what an
 * earlier one left, and written nothing yet.
 */
export const stepPoints = [
  'asked',
  'recorded',
  'started',
  'output',
  'ended',
  'kept',
  'taken',
  'forgotten',
  'adopting',
] as const;
export type StepPoint = (typeof stepPoints)[number];

/** A result on its way to who asked for it. */
export interface Outcome {
  readonly result: StepResult;
  /** It has been handed over: nothing is kept of it any more. */
  readonly taken: () => void;
}

interface Active {
  readonly title: string;
  readonly digest: string;
  readonly outcome: Promise<StepResult>;
}

/** After so many deaths of the runner a step is put aside, first for so long, then twice as long each time. */
const crashesMax = 3;
const asideFirstMs = 60_000;
const asideMaxMs = 86_400_000;
/** What nobody has asked for since is not counted any more. */
const crashRememberedMs = 7 * 86_400_000;

export class Steps {
  readonly #options: StepsOptions;
  /** By name: what runs, and what is about to. */
  readonly #active = new Map<string, Active>();
  /** By name: what is known of steps that do not run, the oldest first. */
  readonly #known = new Map<string, StepRecord>();
  readonly #closing = new AbortController();
  #isClosed = false;

  private constructor(options: StepsOptions) {
    this.#options = options;
  }

  /** Takes over what `found` says of an earlier runner's steps. `crashed`: that one did not end by itself. */
  static async open(
    options: StepsOptions & { readonly found: readonly StepRecord[]; readonly crashed: boolean },
  ): Promise<Steps> {
    const steps = new Steps(options);
    await steps.#adopt(options.found, options.crashed);
    return steps;
  }

  /** Does `deed`, which is what `step` comes to. As `RunnerService.run`; rejects with the signal's reason when aborted. */
  async run(step: Step, deed: Deed, { signal }: { readonly signal: AbortSignal }): Promise<Outcome> {
    if (this.#isClosed) throw stopping();
    this.#forgetOld();
    const [name, digest] = [stepName(step), deedDigest(deed)];
    const known = this.#known.get(name);
    if (known?.ended !== undefined && known.ended !== null && known.digest === digest)
      return { result: known.ended.result, taken: () => this.#taken(known) };
    const active = this.#active.get(name) ?? this.#begin(step, name, digest, deed);
    if (active.digest !== digest)
      throw new AppError(
        'conflict',
        `Cannot run ${stepTitle(step)}: it still runs as it was written before; ask again when that has ended`,
      );
    const result = await unlessAborted(active.outcome, AbortSignal.any([signal, this.#closing.signal]));
    const kept = this.#known.get(name);
    return { result, taken: () => (kept?.ended?.result === result ? this.#taken(kept) : undefined) };
  }

  status(): { readonly running: number; readonly kept: number; readonly putAside: readonly string[] } {
    this.#forgetOld();
    const known = [...this.#known.values()];
    return {
      running: this.#active.size,
      kept: known.filter(({ ended }) => ended !== null).length,
      putAside: known.filter((one) => this.#asideMs(one) > 0).map(({ title }) => title),
    };
  }

  /**
   * Whoever waits is told `unavailable`. What runs is left to the next runner, or with `stop` ended, which takes
   * `limits.runnerStopMs` and a little at most; how it ended is recorded.
   */
  async close({ stop }: { readonly stop: boolean }): Promise<void> {
    const outcomes = [...this.#active.values()].map(({ outcome }) => outcome);
    this.#isClosed = true;
    if (!stop) this.#closing.abort(stopping());
    await this.#options.launcher.close({ stop });
    if (stop) await Promise.allSettled(outcomes);
  }

  #begin(step: Step, name: string, digest: string, deed: Deed): Active {
    const title = stepTitle(step);
    this.#refuseAside(name, title);
    if (this.#active.size >= limits.runnerStepsMax)
      throw new AppError(
        'rate-limited',
        `Cannot run ${title}: ${limits.runnerStepsMax} steps run already; ask again in a moment`,
        { retryAfterMs: 1_000 },
      );
    const work =
      deed.kind === 'command'
        ? this.#command(deed, {
            name,
            title,
            digest,
            isDurable: step.kind === 'placement',
            startedAtMs: this.#options.clock.now(),
            ended: null,
            isOpen: true,
            crashes: this.#known.get(name)?.crashes ?? 0,
            lastCrashMs: this.#known.get(name)?.lastCrashMs ?? 0,
          })
        : this.#look(deed);
    return this.#track(name, { title, digest, outcome: work });
  }

  #track(name: string, active: Active): Active {
    this.#active.set(name, active);
    const done = () => this.#active.delete(name);
    // Whoever asked hears of a failure; when nobody waits any more it has been logged.
    active.outcome.then(done, (error: unknown) => {
      done();
      if (!(error instanceof AppError))
        this.#options.logger.error({ step: active.title, err: error }, 'a step failed');
    });
    return active;
  }

  async #look(deed: Exclude<Deed, { kind: 'command' }>): Promise<StepResult> {
    const { clock, looks } = this.#options;
    const [startedAtMs, startMs] = [clock.now(), clock.monotonic()];
    const options = { ...looks, clock };
    const { end, stdout } =
      deed.kind === 'unit' ? await readUnit(deed, options) : { end: await look(deed, options), stdout: '' };
    const durationMs = clock.monotonic() - startMs;
    return { end, startedAtMs, durationMs, stdout, stderr: '', droppedBytes: 0, adopted: false };
  }

  async #command(deed: Extract<Deed, { kind: 'command' }>, record: StepRecord): Promise<StepResult> {
    const { clock, launcher } = this.#options;
    const before = this.#known.get(record.name);
    this.#at('asked');
    if (record.isDurable) await this.#recorded(record);
    else await this.#tryToRecord(record);
    this.#at('recorded');
    const startMs = clock.monotonic();
    let running: Running;
    try {
      running = await launcher.launch({
        name: record.name,
        command: deed.command,
        user: deed.user,
        env: commandEnvironment,
        timeoutMs: deed.timeoutMs,
        ...(deed.input === undefined ? {} : { input: deed.input }),
        limits: launchLimits(record),
      });
    } catch (error) {
      await this.#forget(before ?? record);
      throw error;
    }
    this.#at('started');
    const output = this.#outputOf(running, deed.outputBytes);
    const end = await running.ended;
    this.#at('ended');
    const result: StepResult = {
      end,
      startedAtMs: record.startedAtMs,
      durationMs: Math.round(clock.monotonic() - startMs),
      ...output.kept,
      adopted: false,
    };
    // It has ended under the runner that began it: the runner does not die of it.
    await this.#keep({ ...record, crashes: 0, lastCrashMs: 0 }, result);
    return result;
  }

  #outputOf(running: Running, keptBytes?: number): OutputKeeper {
    const output = new OutputKeeper(keptBytes);
    running.onOutput((stream, chunk) => {
      output.add(stream, chunk);
      this.#at('output');
    });
    return output;
  }

  #at(point: StepPoint): void {
    this.#options.at?.(point);
  }

  async #adopt(found: readonly StepRecord[], crashed: boolean): Promise<void> {
    const { clock, launcher, logger } = this.#options;
    const running = new Map((await launcher.adopt()).map((one) => [one.name, one]));
    this.#at('adopting');
    for (const record of found) {
      if (record.ended !== null || !record.isOpen) {
        this.#known.set(record.name, record);
        continue;
      }
      const counted = crashed ? { ...record, crashes: record.crashes + 1, lastCrashMs: clock.now() } : record;
      if (crashed) await this.#tryToRecord(counted);
      const adopted = running.get(record.name);
      running.delete(record.name);
      if (adopted === undefined) {
        logger.warn({ step: record.title }, 'a step of an earlier runner is gone, nobody knows how it ended');
        await this.#keep(counted, resultOf(counted, lostEnd, { nowMs: clock.now() }));
        continue;
      }
      logger.info({ step: record.title }, 'took over a step of an earlier runner');
      const { title, digest } = record;
      this.#track(record.name, { title, digest, outcome: this.#seeOff(counted, adopted) });
    }
    // Its record was never written, or was removed by hand: nobody can ask for it.
    for (const stray of running.values()) {
      logger.warn({ step: stray.name }, 'ending what no record knows');
      stray
        .stop({ graceMs: limits.runnerStopMs })
        .catch((error: unknown) =>
          logger.error({ step: stray.name, err: error }, 'a stray step cannot be ended'),
        );
    }
  }

  async #seeOff(record: StepRecord, running: Running): Promise<StepResult> {
    const { clock } = this.#options;
    const output = this.#outputOf(running);
    const end = await running.ended;
    const result = { ...resultOf(record, end, { nowMs: clock.now() }), ...output.kept };
    await this.#keep(record, result);
    return result;
  }

  /** The result waits for whoever asks, also in the next runner. */
  async #keep(record: StepRecord, result: StepResult): Promise<void> {
    const { clock } = this.#options;
    const kept: StepRecord = { ...record, ended: { atMs: clock.now(), result } };
    await this.#tryToRecord(kept);
    this.#known.delete(record.name);
    this.#known.set(record.name, kept);
    this.#at('kept');
  }

  #taken(record: StepRecord): void {
    this.#at('taken');
    // The one that has come since is not the one that was handed over.
    if (this.#known.get(record.name) === record) this.#forgetSoon(record);
  }

  /** Forgets a result; a step that the runner died of is remembered without it. */
  async #forget(record: StepRecord): Promise<void> {
    const { records } = this.#options;
    if (record.crashes === 0) {
      this.#known.delete(record.name);
      await records.remove(record);
      this.#at('forgotten');
      return;
    }
    const rest: StepRecord = { ...record, ended: null, isOpen: false };
    this.#known.set(record.name, rest);
    await records.write(rest);
  }

  async #recorded(record: StepRecord): Promise<void> {
    try {
      await this.#options.records.write(record);
    } catch (error) {
      throw new AppError(
        'storage-full',
        `Cannot run ${record.title}: that it runs cannot be written down (${(error as Error).message})`,
        { cause: error },
      );
    }
  }

  /** What cannot be written down is known to this runner alone. */
  async #tryToRecord(record: StepRecord): Promise<void> {
    try {
      await this.#options.records.write(record);
    } catch (error) {
      this.#options.logger.warn({ step: record.title, err: error }, 'the record of a step cannot be written');
    }
  }

  #forgetSoon(record: StepRecord): void {
    this.#forget(record).catch((error: unknown) =>
      this.#options.logger.error(
        { step: record.title, err: error },
        'the record of a step cannot be removed',
      ),
    );
  }

  #forgetOld(): void {
    const { clock } = this.#options;
    const now = clock.now();
    for (const record of this.#known.values()) {
      const isOld = Math.abs(now - record.lastCrashMs) > crashRememberedMs;
      if (record.ended === null && isOld) this.#forgetSoon({ ...record, crashes: 0 });
    }
    const results = [...this.#known.values()].filter(({ ended }) => ended !== null);
    const tooMany = results.length - limits.runnerResultsMax;
    for (const [index, record] of results.entries()) {
      const keptMs = record.isDurable ? limits.runnerResultKeptMs : limits.runnerLookKeptMs;
      // The wall clock may have been set back since.
      const ageMs = Math.abs(now - (record.ended?.atMs ?? now));
      if (index < tooMany || ageMs > keptMs) this.#forgetSoon(record);
    }
  }

  #refuseAside(name: string, title: string): void {
    const known = this.#known.get(name);
    const asideMs = known === undefined ? 0 : this.#asideMs(known);
    if (known === undefined || asideMs <= 0) return;
    throw new AppError(
      'unavailable',
      `Cannot run ${title}: the runner has died ${known.crashes} times while it ran, so it is put aside for ${Math.ceil(asideMs / 1_000)} s`,
      { retryAfterMs: asideMs, details: { reason: 'put-aside', crashes: known.crashes } },
    );
  }

  /** For how long a step is not started yet. */
  #asideMs({ crashes, lastCrashMs }: StepRecord): number {
    if (crashes < crashesMax) return 0;
    const wholeMs = Math.min(asideFirstMs * 2 ** (crashes - crashesMax), asideMaxMs);
    const leftMs = lastCrashMs + wholeMs - this.#options.clock.now();
    return Math.min(Math.max(leftMs, 0), wholeMs);
  }
}

function stopping(): AppError {
  return new AppError('unavailable', 'Cannot run the step: the runner stops; ask again in a moment');
}

const lostEnd: StepEnd = {
  kind: 'lost',
  detail: 'The runner was ended while it ran, or the machine restarted, so nobody knows how it ended',
};

function resultOf(record: StepRecord, end: StepEnd, { nowMs }: { readonly nowMs: number }): StepResult {
  const durationMs = Math.max(0, nowMs - record.startedAtMs);
  const { startedAtMs } = record;
  return { end, startedAtMs, durationMs, stdout: '', stderr: '', droppedBytes: 0, adopted: true };
}

/** What `work` gives, or the signal's reason as soon as it is aborted. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
