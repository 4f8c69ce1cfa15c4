/**
 * The runner of this host as the agent knows it: whether it is there, what it says of itself, and whom it believes. Looks
 * now and then, so that the status tells a runner that went away before a check needs it.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { type Loop, startLoop } from '../base/loop.ts';
import type { Loops } from '../base/loops.ts';
import type { Random } from '../base/random.ts';
import { RunnerClient } from '../client/runner.ts';
import { AppError, isAppError } from '../domain/error.ts';
import type { RunnerService } from '../domain/services.ts';
import type { TrustKey } from '../domain/trust.ts';
import type { RunnerStatus } from '../wire/runner.ts';

/** Its socket, or one that is part of the same program. */
export type RunnerAccess = { readonly socket: string } | RunnerService;

export interface RunnerLinkOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly loops?: Loops | undefined;
  /** Null: this host has none. */
  readonly runner: RunnerAccess | null;
  /** A check or a detector of this host asks it. */
  readonly needed: boolean;
  /** Whose targets the runner is to believe; null before this host has joined. */
  readonly trusted: () => { readonly hostId: string; readonly keys: readonly TrustKey[] } | null;
  /** The registry's clock; null where nobody knows it. */
  readonly registryNowMs: () => number | null;
  /** The runner is there, and was not before. */
  readonly onFound: () => void;
}

export interface RunnerLinkStatus {
  /** Null: it is part of this program. */
  readonly socket: string | null;
  readonly connected: boolean;
  readonly kind: RunnerStatus['launcher'] | null;
  readonly version: string | null;
  /** Why it cannot be asked, or not for everything. */
  readonly problem: string | null;
}

const everyMs = 30_000;
/** While it is not there, and something needs it; else such looks would be half of what an idle agent does. */
const absentEveryMs = 5_000;
const answerMs = 5_000;

export class RunnerLink {
  /** Whom checks and detectors ask; null: nobody. */
  readonly service: RunnerService | null;
  readonly #options: RunnerLinkOptions;
  readonly #client: RunnerClient | null;
  #status: RunnerLinkStatus | null;
  #loop: Loop | null = null;

  constructor(options: RunnerLinkOptions) {
    const { runner, registryNowMs } = options;
    this.#options = options;
    if (runner === null || 'run' in runner) {
      this.#client = null;
      this.service = runner;
      this.#status =
        runner === null ? null : { socket: null, connected: true, kind: null, version: null, problem: null };
      return;
    }
    this.#client = new RunnerClient({
      socket: runner.socket,
      registryNowMs,
      onBroken: () => this.#broken(),
    });
    this.service = this.#client;
    this.#status = { socket: runner.socket, connected: false, kind: null, version: null, problem: null };
  }

  /** Null: this host has no runner. */
  get status(): RunnerLinkStatus | null {
    return this.#status;
  }

  start(): void {
    const client = this.#client;
    if (client === null) return;
    const { clock, random, logger, loops, needed } = this.#options;
    this.#loop = startLoop({
      name: 'runner',
      clock,
      random,
      logger,
      loops,
      backoffBaseMs: everyMs,
      backoffCapMs: everyMs,
      run: async ({ signal }) => {
        await this.#look(client, signal);
        return { nextMs: needed && this.#status?.connected !== true ? absentEveryMs : everyMs };
      },
    });
  }

  /** Whom it is to believe has changed. */
  wake(): void {
    this.#loop?.wake();
  }

  /** Never rejects. */
  async stop(): Promise<void> {
    await this.#loop?.stop();
    this.#client?.close();
  }

  /** It may be back before the next look, which then would not see that checks have to ask it again. */
  #broken(): void {
    if (this.#status?.connected !== true) return;
    this.#gone(new AppError('unavailable', 'Cannot ask the runner: the connection to it broke'));
    this.#loop?.wake();
  }

  async #look(client: RunnerClient, stopping: AbortSignal): Promise<void> {
    const { clock, logger, onFound } = this.#options;
    const late = new AbortController();
    const cancel = clock.after(answerMs, () =>
      late.abort(new AppError('too-slow', `Cannot ask the runner: no answer within ${answerMs / 1_000} s`)),
    );
    const signal = AbortSignal.any([stopping, late.signal]);
    const before = this.#status;
    try {
      const { launcher: kind, version, problem, trust } = await client.status({ signal });
      const refusal = await this.#name(client, trust, signal);
      const words = refusal ?? problem;
      this.#set({ connected: true, kind, version, problem: words });
      if (before?.connected !== true) {
        logger.info({ kind, version }, 'the runner is there');
        onFound();
      }
    } catch (error) {
      stopping.throwIfAborted();
      if (!isAppError(error)) throw error;
      this.#gone(error);
    } finally {
      cancel();
    }
  }

  /** Says whose targets it is to believe, where it does not know yet; null, or why it believes another. */
  async #name(
    client: RunnerClient,
    known: RunnerStatus['trust'],
    signal: AbortSignal,
  ): Promise<string | null> {
    const trusted = this.#options.trusted();
    if (trusted === null || known?.hostId === trusted.hostId) return null;
    try {
      await client.trust(trusted.hostId, trusted.keys, { signal });
      return null;
    } catch (error) {
      if (isAppError(error, 'forbidden')) return error.message;
      throw error;
    }
  }

  #gone(error: AppError): void {
    if (this.#status?.connected === true) this.#options.logger.warn({ err: error }, 'the runner is gone');
    this.#set({ connected: false, kind: null, version: null, problem: error.message });
  }

  #set(now: Omit<RunnerLinkStatus, 'socket'>): void {
    this.#status = { socket: this.#status?.socket ?? null, ...now };
  }
}
