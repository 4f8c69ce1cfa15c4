/** The statements that find what is out of date. Lists travel as one JSON argument. */
import { sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { compile, jsonRows, unseen } from './engine/query.ts';

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

export interface PublishedRow {
  component: string;
  train: string;
  version: string;
  released_ms: number;
  published_at_ms: number;
}

/** That a host has a version. */
export interface InstalledRow {
  version_id: number;
  changed_at_ms: number;
  host_no: number;
}

export interface ReleaseImage {
  component: string;
  train: string;
  version: string;
  image: string | null;
}

export function updateStatements(dialect: Dialect) {
  const numbers = (json: ReturnType<typeof sql>) =>
    dialect === 'sqlite'
      ? sql`SELECT value FROM json_each(${unseen(dialect, json)})`
      : sql`SELECT value::integer FROM jsonb_array_elements_text(${json}::jsonb) AS given(value)`;
  const asJson = dialect === 'sqlite' ? sql`json_group_array(host_no)` : sql`json_agg(host_no)::text`;
  return {
    /** All that is installed anywhere, or only what is called `name`. */
    names: compile<object, NameRow>(dialect, (db) =>
      sql<NameRow>`SELECT n.id, n.name, n.detector FROM component_names AS n
        WHERE EXISTS (SELECT 1 FROM component_versions WHERE name_id = n.id AND hosts > 0)`.compile(db),
    ),
    namesCalled: compile<{ name: string }, NameRow>(dialect, (db, arg) =>
      sql<NameRow>`SELECT n.id, n.name, n.detector FROM component_names AS n
        WHERE n.name = ${arg('name')}
        AND EXISTS (SELECT 1 FROM component_versions WHERE name_id = n.id AND hosts > 0)`.compile(db),
    ),
    /** Of these names those that one of these hosts has. */
    namesOn: compile<{ ids: string; hosts: string }, { id: number }>(dialect, (db, arg) =>
      sql<{ id: number }>`WITH meant AS MATERIALIZED (${numbers(arg('hosts'))})
        SELECT n.id FROM component_names AS n WHERE n.id IN (${numbers(arg('ids'))}) AND EXISTS (
          SELECT 1 FROM components AS c WHERE c.name_id = n.id AND c.host_no IN (SELECT value FROM meant))`.compile(
        db,
      ),
    ),
    /** `items`: objects with a name each. */
    published: compile<{ items: string }, PublishedRow>(dialect, (db, arg) => {
      const given = jsonRows(dialect, 'given', { json: arg('items'), columns: { name: 'text' } });
      return sql<PublishedRow>`
        SELECT r.component, r.train, r.version, r.released_ms, r.published_at_ms
        FROM ${given} CROSS JOIN releases AS r WHERE r.component = given.name`.compile(db);
    }),
    versions: compile<{ nameId: number }, VersionRow>(dialect, (db, arg) =>
      sql<VersionRow>`SELECT id, version, hosts FROM component_versions
        WHERE name_id = ${arg('nameId')} AND hosts > 0 ORDER BY id`.compile(db),
    ),
    /** From place to place in one version. */
    onVersion: compile<{ id: number; changed: number; host: number; limit: number }, InstalledRow>(
      dialect,
      (db, arg) =>
        sql<InstalledRow>`SELECT version_id, changed_at_ms, host_no FROM components
          WHERE version_id = ${arg('id')} AND (changed_at_ms, host_no) > (${arg('changed')}, ${arg('host')})
          ORDER BY changed_at_ms, host_no LIMIT ${arg('limit')}`.compile(db),
    ),
    onVersions: compile<{ ids: string }, InstalledRow>(dialect, (db, arg) =>
      sql<InstalledRow>`SELECT version_id, changed_at_ms, host_no FROM components
        WHERE version_id IN (${numbers(arg('ids'))})
        ORDER BY version_id, changed_at_ms, host_no`.compile(db),
    ),
    /** What these hosts have of one name. */
    onHosts: compile<{ hosts: string; nameId: number }, InstalledRow>(dialect, (db, arg) =>
      sql<InstalledRow>`SELECT version_id, changed_at_ms, host_no FROM components
        WHERE host_no IN (${numbers(arg('hosts'))}) AND name_id = ${arg('nameId')}
        ORDER BY version_id, changed_at_ms, host_no`.compile(db),
    ),
    /** The numbers of the hosts on each version as JSON: a row each would be ten times the work. */
    hostsOf: compile<{ ids: string }, { version_id: number; hosts: string }>(dialect, (db, arg) =>
      sql<{ version_id: number; hosts: string }>`SELECT version_id, ${asJson} AS hosts FROM components
        WHERE version_id IN (${numbers(arg('ids'))}) GROUP BY version_id`.compile(db),
    ),
    images: compile<{ items: string }, ReleaseImage>(dialect, (db, arg) => {
      const columns = { component: 'text', train: 'text', version: 'text' } as const;
      const given = jsonRows(dialect, 'given', { json: arg('items'), columns });
      return sql<ReleaseImage>`SELECT r.component, r.train, r.version, r.image FROM ${given}
        CROSS JOIN releases AS r
        WHERE r.component = given.component AND r.train = given.train AND r.version = given.version`.compile(
        db,
      );
    }),
  };
}
