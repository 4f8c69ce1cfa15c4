/**
 * Checks: looks at what does not tell of itself, one loop each, and keeps the records of it. A look that hangs ends at its
 * time limit; one that fails, whatever of, harms no other.
 *
 * Level-triggered: each look says anew what its record is to be, so a record that somebody deleted comes back, and one
 * whose place was taken follows as soon as that is free. What somebody set DOWN stays.
 */
import type { Cancel, Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Random } from '../base/random.ts';
import { retry } from '../base/retry.ts';
import type { Search } from '../base/search.ts';
import { systemCaller } from '../domain/access.ts';
import {
  type CheckSpec,
  checkTtlMs,
  decideCheck,
  needsRunner,
  type Outcome,
  type ProbeKind,
  undecided,
  type Verdict,
  verdictOf,
} from '../domain/check.ts';
import { isAppError } from '../domain/error.ts';
import type { CheckRecords } from '../store/check.ts';
import type { LivenessStore } from '../store/liveness.ts';
import { probeHttp } from './checks/http.ts';
import { probeByStep, runnerGraceMs, type Steps } from './checks/step.ts';
import { probeTcp } from './checks/tcp.ts';
import { untilAborted } from './deadline.ts';

export interface ChecksOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly specs: readonly CheckSpec[];
  readonly records: CheckRecords;
  readonly own: Pick<LivenessStore, 'checked' | 'delete' | 'find'>;
  readonly hostName: () => string;
  readonly steps: Steps;
  readonly search: Search;
}

export interface CheckStatus {
  readonly type: string;
  readonly kind: ProbeKind;
  /** `waiting`: no look has said anything yet. `unknown`: the last look could not say. */
  readonly state: 'passing' | 'failing' | 'unknown' | 'waiting';
  /** Since when it is so. */
  readonly sinceMs: number;
  readonly lastLookMs: number | null;
  /** What the last look found, or why its record does not tell it. */
  readonly detail: string | null;
  /** What its command said first. */
  readonly output: string | null;
}

export interface Checks {
  /** In the order of agent.yaml. */
  status(): CheckStatus[];
  /** Looks for the first time. Calling it after `stop` does nothing. */
  start(): void;
  /** Those that could not look do so now: what kept them from it may be over. */
  retryUnknown(): void;
  /** Ends the looks that are under way. Never rejects. */
  stop(): Promise<void>;
}

/** First looks are spread over this, or over the check's own time where that is shorter. */
const spreadMs = 5_000;
/** A look that ends later than its limit by more than this was not slow: this process stood still. */
const lagMaxMs = 1_000;
const storeBackoff = { baseMs: 1_000, capMs: 60_000 };

/** Waits for `start`. */
export function createChecks(options: ChecksOptions): Checks {
  return new RunningChecks(options);
}

class RunningChecks implements Checks {
  readonly #options: ChecksOptions;
  readonly #stopping = new AbortController();
  readonly #checks: readonly RunningCheck[];
  #loops: readonly Loop[] = [];
  #begun: Promise<void> = Promise.resolve();

  constructor(options: ChecksOptions) {
    this.#options = options;
    this.#checks = options.specs.map((spec) => new RunningCheck(spec, options));
  }

  status(): CheckStatus[] {
    return this.#checks.map((check) => check.status);
  }

  start(): void {
    if (this.#stopping.signal.aborted) return;
    this.#begun = this.#begin().catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) this.#options.logger.error({ err: error }, 'checks cannot begin');
    });
  }

  retryUnknown(): void {
    for (const [index, { status }] of this.#checks.entries())
      if (status.state === 'unknown') this.#loops[index]?.wake();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('checks stop'));
    await this.#begun;
    await Promise.all(this.#loops.map((loop) => loop.stop()));
  }

  async #begin(): Promise<void> {
    const { clock, random, logger } = this.#options;
    const uuids = await retry(() => this.#claim(), {
      ...storeBackoff,
      clock,
      random,
      signal: this.#stopping.signal,
      attemptsMax: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
    });
    // No watchdog asks after these loops: a look may rightly take as long as its check allows, which may be hours.
    this.#loops = this.#checks.map((check) =>
      startLoop({
        name: `check ${check.spec.type}`,
        clock,
        random,
        logger,
        everyMs: check.spec.everyMs,
        firstMs: Math.round(random.uniform() * Math.min(spreadMs, check.spec.everyMs)),
        backoffBaseMs: check.spec.everyMs,
        backoffCapMs: Math.max(check.spec.everyMs, storeBackoff.capMs),
        run: ({ signal }) => check.look(uuids.get(check.spec.type) ?? '', signal),
      }),
    );
  }

  /** The uuids of the records; those of checks that are gone are removed. */
  async #claim(): Promise<ReadonlyMap<string, string>> {
    const { records, own, specs } = this.#options;
    const { uuids, left } = await records.claim(specs.map(({ type }) => type));
    for (const { type, uuid } of left) {
      await own.delete(systemCaller, { uuid }).catch((error: unknown) => {
        if (!isAppError(error, 'not-found')) throw error;
      });
      await records.forget(type);
    }
    return uuids;
  }
}

