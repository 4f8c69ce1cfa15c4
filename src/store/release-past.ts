/** Forgetting which releases there were, and which trains followed others, once that is kept no longer. */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { systemCaller } from '../domain/access.ts';
import type { Store } from './engine/port.ts';
import { releasePastStatements } from './release-past-sql.ts';

/** Rows in one write: some milliseconds, also where all have long notes. */
const stepMax = 200;

export class ReleasePast {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #sql: ReturnType<typeof releasePastStatements>;

  constructor({ store, clock }: { store: Store; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    this.#sql = releasePastStatements(store.dialect);
  }

  /** Forgets what ended longer ago than is kept, in small writes. */
  async forget(): Promise<void> {
    const beforeMs = this.#clock.now() - limits.historyKeptMs;
    for (const statement of [this.#sql.dropReleases, this.#sql.dropTrains]) {
      const step = () =>
        this.#store.write(systemCaller, (tx) => tx.run(statement, { beforeMs, limit: stepMax }));
      while ((await step()) === stepMax);
    }
  }
}
