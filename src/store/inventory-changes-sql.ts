/**
 * The statements that write components. Sets travel as one JSON argument: a first check-in of 2,000 packages is a
 * handful of statements and round trips, on SQLite (`json_each`) and on PostgreSQL (`jsonb_to_recordset`). One
 * component, as most deltas have, goes without JSON.
 */
import { sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, jsonRows, unseen } from './engine/query.ts';

/** A name, and what of it a host has: the columns of `components` are null where it has none. */
export interface HeldRow {
  name_id: number;
  detector: string;
  name: string;
  version_id: number | null;
  version: string | null;
  architecture: string | null;
  first_seen_ms: number | null;
  changed_at_ms: number | null;
}

export interface NameRow {
  id: number;
  detector: string;
  name: string;
}

/** Of `component_versions`; `architecture` is empty where there is none. */
export interface VersionKey {
  name_id: number;
  version: string;
  architecture: string;
}

interface OneOf {
  hostNo: number;
  nameId: number;
  versionId: number;
  firstSeenMs: number;
}

const names = { detector: 'text', name: 'text' } as const;
const versions = { name_id: 'bigint', version: 'text', architecture: 'text' } as const;

export function inventoryChangeStatements(dialect: Dialect) {
  const held = sql`n.id AS name_id, n.detector, n.name, c.version_id, v.version, v.architecture, c.first_seen_ms, c.changed_at_ms`;
  const rows = (
    name: string,
    json: ReturnType<Arg<{ items: string }>>,
    columns: Record<string, 'text' | 'bigint'>,
  ) => jsonRows(dialect, name, { json, columns });
  /** PostgreSQL takes an untyped parameter in a select list as text. */
  const int = (value: ReturnType<Arg<{ of: number }>>) =>
    dialect === 'sqlite' ? value : sql`${value}::bigint`;

  return {
    heldAll: compile(dialect, (query, arg: Arg<{ hostNo: number }>) =>
      sql<HeldRow>`SELECT ${held} FROM components AS c
          JOIN component_names AS n ON n.id = c.name_id JOIN component_versions AS v ON v.id = c.version_id
          WHERE c.host_no = ${unseen(dialect, arg('hostNo'))}`.compile(query),
    ),
    /** Every name among `items` that is known, with what the host has of it. */
    held: compile(dialect, (query, arg: Arg<{ hostNo: number; items: string }>) =>
      sql<HeldRow>`SELECT ${held} FROM ${rows('given', arg('items'), names)}
          JOIN component_names AS n ON n.name = given.name AND n.detector = given.detector
          LEFT JOIN components AS c ON c.host_no = ${unseen(dialect, arg('hostNo'))} AND c.name_id = n.id
          LEFT JOIN component_versions AS v ON v.id = c.version_id`.compile(query),
    ),
    heldOne: compile(dialect, (query, arg: Arg<{ hostNo: number; detector: string; name: string }>) =>
      sql<HeldRow>`SELECT ${held} FROM component_names AS n
          LEFT JOIN components AS c ON c.host_no = ${unseen(dialect, arg('hostNo'))} AND c.name_id = n.id
          LEFT JOIN component_versions AS v ON v.id = c.version_id
          WHERE n.name = ${unseen(dialect, arg('name'))} AND n.detector = ${unseen(dialect, arg('detector'))}`.compile(
        query,
      ),
    ),
    addNames: compile(dialect, (query, arg: Arg<{ items: string }>) =>
      sql<NameRow>`INSERT INTO component_names (detector, name)
          SELECT detector, name FROM ${rows('given', arg('items'), names)} RETURNING id, detector, name`.compile(
        query,
      ),
    ),
    versions: compile(dialect, (query, arg: Arg<{ items: string }>) =>
      sql<VersionKey & { id: number }>`SELECT v.id, v.name_id, v.version, v.architecture
          FROM ${rows('given', arg('items'), versions)}
          JOIN component_versions AS v ON v.name_id = given.name_id AND v.version = given.version
            AND v.architecture = given.architecture`.compile(query),
    ),
    versionOne: compile(dialect, (query, arg: Arg<VersionKey>) =>
      query
        .selectFrom('component_versions')
        .select('id')
        .where('name_id', '=', arg('name_id'))
        .where('version', '=', arg('version'))
        .where('architecture', '=', arg('architecture')),
    ),
    addVersions: compile(dialect, (query, arg: Arg<{ items: string }>) =>
      sql<VersionKey & { id: number }>`INSERT INTO component_versions (name_id, version, architecture, hosts)
          SELECT name_id, version, architecture, 0 FROM ${rows('given', arg('items'), versions)}
          RETURNING id, name_id, version, architecture`.compile(query),
    ),
    /** Of each of `items`, the id of a version, `by` hosts more have it than before. */
    count: compile(dialect, (query, arg: Arg<{ items: string }>) =>
      sql`UPDATE component_versions SET hosts = hosts + given.by
          FROM ${rows('given', arg('items'), { id: 'bigint', by: 'bigint' })}
          WHERE component_versions.id = given.id`.compile(query),
    ),
    /** One host has the one version now instead of the other; 0 is none. */
    countOne: compile(dialect, (query, arg: Arg<{ more: number; fewer: number }>) =>
      sql`UPDATE component_versions SET hosts = hosts + CASE id WHEN ${arg('more')} THEN 1 ELSE -1 END
          WHERE id IN (${arg('more')}, ${arg('fewer')})`.compile(query),
    ),
    put: compile(dialect, (query, arg: Arg<{ hostNo: number; items: string; atMs: number }>) =>
      sql`INSERT INTO components (host_no, name_id, version_id, first_seen_ms, changed_at_ms)
          SELECT ${int(arg('hostNo'))}, name_id, version_id, first_seen_ms, ${int(arg('atMs'))}
          FROM ${rows('given', arg('items'), { name_id: 'bigint', version_id: 'bigint', first_seen_ms: 'bigint' })}
          WHERE true
          ON CONFLICT (host_no, name_id) DO UPDATE
          SET version_id = excluded.version_id, changed_at_ms = excluded.changed_at_ms`.compile(query),
    ),
    putOne: compile(dialect, (query, arg: Arg<OneOf & { atMs: number }>) =>
      sql`INSERT INTO components (host_no, name_id, version_id, first_seen_ms, changed_at_ms)
          VALUES (${arg('hostNo')}, ${arg('nameId')}, ${arg('versionId')}, ${arg('firstSeenMs')}, ${arg('atMs')})
          ON CONFLICT (host_no, name_id) DO UPDATE
          SET version_id = excluded.version_id, changed_at_ms = excluded.changed_at_ms`.compile(query),
    ),
    remove: compile(dialect, (query, arg: Arg<{ hostNo: number; items: string }>) =>
      sql`DELETE FROM components WHERE host_no = ${unseen(dialect, arg('hostNo'))}
          AND name_id IN (SELECT name_id FROM ${rows('given', arg('items'), { name_id: 'bigint' })})`.compile(
        query,
      ),
    ),
    keep: compile(dialect, (query, arg: Arg<{ hostNo: number; items: string; atMs: number }>) =>
      sql`INSERT INTO components_past (host_no, name_id, version_id, first_seen_ms, from_ms, to_ms)
          SELECT ${int(arg('hostNo'))}, name_id, version_id, first_seen_ms, from_ms, ${int(arg('atMs'))}
          FROM ${rows('given', arg('items'), { name_id: 'bigint', version_id: 'bigint', first_seen_ms: 'bigint', from_ms: 'bigint' })}`.compile(
        query,
      ),
    ),
    keepOne: compile(dialect, (query, arg: Arg<OneOf & { fromMs: number; atMs: number }>) =>
      sql`INSERT INTO components_past (host_no, name_id, version_id, first_seen_ms, from_ms, to_ms)
          VALUES (${arg('hostNo')}, ${arg('nameId')}, ${arg('versionId')}, ${arg('firstSeenMs')}, ${arg('fromMs')},
            ${arg('atMs')})`.compile(query),
    ),
  };
}
