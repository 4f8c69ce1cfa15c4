/** The old wire formats on a registry that keeps everything in PostgreSQL. */
import assert from 'node:assert/strict';
import { usePostgres } from '../helpers/postgres.ts';
import { inventoryRows } from './inventory-rows.ts';

const postgres = usePostgres();

inventoryRows({
  boot: async () => ({ databaseUrl: await postgres.createDatabase() }),
  async breakTables(_registry, { databaseUrl }) {
    assert.ok(databaseUrl);
    await postgres.query(
      databaseUrl,
      'ALTER TABLE clusters RENAME TO gone; ALTER TABLE releases RENAME TO gone_too',
    );
  },
});
