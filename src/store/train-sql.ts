/** The statements of trains: those that have releases, and those that follow others. */
import { sql } from 'kysely';
import type { Following, TrainView } from '../domain/train.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, type TrainRow } from './engine/query.ts';

const columns = [
  'component',
  'train',
  'follows',
  'delay_ms',
  'changed_at_ms',
] as const satisfies (keyof TrainRow)[];

type Train = { component: string; train: string };
/** A train that follows none has no more than its name. */
type ListedRow = Pick<TrainRow, 'train'> & {
  [column in Exclude<keyof TrainRow, 'train'>]: TrainRow[column] | null;
};

export function trainStatements(dialect: Dialect) {
  return {
    /** Those that follow; `components` is the JSON of a list. */
    following: compile<{ components: string }, TrainRow>(dialect, (db, arg) => {
      const asked =
        dialect === 'sqlite'
          ? sql`SELECT value FROM json_each(${arg('components')})`
          : sql`SELECT jsonb_array_elements_text(${arg('components')}::jsonb)`;
      return db.selectFrom('trains').select(columns).where(sql<boolean>`component IN (${asked})`);
    }),
    /** From name to name, past all the releases of each: a component may have a train for each branch. */
    page: compile<{ component: string; after: string; limit: number }, ListedRow>(dialect, (db, arg) =>
      sql<ListedRow>`
        WITH RECURSIVE published (train) AS (
          SELECT min(train) FROM releases WHERE component = ${arg('component')} AND train > ${arg('after')}
          UNION ALL SELECT (
            SELECT min(r.train) FROM releases r WHERE r.component = ${arg('component')} AND r.train > published.train
          ) FROM published WHERE published.train IS NOT NULL
        )
        SELECT names.train, t.component, t.follows, t.delay_ms, t.changed_at_ms FROM (
          SELECT train FROM (SELECT train FROM published WHERE train IS NOT NULL LIMIT ${arg('limit')}) AS first
          UNION SELECT train FROM trains WHERE component = ${arg('component')} AND train > ${arg('after')}
        ) AS names LEFT JOIN trains t ON t.component = ${arg('component')} AND t.train = names.train
        ORDER BY names.train LIMIT ${arg('limit')}`.compile(db),
    ),
    hasReleases: compile(dialect, (db, arg: Arg<Train>) =>
      db
        .selectFrom('releases')
        .select('version')
        .where('component', '=', arg('component'))
        .where('train', '=', arg('train'))
        .limit(1),
    ),
    put: compile(dialect, (db, arg: Arg<TrainRow>) =>
      db
        .insertInto('trains')
        .values(Object.fromEntries(columns.map((column) => [column, arg(column)])) as never)
        .onConflict((conflict) =>
          conflict.columns(['component', 'train']).doUpdateSet((row) => ({
            follows: row.ref('excluded.follows'),
            delay_ms: row.ref('excluded.delay_ms'),
            changed_at_ms: row.ref('excluded.changed_at_ms'),
          })),
        ),
    ),
    remove: compile(dialect, (db, arg: Arg<Train>) =>
      db.deleteFrom('trains').where('component', '=', arg('component')).where('train', '=', arg('train')),
    ),
  };
}

export function followingOf(row: TrainRow): Following {
  const { component, train, follows } = row;
  return { component, train, follows, delayMs: row.delay_ms, changedAtMs: row.changed_at_ms };
}

export function listedTrain(component: string, row: ListedRow): TrainView {
  const { train, follows } = row;
  return { component, train, follows, delayMs: row.delay_ms ?? 0, changedAtMs: row.changed_at_ms };
}

export function trainRow({ component, train, follows, delayMs, changedAtMs }: Following): TrainRow {
  return { component, train, follows, delay_ms: delayMs, changed_at_ms: changedAtMs };
}
