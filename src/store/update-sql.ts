/** The statements that find what is out of date. Lists travel as one JSON argument. */
import { type RawBuilder, sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, unseen } from './engine/query.ts';
import { type PublishedRow, releasePastStatements } from './release-past-sql.ts';

/** A name that a detector has found on some host. */
export interface NameRow {
  id: number;
  name: string;
  detector: string;
}

/** `hosts`: on how many it is installed now. */
export interface VersionRow {
  id: number;
  version: string;
  hosts: number;
}

/** That a host has a version. */
export interface InstalledRow {
  version_id: number;
  changed_at_ms: number;
  host_no: number;
}

/** Now: not looked at. */
type At = { atMs: number };

/** The statements as things are, and as they were at `atMs`. */
export function updateStatements(dialect: Dialect, when: 'now' | 'then') {
  const numbers = (json: ReturnType<typeof sql>) =>
    dialect === 'sqlite'
      ? sql`SELECT value FROM json_each(${unseen(dialect, json)})`
      : sql`SELECT value::integer FROM jsonb_array_elements_text(${json}::jsonb) AS given(value)`;
  const asJson = dialect === 'sqlite' ? sql`json_group_array(host_no)` : sql`json_agg(host_no)::text`;
  /** What was installed then: what has not changed since, and what was replaced since. */
  const rows = (
    arg: Arg<At>,
    where: (since: RawBuilder<unknown>) => RawBuilder<unknown>,
    columns = sql`version_id, host_no`,
  ) => {
    if (when === 'now') {
      const since = sql`changed_at_ms`;
      return sql`(SELECT ${columns}, ${since} FROM components WHERE ${where(since)}) AS found`;
    }
    const at = unseen(dialect, arg('atMs'));
    return sql`(SELECT ${columns}, changed_at_ms FROM components
        WHERE ${where(sql`changed_at_ms`)} AND changed_at_ms <= ${at}
      UNION ALL SELECT ${columns}, from_ms AS changed_at_ms FROM components_past
        WHERE ${where(sql`from_ms`)} AND to_ms > ${at} AND from_ms <= ${at}) AS found`;
  };
  /** That a version, of the row called `v`, was on some host. */
  const isSomewhere = (arg: Arg<At>) => {
    if (when === 'now') return sql`v.hosts > 0`;
    const at = unseen(dialect, arg('atMs'));
    return sql`(EXISTS (SELECT 1 FROM components AS c WHERE c.version_id = v.id AND c.changed_at_ms <= ${at})
      OR EXISTS (SELECT 1 FROM components_past AS p
        WHERE p.version_id = v.id AND p.to_ms > ${at} AND p.from_ms <= ${at}))`;
  };
  /** On how many hosts it was: what came since is taken off, what went since is added. */
  const hosts = (arg: Arg<At>) => {
    if (when === 'now') return sql`v.hosts`;
    const at = unseen(dialect, arg('atMs'));
    return sql`v.hosts
      - (SELECT COUNT(*) FROM components AS c WHERE c.version_id = v.id AND c.changed_at_ms > ${at})
      + (SELECT COUNT(*) FROM components_past AS p
          WHERE p.version_id = v.id AND p.to_ms > ${at} AND p.from_ms <= ${at})`;
  };
  return {
    /** All that is installed anywhere, or only what is called `name`. */
    names: compile<At, NameRow>(dialect, (db, arg) =>
      sql<NameRow>`SELECT n.id, n.name, n.detector FROM component_names AS n WHERE EXISTS (
        SELECT 1 FROM component_versions AS v WHERE v.name_id = n.id AND ${isSomewhere(arg)})`.compile(db),
    ),
    namesCalled: compile<{ name: string } & At, NameRow>(dialect, (db, arg) =>
      sql<NameRow>`SELECT n.id, n.name, n.detector FROM component_names AS n
        WHERE n.name = ${arg('name')} AND EXISTS (
        SELECT 1 FROM component_versions AS v WHERE v.name_id = n.id AND ${isSomewhere(arg)})`.compile(db),
    ),
    /** Of these names those that one of these hosts has, by what the hosts have. */
    namesOnFew: compile<{ ids: string; hosts: string } & At, { id: number }>(dialect, (db, arg) => {
      const found = rows(arg, () => sql`host_no IN (${numbers(arg('hosts'))})`, sql`name_id`);
      return sql<{ id: number }>`SELECT DISTINCT name_id AS id FROM ${found}
        WHERE name_id IN (${numbers(arg('ids'))})`.compile(db);
    }),
    /** As `namesOnFew`, by who has the names: most are found at once, and those that few have are looked through soon. */
    namesOn: compile<{ ids: string; hosts: string } & At, { id: number }>(dialect, (db, arg) => {
      const no = dialect === 'sqlite' ? sql`+host_no` : sql`host_no`;
      const found = rows(arg, () => sql`version_id = v.id AND ${no} IN (SELECT value FROM meant)`);
      return sql<{ id: number }>`WITH meant AS MATERIALIZED (${numbers(arg('hosts'))})
        SELECT DISTINCT v.name_id AS id FROM component_versions AS v
        WHERE v.name_id IN (${numbers(arg('ids'))}) AND EXISTS (SELECT 1 FROM ${found})`.compile(db);
    }),
    versions: compile<{ nameId: number } & At, VersionRow>(dialect, (db, arg) =>
      sql<VersionRow>`SELECT id, version, hosts FROM (
          SELECT v.id, v.version, ${hosts(arg)} AS hosts FROM component_versions AS v
          WHERE v.name_id = ${arg('nameId')}) AS counted
        WHERE hosts > 0 ORDER BY id`.compile(db),
    ),
    /** From place to place in one version. */
    onVersion: compile<{ id: number; changed: number; host: number; limit: number } & At, InstalledRow>(
      dialect,
      (db, arg) => {
        const found = rows(
          arg,
          (since) =>
            sql`version_id = ${arg('id')} AND (${since}, host_no) > (${arg('changed')}, ${arg('host')})`,
        );
        return sql<InstalledRow>`SELECT version_id, changed_at_ms, host_no FROM ${found}
          ORDER BY changed_at_ms, host_no LIMIT ${arg('limit')}`.compile(db);
      },
    ),
    onVersions: compile<{ ids: string } & At, InstalledRow>(dialect, (db, arg) =>
      sql<InstalledRow>`SELECT version_id, changed_at_ms, host_no
        FROM ${rows(arg, () => sql`version_id IN (${numbers(arg('ids'))})`)}
        ORDER BY version_id, changed_at_ms, host_no`.compile(db),
    ),
    /** What these hosts have of one name. */
    onHosts: compile<{ hosts: string; nameId: number } & At, InstalledRow>(dialect, (db, arg) => {
      const found = rows(
        arg,
        () => sql`host_no IN (${numbers(arg('hosts'))}) AND name_id = ${arg('nameId')}`,
      );
      return sql<InstalledRow>`SELECT version_id, changed_at_ms, host_no FROM ${found}
        ORDER BY version_id, changed_at_ms, host_no`.compile(db);
    }),
    /** The numbers of the hosts on each version as JSON: a row each would be ten times the work. */
    hostsOf: compile<{ ids: string } & At, { version_id: number; hosts: string }>(dialect, (db, arg) =>
      sql<{ version_id: number; hosts: string }>`SELECT version_id, ${asJson} AS hosts
        FROM ${rows(arg, () => sql`version_id IN (${numbers(arg('ids'))})`)} GROUP BY version_id`.compile(db),
    ),
    /** What is published of these components; `components` is the JSON of a list. */
    published:
      when === 'then'
        ? releasePastStatements(dialect).published
        : compile<{ components: string } & At, PublishedRow>(dialect, (db, arg) =>
            sql<PublishedRow>`SELECT component, train, version, released_ms, published_at_ms
              FROM releases WHERE component IN (${texts(dialect, arg('components'))})`.compile(db),
          ),
  };
}

function texts(dialect: Dialect, json: RawBuilder<unknown>) {
  return dialect === 'sqlite'
    ? sql`SELECT value FROM json_each(${json})`
    : sql`SELECT jsonb_array_elements_text(${json}::jsonb)`;
}
