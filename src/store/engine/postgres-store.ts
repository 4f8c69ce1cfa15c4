/**
 * Opening a store on PostgreSQL, and leading it or standing by.
 *
 * `standby`: another process leads. This one reads, follows the log (woken by NOTIFY, at the latest once a second) and
 * once a second tries to take the lead. `ok`: it leads and writes. `failed`: the connection is lost or a commit gave
 * no answer; it connects again with growing pauses and takes the lead anew. If nobody led meanwhile, what became of
 * the unanswered batch is looked up and memory stays true; otherwise whoever builds memory on this store is told.
 */
import type { Cancel, Clock } from '../../base/clock.ts';
import { type Logger, silentLogger } from '../../base/log.ts';
import { systemCaller } from '../../domain/access.ts';
import { AppError } from '../../domain/error.ts';
import { formatPosition, type Mark } from '../../domain/event.ts';
import type { BackupResult } from './backup.ts';
import {
  type CoreLimits,
  type CoreOptions,
  CoreStore,
  checkEnd,
  coreLimits,
  type OpenStore,
  openLog,
} from './core.ts';
import { type MigrationFile, migrationFiles } from './migrations.ts';
import { PostgresDriver, type PostgresOptions } from './postgres.ts';
import type { BatchFailure, Pending } from './queue.ts';

export interface PostgresStoreOptions {
  /** `postgres://…`; may carry a password, which is shown nowhere. */
  url: string;
  clock: Clock;
  /** Written into the database by whoever leads, for people: host name and process id. */
  holder: string;
  logger?: Logger;
  limits?: Partial<CoreLimits>;
  /** The schema's steps; those of this program when absent. */
  migrations?: readonly MigrationFile[];
  /** Opens the database; tests give one that fails on command. */
  openDriver?: (options: PostgresOptions) => PostgresDriver;
}

const lookMs = 1_000;
/** Commits within this wake the others once. One NOTIFY per commit makes commits 6.6 times slower (engine.md §0.8). */
const wakePauseMs = 20;
const reopenFirstMs = 100;
const reopenMaxMs = 5_000;
const followLimit = { revisions: 1_000, bytes: 4 * 1024 * 1024 };

/**
 * Connects, brings the schema up to date and takes the lead if nobody has it. Throws `unavailable` (no connection),
 * `unprocessable` (a newer schema), `internal` (the log does not hold together).
 */
export async function openPostgresStore(options: PostgresStoreOptions): Promise<OpenStore> {
  const { clock, logger = silentLogger } = options;
  const limits = { ...coreLimits, ...options.limits };
  let store: PostgresStore | undefined;
  const open = options.openDriver ?? ((given) => new PostgresDriver(given));
  const driver = open({
    url: options.url,
    onLost: (error) => store?.lost(error),
    onGrown: () => store?.grown(),
  });
  try {
    await driver.connect();
    await driver.migrate(options.migrations ?? migrationFiles('registry', 'postgres'), clock.now());
    const log = await openLog(driver, { ring: limits.ring, logger });
    store = new PostgresStore({ driver, log, clock, logger, limits, holder: options.holder });
    await store.look();
    return store;
  } catch (error) {
    await (store ?? driver).close();
    if (error instanceof AppError || driver.failureOf(error) !== 'broken') throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new AppError(
      'unavailable',
      `Cannot open "${driver.place}": ${reason}; check the server and the URL`,
      { cause: error },
    );
  }
}

class PostgresStore extends CoreStore<PostgresDriver> {
  readonly #holder: string;
  readonly #listeners = new Set<(leading: boolean) => void>();
  /** What the listeners were told. */
  #leading = false;
  /** Whether memory was built while this process led, and nobody else did nor did the database go back since. */
  #intact = false;
  /** Where the log ended before the database went back, until a new epoch says so. */
  #lostAfter: Mark | null = null;
  #pending: Pending | null = null;
  #turn: Promise<void> = Promise.resolve();
  #growing = false;
  #wakePlanned = false;
  #cancelWake: Cancel = () => undefined;

