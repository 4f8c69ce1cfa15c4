/** The target that a host holds, with its signature: what it was told last and believed. */
import type { Kysely } from 'kysely';
import type { Dialect, Store, Transaction } from './engine/port.ts';
import { type AgentSchema, type Arg, compile, type HeldTargetRow } from './engine/query.ts';

/** As it came; `body` is exactly what `signature` is over. */
export interface HeldTarget {
  readonly tag: string;
  readonly body: string;
  readonly signature: string;
  readonly acceptedAtMs: number;
}

export class HeldTargetStore {
  readonly #store: Store;
  readonly #sql: ReturnType<typeof targetStatements>;

  constructor(store: Store) {
    this.#store = store;
    this.#sql = targetStatements(store.dialect);
  }

  /** Null before the first one. */
  async read(): Promise<HeldTarget | null> {
    const row = await this.#store.read((session) => session.get(this.#sql.get, {}));
    if (row === undefined) return null;
    const { tag, body, signature, accepted_at_ms } = row;
    return { tag, body, signature, acceptedAtMs: accepted_at_ms };
  }

  async writeIn(tx: Transaction, { tag, body, signature, acceptedAtMs }: HeldTarget): Promise<void> {
    await tx.run(this.#sql.set, { tag, body, signature, accepted_at_ms: acceptedAtMs });
  }

  /** It was of another membership. */
  async forgetIn(tx: Transaction): Promise<void> {
    await tx.run(this.#sql.remove, {});
  }
}

export function targetStatements(dialect: Dialect) {
  return {
    get: compile(dialect, (query: Kysely<AgentSchema>) => query.selectFrom('held_target').selectAll()),
    set: compile(dialect, (query: Kysely<AgentSchema>, arg: Arg<Omit<HeldTargetRow, 'one'>>) =>
      query
        .insertInto('held_target')
        .values({
          one: 1,
          tag: arg('tag'),
          body: arg('body'),
          signature: arg('signature'),
          accepted_at_ms: arg('accepted_at_ms'),
        })
        .onConflict((conflict) =>
          conflict.column('one').doUpdateSet({
            tag: (row) => row.ref('excluded.tag'),
            body: (row) => row.ref('excluded.body'),
            signature: (row) => row.ref('excluded.signature'),
            accepted_at_ms: (row) => row.ref('excluded.accepted_at_ms'),
          }),
        ),
    ),
    remove: compile(dialect, (query: Kysely<AgentSchema>) => query.deleteFrom('held_target')),
  };
}
