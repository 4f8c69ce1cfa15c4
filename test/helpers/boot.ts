/**
 * Real roles in this process: real stores in temporary folders, real sockets on free ports, the real client, and one
 * clock for all, which is a fake one unless the test says otherwise. When the test ends everything is closed in
 * reverse, and what is left over (a timer, a socket, an open file) fails it.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Agent, type AgentOptions, createAgent } from '../../src/agent/agent.ts';
import type { Detector } from '../../src/agent/detectors/detector.ts';
import { connectRegistry, type RegistryAddress } from '../../src/agent/peer.ts';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { createClient, type HoldfastClient } from '../../src/client/client.ts';
import { LinkError } from '../../src/client/link.ts';
import type { ProxySettings } from '../../src/client/proxy.ts';
import { createRegistry, type Registry, type RegistryOptions } from '../../src/registry/registry.ts';
import { FakeClock } from './clock.ts';
import { type Exchange, exchange, type HttpAnswer } from './http.ts';
import { SeededRandom } from './random.ts';
import { until } from './until.ts';

/** The part of a test's context that is used here. */
export interface TestEnd {
  after(fn: () => Promise<void> | void): void;
}

/** A role that serves, and the ways to talk to it. */
export interface Booted<Role> {
  readonly role: Role;
  readonly url: string;
  readonly dataDir: string;
  /** Its `admin.token`. */
  readonly token: string;
  readonly client: HoldfastClient;
  /** One exchange as admin; `token: undefined` sends none. */
  readonly http: (exchange: Exchange) => Promise<HttpAnswer>;
  /** Calling it twice is harmless; the end of the test does it too. */
  readonly close: () => Promise<void>;
}

export interface RegistryBoot {
  /** Without Unix sockets when absent. */
  readonly socketDir?: string;
  /** Of a store that was there before; a new folder when absent. */
  readonly dataDir?: string;
  readonly port?: number;
  /** Default 127.0.0.1; 0.0.0.0 answers for every name. */
  readonly host?: string;
  readonly limits?: RegistryOptions['limits'];
  /** Plain HTTP when absent. With `own`, `http` verifies it by the ca.pem that it wrote. */
  readonly tls?: RegistryOptions['tls'];
  readonly advertiseUrls?: readonly string[];
  readonly behindProxy?: boolean;
  readonly legacyAnonymous?: boolean;
  readonly doctorReader?: RegistryOptions['doctorReader'];
  readonly databaseUrl?: string;
}

export interface AgentBoot {
  readonly dataDir?: string;
  readonly name?: string;
  readonly region?: string;
  readonly self?: Readonly<Record<string, string>>;
  /** Null: it stands alone. */
  readonly registry: {
    /** Null: where the token says. */
    readonly url: string | null;
    readonly token: string;
    readonly tokenUsed?: () => Promise<void>;
    readonly ca?: readonly string[];
  } | null;
  readonly proxy?: ProxySettings;
  /** The stage's when absent; who gives another moves it too, and closes the agent while it moves. */
  readonly clock?: FakeClock;
  /** What is installed; nothing when absent. */
  readonly detectors?: readonly Detector[];
  readonly connect?: AgentOptions['connect'];
  readonly limits?: AgentOptions['limits'];
  /** Without Unix sockets when absent. */
  readonly socketDir?: string;
}

export class Stage<C extends Clock = FakeClock> {
  readonly clock: C;
  readonly #folders: string[] = [];
  readonly #closers: (() => Promise<void>)[] = [];
  readonly #socketsBefore = sockets();
  readonly #leftoversMs: number;
  #seed = 1;

