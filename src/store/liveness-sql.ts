/** The statements of service records, compiled at their first use. */
import { type CompiledQuery, type Kysely, sql } from 'kysely';
import type { ServiceRecord } from '../domain/liveness.ts';
import type { ServiceFilter } from '../domain/services.ts';
import type { Dialect, Statement } from './engine/port.ts';
import {
  type Arg,
  compile,
  jsonRows,
  queryBuilder,
  type Schema,
  type ServiceRow,
  type TakenOverRow,
} from './engine/query.ts';

const columns = [
  'uuid',
  'type',
  'host',
  'region',
  'status',
  'reason',
  'ttl_ms',
  'maintenance_start_ms',
  'maintenance_end_ms',
  'maintenance_note',
  'held_by',
  'told_status',
  'told_reason',
  'version',
  'last_seen_ms',
] as const satisfies readonly (keyof ServiceRow)[];

/** Rows of one page of a load. */
export const loadPageMax = 500;

export function serviceStatements(dialect: Dialect) {
  let db: Kysely<Schema> | undefined;
  /** By the columns that they set: what callers may change together is a few dozen sets. */
  const updates = new Map<string, Statement<ServiceRow, unknown>>();
  return {
    loadAll: compile<object, ServiceRow>(dialect, (query) => query.selectFrom('services').select(columns)),
    /** The next of all records by uuid: what a page of them leaves behind is gone before the next is read. */
    loadPage: compile(dialect, (query, arg: Arg<{ after: string }>) =>
      query
        .selectFrom('services')
        .select(columns)
        .where('uuid', '>', arg('after'))
        .orderBy('uuid')
        .limit(loadPageMax),
    ),
    byUuid: compile(dialect, (query, arg: Arg<{ uuid: string }>) =>
      query.selectFrom('services').select(columns).where('uuid', '=', arg('uuid')),
    ),
    byPlace: compile(dialect, (query, arg: Arg<{ type: string; host: string }>) =>
      query
        .selectFrom('services')
        .select(columns)
        .where('type', '=', arg('type'))
        .where('host', '=', arg('host')),
    ),
    ofHost: compile(dialect, (query, arg: Arg<{ host: string }>) =>
      query.selectFrom('services').select(columns).where('host', '=', arg('host')).orderBy('uuid'),
    ),
    heldByAgent: compile(dialect, (query, arg: Arg<{ host: string }>) =>
      query
        .selectFrom('services')
        .select(columns)
        .where('host', '=', arg('host'))
        .where('held_by', '=', 'agent')
        .orderBy('uuid'),
    ),
    insert: compile(dialect, (query, arg: Arg<ServiceRow>) =>
      query
        .insertInto('services')
        .values(Object.fromEntries(columns.map((column) => [column, arg(column)])) as never),
    ),
    /**
     * Sets what differs between two rows of one record, and nothing else: SQLite rewrites every index over a column that
     * is named, changed or not. A toggled status is 5.6 µs, all columns 15.5 µs and three times the pages to commit.
     */
    update(before: ServiceRow, after: ServiceRow): Statement<ServiceRow, unknown> {
      const changed = columns.filter((column) => before[column] !== after[column]);
      const key = changed.join();
      let statement = updates.get(key);
      if (statement === undefined) {
        statement = compile(dialect, (query, arg: Arg<ServiceRow>) =>
          query
            .updateTable('services')
            .set(Object.fromEntries(changed.map((column) => [column, arg(column)])) as never)
            .where('uuid', '=', arg('uuid')),
        );
        updates.set(key, statement);
      }
      return statement;
    },
    remove: compile(dialect, (query, arg: Arg<{ uuid: string }>) =>
      query.deleteFrom('services').where('uuid', '=', arg('uuid')),
    ),
    /** Of many records at once: `heard` is the JSON of a list of `{ uuid, last_seen_ms }`. */
    setLastSeen: compile(dialect, (query, arg: Arg<{ heard: string }>) => {
      const columns = { uuid: 'text', last_seen_ms: 'bigint' } as const;
      const heard = jsonRows(dialect, 'heard', { json: arg('heard'), columns });
      return sql`
        UPDATE services SET last_seen_ms = heard.last_seen_ms
        FROM ${heard} WHERE services.uuid = heard.uuid`.compile(query);
    }),
    takenOver: compile(dialect, (query, arg: Arg<{ uuid: string }>) =>
      query.selectFrom('taken_over').selectAll().where('uuid', '=', arg('uuid')),
    ),
    addTakenOver: compile(dialect, (query, arg: Arg<{ uuid: string; byUuid: string; atMs: number }>) =>
      query
        .insertInto('taken_over')
        .values({ uuid: arg('uuid'), by_uuid: arg('byUuid'), at_ms: arg('atMs') } satisfies Record<
          keyof TakenOverRow,
          unknown
        >),
    ),
    removeTakenOver: compile(dialect, (query, arg: Arg<{ uuid: string }>) =>
      query.deleteFrom('taken_over').where('uuid', '=', arg('uuid')),
    ),
    forgetTakenOver: compile(dialect, (query, arg: Arg<{ beforeMs: number }>) =>
      query.deleteFrom('taken_over').where('at_ms', '<', arg('beforeMs')),
    ),
    /** Filters vary, so this one is built per call; each filter has an index that ends in uuid. */
    list(filter: ServiceFilter, afterUuid: string, limit: number): CompiledQuery<ServiceRow> {
      db ??= queryBuilder(dialect);
      let query = db
        .selectFrom('services')
        .select(columns)
        .where('uuid', '>', afterUuid)
        .orderBy('uuid')
        .limit(limit);
      for (const column of ['uuid', 'type', 'host', 'region', 'status'] as const) {
        const values = filter[column];
        if (values !== undefined) query = query.where(column, 'in', values as never);
      }
      return query.compile();
    },
  };
}

/** A row as the record that it holds. Words from closed lists are ours: each row has brought copies of its own. */
export function recordOf(row: ServiceRow): ServiceRecord {
  return {
    uuid: row.uuid,
    type: row.type,
    host: row.host,
    region: row.region,
    status: row.status === 'UP' ? 'UP' : 'DOWN',
    reason: row.reason,
    ttlMs: row.ttl_ms,
    maintenance:
      row.maintenance_start_ms === null
        ? null
        : { startMs: row.maintenance_start_ms, endMs: row.maintenance_end_ms, note: row.maintenance_note },
    heldBy: row.held_by === 'agent' ? 'agent' : 'registry',
    told: row.told_status === null ? null : { status: row.told_status, reason: row.told_reason },
    version: row.version,
  };
}

export function rowOf(record: ServiceRecord, lastSeenMs: number | null): ServiceRow {
  return {
    uuid: record.uuid,
    type: record.type,
    host: record.host,
    region: record.region,
    status: record.status,
    reason: record.reason,
    ttl_ms: record.ttlMs,
    maintenance_start_ms: record.maintenance?.startMs ?? null,
    maintenance_end_ms: record.maintenance?.endMs ?? null,
    maintenance_note: record.maintenance?.note ?? null,
    held_by: record.heldBy,
    told_status: record.told?.status ?? null,
    told_reason: record.told?.reason ?? null,
    version: record.version,
    last_seen_ms: lastSeenMs,
  };
}
