/** The statements of what was published and followed: as of a moment, and kept and forgotten. */
import { type RawBuilder, sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type Arg, compile, type ReleaseRow, type TrainRow } from './engine/query.ts';

type Train = { component: string; train: string };
type At = { atMs: number };
type Until = { toMs: number };

const releaseColumns = sql.raw(
  'component, train, version, released_ms, description, fixes, image, data, published_by, published_at_ms',
);
const trainColumns = sql.raw('component, train, follows, delay_ms');
const listOrder = sql.raw('released_ms DESC, published_at_ms DESC, version DESC');

/** What is to be known of a release to find the latest. */
export interface PublishedRow {
  component: string;
  train: string;
  version: string;
  released_ms: number;
  published_at_ms: number;
}

/** What a release runs as. */
export interface ReleaseImage {
  component: string;
  train: string;
  version: string;
  image: string;
}

export function releasePastStatements(dialect: Dialect) {
  /** Rows as they were at a moment, from both tables. */
  const known = (table: 'releases' | 'trains', atMs: RawBuilder<number>, condition: RawBuilder<unknown>) => {
    const columns = table === 'releases' ? releaseColumns : trainColumns;
    return sql`(SELECT ${columns}, changed_at_ms FROM ${sql.table(table)}
      WHERE ${condition} AND changed_at_ms <= ${atMs}
      UNION ALL SELECT ${columns}, from_ms AS changed_at_ms FROM ${sql.table(`${table}_past`)}
      WHERE ${condition} AND to_ms > ${atMs} AND from_ms <= ${atMs}) AS known`;
  };
  const ofTrain = (arg: Arg<Train & At>) =>
    known('releases', arg('atMs'), sql`component = ${arg('component')} AND train = ${arg('train')}`);
  const texts = (json: RawBuilder<string>) =>
    dialect === 'sqlite'
      ? sql`SELECT value FROM json_each(${json})`
      : sql`SELECT jsonb_array_elements_text(${json}::jsonb)`;
  return {
    one: compile<Train & At & { version: string }, ReleaseRow>(dialect, (db, arg) =>
      sql<ReleaseRow>`SELECT * FROM ${ofTrain(arg)} WHERE version = ${arg('version')}`.compile(db),
    ),
    /** As the list of now; those that came out before an instant. */
    page: compile<
      Train & At & { before: number; released: number; published: number; version: string; limit: number },
      ReleaseRow
    >(dialect, (db, arg) =>
      sql<ReleaseRow>`SELECT * FROM ${ofTrain(arg)} WHERE released_ms < ${arg('before')}
        AND (released_ms, published_at_ms, version) < (${arg('released')}, ${arg('published')}, ${arg('version')})
        ORDER BY ${listOrder} LIMIT ${arg('limit')}`.compile(db),
    ),
    versions: compile<Train & At & { before: number; limit: number }, { version: string }>(
      dialect,
      (db, arg) =>
        sql<{ version: string }>`SELECT version FROM ${ofTrain(arg)} WHERE released_ms < ${arg('before')}
          ORDER BY ${listOrder} LIMIT ${arg('limit')}`.compile(db),
    ),
    /** Names of trains that had releases, in order. */
    trains: compile<{ component: string; after: string; limit: number } & At, { train: string }>(
      dialect,
      (db, arg) =>
        sql<{ train: string }>`SELECT DISTINCT train FROM ${known(
          'releases',
          arg('atMs'),
          sql`component = ${arg('component')} AND train > ${arg('after')}`,
        )} ORDER BY train LIMIT ${arg('limit')}`.compile(db),
    ),
    /** Those that followed; `components` is the JSON of a list. */
    following: compile<{ components: string } & At, TrainRow>(dialect, (db, arg) =>
      sql<TrainRow>`SELECT * FROM ${known(
        'trains',
        arg('atMs'),
        sql`component IN (${texts(arg('components'))})`,
      )}`.compile(db),
    ),
    /** Of all these components; `components` is the JSON of a list. */
    published: compile<{ components: string } & At, PublishedRow>(dialect, (db, arg) =>
      sql<PublishedRow>`SELECT component, train, version, released_ms, published_at_ms FROM ${known(
        'releases',
        arg('atMs'),
        sql`component IN (${texts(arg('components'))})`,
      )}`.compile(db),
    ),
    /** What these components' releases ran as; `components` is the JSON of a list. */
    images: compile<{ components: string } & At, ReleaseImage>(dialect, (db, arg) =>
      sql<ReleaseImage>`SELECT component, train, version, image FROM ${known(
        'releases',
        arg('atMs'),
        sql`component IN (${texts(arg('components'))})`,
      )} WHERE image IS NOT NULL`.compile(db),
    ),
    /** From when it was so until `toMs`; nothing of what lasted no time. */
    keepRelease: compile<Train & Until & { version: string }, never>(dialect, (db, arg) =>
      sql<never>`INSERT INTO releases_past (${releaseColumns}, from_ms, to_ms)
        SELECT ${releaseColumns}, changed_at_ms, ${milliseconds(dialect, arg('toMs'))} FROM releases
        WHERE component = ${arg('component')} AND train = ${arg('train')} AND version = ${arg('version')}
        AND changed_at_ms < ${arg('toMs')}`.compile(db),
    ),
    keepTrain: compile<Train & Until, never>(dialect, (db, arg) =>
      sql<never>`INSERT INTO trains_past (${trainColumns}, from_ms, to_ms)
        SELECT ${trainColumns}, changed_at_ms, ${milliseconds(dialect, arg('toMs'))} FROM trains
        WHERE component = ${arg('component')} AND train = ${arg('train')}
        AND changed_at_ms < ${arg('toMs')}`.compile(db),
    ),
    /** Until when it was there the last time; of what never was, 0. */
    releaseEnd: compile<Train & { version: string }, { to_ms: number }>(dialect, (db, arg) =>
      sql<{ to_ms: number }>`SELECT COALESCE(MAX(to_ms), 0) AS to_ms FROM releases_past
        WHERE component = ${arg('component')} AND train = ${arg('train')} AND version = ${arg('version')}`.compile(
        db,
      ),
    ),
    trainEnd: compile<Train, { to_ms: number }>(dialect, (db, arg) =>
      sql<{ to_ms: number }>`SELECT COALESCE(MAX(to_ms), 0) AS to_ms FROM trains_past
        WHERE component = ${arg('component')} AND train = ${arg('train')}`.compile(db),
    ),
    dropReleases: dropOf(dialect, 'releases_past', ['component', 'train', 'version', 'to_ms']),
    dropTrains: dropOf(dialect, 'trains_past', ['component', 'train', 'to_ms']),
  };
}

/** PostgreSQL takes an argument that stands alone for a text. */
function milliseconds(dialect: Dialect, value: RawBuilder<number>): RawBuilder<unknown> {
  return dialect === 'sqlite' ? value : sql`${value}::bigint`;
}

/** Of the rows that ended before a moment the first ones. */
function dropOf(dialect: Dialect, table: string, key: readonly string[]) {
  const columns = sql.raw(key.join(', '));
  return compile<{ beforeMs: number; limit: number }, never>(dialect, (db, arg) =>
    sql<never>`DELETE FROM ${sql.table(table)} WHERE (${columns}) IN (
      SELECT ${columns} FROM ${sql.table(table)} WHERE to_ms <= ${arg('beforeMs')}
      ORDER BY to_ms LIMIT ${arg('limit')})`.compile(db),
  );
}
