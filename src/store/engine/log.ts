/**
 * The one ordered log on SQL: revisions, their hash chain, the lives (epochs) they belong to, and who listens.
 *
 * A revision is one call's events. Its hash is SHA-256 over the hash before it, its number and its events as text, so
 * a lost, swapped or altered row shows. `log_base` in the table `meta` is the mark up to which the log was compacted:
 * the chain begins there. Revisions go on counting through epochs; watchers only read within the current one.
 */
import { hash as digest } from 'node:crypto';
import { sql } from 'kysely';
import { formatInstant } from '../../base/time.ts';
import { AppError } from '../../domain/error.ts';
import {
  type ChangeEvent,
  type EventDraft,
  formatPosition,
  type Mark,
  type Position,
  type Revision,
} from '../../domain/event.ts';
import type { EventLog } from '../../domain/services.ts';
import type { Driver, EpochRow, LogEntries, RevisionRow } from './driver.ts';
import type { Dialect, Session } from './port.ts';
import { type Arg, compile } from './query.ts';
import { type Kept, Ring, type RingLimits } from './ring.ts';

/** The hash of nothing chained. */
export const emptyHash = `sha256:${digest('sha256', '', 'hex')}`;

/** The hash after a revision. The parts cannot run into each other: 71 characters, digits, then `[`. */
export function chain(previous: string, revision: number, events: string): string {
  return `sha256:${digest('sha256', `${previous}${revision}${events}`, 'hex')}`;
}

/** What one call adds to the log. */
export interface Addition {
  readonly now: number;
  readonly actor: string;
  readonly drafts: readonly EventDraft[];
  /** The call begins a new epoch; its `system.rewound` event is added here, where the numbers are known. */
  readonly rewind: Rewind | null;
}

export interface Rewind {
  readonly atLeast: number;
  readonly reason: string;
  /** Told the mark of the rewind's own revision when the batch takes its places; it counts once that is committed. */
  readonly placed?: (mark: Mark) => void;
}

/** A batch's additions with their places in the log: what to store, and what memory becomes once that is committed. */
export interface Prepared {
  readonly entries: LogEntries;
  readonly kept: readonly Kept[];
  /** The revision of each addition; null for one without events. */
  readonly places: readonly (Kept | null)[];
  readonly head: Mark;
  readonly epochStart: number;
}

/** What `verify` found; `revision` is the first bad one. */
export type Verification =
  | { readonly ok: true; readonly from: number; readonly to: number }
  | { readonly ok: false; readonly revision: number; readonly detail: string };

/** The log with what only the store's own side needs. */
export class StoreLog implements EventLog {
  readonly #driver: Driver;
  readonly #statements: LogStatements;
  readonly #ring: Ring;
  readonly #onFault: (error: unknown) => void;
  readonly #listeners = new Set<(revisions: readonly Revision[]) => void>();
  #head: Mark;
  /** First revision of the current epoch. */
  #epochStart: number;
  /** Up to here the log was compacted. */
  #base: Mark;
  /** The number of the last batch that wrote no revision; see `LogEntries.witness`. */
  #witness: number;

  /** `tail` is what `readTail` found; `onFault` hears of listeners that throw. */
  constructor(options: { driver: Driver; tail: Tail; ring: RingLimits; onFault: (error: unknown) => void }) {
    this.#driver = options.driver;
    this.#statements = logStatements(options.driver.dialect);
    this.#onFault = options.onFault;
    this.#head = options.tail.head;
    this.#epochStart = options.tail.epochStart;
    this.#base = options.tail.base;
    this.#witness = options.tail.witness;
    this.#ring = new Ring(options.ring, this.#head.revision + 1);
  }

  head(): Mark {
    return this.#head;
  }

