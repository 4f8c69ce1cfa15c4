/** Exit codes: the closed list of DESIGN §11, and which one an error means. */

import { FileError } from '../base/atomic-file.ts';
import { LinkError } from '../client/link.ts';
import { AppError, type ErrorCode, isAppError } from '../domain/error.ts';

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  awaitingApproval: 5,
  unreachable: 6,
  timedOut: 7,
  tryAgain: 75,
  permission: 77,
  configuration: 78,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** As the root help lists them. */
export const exitCodeHelp: Readonly<Record<ExitCode, string>> = {
  0: 'ok',
  1: 'failed',
  2: 'usage',
  3: 'not found',
  4: 'conflict',
  5: 'awaiting approval',
  6: 'unreachable',
  7: 'timed out',
  75: 'try again later',
  77: 'permission',
  78: 'configuration',
};

/** The command line itself is wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A flag, variable or file says what cannot be; the message names it. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** The server's own answer decides; `LinkError` when there was none. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError) return exitCodes.usage;
  // A file that is not as it must be says so itself, with what to do.
  if (error instanceof ConfigurationError || error instanceof FileError) return exitCodes.configuration;
  // As any other address that --listen cannot have.
  if (isAppError(error, 'bad-request') && error.field === 'listen') return exitCodes.configuration;
  if (error instanceof LinkError)
    return error.failure === 'timed-out' ? exitCodes.timedOut : exitCodes.unreachable;
  return error instanceof AppError ? byCode[error.code] : exitCodes.failed;
}

/** FORMATS "Errors": by the status that a code has on the wire. */
const byCode: Readonly<Record<ErrorCode, ExitCode>> = {
  'bad-request': 2,
  unprocessable: 2,
  unauthenticated: 77,
  forbidden: 77,
  'not-found': 3,
  conflict: 4,
  'already-decided': 4,
  'identity-conflict': 4,
  compacted: 4,
  'taken-over': 4,
  'precondition-failed': 4,
  'too-slow': 75,
  'rate-limited': 75,
  unavailable: 75,
  'method-not-allowed': 1,
  'too-large': 1,
  unsupported: 1,
  'precondition-required': 1,
  'headers-too-large': 1,
  internal: 1,
  'storage-full': 1,
};

/** What to do next, where the message alone does not say it. */
export function adviceFor(error: unknown): string | undefined {
  if (!(error instanceof AppError)) return undefined;
  if (error instanceof LinkError) {
    if (error.failure === 'timed-out') return 'It may be busy: try again, or wait longer with --timeout 60s.';
    if (error.failure === 'foreign')
      return 'Check the address: --url and HOLDFAST_URL name a Holdfast server.';
    // Whose certificate it is and what to do stands in the message.
    if (error.failure === 'untrusted') return undefined;
    if (/^Cannot reach http:.*: the connection broke/.test(error.message))
      return 'Does it speak https? Then ask it by https://, or look whether it is still running.';
    return 'Is it running? "systemctl status \'holdfast-*\'" tells of installed ones, "holdfast up" starts one here; --url or --socket names another.';
  }
  switch (error.code) {
    case 'unauthenticated':
      return 'Pass a token: --token-file FILE (or - for stdin), or HOLDFAST_TOKEN. A local one: admin.token in the data directory.';
    case 'forbidden':
      // A data directory, or who it has to be: the message has said what to do.
      if (['dataDir', 'root', 'socketFolder'].includes(error.field ?? '')) return undefined;
      if (error.field === 'host')
        return 'Ask it by its loopback address, such as 127.0.0.1. A registry for other hosts is started with --listen 0.0.0.0:7420 and --advertise-url https://NAME:7420.';
      return 'Ask as somebody who may: with a token of another role, or for a socket as its owner or root.';
    case 'unavailable':
    case 'rate-limited':
    case 'too-slow':
      return error.retryAfterMs === undefined
        ? 'Try again in a moment.'
        : `Try again in ${Math.ceil(error.retryAfterMs / 1_000)} s.`;
    case 'storage-full':
      return 'Free some space on its disk; it recovers by itself.';
    case 'internal':
      // A damaged file: the message has said what to do.
      if (error.details['damaged'] !== undefined) return undefined;
      return 'This should not happen: the log of the server has the reason, and "--log-level debug" shows where it was met.';
    default:
      return undefined;
  }
}
