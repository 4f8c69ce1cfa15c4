/**
 * The registry's last answers, for when it cannot be asked. Reads and most writes touch memory alone; `flush` brings
 * what changed to disk in one write, so that a restart in an outage still remembers. Soft state: a crash may lose the
 * last seconds. Bounded: at the limit the least recently used answer goes.
 */

import type { Kysely } from 'kysely';
import type { Clock } from '../base/clock.ts';
import { systemCaller } from '../domain/access.ts';
import type { Dialect, Store } from './engine/port.ts';
import { type AgentSchema, type Arg, compile, type RemoteAnswerRow } from './engine/query.ts';

export interface RemoteAnswersOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** Default 4,096: about 2 MiB in memory. */
  readonly answersMax?: number;
}

export interface Remembered<T> {
  readonly answer: T;
  /** When it was true, by the registry's clock. */
  readonly asOfMs: number;
  /** Since it was received: the longer of monotonic time (if this process received it) and wall time. */
  readonly ageMs: number;
}

interface Entry {
  /** JSON text: compact, and equal exactly when unchanged. */
  readonly text: string;
  readonly asOfMs: number;
  readonly atMs: number;
  /** Monotonic; null when an earlier process received it. */
  readonly receivedMs: number | null;
}

/** An unchanged answer is written again only when what is on disk is older than this: disks wear, and age is told. */
const rewriteMs = 60_000;
const flushRowsMax = 1_000;
const answersMaxDefault = 4_096;

export class RemoteAnswers {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #answersMax: number;
  readonly #sql: ReturnType<typeof statements>;
  /** In order of use, the least recent first. */
  readonly #entries = new Map<string, Entry>();
  /** Key → when its answer on disk was received. */
  readonly #savedAtMs = new Map<string, number>();
  readonly #dirty = new Set<string>();

  private constructor(options: RemoteAnswersOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#answersMax = options.answersMax ?? answersMaxDefault;
    this.#sql = statements(options.store.dialect);
  }

  static async open(options: RemoteAnswersOptions): Promise<RemoteAnswers> {
    const answers = new RemoteAnswers(options);
    const rows = await options.store.read((session) =>
      session.all(answers.#sql.newest, { limit: answers.#answersMax }),
    );
    for (const row of rows.reverse()) {
      const { asOfMs, answer } = JSON.parse(row.answer) as { asOfMs: number; answer: unknown };
      answers.#entries.set(row.key, {
        text: JSON.stringify(answer),
        asOfMs,
        atMs: row.at_ms,
        receivedMs: null,
      });
      answers.#savedAtMs.set(row.key, row.at_ms);
    }
    return answers;
  }

  /** `asOfMs` is when it was true, by the registry's clock. */
  keep(key: string, asOfMs: number, answer: unknown): void {
    const text = JSON.stringify(answer);
    const atMs = this.#clock.now();
    const savedAtMs = this.#savedAtMs.get(key);
    const unchanged =
      this.#entries.get(key)?.text === text && savedAtMs !== undefined && atMs - savedAtMs < rewriteMs;
    if (!unchanged) this.#dirty.add(key);
    this.#put(key, { text, asOfMs, atMs, receivedMs: this.#clock.monotonic() });
    for (const [oldest] of this.#entries) {
      if (this.#entries.size <= this.#answersMax) break;
      this.#drop(oldest);
    }
  }

  /** Undefined when there is none. */
  recall<T>(key: string): Remembered<T> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#put(key, entry);
    return this.#remembered(entry);
  }

  /** All under keys that begin with `prefix`; does not count as use. */
  recallAll<T>(prefix: string): Remembered<T>[] {
    return Array.from(this.#entries)
      .filter(([key]) => key.startsWith(prefix))
      .map(([, entry]) => this.#remembered<T>(entry));
  }

  /** The registry says that there is nothing under this key any more. */
  forget(key: string): void {
    this.#drop(key);
  }

  /** Writes what changed since the last flush. */
  async flush(): Promise<void> {
    while (this.#dirty.size > 0) {
      const keys = Array.from(this.#dirty).slice(0, flushRowsMax);
      const entries = keys.map((key) => ({ key, entry: this.#entries.get(key) }));
      for (const key of keys) this.#dirty.delete(key);
      try {
        await this.#store.write(systemCaller, async (tx) => {
          for (const { key, entry } of entries) {
            if (entry === undefined) await tx.run(this.#sql.remove, { key });
            else
              await tx.run(this.#sql.upsert, {
                key,
                answer: `{"asOfMs":${entry.asOfMs},"answer":${entry.text}}`,
                at_ms: entry.atMs,
              });
          }
        });
      } catch (error) {
        for (const key of keys) this.#dirty.add(key);
        throw error;
      }
      for (const { key, entry } of entries) {
        if (entry === undefined) this.#savedAtMs.delete(key);
        else this.#savedAtMs.set(key, entry.atMs);
      }
    }
  }

  #put(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  #drop(key: string): void {
    if (!this.#entries.delete(key)) return;
    if (this.#savedAtMs.has(key)) this.#dirty.add(key);
    else this.#dirty.delete(key);
  }

  #remembered<T>({ text, asOfMs, atMs, receivedMs }: Entry): Remembered<T> {
    const byWallMs = this.#clock.now() - atMs;
    // The monotonic clock stands still while the machine sleeps, the wall clock may be put back: the longer is safe.
    const ageMs = Math.max(0, byWallMs, receivedMs === null ? 0 : this.#clock.monotonic() - receivedMs);
    return { answer: JSON.parse(text) as T, asOfMs, ageMs };
  }
}

function statements(dialect: Dialect) {
  return {
    newest: compile(dialect, (db: Kysely<AgentSchema>, arg: Arg<{ limit: number }>) =>
      db.selectFrom('remote_answers').selectAll().orderBy('at_ms', 'desc').limit(arg('limit')),
    ),
    upsert: compile(dialect, (db: Kysely<AgentSchema>, arg: Arg<RemoteAnswerRow>) =>
      db
        .insertInto('remote_answers')
        .values({ key: arg('key'), answer: arg('answer'), at_ms: arg('at_ms') })
        .onConflict((conflict) =>
          conflict.column('key').doUpdateSet({
            answer: (row) => row.ref('excluded.answer'),
            at_ms: (row) => row.ref('excluded.at_ms'),
          }),
        ),
    ),
    remove: compile(dialect, (db: Kysely<AgentSchema>, arg: Arg<{ key: string }>) =>
      db.deleteFrom('remote_answers').where('key', '=', arg('key')),
    ),
  };
}
