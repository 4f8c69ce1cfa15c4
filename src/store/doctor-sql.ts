/** The statements of doctor reports. */
import { sql } from 'kysely';
import type { DoctorFile, DoctorSummary } from '../domain/doctor.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, type DoctorReportRow } from './engine/query.ts';

/** All but the body, which may be large. */
const summaryColumns = [
  'id',
  'wire',
  'host',
  'sender',
  'comment',
  'bytes',
  'at_ms',
] as const satisfies (keyof DoctorReportRow)[];
const columns = [...summaryColumns, 'body'] as const;

export type DoctorSummaryRow = Omit<DoctorReportRow, 'body'>;

/** Where a page goes on: after this report, from the latest to the oldest. */
export interface DoctorPlace {
  readonly atMs: number;
  readonly id: string;
}

export function doctorStatements(dialect: Dialect) {
  return {
    one: compile(dialect, (db, arg: Arg<{ id: string }>) =>
      db.selectFrom('doctor_reports').select(columns).where('id', '=', arg('id')),
    ),
    put: compile(dialect, (db, arg: Arg<DoctorReportRow>) =>
      db
        .insertInto('doctor_reports')
        .values(Object.fromEntries(columns.map((column) => [column, arg(column)])) as never)
        .onConflict((conflict) =>
          conflict.column('id').doUpdateSet((row) => ({
            host: row.ref('excluded.host'),
            sender: row.ref('excluded.sender'),
            comment: row.ref('excluded.comment'),
            bytes: row.ref('excluded.bytes'),
            at_ms: row.ref('excluded.at_ms'),
            body: row.ref('excluded.body'),
          })),
        ),
    ),
    remove: compile(dialect, (db, arg: Arg<{ id: string }>) =>
      db.deleteFrom('doctor_reports').where('id', '=', arg('id')),
    ),
    page: compile(dialect, (db, arg: Arg<DoctorPlace & { limit: number }>) =>
      db
        .selectFrom('doctor_reports')
        .select(summaryColumns)
        .where(sql<boolean>`(at_ms, id) < (${arg('atMs')}, ${arg('id')})`)
        .orderBy('at_ms', 'desc')
        .orderBy('id', 'desc')
        .limit(arg('limit')),
    ),
    /** Of one sender, the latest left out: the ids of those that it has no room for. */
    beyondOfSender: compile(dialect, (db, arg: Arg<{ sender: string; kept: number; limit: number }>) =>
      db
        .selectFrom('doctor_reports')
        .select('id')
        .where('sender', '=', arg('sender'))
        .orderBy('at_ms', 'desc')
        .orderBy('id', 'desc')
        .limit(arg('limit'))
        .offset(arg('kept')),
    ),
    /** Of all. */
    beyond: compile(dialect, (db, arg: Arg<{ kept: number; limit: number }>) =>
      db
        .selectFrom('doctor_reports')
        .select('id')
        .orderBy('at_ms', 'desc')
        .orderBy('id', 'desc')
        .limit(arg('limit'))
        .offset(arg('kept')),
    ),
    olderThan: compile(dialect, (db, arg: Arg<{ beforeMs: number; limit: number }>) =>
      db
        .selectFrom('doctor_reports')
        .select('id')
        .where('at_ms', '<', arg('beforeMs'))
        .orderBy('at_ms')
        .limit(arg('limit')),
    ),
  };
}

export function doctorSummaryOf(row: DoctorSummaryRow): DoctorSummary {
  const { id, wire, host, sender, comment, bytes } = row;
  return { id, wire, host, sender, comment, bytes, atMs: row.at_ms };
}

export function doctorFileOf(row: DoctorReportRow): DoctorFile {
  return { ...doctorSummaryOf(row), text: row.body };
}

export function doctorRow({ atMs, text, ...same }: DoctorFile): DoctorReportRow {
  return { ...same, at_ms: atMs, body: text };
}
