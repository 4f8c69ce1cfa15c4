/** The statements that read components. Lists travel as one JSON argument. */
import { type CompiledQuery, type RawBuilder, sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, jsonRows, queryBuilder, type Schema, unseen } from './engine/query.ts';

/** A component of a host, with its words. `architecture` is empty where there is none. */
export interface ComponentRow {
  detector: string;
  name: string;
  version: string;
  architecture: string;
  first_seen_ms: number;
  changed_at_ms: number;
}

/** On how many hosts a version is. `detectors`: how many have found it by this name; then hosts may be counted twice. */
export interface SummaryRow {
  name: string;
  version: string;
  hosts: number;
  detectors: number;
}

/** `hosts`: on how many it is installed now. */
export interface KnownVersion {
  id: number;
  version: string;
  hosts: number;
  detector: string;
}

export interface SummaryOf {
  /** Numbers of hosts; null: all. */
  readonly hostNos: readonly number[] | null;
  readonly apps: readonly string[] | undefined;
  readonly after: string;
  readonly limit: number;
}

export function inventoryStatements(dialect: Dialect) {
  return {
    page: compile(
      dialect,
      (query, arg: Arg<{ hostNo: number; name: string; detector: string; limit: number }>) =>
        sql<ComponentRow>`SELECT n.detector, n.name, v.version, v.architecture, c.first_seen_ms, c.changed_at_ms
          FROM components AS c
          JOIN component_names AS n ON n.id = c.name_id JOIN component_versions AS v ON v.id = c.version_id
          WHERE c.host_no = ${unseen(dialect, arg('hostNo'))}
          AND (n.name, n.detector) > (${unseen(dialect, arg('name'))}, ${unseen(dialect, arg('detector'))})
          ORDER BY n.name, n.detector LIMIT ${arg('limit')}`.compile(query),
    ),
    /** All versions of the next `limit` names. */
    summary: compile(dialect, (query, arg: Arg<{ after: string; limit: number }>) =>
      sql<SummaryRow>`SELECT n.name, v.version, SUM(v.hosts) AS hosts, COUNT(DISTINCT n.id) AS detectors
          FROM component_names AS n JOIN component_versions AS v ON v.name_id = n.id
          WHERE v.hosts > 0 AND n.name IN (
            SELECT DISTINCT name FROM component_names AS named WHERE name > ${unseen(dialect, arg('after'))}
            AND EXISTS (SELECT 1 FROM component_versions WHERE name_id = named.id AND hosts > 0)
            ORDER BY name LIMIT ${arg('limit')})
          GROUP BY n.name, v.version ORDER BY n.name, v.version`.compile(query),
    ),
    /** On how many hosts each of `items` is, by whichever detector. */
    distinct: compile(dialect, (query, arg: Arg<{ items: string }>) => {
      const given = jsonRows(dialect, 'given', {
        json: arg('items'),
        columns: { name: 'text', version: 'text' },
      });
      return sql<Omit<SummaryRow, 'detectors'>>`
        SELECT given.name, given.version, COUNT(DISTINCT c.host_no) AS hosts FROM ${given}
        JOIN component_names AS n ON n.name = given.name
        JOIN component_versions AS v ON v.name_id = n.id AND v.version = given.version
        JOIN components AS c ON c.version_id = v.id
        GROUP BY given.name, given.version`.compile(query);
    }),
    /** Every version that a component of this name has or had anywhere. */
    versionsOf: compile(dialect, (query, arg: Arg<{ name: string }>) =>
      sql<KnownVersion>`SELECT v.id, v.version, v.hosts, n.detector
          FROM component_names AS n JOIN component_versions AS v ON v.name_id = n.id
          WHERE n.name = ${unseen(dialect, arg('name'))}`.compile(query),
    ),
    /** The numbers of the hosts that have one of these versions, as JSON: 20,000 rows would be ten times the work. */
    hostsWith: compile(dialect, (query, arg: Arg<{ ids: string }>) =>
      sql<{ hosts: string }>`SELECT ${jsonList(dialect, sql`c.host_no`)} AS hosts
          FROM components AS c WHERE c.version_id IN (${numbersOf(dialect, arg('ids'))})`.compile(query),
    ),
    /** As `hostsWith`, of those that had one at a moment. */
    hostsThatHad: compile(dialect, (query, arg: Arg<{ ids: string; atMs: number }>) => {
      const atMs = unseen(dialect, arg('atMs'));
      return sql<{ hosts: string }>`SELECT ${jsonList(dialect, sql`host_no`)} AS hosts FROM (
          SELECT host_no FROM components
          WHERE version_id IN (${numbersOf(dialect, arg('ids'))}) AND changed_at_ms <= ${atMs}
          UNION ALL
          SELECT host_no FROM components_past
          WHERE version_id IN (${numbersOf(dialect, arg('ids'))}) AND to_ms > ${atMs} AND from_ms <= ${atMs}
        ) AS found`.compile(query);
    }),
    /** As `summary`, of some hosts and of some applications only. */
    summaryOf({ hostNos, apps, after, limit }: SummaryOf): CompiledQuery<SummaryRow> {
      const meant = sql.join(
        [
          hostNos === null
            ? undefined
            : sql`c.host_no IN (${numbersOf(dialect, sql`${JSON.stringify(hostNos)}`)})`,
          apps === undefined ? undefined : sql`${appOf(dialect)} IN (${textsOf(dialect, apps)})`,
        ].flatMap((condition) => condition ?? []),
        sql` AND `,
      );
      return sql<SummaryRow>`
        WITH found AS (
          SELECT n.name, c.host_no, c.version_id
          FROM components AS c JOIN component_names AS n ON n.id = c.name_id
          WHERE n.name > ${after} AND ${meant})
        SELECT found.name, v.version, COUNT(DISTINCT found.host_no) AS hosts, 1 AS detectors
        FROM found JOIN component_versions AS v ON v.id = found.version_id
        WHERE found.name IN (SELECT DISTINCT name FROM found ORDER BY name LIMIT ${sql.lit(limit)})
        GROUP BY found.name, v.version ORDER BY found.name, v.version`.compile(queryBuilder<Schema>(dialect));
    },
  };
}

/** The rows of a list of numbers: the JSON of it is one argument. */
function numbersOf(dialect: Dialect, json: RawBuilder<unknown>): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`SELECT value FROM json_each(${unseen(dialect, json)})`
    : sql`SELECT value::integer FROM jsonb_array_elements_text(${json}::jsonb) AS given(value)`;
}

/** A column of all rows as one JSON list. */
function jsonList(dialect: Dialect, column: RawBuilder<unknown>): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`json_group_array(${column})`
    : sql`COALESCE(json_agg(${column})::text, '[]')`;
}

/** The rows of a list of texts, as one argument. */
function textsOf(dialect: Dialect, texts: readonly string[]): RawBuilder<unknown> {
  const json = JSON.stringify(texts);
  return dialect === 'sqlite'
    ? sql`SELECT value FROM json_each(${unseen(dialect, sql`${json}`)})`
    : sql`SELECT jsonb_array_elements_text(${json}::jsonb)`;
}

/** The application that a component is of: what stands before the `/` of its name; NULL when it is of none. */
function appOf(dialect: Dialect): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`CASE WHEN instr(n.name, '/') > 1 THEN substr(n.name, 1, instr(n.name, '/') - 1) END`
    : sql`CASE WHEN position('/' in n.name) > 1 THEN split_part(n.name, '/', 1) END`;
}
