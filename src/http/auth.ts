/**
 * Who asks, and may they: decided from the headers alone, before any body is read, for requests and WebSocket upgrades
 * alike.
 */
import type { IncomingMessage } from 'node:http';
import { limits } from '../base/limits.ts';
import { type Caller, type Role, roles as tokenRoles } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { parseUuid } from '../domain/ids.ts';
import type { AccessService } from '../domain/services.ts';
import { bearerSubprotocolPrefix } from '../wire/watch.ts';

/** What a listener says of whoever comes through it. */
export interface Entrance {
  /** A Unix socket's: the file's mode was the check. */
  readonly caller: Caller | null;
  /** TCP on a loopback address and no proxy in front: only this machine's own names are answered (DNS rebinding). */
  readonly loopback: boolean;
  /** A proxy says whose request it is. */
  readonly behindProxy: boolean;
}

/**
 * `open`: anyone. `proof`: anyone, and what the body proves decides. `known`: any caller but one that has yet to join.
 * `probe`: viewers, and anyone on a loopback entrance. Otherwise the roles that may.
 */
export type Access = 'open' | 'proof' | 'known' | 'probe' | readonly Role[];

/** For callers that need not say who they are. */
export const anonymous: Caller = { role: 'viewer', subject: 'anonymous' };

const knownRoles: readonly Role[] = [...tokenRoles, 'reader'];
const probeRoles: readonly Role[] = ['viewer', 'operator', 'approver', 'admin', 'reader'];
/** Ours is a handful; browsers and proxies send 30. Node itself would drop what is too many without a word. */
export const headersMax = 100;

/**
 * Throws for what no request may look like: `headers-too-large`, `bad-request` (no Host or two, a long URL, NUL),
 * `forbidden` (a foreign Origin; on loopback a foreign Host).
 */
export function checkHead(request: IncomingMessage, entrance: Entrance): void {
  const { rawHeaders, headers, url = '' } = request;
  // Node's parser takes a line without a version for HTTP/0.9, which has no headers, and no answer with any.
  if (request.httpVersionMajor !== 1)
    throw new AppError(
      'bad-request',
      'Cannot read the request: its line names no version, expected HTTP/1.1',
    );
  if (rawHeaders.length > 2 * headersMax)
    throw new AppError(
      'headers-too-large',
      `Cannot read the request: it has more than ${headersMax} headers`,
    );
  if (url.length > limits.urlBytes) {
    throw new AppError(
      'bad-request',
      `Cannot read the request: its URL is longer than ${limits.urlBytes} bytes; filters of many values have POST forms`,
      { field: 'url' },
    );
  }
  // No name or filter of ours holds one, and PostgreSQL cannot.
  if (url.includes('%00'))
    throw new AppError('bad-request', 'Cannot read the request: its URL holds %00', { field: 'url' });
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue') {
    throw new AppError(
      'bad-request',
      `Cannot meet the expectation "${headers.expect.slice(0, 80)}": only 100-continue is known`,
      { field: 'expect' },
    );
  }
  if (entrance.caller !== null) return;
  const hosts = countHosts(rawHeaders);
  if (hosts > 1 || (hosts === 0 && request.httpVersionMinor !== 0)) {
    throw new AppError(
      'bad-request',
      `Cannot read the request: it has ${hosts === 0 ? 'no' : 'more than one'} Host header`,
      { field: 'host' },
    );
  }
  if (entrance.loopback && !isLoopbackName(hostNameOf(headers.host ?? ''), request.socket.localAddress)) {
    throw new AppError(
      'forbidden',
      `Cannot answer for Host "${(headers.host ?? '').slice(0, 80)}": this listener serves loopback names only`,
      { field: 'host' },
    );
  }
  if (headers.origin !== undefined && !isOwnOrigin(headers.origin, headers.host ?? '')) {
    throw new AppError(
      'forbidden',
      `Cannot answer a page of "${headers.origin.slice(0, 80)}": only this server's own pages may ask`,
    );
  }
}

/** The caller of a request, or null when it shows no credential. Throws `unauthenticated` for one that is no good. */
export function identify(
  request: IncomingMessage,
  entrance: Entrance,
  access: AccessService,
): Caller | null | Promise<Caller> {
  access.admit?.();
  if (entrance.caller !== null) return entrance.caller;
  const { authorization } = request.headers;
  if (authorization !== undefined) {
    const match = /^Bearer +([\w.~+/-]+=*) *$/i.exec(authorization);
    if (match?.[1] === undefined)
      throw new AppError(
        'unauthenticated',
        'Cannot read the Authorization header: expected "Bearer" and a token',
      );
    return access.authenticate(match[1]);
  }
  const token = subprotocolToken(request);
  return token === undefined ? null : access.authenticate(token);
}

/** Whether a caller is needed at all; probes and open routes answer without. */
export function needsCaller(allowed: Access, entrance: Entrance): boolean {
  return allowed !== 'open' && allowed !== 'proof' && !(allowed === 'probe' && entrance.loopback);
}

/**
 * Throws `unauthenticated` without a caller and `forbidden` for a role that may not. On a path with `:host`, a host may
 * only be itself: `own` is that parameter.
 */
export function authorise(allowed: Access, caller: Caller | null, own: string | undefined): Caller {
  if (allowed === 'open' || allowed === 'proof') return caller ?? anonymous;
  if (caller === null)
    throw new AppError('unauthenticated', 'Cannot tell who asks: send "Authorization: Bearer <token>"');
  const roles = allowed === 'known' ? knownRoles : allowed === 'probe' ? probeRoles : allowed;
  if (!roles.includes(caller.role)) {
    throw new AppError(
      'forbidden',
      `Cannot do this as ${caller.subject}: its role is ${caller.role}, expected one of ${roles.join(', ')}`,
    );
  }
  if (
    caller.role === 'host' &&
    own !== undefined &&
    own !== caller.hostId &&
    parseUuid(own) !== caller.hostId
  ) {
    throw new AppError(
      'forbidden',
      `Cannot act for host "${own.slice(0, 80)}" as ${caller.subject}: a host speaks only for itself, by its id`,
    );
  }
  return caller;
}

/** Browsers cannot set headers on a WebSocket; they offer the token as a subprotocol. */
function subprotocolToken(request: IncomingMessage): string | undefined {
  const offered = request.headers['sec-websocket-protocol'];
  if (offered === undefined) return undefined;
  for (const protocol of offered.split(',')) {
    const name = protocol.trim();
    if (name.startsWith(bearerSubprotocolPrefix)) return name.slice(bearerSubprotocolPrefix.length);
  }
  return undefined;
}

function countHosts(rawHeaders: readonly string[]): number {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.length === 4 && name.toLowerCase() === 'host') count += 1;
  }
  return count;
}

/** `[::1]:7421` → `::1`, `LOCALHOST:80` → `localhost`. */
function hostNameOf(host: string): string {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*))(?::\d{1,5})?$/i.exec(host);
  return (match?.[1] ?? match?.[2] ?? '').toLowerCase();
}

/** Also the address itself that the listener was reached at, which no foreign name server can make a name of ours. */
function isLoopbackName(name: string, localAddress: string | undefined): boolean {
  return (
    name === 'localhost' ||
    name === '::1' ||
    /^127(?:\.\d{1,3}){3}$/.test(name) ||
    (name !== '' && name === localAddress)
  );
}

/** A proxy that ends TLS leaves Host as it was, so the scheme is not compared. */
function isOwnOrigin(origin: string, host: string): boolean {
  const match = /^https?:\/\/([^/]+)$/i.exec(origin);
  return match?.[1]?.toLowerCase() === host.toLowerCase();
}
