/** Reading request bodies: JSON in UTF-8 and nothing else; compressed only where a route takes it. */
import type { IncomingMessage } from 'node:http';
import { AppError } from '../domain/error.ts';
import { parseJson } from '../wire/json.ts';
import { gunzipBody } from './gunzip.ts';

/**
 * The JSON body of a request, or undefined when it has none (also one of no bytes: what may be left out may be left
 * out with a content type, too). `done` gets `too-large`, `unsupported` or `bad-request` as its error; the rest of a
 * refused body is dropped as it comes. `bytesMax` is of the body as it is sent and as it is inflated.
 */
export function readBody(
  request: IncomingMessage,
  { bytesMax, gzip }: { readonly bytesMax: number; readonly gzip: boolean },
  done: (error: unknown, body?: unknown) => void,
): void {
  const { headers } = request;
  const length = headers['content-length'];
  if (headers['transfer-encoding'] === undefined && (length === undefined || length === '0')) {
    done(null);
    return;
  }
  const isGzip = gzip && headers['content-encoding']?.toLowerCase() === 'gzip';
  const refusal = refuseHead(headers, { bytesMax, isGzip, gzip });
  if (refusal !== undefined) {
    done(refusal);
    return;
  }

  let first: Buffer | undefined;
  const more: Buffer[] = [];
  let bytes = 0;
  let settled = false;
  // The listeners stay: taking one off makes the stream look through the others again.
  const settle = (error: unknown, body?: unknown) => {
    if (settled) return;
    settled = true;
    done(error, body);
  };
  const add = (chunk: Buffer): boolean => {
    bytes += chunk.length;
    if (bytes > bytesMax) settle(tooLarge(bytesMax));
    else if (first === undefined) first = chunk;
    else more.push(chunk);
    return bytes <= bytesMax;
  };
  const finish = () => {
    if (settled) return;
    let body: unknown;
    try {
      if (first !== undefined)
        body = parseJson(more.length === 0 ? first : Buffer.concat([first, ...more], bytes));
    } catch (error) {
      settle(error);
      return;
    }
    settle(null, body);
  };
  if (isGzip) {
    let sentBytes = 0;
    const count = (chunk: Buffer): boolean => {
      sentBytes += chunk.length;
      if (sentBytes > bytesMax) settle(tooLarge(bytesMax));
      return sentBytes <= bytesMax;
    };
    gunzipBody(request, { onSent: count, onChunk: add }, (error) =>
      error === null ? finish() : settle(error),
    );
    return;
  }
  request.on('data', add);
  request.on('end', finish);
  request.on('error', settle);
}

function refuseHead(
  headers: IncomingMessage['headers'],
  { bytesMax, isGzip, gzip }: { bytesMax: number; isGzip: boolean; gzip: boolean },
): AppError | undefined {
  const contentType = headers['content-type'] ?? '';
  if (contentType !== 'application/json') {
    if (!/^application\/json *(?:;|$)/i.test(contentType)) {
      return new AppError('unsupported', 'Cannot read the body: expected Content-Type application/json', {
        field: 'content-type',
      });
    }
    const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(contentType)?.[1];
    if (charset !== undefined && !/^utf-?8$/i.test(charset)) {
      return new AppError(
        'unsupported',
        `Cannot read a body in charset "${charset.slice(0, 40)}": expected UTF-8`,
        { field: 'content-type' },
      );
    }
  }
  if (headers['content-encoding'] !== undefined && !isGzip) {
    return new AppError(
      'unsupported',
      `Cannot read an encoded body: expected no Content-Encoding${gzip ? ', or gzip' : ''}`,
      { field: 'content-encoding' },
    );
  }
  return Number(headers['content-length'] ?? 0) > bytesMax ? tooLarge(bytesMax) : undefined;
}

function tooLarge(bytesMax: number): AppError {
  return new AppError('too-large', `Cannot accept the body: this route takes at most ${bytesMax} bytes`);
}
