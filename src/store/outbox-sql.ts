/** The statements of the outbox, compiled at their first use. */
import { type Generated, type Kysely, sql } from 'kysely';
import type { ReportType } from '../domain/services.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile } from './engine/query.ts';

export interface QueuedRow {
  readonly id: number;
  readonly type: ReportType;
  readonly uuid: string | null;
  readonly at_ms: number;
  readonly body: string;
  readonly bytes: number;
}

export interface OutboxStateRow {
  readonly active: number;
  readonly epoch: number;
  readonly acked_seq: number;
  readonly sent_id: number;
  readonly items: number;
  readonly bytes: number;
  readonly dropped: number;
}

interface Tables {
  outbox: Omit<QueuedRow, 'id'> & { readonly id: Generated<number> };
  outbox_state: OutboxStateRow;
}

type Db = Kysely<Tables>;

const stateColumns = ['active', 'epoch', 'acked_seq', 'sent_id', 'items', 'bytes', 'dropped'] as const;

export function outboxStatements(dialect: Dialect) {
  return {
    state: compile(dialect, (db: Db, _arg: Arg<object>) =>
      db.selectFrom('outbox_state').select(stateColumns),
    ),
    save: compile(dialect, (db: Db, arg: Arg<OutboxStateRow>) =>
      db
        .updateTable('outbox_state')
        .set(Object.fromEntries(stateColumns.map((column) => [column, arg(column)]))),
    ),
    /** Makes room for one more; no row while inactive. */
    grow: compile(dialect, (db: Db, arg: Arg<{ bytes: number }>) =>
      db
        .updateTable('outbox_state')
        .set({ items: sql`items + 1`, bytes: sql`bytes + ${arg('bytes')}` })
        .where('active', '=', 1)
        .returning(stateColumns),
    ),
    insert: compile(
      dialect,
      (
        db: Db,
        arg: Arg<{ type: ReportType; uuid: string | null; atMs: number; body: string; bytes: number }>,
      ) =>
        db.insertInto('outbox').values({
          type: arg('type'),
          uuid: arg('uuid'),
          at_ms: arg('atMs'),
          body: arg('body'),
          bytes: arg('bytes'),
        }),
    ),
    first: compile(dialect, (db: Db, arg: Arg<{ limit: number }>) =>
      db.selectFrom('outbox').selectAll().orderBy('id').limit(arg('limit')),
    ),
    countUpTo: compile(dialect, (db: Db, arg: Arg<{ id: number }>) =>
      db.selectFrom('outbox').select(sql<number>`count(*)`.as('count')).where('id', '<=', arg('id')),
    ),
    /** The last id of the first `count` reports, and their bytes. */
    upTo: compile(dialect, (db: Db, arg: Arg<{ count: number }>) =>
      db
        .selectFrom(
          db.selectFrom('outbox').select(['id', 'bytes']).orderBy('id').limit(arg('count')).as('head'),
        )
        .select([sql<number | null>`max(id)`.as('id'), sql<number | null>`sum(bytes)`.as('bytes')]),
    ),
    dropUpTo: compile(dialect, (db: Db, arg: Arg<{ id: number }>) =>
      db.deleteFrom('outbox').where('id', '<=', arg('id')),
    ),
    dropUnsent: compile(dialect, (db: Db, arg: Arg<{ sentId: number }>) =>
      db.deleteFrom('outbox').where('id', '>', arg('sentId')),
    ),
    /** The oldest reports of records that a later report tells of anew. */
    dropSuperseded: compile(dialect, (db: Db, arg: Arg<{ sentId: number; limit: number }>) =>
      db.deleteFrom('outbox').where('id', 'in', (sub) =>
        sub
          .selectFrom('outbox as old')
          .select('old.id')
          .where('old.id', '>', arg('sentId'))
          .where('old.type', '=', 'service')
          .where(({ exists, selectFrom }) =>
            exists(
              selectFrom('outbox as new')
                .select('new.id')
                .whereRef('new.uuid', '=', 'old.uuid')
                .whereRef('new.id', '>', 'old.id'),
            ),
          )
          .orderBy('old.id')
          .limit(arg('limit')),
      ),
    ),
    sums: compile(dialect, (db: Db, _arg: Arg<object>) =>
      db
        .selectFrom('outbox')
        .select([sql<number>`count(*)`.as('items'), sql<number>`coalesce(sum(bytes), 0)`.as('bytes')]),
    ),
  };
}
