/** Which record is whose check: the uuids of the records that checks made, by type. */
import type { Kysely } from 'kysely';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { systemCaller } from '../domain/access.ts';
import { mintUuid } from '../domain/ids.ts';
import type { Dialect, Store } from './engine/port.ts';
import { type AgentSchema, type Arg, type CheckRow, compile } from './engine/query.ts';

export class CheckRecords {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #sql: ReturnType<typeof checkStatements>;

  constructor({ store, clock, random }: { store: Store; clock: Clock; random: Random }) {
    this.#store = store;
    this.#clock = clock;
    this.#random = random;
    this.#sql = checkStatements(store.dialect);
  }

  /** A uuid for each type, the one that it had; `left` are those of types that are not named. */
  async claim(types: readonly string[]): Promise<{
    readonly uuids: ReadonlyMap<string, string>;
    readonly left: readonly { readonly type: string; readonly uuid: string }[];
  }> {
    const rows = await this.#store.read((session) => session.all(this.#sql.all, {}));
    const known = new Map(rows.map(({ type, uuid }) => [type, uuid]));
    const fresh = types
      .filter((type) => !known.has(type))
      .map((type) => ({ type, uuid: mintUuid(this.#clock.now(), this.#random) }));
    if (fresh.length > 0) {
      await this.#store.write(systemCaller, async (tx) => {
        for (const row of fresh) await tx.run(this.#sql.add, row);
      });
    }
    for (const { type, uuid } of fresh) known.set(type, uuid);
    const wanted = new Set(types);
    return {
      uuids: new Map([...known].filter(([type]) => wanted.has(type))),
      left: rows.filter(({ type }) => !wanted.has(type)),
    };
  }

  /** Its record is gone. */
  async forget(type: string): Promise<void> {
    await this.#store.write(systemCaller, (tx) => tx.run(this.#sql.remove, { type }));
  }
}

function checkStatements(dialect: Dialect) {
  return {
    all: compile(dialect, (db: Kysely<AgentSchema>) => db.selectFrom('checks').selectAll()),
    add: compile(dialect, (db: Kysely<AgentSchema>, arg: Arg<CheckRow>) =>
      db.insertInto('checks').values({ type: arg('type'), uuid: arg('uuid') }),
    ),
    remove: compile(dialect, (db: Kysely<AgentSchema>, arg: Arg<Pick<CheckRow, 'type'>>) =>
      db.deleteFrom('checks').where('type', '=', arg('type')),
    ),
  };
}
