/** The statements of sinks: how far each was told, and what it was told of each thing. */
import { type RawBuilder, sql } from 'kysely';
import type { Alert } from '../domain/alert.ts';
import type { ChangeEvent } from '../domain/event.ts';
import type { SubjectState } from '../domain/notify-batch.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, jsonRows, type NotifyPlaceRow, type NotifySubjectRow } from './engine/query.ts';

const placeColumns = [
  'sink',
  'epoch',
  'revision',
  'sending',
  'delivered',
  'failed',
  'dropped',
  'missed',
  'last_success_ms',
  'last_error_ms',
  'last_error',
] as const satisfies (keyof NotifyPlaceRow)[];

const subjectColumns = {
  rule: 'text',
  subject: 'text',
  title: 'text',
  told: 'text',
  at_ms: 'bigint',
  forget_at_ms: 'bigint',
  held: 'text',
  alert: 'text',
} as const satisfies Partial<Record<keyof NotifySubjectRow, 'text' | 'bigint'>>;

const columns = ['sink', ...(Object.keys(subjectColumns) as (keyof typeof subjectColumns)[])] as const;

type Many = { sink: string; limit: number };

export function notifyStatements(dialect: Dialect) {
  const list = sql.join(columns.map((column) => sql.ref(column)));
  const changed = sql.join(
    columns.slice(3).map((column) => sql`${sql.ref(column)} = excluded.${sql.ref(column)}`),
  );
  return {
    places: compile<object, NotifyPlaceRow>(dialect, (db) =>
      db.selectFrom('notify_places').select(placeColumns),
    ),
    putPlace: compile(dialect, (db, arg: Arg<NotifyPlaceRow>) =>
      db
        .insertInto('notify_places')
        .values(Object.fromEntries(placeColumns.map((column) => [column, arg(column)])) as never)
        .onConflict((conflict) =>
          conflict
            .column('sink')
            .doUpdateSet((row) =>
              Object.fromEntries(
                placeColumns.slice(1).map((column) => [column, row.ref(`excluded.${column}` as never)]),
              ),
            ),
        ),
    ),
    removePlace: compile(dialect, (db, arg: Arg<{ sink: string }>) =>
      db.deleteFrom('notify_places').where('sink', '=', arg('sink')),
    ),
    removeSubjects: compile(dialect, (db, arg: Arg<{ sink: string }>) =>
      db.deleteFrom('notify_subjects').where('sink', '=', arg('sink')),
    ),
    /** `rows`: the JSON of a list of `SubjectRow`. */
    putSubjects: compile<{ sink: string; rows: string }, unknown>(dialect, (db, arg) =>
      sql<unknown>`
        INSERT INTO notify_subjects (${list})
        SELECT ${dialect === 'sqlite' ? arg('sink') : sql`${arg('sink')}::text`}, ${sql.join(columns.slice(1).map((column) => sql.ref(column)))}
        FROM ${jsonRows(dialect, 'given', { json: arg('rows'), columns: subjectColumns })} WHERE true
        ON CONFLICT (sink, rule, subject) DO UPDATE SET ${changed}`.compile(db),
    ),
    /** `rules` and `subjects`: the JSON of lists of texts. */
    known: compile<{ sink: string; rules: string; subjects: string }, NotifySubjectRow>(
      dialect,
      (db, arg) => {
        const list = (json: RawBuilder<string>) =>
          dialect === 'sqlite'
            ? sql`SELECT value FROM json_each(${json})`
            : sql`SELECT jsonb_array_elements_text(${json}::jsonb)`;
        return db
          .selectFrom('notify_subjects')
          .select(columns)
          .where('sink', '=', arg('sink'))
          .where(sql<boolean>`rule IN (${list(arg('rules'))})`)
          .where(sql<boolean>`subject IN (${list(arg('subjects'))})`);
      },
    ),
    held: compile(dialect, (db, arg: Arg<Many>) =>
      db
        .selectFrom('notify_subjects')
        .select(columns)
        .where('sink', '=', arg('sink'))
        .where('held', 'is not', null)
        .orderBy('rule')
        .orderBy('subject')
        .limit(arg('limit')),
    ),
    firing: compile(dialect, (db, arg: Arg<Many>) =>
      db
        .selectFrom('notify_subjects')
        .select(columns)
        .where('sink', '=', arg('sink'))
        .where('alert', 'is not', null)
        .orderBy('rule')
        .orderBy('subject')
        .limit(arg('limit')),
    ),
    forget: compile(dialect, (db, arg: Arg<{ nowMs: number }>) =>
      db.deleteFrom('notify_subjects').where('forget_at_ms', '<', arg('nowMs')).where('alert', 'is', null),
    ),
  };
}

export function stateOfRow(row: NotifySubjectRow): SubjectState {
  const { rule, subject, title, told } = row;
  return {
    ...{ rule, subject, title, told },
    atMs: row.at_ms,
    forgetAtMs: row.forget_at_ms,
    held: row.held === null ? null : (JSON.parse(row.held) as ChangeEvent),
    alert: row.alert === null ? null : (JSON.parse(row.alert) as Alert),
  };
}

/** Without its sink, which is the same for all of one write. */
export function rowOfState(state: SubjectState): Omit<NotifySubjectRow, 'sink'> {
  const { rule, subject, title, told, atMs, forgetAtMs, held, alert } = state;
  return {
    ...{ rule, subject, title, told },
    at_ms: atMs,
    forget_at_ms: forgetAtMs,
    held: held === null ? null : JSON.stringify(held),
    alert: alert === null ? null : JSON.stringify(alert),
  };
}
