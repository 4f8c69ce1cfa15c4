/**
 * What a token of limited scope is served with: the same services, seen through what the scope covers. What lies
 * outside is answered as what is not there, so that nobody learns of it; a write that would reach or end outside is
 * `forbidden`. Operations that know of neither hosts nor applications are refused to such tokens as a whole
 * (`Operation.scoped`).
 */
import type { Caller, TokenScope } from '../domain/access.ts';
import { isAppError } from '../domain/error.ts';
import { type HostFacts, hostNotFound } from '../domain/host.ts';
import { normaliseHostName } from '../domain/ids.ts';
import {
  type IsUp,
  type IsUpQuery,
  type ServicePatch,
  type ServiceView,
  serviceNotFound,
} from '../domain/liveness.ts';
import type { Moment } from '../domain/moment.ts';
import { latestNotFound, releaseNotFound, type TrainKey } from '../domain/release.ts';
import { outOfScope, Scope } from '../domain/scope.ts';
import type {
  BeatResult,
  ComponentHistoryService,
  ComponentService,
  HostHistoryService,
  HostService,
  LivenessService,
  ReleaseService,
  TargetService,
  TrainService,
  UpdateService,
} from '../domain/services.ts';
import { trainNotFound } from '../domain/train.ts';
import type { HttpServices } from './operation.ts';

type FactsOf = (name: string) => HostFacts | undefined;

/** The services of a server, for a caller of this scope. */
export function scopedServices(services: HttpServices, limit: TokenScope): HttpServices {
  const scope = new Scope(limit);
  const factsOf: FactsOf = (name) => services.hostFacts?.(name);
  const { componentHistory, hostHistory, hosts, releases, targets, trains, updates } = services;
  return {
    ...services,
    liveness: scopedLiveness(services.liveness, { scope, limit, factsOf }),
    components: scopedComponents(services.components, { limit, hosts }),
    ...(componentHistory === undefined
      ? {}
      : { componentHistory: scopedComponentHistory(componentHistory, limit) }),
    ...(hostHistory === undefined ? {} : { hostHistory: scopedHostHistory(hostHistory, limit) }),
    ...(hosts === undefined ? {} : { hosts: scopedHosts(hosts, { scope, limit }) }),
    ...(releases === undefined ? {} : { releases: scopedReleases(releases, scope) }),
    ...(trains === undefined ? {} : { trains: scopedTrains(trains, scope) }),
    ...(updates === undefined ? {} : { updates: scopedUpdates(updates, limit) }),
    ...(targets === undefined || hosts === undefined
      ? {}
      : { targets: scopedTargets(targets, scopedHosts(hosts, { scope, limit })) }),
  };
}

