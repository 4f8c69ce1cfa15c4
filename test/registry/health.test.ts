/** `/healthz` asks the store: on both databases, and when it is gone (the issue "/healthz endpoint" of workflow-manager-api). */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { createRegistry } from '../../src/registry/registry.ts';
import { Stage } from '../helpers/boot.ts';
import { usePostgres } from '../helpers/postgres.ts';
import { tempFolder } from '../helpers/temp.ts';

const postgres = usePostgres();

it('seed 001 health: healthz asks SQLite and says how much it holds', async (t) => {
  const registry = await Stage.open(t).registry();
  const { status, json } = await registry.http({ path: '/healthz' });
  assert.equal(status, 200);
  const { sizeBytes, answerMs, position, ...rest } = json.checks.store.stats;
  assert.deepEqual(rest, { dialect: 'sqlite', leader: true, writesWaiting: 0 });
  assert.ok(sizeBytes >= 4_096 && sizeBytes % 512 === 0, `${sizeBytes}`);
  assert.ok(answerMs >= 0);
  assert.match(position, /^\d+\.\d+$/);
});

it('seed 001 health: healthz says 503 when PostgreSQL lets nobody in any more', async (t) => {
  const databaseUrl = await postgres.createDatabase();
  const registry = await createRegistry({
    dataDir: join(tempFolder(t), 'registry'),
    databaseUrl,
    listen: { host: '127.0.0.1', port: 0 },
  });
  t.after(() => registry.close());
  const look = async () => {
    const response = await fetch(`${registry.url}/healthz`);
    return { status: response.status, store: ((await response.json()) as Health).checks.store };
  };
  const before = await look();
  assert.equal(before.status, 200);
  assert.equal(before.store.stats?.dialect, 'postgres');
  assert.ok((before.store.stats?.sizeBytes ?? 0) > 1_000_000);

  const { pathname } = new URL(databaseUrl);
  const name = pathname.slice(1);
  const elsewhere = databaseUrl.replace(pathname, '/postgres');
  await postgres.query(elsewhere, `ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  await postgres.query(
    elsewhere,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
  );
  const after = await look();
  assert.equal(after.status, 503);
  assert.equal(after.store.status, 'failed');
  assert.equal(after.store.stats, undefined);
  assert.doesNotMatch(after.store.detail ?? '', /secret/);
});

interface Health {
  readonly checks: {
    readonly store: {
      readonly status: string;
      readonly detail?: string;
      readonly stats?: { readonly dialect: string; readonly sizeBytes: number };
    };
  };
}
