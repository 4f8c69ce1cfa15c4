/** The proxy that a connection goes through: which one, and the tunnel to the server behind it (RFC 9110 §9.3.6). */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { VERSION } from '../base/version.ts';
import { AppError } from '../domain/error.ts';
import { LinkError } from './link.ts';

/** As HTTPS_PROXY, HTTP_PROXY and NO_PROXY say it. Their passwords are never shown. */
export interface ProxySettings {
  /** For https servers: `http://proxy:3128`, `http://user:password@proxy:3128`, `proxy:3128`. */
  readonly https?: string;
  /** For http servers. */
  readonly http?: string;
  /** Who is reached without one: names with all below them, addresses, ranges (`10.0.0.0/8`), or `*`; commas between. */
  readonly none?: string;
}

/** The proxy for a server; null: none. This machine itself never needs one. `bad-request` for one that cannot be. */
export function proxyFor(server: URL, settings: ProxySettings): URL | null {
  const given = server.protocol === 'https:' ? settings.https : settings.http;
  if (given === undefined || given === '' || isLoopback(server.hostname)) return null;
  if (isExcepted(server, settings.none ?? '')) return null;
  const text = given.includes('://') ? given : `http://${given}`;
  const proxy = URL.parse(text);
  if (proxy !== null && ['http:', 'https:'].includes(proxy.protocol)) return proxy;
  const name = server.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  throw new AppError(
    'bad-request',
    `Cannot use the proxy in ${name}: expected a URL such as http://proxy.example:3128`,
    { field: 'proxy' },
  );
}

/** `localhost`, 127.0.0.0/8 and ::1, as a URL's `hostname` has them. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** As curl and Go read it: a name stands for all below it, with or without a dot in front; a port narrows it. */
function isExcepted(server: URL, none: string): boolean {
  const host = bare(server.hostname).toLowerCase();
  const port = server.port || (server.protocol === 'https:' ? '443' : '80');
  return none.split(/[\s,]+/).some((entry) => {
    if (entry === '' || entry === '*') return entry === '*';
    const [, range = '', prefix = ''] = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(entry) ?? [];
    if (isIP(range) !== 0) return isInRange(host, range, Number(prefix));
    // An IPv6 address without brackets has colons that begin no port.
    if (isIP(entry) !== 0) return sameAddress(entry, host);
    const [, named = '', onPort] = /^(\[[^\]]+\]|[^:]*)(?::(\d+))?$/.exec(entry) ?? [];
    if (named === '' || (onPort !== undefined && onPort !== port)) return false;
    const name = bare(named)
      .toLowerCase()
      .replace(/^\*?\./, '');
    if (isIP(name) !== 0) return sameAddress(name, host);
    return host === name || (isIP(host) === 0 && host.endsWith(`.${name}`));
  });
}

function isInRange(host: string, network: string, prefix: number): boolean {
  const family = isIP(network) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(host) !== isIP(network) || prefix > (family === 'ipv6' ? 128 : 32)) return false;
  const range = new BlockList();
  range.addSubnet(network, prefix, family);
  return range.check(host, family);
}

function sameAddress(a: string, b: string): boolean {
  return isIP(a) === isIP(b) && isInRange(b, a, isIP(a) === 6 ? 128 : 32);
}

/** Without the brackets of an IPv6 address. */
function bare(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}

/**
 * A connection through `proxy` to a server, which then speaks TLS or HTTP on it. `LinkError` (`unreachable`) names the
 * proxy, and what it answered; the signal's reason when aborted.
 */
export async function openTunnel(
  proxy: URL,
  server: { readonly host: string; readonly port: number; readonly label: string },
  signal: AbortSignal,
): Promise<Socket> {
  const { request } = await (proxy.protocol === 'https:' ? import('node:https') : import('node:http'));
  const authority = `${server.host.includes(':') ? `[${server.host}]` : server.host}:${server.port}`;
  const asked = request({
    method: 'CONNECT',
    host: bare(proxy.hostname),
    port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
    path: authority,
    headers: { host: authority, 'user-agent': `holdfast/${VERSION}`, ...credentialsOf(proxy) },
    agent: false,
    signal,
  });
  const through = `the proxy ${proxy.origin}`;
  try {
    const { response, socket, head } = await answered(asked);
    const { statusCode = 0 } = response;
    if (statusCode < 200 || statusCode > 299) {
      socket.destroy();
      throw new LinkError('unreachable', `Cannot reach ${server.label}: ${refusal(statusCode, through)}`);
    }
    if (head.length > 0) socket.unshift(head);
    return socket;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof AppError) throw error;
    const why = (error as { code?: string }).code ?? String(error);
    throw new LinkError('unreachable', `Cannot reach ${server.label}: ${through} cannot be used (${why})`, {
      cause: error,
    });
  }
}

function answered(asked: ClientRequest): Promise<{
  response: IncomingMessage;
  socket: Socket;
  head: Buffer;
}> {
  return new Promise((resolve, reject) => {
    asked.once('connect', (response, socket, head) => resolve({ response, socket: socket as Socket, head }));
    // Also later, when nobody waits any more: a request without a listener would end the process.
    asked.on('error', reject);
    asked.end();
  });
}

function refusal(status: number, through: string): string {
  switch (status) {
    case 407:
      return `${through} wants a login (407), put one into its URL: http://user:password@…`;
    case 502:
    case 503:
    case 504:
      return `${through} does not get there (${status})`;
    default:
      return `${through} does not let us through (${status}), allow CONNECT there or name the server in NO_PROXY`;
  }
}

function credentialsOf({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {};
  const login = `${decoded(username)}:${decoded(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(login).toString('base64')}` };
}

/** As it is where a % begins no escape, as curl takes it. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
