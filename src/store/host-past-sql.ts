/** The statements of how hosts were, compiled at their first use. */
import { sql } from 'kysely';
import type { HostRecord } from '../domain/host.ts';
import type { Labels } from '../domain/labels.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, type PastHostRow, unseen } from './engine/query.ts';

const shown = [
  'no',
  'id',
  'name',
  'region',
  'labels',
  'self',
  'status',
  'reason',
  'first_seen_ms',
  'gone_seen_ms',
  'revoked_at_ms',
  'version',
] as const;
const columns = sql.join(shown.map((name) => sql.ref(name)));
const all = sql.join([...shown, 'from_ms', 'to_ms', 'removed'].map((name) => sql.ref(name)));

/** How a host was from `from_ms` to before `to_ms`; null: it still is. */
export interface HostStateRow extends Omit<PastHostRow, 'to_ms'> {
  to_ms: number | null;
}

/** How a host was at a moment; `removed` says that it is gone since. */
export function hostPastStatements(dialect: Dialect) {
  const items = (json: ReturnType<Arg<{ json: string }>>) =>
    dialect === 'sqlite'
      ? sql`(SELECT value AS no FROM json_each(${unseen(dialect, json)}))`
      : sql`(SELECT value::integer AS no FROM jsonb_array_elements_text(${json}::jsonb))`;
  return {
    keep: compile(dialect, (query, arg: Arg<{ id: string; atMs: number; removed: 0 | 1 }>) =>
      sql`
        INSERT INTO hosts_past (${all})
        SELECT ${columns}, changed_at_ms, ${arg('atMs')}, ${arg('removed')} FROM hosts WHERE id = ${arg('id')}`.compile(
        query,
      ),
    ),
    /** Of a host that is removed in the very millisecond of its last change. */
    markRemoved: compile(dialect, (query, arg: Arg<{ no: number; atMs: number }>) =>
      query
        .updateTable('hosts_past')
        .set({ removed: 1 })
        .where('no', '=', arg('no'))
        .where('to_ms', '=', arg('atMs')),
    ),
    addCheckIn: compile(dialect, (query, arg: Arg<{ no: number; atMs: number; count: number }>) =>
      sql`
        INSERT INTO checkins (host_no, at_ms, count) VALUES (${arg('no')}, ${arg('atMs')}, ${arg('count')})
        ON CONFLICT (host_no, at_ms) DO UPDATE SET count = excluded.count`.compile(query),
    ),
    /** How each of these hosts was, of those that have changed since: `json` is a list of numbers. */
    ofNumbers: compile(dialect, (query, arg: Arg<{ json: string; atMs: number }>) =>
      sql<PastHostRow>`
        SELECT past.* FROM ${items(arg('json'))} AS wanted
        JOIN hosts_past AS past ON past.no = wanted.no AND past.to_ms = (
          SELECT MIN(to_ms) FROM hosts_past WHERE no = wanted.no AND to_ms > ${arg('atMs')})
        WHERE past.from_ms <= ${arg('atMs')}`.compile(query),
    ),
    /** As `ofNumbers`, of all hosts, and looking at all that is kept of them. */
    ofAll: compile(dialect, (query, arg: Arg<{ atMs: number }>) =>
      sql<PastHostRow>`
        SELECT ${all} FROM hosts_past WHERE +to_ms > ${arg('atMs')} AND from_ms <= ${arg('atMs')}`.compile(
        query,
      ),
    ),
    /** How many rows are kept, as far as `limit`. */
    countUpTo: compile(dialect, (query, arg: Arg<{ limit: number }>) =>
      sql<{ n: number }>`
        SELECT COUNT(*) AS n FROM (SELECT no FROM hosts_past LIMIT ${arg('limit')}) AS found`.compile(query),
    ),
    /** The numbers of hosts that were removed after a moment. */
    removedAfter: compile(dialect, (query, arg: Arg<{ atMs: number }>) =>
      query.selectFrom('hosts_past').select('no').where('removed', '=', 1).where('to_ms', '>', arg('atMs')),
    ),
    /**
     * How one host was after a moment, and at it, until another: so many rows of the past, and the row that is, whose
     * `to_ms` is null. The latter also where further ones of the past are between.
     */
    statesAfter: compile(
      dialect,
      (query, arg: Arg<{ no: number; afterMs: number; toMs: number; limit: number }>) =>
        sql<HostStateRow>`
        SELECT * FROM (SELECT ${all} FROM hosts_past
          WHERE no = ${arg('no')} AND to_ms > ${arg('afterMs')} AND from_ms <= ${arg('toMs')}
          ORDER BY to_ms LIMIT ${arg('limit')}) AS past
        UNION ALL
        SELECT ${columns}, changed_at_ms, NULL, 0 FROM hosts
        WHERE no = ${arg('no')} AND changed_at_ms <= ${arg('toMs')}
        ORDER BY from_ms`.compile(query),
    ),
    /** The host that had this id, or this name last, in a stretch. */
    called: compile(dialect, (query, arg: Arg<{ id: string; name: string; fromMs: number; toMs: number }>) =>
      sql<{ no: number }>`
        SELECT no FROM (
          SELECT no, to_ms FROM hosts_past
          WHERE id = ${arg('id')} AND to_ms > ${arg('fromMs')} AND from_ms <= ${arg('toMs')}
          UNION ALL
          SELECT no, to_ms FROM hosts_past
          WHERE name = ${arg('name')} AND to_ms > ${arg('fromMs')} AND from_ms <= ${arg('toMs')}
        ) AS found ORDER BY to_ms DESC LIMIT 1`.compile(query),
    ),
    byId: compile(dialect, (query, arg: Arg<{ id: string; atMs: number }>) =>
      query
        .selectFrom('hosts_past')
        .selectAll()
        .where('id', '=', arg('id'))
        .where('to_ms', '>', arg('atMs'))
        .where('from_ms', '<=', arg('atMs'))
        .orderBy('to_ms')
        .limit(1),
    ),
    /** How one host was at some moment of a stretch, in order. */
    states: compile(dialect, (query, arg: Arg<{ no: number; fromMs: number; toMs: number }>) =>
      query
        .selectFrom('hosts_past')
        .selectAll()
        .where('no', '=', arg('no'))
        .where('to_ms', '>', arg('fromMs'))
        .where('from_ms', '<=', arg('toMs'))
        .orderBy('to_ms'),
    ),
    byName: compile(dialect, (query, arg: Arg<{ name: string; atMs: number }>) =>
      query
        .selectFrom('hosts_past')
        .selectAll()
        .where('name', '=', arg('name'))
        .where('to_ms', '>', arg('atMs'))
        .where('from_ms', '<=', arg('atMs'))
        .orderBy('to_ms')
        .limit(1),
    ),
    /** Their check-ins up to a moment. */
    checkInsOf: compile(dialect, (query, arg: Arg<{ json: string; atMs: number }>) =>
      sql<{ no: number; at_ms: number; count: number }>`
        SELECT wanted.no AS no, checkins.at_ms, checkins.count FROM ${items(arg('json'))} AS wanted
        JOIN checkins ON checkins.host_no = wanted.no AND checkins.at_ms = (
          SELECT MAX(at_ms) FROM checkins WHERE host_no = wanted.no AND at_ms <= ${arg('atMs')})`.compile(
        query,
      ),
    ),
    /** By how much a count changes at which point of a series: point n is `fromMs` + n × `stepMs`. */
    seriesSteps: compile(dialect, (query, arg: Arg<{ fromMs: number; stepMs: number }>) => {
      const from = sql`CAST(${arg('fromMs')} AS bigint)`;
      const point = (at: 'from_ms' | 'to_ms' | 'changed_at_ms' | 'first_seen_ms') =>
        sql`CASE WHEN ${sql.ref(at)} <= ${from} THEN 0
          ELSE (${sql.ref(at)} - ${from} - 1) / CAST(${arg('stepMs')} AS bigint) + 1 END`;
      const status = sql`CASE status WHEN 'UP' THEN 'up' ELSE 'down' END`;
      return sql<{ what: 'up' | 'down' | 'appeared' | 'disappeared'; point: number; n: number }>`
        SELECT what, point, SUM(n) AS n FROM (
          SELECT ${status} AS what, ${point('from_ms')} AS point, COUNT(*) AS n
            FROM hosts_past WHERE to_ms > ${from} GROUP BY 1, 2
          UNION ALL SELECT ${status}, ${point('to_ms')}, -COUNT(*)
            FROM hosts_past WHERE to_ms > ${from} GROUP BY 1, 2
          UNION ALL SELECT ${status}, ${point('changed_at_ms')}, 1 FROM hosts
          UNION ALL SELECT 'appeared', ${point('first_seen_ms')}, 1 FROM hosts WHERE first_seen_ms > ${from}
          UNION ALL SELECT 'appeared', ${point('first_seen_ms')}, 1 FROM hosts_past
            WHERE removed = 1 AND to_ms > ${from} AND first_seen_ms > ${from}
          UNION ALL SELECT 'disappeared', ${point('to_ms')}, 1 FROM hosts_past WHERE removed = 1 AND to_ms > ${from}
        ) AS steps GROUP BY what, point`.compile(query);
    }),
    purge: compile(dialect, (query, arg: Arg<{ beforeMs: number; limit: number }>) =>
      sql`
        DELETE FROM hosts_past WHERE (no, to_ms) IN (
          SELECT no, to_ms FROM hosts_past WHERE to_ms < ${arg('beforeMs')} ORDER BY to_ms LIMIT ${arg('limit')})`.compile(
        query,
      ),
    ),
    /** All but the last one before it, which still says how many there were then; that of a host of which nothing is left goes too. */
    purgeCheckIns: compile(dialect, (query, arg: Arg<{ beforeMs: number; limit: number }>) =>
      sql`
        DELETE FROM checkins WHERE (host_no, at_ms) IN (
          SELECT host_no, at_ms FROM checkins AS old WHERE at_ms < ${arg('beforeMs')} AND (
            EXISTS (SELECT 1 FROM checkins AS later WHERE later.host_no = old.host_no
              AND later.at_ms > old.at_ms AND later.at_ms <= ${arg('beforeMs')})
            OR (NOT EXISTS (SELECT 1 FROM hosts WHERE hosts.no = old.host_no)
              AND NOT EXISTS (SELECT 1 FROM hosts_past WHERE hosts_past.no = old.host_no)))
          ORDER BY at_ms LIMIT ${arg('limit')})`.compile(query),
    ),
  };
}

/** The record of a row that a change has replaced; `labelsOf` reads the texts of its labels. */
export function pastRecordOf(
  row: Omit<PastHostRow, 'from_ms' | 'to_ms' | 'removed'>,
  labelsOf: (text: string) => Labels = parseLabels,
): HostRecord {
  return {
    id: row.id,
    name: row.name,
    region: row.region,
    labels: labelsOf(row.labels),
    self: labelsOf(row.self),
    status: row.status,
    reason: row.reason,
    firstSeenMs: row.first_seen_ms,
    revokedAtMs: row.revoked_at_ms,
    version: row.version,
  };
}

function parseLabels(text: string): Labels {
  return JSON.parse(text) as Labels;
}
