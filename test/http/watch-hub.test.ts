import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createGroup } from '../../src/base/group.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Caller } from '../../src/domain/access.ts';
import {
  type ChangeEvent,
  type EventDraft,
  eventTypes,
  formatPosition,
  parsePosition,
  type Selection,
} from '../../src/domain/event.ts';
import type { HostFacts } from '../../src/domain/host.ts';
import { HostHistory } from '../../src/http/host-history.ts';
import type { Frame } from '../../src/http/message.ts';
import { compileSelection } from '../../src/http/selection.ts';
import type { EndReason, Sink, WatchLimits } from '../../src/http/subscription.ts';
import { WatchHub, type WatchSubscription } from '../../src/http/watch-hub.ts';
import type { WatchMessage } from '../../src/wire/watch.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { FakeLog, FakeSnapshots } from './fakes.ts';

const admin: Caller = { role: 'admin', subject: 'test' };

/** Reads at once, or only when told. */
class FakeSocket {
  reading = true;
  #waiting: { readonly frame: Buffer; readonly hear: (message: WatchMessage) => void }[] = [];
  #taken = 0;
  #drained: (() => void)[] = [];

  write(frame: Buffer, hear: (message: WatchMessage) => void): void {
    this.#waiting.push({ frame, hear });
    if (this.reading) this.read();
  }

