/**
 * The port between what the store does and the database it does it on. SQLite answers at once and PostgreSQL later;
 * both look the same from here. The `store` folder must import nothing but `domain` and `base`.
 */
import type { CompiledQuery } from 'kysely';
import type { Caller } from '../../domain/access.ts';
import type { EventDraft, Mark } from '../../domain/event.ts';
import type { EventLog } from '../../domain/services.ts';

export type Dialect = 'sqlite' | 'postgres';

/** A statement compiled once for one dialect: its text, and where the arguments go. Made by `compile` in query.ts. */
export interface Statement<Args, Row> {
  readonly sql: string;
  bind(args: Args): readonly unknown[];
  /** Only a type: what a row looks like. */
  readonly row?: Row;
}

/** Runs statements, on a read-only connection or inside the open transaction. */
export interface Session {
  readonly dialect: Dialect;
  all<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row[]>;
  get<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row | undefined>;
  /** How many rows it changed. */
  run<Args>(statement: Statement<Args, unknown>, args: Args): Promise<number>;
  /** For queries whose shape depends on the input (filters), built with Kysely. */
  query<Row>(query: CompiledQuery<Row>): Promise<Row[]>;
}

/**
 * One function's share of a batch. It sees what the functions before it in the batch wrote. Inside, await nothing but
 * the session: the whole batch waits. It may be run twice (a batch that has to be rolled back runs again), so it
 * touches nothing but its transaction; effects on memory go into `onCommit`.
 */
export interface Transaction extends Session {
  /** UTC milliseconds, the same for the whole function. */
  readonly now: number;
  readonly caller: Caller;
  /** Adds an event to this call's revision. */
  append(draft: EventDraft): void;
  /** Called after the commit and before the caller's promise resolves, in commit order. Must not throw. */
  onCommit(effect: () => void): void;
}

export interface Store {
  readonly dialect: Dialect;
  readonly log: EventLog;
  /** Queues `fn`; resolves with its result once it is on disk. What it throws rejects, and leaves no trace. */
  write<T>(caller: Caller, fn: (tx: Transaction) => Promise<T>): Promise<T>;
  /** Runs `fn` over one consistent view of what is committed. */
  read<T>(fn: (session: Session) => Promise<T>): Promise<T>;
  /** Begins a new life of the store after a rewind: a greater epoch, at least `atLeast`. Returns its mark. */
  beginEpoch(caller: Caller, options: { atLeast: number; reason: string }): Promise<Mark>;
  /** Finishes what is queued, then closes. */
  close(): Promise<void>;
}
