/** The statements of releases. A list, and the latest by date, read the end of one index. */
import { sql } from 'kysely';
import type { Release } from '../domain/release.ts';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, jsonRows, type ReleaseRow } from './engine/query.ts';

const columns = [
  'component',
  'train',
  'version',
  'released_ms',
  'description',
  'fixes',
  'image',
  'data',
  'published_by',
  'published_at_ms',
  'changed_at_ms',
] as const satisfies (keyof ReleaseRow)[];

type Train = { component: string; train: string };
type Key = Train & { version: string };
/** A train, as far as it came out before an instant. */
export type Place = Train & { before: number };
/** Where a release is in a list: those behind it are meant. */
export type ListPlace = { released: number; published: number; version: string };

export function releaseStatements(dialect: Dialect) {
  return {
    one: compile(dialect, (db, arg: Arg<Key>) =>
      db
        .selectFrom('releases')
        .select(columns)
        .where('component', '=', arg('component'))
        .where('train', '=', arg('train'))
        .where('version', '=', arg('version')),
    ),
    page: compile(dialect, (db, arg: Arg<Train & ListPlace & { limit: number }>) =>
      db
        .selectFrom('releases')
        .select(columns)
        .where('component', '=', arg('component'))
        .where('train', '=', arg('train'))
        .where(
          sql<boolean>`(released_ms, published_at_ms, version) < (${arg('released')}, ${arg('published')}, ${arg('version')})`,
        )
        .orderBy('released_ms', 'desc')
        .orderBy('published_at_ms', 'desc')
        .orderBy('version', 'desc')
        .limit(arg('limit')),
    ),
    /** Of one train, in the order of lists; those that came out before an instant. */
    versions: compile(dialect, (db, arg: Arg<Train & { before: number; limit: number }>) =>
      db
        .selectFrom('releases')
        .select('version')
        .where('component', '=', arg('component'))
        .where('train', '=', arg('train'))
        .where('released_ms', '<', arg('before'))
        .orderBy('released_ms', 'desc')
        .orderBy('published_at_ms', 'desc')
        .orderBy('version', 'desc')
        .limit(arg('limit')),
    ),
    /** Of each place the first in the order of lists; `places` is the JSON of a list of `Place` without repetition. */
    firstOf: compile<{ places: string }, ReleaseRow & Pick<Place, 'before'>>(dialect, (db, arg) => {
      const asked = jsonRows(dialect, 'asked', {
        json: arg('places'),
        columns: { component: 'text', train: 'text', before: 'bigint' },
      });
      const wanted = columns.map((column) => sql`r.${sql.ref(column)}`);
      return sql<ReleaseRow & Pick<Place, 'before'>>`SELECT ${sql.join(wanted)}, asked.before FROM ${asked}
        JOIN releases r ON r.component = asked.component AND r.train = asked.train AND r.version = (
          SELECT version FROM releases l
          WHERE l.component = asked.component AND l.train = asked.train AND l.released_ms < asked.before
          ORDER BY l.released_ms DESC, l.published_at_ms DESC, l.version DESC LIMIT 1)`.compile(db);
    }),
    count: compile(dialect, (db, arg: Arg<Train>) =>
      db
        .selectFrom('releases')
        .select((row) => row.fn.countAll<number>().as('count'))
        .where('component', '=', arg('component'))
        .where('train', '=', arg('train')),
    ),
    put: compile(dialect, (db, arg: Arg<ReleaseRow>) =>
      db
        .insertInto('releases')
        .values(Object.fromEntries(columns.map((column) => [column, arg(column)])) as never)
        .onConflict((conflict) =>
          conflict.columns(['component', 'train', 'version']).doUpdateSet((row) => ({
            released_ms: row.ref('excluded.released_ms'),
            description: row.ref('excluded.description'),
            fixes: row.ref('excluded.fixes'),
            image: row.ref('excluded.image'),
            data: row.ref('excluded.data'),
            changed_at_ms: row.ref('excluded.changed_at_ms'),
          })),
        ),
    ),
    remove: compile(dialect, (db, arg: Arg<Key>) =>
      db
        .deleteFrom('releases')
        .where('component', '=', arg('component'))
        .where('train', '=', arg('train'))
        .where('version', '=', arg('version')),
    ),
  };
}

export function releaseOf(row: ReleaseRow): Release {
  const { component, train, version, description, fixes, image, data } = row;
  return {
    ...{ component, train, version },
    releasedMs: row.released_ms,
    ...{ description, fixes, image },
    data: data === null ? null : (JSON.parse(data) as Record<string, unknown>),
    publishedBy: row.published_by,
    publishedAtMs: row.published_at_ms,
    changedAtMs: row.changed_at_ms,
  };
}

export function releaseRow(release: Release): ReleaseRow {
  const { component, train, version, description, fixes, image, data } = release;
  return {
    ...{ component, train, version },
    released_ms: release.releasedMs,
    ...{ description, fixes, image },
    data: data === null ? null : JSON.stringify(data),
    published_by: release.publishedBy,
    published_at_ms: release.publishedAtMs,
    changed_at_ms: release.changedAtMs,
  };
}
