/**
 * Liveness as this host answers it. Records of the host itself are the agent's own: they are in its database and need
 * no registry. Everything else is asked of the registry, and the last answer is kept for when it cannot be asked.
 *
 * Never a guess: an answer that was remembered says so (`stale`, its `asOf` and age; a record: `confirmed: false`),
 * and where there is none, the error is `unavailable`, not "down". Without a registry the host is complete in itself:
 * what it does not hold is unknown.
 */
import type { Clock } from '../base/clock.ts';
import type { Caller } from '../domain/access.ts';
import { AppError, isAppError } from '../domain/error.ts';
import { normaliseHostName } from '../domain/ids.ts';
import {
  type IsUp,
  type IsUpQuery,
  recordTest,
  type ServicePatch,
  type ServiceView,
} from '../domain/liveness.ts';
import type { BeatResult, LivenessService, Page, PageRequest, ServiceFilter } from '../domain/services.ts';
import { decodeCursor, encodeCursor } from '../store/page.ts';
import type { Remembered, RemoteAnswers } from '../store/remote-answers.ts';
import { within } from './deadline.ts';

/** The part of liveness that other hosts' records are read with. */
export type RemoteLiveness = Pick<LivenessService, 'get' | 'list' | 'isUpMany'>;

export interface AgentLivenessOptions {
  readonly clock: Clock;
  /** The records that this agent holds. */
  readonly own: LivenessService;
  /** What this host is called now. */
  readonly hostName: () => string;
  /** Null: there is none. `liveness` is null until the host has joined. */
  readonly registry: { readonly url: () => string; readonly liveness: () => RemoteLiveness | null } | null;
  readonly answers: RemoteAnswers;
}

/** How long a caller waits for the registry before it gets what is remembered. */
const askMs = 2_000;
/** Beyond these at one time the registry counts as unreachable, so that callers do not pile up behind a dead link. */
const asksMax = 64;
const ownPage = 1_000;

const isUpKey = (query: IsUpQuery) =>
  'uuid' in query ? `is-up ${query.uuid}` : `is-up ${query.host} ${query.type}`;
const recordPrefix = 'record ';
const recordKey = (uuid: string) => `${recordPrefix}${uuid}`;

type KeptIsUp = Pick<IsUp, 'up' | 'known' | 'reason' | 'maintenance' | 'confirmed'>;

export class AgentLiveness implements LivenessService {
  readonly #clock: Clock;
  readonly #own: LivenessService;
  readonly #hostName: () => string;
  readonly #registry: AgentLivenessOptions['registry'];
  readonly #answers: RemoteAnswers;
  #asks = 0;

  constructor(options: AgentLivenessOptions) {
    this.#clock = options.clock;
    this.#own = options.own;
    this.#hostName = options.hostName;
    this.#registry = options.registry;
    this.#answers = options.answers;
  }

  async register(caller: Caller, patch: ServicePatch, options: { takeover: boolean }): Promise<ServiceView> {
    return this.#own.register(caller, this.#requireOwnHost(patch), options);
  }

  async put(caller: Caller, uuid: string, patch: ServicePatch, options: { takeover: boolean }) {
    return this.#own.put(caller, uuid, this.#requireOwnHost(patch), options);
  }

  beat(caller: Caller, uuid: string): Promise<ServiceView> {
    return this.#own.beat(caller, uuid);
  }

  beatMany(caller: Caller, uuids: readonly string[]): Promise<readonly BeatResult[]> {
    return this.#own.beatMany(caller, uuids);
  }

