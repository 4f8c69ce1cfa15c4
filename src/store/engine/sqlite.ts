/**
 * SQLite by better-sqlite3: one connection that writes, one that reads, each SQL text prepared once.
 *
 * WAL with `synchronous=FULL`, because what was acknowledged survives power loss; better-sqlite3's own default (NORMAL)
 * syncs nothing at a commit. Everything that durability rests on is asserted when a connection opens, not assumed.
 */
import Database from 'better-sqlite3';
import type { CompiledQuery } from 'kysely';
import { AppError } from '../../domain/error.ts';
import type { Driver, Failure, LogEntries } from './driver.ts';
import { type LogStatements, logStatements } from './log.ts';
import type { Session, Statement } from './port.ts';

export interface SqliteOptions {
  file: string;
  /** What kind of store the file must be; see `applicationIds`. */
  applicationId: number;
  /** The native addon where better-sqlite3 cannot find it itself: in the single binary. */
  addon?: object | undefined;
}

/** `PRAGMA application_id`: "HfAg" and "HfRe". */
export const applicationIds = { agent: 0x48664167, registry: 0x48665265 } as const;

/** The first without the WAL-reset bug (3.7.0–3.51.2), which could corrupt a database that two connections checkpoint. */
const versionMin = '3.51.3';
const busyTimeoutMs = 1_000;
/** A WAL that a burst made larger is cut back to this after a checkpoint. */
const walBytesMax = 64 * 1024 * 1024;
/** Queries whose shape depends on the input make new texts; the oldest prepared ones go. */
const preparedMax = 1_000;

/** Opens an existing database. Throws `unprocessable` or `internal` when it is not what it must be. */
export function openSqlite(options: SqliteOptions): SqliteDriver {
  return new SqliteDriver(options);
}

/** A plain connection, for what happens before and beside a running store: creating, migrating, checking. */
export function connect(options: {
  file: string;
  addon?: object | undefined;
  mode?: 'read' | 'write' | 'create';
}): Database.Database {
  const { file, addon, mode = 'write' } = options;
  requireNode();
  const settings = { readonly: mode === 'read', fileMustExist: mode !== 'create', timeout: busyTimeoutMs };
  // The types know nativeBinding only as a path; the addon object is what the single binary has (lib/binding.js).
  return new Database(
    file,
    addon === undefined ? settings : { ...settings, nativeBinding: addon as unknown as string },
  );
}

/** Sets what a connection needs, then asserts it. */
export function prepareConnection(db: Database.Database, options: { applicationId: number }): void {
  if (!db.readonly) {
    db.pragma('journal_mode = WAL');
    db.pragma(`journal_size_limit = ${walBytesMax}`);
  }
  db.pragma('synchronous = FULL');
  db.pragma('foreign_keys = ON');
  const version = String(db.prepare('SELECT sqlite_version()').pluck().get());
  if (!atLeast(version, versionMin)) {
    throw new AppError(
      'unprocessable',
      `Cannot use SQLite ${version}: expected ${versionMin} or later, earlier ones can corrupt a database in WAL mode`,
    );
  }
  const expected = {
    journal_mode: 'wal',
    synchronous: 2,
    foreign_keys: 1,
    application_id: options.applicationId,
  };
  for (const [name, value] of Object.entries(expected)) {
    const found = db.pragma(name, { simple: true });
    if (found !== value)
      throw new AppError(
        'unprocessable',
        `Cannot open "${db.name}": its ${name} is ${String(found)}, expected ${value}`,
      );
  }
}

export class SqliteDriver implements Driver {
  readonly dialect = 'sqlite';
  readonly #options: SqliteOptions;
  readonly #statements: LogStatements = logStatements('sqlite');
  #writer: SqliteSession;
  #reader: SqliteSession;
  /** Reads take turns: there is one read-only connection, and a view belongs to one of them. */
  #reading: Promise<unknown> = Promise.resolve();

  constructor(options: SqliteOptions) {
    this.#options = options;
    this.#writer = this.#connect();
    try {
      this.#reader = this.#connect({ mode: 'read' });
    } catch (error) {
      this.#writer.db.close();
      throw error;
    }
  }

  get place(): string {
    return this.#options.file;
  }

  get writer(): Session {
    return this.#writer;
  }

  /** The writing connection itself, for the online backup. */
  get database(): Database.Database {
    return this.#writer.db;
  }

  begin(): Promise<void> {
    return this.#exec('BEGIN IMMEDIATE');
  }

  savepoint(): Promise<void> {
    return this.#exec('SAVEPOINT one');
  }

  async undo(): Promise<void> {
    await this.#exec('ROLLBACK TO one');
    await this.#exec('RELEASE one');
  }

  release(): Promise<void> {
    return this.#exec('RELEASE one');
  }

  async append({ rows, epochs, witness }: LogEntries): Promise<void> {
    const { addEpoch, addRevision, putMeta } = this.#statements;
    for (const { epoch, start_revision: start, reason } of epochs)
      await this.#writer.run(addEpoch, { epoch, start, reason });
    for (const row of rows) await this.#writer.run(addRevision, row);
    if (witness !== null) await this.#writer.run(putMeta, { key: 'witness', value: witness });
  }

  commit(): Promise<void> {
    return this.#exec('COMMIT');
  }