function scopedLiveness(
  inner: LivenessService,
  { scope, limit, factsOf }: { scope: Scope; limit: TokenScope; factsOf: FactsOf },
): LivenessService {
  const covers = (record: { type: string; host: string }) => scope.coversRecord(record, factsOf(record.host));
  /** The record; undefined when there is none. What cannot be read is no "none": nothing is allowed on it. */
  const known = async (uuid: string): Promise<ServiceView | undefined> => {
    try {
      return await inner.get(uuid);
    } catch (error) {
      if (isAppError(error, 'not-found')) return undefined;
      throw error;
    }
  };
  /** The record when it is covered; undefined when it is not, or is not there. */
  const find = async (uuid: string): Promise<ServiceView | undefined> => {
    const view = await known(uuid);
    return view !== undefined && covers(view) ? view : undefined;
  };
  const requireCovered = async (uuid: string): Promise<ServiceView> => {
    const view = await find(uuid);
    if (view === undefined) throw serviceNotFound(uuid);
    return view;
  };
  /** Where a record is once it is set; what is missing is refused by the service itself. */
  const requirePlace = (patch: ServicePatch, now?: ServiceView) => {
    const type = patch.type ?? now?.type;
    const host = patch.host === undefined ? now?.host : normaliseHostName(patch.host);
    if (type !== undefined && host !== undefined && !covers({ type, host }))
      throw outOfScope('register or move a service there');
  };
  const isCovered = async (query: IsUpQuery) =>
    'uuid' in query ? (await find(query.uuid)) !== undefined : covers(query);
  const unknown = ({ asOfMs }: Pick<IsUp, 'asOfMs'>): IsUp => ({ ...unknownService, asOfMs });
  return {
    register(caller, patch, options) {
      requirePlace(patch);
      return inner.register(caller, patch, options);
    },
    async put(caller, uuid, patch, options) {
      const there = await known(uuid);
      if (there !== undefined && !covers(there)) throw outOfScope('set this service');
      requirePlace(patch, there);
      return inner.put(caller, uuid, patch, options);
    },
    async beat(caller, uuid) {
      await requireCovered(uuid);
      return inner.beat(caller, uuid);
    },
    async beatMany(caller, uuids) {
      const covered = await Promise.all(uuids.map(async (uuid) => (await find(uuid)) !== undefined));
      const results = await inner.beatMany(
        caller,
        uuids.filter((_, index) => covered[index]),
      );
      let next = 0;
      return uuids.map((uuid, index): BeatResult => {
        const result = covered[index] === true ? results[next++] : undefined;
        return result ?? { uuid, code: 'not-found' };
      });
    },
    get: requireCovered,
    list: (filter, page) => inner.list({ ...filter, scope: limit }, page),
    async delete(caller, at) {
      if ('uuid' in at) await requireCovered(at.uuid);
      else if (!covers(at)) throw serviceNotFound(`"${at.type}" on "${at.host}"`);
      return inner.delete(caller, at);
    },
    async maintain(caller, uuid, plan) {
      await requireCovered(uuid);
      return inner.maintain(caller, uuid, plan);
    },
    async endMaintenance(caller, uuid) {
      await requireCovered(uuid);
      return inner.endMaintenance(caller, uuid);
    },
    async isUp(query) {
      const answer = await inner.isUp(query);
      return (await isCovered(query)) ? answer : unknown(answer);
    },
    async isUpMany(queries) {
      const answers = await inner.isUpMany(queries);
      const covered = await Promise.all(queries.map(isCovered));
      return answers.map((answer, index) => (covered[index] === true ? answer : unknown(answer)));
    },
  };
}

/** What is-up says of a record that nobody has registered. */
const unknownService = {
  up: false,
  known: false,
  reason: null,
  maintenance: null,
  confirmed: true,
  stale: false,
  ageMs: 0,
} as const;

function scopedHosts(inner: HostService, { scope, limit }: { scope: Scope; limit: TokenScope }): HostService {
  const get = async (idOrName: string, asOf?: Moment) => {
    const view = await inner.get(idOrName, asOf);
    if (!scope.coversHost(view.name, view)) throw hostNotFound(idOrName, asOf === undefined ? 'now' : 'then');
    return view;
  };
  const forbid = (action: string) => (caller: Caller | string) => {
    throw outOfScope(typeof caller === 'string' ? action : `${action} as ${caller.subject}`);
  };
  return {
    get,
    list: (filter, page) => inner.list({ ...filter, scope: limit }, page),
    // What may be changed is decided in the transaction of the change, by the scope of the caller.
    async change(caller, idOrName, patch, condition) {
      return inner.change(caller, (await get(idOrName)).id, patch, condition);
    },
    async remove(caller, idOrName, condition) {
      return inner.remove(caller, (await get(idOrName)).id, condition);
    },
    async revoke(caller, idOrName) {
      return inner.revoke(caller, (await get(idOrName)).id);
    },
    // What hosts do themselves: no token of a scope is a host's.
    join: forbid('join'),
    renew: forbid('renew a credential'),
    beat: forbid('beat'),
    checkIn: forbid('check in'),
    report: forbid('report'),
  };
}

