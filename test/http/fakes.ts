/** Hand-written implementations of the contracts, in memory, for tests of what is in front of them. */
import { randomUUID } from 'node:crypto';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import { formatInstant } from '../../src/base/time.ts';
import type { Caller, Role } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import {
  type ChangeEvent,
  type EventDraft,
  formatPosition,
  type Mark,
  type Position,
  type Revision,
} from '../../src/domain/event.ts';
import type { HostView } from '../../src/domain/host.ts';
import { decideHostPatch, requireVersion } from '../../src/domain/host-change.ts';
import {
  decideBeat,
  decideMaintain,
  decideRegister,
  decideSet,
  type ServiceRecord,
  type ServiceView,
} from '../../src/domain/liveness.ts';
import type {
  AccessService,
  ComponentService,
  EventLog,
  HostService,
  LivenessService,
  Page,
  SnapshotItem,
  SnapshotSource,
  TrustService,
} from '../../src/domain/services.ts';
import type { Health, HttpServices, Kind } from '../../src/http/operation.ts';
import { createHttpServer, type HttpServer, type HttpServerOptions } from '../../src/http/server.ts';
import { SeededRandom } from '../helpers/random.ts';

export const hostId = '0190a1b2-0000-7000-8000-00000000000a';
export const otherHostId = '0190a1b2-0000-7000-8000-00000000000b';
export const knownUuid = '0190a1b2-0000-7000-8000-000000000001';

/** The token of a role is `t-<role>`. */
export function tokenOf(role: Role): string {
  return `t-${role}`;
}

export class FakeAccess implements AccessService {
  /** Roles whose token has ended. */
  readonly ended = new Set<Role>();

  async authenticate(token: string): Promise<Caller> {
    const role = token.slice(2) as Role;
    if (!token.startsWith('t-') || this.ended.has(role))
      throw new AppError('unauthenticated', 'Cannot accept the token: it is unknown, expired or revoked');
    return role === 'host' ? { role, subject: 'host:edge-1', hostId } : { role, subject: `token:${role}` };
  }

  stillValid({ role }: Caller): boolean {
    return !this.ended.has(role);
  }
}

