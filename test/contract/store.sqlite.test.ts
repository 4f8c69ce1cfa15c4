/** The contract of stores on SQLite. */
import Database from 'better-sqlite3';
import { openStore } from '../../src/store/engine/store.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';
import { storeContract } from './store.contract.ts';

storeContract({
  dialect: 'sqlite',
  bed(t) {
    const dataDir = tempFolder(t);
    return {
      open: ({ limits = {}, clock = new FakeClock() } = {}) =>
        openStore({ role: 'registry', dataDir, clock, limits: { ballastBytes: 0, ...limits } }),
      async tamper(sql) {
        const db = new Database(`${dataDir}/holdfast.db`);
        db.exec(sql);
        db.close();
      },
    };
  },
});
