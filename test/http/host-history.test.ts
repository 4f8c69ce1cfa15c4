import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createGroup } from '../../src/base/group.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Caller } from '../../src/domain/access.ts';
import type { ChangeEvent, EventDraft, Selection } from '../../src/domain/event.ts';
import { type HostRecord, type HostView, hostEvent, selectableHost } from '../../src/domain/host.ts';
import { decideMoved, decideRegister, type ServiceView, serviceEvent } from '../../src/domain/liveness.ts';
import { matches, parseSelector } from '../../src/domain/selector.ts';
import { HostHistory } from '../../src/http/host-history.ts';
import { compileSelection } from '../../src/http/selection.ts';
import type { EndReason, Sink } from '../../src/http/subscription.ts';
import { WatchHub } from '../../src/http/watch-hub.ts';
import type { WatchMessage } from '../../src/wire/watch.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { FakeLog } from './fakes.ts';

const admin: Caller = { role: 'admin', subject: 'test' };

/** Hosts and one record on each, changed as the registry changes them: memory first, then the log tells. */
class FakeFleet {
  readonly clock = new FakeClock();
  readonly log = new FakeLog(this.clock);
  readonly hosts = new Map<string, HostView>();
  readonly records = new Map<string, ServiceView>();
  /** What was true after each revision, as whoever was there would have written it down. */
  readonly past = new Map<number, ReadonlyMap<string, HostView>>([[0, new Map()]]);
  #ids = 0;

  join(name: string, more: Partial<HostRecord> = {}): void {
    this.#ids += 1;
    const id = `0190a1b2-0000-7000-8000-${String(this.#ids).padStart(12, '0')}`;
    const view: HostView = {
      id,
      name,
      region: null,
      labels: {},
      self: {},
      status: 'UP',
      reason: null,
      firstSeenMs: 0,
      revokedAtMs: null,
      version: 1,
      confirmed: true,
      lastSeenMs: 0,
      checkIns: 0,
      lastCheckInMs: null,
      conflict: null,
      ...more,
    };
    this.hosts.set(name, view);
    const { record } = decideRegister(id, { type: 'web', host: name, region: view.region }, 'registry');
    this.records.set(name, { ...record, confirmed: true, lastSeenMs: 0 });
    this.#commit([hostEvent('host.joined', view)], [this.#told('service.registered', name)]);
  }

  label(name: string, more: Partial<HostRecord>): void {
    const before = this.#host(name);
    const after = { ...before, ...more, version: before.version + 1 };
    this.hosts.set(name, after);
    this.#commit([hostEvent('host.labelled', after, before)]);
  }

  rename(from: string, to: string): void {
    const before = this.#host(from);
    const after = { ...before, name: to, version: before.version + 1 };
    const record = this.#record(from);
    const moved: ServiceView = { ...record, ...decideMoved(record, to).record };
    this.hosts.delete(from);
    this.records.delete(from);
    this.hosts.set(to, after);
    this.records.set(to, moved);
    this.#commit([hostEvent('host.renamed', after, before), serviceEvent('service.set', moved, 0, record)]);
  }

  remove(name: string): void {
    const gone = this.#host(name);
    const drafts = [hostEvent('host.removed', gone), this.#told('service.deleted', name)];
    this.hosts.delete(name);
    this.records.delete(name);
    this.#commit(drafts);
  }

  beat(name: string): void {
    this.#commit([this.#told('service.revived', name)]);
  }

  watch(select: Selection, since: string | null, history = this.history()) {
    const group = createGroup((_name, error) => assert.fail(String(error)));
    const hub = new WatchHub({
      log: this.log,
      snapshots: { snapshot: () => assert.fail('nobody asked for a snapshot') },
      clock: this.clock,
      logger: silentLogger,
      group,
    });
    const told = new Told();
    const [epoch, revision] = (since ?? '').split('.').map(Number);
    hub.subscribe(
      {
        selection: compileSelection(select, admin, history),
        since: epoch === undefined || revision === undefined ? null : { epoch, revision },
        snapshot: false,
      },
      told,
    );
    return told;
  }

  /** As a process that starts now has it: it knows the present. */
  history(): HostHistory {
    return new HostHistory(this.log, (name) => this.hosts.get(name));
  }

  at(revision: number): string {
    return `${this.log.epoch}.${revision}`;
  }

  #told(type: 'service.registered' | 'service.revived' | 'service.deleted', name: string): EventDraft {
    return serviceEvent(type, this.#record(name), 0);
  }

  #commit(...commits: EventDraft[][]): void {
    for (const drafts of commits) {
      const [revision] = this.log.append(drafts);
      this.past.set(revision?.revision ?? 0, new Map(this.hosts));
    }
  }