  constructor(options: CoreOptions<PostgresDriver> & { holder: string }) {
    super(options);
    this.#holder = options.holder;
    this.log.subscribe(() => this.#wakeSoon());
  }

  leader(): boolean {
    return this.#leading && this.state !== 'failed';
  }

  onLeadership(listener: (leading: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  backup(): Promise<BackupResult> {
    const wish = `use "pg_dump ${this.driver.place}"`;
    return Promise.reject(
      new AppError(
        'unprocessable',
        `Cannot back up a store on PostgreSQL: ${wish}, it sees one consistent state`,
      ),
    );
  }

  /** Leads if nobody does, else follows. Throws what the database throws. */
  async look(): Promise<void> {
    const answer = await this.driver.tryLead(this.#holder, this.clock.now());
    switch (answer.kind) {
      case 'leads':
        return this.#lead(answer.alone);
      case 'taken':
        return this.#standBy(answer.holder);
      case 'ghost':
        throw new Error('the session that was lost still holds the lead');
    }
  }

  /** The writing connection is gone. */
  lost(error: Error): void {
    if (!this.closing && this.state !== 'failed') this.#fail(error);
  }

  /** Another process has written. */
  grown(): void {
    if (this.state !== 'standby' || this.#growing) return;
    this.#growing = true;
    this.#inTurn(() => {
      this.#growing = false;
      return this.#follow();
    });
  }

  protected async release(): Promise<void> {
    this.#cancelWake();
    await this.#turn;
    await this.driver.close();
  }

  protected onFailure({ kind, error, pending }: BatchFailure): () => AppError {
    if (kind === 'full') {
      const reason = error instanceof Error ? error.message : String(error);
      this.enter('storage-full', `the database's disk is full (${reason}); the next try is in a second`);
      this.later(lookMs, () => this.#resume());
      return () =>
        new AppError('storage-full', "Cannot write: the database's disk is full", { retryAfterMs: lookMs });
    }
    this.#pending = pending;
    return this.#fail(error);
  }

  #fail(error: unknown): () => AppError {
    const reason = error instanceof Error ? error.message : String(error);
    this.enter('failed', `the database failed (${reason}); it is being connected again`);
    this.queue.halt(failedError);
    this.later(reopenFirstMs, () => this.#reopen(reopenFirstMs));
    return failedError;
  }

  #reopen(pauseMs: number): void {
    const again = async () => {
      await this.driver.reopen();
      await this.look();
    };
    this.#inTurn(again, Math.min(reopenMaxMs, pauseMs * 2));
  }

  /** One after another, because each moves the log. One that fails is followed by connecting again. */
  #inTurn(work: () => Promise<void>, nextMs = reopenFirstMs): void {
    this.#turn = this.#turn.then(work).catch((error: unknown) => {
      if (this.closing) return;
      const reason = error instanceof Error ? error.message : String(error);
      this.enter('failed', `the database does not answer as it must (${reason}); it is tried again`);
      this.queue.halt(failedError);
      this.later(nextMs, () => this.#reopen(nextMs));
    });
  }

  async #standBy(holder: string): Promise<void> {
    this.#pending = null;
    this.#lostAfter = null;
    this.queue.halt(standbyError);
    await this.#follow();
    if (this.state !== 'standby') this.enter('standby', `${holder} leads`);
    this.later(lookMs, () => this.#inTurn(() => this.look()));
    this.#become(false);
  }

  /** May fail anywhere and is then run again: what it has learned stays in fields until it is acted on. */
  async #lead(alone: boolean): Promise<void> {
    if (!alone) this.#intact = false;
    const pending = this.#pending;
    const kept = this.#intact && pending !== null && (await this.log.isKept(pending.prepared));
    this.#pending = null;
    if (kept) this.queue.settle(pending);
    const before = this.log.head();
    if (!(await this.log.follow(followLimit))) {
      this.#intact = false;
      this.#lostAfter = this.log.head().epoch > before.epoch ? null : (this.#lostAfter ?? before);
    }
    await checkEnd(this.log, this.driver.place);
    this.#resume();
    if (this.#lostAfter !== null) await this.#tellLoss(this.#lostAfter);
    if (!this.#intact) this.#become(true);
  }

  /** The database went back behind what was acknowledged: a copy that lagged took over, or a backup was restored. */
  async #tellLoss(before: Mark): Promise<void> {
    const reason = `the database went back from ${formatPosition(before)} to ${formatPosition(this.log.head())}`;
    await this.beginEpoch(systemCaller, { atLeast: before.epoch + 1, reason });
    this.#lostAfter = null;
  }

  #resume(): void {
    this.enter('ok', null);
    this.queue.resume();
  }

  async #follow(): Promise<void> {
    await this.log.follow(followLimit);
  }

  #become(leading: boolean): void {
    this.#intact = leading;
    if (!leading && !this.#leading) return;
    this.#leading = leading;
    for (const listener of this.#listeners) listener(leading);
  }

  #wakeSoon(): void {
    if (this.#wakePlanned || this.state === 'standby') return;
    this.#wakePlanned = true;
    this.#cancelWake = this.clock.after(wakePauseMs, () => {
      this.#wakePlanned = false;
      // Whoever is not woken looks by himself within a second.
      this.driver.wake().catch((err: unknown) => this.logger.debug({ err }, 'wake-up not sent'));
    });
  }
}

function standbyError(): AppError {
  return new AppError('unavailable', 'Cannot write here: another registry leads, try again or ask that one', {
    retryAfterMs: lookMs,
  });
}

function failedError(): AppError {
  return new AppError('unavailable', 'Cannot write: the database does not answer, try again', {
    retryAfterMs: lookMs,
  });
}
