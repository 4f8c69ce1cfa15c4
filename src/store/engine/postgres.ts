/**
 * PostgreSQL by pg: one connection that writes or waits to lead, and a small pool that reads.
 *
 * Of several registries on one database one leads: its writing session holds an advisory lock, and every append checks
 * the `term` that it took with the lock. The lock says who may begin to write; the term makes sure that a leader whose
 * session the server has given up can finish nothing: the row is share-locked until its commit, so whoever leads next
 * either sees that commit or has prevented it.
 */

import type { CompiledQuery } from 'kysely';
import pg from 'pg';
import { AppError } from '../../domain/error.ts';
import type { Driver, Failure, LogEntries } from './driver.ts';
import { type LogStatements, logStatements } from './log.ts';
import { ledger, pendingMigrations } from './migrate.ts';
import type { MigrationFile } from './migrations.ts';
import type { Session, Statement } from './port.ts';

export interface PostgresOptions {
  url: string;
  /** Called when the writing connection is gone, also while it is idle. */
  onLost: (error: Error) => void;
  /** Called when another process says that the log has grown. */
  onGrown: () => void;
  /** Connections that read at the same time. */
  readersMax?: number;
}

/** Two keys of advisory locks: "HfRe" and what for. The database is part of a lock's identity by itself. */
const lockSpace = 0x48665265;
const leaderLock = 1;
const migrationLock = 2;

/** The channel of the wake-up; it carries nothing, whoever is woken reads the log. */
const channel = 'holdfast_log';

const connectTimeoutMs = 5_000;
/** A statement that waits for a lock this long has met somebody's forgotten transaction. */
const lockTimeoutMs = 5_000;
/** The server ends a transaction that does nothing for so long: the next leader waits no longer for a stopped one. */
const idleInTransactionMs = 10_000;
const statementTimeoutMs = 30_000;
/** Beyond the server's own limit, for when the server does not answer at all. */
const queryTimeoutMs = statementTimeoutMs + 5_000;
/** For letting go of the lead on a connection that may be dead; the server then finds out by itself. */
const goodbyeTimeoutMs = 1_000;
/** TCP keepalive, on both sides: a peer that is gone without a word is noticed within this and two probes. */
const keepAliveMs = 5_000;
/** Texts that get a name and stay prepared in each connection. Queries built per input may exceed it and go unnamed. */
const preparedMax = 500;

/**
 * `leads`: this process writes now; `alone`: nobody did since it did. `taken`: another does. `ghost`: this process's own
 * session before, which the server has not given up yet.
 */
export type LeadAnswer =
  | { readonly kind: 'leads'; readonly alone: boolean }
  | { readonly kind: 'taken'; readonly holder: string }
  | { readonly kind: 'ghost' };

/** pg takes it, its types do not know it. */
interface QueryWithTimeout extends pg.QueryConfig {
  readonly query_timeout: number;
}

interface Leadership {
  readonly term: number;
  readonly holder: string;
}

export class PostgresDriver implements Driver {
  readonly dialect = 'postgres';
  readonly place: string;
  readonly #options: PostgresOptions;
  readonly #statements: LogStatements = logStatements('postgres');
  readonly #names = new Map<string, string>();
  readonly #readers: pg.Pool;
  #client: pg.Client | undefined;
  #writer: PostgresSession | undefined;
  /** The term this process leads in; undefined while it does not. */
  #term: number | undefined;

  constructor(options: PostgresOptions) {
    this.#options = options;
    this.place = withoutPassword(options.url);
    this.#readers = new pg.Pool({ ...settings(options.url), max: options.readersMax ?? 4 });
    // An idle reader that the server drops is replaced at the next read; without a listener it would end the process.
    this.#readers.on('error', ignore);
  }

  get writer(): Session {
    return this.#session();
  }

  begin(): Promise<void> {
    return this.#session().exec('BEGIN');
  }

  savepoint(): Promise<void> {
    return this.#session().exec('SAVEPOINT one');
  }

  async undo(): Promise<void> {
    await this.#session().exec('ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one');
  }

  release(): Promise<void> {
    return this.#session().exec('RELEASE SAVEPOINT one');
  }

