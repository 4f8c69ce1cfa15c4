/** At most so many at a time; the others wait in the order in which they came. */
export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  /** Runs `fn` once there is a place, and frees it when `fn` has ended. */
  async through<T>(fn: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      return await fn();
    } finally {
      const next = this.#waiting.shift();
      // A place goes to the next one directly: nobody who comes just now is faster.
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