  oldest(): Position {
    return { epoch: this.#head.epoch, revision: Math.max(this.#base.revision, this.#epochStart - 1) };
  }

  read(after: number, limit: { revisions: number; bytes: number }): Promise<readonly Revision[]> {
    if (after < this.oldest().revision) return Promise.reject(compacted(after, this.oldest()));
    if (after + 1 >= this.#ring.first) return Promise.resolve(this.#readRing(after, limit));
    return this.#driver.read((session) => this.#readRows(session, after, limit));
  }

  subscribe(listener: (revisions: readonly Revision[]) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  async hashAt(revision: number): Promise<string | null> {
    if (revision < this.oldest().revision || revision > this.#head.revision) return null;
    const near =
      this.#ring.at(revision) ?? [this.#head, this.#base].find((mark) => mark.revision === revision);
    if (near !== undefined) return near.hash;
    const row = await this.#driver.read((session) => session.get(this.#statements.hash, { revision }));
    return row?.hash ?? null;
  }

  /** Gives a batch's additions their places. Changes nothing: a batch that fails leaves no hole. */
  prepare(additions: readonly Addition[]): Prepared {
    const rows: RevisionRow[] = [];
    const epochs: EpochRow[] = [];
    const places: (Kept | null)[] = [];
    let { epoch, revision, hash } = this.#head;
    let epochStart = this.#epochStart;
    for (const { now, actor, drafts, rewind } of additions) {
      let all = drafts;
      if (rewind !== null) {
        const previous = epoch;
        epoch = Math.max(now, previous + 1, rewind.atLeast);
        epochStart = revision + 1;
        epochs.push({ epoch, start_revision: epochStart, reason: rewind.reason });
        all = [{ type: 'system.rewound', body: { epoch, previous, reason: rewind.reason } }, ...drafts];
      }
      if (all.length === 0) {
        places.push(null);
        continue;
      }
      revision += 1;
      const events = encode(all, {
        position: formatPosition({ epoch, revision }),
        at: formatInstant(now),
        actor,
      });
      const encoded = JSON.stringify(events);
      hash = chain(hash, revision, encoded);
      rows.push({ revision, at_ms: now, events: encoded, hash });
      places.push({ revision, events, encoded, hash });
      rewind?.placed?.({ epoch, revision, hash });
    }
    const witness = rows.length === 0 ? String(this.#witness + 1) : null;
    const kept = places.filter((place) => place !== null);
    return { entries: { rows, epochs, witness }, kept, places, head: { epoch, revision, hash }, epochStart };
  }

  /** Takes over what `prepare` made, once it is committed. */
  advance({ entries, kept, head, epochStart }: Prepared): void {
    this.#head = head;
    this.#epochStart = epochStart;
    if (entries.witness !== null) this.#witness = Number(entries.witness);
    for (const revision of kept) this.#ring.push(revision);
  }

  /** Tells the listeners, in the order in which they subscribed. One that throws is reported and harms no other. */
  tell(revisions: readonly Revision[]): void {
    if (revisions.length === 0) return;
    for (const listener of this.#listeners) {
      try {
        listener(revisions);
      } catch (error) {
        this.#onFault(error);
      }
    }
  }

  /** Whether the database, looked at anew, holds a batch whose commit did not answer. */
  async isKept({ entries }: Prepared): Promise<boolean> {
    const last = entries.rows.at(-1);
    return this.#driver.read(async (session) => {
      if (last === undefined)
        return (await session.get(this.#statements.meta, { key: 'witness' }))?.value === entries.witness;
      return (await session.get(this.#statements.hash, { revision: last.revision }))?.hash === last.hash;
    });
  }

  /** Up to here the log was compacted. */
  base(): Mark {
    return this.#base;
  }

  /** After a compaction was committed: the log begins after `base` now. */
  forget(base: Mark): void {
    this.#base = base;
  }

  /**
   * Takes over what another process has added to the log, and tells the listeners: for whoever does not lead, and for
   * a new leader. False when the database does not hold what was read before: it went back, or began a new epoch.
   * Then a new epoch is told from its first revision. Throws `internal` when the chain does not fit.
   */
  async follow(limit: { revisions: number; bytes: number }): Promise<boolean> {
    const { tail, own, start } = await this.#driver.read((session) => this.#readAhead(session));
    const continues = tail.head.epoch === this.#head.epoch && own === this.#head.hash;
    this.#base = tail.base;
    this.#witness = tail.witness;
    this.#epochStart = tail.epochStart;
    if (!continues) {
      this.#head = tail.head.epoch === this.#head.epoch ? tail.head : start;
      this.#ring.reset(this.#head.revision + 1);
    }
    while (this.#head.revision < tail.head.revision) {
      const after = this.#head.revision;
      const rows = await this.#driver.read((session) => this.#rowsWithin(session, after, limit));
      if (rows.length === 0) throw damaged(this.#driver.place, after + 1, 'is missing');
      this.tell(rows.map((row) => this.#take(row)));
    }
    return continues;
  }

  /** The log's ends, what it has where this one ends, and the mark before its current epoch. */
  async #readAhead(session: Session): Promise<{ tail: Tail; own: string | undefined; start: Mark }> {
    const tail = await readTail(session, this.#statements);
    const hashAt = async (revision: number) => {
      if (revision === tail.base.revision) return tail.base.hash;
      return (await session.get(this.#statements.hash, { revision }))?.hash;
    };
    const revision = Math.max(tail.epochStart - 1, tail.base.revision);
    const hash = await hashAt(revision);
    if (hash === undefined) throw damaged(this.#driver.place, revision, 'is missing');
    return {
      tail,
      own: await hashAt(this.#head.revision),
      start: { epoch: tail.head.epoch, revision, hash },
    };
  }

  #take(row: RevisionRow): Kept {
    const flaw = flawOf(row, this.#head);
    if (flaw !== undefined) throw damaged(this.#driver.place, this.#head.revision + 1, flaw);
    const kept = { revision: row.revision, events: decode(row), encoded: row.events, hash: row.hash };
    this.#head = { epoch: this.#head.epoch, revision: row.revision, hash: row.hash };
    this.#ring.push(kept);
    return kept;
  }

  /**
   * Walks the chain from the first revision kept (or the one after `from`) to the head, in small reads with `pause`
   * between them, and names the first bad revision.
   */
  verify(options: { from?: number; pause: () => Promise<void> }): Promise<Verification> {
    const to = this.#head;
    return verifyChain((fn) => this.#driver.read(fn), this.#statements, { ...options, to });
  }

  #readRing(after: number, limit: { revisions: number; bytes: number }): Revision[] {
    const found: Revision[] = [];
    let bytes = 0;
    for (let revision = after + 1; found.length < limit.revisions; revision += 1) {
      const kept = this.#ring.at(revision);
      if (kept === undefined) break;
      bytes += kept.encoded.length;
      if (found.length > 0 && bytes > limit.bytes) break;
      found.push(kept);
    }
    return found;
  }

  async #readRows(
    session: Session,
    after: number,
    limit: { revisions: number; bytes: number },
  ): Promise<Revision[]> {
    const rows = await this.#rowsWithin(session, after, limit);
    if (rows[0]?.revision !== after + 1) {
      const base = await readBase(session, this.#statements);
      throw compacted(after, {
        epoch: this.#head.epoch,
        revision: Math.max(base?.revision ?? 0, this.oldest().revision),
      });
    }
    return rows.map((row) => ({ revision: row.revision, events: decode(row), encoded: row.events }));
  }

  /** Looks at the sizes first: a thousand revisions can be a few hundred bytes each, or megabytes. */
  async #rowsWithin(
    session: Session,
    after: number,
    limit: { revisions: number; bytes: number },
  ): Promise<RevisionRow[]> {
    const sizes = await session.all(this.#statements.sizes, { after, limit: Math.max(1, limit.revisions) });
    let bytes = 0;
    let to = after;
    for (const size of sizes) {
      bytes += size.bytes;
      if (to > after && bytes > limit.bytes) break;
      to = size.revision;
    }
    return session.all(this.#statements.range, { after, to });
  }
}

/** Where the log of a database begins and ends. */
export interface Tail {
  readonly head: Mark;
  readonly epochStart: number;
  readonly base: Mark;
  readonly witness: number;
}

/**
 * Reads a log's ends within one view. Throws `internal` naming the revision when they do not fit together. A database
 * without any epoch (just created) has none yet.
 */
export async function readTail(session: Session, statements = logStatements(session.dialect)): Promise<Tail> {
  const epoch = await session.get(statements.lastEpoch, {});
  const last = await session.get(statements.last, {});
  const witness = Number((await session.get(statements.meta, { key: 'witness' }))?.value ?? 0);
  const current = epoch?.epoch ?? 0;
  const base = {
    epoch: current,
    ...((await readBase(session, statements)) ?? { revision: 0, hash: emptyHash }),
  };
  const head = last === undefined ? base : { epoch: current, revision: last.revision, hash: last.hash };
  return { head, epochStart: epoch?.start_revision ?? 1, base, witness };
}

/** `verify` for any database with a log, such as a backup that no store has opened. */
export async function verifyChain(
  read: <T>(fn: (session: Session) => Promise<T>) => Promise<T>,
  statements: LogStatements,
  options: { from?: number; to: Position & { hash: string }; pause: () => Promise<void> },
): Promise<Verification> {
  const base = (await read((session) => readBase(session, statements))) ?? { revision: 0, hash: emptyHash };
  let at = base;
  if (options.from !== undefined && options.from > base.revision) {
    const revision = options.from;
    const row = await read((session) => session.get(statements.hash, { revision }));
    if (row === undefined) return { ok: false, revision, detail: 'is missing' };
    at = { revision, hash: row.hash };
  }
  const from = at.revision;
  while (at.revision < options.to.revision) {
    const { rows, base: now } = await read(async (session) => ({
      rows: await session.all(statements.range, {
        after: at.revision,
        to: Math.min(at.revision + verifyPage, options.to.revision),
      }),
      base: await readBase(session, statements),
    }));
    if (now !== undefined && now.revision > at.revision) {
      at = now; // compacted meanwhile
      continue;
    }
    for (const row of rows) {
      const detail = flawOf(row, at);
      if (detail !== undefined) return { ok: false, revision: at.revision + 1, detail };
      at = row;
    }
    if (rows.length === 0) return { ok: false, revision: at.revision + 1, detail: 'is missing' };
    await options.pause();
  }
  if (at.revision === options.to.revision && at.hash !== options.to.hash) {
    return { ok: false, revision: at.revision, detail: 'is another one than was committed' };
  }
  return { ok: true, from, to: at.revision };
}

/** Rows in one read of `verify`: about a millisecond, so that a walk disturbs nobody. */
const verifyPage = 500;

function flawOf(row: RevisionRow, before: { revision: number; hash: string }): string | undefined {
  if (row.revision !== before.revision + 1) return 'is missing';
  if (chain(before.hash, row.revision, row.events) !== row.hash) return 'does not match its hash';
  // The time stands twice, in its own column for compaction and in the events: only the latter is in the chain.
  if (!row.events.includes(`"at":"${formatInstant(row.at_ms)}"`))
    return `has another time (at_ms ${row.at_ms}) than its events`;
  return undefined;
}

async function readBase(
  session: Session,
  statements: LogStatements,
): Promise<{ revision: number; hash: string } | undefined> {
  const value = (await session.get(statements.meta, { key: 'log_base' }))?.value;
  return value === undefined ? undefined : parseBase(value);
}

/** `<revision> <hash>`, the value of `log_base`. */
export function formatBase(base: { revision: number; hash: string }): string {
  return `${base.revision} ${base.hash}`;
}

function parseBase(text: string): { revision: number; hash: string } {
  const space = text.indexOf(' ');
  return { revision: Number(text.slice(0, space)), hash: text.slice(space + 1) };
}

function encode(
  drafts: readonly EventDraft[],
  place: { position: string; at: string; actor: string },
): ChangeEvent[] {
  const { position, at, actor } = place;
  return drafts.map((draft, index) => ({ position, index, at, actor, ...draft }));
}

function decode(row: { events: string }): ChangeEvent[] {
  return JSON.parse(row.events) as ChangeEvent[];
}

function compacted(after: number, oldest: Position): AppError {
  return new AppError(
    'compacted',
    `Cannot read events after revision ${after}: the oldest kept position is ${formatPosition(oldest)}, start there or with a snapshot`,
    {
      details: { oldest: formatPosition(oldest) },
    },
  );
}

/** The error of a log that does not hold together. */
export function damaged(place: string, revision: number, detail: string): AppError {
  return new AppError(
    'internal',
    `Cannot trust the log in "${place}": revision ${revision} ${detail}; restore a backup`,
    { details: { revision, damaged: place } },
  );
}

export type LogStatements = ReturnType<typeof logStatements>;

/** The log's queries for one dialect. */
export function logStatements(dialect: Dialect) {
  return {
    lastEpoch: compile(dialect, (db, _arg: Arg<object>) =>
      db.selectFrom('epochs').selectAll().orderBy('epoch', 'desc').limit(1),
    ),
    last: compile(dialect, (db, _arg: Arg<object>) =>
      db.selectFrom('revisions').select(['revision', 'hash']).orderBy('revision', 'desc').limit(1),
    ),
    hash: compile(dialect, (db, arg: Arg<{ revision: number }>) =>
      db.selectFrom('revisions').select('hash').where('revision', '=', arg('revision')),
    ),
    sizes: compile(dialect, (db, arg: Arg<{ after: number; limit: number }>) =>
      db
        .selectFrom('revisions')
        .select(['revision', sql<number>`octet_length(events)`.as('bytes')])
        .where('revision', '>', arg('after'))
        .orderBy('revision')
        .limit(arg('limit')),
    ),
    range: compile(dialect, (db, arg: Arg<{ after: number; to: number }>) =>
      db
        .selectFrom('revisions')
        .selectAll()
        .where('revision', '>', arg('after'))
        .where('revision', '<=', arg('to'))
        .orderBy('revision'),
    ),
    meta: compile(dialect, (db, arg: Arg<{ key: string }>) =>
      db.selectFrom('meta').select('value').where('key', '=', arg('key')),
    ),
    putMeta: compile(dialect, (db, arg: Arg<{ key: string; value: string }>) =>
      db
        .insertInto('meta')
        .values({ key: arg('key'), value: arg('value') })
        .onConflict((conflict) =>
          conflict.column('key').doUpdateSet({ value: (eb) => eb.ref('excluded.value') }),
        ),
    ),
    dropMeta: compile(dialect, (db, arg: Arg<{ key: string }>) =>
      db.deleteFrom('meta').where('key', '=', arg('key')),
    ),
    addEpoch: compile(dialect, (db, arg: Arg<{ epoch: number; start: number; reason: string }>) =>
      db
        .insertInto('epochs')
        .values({ epoch: arg('epoch'), start_revision: arg('start'), reason: arg('reason') }),
    ),
    addRevision: compile(dialect, (db, arg: Arg<RevisionRow>) =>
      db
        .insertInto('revisions')
        .values({ revision: arg('revision'), at_ms: arg('at_ms'), events: arg('events'), hash: arg('hash') }),
    ),
    dropThrough: compile(dialect, (db, arg: Arg<{ to: number }>) =>
      db.deleteFrom('revisions').where('revision', '<=', arg('to')),
    ),
    agesAfter: compile(dialect, (db, arg: Arg<{ after: number; limit: number }>) =>
      db
        .selectFrom('revisions')
        .select(['revision', 'at_ms', 'hash'])
        .where('revision', '>', arg('after'))
        .orderBy('revision')
        .limit(arg('limit')),
    ),
  };
}
