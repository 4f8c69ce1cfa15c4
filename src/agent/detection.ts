/**
 * Runs the detectors: all once at the start, then each in its own time. What they find goes to the inventory. One that
 * fails harms no other: its last good result stays, the failure shows in the status, and it is tried again with
 * back-off.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { retry } from '../base/retry.ts';
import { AppError, isAppError } from '../domain/error.ts';
import { isPrintable } from '../domain/ids.ts';
import { type Component, componentKey } from '../domain/inventory.ts';
import type { LocalInventory } from '../store/local-inventory.ts';
import { untilAborted } from './deadline.ts';
import type { Detector } from './detectors/detector.ts';

export interface DetectionOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  readonly detectors: readonly Detector[];
  readonly inventory: LocalInventory;
  /** Called once, when every detector has looked and what they found is stored. */
  readonly onComplete: () => void;
}

export interface DetectorStatus {
  readonly name: string;
  /** `off`: this host has no such source. `waiting`: it has not looked yet. */
  readonly state: 'waiting' | 'ok' | 'off' | 'failed';
  readonly components: number;
  readonly everyMs: number;
  /** When it last looked without failing. */
  readonly lastGoodMs: number | null;
  readonly error: string | null;
  /** What its command said first, of one that failed. */
  readonly output: string | null;
}

export interface Detection {
  /** True once every detector has looked, or failed to: then the inventory may be told. */
  readonly complete: boolean;
  status(): DetectorStatus[];
  /** Looks for the first time. Calling it after `stop` does nothing. */
  start(): void;
  /** Those that failed look again now: what they failed of may be over. */
  retryFailed(): void;
  /** Never rejects. */
  stop(): Promise<void>;
}

/** For detectors that name no limit of their own. */
const lookDefaultMs = 60_000;
const backoffCapMs = 600_000;
/** Whoever mends one that looks often does not wait much longer than it does between two looks. */
const backoffCapMinMs = 60_000;
/** While the first find cannot be written (a full disk), nothing is told to the registry. */
const storeBackoff = { baseMs: 1_000, capMs: 60_000 };
/** What a detector returned, and what of it can be told. */
interface Found {
  readonly raw: readonly Component[] | null;
  readonly components: readonly Component[];
}

/** Waits for `start`. */
export function createDetection(options: DetectionOptions): Detection {
  return new RunningDetection(options);
}

class RunningDetection implements Detection {
  readonly #options: DetectionOptions;
  readonly #stopping = new AbortController();
  readonly #status = new Map<string, DetectorStatus>();
  /** What each detector returned when it was last written: the very same array again means that nothing changed. */
  readonly #stored = new Map<string, readonly Component[] | null>();
  #loops: readonly Loop[] = [];
  complete = false;
  #first: Promise<void> = Promise.resolve();

