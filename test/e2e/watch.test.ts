/**
 * Watches of a registry that is killed again and again, held against the log that it leaves on disk: random writes by
 * several clients, watchers over WebSocket and server-sent events at random positions with random selections, random
 * disconnections. HOLDFAST_SEED repeats the draws (not the instants at which the kernel kills).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { systemRandom } from '../../src/base/random.ts';
import { Connection } from '../../src/client/connection.ts';
import { eventStreamMessages } from '../../src/client/event-stream.ts';
import { UpgradeRefused, webSocketMessages } from '../../src/client/websocket.ts';
import { AppError } from '../../src/domain/error.ts';
import type { Selection } from '../../src/domain/event.ts';
import { bundleProgram } from '../helpers/bundle.ts';
import { readLogFile, verifyStore } from '../helpers/log-file.ts';
import { portOf, reach, registryArguments, startProcess } from '../helpers/process.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import {
  bookmarkOf,
  eventsOf,
  expected,
  type History,
  type Log,
  rangeOf,
  type Told,
  violations,
} from '../helpers/watch-history.ts';
import { Writers } from '../helpers/writers.ts';

const kills = 6;
const writersMax = 4;
const watchersMax = 16;
/** Acknowledged changes between a start and the next kill: less would be a run that shows nothing. */
const changesPerLife = [150, 400] as const;

test('watchers of a registry that is killed miss nothing, see nothing twice, and all in order', async (t) => {
  const random = SeededRandom.fresh(t);
  const dataDir = tempFolder(t);
  const program = await bundleProgram(tempFolder(t));
  let server = startProcess(t, registryArguments(dataDir), program);
  const ready = await server.ready('registry');
  const { url, token } = reach(t, ready);
  const writers = new Writers({ url, token, random, count: writersMax });
  const watchers: Watcher[] = [];
  const watch = (count: number, position: string) => {
    for (let more = 0; more < count; more += 1) {
      watchers.push(
        new Watcher({
          url,
          token,
          random,
          number: watchers.length,
          position: randomPosition(random, position),
        }),
      );
    }
  };

  writers.resume();
  watch(watchersMax / 2, await writers.position());
  for (let kill = 0; kill < kills; kill += 1) {
    const target = writers.acknowledged + random.integer(...changesPerLife);
    while (writers.acknowledged < target) {
      await writers.untilMore(25);
      const victim = random.pick(watchers);
      if (random.uniform() < 0.5) victim.disconnect();
      if (watchers.length < watchersMax) watch(1, await writers.position());
    }
    await server.kill('SIGKILL');
    for (const watcher of watchers) watcher.serverGone();
    await writers.pause();
    server = startProcess(t, registryArguments(dataDir, portOf(url)), program);
    await server.ready('registry');
    for (const watcher of watchers) watcher.serverBack();
    writers.resume();
  }
  await writers.untilMore(50);
  await writers.pause();

  const log = readLogFile(dataDir);
  const head = log.at(-1)?.revision ?? 0;
  await until(
    () => watchers.every((watcher) => watcher.hasAll(log, head)),
    () =>
      `still waiting: ${watchers
        .filter((watcher) => !watcher.hasAll(log, head))
        .map(({ history }) => history.name)
        .join('; ')}`,
    15_000,
  );
  await Promise.all(watchers.map((watcher) => watcher.stop()));
  assert.deepEqual(await server.kill('SIGTERM'), { code: 0, signal: null });

  const histories = watchers.map(({ history }) => history);
  const delivered = histories.reduce(
    (sum, { connections }) =>
      sum + connections.reduce((more, { messages }) => more + eventsOf(messages).length, 0),
    0,
  );
  const connections = histories.reduce((sum, history) => sum + history.connections.length, 0);
  t.diagnostic(
    `${log.length} revisions, ${writers.acknowledged} acknowledged changes, ${watchers.length} watchers, ${connections} connections, ${delivered} events delivered`,
  );
  assert.deepEqual(violations(histories, log).slice(0, 10), []);
  assert.deepEqual(writers.lost(log).slice(0, 10), []);
  assert.deepEqual(
    log.map(({ revision }) => revision),
    log.map((_, index) => index + 1),
  );
  assert(delivered > log.length, `only ${delivered} events were delivered: this run shows nothing`);

  assert.deepEqual(await verifyStore('registry', dataDir), { ok: true, from: 0, to: head });
});

