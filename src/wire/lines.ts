/** Messages on a stream, one a line: what comes in pieces is put together, within a bound. */

const lineFeed = 0x0a;
/** So many pieces are put together before the line is whole. */
const latestMax = 1_024;

/** Gives out each line without its end. A line that is too long is told once and passed over. */
export class LineReader {
  readonly #bytesMax: number;
  readonly #onLine: (line: Uint8Array) => void;
  readonly #onTooLong: () => void;
  #pieces: Uint8Array[] = [];
  /** What came after these, not yet put together. */
  #latest: Uint8Array[] = [];
  #sizeBytes = 0;
  #skipping = false;

  constructor(options: {
    readonly bytesMax: number;
    readonly onLine: (line: Uint8Array) => void;
    readonly onTooLong: () => void;
  }) {
    this.#bytesMax = options.bytesMax;
    this.#onLine = options.onLine;
    this.#onTooLong = options.onTooLong;
  }

  /** Takes what has arrived. */
  push(chunk: Uint8Array): void {
    let from = 0;
    for (let end = chunk.indexOf(lineFeed); end !== -1; end = chunk.indexOf(lineFeed, from)) {
      this.#add(chunk.subarray(from, end));
      from = end + 1;
      this.#endLine();
    }
    if (from < chunk.length) this.#add(chunk.subarray(from));
  }

  #add(piece: Uint8Array): void {
    if (this.#skipping) return;
    this.#sizeBytes += piece.length;
    if (this.#sizeBytes <= this.#bytesMax) {
      this.#latest.push(piece);
      if (this.#latest.length === latestMax) this.#join();
      return;
    }
    this.#pieces = [];
    this.#latest = [];
    this.#skipping = true;
    this.#onTooLong();
  }

  /** A piece costs a hundred bytes beside its own: whoever sends one byte at a time would have us keep all that. */
  #join(): void {
    this.#pieces.push(Buffer.concat(this.#latest));
    this.#latest = [];
  }

  #endLine(): void {
    if (this.#pieces.length > 0) this.#join();
    else this.#pieces = this.#latest;
    this.#latest = [];
    const [only] = this.#pieces;
    const line = this.#pieces.length === 1 && only !== undefined ? only : Buffer.concat(this.#pieces);
    const skipped = this.#skipping;
    this.#pieces = [];
    this.#sizeBytes = 0;
    this.#skipping = false;
    if (!skipped) this.#onLine(line);
  }
}