  rollback(): Promise<void> {
    // After some errors (full, I/O) SQLite has rolled back by itself.
    return this.#writer.db.inTransaction ? this.#exec('ROLLBACK') : Promise.resolve();
  }

  read<T>(fn: (session: Session) => Promise<T>): Promise<T> {
    const result = this.#reading.then(async () => {
      const session = this.#reader;
      session.exec('BEGIN');
      try {
        return await fn(session);
      } finally {
        session.exec('COMMIT');
      }
    });
    this.#reading = result.then(ignore, ignore);
    return result;
  }

  failureOf(error: unknown): Failure {
    const code = error instanceof Database.SqliteError ? error.code : '';
    if (code.startsWith('SQLITE_FULL')) return 'full';
    return brokenCodes.some((broken) => code.startsWith(broken)) ? 'broken' : 'refused';
  }

  /** Writes the whole WAL into the database and empties it; on a disk that was full this gives its room back. */
  checkpoint(): void {
    this.#writer.db.pragma('wal_checkpoint(TRUNCATE)');
  }

  reopen(): Promise<void> {
    return this.#afterReads(() => {
      this.#disconnect();
      this.#writer = this.#connect();
      this.#reader = this.#connect({ mode: 'read' });
    });
  }

  close(): Promise<void> {
    return this.#afterReads(() => this.#disconnect());
  }

  /** Reads that come meanwhile wait. */
  #afterReads(work: () => void): Promise<void> {
    const done = this.#reading.then(work);
    this.#reading = done.then(ignore, ignore);
    return done;
  }

  #disconnect(): void {
    // The writer last: the last connection to close writes the WAL into the database and removes it.
    this.#reader.db.close();
    this.#writer.db.close();
  }

  #connect(options: { mode?: 'read' } = {}): SqliteSession {
    const db = connect({ ...this.#options, ...options });
    try {
      prepareConnection(db, this.#options);
    } catch (error) {
      db.close();
      throw error;
    }
    return new SqliteSession(db);
  }

  #exec(sql: string): Promise<void> {
    return settled(() => this.#writer.exec(sql));
  }
}

/**
 * Statements on one connection. They are done when the call returns; the promise only has the shape of the port.
 * Measured (test/bench/store.ts): a point read of 15 columns 5.0–5.3 µs, 4.2–4.7 µs on a statement prepared by hand.
 */
export class SqliteSession implements Session {
  readonly dialect = 'sqlite';
  readonly db: Database.Database;
  readonly #prepared = new Map<string, Database.Statement<unknown[]>>();

  constructor(db: Database.Database) {
    this.db = db;
  }

  all<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row[]> {
    return settled(() => this.#prepare(statement.sql).all(statement.bind(args)) as Row[]);
  }

  get<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row | undefined> {
    return settled(() => this.#prepare(statement.sql).get(statement.bind(args)) as Row | undefined);
  }

  run<Args>(statement: Statement<Args, unknown>, args: Args): Promise<number> {
    return settled(() => this.#prepare(statement.sql).run(statement.bind(args)).changes);
  }

  query<Row>(query: CompiledQuery<Row>): Promise<Row[]> {
    return settled(() => {
      const prepared = this.#prepare(query.sql);
      if (prepared.reader) return prepared.all(query.parameters) as Row[];
      prepared.run(query.parameters);
      return [];
    });
  }

  exec(sql: string): void {
    this.#prepare(sql).run();
  }

  #prepare(sql: string): Database.Statement<unknown[]> {
    let prepared = this.#prepared.get(sql);
    if (prepared === undefined) {
      prepared = this.db.prepare<unknown[]>(sql);
      if (this.#prepared.size >= preparedMax) this.#prepared.delete(this.#prepared.keys().next().value ?? '');
      this.#prepared.set(sql, prepared);
    }
    return prepared;
  }
}

/** After these nobody can say what a commit did, or whether the file still is what it was. */
const brokenCodes = [
  'SQLITE_IOERR',
  'SQLITE_CORRUPT',
  'SQLITE_NOTADB',
  'SQLITE_CANTOPEN',
  'SQLITE_READONLY',
  'SQLITE_BUSY',
  'SQLITE_LOCKED',
  'SQLITE_PROTOCOL',
  'SQLITE_NOMEM',
  'SQLITE_MISUSE',
  'SQLITE_INTERNAL',
];

/** Whether an error says that the file itself is damaged. */
export function isDamage(error: unknown): error is Error {
  return (
    error instanceof Database.SqliteError &&
    /^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ|IOERR_CORRUPTFS)/.test(error.code)
  );
}

function settled<T>(work: () => T): Promise<T> {
  try {
    return Promise.resolve(work());
  } catch (error) {
    return Promise.reject(error);
  }
}

function atLeast(version: string, min: string): boolean {
  const [a, b] = [version, min].map((text) => text.split('.').map(Number));
  for (let i = 0; i < 3; i += 1) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function ignore(): void {
  // Whoever asked hears of it; the next in line only waits for the end.
}

/** better-sqlite3's addon does not refuse an older Node, it crashes it. */
function requireNode(): void {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 19)) return;
  throw new AppError(
    'unsupported',
    `Cannot open a store with Node ${process.versions.node}: Holdfast needs Node 22.19 or later`,
  );
}
