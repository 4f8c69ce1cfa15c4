/**
 * A compressed body, inflated as it comes. What it becomes is bounded, and what comes out is counted while it does: a bomb
 * is refused when it has grown to the limit of its route, having taken no more memory than any other body of that size.
 */
import type { IncomingMessage } from 'node:http';
import { createGunzip } from 'node:zlib';
import { AppError } from '../domain/error.ts';

/**
 * Calls `onSent` with what comes and `onChunk` with what is inflated, until either returns false (gzip may go on for ever
 * and become nothing), and `done` once: with null at the end, with `bad-request` for what is no gzip or ends early, with
 * what the connection broke of. zlib works on threads of its own.
 */
export function gunzipBody(
  request: IncomingMessage,
  { onSent, onChunk }: Record<'onSent' | 'onChunk', (chunk: Buffer) => boolean>,
  done: (error: unknown) => void,
): void {
  const gunzip = createGunzip();
  let settled = false;
  const settle = (error: unknown) => {
    if (settled) return;
    settled = true;
    request.unpipe(gunzip);
    gunzip.destroy();
    // The rest is dropped as it comes, as that of any refused body.
    request.resume();
    done(error);
  };
  gunzip.on('data', (chunk: Buffer) => {
    if (!settled && !onChunk(chunk)) settle(null);
  });
  gunzip.on('end', () => settle(null));
  gunzip.on('error', (cause) =>
    settle(
      new AppError(
        'bad-request',
        `Cannot read the body: it is no gzip, or not all of it (${cause.message})`,
        {
          cause,
          field: 'content-encoding',
        },
      ),
    ),
  );
  request.on('data', (chunk: Buffer) => {
    if (!settled && !onSent(chunk)) settle(null);
  });
  request.on('error', settle);
  request.pipe(gunzip);
}
