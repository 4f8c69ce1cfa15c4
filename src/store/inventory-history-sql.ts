/** The statements of what became of components. */
import { type RawBuilder, sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, unseen } from './engine/query.ts';
import { jsonList, numbersOf, ofApps } from './inventory-sql.ts';

/** A version that a host had from `from_ms` to before `to_ms`; null: it still has. */
export interface SpanRow {
  name_id: number;
  detector: string;
  name: string;
  version: string;
  architecture: string;
  version_id: number;
  from_ms: number;
  to_ms: number | null;
}

/** What ended and what began at one moment, of one name; at least one of both. */
export interface StepRow {
  at_ms: number;
  name_id: number;
  detector: string;
  name: string;
  before_version: string | null;
  before_architecture: string | null;
  after_version: string | null;
  after_architecture: string | null;
}

interface Window {
  hostNo: number;
  fromMs: number;
  toMs: number;
}

export function inventoryHistoryStatements(dialect: Dialect) {
  return {
    /** The versions that a host had in a stretch of time, but for those that it has had since before it. */
    spans: compile<Window, SpanRow>(dialect, (query, arg) => spans(arg, sql``).compile(query)),
    /** As `spans`, of the components of one name. */
    spansOf: compile<Window & { name: string }, SpanRow>(dialect, (query, arg) => {
      const name = unseen(dialect, arg('name'));
      return spans(arg, sql`AND name_id IN (SELECT id FROM component_names WHERE name = ${name})`).compile(
        query,
      );
    }),
    /** Each moment of a stretch at which something ended or began on a host, after a place in that order. */
    steps: compile(
      dialect,
      (
        query,
        arg: Arg<Window & { afterMs: number; afterId: number; apps: string | null; limit: number }>,
      ) => {
        const [hostNo, fromMs, toMs] = [hidden(arg('hostNo')), hidden(arg('fromMs')), hidden(arg('toMs'))];
        const none = dialect === 'sqlite' ? sql`NULL` : sql`NULL::integer`;
        return sql<StepRow>`
        SELECT step.at_ms, step.name_id, n.detector, n.name,
          was.version AS before_version, was.architecture AS before_architecture,
          became.version AS after_version, became.architecture AS after_architecture
        FROM (
          SELECT at_ms, name_id, MAX(ended) AS ended, MAX(began) AS began FROM (
            SELECT to_ms AS at_ms, name_id, version_id AS ended, ${none} AS began FROM components_past
            WHERE host_no = ${hostNo} AND to_ms > ${fromMs} AND to_ms <= ${toMs}
            UNION ALL
            SELECT from_ms, name_id, ${none}, version_id FROM components_past
            WHERE host_no = ${hostNo} AND to_ms > ${fromMs} AND from_ms > ${fromMs} AND from_ms <= ${toMs}
            UNION ALL
            SELECT changed_at_ms, name_id, ${none}, version_id FROM components
            WHERE host_no = ${hostNo} AND changed_at_ms > ${fromMs} AND changed_at_ms <= ${toMs}
          ) AS ends
          WHERE (at_ms, name_id) > (${hidden(arg('afterMs'))}, ${hidden(arg('afterId'))})
          AND ${ofSome(arg('apps'))}
          GROUP BY at_ms, name_id HAVING MAX(ended) IS DISTINCT FROM MAX(began) ORDER BY at_ms, name_id LIMIT ${arg('limit')}
        ) AS step
        JOIN component_names AS n ON n.id = step.name_id
        LEFT JOIN component_versions AS was ON was.id = step.ended
        LEFT JOIN component_versions AS became ON became.id = step.began
        ORDER BY step.at_ms, step.name_id`.compile(query);
      },
    ),
    /** The hosts that were removed after a moment, as they were called then. */
    removedAfter: compile(dialect, (query, arg: Arg<{ fromMs: number }>) =>
      sql<{ no: number; id: string; name: string; to_ms: number }>`SELECT no, id, name, to_ms FROM hosts_past
          WHERE removed = 1 AND to_ms > ${arg('fromMs')}`.compile(query),
    ),
    /** The hosts that have checked in changes within a stretch, as JSON, and how many check-ins were looked at. */
    busyHosts: compile(dialect, (query, arg: Arg<{ fromMs: number; toMs: number; limit: number }>) =>
      sql<{ hosts: string; checkins: number }>`SELECT ${jsonList(dialect, sql`host_no`)} AS hosts,
            COALESCE(SUM(found), 0) AS checkins FROM (
              SELECT host_no, COUNT(*) AS found FROM (
                SELECT host_no FROM checkins WHERE at_ms > ${arg('fromMs')} AND at_ms <= ${arg('toMs')}
                LIMIT ${arg('limit')}) AS looked
              GROUP BY host_no) AS busy`.compile(query),
    ),
    /** The hosts on which one of these versions began or ended in a stretch, as JSON. */
    hostsOfVersions: compile(dialect, (query, arg: Arg<{ ids: string; fromMs: number; toMs: number }>) => {
      const [fromMs, toMs] = [hidden(arg('fromMs')), hidden(arg('toMs'))];
      const ids = numbersOf(dialect, arg('ids'));
      return sql<{ hosts: string }>`SELECT ${jsonList(dialect, sql`host_no`)} AS hosts FROM (
          SELECT host_no FROM components_past
          WHERE version_id IN (${ids}) AND to_ms > ${fromMs} AND from_ms <= ${toMs}
            AND (from_ms > ${fromMs} OR to_ms <= ${toMs})
          UNION ALL
          SELECT host_no FROM components
          WHERE version_id IN (${ids}) AND changed_at_ms > ${fromMs} AND changed_at_ms <= ${toMs}
        ) AS found`.compile(query);
    }),
    /** Forgets what ended before a moment on these hosts. */
    dropPast: compile(dialect, (query, arg: Arg<{ hosts: string; beforeMs: number }>) =>
      sql`DELETE FROM components_past WHERE host_no IN (${numbersOf(dialect, arg('hosts'))})
          AND to_ms <= ${hidden(arg('beforeMs'))}`.compile(query),
    ),
    /** Forgets versions that no host has or had. */
    dropVersions: compile(dialect, (query, arg: Arg<{ afterId: number; throughId: number }>) =>
      sql`DELETE FROM component_versions WHERE id > ${arg('afterId')} AND id <= ${arg('throughId')} AND hosts = 0
          AND NOT EXISTS (SELECT 1 FROM components_past WHERE version_id = component_versions.id)`.compile(
        query,
      ),
    ),
    /** Forgets names without versions. */
    dropNames: compile(dialect, (query, arg: Arg<{ afterId: number; throughId: number }>) =>
      sql`DELETE FROM component_names WHERE id > ${arg('afterId')} AND id <= ${arg('throughId')}
          AND NOT EXISTS (SELECT 1 FROM component_versions WHERE name_id = component_names.id)`.compile(
        query,
      ),
    ),
    lastIds: compile<object, { host: number; version: number; name: number }>(dialect, (query) =>
      sql<{ host: number; version: number; name: number }>`SELECT
          COALESCE((SELECT MAX(host_no) FROM components_past), 0) AS host,
          COALESCE((SELECT MAX(id) FROM component_versions), 0) AS version,
          COALESCE((SELECT MAX(id) FROM component_names), 0) AS name`.compile(query),
    ),
  };

  function spans(arg: Arg<Window>, only: RawBuilder<unknown>) {
    const [hostNo, fromMs, toMs] = [hidden(arg('hostNo')), hidden(arg('fromMs')), hidden(arg('toMs'))];
    return sql<SpanRow>`
      SELECT found.name_id, n.detector, n.name, v.version, v.architecture, found.version_id,
        found.from_ms, found.to_ms
      FROM (
        SELECT name_id, version_id, from_ms, to_ms FROM components_past
        WHERE host_no = ${hostNo} AND to_ms > ${fromMs} AND from_ms <= ${toMs} ${only}
        UNION ALL
        SELECT name_id, version_id, changed_at_ms, NULL FROM components
        WHERE host_no = ${hostNo} AND changed_at_ms > ${fromMs} AND changed_at_ms <= ${toMs} ${only}
      ) AS found
      JOIN component_names AS n ON n.id = found.name_id
      JOIN component_versions AS v ON v.id = found.version_id`;
  }

  /** Rows of components of these applications. */
  function ofSome(apps: RawBuilder<string | null>) {
    const named = sql`SELECT id FROM component_names AS own WHERE ${ofApps(dialect, sql`own.name`, apps)}`;
    return dialect === 'sqlite'
      ? sql`(${apps} IS NULL OR name_id IN (${named}))`
      : sql`(${apps}::text IS NULL OR name_id IN (${named}))`;
  }

  function hidden(value: ReturnType<Arg<{ of: number }>>) {
    return unseen(dialect, value);
  }
}
