/**
 * Whether the files of an open store are still the ones at their paths. Deleted or replaced while they are open, they
 * go on working in every way for whoever has them open, and are gone with that process: the database and its WAL with
 * all that is written meanwhile, the lock with the promise that nobody else owns the folder.
 */
import { statSync } from 'node:fs';

export class FileGuard {
  readonly #paths: readonly string[];
  #inodes: readonly (string | undefined)[];

  /** The files as they are now are the ones that count. */
  constructor(paths: readonly string[]) {
    this.#paths = paths;
    this.#inodes = paths.map(inodeOf);
  }

  /** They were opened anew: what lies there now counts. */
  renew(): void {
    this.#inodes = this.#paths.map(inodeOf);
  }

  /** The first file that is no longer the one that was opened, in words; null when all are. */
  lost(): string | null {
    for (const [index, path] of this.#paths.entries()) {
      const found = inodeOf(path);
      if (found !== this.#inodes[index])
        return `"${path}" was ${found === undefined ? 'deleted' : 'replaced'} while it was in use`;
    }
    return null;
  }
}

/** Undefined when nothing is there, or nothing that can be seen. */
function inodeOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}
