/**
 * Answers of creations, kept for a day: a POST sent again with its `Idempotency-Key` gets the first answer. The key is
 * taken before the creation and its answer stored after it; a crash in between runs the creation again, which then
 * meets what it had created (type and host are unique) and answers `conflict` rather than creating it twice.
 */
import type { Clock } from '../base/clock.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { IdempotencyService, StoredAnswer } from '../domain/services.ts';
import type { Store } from './engine/port.ts';
import { type Arg, compile, type IdempotencyRow } from './engine/query.ts';

const keptMs = 86_400_000;

export class IdempotencyStore implements IdempotencyService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #sql: ReturnType<typeof statements>;
  /** Keys whose creation runs now, in this process. */
  readonly #running = new Set<string>();

  constructor(options: { store: Store; clock: Clock }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#sql = statements(options.store.dialect);
  }

  async run(
    key: string,
    caller: Caller,
    fingerprint: string,
    fn: () => Promise<StoredAnswer>,
  ): Promise<StoredAnswer> {
    const subject = caller.subject;
    const place = `${subject}\0${key}`;
    if (this.#running.has(place)) {
      throw new AppError(
        'conflict',
        'Cannot create twice at once: the request with this Idempotency-Key still runs',
        {
          field: 'idempotency-key',
        },
      );
    }
    this.#running.add(place);
    try {
      const known = await this.#take({ subject, key, fingerprint });
      if (known !== null) return known;
      return await this.#settle({ subject, key }, fn);
    } finally {
      this.#running.delete(place);
    }
  }

  /** Removes what is older than a day. */
  async forget(): Promise<void> {
    const beforeMs = this.#clock.now() - keptMs;
    await this.#store.write(systemCaller, (tx) => tx.run(this.#sql.forget, { beforeMs }));
  }

  /** The answer given before; null when the creation has to run. */
  #take(at: { subject: string; key: string; fingerprint: string }): Promise<StoredAnswer | null> {
    return this.#store.write(systemCaller, async (tx) => {
      const row = await tx.get(this.#sql.find, { subject: at.subject, key: at.key });
      if (row === undefined || row.at_ms < tx.now - keptMs) {
        await tx.run(this.#sql.put, { ...at, status: null, body: null, atMs: tx.now });
        return null;
      }
      if (row.fingerprint !== at.fingerprint) {
        throw new AppError(
          'unprocessable',
          'Cannot use this Idempotency-Key again: it came with another request before',
          {
            field: 'idempotency-key',
          },
        );
      }
      return row.status === null
        ? null
        : { status: row.status, body: JSON.parse(row.body ?? 'null') as unknown };
    });
  }

  /** A creation that is refused leaves its key free: nothing was created, and the caller may mend the request. */
  async #settle(
    at: { subject: string; key: string },
    fn: () => Promise<StoredAnswer>,
  ): Promise<StoredAnswer> {
    try {
      const answer = await fn();
      const { status, body } = answer;
      await this.#store.write(systemCaller, (tx) =>
        tx.run(this.#sql.settle, { ...at, status, body: JSON.stringify(body) }),
      );
      return answer;
    } catch (error) {
      if (error instanceof AppError) {
        await this.#store.write(systemCaller, (tx) => tx.run(this.#sql.release, at));
      }
      throw error;
    }
  }
}

type Place = { subject: string; key: string };

function statements(dialect: Store['dialect']) {
  return {
    find: compile(dialect, (db, arg: Arg<Place>) =>
      db
        .selectFrom('idempotency')
        .selectAll()
        .where('subject', '=', arg('subject'))
        .where('key', '=', arg('key')),
    ),
    put: compile(
      dialect,
      (
        db,
        arg: Arg<Place & { fingerprint: string; status: number | null; body: string | null; atMs: number }>,
      ) =>
        db
          .insertInto('idempotency')
          .values({
            subject: arg('subject'),
            key: arg('key'),
            fingerprint: arg('fingerprint'),
            status: arg('status'),
            body: arg('body'),
            at_ms: arg('atMs'),
          } satisfies Record<keyof IdempotencyRow, unknown>)
          .onConflict((conflict) =>
            conflict.columns(['subject', 'key']).doUpdateSet((row) => ({
              fingerprint: row.ref('excluded.fingerprint'),
              status: row.ref('excluded.status'),
              body: row.ref('excluded.body'),
              at_ms: row.ref('excluded.at_ms'),
            })),
          ),
    ),
    settle: compile(dialect, (db, arg: Arg<Place & { status: number; body: string }>) =>
      db
        .updateTable('idempotency')
        .set({ status: arg('status'), body: arg('body') })
        .where('subject', '=', arg('subject'))
        .where('key', '=', arg('key')),
    ),
    release: compile(dialect, (db, arg: Arg<Place>) =>
      db.deleteFrom('idempotency').where('subject', '=', arg('subject')).where('key', '=', arg('key')),
    ),
    forget: compile(dialect, (db, arg: Arg<{ beforeMs: number }>) =>
      db.deleteFrom('idempotency').where('at_ms', '<', arg('beforeMs')),
    ),
  };
}