/** Keeps every revision; `compact` forgets some, `begin` starts a new epoch. Readers may be slowed or broken. */
export class FakeLog implements EventLog {
  epoch = 1_700_000_000_000;
  readonly revisions: Revision[] = [];
  /** Revisions up to this one are gone. */
  compacted = 0;
  #revision = 0;
  readonly #listeners = new Set<(revisions: readonly Revision[]) => void>();
  readonly #clock: Clock;
  reads = 0;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  head(): Mark {
    return { epoch: this.epoch, revision: this.#revision, hash: `sha256:${'0'.repeat(64)}` };
  }

  oldest(): Position {
    return { epoch: this.epoch, revision: this.compacted };
  }

  async read(after: number, limit: { revisions: number; bytes: number }): Promise<readonly Revision[]> {
    this.reads += 1;
    if (after < this.compacted)
      throw new AppError('compacted', `Cannot read after ${after}`, {
        details: { oldest: formatPosition(this.oldest()) },
      });
    const found: Revision[] = [];
    let bytes = 0;
    for (let at = after - this.compacted; at < this.revisions.length; at += 1) {
      const revision = this.revisions[at];
      if (revision === undefined) break;
      found.push(revision);
      bytes += revision.encoded.length;
      if (found.length >= limit.revisions || bytes >= limit.bytes) break;
    }
    return found;
  }

  async hashAt(revision: number): Promise<string | null> {
    return revision > this.compacted && revision <= this.#revision ? this.head().hash : null;
  }

  subscribe(listener: (revisions: readonly Revision[]) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** One commit with one revision per list of drafts. */
  append(...commits: (readonly EventDraft[])[]): Revision[] {
    const revisions = commits.map((drafts) => {
      this.#revision += 1;
      const position = formatPosition({ epoch: this.epoch, revision: this.#revision });
      const events: ChangeEvent[] = drafts.map((draft, index) => ({
        position,
        index,
        at: formatInstant(this.#clock.now()),
        actor: 'test',
        ...draft,
      }));
      return { revision: this.#revision, events, encoded: JSON.stringify(events) };
    });
    this.revisions.push(...revisions);
    for (const listener of this.#listeners) listener(revisions);
    return revisions;
  }

  compact(revision: number): void {
    this.revisions.splice(0, revision - this.compacted);
    this.compacted = revision;
  }

  begin(epoch: number): void {
    this.epoch = epoch;
    this.#revision = 0;
    this.compacted = 0;
    this.revisions.length = 0;
  }
}

export class FakeSnapshots implements SnapshotSource {
  readonly #log: FakeLog;
  items: SnapshotItem[] = [];

  constructor(log: FakeLog) {
    this.#log = log;
  }

  snapshot(): { position: Position; items: Iterable<SnapshotItem> } {
    const { epoch, revision } = this.#log.head();
    return { position: { epoch, revision }, items: [...this.items] };
  }
}

/** Real decisions over a map; `failure` is thrown by whatever is called next. */
export class FakeLiveness implements LivenessService {
  readonly records = new Map<string, ServiceView>();
  failure: unknown;
  calls: string[] = [];
  readonly #clock: Clock;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
    const { record } = decideRegister(knownUuid, { type: 'web', host: 'edge-1', region: 'eu' }, 'registry');
    this.records.set(knownUuid, this.#view(record));
  }

  async register(_caller: Caller, patch: Parameters<LivenessService['register']>[1]) {
    return (await this.put(_caller, randomUUID(), patch)).service;
  }

  async put(_caller: Caller, uuid: string, patch: Parameters<LivenessService['put']>[2]) {
    this.#called('put');
    const known = this.records.get(uuid);
    if (known === undefined) {
      const holder = [...this.records.values()].find(
        ({ type, host }) => type === patch.type && host === patch.host,
      );
      if (holder !== undefined)
        throw new AppError('conflict', `Cannot register: held by ${holder.uuid}`, {
          details: { holder: holder.uuid },
        });
    }
    const { record } =
      known === undefined ? decideRegister(uuid, patch, 'registry') : decideSet(known, patch);
    return { created: known === undefined, service: this.#keep(record) };
  }

  async beat(_caller: Caller, uuid: string) {
    this.#called('beat');
    return this.#keep(decideBeat(this.#get(uuid)).record);
  }

  async beatMany(_caller: Caller, uuids: readonly string[]) {
    this.#called('beatMany');
    return uuids.map((uuid) => {
      const record = this.records.get(uuid);
      return record === undefined
        ? ({ uuid, code: 'not-found' } as const)
        : ({ uuid, code: null, status: record.status } as const);
    });
  }

  async get(uuid: string) {
    this.#called('get');
    return this.#get(uuid);
  }

  async list(...[filter, page]: Parameters<LivenessService['list']>): Promise<Page<ServiceView>> {
    this.#called(`list ${JSON.stringify(filter)} ${JSON.stringify(page)}`);
    return {
      items: [...this.records.values()],
      next: null,
      asOfMs: this.#clock.now(),
      position: { epoch: 7, revision: 3 },
      stale: false,
    };
  }

  async delete(_caller: Caller, at: Parameters<LivenessService['delete']>[1]) {
    this.#called('delete');
    const found =
      'uuid' in at
        ? this.#get(at.uuid)
        : [...this.records.values()].find(({ type, host }) => type === at.type && host === at.host);
    if (found === undefined) throw new AppError('not-found', 'Cannot find it');
    this.records.delete(found.uuid);
  }

  async maintain(_caller: Caller, uuid: string, plan: Parameters<LivenessService['maintain']>[2]) {
    this.#called('maintain');
    return this.#keep(decideMaintain(this.#get(uuid), plan, this.#clock.now()).record);
  }

  async endMaintenance(_caller: Caller, uuid: string) {
    this.#called('endMaintenance');
    return this.#keep({ ...this.#get(uuid), maintenance: null });
  }

  async isUp(query: Parameters<LivenessService['isUp']>[0]) {
    this.#called('isUp');
    const found =
      'uuid' in query
        ? this.records.get(query.uuid)
        : [...this.records.values()].find(({ type, host }) => type === query.type && host === query.host);
    return {
      up: found?.status === 'UP',
      known: found !== undefined,
      reason: found?.reason ?? null,
      maintenance: found?.maintenance ?? null,
      confirmed: true,
      stale: false,
      asOfMs: this.#clock.now(),
      ageMs: 0,
    };
  }

  async isUpMany(queries: Parameters<LivenessService['isUpMany']>[0]) {
    return Promise.all(queries.map((query) => this.isUp(query)));
  }

  #called(name: string): void {
    if (this.calls.length < 1_000) this.calls.push(name);
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }

  #get(uuid: string): ServiceView {
    const record = this.records.get(uuid);
    if (record === undefined)
      throw new AppError('not-found', `Cannot find service ${uuid}: it is not registered`);
    return record;
  }

  #keep(record: ServiceRecord): ServiceView {
    const view = this.#view(record);
    this.records.set(view.uuid, view);
    return view;
  }

  #view(record: ServiceRecord): ServiceView {
    return { ...record, confirmed: true, lastSeenMs: this.#clock.now() };
  }
}

export class FakeHosts implements HostService {
  readonly #clock: Clock;
  /** Hosts by id and by name, as asked for. */
  asked: string[] = [];

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  async join() {
    return {
      id: hostId,
      name: 'edge-1',
      credential: 'secret',
      generation: 1,
      expiresAtMs: this.#clock.now(),
      trust: { urls: [], keys: [], ca: [] },
    };
  }

  async renew() {
    return { credential: 'secret', generation: 2, expiresAtMs: this.#clock.now() };
  }

  async get(idOrName: string): Promise<HostView> {
    this.asked.push(idOrName);
    if (idOrName !== hostId && idOrName !== 'edge-1') throw new AppError('not-found', 'Cannot find the host');
    const now = this.#clock.now();
    return {
      id: hostId,
      name: 'edge-1',
      region: 'eu',
      labels: {},
      self: {},
      status: 'UP',
      reason: null,
      firstSeenMs: now,
      revokedAtMs: null,
      lastSeenMs: now,
      version: 4,
      confirmed: true,
      checkIns: 0,
      lastCheckInMs: null,
      conflict: null,
    };
  }

  async list(): Promise<Page<HostView>> {
    return {
      items: [await this.get('edge-1')],
      next: null,
      asOfMs: this.#clock.now(),
      position: null,
      stale: false,
    };
  }

  async change(...[, idOrName, patch, condition]: Parameters<HostService['change']>): Promise<HostView> {
    const view = await this.get(idOrName);
    requireVersion(view, condition);
    return { ...view, ...decideHostPatch(view, patch).at(-1)?.after };
  }

  async remove(...[, idOrName, condition]: Parameters<HostService['remove']>): Promise<void> {
    requireVersion(await this.get(idOrName), condition);
  }

  async revoke(...[, idOrName]: Parameters<HostService['revoke']>): Promise<void> {
    await this.get(idOrName);
  }

  async beat() {
    const own: Mark = { epoch: 1, revision: 1, hash: `sha256:${'0'.repeat(64)}` };
    return {
      intervalMs: 10_000,
      spreadMs: 5_000,
      nowMs: this.#clock.now(),
      own,
      seen: null,
      checkin: 'none' as const,
      target: null,
      acked: null,
    };
  }

  async checkIn() {
    return { accepted: true, hash: `sha256:${'0'.repeat(64)}` };
  }

  async report() {
    return { acked: 1 };
  }
}

export class FakeTrust implements TrustService {
  trust() {
    return { urls: [], keys: [], ca: [] };
  }
  joinTrust() {
    return { urls: [], key: '', ca: null };
  }
  async rotate() {
    return this.trust();
  }
}

export class FakeComponents implements ComponentService {
  asked: string[] = [];

  async ofHost(idOrName: string) {
    this.asked.push(idOrName);
    const item = { name: 'openssl', version: '3.0', detector: 'dpkg', firstSeenMs: 0, changedAtMs: 0 };
    return { items: [item], next: null, asOfMs: 0, position: null, stale: false };
  }

  async list() {
    return {
      items: [{ name: 'openssl', versions: [{ version: '3.0', hosts: 1 }] }],
      next: null,
      asOfMs: 0,
      position: null,
      stale: false,
    };
  }
}

export interface Fakes {
  readonly log: FakeLog;
  readonly liveness: FakeLiveness;
  readonly hosts: FakeHosts;
  readonly components: FakeComponents;
  readonly snapshots: FakeSnapshots;
  health: Health;
}

export interface TestServer extends Fakes {
  readonly server: HttpServer;
  readonly url: string;
  readonly port: number;
  /** As fetch, with the token of a role. */
  call(path: string, options?: CallOptions): Promise<Response>;
}

export interface CallOptions {
  readonly method?: string;
  readonly role?: Role | null;
  readonly json?: unknown;
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array;
}

/** A real server on a free port of 127.0.0.1, closed when the test or suite ends. */
export async function startServer(
  t: { after(fn: () => Promise<void>): void },
  options: Partial<Pick<HttpServerOptions, 'clock' | 'limits' | 'logger' | 'samples'>> & {
    kind?: Kind;
    services?: Partial<HttpServices>;
    behindProxy?: boolean;
  } = {},
): Promise<TestServer> {
  const { clock = systemClock, kind = 'registry', logger = silentLogger as Logger } = options;
  const log = new FakeLog(clock);
  const fakes: Fakes = {
    log,
    liveness: new FakeLiveness(clock),
    hosts: new FakeHosts(clock),
    components: new FakeComponents(),
    snapshots: new FakeSnapshots(log),
    health: { ready: true, checks: { store: { status: 'ok' } } },
  };
  const server = await createHttpServer({
    kind,
    clock,
    random: new SeededRandom(1),
    logger,
    version: '1.2.3',
    commit: 'abc',
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    ...(options.samples === undefined ? {} : { samples: options.samples }),
    services: {
      access: new FakeAccess(),
      liveness: fakes.liveness,
      hosts: fakes.hosts,
      components: fakes.components,
      trust: new FakeTrust(),
      log,
      snapshots: fakes.snapshots,
      health: () => fakes.health,
      status: async () => ({ role: kind }),
      config: async () => ({ version: 5, config: { listen: 'x' } }),
      ...options.services,
    },
  });
  t.after(() => server.close());
  const [bound] = await server.listen([
    { kind: 'tcp', host: '127.0.0.1', port: 0, behindProxy: options.behindProxy ?? false },
  ]);
  if (bound === undefined) throw new Error('nothing was bound');
  const call = (
    path: string,
    { method = 'GET', role = 'admin', json, headers = {}, body }: CallOptions = {},
  ) =>
    fetch(`${bound.url}${path}`, {
      method,
      headers: {
        ...(role === null ? {} : { authorization: `Bearer ${tokenOf(role)}` }),
        ...(json === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(json === undefined
        ? body === undefined
          ? {}
          : { body: body as string }
        : { body: JSON.stringify(json) }),
    });
  return Object.assign(fakes, { server, url: bound.url, port: Number(new URL(bound.url).port), call });
}
