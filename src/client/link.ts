/**
 * What can be wrong between a client and its server, as opposed to what a server answers. The difference decides what
 * a caller does: an unreachable registry is waited for, its 503 is obeyed, a proxy's login page is neither.
 */
import { AppError } from '../domain/error.ts';

/**
 * `unreachable`: no connection, or it broke before the answer was complete. `timed-out`: connected, but no answer in
 * time. `foreign`: something answered that is no Holdfast server (a captive portal, a proxy, another program).
 * `untrusted`: it cannot prove with its certificate that it is the server.
 */
export type LinkFailure = 'unreachable' | 'timed-out' | 'foreign' | 'untrusted';

/**
 * An `unavailable` that no server said. A class and not a detail of the error, because details travel: an agent that
 * passes this on as its own 503 must not make its client believe that the agent is out of reach.
 */
export class LinkError extends AppError {
  readonly failure: LinkFailure;

  constructor(
    failure: LinkFailure,
    message: string,
    options: { cause?: unknown; retryAfterMs?: number } = {},
  ) {
    super('unavailable', message, options);
    this.failure = failure;
  }
}

/** What a failed connection or request throws, in our words. `label` is the server as people know it. */
export function toLinkError(error: unknown, label: string): AppError {
  if (error instanceof AppError) return error;
  const code = codeOf(error);
  if (code === 'EACCES' || code === 'EPERM') {
    return new AppError('forbidden', `Cannot open ${label}: permission denied`, { cause: error });
  }
  // undici's parser gives a code only where llhttp has one.
  const garbled = error instanceof Error && error.name === 'HTTPParserError';
  if (garbled || code.startsWith('HPE_') || code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new LinkError('foreign', `Cannot talk to ${label}: what answers there is not HTTP`, {
      cause: error,
    });
  }
  // In the handshake `tls.ts` has better words; after it, TLS breaks when something is changed on the way.
  if (tlsCodeOf(error) !== undefined)
    return new LinkError(
      'untrusted',
      `Cannot trust ${label}: what comes from there is no good TLS (${code})`,
      {
        cause: error,
      },
    );
  const why = reasons[code] ?? (error instanceof Error ? error.message : String(error));
  return new LinkError('unreachable', `Cannot reach ${label}: ${why}`, { cause: error });
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOENT: 'there is no such socket',
  ENOTSOCK: 'that file is no socket',
  ENOTFOUND: 'its name cannot be resolved',
  EAI_AGAIN: 'its name cannot be resolved right now',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'there is no network to it',
  ETIMEDOUT: 'it does not answer',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer',
  ECONNRESET: 'the connection broke before the answer was complete',
  EPIPE: 'the connection broke before the answer was complete',
  UND_ERR_SOCKET: 'the connection broke before the answer was complete',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the connection broke before the answer was complete',
};

/** The code of an error that TLS made (OpenSSL's names and Node's); undefined for others. */
export function tlsCodeOf(error: unknown): string | undefined {
  const code = codeOf(error);
  return /CERT|TLS|SSL|SIGNATURE|INVALID_PURPOSE|INVALID_CA|HOSTNAME_MISMATCH/.test(code) ? code : undefined;
}

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  return typeof code === 'string' ? code : codeOf(cause);
}
