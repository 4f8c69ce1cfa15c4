/** Errors on the wire: RFC 9457 problem details. One table, read in both directions. */
import { AppError, type ErrorCode, errorCodes } from '../domain/error.ts';

const statusByCode: Record<ErrorCode, number> = {
  'bad-request': 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  'method-not-allowed': 405,
  'too-slow': 408,
  conflict: 409,
  'already-decided': 409,
  'identity-conflict': 409,
  compacted: 410,
  'taken-over': 410,
  'precondition-failed': 412,
  'too-large': 413,
  unsupported: 415,
  unprocessable: 422,
  'precondition-required': 428,
  'rate-limited': 429,
  'headers-too-large': 431,
  internal: 500,
  unavailable: 503,
  'storage-full': 507,
};

/** RFC 9110 reason phrases, as `title`: the same for every occurrence of a status. */
const titleByStatus: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  410: 'Gone',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  422: 'Unprocessable Content',
  428: 'Precondition Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
  507: 'Insufficient Storage',
};

export const problemMediaType = 'application/problem+json';

/** `type` names the code; further members (`holder`, `oldest`) stand beside. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly field?: string;
  readonly requestId: string;
  readonly [member: string]: unknown;
}

export function statusOf(code: ErrorCode): number {
  return statusByCode[code];
}

export function toProblem(error: AppError, requestId: string): Problem {
  const status = statusByCode[error.code];
  return {
    ...error.details,
    type: `urn:holdfast:problem:${error.code}`,
    title: titleByStatus[status] ?? 'Error',
    status,
    detail: error.message,
    code: error.code,
    ...(error.field === undefined ? {} : { field: error.field }),
    requestId,
  };
}

/**
 * What a server answered → the error that it threw. An answer that is no problem document (a proxy's page, an old
 * server) becomes `unavailable` for 408, 429 and 5xx and `internal` otherwise, with the status in the message.
 */
export function fromProblem(status: number, body: unknown, retryAfterMs?: number): AppError {
  const retry = retryAfterMs === undefined ? {} : { retryAfterMs };
  if (!isProblem(body)) {
    const passing = status === 408 || status === 429 || status >= 500;
    return new AppError(
      passing ? 'unavailable' : 'internal',
      `The answer was HTTP ${status} without a problem document: is this a Holdfast server?`,
      retry,
    );
  }
  const {
    type: _type,
    title: _title,
    status: _status,
    detail,
    code,
    field,
    requestId: _requestId,
    ...members
  } = body;
  const details = Object.fromEntries(
    Object.entries(members).filter(([, value]) => isScalar(value)),
  ) as AppError['details'];
  return new AppError(code, detail, { ...retry, ...(typeof field === 'string' ? { field } : {}), details });
}

function isProblem(body: unknown): body is Problem {
  if (typeof body !== 'object' || body === null) return false;
  const { code, detail } = body as Record<string, unknown>;
  return typeof detail === 'string' && errorCodes.includes(code as ErrorCode);
}

function isScalar(value: unknown): boolean {
  return value === null || ['string', 'number', 'boolean'].includes(typeof value);
}
