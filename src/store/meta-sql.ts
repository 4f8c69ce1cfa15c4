/** The statements of the table `meta`: one row per fact about a store, a text under a key. */
import type { Kysely } from 'kysely';
import type { Dialect, Session } from './engine/port.ts';
import { type Arg, compile } from './engine/query.ts';

type Db = Kysely<{ meta: { readonly key: string; readonly value: string } }>;

export function metaStatements(dialect: Dialect) {
  return {
    get: compile(dialect, (db: Db, arg: Arg<{ key: string }>) =>
      db.selectFrom('meta').select('value').where('key', '=', arg('key')),
    ),
    set: compile(dialect, (db: Db, arg: Arg<{ key: string; value: string }>) =>
      db
        .insertInto('meta')
        .values({ key: arg('key'), value: arg('value') })
        .onConflict((conflict) =>
          conflict.column('key').doUpdateSet({ value: (row) => row.ref('excluded.value') }),
        ),
    ),
    remove: compile(dialect, (db: Db, arg: Arg<{ key: string }>) =>
      db.deleteFrom('meta').where('key', '=', arg('key')),
    ),
  };
}

/** The value of a key, or null. */
export async function readMeta(
  session: Session,
  sql: ReturnType<typeof metaStatements>,
  key: string,
): Promise<string | null> {
  return (await session.get(sql.get, { key }))?.value ?? null;
}

/** Sets the value of a key; null removes it. */
export async function writeMeta(
  session: Session,
  sql: ReturnType<typeof metaStatements>,
  key: string,
  value: string | null,
): Promise<void> {
  if (value === null) await session.run(sql.remove, { key });
  else await session.run(sql.set, { key, value });
}
