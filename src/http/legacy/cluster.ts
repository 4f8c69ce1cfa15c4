/** Clusters of workflow-manager-api over HTTP. */
import { AppError } from '../../domain/error.ts';
import type { ClusterService } from '../../domain/services.ts';
import { clusterDocument, clusterTimesDocument, readBound, readCluster } from '../../wire/legacy.ts';
import {
  LegacyCluster,
  LegacyClusters,
  LegacyClustersCount,
  legacyBounds,
} from '../../wire/legacy-schema.ts';
import { type Call, type HttpServices, ok, operation, param } from '../operation.ts';

const tag = 'clusters';
type Query = Readonly<Record<string, unknown>>;

export const postCluster = operation({
  id: 'postCluster',
  requestClass: 'checkin',
  tag,
  summary: 'A cluster checks in: what it says replaces what it said before',
  legacy: { anonymous: true, basic: false },
  creates: true,
  body: LegacyCluster,
  answers: { 200: LegacyCluster },
  async handle({ services, caller, body }) {
    return ok(clusterDocument(await clustersOf(services).checkIn(caller, readCluster(body))));
  },
});

/** The id in the path was never looked at: the one in the body counts. */
export const postClusterAt = { ...postCluster, id: 'postClusterAt' };

export const getCluster = operation({
  id: 'getCluster',
  tag,
  summary: 'What a cluster said last',
  legacy: { anonymous: true, basic: false },
  answers: { 200: LegacyCluster },
  codes: ['not-found'],
  async handle(call) {
    return ok(clusterDocument(await clustersOf(call.services).get(param(call, 'cluster'))));
  },
});

export const countClusters = operation({
  id: 'countClusters',
  tag,
  summary: 'How many clusters have checked in',
  legacy: { anonymous: true, basic: false },
  answers: { 200: LegacyClustersCount.properties.count },
  async handle({ services }) {
    return ok(await clustersOf(services).count());
  },
});

export const ageClusters = operation({
  id: 'ageClusters',
  tag,
  summary:
    'Clusters by when they first and last checked in; each bound may be left out, none includes its instant',
  legacy: { anonymous: true, basic: false },
  query: legacyBounds(['checked_in_before', 'checked_in_after', 'created_before', 'created_after']),
  answers: { 200: LegacyClusters },
  async handle(call) {
    const query = call.query as Query;
    const bounds = {
      checkedInBeforeMs: readBound(query, 'checked_in_before'),
      checkedInAfterMs: readBound(query, 'checked_in_after'),
      createdBeforeMs: readBound(query, 'created_before'),
      createdAfterMs: readBound(query, 'created_after'),
    };
    const found = await clustersOf(call.services).aged(given(bounds));
    return ok({ data: found.map(clusterDocument) });
  },
});

export const checkInsOfClusters = operation({
  id: 'checkInsOfClusters',
  tag,
  summary: 'When clusters checked in, and how often; those that were first seen between the bounds',
  legacy: { anonymous: true, basic: false },
  query: legacyBounds(['created_after', 'created_before']),
  answers: { 200: LegacyClustersCount },
  async handle(call) {
    const query = call.query as Query;
    const bounds = {
      createdAfterMs: readBound(query, 'created_after'),
      createdBeforeMs: readBound(query, 'created_before'),
    };
    const found = await clustersOf(call.services).times(given(bounds));
    const now = call.context.clock.now();
    return ok({ count: found.length, data: found.map((times) => clusterTimesDocument(times, now)) });
  },
});

export const persistentClusters = operation({
  id: 'persistentClusters',
  tag,
  summary:
    'Clusters first seen after the epoch, that had checked in again within the day before the timestamp',
  legacy: { anonymous: true, basic: false },
  query: legacyBounds(['epoch', 'timestamp']),
  answers: { 200: LegacyClustersCount },
  async handle(call) {
    const query = call.query as Query;
    const atMs = readBound(query, 'timestamp') ?? call.context.clock.now();
    const found = await clustersOf(call.services).persistent({
      atMs,
      ...given({ epochMs: readBound(query, 'epoch') }),
    });
    return ok({ count: found.length, data: found.map((times) => clusterTimesDocument(times)) });
  },
});

export const ping = operation({
  id: 'ping',
  requestClass: 'probe',
  tag,
  summary: 'It can serve; 503 while it cannot',
  legacy: { anonymous: false, basic: false },
  answers: { 200: null },
  async handle({ services, context }: Call) {
    if (!services.health().ready || context.closing()) throw cannotServe();
    try {
      await services.probeStore?.();
    } catch (error) {
      throw cannotServe(error);
    }
    return { kind: 'text', status: 200, type: 'application/json', text: '' };
  },
});

function cannotServe(cause?: unknown): AppError {
  return new AppError('unavailable', 'Cannot serve now: /healthz says why, try again', {
    cause,
    retryAfterMs: 1_000,
  });
}

function given<Bounds extends object>(bounds: Bounds): { [Name in keyof Bounds]?: number } {
  return Object.fromEntries(Object.entries(bounds).filter(([, ms]) => ms !== undefined)) as {
    [Name in keyof Bounds]?: number;
  };
}

function clustersOf({ clusters }: HttpServices): ClusterService {
  if (clusters === undefined) throw new Error('a server has a route of clusters and no ClusterService');
  return clusters;
}