/** A host that comes into the scope appears to it, and one that leaves it disappears. Counts are of all hosts. */
function scopedHostHistory(inner: HostHistoryService, limit: TokenScope): HostHistoryService {
  return {
    differences: (filter, page) => inner.differences({ ...filter, scope: limit }, page),
    async stats() {
      throw outOfScope('count hosts');
    },
  };
}

function scopedComponents(
  inner: ComponentService,
  { limit, hosts }: { limit: TokenScope; hosts: HostService | undefined },
): ComponentService {
  return {
    async ofHost(idOrName, page, at) {
      if (hosts === undefined) throw hostNotFound(idOrName);
      return inner.ofHost(idOrName, page, { ...at, scope: limit });
    },
    list: (filter, page) => inner.list({ ...filter, scope: limit }, page),
  };
}

/** The moment that a page is of stands in its cursor: the store says what was covered then. */
function scopedComponentHistory(inner: ComponentHistoryService, limit: TokenScope): ComponentHistoryService {
  return {
    differences: (filter, page) => inner.differences({ ...filter, scope: limit }, page),
    steps: (idOrName, stretch, page) => inner.steps(idOrName, { ...stretch, scope: limit }, page),
  };
}

/** The store says which hosts were covered at the moment that is asked for; one outside is not found. */
function scopedUpdates(inner: UpdateService, limit: TokenScope): UpdateService {
  return {
    list: (filter, page) => inner.list({ ...filter, scope: limit }, page),
    byComponent: (filter, page) => inner.byComponent({ ...filter, scope: limit }, page),
  };
}

function scopedReleases(inner: ReleaseService, scope: Scope): ReleaseService {
  const reads = ({ component }: TrainKey) => scope.coversReleases(component, 'read');
  const requireWrite = ({ component }: TrainKey, action: string) => {
    if (!scope.coversReleases(component, 'write')) throw outOfScope(action);
  };
  return {
    async publish(caller, key, content, condition) {
      requireWrite(key, 'publish the release');
      return inner.publish(caller, key, content, condition);
    },
    async get(key, at) {
      if (!reads(key)) throw releaseNotFound(key);
      return inner.get(key, at);
    },
    async list(key, page, at) {
      const found = await inner.list(key, page, at);
      return reads(key) ? found : { ...found, items: [], next: null };
    },
    async latest(key, order, at) {
      if (!reads(key)) throw latestNotFound(key);
      return inner.latest(key, order, at);
    },
    async latestOf(keys) {
      const found = await inner.latestOf(keys.filter(reads));
      let next = 0;
      return keys.map((key) => (reads(key) ? (found[next++] ?? null) : null));
    },
    async withdraw(caller, key, condition) {
      requireWrite(key, 'withdraw the release');
      return inner.withdraw(caller, key, condition);
    },
  };
}

function scopedTrains(inner: TrainService, scope: Scope): TrainService {
  const reads = (component: string) => scope.coversReleases(component, 'read');
  const requireWrite = ({ component }: TrainKey) => {
    if (!scope.coversReleases(component, 'write')) throw outOfScope('change the train');
  };
  return {
    async get(key, at) {
      if (!reads(key.component)) throw trainNotFound(key);
      return inner.get(key, at);
    },
    async list(component, page, at) {
      const found = await inner.list(component, page, at);
      return reads(component) ? found : { ...found, items: [], next: null };
    },
    async follow(caller, key, plan, condition) {
      requireWrite(key);
      return inner.follow(caller, key, plan, condition);
    },
    async unfollow(caller, key, condition) {
      requireWrite(key);
      return inner.unfollow(caller, key, condition);
    },
  };
}

function scopedTargets(inner: TargetService, hosts: HostService): TargetService {
  return {
    target: async (idOrName) => inner.target((await hosts.get(idOrName)).id),
  };
}