  /** Takes what waits, or so many frames of it. */
  read(count = this.#waiting.length): void {
    for (const { frame, hear } of this.#waiting.splice(0, count)) {
      this.#taken += frame.length;
      hear(JSON.parse(frame.toString()) as WatchMessage);
    }
    if (this.#waiting.length > 0) return;
    const drained = this.#drained;
    this.#drained = [];
    for (const fn of drained) fn();
  }

  bufferedBytes(): number {
    return this.#waiting.reduce((sum, { frame }) => sum + frame.length, 0);
  }

  takenBytes(): number {
    return this.#taken;
  }

  onceDrained(fn: () => void): () => void {
    this.#drained.push(fn);
    return () => (this.#drained = this.#drained.filter((other) => other !== fn));
  }
}

/** One watch of a socket that may have others. */
class FakePeer implements Sink {
  readonly encodingKey: string;
  readonly messages: WatchMessage[] = [];
  readonly socket: FakeSocket;
  end: EndReason | undefined;

  constructor(socket = new FakeSocket(), encodingKey = 'fake') {
    this.socket = socket;
    this.encodingKey = encodingKey;
  }

  set reading(reading: boolean) {
    this.socket.reading = reading;
  }

  read(count?: number): void {
    this.socket.read(count);
  }

  encode(body: Buffer): Frame {
    return [body];
  }

  write(frame: Frame): void {
    this.socket.write(Buffer.concat(frame), (message) => this.messages.push(message));
  }

  bufferedBytes(): number {
    return this.socket.bufferedBytes();
  }

  takenBytes(): number {
    return this.socket.takenBytes();
  }

  onceDrained(fn: () => void): () => void {
    return this.socket.onceDrained(fn);
  }

  ended(reason: EndReason): void {
    this.end = reason;
  }

  /** The position that a client holds. */
  get position(): string | null {
    return this.messages.reduce<string | null>(
      (held, message) =>
        'position' in message && (message.kind !== 'snapshot' || message.done) ? message.position : held,
      null,
    );
  }

  get events(): ChangeEvent[] {
    return this.messages.flatMap((message) => (message.kind === 'events' ? [...message.events] : []));
  }

  get kinds(): string[] {
    return this.messages.map(({ kind }) => kind);
  }
}

function createWorld(limits: Partial<WatchLimits> = {}) {
  const clock = new FakeClock();
  const log = new FakeLog(clock);
  const snapshots = new FakeSnapshots(log);
  const failures: unknown[] = [];
  const group = createGroup((_name, error) => failures.push(error));
  const hub = new WatchHub({ log, snapshots, clock, logger: silentLogger, group, limits });
  const watch = (
    options: {
      since?: string | null;
      snapshot?: boolean;
      select?: Selection;
      caller?: Caller;
      peer?: FakePeer;
      hostFacts?: (name: string) => HostFacts;
      allowed?: () => boolean;
    } = {},
  ) => {
    const peer = options.peer ?? new FakePeer();
    const history = options.hostFacts === undefined ? null : new HostHistory(log, options.hostFacts);
    const selection = compileSelection(options.select ?? {}, options.caller ?? admin, history);
    const since = options.since === undefined || options.since === null ? null : parsePosition(options.since);
    const { snapshot = false, allowed = () => true } = options;
    const subscription = hub.subscribe({ selection, since, snapshot, allowed }, peer);
    return Object.assign(peer, { subscription });
  };
  const at = (revision: number) => formatPosition({ epoch: log.epoch, revision });
  return { clock, log, snapshots, hub, watch, at, failures, group };
}

function draft(type: EventDraft['type'] = 'service.set', more: Partial<EventDraft> = {}): EventDraft {
  return { type, body: {}, ...more };
}

describe('WatchHub', () => {
  test('subscribe() from now tells where it is, then each revision whole, those of a turn together', async () => {
    const { clock, log, watch, at } = createWorld();
    log.append([draft()]);
    const peer = watch();
    await clock.settle();
    assert.deepEqual(peer.messages, [{ kind: 'progress', position: at(1) }]);
    log.append([draft(), draft('host.joined')], [draft()]);
    log.append([draft()]);
    await clock.settle();
    assert.equal(peer.messages.length, 2);
    assert.deepEqual(
      peer.events.map(({ position, index }) => `${position}/${index}`),
      [`${at(2)}/0`, `${at(2)}/1`, `${at(3)}/0`, `${at(4)}/0`],
    );
    assert.equal(peer.position, at(4));
  });

  test('a position resumes after it; compacted, another epoch and the future end the subscription', async () => {
    const { clock, log, watch, at } = createWorld();
    for (let i = 0; i < 10; i += 1) log.append([draft()]);
    await clock.settle();
    log.compact(5);
    const resumed = watch({ since: at(5) });
    const compacted = watch({ since: at(4) });
    const reset = watch({ since: '3.5' });
    const future = watch({ since: at(11) });
    const head = watch({ since: at(10) });
    await clock.settle();
    assert.deepEqual(
      resumed.events.map(({ position }) => position),
      [6, 7, 8, 9, 10].map(at),
    );
    assert.deepEqual(compacted.messages, [{ kind: 'compacted', oldest: at(5) }]);
    assert.deepEqual(reset.messages, [{ kind: 'reset', epoch: log.epoch }]);
    assert.equal(future.messages[0]?.kind === 'error' && future.messages[0].code, 'bad-request');
    assert.deepEqual(head.messages, [{ kind: 'progress', position: at(10) }]);
    log.append([draft()]);
    await clock.settle();
    for (const ended of [compacted, reset, future]) {
      assert.equal(ended.messages.length, 1);
      assert.equal(ended.end, 'told');
    }
    assert.equal(head.events.length, 1);
  });

  test('a snapshot comes in pages, its events follow without gap', async () => {
    const { clock, log, snapshots, watch, at } = createWorld();
    snapshots.items = Array.from({ length: 1_201 }, (_, index) => ({ kind: 'service', body: { index } }));
    log.append([draft()]);
    const peer = watch({ snapshot: true });
    log.append([draft()]);
    await clock.settle();
    log.append([draft()]);
    await clock.settle();
    const pages = peer.messages.filter((message) => message.kind === 'snapshot');
    assert.deepEqual(
      pages.map(({ items, done }) => [items.length, done]),
      [
        [500, false],
        [500, false],
        [201, true],
      ],
    );
    assert.ok(pages.every(({ position }) => position === at(1)));
    assert.deepEqual(
      peer.events.map(({ position }) => position),
      [at(2), at(3)],
    );
  });

  test('progress comes within 30 s when idle, and past revisions that nobody selected', async () => {
    const { clock, log, watch, at } = createWorld();
    const peer = watch({ select: { types: ['host.*'] } });
    for (let i = 0; i < 60; i += 1) {
      log.append([draft()]);
      await clock.advance(1_000);
    }
    assert.deepEqual(new Set(peer.kinds), new Set(['progress']));
    assert.ok(peer.messages.length >= 3 && peer.messages.length <= 5, `${peer.messages.length}`);
    const last = peer.messages.at(-1);
    assert.ok(last?.kind === 'progress' && parsePosition(last.position).revision > 30);
    assert.ok(parsePosition(peer.position ?? '').revision <= parsePosition(at(60)).revision);
  });

  test('selections: types, families, apps, hosts by selector, records; impossible ones are refused', async () => {
    const { clock, log, watch } = createWorld();
    const uuid = '0190a1b2-0000-7000-8000-000000000001';
    const events: EventDraft[] = [
      draft('service.set', { host: 'edge-1', service: 'web', body: { uuid, region: 'eu' } }),
      draft('service.lapsed', { host: 'edge-2', service: 'db', body: { region: 'us' } }),
      draft('host.joined', { host: 'edge-1', body: { id: 'x', region: 'eu', labels: { env: 'prod' } } }),
      draft('component.changed', { host: 'edge-2', app: 'shop' }),
      draft('system.suspected'),
    ];
    const cases: [Selection, number[]][] = [
      [{}, [0, 1, 2, 3, 4]],
      [{ types: ['service.*'] }, [0, 1]],
      [{ types: ['service.set', 'system.*'] }, [0, 4]],
      [{ apps: ['shop'] }, [3]],
      [{ hosts: '@name=edge-1' }, [0, 2]],
      [{ hosts: '@region=eu' }, [2]],
      [{ hosts: 'env=prod' }, [2]],
      [{ hosts: '@type=db' }, [1]],
      [{ hosts: '@name!=edge-1' }, [1, 3]],
      [{ services: { uuid: [uuid.toUpperCase()] } }, [0]],
      [{ services: { type: ['web', 'db'], region: ['us'] } }, [1]],
      [{ services: { host: ['EDGE-2'] } }, [1]],
      [{ types: ['service.*'], hosts: '@name=edge-1' }, [0]],
      [{ types: [] }, []],
    ];
    const peers = cases.map(([select]) => watch({ select }));
    await clock.settle();
    log.append(events);
    await clock.settle();
    for (const [index, [select, wanted]] of cases.entries())
      assert.deepEqual(
        peers[index]?.events.map((event) => event.index),
        wanted,
        JSON.stringify(select),
      );
    for (const select of [
      { types: ['nothing.*'] },
      { types: ['service.exploded'] },
      { hosts: 'a=' },
      { services: { uuid: ['x'] } },
    ]) {
      assert.throws(() => compileSelection(select, admin, null), { code: 'bad-request' });
    }
  });

  test('a host gets service records and its own document, whatever it selects, as events and in a snapshot', async () => {
    const { clock, log, snapshots, watch } = createWorld();
    snapshots.items = [
      { kind: 'host', body: { id: 'a' } },
      { kind: 'host', body: { id: 'b' } },
      { kind: 'service', body: { uuid: 'u', host: 'b' } },
    ];
    const facts = { region: null, labels: {}, self: {} };
    const hostFacts = (name: string) => ({ ...facts, id: name.slice(-1), name });
    const callers = ['a', 'b'].map((hostId): Caller => ({ role: 'host', subject: `host:${hostId}`, hostId }));
    const watches = callers.flatMap((caller) =>
      [{}, { types: ['host.*'] }, { types: ['component.*'] }].map((select) =>
        watch({ caller, select, hostFacts, snapshot: true }),
      ),
    );
    await clock.settle();
    log.append([
      draft('host.joined', { host: 'host-a', body: { id: 'a' } }),
      draft('host.joined', { host: 'host-b', body: { id: 'b' } }),
      draft('host.left', { host: 'host-a', body: {} }),
      // Its name is another's now.
      draft('host.renamed', { host: 'host-b', body: { id: 'a' } }),
      draft('service.set', { host: 'host-b' }),
      draft('component.changed', { host: 'host-a', body: { id: 'a' } }),
      draft('system.suspected'),
    ]);
    await clock.settle();
    assert.deepEqual(
      watches.map(({ events }) => events.map(({ index }) => index)),
      [[0, 2, 3, 4], [0, 2, 3], [], [1, 4], [1], []],
    );
    const shown = watches.map(({ messages }) =>
      messages.flatMap((message) =>
        message.kind === 'snapshot' ? message.items.map(({ body }) => body) : [],
      ),
    );
    assert.deepEqual(shown[0], [{ id: 'a' }, { uuid: 'u', host: 'b' }]);
    assert.deepEqual(shown[3], [{ id: 'b' }, { uuid: 'u', host: 'b' }]);
  });

  test('a slow reader pauses, holds a bounded amount, and goes on from the log without gap or repeat', async () => {
    const { clock, log, watch, at } = createWorld({ bufferedBytes: 10_000, messageBytes: 4_000 });
    const slow = watch();
    const fast = watch();
    await clock.settle();
    slow.reading = false;
    let most = 0;
    for (let i = 0; i < 500; i += 1) {
      log.append([draft('service.set', { body: { text: 'x'.repeat(200) } })]);
      await clock.settle();
      most = Math.max(most, slow.bufferedBytes());
    }
    assert.equal(fast.events.length, 500);
    assert.ok(most > 10_000 && most < 10_000 + 4_000 + 1_000, `${most}`);
    slow.reading = true;
    slow.read();
    await clock.settle();
    assert.deepEqual(
      slow.events.map(({ position }) => position),
      Array.from({ length: 500 }, (_, index) => at(index + 1)),
    );
  });

  test('many watches of one slow socket hold one message too many, not one each; each goes on without gap', async () => {
    const { clock, log, watch, at, failures } = createWorld({ bufferedBytes: 1_000, readsMax: 3 });
    const socket = new FakeSocket();
    const watches = Array.from({ length: 40 }, (_, index) => {
      const select =
        index % 2 === 0 ? {} : { types: ['service.*', `host.${index % 4 === 1 ? 'left' : '*'}`] };
      return watch({ select, peer: new FakePeer(socket, `id ${index}`) });
    });
    await clock.settle();
    socket.reading = false;
    let most = 0;
    for (let i = 0; i < 5; i += 1) {
      log.append([draft('service.set', { body: { text: 'x'.repeat(2_000) } })]);
      await clock.settle();
      most = Math.max(most, socket.bufferedBytes());
    }
    for (let drains = 0; drains < 200; drains += 1) {
      socket.read();
      await clock.settle();
      most = Math.max(most, socket.bufferedBytes());
    }
    // All five together are one message from the log.
    assert.ok(most > 1_000 && most < 1_000 + 5 * 2_200, `${most}`);
    for (const { events } of watches)
      assert.deepEqual(
        events.map(({ position }) => position),
        [1, 2, 3, 4, 5].map(at),
      );
    assert.deepEqual(failures, []);
  });

  test('one that takes nothing for 30 s is closed with where to resume; one that takes a little stays', async () => {
    const { clock, log, watch, hub } = createWorld({ bufferedBytes: 1_000 });
    const stuck = watch();
    const trickle = watch();
    await clock.settle();
    stuck.reading = trickle.reading = false;
    for (let i = 0; i < 20; i += 1) log.append([draft('service.set', { body: { text: 'x'.repeat(500) } })]);
    for (let second = 0; second < 31; second += 1) {
      if (second % 10 === 9) trickle.read(1);
      if (trickle.bufferedBytes() === 0)
        log.append([draft('service.set', { body: { text: 'x'.repeat(500) } })]);
      await clock.advance(1_000);
    }
    stuck.read();
    const closing = stuck.messages.at(-1);
    assert.deepEqual([stuck.end, trickle.end], ['slow', undefined]);
    assert.ok(closing?.kind === 'closing' && closing.resume !== null);
    assert.equal(
      parsePosition(closing.resume).revision,
      parsePosition(stuck.events.at(-1)?.position ?? '').revision,
    );
    assert.equal(hub.size, 1);
  });

  test('one whose credential ends is told where to resume within 5 s, and hears no more', async () => {
    const { clock, log, watch, at, hub } = createWorld();
    let good = true;
    const ending = watch({ allowed: () => good });
    const other = watch();
    await clock.advance(60_000);
    log.append([draft()]);
    await clock.settle();
    assert.equal(ending.end, undefined);
    good = false;
    await clock.advance(5_000);
    assert.deepEqual(ending.messages.at(-1), { kind: 'closing', reason: 'credential', resume: at(1) });
    assert.equal(ending.end, 'credential');
    log.append([draft()]);
    await clock.settle();
    assert.equal(ending.events.length, 1);
    assert.equal(other.events.length, 2);
    assert.equal(hub.size, 1);
  });

  test('a new epoch resets everybody; close() tells everybody where to resume', async () => {
    const { clock, log, watch, hub, at, group } = createWorld();
    const before = watch();
    await clock.settle();
    log.begin(log.epoch + 1);
    log.append([draft()]);
    await clock.settle();
    assert.deepEqual(before.messages.at(-1), { kind: 'reset', epoch: log.epoch });
    const after = watch();
    await clock.settle();
    log.append([draft()]);
    hub.close('shutdown');
    assert.deepEqual(after.messages.at(-1), { kind: 'closing', reason: 'shutdown', resume: at(2) });
    const late = watch();
    await group.drained();
    assert.deepEqual(late.kinds, ['closing']);
    assert.equal(hub.size, 0);
    assert.deepEqual(clock.pendingMs, []);
  });

  test('cancel() ends without a word, also in the middle of a snapshot that waits for its reader', async () => {
    const { clock, snapshots, watch, hub, group } = createWorld({ bufferedBytes: 100 });
    snapshots.items = Array.from({ length: 5_000 }, (_, index) => ({ kind: 'service', body: { index } }));
    const peer = new FakePeer();
    peer.reading = false;
    const { subscription } = watch({ snapshot: true, peer });
    await clock.settle();
    subscription.cancel();
    await group.drained();
    assert.equal(hub.size, 0);
    assert.equal(peer.end, undefined);
  });

  test('many selections and ids that are equal share the work', async () => {
    const { clock, log, watch } = createWorld();
    const peers = Array.from({ length: 1_000 }, (_, index) =>
      watch({ select: index % 2 === 0 ? {} : { types: ['service.*'] } }),
    );
    await clock.settle();
    log.append([draft()]);
    await clock.settle();
    for (const peer of peers) assert.equal(peer.events.length, 1);
  });
});

/** A client that holds a position, loses its connection at random and comes back with it, as etcd's validators watch. */
class Client {
  readonly received: ChangeEvent[] = [];
  readonly #world: ReturnType<typeof createWorld>;
  readonly #select: Selection;
  position: string;
  gaps: string[] = [];
  peer: (FakePeer & { subscription: WatchSubscription }) | undefined;
  #read = 0;

  constructor(world: ReturnType<typeof createWorld>, select: Selection, position: string) {
    this.#world = world;
    this.#select = select;
    this.position = position;
  }

  connect(): void {
    this.#read = 0;
    this.peer = this.#world.watch({ since: this.position, select: this.#select });
  }

  /** Takes over what arrived. True while connected. */
  absorb(): void {
    const messages = this.peer?.messages.slice(this.#read) ?? [];
    this.#read += messages.length;
    for (const message of messages) {
      if (message.kind === 'events') {
        // Bookmarkable: nothing at or below a position that was given comes after it.
        for (const event of message.events) {
          assert.ok(
            parsePosition(event.position).revision > parsePosition(this.position).revision,
            `${event.position} after ${this.position}`,
          );
        }
        // Atomic: the position closes whole revisions.
        assert.ok(
          message.events.every(
            ({ position }) => parsePosition(position).revision <= parsePosition(message.position).revision,
          ),
        );
        this.received.push(...message.events);
      }
      if (message.kind === 'events' || message.kind === 'progress') this.position = message.position;
      if (message.kind === 'compacted') {
        this.gaps.push(`${this.position}..${message.oldest}`);
        this.position = message.oldest;
        this.peer = undefined;
      }
    }
  }

  drop(): void {
    this.absorb();
    this.peer?.subscription.cancel();
    this.peer = undefined;
  }
}

test('random histories: ordered, unique, reliable, atomic, resumable, bookmarkable', async (t) => {
  const random = SeededRandom.fresh(t);
  for (let round = 0; round < 20; round += 1) {
    const world = createWorld({
      bufferedBytes: random.integer(200, 5_000),
      messageBytes: random.integer(100, 3_000),
      readsMax: random.integer(1, 4),
    });
    const all: ChangeEvent[] = [];
    const clients = Array.from({ length: 30 }, () => {
      const select: Selection = random.pick([
        {},
        { types: ['service.*'] },
        { types: ['host.joined'] },
        { hosts: '@name=a' },
        { services: { host: ['b'] } },
      ]);
      return Object.assign(new Client(world, select, world.at(0)), { select });
    });
    for (let step = 0; step < 150; step += 1) {
      const commits = Array.from({ length: random.integer(0, 3) }, () => {
        return Array.from({ length: random.integer(1, 4) }, () =>
          draft(random.pick(eventTypes), {
            host: random.pick(['a', 'b', 'c']),
            body: { text: 'x'.repeat(random.integer(0, 300)) },
          }),
        );
      });
      if (commits.length > 0) all.push(...world.log.append(...commits).flatMap(({ events }) => events));
      if (random.uniform() < 0.02)
        world.log.compact(
          random.integer(
            world.log.compacted,
            Math.max(world.log.compacted, world.hub.position.revision - 20),
          ),
        );
      const client = random.pick(clients);
      if (client.peer === undefined) client.connect();
      else if (random.uniform() < 0.3) client.drop();
      else {
        client.peer.reading = random.uniform() < 0.5;
        client.peer.read(random.integer(0, 3));
      }
      if (random.uniform() < 0.7) await world.clock.settle();
      for (const each of clients) each.absorb();
    }
    for (const client of clients) {
      if (client.peer === undefined) client.connect();
      if (client.peer !== undefined) client.peer.reading = true;
    }
    for (let i = 0; i < 5; i += 1) {
      for (const client of clients) client.peer?.read();
      await world.clock.settle();
      for (const client of clients) {
        client.absorb();
        if (client.peer === undefined) client.connect();
      }
    }
    for (const client of clients) {
      const { matches } = compileSelection(client.select, admin, null);
      const wanted = all
        .filter((event) => matches === null || matches(event))
        .filter(({ position }) => !client.gaps.some((gap) => inGap(gap, position)))
        .map(({ position, index }) => `${position}/${index}`);
      assert.deepEqual(
        client.received.map(({ position, index }) => `${position}/${index}`),
        wanted,
        String(random),
      );
    }
    assert.deepEqual(world.failures, []);
    world.hub.close('end');
  }
});

/** `<from>..<oldest>`: what lies after `from` and not after `oldest` was told to be gone. */
function inGap(gap: string, position: string): boolean {
  const [from, oldest] = gap.split('..').map((text) => parsePosition(text).revision);
  const { revision } = parsePosition(position);
  return revision > (from ?? 0) && revision <= (oldest ?? 0);
}