class RunningCheck {
  readonly spec: CheckSpec;
  readonly #options: ChecksOptions;
  readonly #ttlMs: number;
  #verdict: Verdict | null = null;
  #status: CheckStatus;

  constructor(spec: CheckSpec, options: ChecksOptions) {
    this.spec = spec;
    this.#options = options;
    this.#ttlMs = checkTtlMs(spec);
    this.#status = {
      type: spec.type,
      kind: spec.probe.kind,
      state: 'waiting',
      sinceMs: options.clock.now(),
      lastLookMs: null,
      detail: null,
      output: null,
    };
  }

  get status(): CheckStatus {
    return this.#status;
  }

  /** Looks, and says what the record is to be. Throws when that cannot be written. */
  async look(uuid: string, signal: AbortSignal): Promise<{ nextMs: number }> {
    const { clock, own } = this.#options;
    const begunMs = clock.monotonic();
    const outcome = await this.#outcome(signal);
    const record = own.find(uuid);
    // After a lapse nothing is known any more: the next look decides as the first one did.
    const before = record?.reason === 'lapsed' ? undecided : (this.#verdict ?? verdictOf(record));
    const verdict = decideCheck(before, outcome.kind, this.spec);
    this.#verdict = verdict;
    this.#note(outcome, verdict, null);
    if (outcome.kind !== 'unknown' && verdict.status !== null) {
      const problem = await this.#tell(uuid, verdict.status);
      if (problem !== null) this.#note(outcome, verdict, problem);
    }
    // From look to look, not from end to begin: two that are slow do not make the third later.
    return { nextMs: Math.max(0, this.spec.everyMs - (clock.monotonic() - begunMs)) };
  }

  /** Null, or why the record is somebody else's. */
  async #tell(uuid: string, status: 'UP' | 'DOWN'): Promise<string | null> {
    const { own, hostName } = this.#options;
    const { type } = this.spec;
    try {
      await own.checked(systemCaller, { uuid, type, host: hostName(), status, ttlMs: this.#ttlMs });
      return null;
    } catch (error) {
      if (!isAppError(error, 'conflict')) throw error;
      const { holder } = error.details;
      return `record ${String(holder)} has the type "${type}" here and is not the check's; delete it, and the check takes its place`;
    }
  }

  #note(outcome: Outcome, verdict: Verdict, problem: string | null): void {
    const { clock } = this.#options;
    const state =
      outcome.kind === 'unknown'
        ? 'unknown'
        : verdict.status === null
          ? 'waiting'
          : verdict.status === 'UP'
            ? 'passing'
            : 'failing';
    const now = clock.now();
    this.#status = {
      ...this.#status,
      state,
      sinceMs: state === this.#status.state ? this.#status.sinceMs : now,
      lastLookMs: now,
      detail: problem ?? outcome.detail,
      output: outcome.output ?? null,
    };
  }

  /** Rejects with the signal's reason only. */
  async #outcome(signal: AbortSignal): Promise<Outcome> {
    const { clock } = this.#options;
    const { probe, timeoutMs } = this.spec;
    const byRunner = needsRunner(probe);
    const limitMs = byRunner ? timeoutMs + runnerGraceMs : timeoutMs;
    const late = new AbortController();
    const either = AbortSignal.any([signal, late.signal]);
    let begunMs = clock.monotonic();
    let cancel: Cancel | undefined;
    const begin = () => {
      begunMs = clock.monotonic();
      cancel = clock.after(limitMs, () => late.abort(new Error('the look takes too long')));
    };
    try {
      if (!byRunner) begin();
      return await untilAborted(either, this.#probe(either, begin));
    } catch (error) {
      signal.throwIfAborted();
      if (!late.signal.aborted) return { kind: 'unknown', detail: `the look failed: ${String(error)}` };
      if (clock.monotonic() - begunMs > limitMs + lagMaxMs)
        return { kind: 'unknown', detail: 'this machine stood still during the look' };
      return byRunner
        ? { kind: 'unknown', detail: 'the runner does not answer' }
        : { kind: 'failed', detail: `no answer within ${timeoutMs / 1_000} s` };
    } finally {
      cancel?.();
    }
  }

  #probe(signal: AbortSignal, onTurn: () => void): Promise<Outcome> {
    const { search, steps } = this.#options;
    const { probe, type } = this.spec;
    switch (probe.kind) {
      case 'http':
        return probeHttp(probe, { signal, search });
      case 'tcp':
        return probeTcp(probe, { signal });
      case 'exec':
      case 'process':
      case 'systemd':
        return probeByStep(steps, type, { signal, onTurn });
    }
  }
}
