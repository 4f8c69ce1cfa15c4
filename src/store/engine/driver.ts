/**
 * What the write queue and the log need of a database. sqlite.ts and postgres.ts implement it; tests add one that
 * fails on command. Nothing here knows of events, callers or services.
 */
import type { Dialect, Session } from './port.ts';

/** A committed call as the table `revisions` holds it. */
export interface RevisionRow {
  readonly revision: number;
  readonly at_ms: number;
  /** The JSON array of its events, exactly as watchers get it. */
  readonly events: string;
  /** `sha256:` + hex over the hash before, the revision and the events. */
  readonly hash: string;
}

/** A life of the store: `start_revision` is its first revision. */
export interface EpochRow {
  readonly epoch: number;
  readonly start_revision: number;
  readonly reason: string;
}

/** What a batch adds to the log, written last before its commit. */
export interface LogEntries {
  readonly rows: readonly RevisionRow[];
  readonly epochs: readonly EpochRow[];
  /** For a batch without revisions: a text of its own under meta `witness`, so that its commit can be recognised. */
  readonly witness: string | null;
}

/**
 * What a failure means for the batch that met it. `full`: no room, nothing is kept. `broken`: whether the
 * transaction is kept is unknown until the database has been looked at anew. `fenced`: another process writes now.
 * `refused`: that one statement was wrong.
 */
export type Failure = 'full' | 'broken' | 'fenced' | 'refused';

export interface Driver {
  readonly dialect: Dialect;
  /** Where the data lies, for messages: a path, or a URL without its password. */
  readonly place: string;
  /** The one writing connection. Inside `begin` … `commit` it is the transaction. */
  readonly writer: Session;
  begin(): Promise<void>;
  /** Marks a place to which `undo` returns; `release` forgets it. Not nested. */
  savepoint(): Promise<void>;
  undo(): Promise<void>;
  release(): Promise<void>;
  append(entries: LogEntries): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /** Runs `fn` over one consistent view. Calls may wait for each other, so one inside another never ends. */
  read<T>(fn: (session: Session) => Promise<T>): Promise<T>;
  failureOf(error: unknown): Failure;
  /** Closes and opens all connections and checks them as at the start. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}
