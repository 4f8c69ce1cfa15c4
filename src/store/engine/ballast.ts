/**
 * A file that only takes up room. When the disk is full, SQLite in WAL mode can do nothing any more, not even delete:
 * giving this room back lets it write the WAL into the database and go on (measured on an 8 MB disk: without it
 * INSERT, DELETE and checkpoint all fail for good).
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Random } from '../../base/random.ts';

/** `released`: its room was given back and is not there again yet. `off`: none is wanted. */
export type BallastState = 'ready' | 'released' | 'off';

export const ballastBytesDefault = 8 * 1024 * 1024;
const chunkBytes = 1024 * 1024;
/** A small disk is not to be filled by what keeps it from being full. */
const diskShareMax = 1 / 16;

export class Ballast {
  readonly #path: string;
  readonly #sizeBytes: number;
  readonly #random: Random;
  #state: BallastState;

  /**
   * `sizeBytes` 0: no ballast; on a small disk it is less, at least 1 MiB. Makes the file when it is missing and there
   * is room; look at `state`.
   */
  constructor(options: { path: string; sizeBytes: number; random: Random }) {
    this.#path = options.path;
    this.#sizeBytes = Math.min(options.sizeBytes, shareOfDisk(options.path));
    this.#random = options.random;
    this.#state = options.sizeBytes === 0 ? 'off' : 'released';
    if (this.#isThere()) this.#state = 'ready';
    else this.restore();
  }

  get state(): BallastState {
    return this.#state;
  }

  /** Gives the room back to the disk. Does not throw: what cannot be given back stays `ready`. */
  release(): void {
    if (this.#state === 'ready' && remove(this.#path)) this.#state = 'released';
  }

  /** Whether there is room for the ballast and as much again: less would be full again at once. Does not throw. */
  hasRoom(): boolean {
    try {
      const { bavail, bsize } = statfsSync(dirname(this.#path));
      return bavail * bsize >= 2 * Math.max(this.#sizeBytes, chunkBytes);
    } catch {
      return false;
    }
  }

  /** Takes the room again if it is there; true when the ballast is in place or none is wanted. */
  restore(): boolean {
    if (this.#state !== 'released') return true;
    if (!this.hasRoom()) return false;
    const partial = `${this.#path}.partial`;
    try {
      // Random bytes: file systems that compress or skip zeros would reserve nothing for them.
      const file = openSync(partial, 'w', 0o600);
      try {
        const chunk = this.#random.bytes(chunkBytes);
        for (let left = this.#sizeBytes; left > 0; left -= chunkBytes)
          writeSync(file, chunk, 0, Math.min(left, chunkBytes));
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(partial, this.#path);
    } catch {
      // Somebody else took the room meanwhile, or the path is not ours to write; the next look tries again.
      remove(partial);
      return false;
    }
    this.#state = 'ready';
    return true;
  }

  #isThere(): boolean {
    const stat = statSync(this.#path, { throwIfNoEntry: false });
    return this.#sizeBytes > 0 && stat?.isFile() === true && stat.size >= this.#sizeBytes;
  }
}

/** False when the disk or its rights do not allow it, or something else lies there. */
function remove(path: string): boolean {
  try {
    rmSync(path, { force: true });
    return true;
  } catch {
    return false;
  }
}

/** In whole chunks: a sixteenth of the disk that the file is on. */
function shareOfDisk(path: string): number {
  const { blocks, bsize } = statfsSync(dirname(path));
  return Math.max(1, Math.floor((blocks * bsize * diskShareMax) / chunkBytes)) * chunkBytes;
}
