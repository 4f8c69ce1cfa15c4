/** The statements of clusters. Each question reads `clusters`; only what was at a past instant reads the check-ins. */
import { sql } from 'kysely';
import type { Cluster, ClusterTimes } from '../domain/cluster.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, type ClusterRow, compile } from './engine/query.ts';

const columns = ['key', 'id', 'components', 'first_seen_ms', 'last_seen_ms', 'checkins'] as const;

/** All bounds are exclusive. */
export type Bounds = { seenBefore: number; seenAfter: number; createdBefore: number; createdAfter: number };

/** When one checked in, as a question answers it. */
export interface TimesRow {
  id: string;
  first_seen_ms: number;
  last_seen_ms: number;
  checkins: number;
}

export function clusterStatements(dialect: Dialect) {
  return {
    one: compile(dialect, (db, arg: Arg<{ key: string }>) =>
      db.selectFrom('clusters').select(columns).where('key', '=', arg('key')),
    ),
    count: compile(dialect, (db) =>
      db.selectFrom('clusters').select((row) => row.fn.countAll<number>().as('count')),
    ),
    put: compile(dialect, (db, arg: Arg<ClusterRow>) =>
      db
        .insertInto('clusters')
        .values(Object.fromEntries(columns.map((column) => [column, arg(column)])) as never)
        .onConflict((conflict) =>
          conflict.column('key').doUpdateSet((row) => ({
            id: row.ref('excluded.id'),
            components: row.ref('excluded.components'),
            first_seen_ms: row.ref('excluded.first_seen_ms'),
            last_seen_ms: row.ref('excluded.last_seen_ms'),
            checkins: row.ref('excluded.checkins'),
          })),
        ),
    ),
    checkIn: compile(dialect, (db, arg: Arg<{ key: string; atMs: number }>) =>
      db
        .insertInto('cluster_checkins')
        .values({ cluster_key: arg('key'), at_ms: arg('atMs'), count: 1 })
        .onConflict((conflict) =>
          conflict.columns(['cluster_key', 'at_ms']).doUpdateSet({ count: sql`cluster_checkins.count + 1` }),
        ),
    ),
    /** By key, after `after`. */
    aged: compile(dialect, (db, arg: Arg<Bounds & { after: string; limit: number }>) =>
      db
        .selectFrom('clusters')
        .select(columns)
        .where('key', '>', arg('after'))
        .where('first_seen_ms', '>', arg('createdAfter'))
        .where('first_seen_ms', '<', arg('createdBefore'))
        .where('last_seen_ms', '>', arg('seenAfter'))
        .where('last_seen_ms', '<', arg('seenBefore'))
        .orderBy('key')
        .limit(arg('limit')),
    ),
    /** The one that was seen first last. */
    times: compile(dialect, (db, arg: Arg<{ createdBefore: number; createdAfter: number; limit: number }>) =>
      db
        .selectFrom('clusters')
        .select(['id', 'first_seen_ms', 'last_seen_ms', 'checkins'])
        .where('first_seen_ms', '>', arg('createdAfter'))
        .where('first_seen_ms', '<', arg('createdBefore'))
        .orderBy('first_seen_ms', 'desc')
        .orderBy('key')
        .limit(arg('limit')),
    ),
    /** As it was at an instant: what came later is not counted. */
    persistent: compile<{ epoch: number; at: number; since: number; limit: number }, TimesRow>(
      dialect,
      (db, arg) =>
        sql<TimesRow>`SELECT c.id, c.first_seen_ms, MAX(k.at_ms) AS last_seen_ms, CAST(SUM(k.count) AS bigint) AS checkins
          FROM clusters c JOIN cluster_checkins k ON k.cluster_key = c.key AND k.at_ms <= ${arg('at')}
          WHERE c.first_seen_ms > ${arg('epoch')} AND c.first_seen_ms < ${arg('at')}
          GROUP BY c.key, c.id, c.first_seen_ms
          HAVING SUM(k.count) > 1 AND MAX(k.at_ms) > ${arg('since')}
          ORDER BY c.first_seen_ms, c.key LIMIT ${arg('limit')}`.compile(db),
    ),
  };
}

export function clusterOf(row: ClusterRow): Cluster {
  return { ...timesOf(row), components: JSON.parse(row.components) as unknown[] };
}

export function timesOf(row: TimesRow): ClusterTimes {
  return {
    id: row.id,
    firstSeenMs: row.first_seen_ms,
    lastSeenMs: row.last_seen_ms,
    checkins: Number(row.checkins),
  };
}

export function clusterRow(key: string, cluster: Cluster): ClusterRow {
  return {
    key,
    id: cluster.id,
    components: JSON.stringify(cluster.components),
    first_seen_ms: cluster.firstSeenMs,
    last_seen_ms: cluster.lastSeenMs,
    checkins: cluster.checkins,
  };
}
