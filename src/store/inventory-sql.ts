/** The statements that read components. Lists travel as one JSON argument. */
import { type RawBuilder, sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, unseen } from './engine/query.ts';

/** A component of a host, with its words. `architecture` is empty where there is none. */
export interface ComponentRow {
  detector: string;
  name: string;
  version: string;
  architecture: string;
  first_seen_ms: number;
  changed_at_ms: number;
}

/** `hosts`: on how many it is installed now. */
export interface KnownVersion {
  id: number;
  version: string;
  hosts: number;
  detector: string;
}

interface PageOf {
  hostNo: number;
  name: string;
  detector: string;
  /** The JSON of a list of applications; null: also what is of none. */
  apps: string | null;
  limit: number;
}

export function inventoryStatements(dialect: Dialect) {
  return {
    page: compile(dialect, (query, arg: Arg<PageOf>) =>
      sql<ComponentRow>`SELECT n.detector, n.name, v.version, v.architecture, c.first_seen_ms, c.changed_at_ms
          FROM components AS c
          JOIN component_names AS n ON n.id = c.name_id JOIN component_versions AS v ON v.id = c.version_id
          WHERE c.host_no = ${unseen(dialect, arg('hostNo'))}
          AND (n.name, n.detector) > (${unseen(dialect, arg('name'))}, ${unseen(dialect, arg('detector'))})
          AND ${ofApps(dialect, sql`n.name`, arg('apps'))}
          ORDER BY n.name, n.detector LIMIT ${arg('limit')}`.compile(query),
    ),
    /** As `page`, as it was at a moment. */
    pageAt: compile(dialect, (query, arg: Arg<PageOf & { atMs: number }>) => {
      const [hostNo, atMs] = [unseen(dialect, arg('hostNo')), unseen(dialect, arg('atMs'))];
      return sql<ComponentRow>`
          SELECT n.detector, n.name, v.version, v.architecture, found.first_seen_ms, found.changed_at_ms
          FROM (
            SELECT name_id, version_id, first_seen_ms, changed_at_ms FROM components
            WHERE host_no = ${hostNo} AND changed_at_ms <= ${atMs}
            UNION ALL
            SELECT name_id, version_id, first_seen_ms, from_ms FROM components_past
            WHERE host_no = ${hostNo} AND to_ms > ${atMs} AND from_ms <= ${atMs}
          ) AS found
          JOIN component_names AS n ON n.id = found.name_id
          JOIN component_versions AS v ON v.id = found.version_id
          WHERE (n.name, n.detector) > (${unseen(dialect, arg('name'))}, ${unseen(dialect, arg('detector'))})
          AND ${ofApps(dialect, sql`n.name`, arg('apps'))}
          ORDER BY n.name, n.detector LIMIT ${arg('limit')}`.compile(query);
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
  };
}

/** The rows of a list of numbers: the JSON of it is one argument. */
export function numbersOf(dialect: Dialect, json: RawBuilder<unknown>): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`SELECT value FROM json_each(${unseen(dialect, json)})`
    : sql`SELECT value::integer FROM jsonb_array_elements_text(${json}::jsonb) AS given(value)`;
}

/** The application that a component is of: what stands before the `/` of its name; NULL when it is of none. */
export function appOf(dialect: Dialect, name: RawBuilder<unknown>): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`CASE WHEN instr(${name}, '/') > 1 THEN substr(${name}, 1, instr(${name}, '/') - 1) END`
    : sql`CASE WHEN position('/' in ${name}) > 1 THEN split_part(${name}, '/', 1) END`;
}

/** That a component is of one of these applications: the JSON of a list, null: of any or none. */
export function ofApps(
  dialect: Dialect,
  name: RawBuilder<unknown>,
  apps: RawBuilder<string | null>,
): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`(${apps} IS NULL OR ${appOf(dialect, name)} IN (SELECT value FROM json_each(${apps})))`
    : sql`(${apps}::text IS NULL OR ${appOf(dialect, name)} IN (SELECT jsonb_array_elements_text(${apps}::jsonb)))`;
}

/** A column of all rows as one JSON list. */
export function jsonList(dialect: Dialect, column: RawBuilder<unknown>): RawBuilder<unknown> {
  return dialect === 'sqlite'
    ? sql`json_group_array(${column})`
    : sql`COALESCE(json_agg(${column})::text, '[]')`;
}

/** The rows of a list of texts, as one argument. */
export function textsOf(dialect: Dialect, texts: readonly string[]): RawBuilder<unknown> {
  const json = JSON.stringify(texts);
  return dialect === 'sqlite'
    ? sql`SELECT value FROM json_each(${unseen(dialect, sql`${json}`)})`
    : sql`SELECT jsonb_array_elements_text(${json}::jsonb)`;
}