  async delete(caller: Caller, at: IsUpQuery): Promise<void> {
    if ('host' in at && at.host !== this.#hostName()) throw this.#notOurs(at.host);
    return this.#own.delete(caller, at);
  }

  maintain(
    caller: Caller,
    uuid: string,
    plan: Parameters<LivenessService['maintain']>[2],
  ): Promise<ServiceView> {
    return this.#own.maintain(caller, uuid, plan);
  }

  endMaintenance(caller: Caller, uuid: string): Promise<ServiceView> {
    return this.#own.endMaintenance(caller, uuid);
  }

  async get(uuid: string): Promise<ServiceView> {
    try {
      return await this.#own.get(uuid);
    } catch (error) {
      if (this.#registry === null || !isAppError(error, 'not-found')) throw error;
    }
    try {
      const view = await this.#ask('a service', (registry) => registry.get(uuid));
      this.#keepRecord(view, this.#clock.now());
      return view;
    } catch (error) {
      if (isAppError(error, 'not-found')) this.#answers.forget(recordKey(uuid));
      if (!mayPass(error)) throw error;
      const kept = this.#answers.recall<ServiceView>(recordKey(uuid));
      if (kept === undefined) throw this.#cannotAnswer(`service ${uuid}`, error);
      return { ...kept.answer, confirmed: false };
    }
  }

  async isUp(query: IsUpQuery): Promise<IsUp> {
    const [answer] = await this.isUpMany([query]);
    return answer as IsUp;
  }

  /** One call to the registry for all that are not our own. `unavailable` when one can neither be asked nor remembered. */
  async isUpMany(queries: readonly IsUpQuery[]): Promise<readonly IsUp[]> {
    const answers = [...(await this.#own.isUpMany(queries))];
    if (this.#registry === null) return answers;
    // Of our own host we know all there is, but a program on it may have registered at the registry itself.
    const foreign = queries.flatMap((query, index) =>
      answers[index]?.known === true ? [] : [{ query, index }],
    );
    if (foreign.length === 0) return answers;
    let failure: unknown;
    const asked = await this.#ask('is-up', (registry) =>
      registry.isUpMany(foreign.map(({ query }) => query)),
    ).catch((error: unknown) => {
      if (!mayPass(error)) throw error;
      failure = error;
      return [];
    });
    for (const [place, { query, index }] of foreign.entries()) {
      const answer = asked[place];
      if (answer !== undefined) this.#keepIsUp(query, answer);
      const ours = 'host' in query && query.host === this.#hostName() ? answers[index] : undefined;
      answers[index] =
        answer ??
        this.#recallIsUp(query) ??
        ours ??
        this.#failIsUp(query, failure, queries.length > 1 ? index : null);
    }
    return answers;
  }

  async list(filter: ServiceFilter, page: PageRequest): Promise<Page<ServiceView>> {
    const hostName = this.#hostName();
    const onlyOwn = filter.host?.every((host) => host === hostName) ?? false;
    if (this.#registry === null || onlyOwn) return this.#own.list(filter, page);
    const [after = '', from = ''] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 2);
    const own = await this.#ownAfter(filter, after);
    try {
      return await this.#merged(filter, page.limit, { own, after, from });
    } catch (error) {
      if (!mayPass(error)) throw error;
      return this.#remembered(filter, page.limit, { own, after }, error);
    }
  }

  /** Our own records among the registry's, by uuid; its copies of ours are left out. */
  async #merged(
    filter: ServiceFilter,
    limit: number,
    at: { own: readonly ServiceView[]; after: string; from: string },
  ): Promise<Page<ServiceView>> {
    const hostName = this.#hostName();
    const items: ServiceView[] = [];
    let own = [...at.own];
    /** The registry's cursor of the page that holds the items after the last one taken; '' is its first page. */
    let from = at.from;
    for (;;) {
      const cursor = from === '' ? {} : { cursor: from };
      const remote = await this.#ask('a list', (registry) => registry.list(filter, { limit, ...cursor }));
      for (const view of remote.items) this.#keepRecord(view, remote.asOfMs);
      const theirs = remote.items.filter(
        (view) => view.uuid > at.after && !(view.heldBy === 'agent' && view.host === hostName),
      );
      const end = remote.next === null ? null : (remote.items.at(-1)?.uuid ?? null);
      const mine = end === null ? own : own.filter((view) => view.uuid <= end);
      const ready = [...theirs, ...mine].sort(byUuid);
      const room = limit - items.length;
      items.push(...ready.slice(0, room));
      own = end === null ? [] : own.filter((view) => view.uuid > end);
      const last = items.at(-1);
      const cut = ready.length > room;
      if (cut || (remote.next !== null && items.length === limit)) {
        const next = encodeCursor([last?.uuid ?? at.after, cut ? from : (remote.next ?? '')]);
        return { items, next, asOfMs: remote.asOfMs, position: null, stale: remote.stale };
      }
      if (remote.next === null)
        return { items, next: null, asOfMs: remote.asOfMs, position: null, stale: remote.stale };
      from = remote.next;
    }
  }

  /** The registry cannot be asked: our own, and what is remembered of others, which may not be all. */
  #remembered(
    filter: ServiceFilter,
    limit: number,
    at: { own: readonly ServiceView[]; after: string },
    error: unknown,
  ): Page<ServiceView> {
    if (filter.selector !== undefined) throw this.#cannotAnswer('hosts that a selector names', error);
    const hostName = this.#hostName();
    const isSelected = recordTest(filter);
    const kept = this.#answers
      .recallAll<ServiceView>(recordPrefix)
      .map(({ answer }) => ({ ...answer, confirmed: false }))
      .filter((view) => view.uuid > at.after && view.host !== hostName && isSelected(view));
    const mayBeOwn = filter.host === undefined || filter.host.includes(hostName);
    if (kept.length === 0 && at.own.length === 0 && !mayBeOwn) throw this.#cannotAnswer('this list', error);
    const all = [...at.own, ...kept].sort(byUuid);
    const items = all.slice(0, limit);
    const next = all.length > limit ? encodeCursor([items.at(-1)?.uuid ?? '', '']) : null;
    return { items, next, asOfMs: this.#clock.now(), position: null, stale: true };
  }

  async #ownAfter(filter: ServiceFilter, after: string): Promise<ServiceView[]> {
    const views: ServiceView[] = [];
    let cursor: string | null = null;
    do {
      const page: Page<ServiceView> = await this.#own.list(filter, {
        limit: ownPage,
        ...(cursor === null ? {} : { cursor }),
      });
      views.push(...page.items.filter((view) => view.uuid > after));
      cursor = page.next;
    } while (cursor !== null);
    return views;
  }