  #host(name: string): HostView {
    return this.hosts.get(name) ?? assert.fail(name);
  }

  #record(name: string): ServiceView {
    return this.records.get(name) ?? assert.fail(name);
  }
}

class Told implements Sink {
  readonly encodingKey = 'told';
  readonly messages: WatchMessage[] = [];
  end: EndReason | undefined;

  get events(): ChangeEvent[] {
    return this.messages.flatMap((message) => (message.kind === 'events' ? [...message.events] : []));
  }

  get words(): string[] {
    return this.events.map(({ type, host }) => `${type} ${host}`);
  }

  encode(body: Buffer): readonly Buffer[] {
    return [body];
  }

  write(frame: readonly Buffer[]): void {
    this.messages.push(JSON.parse(Buffer.concat([...frame]).toString()) as WatchMessage);
  }

  bufferedBytes(): number {
    return 0;
  }

  takenBytes(): number {
    return 0;
  }

  onceDrained(): () => void {
    return () => undefined;
  }

  ended(reason: EndReason): void {
    this.end = reason;
  }
}

const prod = { labels: { env: 'prod' } };
const dev = { labels: { env: 'dev' } };

describe('a watch on hosts by selector', () => {
  it('is told of what leaves the selection and of what enters it, and of nothing in between', async () => {
    const fleet = new FakeFleet();
    fleet.join('a', prod);
    const told = fleet.watch({ hosts: 'env=prod' }, null);
    await fleet.clock.settle();
    fleet.beat('a');
    fleet.label('a', dev);
    fleet.beat('a');
    fleet.label('a', { labels: { env: 'dev', tier: 'web' } });
    fleet.label('a', prod);
    fleet.beat('a');
    fleet.remove('a');
    await fleet.clock.settle();
    assert.deepEqual(told.words, [
      'service.revived a',
      'host.labelled a',
      'host.labelled a',
      'service.revived a',
      'host.removed a',
      'service.deleted a',
    ]);
    assert.deepEqual(
      told.events.filter(({ type }) => type === 'host.labelled').map(({ before }) => before),
      [prod, { labels: { env: 'dev', tier: 'web' } }],
    );
  });

  it('follows a name: what was called so, and what is called so now', async () => {
    const fleet = new FakeFleet();
    fleet.join('a');
    const [byName, byService] = [{ hosts: '@name=b' }, { services: { host: ['a'] } }].map((select) =>
      fleet.watch(select, null),
    );
    await fleet.clock.settle();
    fleet.rename('a', 'b');
    fleet.beat('b');
    fleet.rename('b', 'c');
    fleet.beat('c');
    await fleet.clock.settle();
    assert.deepEqual(byName?.words, [
      'host.renamed b',
      'service.set b',
      'service.revived b',
      'host.renamed c',
      'service.set c',
    ]);
    assert.deepEqual(byService?.words, ['service.set b']);
  });

  it('tells what moves a host across it, also to who asked for records only', async () => {
    const fleet = new FakeFleet();
    fleet.join('a', prod);
    const told = fleet.watch({ types: ['service.*'], hosts: 'env=prod,@self/rack=r1' }, null);
    await fleet.clock.settle();
    fleet.label('a', { self: { rack: 'r1' } });
    fleet.label('a', { labels: { env: 'prod', tier: 'web' } });
    fleet.beat('a');
    fleet.label('a', { self: {} });
    fleet.beat('a');
    await fleet.clock.settle();
    assert.deepEqual(told.words, ['host.labelled a', 'service.revived a', 'host.labelled a']);
  });

  it('resumes in the past with the labels of then, also past the start of this process', async () => {
    const fleet = new FakeFleet();
    fleet.join('a', prod);
    fleet.join('b', dev);
    const since = fleet.at(fleet.log.head().revision);
    fleet.beat('a');
    fleet.beat('b');
    fleet.label('a', dev);
    fleet.label('b', prod);
    fleet.beat('a');
    fleet.beat('b');
    fleet.rename('b', 'c');
    fleet.remove('c');
    const told = fleet.watch({ hosts: 'env=prod' }, since, fleet.history());
    await fleet.clock.settle();
    assert.deepEqual(told.words, [
      'service.revived a',
      'host.labelled a',
      'host.labelled b',
      'service.revived b',
      'host.renamed c',
      'service.set c',
      'host.removed c',
      'service.deleted c',
    ]);
  });

  it('is compacted where the log no longer tells how hosts were', async () => {
    const fleet = new FakeFleet();
    fleet.join('a', prod);
    const history = fleet.history();
    fleet.log.compact(1);
    await assert.rejects(history.reach(0), { code: 'compacted' });
    const again = new FakeFleet();
    again.join('a', prod);
    await again.history().reach(0);
  });
});

