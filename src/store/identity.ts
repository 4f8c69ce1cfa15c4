/**
 * Who this host is at its registry. The credential is no part of it: it lies in a file of its own, never in a
 * database that backups copy.
 */
import { systemCaller } from '../domain/access.ts';
import type { Store, Transaction } from './engine/port.ts';
import { metaStatements, readMeta, writeMeta } from './meta-sql.ts';

export interface Identity {
  readonly id: string;
  /** As the registry gave it, which may differ from what was wished. */
  readonly name: string;
  /** The registry that knows it so. */
  readonly registryUrl: string;
}

const identityKey = 'identity';
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

  /** The machine id that was kept, or else `minted`, which is kept from now on. */
  keptMachineId(minted: string): Promise<string> {
    return this.#store.write(systemCaller, async (tx) => {
      const kept = await readMeta(tx, this.#meta, machineKey);
      if (kept === null) await writeMeta(tx, this.#meta, machineKey, minted);
      return kept ?? minted;
    });
  }
}