  async append({ rows, epochs, witness }: LogEntries): Promise<void> {
    const session = this.#session();
    const term = this.#term;
    for (const { epoch, start_revision: start, reason } of epochs) {
      await session.run(this.#statements.addEpoch, { epoch, start, reason });
    }
    const expected = witness === null ? rows.length : 1;
    const written =
      witness === null
        ? await session.change(appendRows, [
            term,
            rows.map((row) => row.revision),
            rows.map((row) => row.at_ms),
            rows.map((row) => row.events),
            rows.map((row) => row.hash),
          ])
        : await session.change(appendWitness, [term, witness]);
    if (written !== expected) throw new Fenced();
  }

  commit(): Promise<void> {
    return this.#session().exec('COMMIT');
  }

  async rollback(): Promise<void> {
    await this.#session().exec('ROLLBACK');
  }

  async read<T>(fn: (session: Session) => Promise<T>): Promise<T> {
    const client = await this.#readers.connect();
    const session = new PostgresSession(client, this.#names);
    try {
      await session.exec('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      const result = await fn(session);
      await session.exec('COMMIT');
      client.release();
      return result;
    } catch (error) {
      const usable = this.failureOf(error) === 'refused' && (await rolledBack(session));
      client.release(!usable);
      throw error;
    }
  }

  failureOf(error: unknown): Failure {
    if (error instanceof Fenced) return 'fenced';
    if (error instanceof AppError || !(error instanceof Error)) return 'refused';
    if (error instanceof pg.DatabaseError) {
      if (error.code === '53100') return 'full';
      return brokenClasses.test(error.code ?? 'XX') ? 'broken' : 'refused';
    }
    // The system's own errors (ECONNRESET, EPIPE) carry a code, pg's do not.
    return 'code' in error || lostMessages.test(error.message) ? 'broken' : 'refused';
  }

  /** Connects the writer. Throws what pg throws. */
  async connect(): Promise<void> {
    const client = new pg.Client(settings(this.#options.url));
    client.on('error', (error) => this.#lost(client, error));
    client.on('end', () => this.#lost(client, new Error('Connection terminated')));
    client.on('notification', () => this.#options.onGrown());
    await client.connect();
    this.#client = client;
    this.#writer = new PostgresSession(client, this.#names);
    await this.#writer.exec(`LISTEN ${channel}`);
  }

  async reopen(): Promise<void> {
    await this.#disconnect();
    await this.connect();
  }

  /** Takes the lead when nobody has it. */
  async tryLead(holder: string, now: number): Promise<LeadAnswer> {
    const session = this.#session();
    const [lock] = await session.rows<{ taken: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS taken', [
      lockSpace,
      leaderLock,
    ]);
    // Taking the term waits for what the leader before may still be committing.
    const leads = lock?.taken === true;
    const [row] = leads
      ? await session.rows<Leadership>(takeTerm, [holder, now])
      : await session.rows<Leadership>(seeTerm, []);
    if (row === undefined) {
      throw new AppError(
        'internal',
        `Cannot lead in "${this.place}": its table leadership is empty, restore a backup`,
      );
    }
    const before = this.#term;
    if (!leads) return before === row.term ? { kind: 'ghost' } : { kind: 'taken', holder: row.holder };
    this.#term = row.term;
    return { kind: 'leads', alone: before !== undefined && row.term === before + 1 };
  }

  /** Wakes the other processes. */
  async wake(): Promise<void> {
    const client = await this.#readers.connect();
    try {
      await client.query('SELECT pg_notify($1, $2)', [channel, '']);
      client.release();
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  /** Brings the schema up to date, one process at a time. Throws `unprocessable` before any change when it is newer. */
  async migrate(files: readonly MigrationFile[], now: number): Promise<void> {
    const session = this.#session();
    await session.rows('SELECT pg_advisory_lock($1, $2)', [lockSpace, migrationLock]);
    try {
      const [table] = await session.rows<{ name: string | null }>(
        "SELECT to_regclass('migrations')::text AS name",
        [],
      );
      const [found] =
        table?.name == null ? [] : await session.rows<{ version: number | null }>(ledger.version, []);
      for (const { version, name, sql } of pendingMigrations(files, found?.version ?? 0, this.place)) {
        await session.exec('BEGIN');
        try {
          await session.exec(ledger.create.postgres);
          await session.exec(sql);
          await session.change('INSERT INTO migrations (version, name, applied_at_ms) VALUES ($1, $2, $3)', [
            version,
            name,
            now,
          ]);
          await session.exec('COMMIT');
        } catch (error) {
          await session.exec('ROLLBACK');
          const reason = error instanceof Error ? error.message : String(error);
          throw new AppError(
            'internal',
            `Cannot bring "${this.place}" to schema version ${version} (${name}): ${reason}; it stays at the version before`,
            { cause: error },
          );
        }
      }
      await session.change(firstEpoch, [Math.max(1, now)]);
    } finally {
      await session.rows('SELECT pg_advisory_unlock($1, $2)', [lockSpace, migrationLock]);
    }
  }

  async close(): Promise<void> {
    await this.#disconnect();
    await this.#readers.end();
  }

  async #disconnect(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    this.#writer = undefined;
    if (client === undefined) return;
    // The lock goes with the session, but only when the server has noticed its end: whoever comes next need not wait.
    const goodbye: QueryWithTimeout = {
      text: 'SELECT pg_advisory_unlock_all()',
      query_timeout: goodbyeTimeoutMs,
    };
    await client.query(goodbye).catch(ignore);
    // With a query unanswered, pg ends without waiting for the server.
    await client.end().catch(ignore);
  }

  #lost(client: pg.Client, error: Error): void {
    if (client !== this.#client) return;
    this.#client = undefined;
    this.#writer = undefined;
    this.#options.onLost(error);
  }

  #session(): PostgresSession {
    if (this.#writer === undefined) throw new LostConnection();
    return this.#writer;
  }
}

/** Statements on one connection, one after another. */
class PostgresSession implements Session {
  readonly dialect = 'postgres';
  readonly #client: pg.ClientBase;
  readonly #names: Map<string, string>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(client: pg.ClientBase, names: Map<string, string>) {
    this.#client = client;
    this.#names = names;
  }

  async all<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row[]> {
    return (await this.#run(statement.sql, statement.bind(args))).rows as Row[];
  }

  async get<Args, Row>(statement: Statement<Args, Row>, args: Args): Promise<Row | undefined> {
    return (await this.#run(statement.sql, statement.bind(args))).rows[0] as Row | undefined;
  }

  run<Args>(statement: Statement<Args, unknown>, args: Args): Promise<number> {
    return this.change(statement.sql, statement.bind(args));
  }

  async query<Row>(query: CompiledQuery<Row>): Promise<Row[]> {
    return (await this.#run(query.sql, query.parameters)).rows as Row[];
  }

  async rows<Row>(sql: string, values: readonly unknown[]): Promise<Row[]> {
    return (await this.#run(sql, values)).rows as Row[];
  }

  async change(sql: string, values: readonly unknown[]): Promise<number> {
    return (await this.#run(sql, values)).rowCount ?? 0;
  }

  /** One or several statements without arguments. */
  async exec(sql: string): Promise<void> {
    await this.#next(() => this.#client.query(sql));
  }

  #run(sql: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    const name = this.#nameOf(sql);
    return this.#next(() =>
      this.#client.query({ ...(name === undefined ? {} : { name }), text: sql, values: [...values] }),
    );
  }

  /** pg takes one statement at a time; functions may ask for several at once. */
  #next<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(ignore);
    return result;
  }

  #nameOf(sql: string): string | undefined {
    let name = this.#names.get(sql);
    if (name === undefined && this.#names.size < preparedMax) {
      name = `h${this.#names.size}`;
      this.#names.set(sql, name);
    }
    return name;
  }
}

/** Another process has taken the lead since this one did. */
class Fenced extends Error {
  override readonly name = 'Fenced';
}

class LostConnection extends Error {
  override readonly name = 'LostConnection';
  readonly code = 'ENOTCONN';
}

/** Writes only while this process's term stands, and keeps it standing until the commit. */
const appendRows = `
  WITH fence AS (SELECT 1 FROM leadership WHERE one = 1 AND term = $1 FOR SHARE)
  INSERT INTO revisions (revision, at_ms, events, hash)
  SELECT added.* FROM fence, unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[]) AS added`;
const appendWitness = `
  WITH fence AS (SELECT 1 FROM leadership WHERE one = 1 AND term = $1 FOR SHARE)
  INSERT INTO meta (key, value) SELECT 'witness', $2::text FROM fence
  ON CONFLICT (key) DO UPDATE SET value = excluded.value`;
const takeTerm =
  'UPDATE leadership SET term = term + 1, holder = $1, since_ms = $2 WHERE one = 1 RETURNING term, holder';
const seeTerm = 'SELECT term, holder FROM leadership WHERE one = 1';
const firstEpoch = `
  INSERT INTO epochs (epoch, start_revision, reason)
  SELECT $1::bigint, 1, 'created' WHERE NOT EXISTS (SELECT 1 FROM epochs)`;

/** Connection, resources, operator intervention, system and internal errors; and a transaction that the server ended. */
const brokenClasses = /^(08|53|57P|58|XX|25P03|F0)/;
const lostMessages =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|Query read timeout|timeout expired|timeout exceeded)/;

function settings(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    application_name: 'holdfast',
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: queryTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveMs,
    types: {
      getTypeParser: (oid: number, format?: string) =>
        oid === int8 ? parseInt8 : pg.types.getTypeParser(oid, format as 'text'),
    },
    options: [
      `-c lock_timeout=${lockTimeoutMs}`,
      `-c statement_timeout=${statementTimeoutMs}`,
      `-c idle_in_transaction_session_timeout=${idleInTransactionMs}`,
      `-c tcp_keepalives_idle=${keepAliveMs / 1_000}`,
      '-c tcp_keepalives_interval=2',
      '-c tcp_keepalives_count=3',
      '-c tcp_user_timeout=15000',
    ].join(' '),
  };
}

const int8 = 20;

/** What JavaScript cannot hold exactly is refused rather than rounded. */
function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value))
    throw new RangeError(`Cannot read the integer ${text}: it is beyond 2^53`);
  return value;
}

async function rolledBack(session: PostgresSession): Promise<boolean> {
  try {
    await session.exec('ROLLBACK');
    return true;
  } catch {
    return false;
  }
}

function withoutPassword(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  return parsed === undefined ? 'postgres' : `${parsed.protocol}//${parsed.host}${parsed.pathname}`;
}

function ignore(): void {
  // Nobody to tell: whoever needs the connection next meets the same failure and reports it.
}
