/** What keeps this process itself from looking, and says nothing of what it would have looked at. */
import type { Outcome } from '../../domain/check.ts';

const words: Readonly<Record<string, string>> = {
  EMFILE: 'this process has too many files open',
  ENFILE: 'this machine has too many files open',
  ENOMEM: 'this machine has no memory for a connection',
  ENOBUFS: 'this machine has no memory for a connection',
};

/** The outcome of a look that a shortage of ours has ended; undefined for any other error. */
export function shortageOf(error: unknown): Outcome | undefined {
  const why = words[(error as NodeJS.ErrnoException).code ?? ''];
  return why === undefined ? undefined : { kind: 'unknown', detail: `nobody could look: ${why}` };
}
