/**
 * What hosts were told to believe this registry by, and how often that has changed: fingerprints only, never a key.
 * The keys are files, which a copy of the database does not hold, so the two may part; then hosts have to be told.
 */
import type { Caller } from '../domain/access.ts';
import type { Rotation } from '../domain/trust.ts';
import type { Store } from './engine/port.ts';
import { metaStatements, readMeta, writeMeta } from './meta-sql.ts';

/** What targets tell beside what each says of its host. */
export interface Told {
  readonly urls: readonly string[];
  /** Fingerprints: current, next. */
  readonly keys: readonly string[];
  readonly ca: readonly string[];
}

interface Kept extends Told {
  /** One more with each change; part of every target's serial. */
  readonly serial: number;
  /** When each kind of key became another. */
  readonly changedAtMs: Readonly<Partial<Record<Rotation, number>>>;
}

const trustKey = 'trust';

export class TrustStore {
  readonly #store: Store;
  readonly #meta: ReturnType<typeof metaStatements>;
  #kept: Kept | null = null;

  constructor(store: Store) {
    this.#store = store;
    this.#meta = metaStatements(store.dialect);
  }

  /** As of the last commit; 0 before the first `tell`. */
  get serial(): number {
    return this.#kept?.serial ?? 0;
  }

  /** When a kind of key last became another; null: it never has. */
  changedAtMs(what: Rotation): number | null {
    return this.#kept?.changedAtMs[what] ?? null;
  }

  /**
   * Notes what targets tell from now on; each kind of key that is another than before is an event. `effect` runs with
   * the commit. Resolves with what was told before, null at the first time.
   */
  tell(caller: Caller, told: Told, effect: () => void = nothing): Promise<Told | null> {
    return this.#store.write(caller, async (tx) => {
      const text = await readMeta(tx, this.#meta, trustKey);
      const before = text === null ? null : (JSON.parse(text) as Kept);
      const changed = before === null ? [] : changedKinds(told, before);
      for (const { what, keys, was } of changed)
        tx.append({ type: 'system.rotated', body: { what, keys, before: was } });
      const same = before !== null && changed.length === 0 && before.urls.join() === told.urls.join();
      const at = Object.fromEntries(changed.map(({ what }) => [what, tx.now]));
      const kept: Kept = same
        ? before
        : {
            ...told,
            serial: (before?.serial ?? 0) + 1,
            changedAtMs: { ...before?.changedAtMs, ...at },
          };
      if (!same) await writeMeta(tx, this.#meta, trustKey, JSON.stringify(kept));
      tx.onCommit(() => {
        this.#kept = kept;
        effect();
      });
      return before;
    });
  }

  /** Notes what became another without hosts being told: they believe whoever stands in front, or the CA above it. */
  note(caller: Caller, what: Rotation, keys: readonly string[]): Promise<void> {
    return this.#store.write(caller, async (tx) => {
      tx.append({ type: 'system.rotated', body: { what, keys } });
    });
  }
}

interface Changed {
  readonly what: Rotation;
  readonly keys: readonly string[];
  readonly was: readonly string[];
}

function changedKinds(told: Told, before: Told): Changed[] {
  const kinds: Changed[] = [
    { what: 'signing-key', keys: told.keys, was: before.keys },
    { what: 'ca', keys: told.ca, was: before.ca },
  ];
  return kinds.filter(({ keys, was }) => keys.join() !== was.join());
}

function nothing(): undefined {
  return undefined;
}
