/** A real registry's stores and real agents in one process, on one fake clock, with a bad line between them. */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { type Agent, createAgent } from '../../src/agent/agent.ts';
import type { Detector } from '../../src/agent/detectors/detector.ts';
import type { JoinToken } from '../../src/agent/join.ts';
import type { HostCalls, RegistryPeer } from '../../src/agent/peer.ts';
import { silentLogger } from '../../src/base/log.ts';
import { type Caller, systemCaller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import type { Beat, BeatAnswer } from '../../src/domain/host.ts';
import type { CheckIn, Component } from '../../src/domain/inventory.ts';
import type { ServiceDocument } from '../../src/domain/liveness.ts';
import type { ReportBatch } from '../../src/domain/services.ts';
import { targetDocument } from '../../src/domain/target.ts';
import { decideToken } from '../../src/domain/token.ts';
import type { OpenStore } from '../../src/store/engine/core.ts';
import { queryBuilder } from '../../src/store/engine/query.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { encodeJoinToken } from '../../src/wire/join-token.ts';
import type { FakeClock } from '../helpers/clock.ts';
import type { SeededRandom } from '../helpers/random.ts';
import { openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import { FakeTrust } from '../helpers/trust.ts';

/** `deaf`: what is asked arrives and has its effect, the answer is lost. `hung`: there is never an answer. */
export type Line = 'up' | 'down' | 'deaf' | 'hung';

export interface Calls {
  readonly beats: { readonly atMs: number; readonly beat: Beat; readonly answer: BeatAnswer | null }[];
  readonly checkIns: CheckIn[];
  readonly batches: ReportBatch[];
  /** When each batch arrived, in real time. */
  readonly arrivedMs: number[];
}

type Offered = Awaited<ReturnType<RegistryPeer['target']>>;

/** A registry whose process may end and whose data may be put back. */
export class TestRegistry {
  readonly url = 'http://registry.test';
  readonly trust: FakeTrust;
  /** What becomes of a target on its way. */
  served: (signed: Offered) => Offered = (signed) => signed;
  readonly calls: Calls = { beats: [], checkIns: [], batches: [], arrivedMs: [] };
  line: Line = 'up';
  /** After a credential was offered. */
  onRenewed: () => void = () => undefined;
  /** Beats find nobody; all else does. */
  refuseBeats = false;
  /** Beats have their effect, and their answers are lost. */
  loseAnswers = false;
  /** What becomes of an answer to a beat on its way. */
  told: (answer: BeatAnswer) => BeatAnswer = (answer) => answer;
  /** With these chances each call meets a line that is down, or deaf; or arrives twice. */
  chances = { down: 0, deaf: 0, twice: 0 };
  stores: RegistryStores;
  readonly token: string;
  readonly #dataDir: string;
  readonly #clock: FakeClock;
  readonly #random: SeededRandom;
  #store: OpenStore;
  #rewindsSeen = 0;

  private constructor(parts: {
    dataDir: string;
    clock: FakeClock;
    random: SeededRandom;
    store: OpenStore;
    stores: RegistryStores;
    trust: FakeTrust;
    token: string;
  }) {
    this.#dataDir = parts.dataDir;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#store = parts.store;
    this.stores = parts.stores;
    this.trust = parts.trust;
    this.token = parts.token;
  }

  static async open(dataDir: string, clock: FakeClock, random: SeededRandom): Promise<TestRegistry> {
    const store = await openRegistry(dataDir, clock);
    const trust = new FakeTrust();
    const stores = await openRegistryStores(store, clock, random, trust);
    const { token } = await stores.access.issue(
      systemCaller,
      decideToken({ role: 'admin', subject: 'test', expiresInMs: 30 * 86_400_000 }),
    );
    return new TestRegistry({ dataDir, clock, random, store, stores, trust, token });
  }

  /** Statuses that the log tells of each record, in order. */
  async history(): Promise<Map<string, string[]>> {
    const told = new Map<string, string[]>();
    // The table and not the log, whose readers see the present life only.
    const rows = await this.#store.read((session) => session.query(revisionsQuery()));
    for (const row of rows) {
      for (const { type, body } of JSON.parse(row.events) as ChangeEvent[]) {
        if (!type.startsWith('service.')) continue;
        const { uuid, status } = body as ServiceDocument;
        const word = type === 'service.deleted' ? 'deleted' : status;
        told.set(uuid, [...(told.get(uuid) ?? []), word]);
      }
    }
    return told;
  }

  /** A copy of the data, for `putBack`. */
  async copy(to: string): Promise<void> {
    await this.#store.close();
    cpSync(this.#dataDir, to, { recursive: true });
    await this.#reopen();
  }

  /** The process ends, somebody puts an older copy of the data in place, it starts again. */
  async putBack(from: string): Promise<void> {
    await this.#store.close();
    rmSync(this.#dataDir, { recursive: true });
    cpSync(from, this.#dataDir, { recursive: true });
    await this.#reopen();
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** A join token that says where this registry is, and which key it signs with. */
  async joinToken(uses = 1): Promise<string> {
    const { token } = await this.stores.access.issue(systemCaller, decideToken({ role: 'host', uses }));
    return encodeJoinToken(this.trust.joinTrust(), token);
  }

  /** A client with this token. */
  connect(token: string): RegistryPeer {
    const caller = () => this.stores.access.authenticate(token);
    const { calls } = this;
    const hosts: HostCalls = {
      join: (_, request) => this.#call(caller, (as) => this.stores.hosts.join(as, request)),
      renew: async (id, request) => {
        const offer = await this.#call(
          () => systemCaller,
          () => this.stores.hosts.renew(id, request),
        );
        this.onRenewed();
        return offer;
      },
      beat: async (_, id, beat) => {
        const call = { atMs: this.#clock.now(), beat, answer: null };
        calls.beats.push(call);
        if (this.refuseBeats)
          throw new AppError('unavailable', 'Cannot reach the registry: no beat gets through');
        const answer = this.told(await this.#call(caller, (as) => this.#beat(as, id, beat)));
        if (this.loseAnswers)
          throw new AppError('unavailable', 'Cannot reach the registry: the answer was lost');
        calls.beats[calls.beats.indexOf(call)] = { ...call, answer };
        return answer;
      },
      checkIn: (_, id, checkIn) => {
        calls.checkIns.push(checkIn);
        return this.#call(caller, (as) => this.stores.hosts.checkIn(as, id, checkIn));
      },
      report: (_, id, batch) => {
        calls.batches.push(batch);
        calls.arrivedMs.push(performance.now());
        // As over the wire: nothing of ours is shared with the other side.
        const received = JSON.parse(JSON.stringify(batch)) as ReportBatch;
        return this.#call(caller, (as) => this.stores.hosts.report(as, id, received));
      },
    };
    const liveness: Pick<RegistryPeer['liveness'], 'get' | 'list' | 'isUpMany'> = {
      get: (uuid) => this.#call(caller, () => this.stores.liveness.get(uuid)),
      list: (filter, page) => this.#call(caller, () => this.stores.liveness.list(filter, page)),
      isUpMany: (queries) => this.#call(caller, () => this.stores.liveness.isUpMany(queries)),
    };
    // The agent calls nothing else.
    const trust = async () => this.trust.trust();
    const target: RegistryPeer['target'] = (id) =>
      this.#call(caller, async () => {
        const parts = this.stores.hosts.targetParts(id);
        const body = JSON.stringify(targetDocument(parts.host, this.trust.trust(), parts.version));
        return this.served({ body, signature: this.trust.sign(body) });
      });
    return { hosts, liveness, trust, target, close: () => Promise.resolve() } as unknown as RegistryPeer;
  }

  async #beat(caller: Caller, id: string, beat: Beat): Promise<BeatAnswer> {
    const answer = await this.stores.hosts.beat(caller, id, beat);
    const rewind = this.stores.rewinds[this.#rewindsSeen];
    if (rewind !== undefined) {
      this.#rewindsSeen = this.stores.rewinds.length;
      await this.#store.beginEpoch(systemCaller, {
        atLeast: rewind.epoch + 1,
        reason: 'a host has seen more',
      });
    }
    return answer;
  }

  async #call<T>(caller: () => Caller, call: (as: Caller) => Promise<T>): Promise<T> {
    const chance = this.#random.uniform();
    const { down, deaf, twice } = this.chances;
    const line =
      this.line !== 'up' ? this.line : chance < down ? 'down' : chance < down + deaf ? 'deaf' : 'up';
    if (line === 'down') throw new AppError('unavailable', 'Cannot reach the registry: the line is down');
    if (line === 'hung') return never();
    const as = caller();
    if (chance > 1 - twice) await call(as);
    const answer = await call(as);
    if (line === 'deaf') throw new AppError('unavailable', 'Cannot reach the registry: the answer was lost');
    return answer;
  }

  async #reopen(): Promise<void> {
    this.#store = await openRegistry(this.#dataDir, this.#clock);
    this.stores = await openRegistryStores(this.#store, this.#clock, this.#random, this.trust);
    this.#rewindsSeen = 0;
  }
}

function revisionsQuery() {
  return queryBuilder('sqlite').selectFrom('revisions').select('events').orderBy('revision').compile();
}

function openRegistry(dataDir: string, clock: FakeClock): Promise<OpenStore> {
  return openStore({ role: 'registry', dataDir, clock, limits: { ballastBytes: 0 } });
}

/** A detector that finds what the test says. */
export function scriptedDetector(
  name: string,
  everyMs = 30_000,
): Detector & { found: readonly Component[] | null; error: Error | null } {
  return {
    name,
    everyMs,
    found: [],
    error: null,
    async detect() {
      if (this.error !== null) throw this.error;
      return this.found;
    },
  };
}

export function component(name: string, version: string, detector = 'dpkg'): Component {
  return { name, version, detector };
}

export interface TestAgentOptions {
  readonly dataDir: string;
  readonly clock: FakeClock;
  readonly random: SeededRandom;
  readonly registry: TestRegistry | null;
  readonly detectors?: readonly Detector[];
  readonly name?: string;
  readonly token?: JoinToken;
  /** Where the machine's id stands; without it one is minted. */
  readonly machineId?: string;
}

export async function startAgent(options: TestAgentOptions): Promise<Agent> {
  const { dataDir, clock, random, registry, detectors = [], name = 'edge-1' } = options;
  return createAgent({
    dataDir,
    name,
    region: null,
    registry:
      registry === null
        ? null
        : { url: registry.url, joinToken: options.token === undefined ? registry.token : options.token },
    listen: null,
    socketDir: null,
    connect: ({ token = '' }) => {
      assert(registry !== null, 'an agent without a registry connects to none');
      return registry.connect(token);
    },
    clock,
    random,
    logger: silentLogger,
    version: '0.0.0-test',
    commit: 'test',
    detectors,
    machine: {
      machineId: options.machineId ?? `${dataDir}/no-such-machine-id`,
      bootId: `${dataDir}/no-such-boot-id`,
    },
  });
}

/** Fake time passes until `condition` holds, in steps, with real input and output let through; fails after `withinMs`. */
export async function until(
  clock: FakeClock,
  withinMs: number,
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const endMs = clock.monotonic() + withinMs;
  for (;;) {
    for (let turn = 0; turn < 20 && !(await condition()); turn += 1)
      await new Promise((resolve) => setTimeout(resolve, turn < 10 ? 0 : 1));
    if (await condition()) return;
    assert(clock.monotonic() < endMs, `not within ${withinMs} ms: ${what}`);
    await clock.advance(Math.min(250, endMs - clock.monotonic()));
  }
}

/** A promise that stays open: whoever waits for it has to give up by himself. */
export function never<T = never>(): Promise<T> {
  return Promise.withResolvers<T>().promise;
}
