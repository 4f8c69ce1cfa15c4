/** The old wire formats on a registry that keeps everything in SQLite. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { storeFiles } from '../../src/store/engine/files.ts';
import { inventoryRows } from './inventory-rows.ts';

inventoryRows({
  boot: async () => ({}),
  async breakTables({ dataDir }) {
    const database = new Database(storeFiles(join(dataDir)).database);
    database.exec('ALTER TABLE clusters RENAME TO gone; ALTER TABLE releases RENAME TO gone_too');
    database.close();
  },
});
