/**
 * Forgetting old revisions: always the oldest ones, in small writes, each moving `log_base` and deleting what lies
 * before it in one transaction. So the log has no hole at any moment, and a reader finds either a revision or
 * `compacted`. SQLite uses the freed pages again; the file does not shrink.
 */
import { systemCaller } from '../../domain/access.ts';
import { formatBase, type LogStatements, logStatements, type StoreLog } from './log.ts';
import type { Store } from './port.ts';

export interface CompactionLimits {
  /** Older revisions go. */
  readonly ageMaxMs: number;
  /** Of more than these the oldest go. */
  readonly countMax: number;
}

/** DESIGN §8: 7 days or a million revisions. */
export const compactionLimits: CompactionLimits = { ageMaxMs: 7 * 86_400_000, countMax: 1_000_000 };

/** Revisions in one write: about a millisecond. */
const stepMax = 500;

/** Deletes what is beyond the limits and returns how many revisions that was. Aborted: throws the reason, keeps what is done. */
export async function compactLog(
  store: Store,
  log: StoreLog,
  options: { limits: CompactionLimits; signal?: AbortSignal },
): Promise<number> {
  const statements = logStatements(store.dialect);
  let total = 0;
  for (;;) {
    options.signal?.throwIfAborted();
    const deleted = await compactStep(store, log, { limits: options.limits, statements });
    total += deleted;
    if (deleted < stepMax) return total;
  }
}

function compactStep(
  store: Store,
  log: StoreLog,
  options: { limits: CompactionLimits; statements: LogStatements },
): Promise<number> {
  const { limits, statements } = options;
  return store.write(systemCaller, async (tx) => {
    const head = log.head();
    const after = log.base().revision;
    const rows = await tx.all(statements.agesAfter, { after, limit: stepMax });
    const isOld = (row: { revision: number; at_ms: number }) =>
      row.at_ms < tx.now - limits.ageMaxMs || row.revision <= head.revision - limits.countMax;
    // A clock that jumped may have left a young revision before an old one: only an unbroken run from the oldest goes.
    const keep = rows.findIndex((row) => !isOld(row));
    const old = keep === -1 ? rows : rows.slice(0, keep);
    const last = old.at(-1);
    if (last === undefined) return 0;
    await tx.run(statements.dropThrough, { to: last.revision });
    await tx.run(statements.putMeta, { key: 'log_base', value: formatBase(last) });
    tx.onCommit(() => log.forget({ epoch: head.epoch, revision: last.revision, hash: last.hash }));
    return old.length;
  });
}
