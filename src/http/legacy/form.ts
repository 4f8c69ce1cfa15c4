/** How answers of the v2 and v3 routes look: errors as `{"code","message"}`, and the words of the original's refusals. */
import type { IncomingMessage } from 'node:http';
import { visibleJson } from '../../base/visible.ts';
import { AppError } from '../../domain/error.ts';
import { unreadable } from '../../wire/legacy.ts';
import { statusOf } from '../../wire/problem.ts';
import { MethodNotAllowed, type ProblemAnswer } from '../problem.ts';

/** The media type of all that these routes answer. */
export const legacyType = 'application/json';

/** Whether a path is one of workflow-manager-api. */
export function isLegacyPath(path: string): boolean {
  return /^\/v[23](?:\/|$)/.test(path) || path === '/ping';
}

/** `basic`: whoever asks may say who it is by a password. */
export function legacyAnswer(
  error: AppError,
  requestId: string,
  { basic }: { basic: boolean },
): ProblemAnswer {
  const status = statusOf(error.code);
  const headers: Record<string, string> = {
    'content-type': legacyType,
    'cache-control': 'no-store',
    'x-request-id': requestId,
  };
  if (error.code === 'unauthenticated')
    headers['www-authenticate'] =
      `${basic ? 'Basic realm="holdfast", charset="UTF-8"' : 'Bearer realm="holdfast"'}`;
  if (error.retryAfterMs !== undefined)
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterMs / 1_000)));
  if (error instanceof MethodNotAllowed) headers['allow'] = error.allow.join(',');
  return { status, headers, text: visibleJson(JSON.stringify({ code: status, message: messageOf(error) })) };
}

/** Before a body is read: `unsupported` for another media type than JSON, in the words of the original. */
export function refuseLegacyType({ headers }: IncomingMessage): AppError | undefined {
  const type = headers['content-type'] ?? 'application/octet-stream';
  if (/^application\/json *(?:;|$)/i.test(type)) return undefined;
  const told = type.split(';')[0]?.trim().slice(0, 80) ?? '';
  return new AppError(
    'unsupported',
    `unsupported media type ${JSON.stringify(told)}, only [application/json] are allowed`,
    { field: 'content-type' },
  );
}

/** What is told of a body that is no JSON. */
export function unreadableBody(error: unknown): unknown {
  if (!(error instanceof AppError) || error.code !== 'bad-request') return error;
  return unreadable(error.message.replace(/^Cannot read JSON: /, ''));
}

/** What is told when there is no body. */
export function emptyBody(): AppError {
  return unreadable('EOF');
}

function messageOf(error: AppError): string {
  if (error instanceof MethodNotAllowed)
    return `method ${error.method} is not allowed, but [${error.allow.join(',')}] are`;
  return error.code === 'unauthenticated' ? 'unauthenticated for invalid credentials' : error.message;
}
