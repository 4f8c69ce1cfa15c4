/** What a command finds on its stdin. */
import type { ChildProcess } from 'node:child_process';

/** Writes all of `input` and then the end. A command that ends without reading it breaks the pipe, and says so itself. */
export function handOver({ stdin }: ChildProcess, input: string | undefined): void {
  if (stdin === null || input === undefined) return;
  stdin.on('error', () => stdin.destroy());
  stdin.end(input);
}
