/** Between a socket that pushes and a reader that pulls: pauses the socket while the reader is behind. */

const pauseAtMax = 64;
const resumeAtMax = 16;

/** Messages in order; what was put before `end` or `fail` is still delivered. One reader. */
export class Mailbox<T> implements AsyncIterable<T> {
  readonly #flow: { pause(): void; resume(): void };
  readonly #waiting: T[] = [];
  #paused = false;
  #over: { readonly error: unknown } | { readonly error?: never } | undefined;
  #wake: (() => void) | undefined;

  constructor(flow: { pause(): void; resume(): void }) {
    this.#flow = flow;
  }

  put(message: T): void {
    if (this.#over !== undefined) return;
    this.#waiting.push(message);
    if (!this.#paused && this.#waiting.length >= pauseAtMax) {
      this.#paused = true;
      this.#flow.pause();
    }
    this.#wake?.();
  }

  end(): void {
    this.#over ??= {};
    this.#wake?.();
  }

  /** The reader gets `error` after what is waiting. Only the first end counts. */
  fail(error: unknown): void {
    this.#over ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const message = this.#waiting.shift();
      if (message !== undefined) {
        if (this.#paused && this.#waiting.length <= resumeAtMax) {
          this.#paused = false;
          this.#flow.resume();
        }
        yield message;
      } else if (this.#over === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      } else if ('error' in this.#over) {
        throw this.#over.error;
      } else {
        return;
      }
    }
  }
}
