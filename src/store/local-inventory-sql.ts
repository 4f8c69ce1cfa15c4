/** The statements of the agent's own inventory, compiled at their first use. */
import { type Kysely, sql } from 'kysely';
import type { Dialect } from './engine/port.ts';
import { type AgentSchema, type Arg, compile, type OwnComponentRow } from './engine/query.ts';

/** What the registry has of a component; no version: it has none. */
export interface BaseRow {
  readonly detector: string;
  readonly name: string;
  readonly version: string | null;
  readonly architecture: string | null;
}

/** A base beside what is installed now. */
export interface PendingRow extends BaseRow {
  readonly now_version: string | null;
  readonly now_architecture: string | null;
}

type Db = Kysely<AgentSchema & { checkin_bases: BaseRow }>;

const columns = ['detector', 'name', 'version', 'architecture', 'first_seen_ms', 'changed_at_ms'] as const;

export function inventoryStatements(dialect: Dialect) {
  return {
    all: compile(dialect, (db: Db, _arg: Arg<object>) => db.selectFrom('components').select(columns)),
    count: compile(dialect, (db: Db, _arg: Arg<object>) =>
      db.selectFrom('components').select(sql<number>`count(*)`.as('count')),
    ),
    detectors: compile(dialect, (db: Db, _arg: Arg<object>) =>
      db.selectFrom('components').select('detector').distinct(),
    ),
    ofDetector: compile(dialect, (db: Db, arg: Arg<{ detector: string }>) =>
      db.selectFrom('components').select(columns).where('detector', '=', arg('detector')),
    ),
    page: compile(dialect, (db: Db, arg: Arg<{ name: string; detector: string; limit: number }>) =>
      db
        .selectFrom('components')
        .select(columns)
        .where(sql<boolean>`(name, detector) > (${arg('name')}, ${arg('detector')})`)
        .orderBy('name')
        .orderBy('detector')
        .limit(arg('limit')),
    ),
    names: compile(dialect, (db: Db, arg: Arg<{ name: string; limit: number }>) =>
      db
        .selectFrom('components')
        .select('name')
        .distinct()
        .where('name', '>', arg('name'))
        .orderBy('name')
        .limit(arg('limit')),
    ),
    versions: compile(dialect, (db: Db, arg: Arg<{ from: string; to: string }>) =>
      db
        .selectFrom('components')
        .select(['name', 'version'])
        .distinct()
        .where('name', '>=', arg('from'))
        .where('name', '<=', arg('to'))
        .orderBy('name')
        .orderBy('version'),
    ),
    upsert: compile(dialect, (db: Db, arg: Arg<OwnComponentRow>) =>
      db
        .insertInto('components')
        .values({
          detector: arg('detector'),
          name: arg('name'),
          version: arg('version'),
          architecture: arg('architecture'),
          first_seen_ms: arg('first_seen_ms'),
          changed_at_ms: arg('changed_at_ms'),
        })
        .onConflict((conflict) =>
          conflict.columns(['detector', 'name']).doUpdateSet({
            version: (row) => row.ref('excluded.version'),
            architecture: (row) => row.ref('excluded.architecture'),
            changed_at_ms: (row) => row.ref('excluded.changed_at_ms'),
          }),
        ),
    ),
    remove: compile(dialect, (db: Db, arg: Arg<{ detector: string; name: string }>) =>
      db.deleteFrom('components').where('detector', '=', arg('detector')).where('name', '=', arg('name')),
    ),
    bases: compile(dialect, (db: Db, _arg: Arg<object>) => db.selectFrom('checkin_bases').selectAll()),
    /** Every base that is no longer what is installed. */
    pending: compile(dialect, (db: Db, _arg: Arg<object>) =>
      db
        .selectFrom('checkin_bases as base')
        .leftJoin('components as now', (join) =>
          join.onRef('now.detector', '=', 'base.detector').onRef('now.name', '=', 'base.name'),
        )
        .select([
          'base.detector',
          'base.name',
          'base.version',
          'base.architecture',
          'now.version as now_version',
          'now.architecture as now_architecture',
        ])
        .where(sql<boolean>`(base.version is not now.version or base.architecture is not now.architecture)`)
        .orderBy('base.detector')
        .orderBy('base.name'),
    ),
    /** The first value that is kept stays: it is what the registry has. */
    keepBase: compile(dialect, (db: Db, arg: Arg<BaseRow>) =>
      db
        .insertInto('checkin_bases')
        .values({
          detector: arg('detector'),
          name: arg('name'),
          version: arg('version'),
          architecture: arg('architecture'),
        })
        .onConflict((conflict) => conflict.doNothing()),
    ),
    clearBases: compile(dialect, (db: Db, _arg: Arg<object>) => db.deleteFrom('checkin_bases')),
  };
}
