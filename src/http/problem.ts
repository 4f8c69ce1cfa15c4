/** Whatever was thrown → the one answer a client sees. Nothing of an unexpected error leaves the process but its code. */
import { STATUS_CODES } from 'node:http';
import { visibleJson } from '../base/visible.ts';
import { AppError } from '../domain/error.ts';
import { problemMediaType, statusOf, toProblem } from '../wire/problem.ts';

/** Errors of Node's own parser; all others are bugs or broken machines: `internal`. */
export function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new AppError('too-slow', 'Cannot wait for the rest of the request: it took too long', {
        cause: error,
      });
    case 'HPE_HEADER_OVERFLOW':
      return new AppError('headers-too-large', 'Cannot read the request: its headers are too large', {
        cause: error,
      });
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new AppError('too-large', 'Cannot read the body: its chunk extensions are too large', {
        cause: error,
      });
    case 'ECONNRESET':
      return new AppError('bad-request', 'Cannot read the body: the connection was cut', { cause: error });
    default:
      if (typeof code === 'string' && code.startsWith('HPE_')) {
        return new AppError(
          'bad-request',
          `Cannot read the request: it is not HTTP/1.1 (${code.slice(4).toLowerCase().replaceAll('_', ' ')})`,
          { cause: error },
        );
      }
      return new AppError(
        'internal',
        'Cannot answer: something failed here; the log has the reason under this requestId',
        { cause: error },
      );
  }
}

export interface ProblemAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

export function problemAnswer(error: AppError, requestId: string): ProblemAnswer {
  const headers: Record<string, string> = {
    'content-type': problemMediaType,
    'cache-control': 'no-store',
    'x-request-id': requestId,
  };
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="holdfast"';
  if (error.retryAfterMs !== undefined)
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterMs / 1_000)));
  if (error instanceof MethodNotAllowed) headers['allow'] = error.allow.join(', ');
  return {
    status: statusOf(error.code),
    headers,
    text: visibleJson(JSON.stringify(toProblem(error, requestId))),
  };
}

/** The same for a bare socket: what the HTTP parser refused, an upgrade that is not granted. */
export function problemBytes(error: AppError, requestId: string): string {
  const { status, headers, text } = problemAnswer(error, requestId);
  const lines = Object.entries({
    ...headers,
    connection: 'close',
    'content-length': String(Buffer.byteLength(text)),
  });
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${text}`;
}

export class MethodNotAllowed extends AppError {
  readonly method: string;
  readonly allow: readonly string[];

  constructor(method: string, path: string, allow: readonly string[]) {
    super('method-not-allowed', `Cannot ${method} ${path}: expected ${allow.join(', ')}`);
    this.method = method;
    this.allow = allow;
  }
}
