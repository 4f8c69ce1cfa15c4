/** The contract of stores on PostgreSQL. */
import { openPostgresStore } from '../../src/store/engine/postgres-store.ts';
import { FakeClock } from '../helpers/clock.ts';
import { usePostgres } from '../helpers/postgres.ts';
import { storeContract } from './store.contract.ts';

const postgres = usePostgres();

storeContract({
  dialect: 'postgres',
  async bed() {
    const url = await postgres.createDatabase();
    return {
      open: ({ limits = {}, clock = new FakeClock() } = {}) =>
        openPostgresStore({ url, clock, limits, holder: 'test' }),
      async tamper(sql) {
        await postgres.query(url, sql);
      },
    };
  },
});
