/** What steps write: the beginning is kept, all of it is read, and reading it never takes all of the runner's time. */
import type { Readable } from 'node:stream';
import { type Cancel, type Clock, systemClock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';

/** How often the budget is renewed. */
const sliceMs = 50;

/**
 * Bytes that all steps together may write in a while. Beyond that nobody reads them until the next slice, so that their
 * writers wait: to stop reading for good would hang a program that says much, and to read on as fast as one writes is a
 * whole core.
 */
export class OutputBudget {
  readonly #clock: Clock;
  readonly #sliceBytes: number;
  #leftBytes: number;
  #sliceEndMs = 0;
  readonly #paused = new Set<Readable>();
  #cancel: Cancel | null = null;

  constructor(options: { readonly clock?: Clock; readonly bytesPerSecond?: number } = {}) {
    const { clock = systemClock, bytesPerSecond = limits.runnerOutputRateBytes } = options;
    this.#clock = clock;
    this.#sliceBytes = (bytesPerSecond * sliceMs) / 1_000;
    this.#leftBytes = this.#sliceBytes;
  }

  /** Calls `onChunk` with all that `stream` gives; resolves when it has ended, however that came. */
  read(stream: Readable, onChunk: (chunk: Uint8Array) => void): Promise<void> {
    stream.on('data', (chunk: Uint8Array) => {
      onChunk(chunk);
      this.#spend(stream, chunk.length);
    });
    return new Promise((resolve) => {
      const done = () => {
        this.#paused.delete(stream);
        resolve();
      };
      stream.once('close', done);
      // What a pipe breaks of is the end of its output; how the step ended is told elsewhere.
      stream.once('error', done);
    });
  }

  #spend(stream: Readable, bytes: number): void {
    const now = this.#clock.monotonic();
    if (now >= this.#sliceEndMs && this.#cancel === null) {
      this.#sliceEndMs = now + sliceMs;
      this.#leftBytes = this.#sliceBytes;
    }
    this.#leftBytes -= bytes;
    if (this.#leftBytes > 0) return;
    stream.pause();
    this.#paused.add(stream);
    this.#cancel ??= this.#clock.after(Math.max(1, this.#sliceEndMs - now), () => this.#renew());
  }

  #renew(): void {
    this.#cancel = null;
    const paused = [...this.#paused];
    this.#paused.clear();
    for (const stream of paused) stream.resume();
  }
}

/** Keeps the beginning of what a step writes, of both streams together. */
export class OutputKeeper {
  readonly #pieces: Record<'stdout' | 'stderr', Uint8Array[]> = { stdout: [], stderr: [] };
  #leftBytes: number;
  #droppedBytes = 0;

  constructor(keptBytes: number = limits.runnerOutputBytes) {
    this.#leftBytes = keptBytes;
  }

  add(stream: 'stdout' | 'stderr', chunk: Uint8Array): void {
    const kept = chunk.subarray(0, this.#leftBytes);
    this.#leftBytes -= kept.length;
    this.#droppedBytes += chunk.length - kept.length;
    // A copy: a piece of a larger buffer would keep all of that in memory.
    if (kept.length > 0) this.#pieces[stream].push(Uint8Array.prototype.slice.call(kept));
  }

  /** What was kept, as text: invalid UTF-8, and NUL, which no JSON of ours carries, are U+FFFD. */
  get kept(): { readonly stdout: string; readonly stderr: string; readonly droppedBytes: number } {
    const text = (stream: 'stdout' | 'stderr') => {
      const decoder = new TextDecoder();
      // A character that was cut at the limit is left out, and not replaced.
      const decoded = decoder.decode(Buffer.concat(this.#pieces[stream]), { stream: this.#droppedBytes > 0 });
      return decoded.replaceAll('\0', '\ufffd');
    };
    return { stdout: text('stdout'), stderr: text('stderr'), droppedBytes: this.#droppedBytes };
  }
}
