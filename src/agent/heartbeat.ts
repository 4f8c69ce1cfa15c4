/**
 * The heartbeat: small, first, never behind anything else. It is also the only one that knocks at a registry that
 * does not answer; check-in and reports follow once a beat got through.
 *
 * When. The registry says the interval, which is what it counts the deadline from. Beats fall on the host's own phase
 * of it (by hash of its id, so that hosts that started together do not beat together), ±10 %.
 * After a failure: once, evenly within the spread that the registry told while it was there, so that a whole fleet
 * comes back over that time; then with equal jitter, at most one and a half intervals apart: a registry that starts
 * again counts a deadline of 2.5 from then, and one that takes a whole interval to fail must still be within it.
 * Retry-After is obeyed.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { type Beat, type BeatAnswer, beatIntervalMaxMs, beatIntervalMinMs } from '../domain/host.ts';
import type { HostService } from '../domain/services.ts';
import { untilAborted, within } from './deadline.ts';
import type { SentBeat } from './sync.ts';

export interface HeartbeatOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  readonly hosts: Pick<HostService, 'beat'>;
  readonly hostId: string;
  readonly bootId: string;
  readonly machineId: string;
  /** What the next beat carries beside its number, and what stood where when it was made. */
  readonly compose: () => Omit<SentBeat, 'beat'> & {
    readonly beat: Pick<Beat, 'own' | 'seen' | 'inventory'>;
  };
  /** Awaited before the next beat; `returned`: the first answer after a silence, or at all. What it throws is logged: the next answer says again what is to be done. */
  readonly onAnswer: (
    sent: SentBeat,
    answer: BeatAnswer,
    how: { readonly returned: boolean; readonly tookMs: number },
  ) => Promise<void>;
  /** A beat failed. `again`: what it failed of is mended. `out`: it fails until a person does something. Default: wait, as when it throws what the cure failed of. */
  readonly onFailure?: (error: unknown) => Promise<'again' | 'out' | 'wait'>;
}

export interface HeartbeatStatus {
  readonly connected: boolean;
  /** Since when it is, or since when it is not. */
  readonly sinceMs: number;
  readonly lastAnswerMs: number | null;
  readonly intervalMs: number;
  readonly nextBeatMs: number | null;
  readonly error: { readonly code: string; readonly message: string; readonly atMs: number } | null;
}

export interface Heartbeat {
  status(): HeartbeatStatus;
  /** Ends the beats; with `leaving`, after one last that says so, or after 2 s. Never rejects. */
  stop(options: { leaving: boolean }): Promise<void>;
}

const backoffBaseMs = 1_000;
/** Of the interval last told. */
const backoffCapIntervals = 1.5;
/** How seldom a registry is asked that refuses this host. */
const outMs = 600_000;
const leavingMs = 2_000;
/** Used until the registry has told one. */
const spreadDefaultMs = 5_000;
/** What a wrong answer could make of the interval at the most. */
const intervalRange = { minMs: 100, maxMs: 10 * beatIntervalMaxMs };

export function startHeartbeat(options: HeartbeatOptions): Heartbeat {
  return new RunningHeartbeat(options);
}

/**
 * From `nowMs` to the next beat: the next instant of this host's phase (0–1 of the interval) that is at least half an
 * interval away, moved by `jitter` (0–1) within ±10 %. At most 1.6 intervals, 1.2 when the beats keep their phase;
 * the deadline is 2.5.
 */
export function nextBeatInMs(nowMs: number, intervalMs: number, phase: number, jitter: number): number {
  const toPhaseMs = (((phase * intervalMs - nowMs) % intervalMs) + intervalMs) % intervalMs;
  const waitMs = toPhaseMs < intervalMs / 2 ? toPhaseMs + intervalMs : toPhaseMs;
  return waitMs + (jitter * 2 - 1) * 0.1 * intervalMs;
}

/** A host's own place in every interval: evenly spread over hosts, the same for ever. */
export function phaseOf(hostId: string): number {
  return createHash('sha256').update(hostId).digest().readUInt32BE(0) / 2 ** 32;
}

