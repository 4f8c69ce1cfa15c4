/**
 * The database of a workflow-manager-api, read in one transaction that sees one moment and can write nothing. What goes
 * wrong is told without the address, which holds a password.
 */
import pg from 'pg';
import { limits } from '../base/limits.ts';
import { AppError } from '../domain/error.ts';
import { ConfigurationError } from './exit.ts';

/** The variable that holds its address. */
export const sourceVariable = 'HOLDFAST_IMPORT_URL';

/** A JSON document; null where there is none, or it is larger than any that may be taken. */
export interface SourceDocument {
  readonly data: string | null;
  /** As text; null where there is none. */
  readonly bytes: number | null;
}

export interface SourceCluster extends SourceDocument {
  readonly id: string;
}

/** The check-ins of a cluster at one time of the server's clock. */
export interface SourceCheckIns {
  /** The number of the first row. */
  readonly row: string;
  readonly cluster: string | null;
  readonly at: string | null;
  readonly count: number;
}

export interface SourceRelease extends SourceDocument {
  readonly row: string;
  readonly component: string | null;
  readonly train: string | null;
  readonly version: string | null;
  readonly released: string | null;
}

export interface SourceReport extends SourceDocument {
  readonly id: string;
}

/** Clusters and check-ins come in the order of the clusters' ids, compared by their bytes; check-ins then by time. */
export interface Source {
  /** Where it is, without user and password. */
  readonly label: string;
  clusters(): AsyncIterable<SourceCluster>;
  checkIns(): AsyncIterable<SourceCheckIns>;
  releases(): AsyncIterable<SourceRelease>;
  reports(): AsyncIterable<SourceReport>;
}

const connectTimeoutMs = 10_000;
/** More text than this is no document that the registry takes. */
const documentBytesMax = 2 * limits.bodyBytes;

const tables: Readonly<Record<string, readonly string[]>> = {
  clusters: ['cluster_id', 'data'],
  clusters_checkins: ['checkins_id', 'cluster_id', 'created_at'],
  versions: ['version_id', 'component_name', 'train', 'version', 'release_timestamp', 'data'],
  doctors: ['report_id', 'data'],
};

/** Throws `ConfigurationError` when it cannot be opened or is no such database, `unavailable` when it is lost on the way. */
export async function withSource<T>(
  url: string,
  signal: AbortSignal,
  fn: (source: Source) => Promise<T>,
): Promise<T> {
  const label = labelOf(url);
  const client = clientOf(url);
  let lost: Error | undefined;
  client.on('error', (error) => {
    lost ??= error;
  });
  let ended: Promise<void> | undefined;
  const end = () => {
    // What cannot be ended is gone already.
    ended ??= client.end().catch(() => undefined);
  };
  signal.addEventListener('abort', end, { once: true });
  try {
    signal.throwIfAborted();
    await client.connect().catch((error: unknown) => {
      throw cannotOpen(label, error);
    });
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    // Whatever its server and this user are set to.
    await client.query("SET LOCAL datestyle TO 'ISO, YMD'; SET LOCAL timezone TO 'UTC'");
    await client.query(
      'SET LOCAL statement_timeout TO 0; SET LOCAL idle_in_transaction_session_timeout TO 0',
    );
    await requireTables(client, label);
    const result = await fn(new DatabaseSource(client, label));
    await client.query('COMMIT');
    return result;
  } catch (error) {
    if (error instanceof AppError || error instanceof ConfigurationError) throw error;
    if (lost === undefined && !(error instanceof pg.DatabaseError)) throw error;
    if (error instanceof pg.DatabaseError && error.code === '42501')
      throw new ConfigurationError(
        `Cannot read ${label}: ${error.message}; grant SELECT on its tables, or use another user`,
      );
    const why = error instanceof Error ? error.message : String(error);
    throw new AppError(
      'unavailable',
      `Cannot go on reading ${label}: ${why}; run it again, what was taken stays`,
    );
  } finally {
    signal.removeEventListener('abort', end);
    end();
    await ended;
  }
}

class DatabaseSource implements Source {
  readonly label: string;
  readonly #client: pg.Client;

  constructor(client: pg.Client, label: string) {
    this.#client = client;
    this.label = label;
  }