describe('HostHistory', () => {
  it('knows every host at every revision, from wherever it began and however it is asked', async () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const random = new SeededRandom(seed);
      const fleet = new FakeFleet();
      const names = ['a', 'b', 'c', 'd'];
      const histories: HostHistory[] = [fleet.history()];
      for (let step = 0; step < 60; step += 1) {
        const name = random.pick(names);
        const known = fleet.hosts.has(name);
        const act = random.integer(0, 4);
        if (!known) fleet.join(name, { labels: { v: String(step) } });
        else if (act === 0) fleet.remove(name);
        else if (act === 1) fleet.beat(name);
        else if (act === 2) {
          const free = names.filter((other) => !fleet.hosts.has(other));
          if (free.length > 0) fleet.rename(name, random.pick(free));
        } else fleet.label(name, random.pick([{ labels: { v: String(step) } }, { region: `r${step}` }]));
        if (random.uniform() < 0.1) histories.push(fleet.history());
      }
      const head = fleet.log.head().revision;
      for (const history of histories) {
        const from = random.integer(0, head);
        await Promise.all([history.reach(random.integer(from, head)), history.reach(from)]);
        for (let revision = from; revision <= head; revision += 1) {
          for (const name of names) {
            const [then, told] = [fleet.past.get(revision)?.get(name), history.at(name, revision)];
            assert.deepEqual(
              told && [told.id, told.name, told.region, told.labels],
              then && [then.id, then.name, then.region, then.labels],
              `${random}: ${name} at ${revision}`,
            );
          }
        }
      }
    }
  });

  it('tells every watcher the same, whether it was there or resumes later', async () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const random = new SeededRandom(seed);
      const fleet = new FakeFleet();
      const select = random.pick<Selection>([
        { hosts: 'v in (1,3,5)' },
        { hosts: '(!v + @name=b)' },
        { types: ['service.*'], hosts: '@region!=eu' },
        { services: { region: ['eu'] } },
      ]);
      const live = fleet.watch(select, fleet.at(0));
      for (let step = 0; step < 60; step += 1) {
        const name = random.pick(['a', 'b', 'c']);
        if (!fleet.hosts.has(name)) fleet.join(name, { region: random.pick(['eu', 'us']) });
        else if (random.uniform() < 0.4) fleet.beat(name);
        else if (random.uniform() < 0.2) fleet.remove(name);
        else
          fleet.label(
            name,
            random.pick<Partial<HostRecord>>([
              { labels: { v: String(random.integer(1, 6)) } },
              { labels: {} },
              { region: random.pick(['eu', 'us']) },
            ]),
          );
        if (random.uniform() < 0.3) await fleet.clock.settle();
      }
      await fleet.clock.settle();
      const from = random.integer(0, fleet.log.head().revision);
      const late = fleet.watch(select, fleet.at(from), fleet.history());
      await fleet.clock.settle();
      const places = (told: Told) => told.events.map(({ position, index }) => `${position}/${index}`);
      const after = places(live).filter((place) => Number(place.split(/[./]/)[1]) > from);
      assert.deepEqual(places(late), after, String(random));
    }
  });

  it('is not asked by a selection that no host has a say in', () => {
    const fleet = new FakeFleet();
    assert.equal(compileSelection({}, admin, fleet.history()).reach, null);
    const selector = parseSelector('env=prod');
    assert.ok(!matches(selector, selectableHost('a', undefined)));
  });
});
