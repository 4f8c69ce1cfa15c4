/**
 * The furthest this store has seen of its peer's log. Shown to the peer with every beat, so that a peer that was put
 * back to an earlier state learns of it from us; the peer does the same for us (see `Mark`).
 */
import { systemCaller } from '../domain/access.ts';
import type { Mark } from '../domain/event.ts';
import type { Store, Transaction } from './engine/port.ts';
import { metaStatements, readMeta, writeMeta } from './meta-sql.ts';

const seenKey = 'registry.seen';

export class PeerMarks {
  readonly #store: Store;
  readonly #meta: ReturnType<typeof metaStatements>;
  #seen: Mark | null = null;
  #saved: Mark | null = null;

  private constructor(store: Store) {
    this.#store = store;
    this.#meta = metaStatements(store.dialect);
  }

  static async open(store: Store): Promise<PeerMarks> {
    const marks = new PeerMarks(store);
    const text = await store.read((session) => readMeta(session, marks.#meta, seenKey));
    marks.#seen = text === null ? null : (JSON.parse(text) as Mark);
    marks.#saved = marks.#seen;
    return marks;
  }

  /** The furthest mark seen of the registry's log; null before the first answer. */
  get seen(): Mark | null {
    return this.#seen;
  }

  /** Remembers a mark when it is further than what was seen. In memory; see `save`. */
  note(mark: Mark): void {
    const { epoch, revision } = this.#seen ?? { epoch: 0, revision: -1 };
    if (mark.epoch > epoch || (mark.epoch === epoch && mark.revision > revision)) this.#seen = mark;
  }

  /** Writes what was seen, if it is further than what was written. Soft state: what is lost is seen again. */
  async save(): Promise<void> {
    const seen = this.#seen;
    if (seen === null || seen === this.#saved) return;
    await this.#store.write(systemCaller, (tx) => writeMeta(tx, this.#meta, seenKey, JSON.stringify(seen)));
    this.#saved = seen;
  }

  /** Another registry: what was seen of the one before says nothing. */
  async forgetIn(tx: Transaction): Promise<void> {
    await writeMeta(tx, this.#meta, seenKey, null);
    tx.onCommit(() => {
      this.#seen = null;
      this.#saved = null;
    });
  }
}
