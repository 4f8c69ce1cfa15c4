/** Randomness that repeats itself. */
import assert from 'node:assert/strict';
import type { Random } from '../../src/base/random.ts';
import { testSeed } from './seed.ts';

/**
 * The same seed gives the same draws, on every machine. `seed` is what a failing test prints.
 * The generator is sfc32 (Chris Doty-Humphrey, PractRand), seeded through splitmix32.
 */
export class SeededRandom implements Random {
  readonly seed: number;
  readonly #state: Uint32Array;

  constructor(seed = 1) {
    assert(
      Number.isInteger(seed) && seed >= 0 && seed <= 0xffff_ffff,
      `seed ${seed} is no unsigned 32-bit integer`,
    );
    this.seed = seed;
    this.#state = Uint32Array.from([1, 2, 3, 4], (word) => splitmix32(seed + word * 0x9e37_79b9));
  }

  /** With the seed of this run (seed.ts), printed with the test's result. */
  static fresh(t: { diagnostic(message: string): void }): SeededRandom {
    const random = new SeededRandom(testSeed());
    t.diagnostic(String(random));
    return random;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.#next() & 0xff);
  }

  uniform(): number {
    return this.#next() / 2 ** 32;
  }

  /** An integer in [min, max]. */
  integer(min: number, max: number): number {
    return min + Math.floor(this.uniform() * (max - min + 1));
  }

  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, 'nothing to pick from');
    return items[this.integer(0, items.length - 1)] as T;
  }

  toString(): string {
    return `HOLDFAST_SEED=${this.seed}`;
  }

  #next(): number {
    const [a = 0, b = 0, c = 0, counter = 0] = this.#state;
    const drawn = (a + b + counter) >>> 0;
    this.#state.set([b ^ (b >>> 9), c + (c << 3), ((c << 21) | (c >>> 11)) + drawn, counter + 1]);
    return drawn;
  }
}

function splitmix32(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0_aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
