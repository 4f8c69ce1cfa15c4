/** The processes of a test, found by a word of theirs that no other process has. */
import { randomBytes } from 'node:crypto';
import { listPids, readArguments, readStat } from '../../src/runner/processes.ts';

/** A word to give to each program of a test, as an argument that does nothing. */
export function uniqueWord(): string {
  return `holdfast-test-${randomBytes(6).toString('hex')}`;
}

/** Those that were started with the word and have not ended; also, for a moment, what one of them is about to start. */
export function processesWith(word: string): number[] {
  return listPids().filter(
    (pid) => pid !== process.pid && readArguments(pid).includes(word) && readStat(pid)?.isZombie === false,
  );
}
