/**
 * The latest revisions in memory, so that watchers who keep up never read the database. Revisions are dense: the ring
 * holds one unbroken range up to the last one. Bounded by count and by bytes of `encoded`; the oldest go first.
 */
import type { Revision } from '../../domain/event.ts';

export interface RingLimits {
  readonly countMax: number;
  /** Of encoded events; the parsed ones beside them take about twice as much again. */
  readonly bytesMax: number;
}

export interface Kept extends Revision {
  readonly hash: string;
}

export class Ring {
  readonly #limits: RingLimits;
  readonly #slots: (Kept | undefined)[] = [];
  /** First kept revision, and the one that comes next. */
  #first: number;
  #next: number;
  #bytes = 0;

  constructor(limits: RingLimits, next: number) {
    this.#limits = limits;
    this.#first = next;
    this.#next = next;
  }

  get first(): number {
    return this.#first;
  }

  /** Adds the revision after the last one. */
  push(revision: Kept): void {
    if (revision.revision !== this.#next) {
      throw new Error(`Cannot keep revision ${revision.revision}: the next one is ${this.#next}`);
    }
    if (this.#next - this.#first === this.#limits.countMax) this.#forget();
    this.#slots[revision.revision % this.#limits.countMax] = revision;
    this.#next += 1;
    this.#bytes += revision.encoded.length;
    // The last one stays even if it is too large alone, so that everybody who keeps up shares it.
    while (this.#bytes > this.#limits.bytesMax && this.#first < this.#next - 1) this.#forget();
  }

  at(revision: number): Kept | undefined {
    if (revision < this.#first || revision >= this.#next) return undefined;
    return this.#slots[revision % this.#limits.countMax];
  }

  /** Forgets everything and goes on at `next`. */
  reset(next: number): void {
    this.#slots.length = 0;
    this.#first = next;
    this.#next = next;
    this.#bytes = 0;
  }

  #forget(): void {
    const slot = this.#first % this.#limits.countMax;
    this.#bytes -= this.#slots[slot]?.encoded.length ?? 0;
    this.#slots[slot] = undefined;
    this.#first += 1;
  }
}