interface WatcherStart {
  readonly since: string | null;
  readonly snapshot: boolean;
}

function randomPosition(random: SeededRandom, head: string): WatcherStart {
  const [epoch = '', revision = '0'] = head.split('.');
  const drawn = random.uniform();
  if (drawn < 0.3) return { since: null, snapshot: true };
  if (drawn < 0.4) return { since: null, snapshot: false };
  return {
    since: `${epoch}.${random.integer(Math.max(0, Number(revision) - 100), Number(revision))}`,
    snapshot: false,
  };
}

/** One watcher that always comes back to where it was, and keeps everything that it was told. */
class Watcher {
  readonly history: History;
  readonly #connection: Connection;
  readonly #open: typeof webSocketMessages;
  readonly #reading: Promise<void>;
  #stopped = false;
  #abort = new AbortController();
  #gate: Promise<void> = Promise.resolve();
  #openGate: () => void = () => undefined;

  constructor(options: {
    url: string;
    token: string;
    random: SeededRandom;
    number: number;
    position: WatcherStart;
  }) {
    const { url, token, random, number, position } = options;
    const isSocket = number % 2 === 0;
    const select = randomSelection(random);
    this.#open = isSocket ? webSocketMessages : eventStreamMessages;
    this.#connection = new Connection({ target: { url }, token, clock: systemClock, random: systemRandom });
    this.history = {
      name: `watcher ${number} by ${isSocket ? 'websocket' : 'event stream'} of ${JSON.stringify(select)} since ${position.since ?? (position.snapshot ? 'a snapshot' : 'the present')}`,
      select,
      connections: [],
    };
    this.#reading = this.#read(position);
  }

  disconnect(): void {
    this.#abort.abort(new Error('disconnected by the test'));
  }

  serverGone(): void {
    this.#gate = new Promise((resolve) => {
      this.#openGate = resolve;
    });
  }

  serverBack(): void {
    this.#openGate();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.disconnect();
    await this.#reading;
    await this.#connection.close();
  }

  /** Whether it has been told everything that there is to tell. */
  hasAll(log: Log, head: number): boolean {
    const begun = this.history.connections.map(rangeOf).filter((range) => range !== undefined);
    const last = begun.at(-1);
    return (
      last !== undefined && expected(log, this.history.select, { after: last.to, to: head }).length === 0
    );
  }

  async #read(begin: WatcherStart): Promise<void> {
    let start = begin;
    while (!this.#stopped) {
      await this.#gate;
      this.#abort = new AbortController();
      const told: Told = { ...start, messages: [] };
      this.history.connections.push(told);
      try {
        const { signal } = this.#abort;
        const messages = this.#open(
          this.#connection,
          { select: this.history.select, ...start },
          { signal, onOpen: () => undefined },
        );
        for await (const message of messages) told.messages.push(message);
      } catch (error) {
        const isLink =
          error instanceof UpgradeRefused || (error instanceof AppError && error.code === 'unavailable');
        if (!isLink && !this.#abort.signal.aborted) throw error;
      }
      const refused = told.messages.find(
        ({ kind }) => kind === 'error' || kind === 'reset' || kind === 'compacted',
      );
      assert.equal(refused, undefined, `${this.history.name} was refused`);
      const bookmark = bookmarkOf(told.messages);
      if (bookmark !== undefined) start = { since: bookmark, snapshot: false };
    }
  }
}

function randomSelection(random: SeededRandom): Selection {
  const choices: readonly Selection[] = [
    {},
    {},
    { types: ['service.*'] },
    { types: ['service.set', 'service.deleted'] },
    { types: ['host.*'] },
    { hosts: `@name=host-${random.integer(0, 3)}` },
    { services: { type: [`type-${random.integer(0, 4)}`, `type-${random.integer(0, 4)}`] } },
    { services: { host: [`host-${random.integer(0, 3)}`], type: ['type-0', 'type-1', 'type-2'] } },
    { services: { region: [`region-${random.integer(0, 9)}`, `region-${random.integer(0, 9)}`] } },
    { types: ['service.*'], services: { uuid: [Writers.uuid(random.integer(0, Writers.records - 1))] } },
  ];
  return random.pick(choices);
}
