/** What was, compared with a naive model that keeps every state: random check-ins, removals, moments. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { AppError } from '../../src/domain/error.ts';
import { type HostHistoryStep, isHostPastStep } from '../../src/domain/host-history.ts';
import {
  type Component,
  type ComponentStep,
  componentKey,
  diffComponents,
  inventoryHash,
  inventoryHashAfter,
} from '../../src/domain/inventory.ts';
import { isInRange, parseVersionRange, versionOrderOf } from '../../src/domain/version.ts';
import type { Statement } from '../../src/store/engine/port.ts';
import { type CountedPage, InventoryCounts } from '../../src/store/inventory-counts.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

type Joined = Awaited<ReturnType<typeof joinHost>>;
type State = ReadonlyMap<string, readonly Component[]>;

const detectors = ['dpkg', 'file'] as const;
const names = ['bash', 'curl', 'openssl', 'shop/api', 'zlib'] as const;
const versions = ['1.0', '1.1~rc1', '1.1', '2:0.1'] as const;
const hostNames = ['edge-1', 'edge-2', 'edge-3', 'edge-4'] as const;

export function inventoryHistoryContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext, seed: number): Promise<World> {
    const clock = new FakeClock();
    const stores = await openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
    return new World(stores, seed);
  }

  describe('the past of components', () => {
    for (const seed of [1, 2, 3]) {
      it(`is what a model says that kept every state (seed ${seed})`, async (t) => {
        const world = await open(t, seed);
        for (let step = 0; step < 120; step += 1) await world.step();
        await world.requireCounts();
        for (let question = 0; question < 40; question += 1) {
          await world.requireAsOf(world.someMoment());
          await world.requireChanges(world.someMoment(), world.someMoment());
        }
        await world.requireAsOf(world.stores.clock.now());
      });
    }

    it('goes on from page to page at the moment of the first, however time passes', async (t) => {
      const world = await open(t, 1);
      const { clock, inventory, componentHistory } = world.stores;
      const early = names.map((name) => ({ name, version: '1.0', detector: 'dpkg' }));
      await world.checkIn('edge-1', early);
      clock.stall(60_000);
      await world.checkIn('edge-1', [{ name: 'bash', version: '9', detector: 'dpkg' }]);
      const asOf = { kind: 'ago', agoMs: 30_000 } as const;
      const first = await inventory.list({ asOf }, { limit: 2 });
      const ofHost = await inventory.ofHost('edge-1', { limit: 2 }, { asOf });
      const steps = await componentHistory.steps('edge-1', { from: asOf }, { limit: 2 });
      clock.stall(60_000);
      await world.checkIn('edge-1', []);
      const next = await inventory.list({ asOf }, { limit: 10, cursor: first.next ?? '' });
      assert.deepEqual(
        [...first.items, ...next.items].map(({ name }) => name),
        names,
      );
      assert.equal(next.asOfMs, first.asOfMs);
      const rest = await inventory.ofHost('edge-1', { limit: 10, cursor: ofHost.next ?? '' }, { asOf });
      assert.equal(ofHost.items.length + rest.items.length, names.length);
      const more = await componentHistory.steps(
        'edge-1',
        { from: asOf },
        { limit: 10, cursor: steps.next ?? '' },
      );
      assert.equal(steps.items.length + more.items.length, names.length);
    });

    it('has one state for each moment, also where the clock was put back', async (t) => {
      const world = await open(t, 1);
      const { clock, inventory } = world.stores;
      const bash = (version: string) => [{ name: 'bash', version, detector: 'dpkg' }];
      await world.checkIn('edge-1', bash('1'));
      clock.stall(10_000);
      await world.checkIn('edge-1', bash('2'));
      const turnedMs = clock.now();
      clock.step(-5_000);
      await world.checkIn('edge-1', []);
      clock.stall(1_000);
      await world.checkIn('edge-1', bash('3'));
      clock.stall(60_000);
      const was = async (agoMs: number) => {
        const asOf = { kind: 'at', atMs: turnedMs - agoMs } as const;
        const { items } = await inventory.ofHost('edge-1', { limit: 10 }, { asOf });
        return items.map(({ version }) => version);
      };
      assert.deepEqual([await was(10_000), await was(1_000), await was(0)], [['1'], ['1'], ['3']]);
    });

    it('has no step where a component came back as it was in the same moment', async (t) => {
      const world = await open(t, 1);
      const { clock, componentHistory } = world.stores;
      const [bash, curl] = ['bash', 'curl'].map((name) => ({ name, version: '1', detector: 'dpkg' }));
      assert(bash !== undefined && curl !== undefined);
      await world.checkIn('edge-1', [bash, curl]);
      const from = { kind: 'at', atMs: clock.now() } as const;
      clock.stall(10_000);
      await world.checkIn('edge-1', [bash]);
      await world.checkIn('edge-1', [bash, curl]);
      await world.checkIn('edge-1', [curl]);
      const { items } = await componentHistory.steps('edge-1', { from }, { limit: 10 });
      assert.deepEqual(
        items.map(({ kind, name }) => `${name} ${kind}`),
        ['bash removed'],
      );
    });

    it('ends a page early where much has changed since', async (t) => {
      const world = await open(t, 1);
      const { clock, store } = world.stores;
      const all = (version: string) =>
        Array.from({ length: 12 }, (_, n) => ({ name: `name-${10 + n}`, version, detector: 'dpkg' }));
      await world.checkIn('edge-1', all('0'));
      const atMs = clock.now();
      for (const version of ['1', '2', '3']) {
        clock.stall(1_000);
        await world.checkIn('edge-1', all(version));
      }
      const counts = new InventoryCounts(store.dialect, { rowsMax: 20, fewHosts: 0 });
      const sizes: number[] = [];
      for (let after: string | null = ''; after !== null; ) {
        const of = { hosts: null, apps: undefined, atMs, after, limit: 100 };
        const page: CountedPage = await store.read((session) => counts.page(session, of));
        assert.ok(page.items.every(({ versions }) => versions[0]?.version === '0'));
        sizes.push(page.items.length);
        after = page.next;
      }
      // Of each name four rows have come and gone, and four names are counted together.
      assert.deepEqual(sizes, [8, 4]);
    });

    it('is refused where it is the future, is not kept any more, or ends before it begins', async (t) => {
      const { stores } = await open(t, 1);
      const { inventory, componentHistory, clock } = stores;
      const at = (atMs: number) => ({ kind: 'at', atMs }) as const;
      const page = { limit: 10 };
      const now = clock.now();
      const refused = async (promise: Promise<unknown>) => {
        const error = await promise.then(
          () => assert.fail('not refused'),
          (reason: unknown) => reason,
        );
        assert(error instanceof AppError);
        return error.code;
      };
      assert.equal(await refused(inventory.list({ asOf: at(now + 1) }, page)), 'bad-request');
      const gone = at(now - limits.historyKeptMs - 1);
      assert.equal(await refused(inventory.list({ asOf: gone }, page)), 'compacted');
      assert.equal(await refused(componentHistory.differences({ from: gone }, page)), 'compacted');
      const stretch = { from: at(now), to: at(now - 1) };
      assert.equal(await refused(componentHistory.differences(stretch, page)), 'bad-request');
      const foreign = { limit: 10, cursor: Buffer.from('["x","y","z"]').toString('base64url') };
      assert.equal(await refused(inventory.list({ asOf: at(now) }, foreign)), 'bad-request');
    });

    it('is forgotten once it is older than is kept, with the words that nobody uses any more', async (t) => {
      const world = await open(t, 1);
      const { clock, componentHistory, store } = world.stores;
      await world.checkIn('edge-1', [{ name: 'bash', version: '1.0', detector: 'dpkg' }]);
      clock.stall(1_000);
      await world.checkIn('edge-1', [{ name: 'curl', version: '1.0', detector: 'dpkg' }]);
      await componentHistory.forget();
      const count = async (table: string) =>
        Number((await store.read((session) => session.all(counted(table), {})))[0]?.count);
      assert.deepEqual(await Promise.all(tables.map(count)), [1, 2, 2]);
      clock.stall(limits.historyKeptMs + 1);
      await componentHistory.forget();
      assert.deepEqual(await Promise.all(tables.map(count)), [0, 1, 1]);
      await world.checkIn('edge-1', [{ name: 'bash', version: '1.0', detector: 'dpkg' }]);
      await world.requireCounts();
    });
  });
}

const tables = ['components_past', 'component_versions', 'component_names'];

/** A registry, and beside it what every host had at every moment. */
class World {
  readonly stores: RegistryStores;
  readonly #random: SeededRandom;
  readonly #joined = new Map<string, Joined & { readonly no: number }>();
  readonly #history: { atMs: number; state: State }[];
  readonly #startMs: number;
  /** All that ever joined, in that order. */
  readonly #ever: { readonly no: number; readonly id: string; readonly name: string }[] = [];

