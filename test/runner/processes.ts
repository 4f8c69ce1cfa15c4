/** The processes of a test, found by a word of theirs that no other process has. */
import { randomBytes } from 'node:crypto';
import { listPids, readArguments, readStat } from '../../src/runner/processes.ts';

/** A word to give to each program of a test, as an argument that does nothing. */
export function uniqueWord(): string {
  return `holdfast-test-${randomBytes(6).toString('hex')}`;
}

/**
 * Those that were started with the word and have not ended; also, for a moment, what one of them is about to start. Not
 * systemd-run, which only has them started.
 */
export function processesWith(word: string): number[] {
  return listPids().filter((pid) => {
    const [program, ...words] = readArguments(pid);
    const isOne = pid !== process.pid && program !== 'systemd-run' && words.includes(word);
    return isOne && readStat(pid)?.isZombie === false;
  });
}
