/** What a store remembers of what hosts were told to believe. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Caller, systemCaller } from '../../src/domain/access.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import { type Told, TrustStore } from '../../src/store/trust.ts';
import { FakeClock } from '../helpers/clock.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const operator: Caller = { role: 'admin', subject: 'ann' };
const told: Told = { urls: [], keys: ['a', 'b'], ca: ['x', 'y'] };

export function trustContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext) => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const events: ChangeEvent[] = [];
    store.log.subscribe((revisions) => {
      events.push(...revisions.flatMap((revision) => revision.events));
    });
    return { clock, store, events, trust: new TrustStore(store) };
  };
  const whats = (events: readonly ChangeEvent[]) =>
    events.map(({ type, actor, body }) => [type, actor, (body as { what: string }).what]);

  describe('TrustStore.tell()', () => {
    it('counts from one, and the same again neither counts nor is an event', async (t) => {
      const { store, trust, events } = await open(t);
      assert.equal(trust.serial, 0);
      assert.equal(await trust.tell(systemCaller, told), null);
      assert.equal(trust.serial, 1);
      const again = new TrustStore(store);
      assert.deepEqual((await again.tell(systemCaller, told))?.keys, told.keys);
      assert.deepEqual([again.serial, events.length], [1, 0]);
    });

    it('counts each change once; keys that changed are events, other URLs are none', async (t) => {
      const { clock, trust, events } = await open(t);
      await trust.tell(systemCaller, told);
      await trust.tell(operator, { ...told, urls: ['https://r.example'] });
      assert.deepEqual([trust.serial, events.length], [2, 0]);
      assert.equal(trust.changedAtMs('ca'), null);
      clock.stall(1_000);
      const both = { urls: [], keys: ['b', 'c'], ca: ['y', 'z'] };
      assert.deepEqual((await trust.tell(operator, both))?.urls, ['https://r.example']);
      assert.equal(trust.serial, 3);
      assert.deepEqual(whats(events), [
        ['system.rotated', 'ann', 'signing-key'],
        ['system.rotated', 'ann', 'ca'],
      ]);
      assert.deepEqual(events[0]?.body, { what: 'signing-key', keys: ['b', 'c'], before: ['a', 'b'] });
      assert.equal(trust.changedAtMs('ca'), clock.now());
    });

    it('changes memory with the commit, and not at all when there is none', async (t) => {
      const { trust, store } = await open(t);
      await trust.tell(systemCaller, told);
      let taken = false;
      const writing = trust.tell(operator, { ...told, keys: ['b', 'c'] }, () => {
        taken = true;
      });
      assert.deepEqual([taken, trust.serial], [false, 1]);
      await writing;
      assert.deepEqual([taken, trust.serial], [true, 2]);
      await store.close();
      taken = false;
      await assert.rejects(
        trust.tell(operator, { ...told, keys: ['c', 'd'] }, () => {
          taken = true;
        }),
      );
      assert.deepEqual([taken, trust.serial], [false, 2]);
    });
  });

  describe('TrustStore.note()', () => {
    it('is an event that no target counts', async (t) => {
      const { trust, events } = await open(t);
      await trust.tell(systemCaller, told);
      await trust.note(operator, 'certificate', ['leaf']);
      assert.equal(trust.serial, 1);
      assert.deepEqual(whats(events), [['system.rotated', 'ann', 'certificate']]);
    });
  });
}
