/** Making folders. */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder and those above it that are missing; returns the topmost that it made, undefined when all were there.
 * Throws as `mkdir` does. (Node's own `recursive` never returns where a parent is there and a new name in it still does
 * not exist, as in /proc: it goes up and down for ever.)
 */
export function makeFolder(path: string, mode: number): string | undefined {
  try {
    mkdirSync(path, { mode });
    return path;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path).isDirectory()) return undefined;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
  }
  const parent = dirname(path);
  const made = makeFolder(parent, mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new Error(`${parent} is there, but the system lets nothing be made in it`, { cause: error });
    // Somebody else was faster.
    if (code !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
  }
  return made ?? path;
}
