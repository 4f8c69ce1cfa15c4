/**
 * A token bucket for each of many keys, as the generic cell rate algorithm has it (ITU-T I.371): one number a key, the
 * instant at which its bucket would be full again. The keys that were longest without use are forgotten first; a
 * forgotten bucket is a full one, as it nearly was.
 */

export interface BucketRate {
  /** How many at once. */
  readonly burst: number;
  /** One more every so many milliseconds. */
  readonly everyMs: number;
}

export class TokenBuckets {
  readonly #rate: BucketRate;
  readonly #keysMax: number;
  /** By key, the longest unused first. */
  readonly #fullAtMs = new Map<string, number>();

  constructor(rate: BucketRate, keysMax: number) {
    this.#rate = rate;
    this.#keysMax = keysMax;
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#fullAtMs.size;
  }

  /** Takes one; 0 when there was one, else for how long there will be none. `nowMs` is monotonic. */
  take(key: string, nowMs: number): number {
    const { everyMs } = this.#rate;
    const waitMs = this.waitMs(key, nowMs);
    if (waitMs > 0) return waitMs;
    const fullAtMs = Math.max(nowMs, this.#fullAtMs.get(key) ?? nowMs);
    this.#fullAtMs.delete(key);
    this.#fullAtMs.set(key, fullAtMs + everyMs);
    if (this.#fullAtMs.size > this.#keysMax) this.#forgetOldest();
    return 0;
  }

  /** For how long there is none; takes nothing. */
  waitMs(key: string, nowMs: number): number {
    const fullAtMs = this.#fullAtMs.get(key);
    if (fullAtMs === undefined) return 0;
    const { burst, everyMs } = this.#rate;
    return Math.max(0, fullAtMs - nowMs - (burst - 1) * everyMs);
  }

  #forgetOldest(): void {
    for (const key of this.#fullAtMs.keys()) {
      this.#fullAtMs.delete(key);
      return;
    }
  }
}
