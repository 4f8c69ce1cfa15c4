/** What questions about past hosts promise, on any store: the answer of then, whatever comes later. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { type HostDocument, hostDocument } from '../../src/domain/host.ts';
import {
  type HostHistoryStep,
  type HostPastStep,
  type HostState,
  isHostPastStep,
} from '../../src/domain/host-history.ts';
import { type CheckIn, type Component, inventoryHash } from '../../src/domain/inventory.ts';
import type { Moment } from '../../src/domain/moment.ts';
import type { HostFilter, Page } from '../../src/domain/services.ts';
import { parseVersionRange } from '../../src/domain/version.ts';
import type { Store } from '../../src/store/engine/port.ts';
import { queryBuilder } from '../../src/store/engine/query.ts';
import { HostsAsOf } from '../../src/store/hosts-as-of.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const minuteMs = 60_000;
const dayMs = 86_400_000;
const all = { limit: 1_000 };

export function hostPastContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(7));
  }

  const moment = (atMs: number): Moment => ({ kind: 'at', atMs });
  const asOf = async ({ hosts }: RegistryStores, atMs: number, filter: HostFilter = {}) =>
    (await hosts.list({ ...filter, asOf: moment(atMs) }, all)).items.map(hostDocument);
  const namesAsOf = async (stores: RegistryStores, atMs: number, filter: HostFilter = {}) =>
    (await asOf(stores, atMs, filter)).map(({ name }) => name);

  const complete = (components: Component[]): CheckIn => ({
    base: null,
    hash: inventoryHash(components),
    components,
    removed: [],
  });
  const nginx = (version: string): Component => ({ name: 'nginx', version, detector: 'dpkg' });

  /** What GET shows of every host now, as it is known as of now: heard at this moment, or before it went. */
  async function shownNow({ hosts, clock }: RegistryStores): Promise<HostDocument[]> {
    const { items } = await hosts.list({}, all);
    return items.map((view) =>
      hostDocument({
        ...view,
        confirmed: true,
        lastSeenMs: view.status === 'UP' ? clock.now() : view.lastSeenMs,
      }),
    );
  }

  describe('HostStore as of a moment', () => {
    it('answers what was so then after every kind of change', async (t) => {
      const stores = await open(t);
      const { hosts, clock } = stores;
      const answers: [atMs: number, shown: HostDocument[]][] = [];
      const note = async () => {
        clock.stall(minuteMs);
        answers.push([clock.now(), await shownNow(stores)]);
        clock.stall(minuteMs);
      };
      await note();
      const edge = await joinHost(stores, 'edge-1', 'eu');
      await joinHost(stores, 'edge-2');
      await note();
      await hosts.change(admin, 'edge-1', { labels: { env: 'prod' }, region: 'us' }, null);
      await note();
      await hosts.checkIn(edge.caller, edge.id, complete([nginx('1.24')]));
      await note();
      await hosts.change(admin, 'edge-1', { name: 'shop' }, null);
      await note();
      await hosts.report(edge.caller, edge.id, {
        epoch: 1,
        items: [{ seq: 1, type: 'host', atMs: clock.now(), body: { self: { rack: 'r7' } } }],
      });
      await note();
      await edge.beat();
      await edge.beat({ leaving: true });
      await note();
      await edge.beat();
      await note();
      await hosts.lapse(edge.id);
      await note();
      await hosts.revoke(admin, 'shop');
      await note();
      const request = { name: 'shop', region: null, machineId: edge.machineId };
      await hosts.join(admin, request);
      await note();
      await hosts.checkIn(edge.caller, edge.id, complete([nginx('1.26')]));
      await hosts.remove(admin, 'shop', null);
      await note();
      await joinHost(stores, 'shop');
      await note();

      for (const [atMs, shown] of answers) assert.deepEqual(await asOf(stores, atMs), shown);
      await hosts.flush();
      await hosts.load();
      for (const [atMs, shown] of answers) {
        assert.deepEqual(await asOf(stores, atMs), shown, 'after a restart');
        for (const one of shown) {
          for (const idOrName of [one.id, one.name])
            assert.deepEqual(hostDocument(await hosts.get(idOrName, moment(atMs))), one);
        }
      }
      const statuses = answers.map(([, shown]) => shown.find(({ id }) => id === edge.id)?.status ?? null);
      assert.ok(statuses.includes('UP') && statuses.includes('DOWN') && statuses.includes(null));
      assert.deepEqual(await asOf(stores, answers[0]?.[0] ?? 0), []);
    });

    it('inventory 58: persistent hosts of a past moment stay the same, whatever comes later', async (t) => {
      const stores = await open(t);
      const { hosts, clock } = stores;
      const still = await joinHost(stores, 'still');
      const gone = await joinHost(stores, 'gone');
      const brief = await joinHost(stores, 'brief');
      clock.stall(minuteMs);
      await brief.beat({ leaving: true });
      clock.stall(20 * dayMs);
      await joinHost(stores, 'new');
      clock.stall(11 * dayMs);
      const atMs = clock.now();
      const ask = () => asOf(stores, atMs, { persistentMs: 30 * dayMs });
      const before = await ask();
      assert.deepEqual(
        before.map(({ name }) => name),
        ['gone', 'still'],
      );
      clock.stall(dayMs);
      await brief.beat();
      await still.beat();
      await hosts.checkIn(still.caller, still.id, complete([nginx('1.24')]));
      await hosts.change(admin, 'still', { name: 'other', labels: { env: 'prod' } }, null);
      await gone.beat({ leaving: true });
      clock.stall(dayMs);
      await hosts.remove(admin, 'gone', null);
      await hosts.flush();
      assert.deepEqual(await ask(), before);
      await hosts.load();
      clock.stall(60 * dayMs);
      assert.deepEqual(await ask(), before);
    });

    it('applies every filter to what was so then', async (t) => {
      const stores = await open(t);
      const { hosts, clock } = stores;
      const edge = await joinHost(stores, 'edge-1', 'eu');
      await hosts.change(admin, 'edge-1', { labels: { env: 'test' } }, null);
      await hosts.checkIn(edge.caller, edge.id, complete([nginx('1.24')]));
      clock.stall(dayMs);
      const thenMs = clock.now();
      clock.stall(dayMs);
      await hosts.change(admin, 'edge-1', { name: 'shop', region: 'us', labels: { env: 'prod' } }, null);
      await hosts.checkIn(edge.caller, edge.id, complete([nginx('1.26')]));
      await joinHost(stores, 'edge-2', 'eu');
      const old = [parseVersionRange('nginx<1.26', 'has')];
      for (const [filter, then, now] of [
        [{}, ['edge-1'], ['edge-2', 'shop']],
        [{ name: ['edge-1'] }, ['edge-1'], []],
        [{ region: ['eu'] }, ['edge-1'], ['edge-2']],
        [{ selector: 'env=test' }, ['edge-1'], []],
        [{ selector: 'env=prod' }, [], ['shop']],
        [{ scope: { hosts: 'env=prod' } }, [], ['shop']],
        [{ status: ['UP'], createdMs: 2 * dayMs }, ['edge-1'], ['edge-2']],
        [{ has: old }, ['edge-1'], []],
      ] satisfies [HostFilter, string[], string[]][]) {
        assert.deepEqual(await namesAsOf(stores, thenMs, filter), then, JSON.stringify(filter));
        const { items } = await hosts.list(filter, all);
        assert.deepEqual(
          items.map(({ name }) => name),
          now,
          JSON.stringify(filter),
        );
      }
    });

    it('has: every range holds, each of any detector', async (t) => {
      const stores = await open(t);
      const { hosts } = stores;
      for (const [name, ...components] of [
        ['a', nginx('1.24'), { name: 'redis', version: '7.0', detector: 'dpkg' }],
        ['b', nginx('1.26')],
        ['c', { name: 'nginx', version: '1.25.0', detector: 'command' }],
      ] as [string, ...Component[]][]) {
        const host = await joinHost(stores, name);
        await hosts.checkIn(host.caller, host.id, complete(components));
      }
      const names = async (...ranges: string[]) => {
        const has = ranges.map((text) => parseVersionRange(text, 'has'));
        return (await hosts.list({ has }, all)).items.map(({ name }) => name);
      };
      assert.deepEqual(await names('nginx<1.26'), ['a', 'c']);
      assert.deepEqual(await names('nginx<1.26', 'redis>=7'), ['a']);
      assert.deepEqual(await names('none>=0'), []);
    });

    it('pages stay at the moment of the first, though "an hour ago" moves on', async (t) => {
      const stores = await open(t);
      const { hosts, clock } = stores;
      for (const name of ['a', 'b', 'c']) await joinHost(stores, name);
      clock.stall(3_600_000);
      const ago: HostFilter = { asOf: { kind: 'ago', agoMs: 3_600_000 } };
      const first = await hosts.list(ago, { limit: 2 });
      clock.stall(3_600_000);
      await hosts.remove(admin, 'c', null);
      const second = await hosts.list(ago, { limit: 2, cursor: first.next ?? '' });
      assert.deepEqual(
        [...first.items, ...second.items].map(({ name }) => name),
        ['a', 'b', 'c'],
      );
      assert.deepEqual([second.asOfMs, second.next], [first.asOfMs, null]);
      for (const cursor of ['', 'W10', Buffer.from('["a","x"]').toString('base64url')])
        await assert.rejects(hosts.list(ago, { limit: 2, cursor }), { code: 'bad-request' });
    });

    it('refuses the future, and what is kept no more', async (t) => {
      const stores = await open(t);
      const { hosts, clock } = stores;
      await joinHost(stores, 'a');
      for (const [atMs, code] of [
        [clock.now() + 1, 'bad-request'],
        [clock.now() - limits.historyKeptMs - 1, 'compacted'],
      ] as const) {
        await assert.rejects(asOf(stores, atMs), { code });
        await assert.rejects(hosts.get('a', moment(atMs)), { code });
      }
      await assert.rejects(hosts.get('a', moment(clock.now() - 1)), { code: 'not-found' });
    });

    it('a clock that goes back moves no change before an earlier one', async (t) => {
      const stores = await open(t);
      const { hosts, clock } = stores;
      await joinHost(stores, 'a');
      clock.stall(minuteMs);
      await hosts.change(admin, 'a', { labels: { n: '1' } }, null);
      const atMs = clock.now();
      clock.step(-10_000);
      await hosts.change(admin, 'a', { labels: { n: '2' } }, null);
      clock.stall(minuteMs);
      assert.deepEqual(await asOf(stores, atMs - 1).then(([host]) => host?.labels), {});
      assert.deepEqual(await asOf(stores, atMs).then(([host]) => host?.labels), { n: '2' });
    });

    it('of two hosts that had one name, as the clock was put back, shows both, each once', async (t) => {
      const stores = await open(t);
      const { hosts, clock } = stores;
      await joinHost(stores, 'a');
      await joinHost(stores, 'b');
      clock.stall(10 * minuteMs);
      await hosts.change(admin, 'a', { name: 'x' }, null);
      clock.step(-5 * minuteMs);
      await hosts.join(admin, { name: 'a', region: null, machineId: 'another' });
      const asOf = moment(clock.now() + minuteMs);
      clock.stall(10 * minuteMs);
      const names: string[] = [];
      const ids = new Set<string>();
      for (let cursor: string | null | undefined; cursor !== null; ) {
        const page = await hosts.list({ asOf }, { limit: 1, ...(cursor === undefined ? {} : { cursor }) });
        for (const { id, name } of page.items) {
          names.push(name);
          ids.add(id);
        }
        cursor = page.next;
      }
      assert.deepEqual([names, ids.size], [['a', 'a', 'b'], 3]);
    });

    it('keeps no answer for longer than the clock goes on', async (t) => {
      const stores = await open(t);
      const { clock } = stores;
      await joinHost(stores, 'a');
      clock.stall(20 * minuteMs);
      const atMs = clock.now() - 2 * minuteMs;
      assert.deepEqual(await namesAsOf(stores, atMs), ['a']);
      clock.step(-10 * minuteMs);
      await joinHost(stores, 'late');
      clock.stall(11 * minuteMs);
      assert.deepEqual(await namesAsOf(stores, atMs), ['a', 'late']);
    });

    it('writes nothing while nothing changes', async (t) => {
      const stores = await open(t);
      const edge = await joinHost(stores, 'edge-1');
      await beatTenTimes(edge.beat, stores);
      assert.equal(await countRows(stores.store, 'hosts_past'), 0);
    });
  });

  describe('HostStore.forgetPast()', () => {
    it('deletes what is kept no more, and changes no answer that may be asked for', async (t) => {
      const stores = await open(t);
      const { hosts, clock, store } = stores;
      const edge = await joinHost(stores, 'edge-1');
      const lost = await joinHost(stores, 'lost');
      for (let n = 0; n < 5; n += 1) {
        clock.stall(100 * dayMs);
        await hosts.change(admin, 'edge-1', { labels: { n: String(n) } }, null);
        await hosts.checkIn(edge.caller, edge.id, complete([nginx(`1.${n}`)]));
        if (n === 0) await hosts.checkIn(lost.caller, lost.id, complete([nginx('1.0')]));
        if (n === 0) await hosts.remove(admin, 'lost', null);
      }
      clock.stall(50 * dayMs);
      const oldestMs = clock.now() - limits.historyKeptMs;
      const ask = () => Promise.all([0, 60, 200, 399].map((days) => asOf(stores, oldestMs + days * dayMs)));
      const before = await ask();
      assert.deepEqual(
        before.map(([host]) => [host?.labels['n'], host?.checkins]),
        [
          ['0', 1],
          ['1', 2],
          ['2', 3],
          ['4', 5],
        ],
      );
      const count = (table: 'hosts_past' | 'checkins') => countRows(store, table);
      assert.deepEqual([await count('hosts_past'), await count('checkins')], [6, 6]);
      await hosts.forgetPast();
      assert.deepEqual([await count('hosts_past'), await count('checkins')], [4, 5]);
      await hosts.load();
      assert.deepEqual(await ask(), before);
    });
  });

  it('HostStore as of any moment answers as a model that kept every state', {
    timeout: 120_000,
  }, async (t) => {
    const stores = await open(t);
    const { hosts, clock } = stores;
    const random = SeededRandom.fresh(t);
    const pick = (n: number) => Math.floor(random.uniform() * n);
    const kept: [atMs: number, shown: HostDocument[]][] = [];
    let fleet: Awaited<ReturnType<typeof joinHost>>[] = [];
    let [made, reports] = [0, 0];
    for (let step = 0; step < 150; step += 1) {
      for (let more = pick(3); more >= 0; more -= 1) {
        const host = fleet[pick(fleet.length)];
        const kind = host === undefined ? 0 : pick(9);
        if (host === undefined || kind === 0) {
          made += 1;
          fleet.push(await joinHost(stores, `h${made}`, made % 2 === 0 ? 'eu' : null));
        } else if (kind === 1) {
          await hosts.remove(admin, host.id, null);
          fleet = fleet.filter((one) => one !== host);
        } else if (kind === 2) await hosts.lapse(host.id);
        else if (kind === 3) await host.beat();
        else if (kind === 4) await host.beat({ leaving: true });
        else if (kind === 5) await hosts.change(admin, host.id, { labels: { n: String(pick(3)) } }, null);
        else if (kind === 6) await hosts.change(admin, host.id, { name: `h${pick(40)}` }, null).catch(taken);
        else if (kind === 7) await hosts.revoke(admin, host.id);
        else {
          reports += 1;
          await hosts.checkIn(host.caller, host.id, complete([nginx(`1.${reports}`)]));
        }
        if (pick(3) > 0) clock.stall(1 + pick(30_000));
      }
      clock.stall(1 + pick(30_000));
      kept.push([clock.now(), await shownNow(stores)]);
      clock.stall(1);
      if (step % 50 === 49) await hosts.flush().then(() => hosts.load());
    }
    for (const [atMs, shown] of kept) {
      assert.deepEqual(await asOf(stores, atMs), shown);
      const wanted = shown.filter(({ labels, status }) => labels['n'] === '1' && status === 'UP');
      assert.deepEqual(await asOf(stores, atMs, { selector: 'n=1', status: ['UP'] }), wanted);
    }
    // Enough hosts for looking at all rows, which answers the same as looking each of them up.
    const parts = { store: stores.store, memory: hosts.memory, clock };
    const scanning = new HostsAsOf({ ...parts, scan: { hosts: 1, rowsOfHost: 1_000 } });
    const seeking = new HostsAsOf(parts);
    for (const [atMs] of kept)
      assert.deepEqual(await scanning.at(atMs, clock.now()), await seeking.at(atMs, clock.now()));
    const ids = new Set(kept.flatMap(([, shown]) => shown.map(({ id }) => id)));
    for (const id of ids) {
      const steps = await stepsOf(stores, id, 2);
      for (const [index, { before }] of steps.entries())
        assert.deepEqual(
          before,
          steps[index - 1]?.after ?? null,
          'each step begins where the one before ended',
        );
      for (const [atMs, shown] of kept) {
        const then = shown.find((one) => one.id === id);
        const state = steps.findLast((step) => step.atMs <= atMs)?.after ?? null;
        assert.deepEqual(
          state && stateOf(state),
          then === undefined ? null : stateOf(recordOf(then)),
          `${id} at ${atMs}`,
        );
      }
    }
  });
}