class RunningHeartbeat implements Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #phase: number;
  readonly #startedAtMs: number;
  readonly #loop: Loop;
  #seq = 0;
  #answered: number | null = null;
  #intervalMs = beatIntervalMinMs;
  #spreadMs = spreadDefaultMs;
  #connected = false;
  #sinceMs: number;
  #lastAnswerMs: number | null = null;
  #nextBeatMs: number | null = null;
  #error: HeartbeatStatus['error'] = null;
  /** Whether the wait within the spread is still to come in this outage. */
  #spreadDue = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#phase = phaseOf(options.hostId);
    this.#startedAtMs = options.clock.now();
    this.#sinceMs = this.#startedAtMs;
    this.#loop = startLoop({
      name: 'heartbeat',
      clock: options.clock,
      random: options.random,
      logger: options.logger,
      loops: options.loops,
      backoffBaseMs,
      backoffCapMs: () => backoffCapIntervals * Math.max(beatIntervalMinMs, this.#intervalMs),
      run: ({ signal }) => this.#run(signal),
    });
  }

  status(): HeartbeatStatus {
    return {
      connected: this.#connected,
      sinceMs: this.#sinceMs,
      lastAnswerMs: this.#lastAnswerMs,
      intervalMs: this.#intervalMs,
      nextBeatMs: this.#nextBeatMs,
      error: this.#error,
    };
  }

  async stop({ leaving }: { leaving: boolean }): Promise<void> {
    await this.#loop.stop();
    this.#nextBeatMs = null;
    if (!leaving || !this.#connected) return;
    const { hosts, hostId, clock, logger } = this.#options;
    const { beat } = this.#compose({ leaving: true });
    try {
      await within(clock, leavingMs, 'the farewell', hosts.beat(systemCaller, hostId, beat));
    } catch (error) {
      logger.warn({ err: error }, 'could not say goodbye to the registry');
    }
  }

  async #run(signal: AbortSignal): Promise<{ nextMs: number }> {
    const { clock, random, logger, onAnswer } = this.#options;
    this.#nextBeatMs = null;
    let exchanged: { sent: SentBeat; answer: BeatAnswer; tookMs: number };
    try {
      exchanged = await this.#exchange(signal);
    } catch (error) {
      signal.throwIfAborted();
      return this.#failed(...(await this.#tell(error)));
    }
    const returned = !this.#connected;
    this.#heard(exchanged.answer);
    try {
      await onAnswer(exchanged.sent, exchanged.answer, { returned, tookMs: exchanged.tookMs });
      this.#answered = exchanged.sent.beat.seq;
    } catch (error) {
      logger.error({ err: error }, 'could not act on the answer to a heartbeat');
    }
    return this.#next(nextBeatInMs(clock.now(), this.#intervalMs, this.#phase, random.uniform()));
  }

  /** What the failure was, and what is to be done: when what would cure it fails, that failure. */
  async #tell(error: unknown): Promise<[error: unknown, how?: 'again' | 'out' | 'wait']> {
    try {
      return [error, (await this.#options.onFailure?.(error)) ?? 'wait'];
    } catch (worse) {
      return [worse];
    }
  }

  async #exchange(signal: AbortSignal): Promise<{ sent: SentBeat; answer: BeatAnswer; tookMs: number }> {
    const { clock, hosts, hostId } = this.#options;
    const sent = this.#compose({ leaving: false });
    const sentMs = clock.monotonic();
    // An answer that comes after the next beat would be due is worth nothing.
    const call = within(clock, this.#intervalMs, 'a heartbeat', hosts.beat(systemCaller, hostId, sent.beat));
    const answer = await untilAborted(signal, call);
    return { sent, answer, tookMs: clock.monotonic() - sentMs };
  }

  #compose({ leaving }: { leaving: boolean }): SentBeat {
    const { beat, ...rest } = this.#options.compose();
    this.#seq += 1;
    const { bootId, machineId } = this.#options;
    const { startedAtMs, seq, answered } = {
      startedAtMs: this.#startedAtMs,
      seq: this.#seq,
      answered: this.#answered,
    };
    return { ...rest, beat: { ...beat, bootId, machineId, startedAtMs, seq, answered, leaving } };
  }

  #heard(answer: BeatAnswer): void {
    const { clock, logger } = this.#options;
    this.#lastAnswerMs = clock.now();
    this.#intervalMs = Math.min(intervalRange.maxMs, Math.max(intervalRange.minMs, answer.intervalMs));
    this.#spreadMs = Math.max(0, answer.spreadMs);
    this.#spreadDue = true;
    this.#error = null;
    if (this.#connected) return;
    this.#connected = true;
    this.#sinceMs = this.#lastAnswerMs;
    logger.info({ intervalMs: this.#intervalMs }, 'connected to the registry');
  }

  /** The first failure of an outage waits within the spread; the others are the loop's, with its back-off. */
  #failed(error: unknown, how: 'again' | 'out' | 'wait' = 'wait'): { nextMs: number } {
    const { clock, random, logger } = this.#options;
    const atMs = clock.now();
    this.#error = {
      code: error instanceof AppError ? error.code : 'internal',
      message: messageOf(error),
      atMs,
    };
    if (this.#connected) {
      this.#connected = false;
      this.#sinceMs = atMs;
    }
    if (how === 'again') return this.#next(0);
    if (how === 'out') {
      logger.error({ err: error, retryMs: outMs }, 'the registry refuses this host');
      return this.#next(outMs * (0.9 + 0.2 * random.uniform()));
    }
    if (!this.#spreadDue) throw error;
    this.#spreadDue = false;
    const askedMs = error instanceof AppError ? (error.retryAfterMs ?? 0) : 0;
    const nextMs = Math.min(askedMs, limits.retryAfterMs) + this.#spreadMs * random.uniform();
    logger.warn({ err: error, retryMs: Math.round(nextMs) }, 'lost the registry');
    return this.#next(nextMs);
  }

  #next(nextMs: number): { nextMs: number } {
    this.#nextBeatMs = Math.round(this.#options.clock.now() + nextMs);
    return { nextMs };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