  clusters(): AsyncIterable<SourceCluster> {
    return this.#rows(
      'clusters',
      20,
      `cluster_id::text AS id, ${document} FROM clusters ORDER BY ${inBytes('cluster_id')}`,
    );
  }

  checkIns(): AsyncIterable<SourceCheckIns> {
    return this.#rows(
      'checkins',
      2_000,
      `min(checkins_id)::text AS row, cluster_id::text AS cluster, created_at::text AS at, count(*)::integer AS count
       FROM clusters_checkins GROUP BY cluster_id, created_at ORDER BY ${inBytes('cluster_id')}, created_at`,
    );
  }

  releases(): AsyncIterable<SourceRelease> {
    return this.#rows(
      'releases',
      100,
      `version_id::text AS row, component_name::text AS component, train::text, version::text,
       release_timestamp::text AS released, ${document} FROM versions ORDER BY version_id`,
    );
  }

  reports(): AsyncIterable<SourceReport> {
    return this.#rows('reports', 20, `report_id::text AS id, ${document} FROM doctors ORDER BY report_id`);
  }

  /** So many at a time are in memory. */
  async *#rows<Row extends pg.QueryResultRow>(
    name: string,
    step: number,
    query: string,
  ): AsyncGenerator<Row> {
    await this.#client.query(`DECLARE source_${name} NO SCROLL CURSOR FOR SELECT ${query}`);
    for (;;) {
      const { rows } = await this.#client.query<Row>(`FETCH ${step} FROM source_${name}`);
      yield* rows;
      if (rows.length < step) break;
    }
    await this.#client.query(`CLOSE source_${name}`);
  }
}

const document = `CASE WHEN octet_length(data::text) <= ${documentBytesMax} THEN data::text END AS data,
  octet_length(data::text) AS bytes`;

function inBytes(column: string): string {
  return `${column}::text COLLATE "C"`;
}

async function requireTables(client: pg.Client, label: string): Promise<void> {
  const { rows } = await client.query<{ name: string; columns: string[] }>(
    `SELECT c.relname AS name, array_agg(a.attname::text) AS columns
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     WHERE a.attnum > 0 AND NOT a.attisdropped AND c.oid = ANY ($1::regclass[])
     GROUP BY c.relname`,
    [await presentTables(client)],
  );
  const there = new Map(rows.map(({ name, columns }) => [name, columns]));
  for (const [name, columns] of Object.entries(tables)) {
    const found = there.get(name);
    const missing = columns.find((column) => !(found ?? []).includes(column));
    if (missing === undefined) continue;
    const what = found === undefined ? `no table ${name}` : `no column ${missing} in its table ${name}`;
    throw new ConfigurationError(
      `Cannot import from ${label}: there is ${what}; is this the database of a workflow-manager-api?`,
    );
  }
}

async function presentTables(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    'SELECT to_regclass(name)::text AS name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL',
    [Object.keys(tables)],
  );
  return rows.map(({ name }) => name);
}

function labelOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  // A password with a sign that is to be escaped reads as a host or a path, which are told.
  const behind = parsed === undefined ? '' : `${parsed.pathname}${parsed.search}${parsed.hash}`;
  if (parsed === undefined || !/^postgres(?:ql)?:\/\//.test(url) || behind.includes('@'))
    throw new ConfigurationError(
      `Cannot use the variable ${sourceVariable}: it is no postgres://user:password@host/database, with @ : / in a password as %40 %3A %2F`,
    );
  return `postgres://${parsed.host}${parsed.pathname}`;
}

function clientOf(url: string): pg.Client {
  try {
    return new pg.Client({
      connectionString: url,
      application_name: 'holdfast import',
      connectionTimeoutMillis: connectTimeoutMs,
      keepAlive: true,
    });
  } catch {
    // What pg says of an address that it cannot read may quote it.
    throw new ConfigurationError(
      `Cannot use the variable ${sourceVariable}: it is no postgres://user:password@host/database`,
    );
  }
}

function cannotOpen(label: string, error: unknown): ConfigurationError {
  const code = (error as { code?: string }).code ?? '';
  const why = reasons[code] ?? (error instanceof pg.DatabaseError ? error.message : undefined);
  const otherwise = /timeout/i.test(String(error))
    ? reasons['ETIMEDOUT']
    : 'it does not answer as PostgreSQL does';
  return new ConfigurationError(`Cannot open ${label}: ${why ?? otherwise}; look at ${sourceVariable}`);
}

const reasons: Readonly<Record<string, string>> = {
  '28P01': 'the user or the password is wrong',
  '28000': 'this user may not connect from here',
  '3D000': 'there is no such database',
  '53300': 'it has too many connections',
  ECONNREFUSED: 'nobody listens there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name of its host cannot be looked up',
  ETIMEDOUT: 'it does not answer',
  EHOSTUNREACH: 'its host cannot be reached',
  ENETUNREACH: 'its host cannot be reached',
  ECONNRESET: 'it broke off the connection',
  ENOENT: 'there is no such socket',
};
