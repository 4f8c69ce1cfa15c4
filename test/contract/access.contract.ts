/** What tokens promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Store } from '../../src/store/engine/port.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const dayMs = 86_400_000;

export function accessContract(openStore: OpenStoreForTest): void {
  describe('AccessStore.forget()', () => {
    it('deletes what expired or was revoked thirty days ago, and nothing that can still be used', async (t) => {
      const clock = new FakeClock();
      const store = await openStore(t, clock);
      const { access, ...stores } = await openRegistryStores(store, clock, new SeededRandom(1));
      const issue = (subject: string, lifeDays: number) =>
        access.issue(admin, { role: 'viewer', subject, hostId: null, lifeMs: lifeDays * dayMs });
      await issue('short', 1);
      const long = await issue('long', 40);
      // A second credential revokes the first one.
      await joinHost({ access, ...stores }, 'edge-1');
      await joinHost({ access, ...stores }, 'edge-1');
      await access.forget();
      assert.deepEqual(await subjects(store), ['host:edge-1', 'host:edge-1', 'long', 'short']);
      clock.stall(29 * dayMs);
      await access.forget();
      assert.deepEqual(await subjects(store), ['host:edge-1', 'host:edge-1', 'long', 'short']);
      clock.stall(2.5 * dayMs);
      await access.forget();
      assert.deepEqual(await subjects(store), ['host:edge-1', 'long']);
      assert.equal(access.authenticate(long).subject, 'long');
    });

    it('drops expired tokens from memory', async (t) => {
      const clock = new FakeClock();
      const stores = await openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
      const issue = (lifeDays: number) =>
        stores.access.issue(admin, { role: 'viewer', subject: 'x', hostId: null, lifeMs: lifeDays * dayMs });
      await issue(1);
      await issue(2);
      assert.equal(stores.access.size, 2);
      clock.stall(1.5 * dayMs);
      await stores.access.forget();
      assert.equal(stores.access.size, 1);
    });
  });
}

async function subjects(store: Store): Promise<string[]> {
  const query = { sql: 'SELECT subject FROM tokens', parameters: [] } as never;
  const rows = await store.read((session) => session.query<{ subject: string }>(query));
  return rows.map(({ subject }) => subject).sort();
}