  private constructor(t: TestEnd, clock: C, leftoversMs: number) {
    this.clock = clock;
    this.#leftoversMs = leftoversMs;
    t.after(() => this.#end());
  }

  /**
   * Time moves when `clock.advance` (or `passTime`) says so. It begins in 2026; TLS needs `startMs` of today, because
   * OpenSSL asks the machine.
   */
  static open(t: TestEnd, { leftoversMs = 5_000, startMs = Date.UTC(2026, 0, 1) } = {}): Stage<FakeClock> {
    return new Stage(t, new FakeClock({ startMs }), leftoversMs);
  }

  /** Time is real. */
  static live(t: TestEnd): Stage<Clock> {
    return new Stage(t, systemClock, 5_000);
  }

  folder(): string {
    const path = mkdtempSync(join(tmpdir(), 'holdfast-'));
    this.#folders.push(path);
    return path;
  }

  async registry(options: RegistryBoot = {}): Promise<Booted<Registry>> {
    const {
      dataDir = this.folder(),
      host = '127.0.0.1',
      port = 0,
      tls,
      advertiseUrls,
      behindProxy,
    } = options;
    const role = await createRegistry({
      ...this.#shared(),
      ...(tls === undefined ? {} : { tls }),
      ...(advertiseUrls === undefined ? {} : { advertiseUrls }),
      ...(behindProxy === undefined ? {} : { behindProxy }),
      legacyAnonymous: options.legacyAnonymous ?? false,
      doctorReader: options.doctorReader ?? null,
      ...(options.databaseUrl === undefined ? {} : { databaseUrl: options.databaseUrl }),
      dataDir,
      socketDir: options.socketDir ?? null,
      listen: { host, port },
      limits: { ...options.limits, store: { ballastBytes: 0, ...options.limits?.store } },
    });
    return this.#booted(role);
  }

  async agent(options: AgentBoot): Promise<Booted<Agent>> {
    const {
      dataDir = this.folder(),
      name = 'edge-1',
      region = null,
      self = {},
      registry,
      detectors = [],
      connect,
      limits = {},
    } = options;
    const machine = this.folder();
    const role = await createAgent({
      ...this.#shared(),
      dataDir,
      name,
      region,
      self,
      listen: { host: '127.0.0.1', port: 0 },
      registry: registry === null ? null : { ...registry, joinToken: async () => registry.token },
      ...(options.clock === undefined ? {} : { clock: options.clock }),
      ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
      detectors,
      limits,
      socketDir: options.socketDir ?? null,
      // No two hosts of one machine: without these files each mints an id of its own.
      machine: { machineId: join(machine, 'machine-id'), bootId: join(machine, 'boot_id') },
      ...(connect === undefined ? {} : { connect }),
    });
    return this.#booted(role);
  }

  /** Closed at the end of the test, before what was opened earlier. */
  closing(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  #shared() {
    this.#seed += 1;
    return {
      clock: this.clock,
      random: new StageRandom(this.#seed),
      logger: silentLogger,
      socketDir: null,
      version: '0.0.0-test',
      commit: 'test',
    };
  }

  #booted<Role extends Registry | Agent>(role: Role): Booted<Role> {
    const { dataDir } = role;
    const url = role.url.replace('//0.0.0.0:', '//127.0.0.1:');
    const token = readFileSync(join(dataDir, 'admin.token'), 'utf8').trim();
    const caFile = join(dataDir, 'ca.pem');
    const ca = existsSync(caFile) ? readFileSync(caFile, 'utf8') : undefined;
    const client = createClient({
      target: { url },
      token,
      ...(ca === undefined ? {} : { tls: { ca: [ca] } }),
    });
    const close = async () => {
      await client.close();
      await role.close();
    };
    this.closing(close);
    // Read each time: it is another one after a rotation.
    const http = (one: Exchange) =>
      exchange(url, { token, ...(existsSync(caFile) ? { ca: readFileSync(caFile, 'utf8') } : {}), ...one });
    return { role, url, dataDir, token, client, http, close };
  }

  async #end(): Promise<void> {
    try {
      for (const close of this.#closers.reverse()) await close();
      await until(
        () => this.#leftovers() === '',
        () => `left over: ${this.#leftovers()}`,
        this.#leftoversMs,
      );
    } finally {
      for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
    }
  }

  /** What should be gone, in words; empty when it is. */
  #leftovers(): string {
    const timers = this.clock instanceof FakeClock ? this.clock.pendingMs.length : 0;
    const socketsMore = sockets() - this.#socketsBefore;
    const files = descriptors().filter((target) =>
      this.#folders.some((folder) => target.startsWith(`${folder}/`)),
    );
    return [
      ...(timers > 0 ? [`${timers} timers`] : []),
      ...(socketsMore > 0 ? [`${socketsMore} sockets`] : []),
      ...files,
    ].join(', ');
  }
}

/** For `AgentBoot.connect`: an agent's way to its registry, with a cable that can be pulled. */
export function cable(clock: Clock): {
  readonly connect: NonNullable<AgentOptions['connect']>;
  pulled: boolean;
} {
  const guard = <T extends object>(service: T): T =>
    new Proxy(service, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return async (...args: unknown[]) => {
          if (self.pulled)
            throw new LinkError('unreachable', 'Cannot reach the registry: the cable is pulled');
          return member.apply(target, args);
        };
      },
    });
  const self = {
    pulled: false,
    connect(to: RegistryAddress) {
      const peer = connectRegistry({ ...to, clock, random: new SeededRandom(99) });
      const { trust, target, close } = peer;
      return {
        hosts: guard(peer.hosts),
        liveness: guard(peer.liveness),
        doctor: guard(peer.doctor),
        ...guard({ trust, target }),
        close,
      };
    },
  };
  return self;
}

/** Seeded, but for the megabytes of a ballast, which nobody reads and which would take a while. */
class StageRandom extends SeededRandom {
  override bytes(count: number): Uint8Array {
    return count > 65_536 ? randomBytes(count) : super.bytes(count);
  }
}

/** Lets time pass in steps of a second, and between them whatever was sent arrive at all `servers`. */
export async function passTime(
  clock: FakeClock,
  ms: number,
  servers: readonly Booted<unknown>[],
): Promise<void> {
  for (let left = ms; left > 0; left -= 1_000) {
    await clock.advance(Math.min(1_000, left));
    await settle(servers);
  }
}

/** Round trips through every server: what was sent before has been read, and mostly answered, after them. */
export async function settle(servers: readonly Booted<unknown>[]): Promise<void> {
  for (let round = 0; round < 3; round += 1) {
    for (const { http } of servers) await http({ path: '/livez' });
  }
}

function sockets(): number {
  return descriptors().filter((target) => target.startsWith('socket:')).length;
}

function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      return [readlinkSync(`/proc/self/fd/${name}`)];
    } catch {
      // The one that read the folder.
      return [];
    }
  });
}
