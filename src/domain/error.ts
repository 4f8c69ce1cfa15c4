/** The closed list of error codes. A code is never reused for another meaning; the README's table is tested against it. */

export const errorCodes = [
  'bad-request',
  'unauthenticated',
  'forbidden',
  'not-found',
  'method-not-allowed',
  'too-slow',
  'conflict',
  'already-decided',
  'identity-conflict',
  'compacted',
  'taken-over',
  'precondition-failed',
  'too-large',
  'unsupported',
  'unprocessable',
  'precondition-required',
  'rate-limited',
  'headers-too-large',
  'internal',
  'unavailable',
  'storage-full',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export interface AppErrorOptions {
  cause?: unknown;
  /** The input that is wrong, as the caller wrote it: `ttl`, `items/3/uuid`, `limit`. */
  field?: string;
  /** Further members of the answer: `holder` of a conflict, `oldest` of a compacted position. */
  details?: Readonly<Record<string, string | number | boolean | null>>;
  /** When trying again makes sense, from now. */
  retryAfterMs?: number;
}

/**
 * An error that a person meets. The message says action, state, wish:
 * `Cannot register "web" on "edge-1": it is held by 0190…, delete that one or pass takeover=true`.
 */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly field: string | undefined;
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.field = options.field;
    this.details = options.details ?? {};
    this.retryAfterMs = options.retryAfterMs;
  }
}

export function isAppError(error: unknown, code?: ErrorCode): error is AppError {
  return error instanceof AppError && (code === undefined || error.code === code);
}
