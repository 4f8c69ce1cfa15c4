/** The `tcp` probe: somebody accepts a connection, which is closed at once. */
import { connect } from 'node:net';
import { toLinkError } from '../../client/link.ts';
import type { Outcome, Probe } from '../../domain/check.ts';
import { shortageOf } from './shortage.ts';

/** Rejects only with the signal's reason. */
export function probeTcp(
  { host, port }: Extract<Probe, { kind: 'tcp' }>,
  { signal }: { signal: AbortSignal },
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const onAbort = () => settle(() => reject(signal.reason));
    const settle = (fn: () => void) => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      fn();
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const accepted = () => settle(() => resolve({ kind: 'passed', detail: 'accepts connections' }));
    // Stays, for what breaks after the answer is ours to ignore.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // Reset after it was accepted, and before this process came to look: else it would be a matter of luck.
      if (error.code === 'ECONNRESET') return accepted();
      const label = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
      const failed = { kind: 'failed', detail: toLinkError(error, label).message } as const;
      settle(() => resolve(shortageOf(error) ?? failed));
    });
    socket.once('connect', accepted);
  });
}
