/** The statements of taking over. Check-ins go in by one statement a batch: a round trip for each would take seconds. */
import { sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { compile, jsonRows } from './engine/query.ts';

/** A check-in as an element of the JSON that the statements are given. */
export interface CheckInElement {
  readonly key: string;
  readonly at: number;
  readonly count: number;
}

export function importStatements(dialect: Dialect) {
  const given = (json: Parameters<typeof jsonRows>[2]['json']) =>
    jsonRows(dialect, 'given', { json, columns: { key: 'text', at: 'bigint', count: 'bigint' } });
  return {
    /** How often each cluster had checked in at these instants. */
    counted: compile<{ checkIns: string }, { key: string; at_ms: number; count: number }>(
      dialect,
      (db, arg) =>
        sql<{ key: string; at_ms: number; count: number }>`SELECT k.cluster_key AS key, k.at_ms, k.count
          FROM ${given(arg('checkIns'))} JOIN cluster_checkins k
          ON k.cluster_key = given.key AND k.at_ms = given.at`.compile(db),
    ),
    /** Each instant once. The greater count holds. `WHERE true`: SQLite takes ON for that of a join otherwise. */
    putCheckIns: compile<{ checkIns: string }, unknown>(dialect, (db, arg) =>
      sql<unknown>`INSERT INTO cluster_checkins (cluster_key, at_ms, count)
        SELECT given.key, given.at, given.count FROM ${given(arg('checkIns'))} WHERE true
        ON CONFLICT (cluster_key, at_ms) DO UPDATE SET count = excluded.count
        WHERE excluded.count > cluster_checkins.count`.compile(db),
    ),
    times: compile<{ key: string }, { first: number; last: number; checkins: number }>(dialect, (db, arg) =>
      sql<{
        first: number;
        last: number;
        checkins: number;
      }>`SELECT MIN(at_ms) AS first, MAX(at_ms) AS last, CAST(SUM(count) AS bigint) AS checkins
        FROM cluster_checkins WHERE cluster_key = ${arg('key')}`.compile(db),
    ),
    reports: compile<Record<never, never>, { count: number }>(dialect, (db) =>
      db.selectFrom('doctor_reports').select((row) => row.fn.countAll<number>().as('count')),
    ),
  };
}
