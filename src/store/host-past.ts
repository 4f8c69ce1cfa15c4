/**
 * How hosts were. A change moves the row that it replaces to `hosts_past` in the same transaction, with the stretch of
 * time that it was so; what would have been so for no time is not kept. Nothing is written while nothing changes.
 */
import { limits } from '../base/limits.ts';
import { systemCaller } from '../domain/access.ts';
import type { Dialect, Store, Transaction } from './engine/port.ts';
import type { HostRow } from './engine/query.ts';
import { hostPastStatements } from './host-past-sql.ts';

/** Rows that one write of a purge deletes: some milliseconds. */
const purgeStepMax = 1_000;

export class HostPast {
  readonly #sql: ReturnType<typeof hostPastStatements>;

  constructor(dialect: Dialect) {
    this.#sql = hostPastStatements(dialect);
  }

  /**
   * In the transaction that changes or removes the host, before it does. Answers since when the host is as the change
   * makes it: of changes of one host none is before an earlier one, whatever the clock does.
   */
  async keep(tx: Transaction, row: HostRow, { removed = false } = {}): Promise<number> {
    const { id, no, changed_at_ms: fromMs } = row;
    const atMs = Math.max(tx.now, fromMs);
    if (fromMs < atMs) await tx.run(this.#sql.keep, { id, atMs, removed: removed ? 1 : 0 });
    else if (removed) await tx.run(this.#sql.markRemoved, { no, atMs });
    return atMs;
  }

  /** In the transaction of a check-in that changed something. */
  async checkedIn(tx: Transaction, checkIn: { no: number; atMs: number; count: number }): Promise<void> {
    await tx.run(this.#sql.addCheckIn, checkIn);
  }

  /** Deletes what is kept no more, in small writes. Aborted: throws the reason, keeps what is done. */
  async forget(store: Store, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    for (const statement of [this.#sql.purge, this.#sql.purgeCheckIns]) {
      for (;;) {
        signal?.throwIfAborted();
        const deleted = await store.write(systemCaller, (tx) =>
          tx.run(statement, { beforeMs: tx.now - limits.historyKeptMs, limit: purgeStepMax }),
        );
        if (deleted < purgeStepMax) break;
      }
    }
  }
}
