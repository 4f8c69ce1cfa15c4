/**
 * The statements of components. Sets travel as one JSON argument: a first check-in of 2,000 packages is one statement
 * and one round trip, on SQLite (`json_each`) and on PostgreSQL (`jsonb_to_recordset`). Kysely has no words for
 * either, so these are written by hand.
 *
 * One component, as most deltas have, goes without JSON: on SQLite it is found in 2.5 instead of 6.4 µs and written in
 * 5.0 instead of 8.5 µs. From two on the difference shrinks, and is gone at about eight.
 */
import { type CompiledQuery, type Kysely, type SelectQueryBuilder, sql } from 'kysely';
import type { Dialect, Statement } from './engine/port.ts';
import { type Arg, compile, type HostComponentRow, queryBuilder, type Schema } from './engine/query.ts';

const columns = [
  'host_id',
  'detector',
  'name',
  'version',
  'architecture',
  'first_seen_ms',
  'changed_at_ms',
] as const;

export interface SummaryOf {
  /** Null: all. */
  readonly hostIds: readonly string[] | null;
  readonly apps: readonly string[] | undefined;
  readonly after: string;
  readonly limit: number;
}

type SummaryRow = Pick<HostComponentRow, 'name' | 'version'> & { hosts: number };

type HostKeys = { hostId: string; keys: string };

export function inventoryStatements(dialect: Dialect) {
  /** Rows (detector, name, version, architecture) of a JSON array argument. */
  const rowsOf = (json: ReturnType<Arg<{ items: string }>>) =>
    dialect === 'sqlite'
      ? sql`(select value ->> 'detector' as detector, value ->> 'name' as name, value ->> 'version' as version,
              value ->> 'architecture' as architecture from json_each(${json}))`
      : sql`jsonb_to_recordset(${json}::jsonb) as given(detector text, name text, version text, architecture text)`;

  let db: Kysely<Schema> | undefined;
  const upsert: Statement<{ hostId: string; items: string; now: number }, unknown> = compile(
    dialect,
    (query, arg: Arg<{ hostId: string; items: string; now: number }>) => ({
      compile: () =>
        sql`insert into components (host_id, detector, name, version, architecture, first_seen_ms, changed_at_ms)
        select ${arg('hostId')}, detector, name, version, architecture, ${bigint(dialect, arg('now'))}, ${bigint(dialect, arg('now'))}
        from ${rowsOf(arg('items'))} where true
        on conflict (host_id, detector, name) do update
        set version = excluded.version, architecture = excluded.architecture, changed_at_ms = excluded.changed_at_ms`.compile(
          query,
        ),
    }),
  );

  return {
    upsert,
    ofHost: compile(dialect, (query, arg: Arg<{ hostId: string }>) =>
      query.selectFrom('components').select(columns).where('host_id', '=', arg('hostId')),
    ),
    one: compile(dialect, (query, arg: Arg<{ hostId: string; detector: string; name: string }>) =>
      query
        .selectFrom('components')
        .select(columns)
        .where('host_id', '=', arg('hostId'))
        .where('detector', '=', arg('detector'))
        .where('name', '=', arg('name')),
    ),
    upsertOne: compile(dialect, (query, arg: Arg<HostComponentRow>) =>
      query
        .insertInto('components')
        .values(Object.fromEntries(columns.map((column) => [column, arg(column)])) as never)
        .onConflict((conflict) =>
          conflict.columns(['host_id', 'detector', 'name']).doUpdateSet((row) => ({
            version: row.ref('excluded.version'),
            architecture: row.ref('excluded.architecture'),
            changed_at_ms: row.ref('excluded.changed_at_ms'),
          })),
        ),
    ),
    named: compile<HostKeys, HostComponentRow>(dialect, (query, arg) =>
      query
        .selectFrom('components')
        .select(columns)
        .where('host_id', '=', arg('hostId'))
        .where(sql<boolean>`(detector, name) in (select detector, name from ${rowsOf(arg('keys'))})`),
    ),
    remove: compile<HostKeys, unknown>(dialect, (query, arg) =>
      query
        .deleteFrom('components')
        .where('host_id', '=', arg('hostId'))
        .where(sql<boolean>`(detector, name) in (select detector, name from ${rowsOf(arg('keys'))})`),
    ),
    page: compile(
      dialect,
      (query, arg: Arg<{ hostId: string; name: string; detector: string; limit: number }>) =>
        query
          .selectFrom('components')
          .select(columns)
          .where('host_id', '=', arg('hostId'))
          .where(sql<boolean>`(name, detector) > (${arg('name')}, ${arg('detector')})`)
          .orderBy('name')
          .orderBy('detector')
          .limit(arg('limit')),
    ),
    /** All versions of the next `limit` names. */
    summary: compile(dialect, (query, arg: Arg<{ after: string; limit: number }>) =>
      query
        .selectFrom('components')
        .select((row) => ['name', 'version', row.fn.count<number>('host_id').distinct().as('hosts')])
        .where('name', 'in', (names) =>
          names
            .selectFrom('components')
            .select('name')
            .distinct()
            .where('name', '>', arg('after'))
            .orderBy('name')
            .limit(arg('limit')),
        )
        .groupBy(['name', 'version'])
        .orderBy('name')
        .orderBy('version'),
    ),
    /** As `summary`, of some hosts and of some applications only. */
    summaryOf({ hostIds, apps, after, limit }: SummaryOf): CompiledQuery<SummaryRow> {
      db ??= queryBuilder(dialect);
      const meant = <Query extends { where: SelectQueryBuilder<Schema, 'components', object>['where'] }>(
        query: Query,
      ): Query => {
        let narrowed = query;
        if (hostIds !== null)
          narrowed = narrowed.where(sql<boolean>`host_id in (${textsOf(dialect, hostIds)})`) as never;
        if (apps !== undefined)
          narrowed = narrowed.where(sql<boolean>`${appOf(dialect)} in (${textsOf(dialect, apps)})`) as never;
        return narrowed;
      };
      const names = meant(db.selectFrom('components'))
        .select('name')
        .distinct()
        .where('name', '>', after)
        .orderBy('name')
        .limit(limit);
      return meant(db.selectFrom('components'))
        .select((row) => ['name', 'version', row.fn.count<number>('host_id').distinct().as('hosts')])
        .where('name', 'in', names)
        .groupBy(['name', 'version'])
        .orderBy('name')
        .orderBy('version')
        .compile();
    },
  };
}

/** PostgreSQL takes an untyped parameter in a select list as text. */
function bigint(dialect: Dialect, value: ReturnType<Arg<{ now: number }>>) {
  return dialect === 'sqlite' ? value : sql`${value}::bigint`;
}

/** The rows of a list of texts, as one argument. */
function textsOf(dialect: Dialect, texts: readonly string[]) {
  const json = JSON.stringify(texts);
  return dialect === 'sqlite'
    ? sql`select value from json_each(${json})`
    : sql`select jsonb_array_elements_text(${json}::jsonb)`;
}

/** The application that a component is of: what stands before the `/` of its name; NULL when it is of none. */
function appOf(dialect: Dialect) {
  return dialect === 'sqlite'
    ? sql`case when instr(name, '/') > 1 then substr(name, 1, instr(name, '/') - 1) end`
    : sql`case when position('/' in name) > 1 then split_part(name, '/', 1) end`;
}