  constructor(options: DetectionOptions) {
    this.#options = options;
    for (const { name, everyMs } of options.detectors) {
      this.#status.set(name, {
        name,
        state: 'waiting',
        components: 0,
        everyMs,
        lastGoodMs: null,
        error: null,
        output: null,
      });
    }
  }

  start(): void {
    if (this.#stopping.signal.aborted) return;
    const { logger } = this.#options;
    this.#first = this.#begin().catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) logger.error({ err: error }, 'detection cannot begin');
    });
  }

  retryFailed(): void {
    for (const [index, { name }] of this.#options.detectors.entries())
      if (this.#status.get(name)?.state === 'failed') this.#loops[index]?.retryNow();
  }

  status(): DetectorStatus[] {
    return [...this.#status.values()];
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('detection stops'));
    await this.#first;
    await Promise.all(this.#loops.map((loop) => loop.stop()));
  }

  /** One revision for the first look of all together, so that a new host appears whole. */
  async #begin(): Promise<void> {
    const { detectors, clock, random } = this.#options;
    const { signal } = this.#stopping;
    const found = new Map<string, Found>();
    await Promise.all(
      detectors.map(async (detector) => {
        try {
          found.set(detector.name, await this.#look(detector, signal));
        } catch (error) {
          this.#options.logger.warn({ err: error, detector: detector.name }, 'detector failed');
        }
      }),
    );
    await retry(() => this.#storeFirst(found), {
      ...storeBackoff,
      clock,
      random,
      signal,
      attemptsMax: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
    });
    this.complete = true;
    this.#loops = detectors.map((detector) => this.#repeat(detector));
    this.#options.onComplete();
  }

  async #storeFirst(found: ReadonlyMap<string, Found>): Promise<void> {
    const { detectors, inventory } = this.#options;
    await inventory.retain(detectors.map(({ name }) => name));
    await this.#store(found);
  }

  #repeat(detector: Detector): Loop {
    const { clock, random, logger, loops } = this.#options;
    return startLoop({
      name: `detector ${detector.name}`,
      clock,
      random,
      logger,
      loops,
      everyMs: detector.everyMs,
      // A failed first look is tried again soon.
      firstMs:
        this.#status.get(detector.name)?.state === 'failed'
          ? Math.min(5_000, detector.everyMs)
          : detector.everyMs,
      backoffBaseMs: Math.min(detector.everyMs, backoffCapMs),
      backoffCapMs: Math.min(backoffCapMs, Math.max(detector.everyMs, backoffCapMinMs)),
      run: async ({ signal }) => this.#store(new Map([[detector.name, await this.#look(detector, signal)]])),
    });
  }

  /** Writes what is not known to be stored already. Only what was written counts as such: a full disk is tried again. */
  async #store(found: ReadonlyMap<string, Found>): Promise<void> {
    const news = [...found].filter(
      ([name, { raw }]) => !this.#stored.has(name) || this.#stored.get(name) !== raw,
    );
    if (news.length > 0)
      await this.#options.inventory.replace(
        new Map(news.map(([name, { components }]) => [name, components])),
      );
    for (const [name, { raw }] of news) this.#stored.set(name, raw);
  }

  /** What a detector finds. Notes how it went; throws when it failed. */
  async #look(detector: Detector, signal: AbortSignal): Promise<Found> {
    const { name, everyMs } = detector;
    const before = this.#status.get(name);
    try {
      const raw = await this.#timed(detector, signal);
      const { components, problem } = checked(name, raw ?? []);
      const state = raw === null ? 'off' : 'ok';
      this.#status.set(name, {
        name,
        state,
        components: components.length,
        everyMs,
        lastGoodMs: this.#options.clock.now(),
        error: problem,
        output: null,
      });
      return { raw, components };
    } catch (error) {
      if (!signal.aborted) {
        this.#status.set(name, {
          name,
          state: 'failed',
          components: before?.components ?? 0,
          everyMs,
          lastGoodMs: before?.lastGoodMs ?? null,
          error: error instanceof Error ? error.message : String(error),
          output: isAppError(error) ? textOf(error.details['output']) : null,
        });
      }
      throw error;
    }
  }

  /** Ends a look that takes too long: aborted, and not waited for any more. */
  async #timed(detector: Detector, signal: AbortSignal): Promise<readonly Component[] | null> {
    const own = new AbortController();
    const { lookMs = lookDefaultMs } = detector;
    const error = new AppError(
      'too-slow',
      `Cannot detect components with "${detector.name}": it took longer than ${lookMs / 1_000} s`,
    );
    const cancel = this.#options.clock.after(lookMs, () => own.abort(error));
    const either = AbortSignal.any([signal, own.signal]);
    try {
      either.throwIfAborted();
      return await untilAborted(either, detector.detect({ signal: either }));
    } finally {
      cancel();
    }
  }
}

/** What of a find can be told: within the limits of the wire, each (detector, name) once. The rest is said. */
function checked(
  detector: string,
  found: readonly Component[],
): { components: readonly Component[]; problem: string | null } {
  const { checkInItemsMax, versionLengthMax, wordLengthMax } = limits;
  const byKey = new Map<string, Component>();
  let left = 0;
  for (const component of found) {
    const fits =
      component.detector === detector &&
      isWord(component.name, wordLengthMax) &&
      isWord(component.version, versionLengthMax) &&
      (component.architecture === undefined || isWord(component.architecture, wordLengthMax));
    if (fits && byKey.size < checkInItemsMax) byKey.set(componentKey(component), component);
    else left += 1;
  }
  const problem =
    left === 0
      ? null
      : `left out ${left} of ${found.length} components: a name or version is empty, too long or not printable, or there are more than ${checkInItemsMax}`;
  return { components: left === 0 && byKey.size === found.length ? found : [...byKey.values()], problem };
}

function isWord(text: string, lengthMax: number): boolean {
  // Counted in code points, as the schema counts; most texts are short enough to need no count.
  return text !== '' && (text.length <= lengthMax || [...text].length <= lengthMax) && isPrintable(text);
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
