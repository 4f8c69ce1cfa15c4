/** A store whose statements are counted, for what must not grow with the number of rows. */
import type { Session, Store, Transaction } from '../../src/store/engine/port.ts';

export interface CountedStore {
  readonly store: Store;
  /** Statements of each write so far, in the order in which they began. */
  readonly counts: readonly number[];
}

export function countStatements(store: Store): CountedStore {
  const counts: number[] = [];
  const counting = (tx: Transaction, at: number): Transaction => {
    const counted =
      <Args extends unknown[], T>(method: (...args: Args) => T) =>
      (...args: Args): T => {
        counts[at] = (counts[at] ?? 0) + 1;
        return method.apply(tx, args);
      };
    return {
      dialect: tx.dialect,
      now: tx.now,
      caller: tx.caller,
      append: (draft) => tx.append(draft),
      onCommit: (effect) => tx.onCommit(effect),
      all: counted(tx.all) as Session['all'],
      get: counted(tx.get) as Session['get'],
      run: counted(tx.run) as Session['run'],
      query: counted(tx.query) as Session['query'],
    };
  };
  return {
    counts,
    store: {
      dialect: store.dialect,
      log: store.log,
      write: (caller, fn) => {
        const at = counts.push(0) - 1;
        return store.write(caller, (tx) => fn(counting(tx, at)));
      },
      read: (fn) => store.read(fn),
      beginEpoch: (caller, options) => store.beginEpoch(caller, options),
      close: () => store.close(),
    },
  };
}
