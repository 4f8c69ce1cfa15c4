/** The statements that read components. Lists travel as one JSON argument. */
import { type CompiledQuery, type RawBuilder, sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, jsonRows, queryBuilder, type Schema } from './engine/query.ts';

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
          WHERE c.host_no = ${arg('hostNo')} AND (n.name, n.detector) > (${arg('name')}, ${arg('detector')})
          ORDER BY n.name, n.detector LIMIT ${arg('limit')}`.compile(query),
    ),
    /** All versions of the next `limit` names. */
    summary: compile(dialect, (query, arg: Arg<{ after: string; limit: number }>) =>
      sql<SummaryRow>`SELECT n.name, v.version, SUM(v.hosts) AS hosts, COUNT(DISTINCT n.id) AS detectors
          FROM component_names AS n JOIN component_versions AS v ON v.name_id = n.id
          WHERE v.hosts > 0 AND n.name IN (
            SELECT DISTINCT name FROM component_names AS named WHERE name > ${arg('after')}
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
    /** As `summary`, of some hosts and of some applications only. */
    summaryOf({ hostNos, apps, after, limit }: SummaryOf): CompiledQuery<SummaryRow> {
      const meant = sql.join(
        [
          hostNos === null ? undefined : sql`c.host_no IN (${numbersOf(dialect, hostNos)})`,
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

/** The rows of a list of numbers, as one argument. */
function numbersOf(dialect: Dialect, numbers: readonly number[]): RawBuilder<unknown> {
  const json = JSON.stringify(numbers);
  return dialect === 'sqlite'
    ? sql`SELECT value FROM json_each(${json})`
    : sql`SELECT value::integer FROM jsonb_array_elements_text(${json}::jsonb) AS given(value)`;
}

/** The rows of a list of texts, as one argument. */
function textsOf(dialect: Dialect, texts: readonly string[]): RawBuilder<unknown> {
  const json = JSON.stringify(texts);
  return dialect === 'sqlite'
    ? sql`SELECT value FROM json_each(${json})`
    : sql`SELECT jsonb_array_elements_text(${json}::jsonb)`;
}

/** The application that a component is of: what stands before the `/` of its name; NULL when it is of none. */
function appOf(dialect: Dialect): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`CASE WHEN instr(n.name, '/') > 1 THEN substr(n.name, 1, instr(n.name, '/') - 1) END`
    : sql`CASE WHEN position('/' in n.name) > 1 THEN split_part(n.name, '/', 1) END`;
}
