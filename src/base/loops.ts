/** The loops of one role, for whoever asks whether they still move: a watchdog. */
import type { Clock } from './clock.ts';

/** What of a loop is asked. */
interface Moving {
  readonly lastProgressMs: number;
}

export class Loops {
  readonly #clock: Clock;
  readonly #loops = new Set<Moving>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns how to forget it. */
  add(loop: Moving): () => void {
    this.#loops.add(loop);
    return () => {
      this.#loops.delete(loop);
    };
  }

  /** For how long the one that has moved least may have been stuck; 0 when all wait. */
  stuckMs(): number {
    const now = this.#clock.monotonic();
    let stuckMs = 0;
    for (const { lastProgressMs } of this.#loops) stuckMs = Math.max(stuckMs, now - lastProgressMs);
    return stuckMs;
  }
}