  async #ask<T>(what: string, call: (registry: RemoteLiveness) => Promise<T>): Promise<T> {
    const registry = this.#registry?.liveness() ?? null;
    if (registry === null)
      throw new AppError('unavailable', 'Cannot ask the registry: this host has not joined it yet');
    if (this.#asks >= asksMax)
      throw new AppError('unavailable', `Cannot ask the registry: ${asksMax} questions wait for it already`);
    this.#asks += 1;
    try {
      return await within(this.#clock, askMs, what, call(registry));
    } finally {
      this.#asks -= 1;
    }
  }

  #keepRecord(view: ServiceView, asOfMs: number): void {
    if (view.host !== this.#hostName() || view.heldBy !== 'agent')
      this.#answers.keep(recordKey(view.uuid), asOfMs, view);
  }

  #keepIsUp(query: IsUpQuery, { up, known, reason, maintenance, confirmed, asOfMs }: IsUp): void {
    this.#answers.keep(isUpKey(query), asOfMs, {
      up,
      known,
      reason,
      maintenance,
      confirmed,
    } satisfies KeptIsUp);
  }

  #recallIsUp(query: IsUpQuery): IsUp | undefined {
    const kept: Remembered<KeptIsUp> | undefined = this.#answers.recall(isUpKey(query));
    return kept === undefined
      ? undefined
      : { ...kept.answer, stale: true, asOfMs: kept.asOfMs, ageMs: kept.ageMs };
  }

  #failIsUp(query: IsUpQuery, cause: unknown, index: number | null): never {
    const what = 'uuid' in query ? `service ${query.uuid}` : `"${query.type}" on "${query.host}"`;
    throw this.#cannotAnswer(what, cause, index === null ? {} : { field: `items/${index}` });
  }

  #requireOwnHost(patch: ServicePatch): ServicePatch {
    const hostName = this.#hostName();
    if (patch.host !== undefined && normaliseHostName(patch.host) !== hostName)
      throw this.#notOurs(patch.host);
    return { ...patch, host: hostName };
  }

  #notOurs(host: string): AppError {
    const where =
      this.#registry === null
        ? 'and has no registry that could'
        : `send it to the registry, ${this.#registry.url()}`;
    return new AppError(
      'unprocessable',
      `Cannot change a service on "${host}": this agent holds those of "${this.#hostName()}" only, ${where}`,
      {
        field: 'host',
      },
    );
  }

  #cannotAnswer(what: string, cause: unknown, options: { field?: string } = {}): AppError {
    const message = cause instanceof Error ? cause.message : 'the registry did not answer';
    return new AppError('unavailable', `Cannot tell about ${what}: nothing is remembered of it. ${message}`, {
      ...options,
      cause,
    });
  }
}

/** Failures of asking, which say nothing about what was asked: then what is remembered may answer. */
function mayPass(error: unknown): boolean {
  if (!(error instanceof AppError)) return false;
  return [
    'unavailable',
    'rate-limited',
    'too-slow',
    'internal',
    'storage-full',
    'unauthenticated',
    'forbidden',
  ].includes(error.code);
}

function byUuid(a: ServiceView, b: ServiceView): number {
  return a.uuid < b.uuid ? -1 : 1;
}