/** Each step of one host itself, in pages. */
async function stepsOf(
  { componentHistory }: RegistryStores,
  id: string,
  limit: number,
): Promise<HostPastStep[]> {
  const steps: HostPastStep[] = [];
  let next: string | null = null;
  do {
    const stretch = { from: { kind: 'ago', agoMs: 30 * dayMs } } as const;
    const page: Page<HostHistoryStep> = await componentHistory.steps(id, stretch, {
      limit,
      ...(next === null ? {} : { cursor: next }),
    });
    steps.push(...page.items.filter(isHostPastStep));
    next = page.next;
  } while (next !== null);
  return steps;
}

/** What a step tells, but for the version, which may count on where nothing else is different. */
function stateOf({ version: _, ...state }: HostState) {
  const { name, region, labels, self, status, reason, revokedAtMs } = state;
  return { name, region, labels, self, status, reason, revokedAtMs };
}

function recordOf({ revokedAt, ...same }: HostDocument): HostState {
  return { ...same, revokedAtMs: revokedAt === null ? null : Date.parse(revokedAt) };
}

async function beatTenTimes(beat: () => Promise<unknown>, { clock, hosts }: RegistryStores): Promise<void> {
  for (let n = 0; n < 10; n += 1) {
    clock.stall(10_000);
    await beat();
    await hosts.flush();
  }
}

async function countRows(store: Store, table: 'hosts_past' | 'checkins'): Promise<number> {
  const query = queryBuilder(store.dialect)
    .selectFrom(table)
    .select((row) => row.fn.countAll<number>().as('n'))
    .compile();
  const [row] = await store.read((session) => session.query(query));
  return Number(row?.n);
}

function taken(error: unknown): void {
  assert.equal((error as { code?: string }).code, 'conflict');
}
