/**
 * Who this host is at its registry, and what it believes it by. Its secrets are no part of this: they lie in files of
 * their own, never in a database that backups copy.
 */
import { systemCaller } from '../domain/access.ts';
import type { TrustKey } from '../domain/trust.ts';
import type { Store, Transaction } from './engine/port.ts';
import { metaStatements, readMeta, writeMeta } from './meta-sql.ts';

export interface Identity {
  readonly id: string;
  /** As the registry gave it, which may differ from what was wished. */
  readonly name: string;
  /** The registry that knows it so. */
  readonly registryUrl: string;
  /** Fingerprint of the key that it joined with; null when it proved none. */
  readonly key: string | null;
  /** Id of the token that it joined with; null when that had none. */
  readonly joinedWith: string | null;
  /** Where the registry is, best first, as its join token or the join's answer said. */
  readonly urls: readonly string[];
  /** What may sign the first target: the key that the join token names. A target that is held says it better. */
  readonly signingKeys: readonly TrustKey[];
}

/** Of the table `meta`. */
export const identityKey = 'identity';
const machineKey = 'machine.id';

export class IdentityStore {
  readonly #store: Store;
  readonly #meta: ReturnType<typeof metaStatements>;

  constructor(store: Store) {
    this.#store = store;
    this.#meta = metaStatements(store.dialect);
  }

  /** Null before the host has joined. */
  async read(): Promise<Identity | null> {
    const text = await this.#store.read((session) => readMeta(session, this.#meta, identityKey));
    return text === null ? null : (JSON.parse(text) as Identity);
  }

  async writeIn(tx: Transaction, identity: Identity): Promise<void> {
    await writeMeta(tx, this.#meta, identityKey, JSON.stringify(identity));
  }

  /** The registry calls this host so now. */
  async renameIn(tx: Transaction, name: string): Promise<Identity> {
    const text = await readMeta(tx, this.#meta, identityKey);
    if (text === null) throw new Error('a host that is nobody was renamed');
    const identity = { ...(JSON.parse(text) as Identity), name };
    await this.writeIn(tx, identity);
    return identity;
  }

  /** The machine id that was kept, or else `minted`, which is kept from now on. */
  keptMachineId(minted: string): Promise<string> {
    return this.#store.write(systemCaller, async (tx) => {
      const kept = await readMeta(tx, this.#meta, machineKey);
      if (kept === null) await writeMeta(tx, this.#meta, machineKey, minted);
      return kept ?? minted;
    });
  }
}
