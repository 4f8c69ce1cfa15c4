/** What the steps of one host promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type HostHistoryStep, isHostPastStep } from '../../src/domain/host-history.ts';
import { inventoryHash } from '../../src/domain/inventory.ts';
import type { Moment } from '../../src/domain/moment.ts';
import type { PageRequest, Stretch } from '../../src/domain/services.ts';
import { hostPastStatements } from '../../src/store/host-past-sql.ts';
import { hostStatements } from '../../src/store/host-sql.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const minuteMs = 60_000;
const all = { limit: 1_000 };
const ago = (agoMs: number): Moment => ({ kind: 'ago', agoMs });
const ever: Stretch = { from: ago(86_400_000) };

export function hostStepsContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    const stores = await openRegistryStores(await openStore(t, clock), clock, new SeededRandom(9));
    clock.stall(86_400_000);
    return stores;
  }

  const told = async (
    { componentHistory }: RegistryStores,
    host: string,
    { stretch = ever, page = all }: { stretch?: Stretch; page?: PageRequest } = {},
  ) => {
    const { items, next } = await componentHistory.steps(host, stretch, page);
    return { words: items.map(wordsOf), next };
  };

  /** A host to which everything happens that may, a minute apart; its components change in between. */
  async function lived(stores: RegistryStores): Promise<string> {
    const { hosts, clock } = stores;
    const edge = await joinHost(stores, 'edge-1', 'eu');
    const checkIn = async (version: string) => {
      const components = [{ name: 'bash', version, detector: 'dpkg' }];
      const hash = inventoryHash(components);
      await hosts.checkIn(edge.caller, edge.id, { base: null, hash, components, removed: [] });
    };
    clock.stall(minuteMs);
    await checkIn('1');
    await hosts.change(admin, 'edge-1', { labels: { env: 'prod' } }, null);
    clock.stall(minuteMs);
    await hosts.change(admin, 'edge-1', { region: 'us', name: 'shop' }, null);
    clock.stall(minuteMs);
    await edge.beat({ leaving: true });
    clock.stall(minuteMs);
    await edge.beat();
    clock.stall(minuteMs);
    await checkIn('2');
    clock.stall(minuteMs);
    await hosts.lapse(edge.id);
    clock.stall(minuteMs);
    await hosts.revoke(admin, 'shop');
    clock.stall(minuteMs);
    await hosts.join(admin, { name: 'shop', region: null, machineId: edge.machineId });
    clock.stall(minuteMs);
    await hosts.remove(admin, 'shop', null);
    clock.stall(minuteMs);
    return edge.id;
  }

  const life = [
    'host.joined edge-1',
    'host.labelled edge-1: labels',
    'installed bash',
    'host.renamed shop: name region',
    'host.left shop: status reason',
    'host.returned shop: status reason',
    'changed bash',
    'host.lapsed shop: status reason',
    'host.revoked shop: revokedAt',
    'host.joined shop: revokedAt',
    'host.removed shop',
    'removed bash',
  ];

  describe('InventoryHistory.steps()', () => {
    it('tells each step of the host itself beside those of its components', async (t) => {
      const stores = await open(t);
      const id = await lived(stores);
      assert.deepEqual((await told(stores, id)).words, life);
      for (const name of ['edge-1', 'shop']) assert.deepEqual((await told(stores, name)).words, life);
      const { items } = await stores.componentHistory.steps(id, ever, all);
      const renamed = items.filter(isHostPastStep)[2];
      assert.deepEqual(
        [renamed?.before?.name, renamed?.before?.region, renamed?.after?.name, renamed?.after?.region],
        ['edge-1', 'eu', 'shop', 'us'],
      );
      const ends = [items[0]?.before, items.filter(isHostPastStep).at(-1)?.after];
      assert.deepEqual(ends, [null, null]);
    });

    it('goes on from page to page without a gap or a step twice, whatever the size', async (t) => {
      const stores = await open(t);
      const id = await lived(stores);
      for (const limit of [1, 2, 3, 5, 11, 12]) {
        const words: string[] = [];
        let next: string | null = null;
        do {
          const page: PageRequest = next === null ? { limit } : { limit, cursor: next };
          const found = await told(stores, id, { page });
          words.push(...found.words);
          next = found.next;
        } while (next !== null);
        assert.deepEqual(words, life, `${limit} at once`);
      }
    });

    it('begins after a moment and ends at another', async (t) => {
      const stores = await open(t);
      const id = await lived(stores);
      const within = async (from: number, to: number) =>
        (await told(stores, id, { stretch: { from: ago(from * minuteMs), to: ago(to * minuteMs) } })).words;
      assert.deepEqual(await within(8, 5), life.slice(4, 7));
      assert.deepEqual(await within(9, 8), life.slice(3, 4));
      assert.deepEqual(await within(2, 1), life.slice(10));
      await assert.rejects(within(1, 0), { code: 'not-found' });
    });

    it('is none of another host that has the name now, and not found for what never was', async (t) => {
      const stores = await open(t);
      await lived(stores);
      await joinHost(stores, 'shop');
      assert.deepEqual((await told(stores, 'shop')).words, ['host.joined shop']);
      for (const host of ['nobody', '01890000-0000-7000-8000-000000000001'])
        await assert.rejects(told(stores, host), { code: 'not-found' });
    });

    it('a change that shows nothing is no step, however many there are', async (t) => {
      const stores = await open(t);
      const { hosts, clock, store } = stores;
      const edge = await joinHost(stores, 'edge-1');
      // As what tells later that a host flaps: another version, and nothing else.
      for (let version = 2; version < 9; version += 1) {
        clock.stall(minuteMs);
        await store.write(admin, async (tx) => {
          const [id, atMs] = [edge.id, clock.now()];
          await tx.run(hostPastStatements(store.dialect).keep, { id, atMs, removed: 0 });
          const still = { status: 'UP', reason: null, version, gone_seen_ms: null } as const;
          await tx.run(hostStatements(store.dialect).setStatus, { id, changed_at_ms: atMs, ...still });
        });
      }
      await hosts.load();
      clock.stall(minuteMs);
      await hosts.change(admin, 'edge-1', { region: 'eu' }, null);
      const first = await told(stores, 'edge-1', { page: { limit: 1 } });
      assert.deepEqual(first.words, ['host.joined edge-1']);
      const page = { limit: 1, cursor: first.next ?? '' };
      assert.deepEqual(await told(stores, 'edge-1', { page }), {
        words: ['host.labelled edge-1: region'],
        next: null,
      });
    });
  });
}

function wordsOf(step: HostHistoryStep): string {
  const { kind, name } = step;
  const changed = isHostPastStep(step) && step.changed.length > 0 ? `: ${step.changed.join(' ')}` : '';
  return `${kind} ${name}${changed}`;
}