  constructor(stores: RegistryStores, seed: number) {
    this.stores = stores;
    this.#random = new SeededRandom(seed);
    this.#startMs = stores.clock.now();
    this.#history = [{ atMs: this.#startMs, state: new Map() }];
  }

  /** One random thing happens, sometimes several within a millisecond. */
  async step(): Promise<void> {
    if (this.#below(4) > 0) this.stores.clock.stall(1 + this.#below(5_000));
    const name = this.#one(hostNames);
    if (this.#below(15) === 0 && this.#joined.has(name)) return this.#remove(name);
    const before = this.#joined.has(name) ? this.#nowOf(name) : [];
    const kept = before.filter(() => this.#below(6) > 0);
    const more = Array.from({ length: this.#below(4) }, () => this.#component());
    const after = [...new Map([...kept, ...more].map((one) => [componentKey(one), one])).values()];
    await this.checkIn(name, after);
  }

  /** As a complete set or as a delta. */
  async checkIn(name: string, components: readonly Component[]): Promise<void> {
    const host = await this.#host(name);
    const changes = diffComponents(this.#nowOf(name), components);
    const base = inventoryHash(this.#nowOf(name));
    const delta = this.#below(2) === 0 && this.stores.hosts.memory.facts(host.id).inventoryHash === base;
    const checkIn = delta
      ? {
          base,
          hash: inventoryHashAfter(base, changes),
          components: changes.flatMap(({ after }) => after ?? []),
          removed: changes.flatMap(({ before, after }) =>
            after === null && before !== null ? [before] : [],
          ),
        }
      : { base: null, hash: inventoryHash(components), components, removed: [] };
    assert.equal((await this.stores.hosts.checkIn(host.caller, host.id, checkIn)).accepted, true);
    this.#note((state) => state.set(this.#keyOf(name), components));
  }

  someMoment(): number {
    const [start, end] = [this.#startMs - 1, this.stores.clock.now()];
    const { atMs } = this.#one(this.#history);
    return this.#below(2) === 0 ? atMs : start + this.#below(end - start + 1);
  }

  async requireAsOf(atMs: number): Promise<void> {
    const { inventory } = this.stores;
    const asOf = { kind: 'at', atMs } as const;
    const state = this.#at(atMs);
    const all = { limit: 1_000 };
    assert.deepEqual(
      (await inventory.list({ asOf }, all)).items,
      summaryOf([...state.values()]),
      `as of ${atMs}`,
    );
    const pages = await follow((page) => inventory.list({ asOf }, page), 2);
    assert.deepEqual(pages, summaryOf([...state.values()]));
    const some: readonly string[] = hostNames.filter(() => this.#below(2) === 0);
    const then = this.#ever.filter(({ name, no }) => some.includes(name) && this.#was(no, atMs));
    const meant = then.map(({ no }) => state.get(String(no)) ?? []);
    const selector = `@name in (nobody${some.map((name) => `,${name}`).join('')})`;
    assert.deepEqual((await inventory.list({ asOf, selector }, all)).items, summaryOf(meant));
    const at = atMs === this.stores.clock.now() ? null : atMs;
    const [hosts, apps] = [then.map(({ no }) => no), undefined];
    for (const limits of [
      { rowsMax: 3, fewHosts: 0 },
      { rowsMax: 1_000_000, fewHosts: 0 },
    ]) {
      const counts = new InventoryCounts(this.stores.store.dialect, limits);
      const page = ({ limit, cursor: after = '' }: { limit: number; cursor?: string }) =>
        this.stores.store.read((session) => counts.page(session, { hosts, apps, atMs: at, after, limit }));
      assert.deepEqual(await follow(page, 2), summaryOf(meant), `by version, as of ${atMs}`);
      const pageOfAll = ({ limit, cursor: after = '' }: { limit: number; cursor?: string }) =>
        this.stores.store.read((session) =>
          counts.page(session, { hosts: null, apps, atMs: at, after, limit }),
        );
      assert.deepEqual(await follow(pageOfAll, 100), summaryOf([...state.values()]), `of all, as of ${atMs}`);
    }
    for (const { id, name, no } of this.#ever) {
      // Before it joined, and once it was gone, there is no such host.
      if (!this.#was(no, atMs)) {
        await assert.rejects(
          inventory.ofHost(id, all, { asOf }),
          { code: 'not-found' },
          `${name} as of ${atMs}`,
        );
        continue;
      }
      const { items } = await inventory.ofHost(this.#below(2) === 0 ? id : name, all, { asOf });
      const has = items.map(({ firstSeenMs: _, changedAtMs, ...component }) => {
        assert.ok(changedAtMs <= atMs, 'it was so already');
        return component;
      });
      assert.deepEqual(has, sorted(state.get(String(no)) ?? []), `${name} as of ${atMs}`);
    }
    const range = parseVersionRange(`${this.#one(names)}<${this.#one(versions)}`, 'has');
    const found = await inventory.hostsWith(range, atMs);
    const meets = ({ name, detector, version }: Component) =>
      name === range.name && isInRange(range, versionOrderOf(detector), version);
    const expected = [...state].flatMap(([no, components]) => (components.some(meets) ? [Number(no)] : []));
    assert.deepEqual([...found].sort(), expected.sort());
  }

  async requireChanges(oneMs: number, otherMs: number): Promise<void> {
    if (oneMs === otherMs) return;
    const [fromMs, toMs] = [Math.min(oneMs, otherMs), Math.max(oneMs, otherMs)];
    const { componentHistory } = this.stores;
    const stretch = { from: { kind: 'at', atMs: fromMs }, to: { kind: 'at', atMs: toMs } } as const;
    const expected = this.#ever.flatMap(({ no, id, name }) =>
      this.#turns(no, fromMs, toMs).map((turn) => ({ hostId: id, host: name, ...turn })),
    );
    const differences = (more: object) => (page: { limit: number; cursor?: string }) =>
      componentHistory.differences({ ...stretch, ...more }, page);
    assert.deepEqual(await follow(differences({}), 3), expected, `${fromMs} to ${toMs}`);
    const name = this.#one(names);
    const ofName = expected.filter((turn) => turn.name === name);
    assert.deepEqual(await follow(differences({ name }), 1), ofName);
    for (const { id, no, name: host } of this.#ever) {
      if (!this.#was(no, fromMs) && !this.#was(no, toMs)) continue;
      const ofHost = expected.filter(({ hostId }) => hostId === id);
      assert.deepEqual(await follow(differences({ host: id }), 100), ofHost);
      const steps = await follow((page) => componentHistory.steps(id, stretch, page), 2);
      assert.deepEqual(
        stepsByTime(steps.filter(isComponentStep)),
        stepsByTime(this.#steps(no, fromMs, toMs)),
        host,
      );
      const itself = steps.filter(isHostPastStep).map(({ kind, atMs }) => [kind, atMs]);
      assert.deepEqual(itself, this.#hostSteps(no, fromMs, toMs), host);
      assert.deepEqual(
        steps.map(({ atMs }) => atMs),
        steps.map(({ atMs }) => atMs).sort((a, b) => a - b),
      );
    }
  }

  /** What each version counts is what there is. */
  async requireCounts(): Promise<void> {
    const wrong = await this.stores.store.read((session) => session.all(miscounted, {}));
    assert.deepEqual(wrong, []);
  }

  /** Whether the host was there. */
  #was(no: number, atMs: number): boolean {
    return this.#at(atMs).has(String(no));
  }

  #steps(no: number, fromMs: number, toMs: number) {
    const moments = this.#history.map(({ atMs }) => atMs).filter((atMs) => atMs > fromMs && atMs <= toMs);
    return [...new Set(moments)].flatMap((atMs) =>
      this.#turns(no, atMs - 1, atMs).map((turn) => ({ atMs, ...turn })),
    );
  }

  #hostSteps(no: number, fromMs: number, toMs: number) {
    const isThere = ({ state }: { readonly state: State }) => state.has(String(no));
    const first = this.#history.find(isThere);
    const gone = this.#history[this.#history.findLastIndex(isThere) + 1];
    return [
      ['host.joined', first?.atMs ?? 0] as const,
      ...(gone === undefined ? [] : [['host.removed', gone.atMs] as const]),
    ].filter(([, atMs]) => atMs > fromMs && atMs <= toMs);
  }

  #turns(no: number, fromMs: number, toMs: number) {
    const key = String(no);
    const [before, after] = [this.#at(fromMs).get(key) ?? [], this.#at(toMs).get(key) ?? []];
    const turns = diffComponents(before, after).map((change) => {
      const { name: component, detector } = change.after ?? change.before ?? assert.fail();
      const state = (one: Component | null) =>
        one === null
          ? null
          : {
              version: one.version,
              ...(one.architecture === undefined ? {} : { architecture: one.architecture }),
            };
      return {
        kind: change.kind,
        name: component,
        detector,
        before: state(change.before),
        after: state(change.after),
      };
    });
    return sorted(turns);
  }

  async #remove(name: string): Promise<void> {
    const host = await this.#host(name);
    await this.stores.hosts.remove(admin, name, null);
    assert.equal(this.stores.hosts.memory.numbered(host.no), undefined);
    this.#note((state) => state.delete(this.#keyOf(name)));
    this.#joined.delete(name);
  }

  async #host(name: string): Promise<Joined & { readonly no: number }> {
    const known = this.#joined.get(name);
    if (known !== undefined) return known;
    const host = await joinHost(this.stores, name);
    const joined = { ...host, no: this.stores.hosts.numberOf(name) };
    assert.ok(joined.no > (this.#ever.at(-1)?.no ?? 0), `${joined.no} was the number of another host`);
    this.#ever.push({ no: joined.no, id: joined.id, name });
    this.#joined.set(name, joined);
    return joined;
  }

  #note(change: (state: Map<string, readonly Component[]>) => void): void {
    const state = new Map(this.#history.at(-1)?.state);
    change(state);
    this.#history.push({ atMs: this.stores.clock.now(), state });
  }

  #at(atMs: number): State {
    return this.#history.findLast((one) => one.atMs <= atMs)?.state ?? new Map();
  }

  #nowOf(name: string): readonly Component[] {
    return this.#history.at(-1)?.state.get(this.#keyOf(name)) ?? [];
  }

  #keyOf(name: string): string {
    return String(this.#joined.get(name)?.no);
  }

  #component(): Component {
    const architecture = this.#one(['amd64', 'arm64', undefined] as const);
    return {
      name: this.#one(names),
      version: this.#one(versions),
      detector: this.#one(detectors),
      ...(architecture === undefined ? {} : { architecture }),
    };
  }

  #below(count: number): number {
    return this.#random.integer(0, count - 1);
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#below(list.length)] as T;
  }
}

/** On how many of these hosts which version is. */
function summaryOf(hosts: readonly (readonly Component[])[]) {
  const byName = new Map<string, Map<string, Set<number>>>();
  for (const [host, components] of hosts.entries()) {
    for (const { name, version } of components) {
      const found = byName.get(name) ?? new Map<string, Set<number>>();
      byName.set(name, found.set(version, (found.get(version) ?? new Set()).add(host)));
    }
  }
  const byKey = ([a]: [string, unknown], [b]: [string, unknown]) => (a < b ? -1 : 1);
  return [...byName].sort(byKey).map(([name, found]) => ({
    name,
    versions: [...found].sort(byKey).map(([version, on]) => ({ version, hosts: on.size })),
  }));
}

function isComponentStep(step: HostHistoryStep): step is ComponentStep {
  return !isHostPastStep(step);
}

/** Steps of one moment are in no order that means anything. */
function stepsByTime<Step extends { atMs: number; name: string; detector: string }>(
  steps: readonly Step[],
): Step[] {
  return sorted(steps).sort((a, b) => a.atMs - b.atMs);
}

function sorted<Item extends { name: string; detector: string }>(items: readonly Item[]): Item[] {
  const key = ({ name, detector }: Item) => `${name}\0${detector}`;
  return items.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

async function follow<Item>(
  read: (page: {
    limit: number;
    cursor?: string;
  }) => Promise<{ items: readonly Item[]; next: string | null }>,
  limit: number,
): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | null = null;
  do {
    const page: { items: readonly Item[]; next: string | null } = await read(
      cursor === null ? { limit } : { limit, cursor },
    );
    items.push(...page.items);
    cursor = page.next;
  } while (cursor !== null);
  return items;
}

function counted(table: string): Statement<object, { count: number }> {
  return { sql: `SELECT COUNT(*) AS count FROM ${table}`, bind: () => [] };
}

const miscounted: Statement<object, { id: number }> = {
  sql: `SELECT id FROM component_versions AS v
    WHERE hosts <> (SELECT COUNT(*) FROM components WHERE version_id = v.id)`,
  bind: () => [],
};
