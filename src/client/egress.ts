/**
 * Requests to where somebody's settings point (DESIGN §7, last sentences): one POST, no redirect followed, the answer
 * bounded. A name is resolved once, and what is connected to is the address that was checked: never a link-local one,
 * where clouds keep the credentials of their machines.
 */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction, type Socket } from 'node:net';
import type { Dispatcher, Pool } from 'undici';
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { VERSION } from '../base/version.ts';
import { AppError } from '../domain/error.ts';
import { retryAfterMsOf } from './connection.ts';
import { createDial } from './dial.ts';
import { LinkError, toLinkError } from './link.ts';
import type { ProxySettings } from './proxy.ts';
import type { TlsTrust } from './tls.ts';

export interface EgressOptions {
  readonly url: string;
  /** The target as people know it; errors name nothing else of it, for the path may be a secret. */
  readonly label: string;
  readonly tls?: TlsTrust;
  readonly proxy: ProxySettings;
  readonly clock: Clock;
  /** For one request with its connection. */
  readonly timeoutMs: number;
}

export interface EgressAnswer {
  readonly status: number;
  /** The beginning of its body; invalid UTF-8 replaced. */
  readonly text: string;
  readonly retryAfterMs?: number;
}

export interface Egress {
  /** Throws `LinkError` where nobody answered, `forbidden` for an address that is never spoken to. */
  post(
    request: { readonly body: string; readonly headers: Readonly<Record<string, string>> },
    options: { readonly signal: AbortSignal },
  ): Promise<EgressAnswer>;
  close(): Promise<void>;
}

/** Opens nothing yet. `bad-request` for a proxy or a CA that cannot be one, `forbidden` for a link-local address. */
export function createEgress(options: EgressOptions): Egress {
  const { label, tls, proxy, clock, timeoutMs } = options;
  const url = new URL(options.url);
  requireSpeakable(url.hostname.replace(/^\[|\]$/g, ''), label);
  const closing = new AbortController();
  const dial = createDial({
    server: new URL(url.origin),
    label,
    tls,
    proxy,
    clock,
    timeoutMs,
    closed: closing.signal,
    lookup: checkedLookup(label),
  });
  let pool: Promise<Pool> | undefined;
  return {
    async post({ body, headers }, { signal }) {
      closing.signal.throwIfAborted();
      pool ??= openPool(url.origin, dial);
      const late = new AbortController();
      const cancel = clock.after(timeoutMs, () =>
        late.abort(new LinkError('timed-out', `${label} has not answered within ${timeoutMs / 1_000} s`)),
      );
      const ended = AbortSignal.any([late.signal, signal, closing.signal]);
      try {
        const response = await (await pool).request({
          method: 'POST',
          path: url.pathname + url.search,
          headers: { 'user-agent': `holdfast/${VERSION}`, 'content-type': 'application/json', ...headers },
          body,
          signal: ended,
          headersTimeout: 0,
          bodyTimeout: 0,
        });
        const text = await beginningOf(response);
        const retryAfterMs = retryAfterMsOf(response, clock.now());
        return { status: response.statusCode, text, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
      } catch (error) {
        ended.throwIfAborted();
        throw toLinkError(error, label);
      } finally {
        cancel();
      }
    },
    async close() {
      closing.abort(new AppError('internal', 'Cannot send: the sender is closed'));
      await (await pool)?.destroy();
    },
  };
}

/**
 * A connection to a server that speaks something else than HTTP, under the same rules. No proxy: those that there are
 * speak for HTTP.
 */
export function dialChecked(
  server: { readonly host: string; readonly port: number; readonly label: string },
  options: { readonly clock: Clock; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Socket> {
  const { host, port, label } = server;
  requireSpeakable(host, label);
  const { clock, timeoutMs, signal } = options;
  const authority = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  return createDial({
    server: new URL(`http://${authority}`),
    label,
    tls: undefined,
    proxy: {},
    clock,
    timeoutMs,
    closed: signal,
    lookup: checkedLookup(label),
  })().catch((error: unknown) => {
    signal.throwIfAborted();
    throw toLinkError(error, label);
  });
}

/** Resolves once for one connection, and leaves out what is never spoken to. */
function checkedLookup(label: string): LookupFunction {
  return (host, options, done) => {
    lookup(host, { ...options, all: true }, (error, found) => {
      if (error !== null) return done(error, []);
      const good = found.filter(({ address }) => !isLinkLocal(address));
      const [first] = good;
      if (first === undefined) return done(refusal(label, found[0]?.address ?? host), []);
      if (options.all === true) return done(null, good);
      return done(null, first.address, first.family);
    });
  };
}

function requireSpeakable(host: string, label: string): void {
  if (isIP(host) !== 0 && isLinkLocal(host)) throw refusal(label, host);
}

function refusal(label: string, address: string): AppError {
  return new AppError(
    'forbidden',
    `Cannot speak to ${label}: ${address} is a link-local address, which nothing is ever sent to; name another host`,
  );
}

/** 169.254.0.0/16 and fe80::/10, also as IPv4 in IPv6. */
export function isLinkLocal(address: string): boolean {
  const refused = new BlockList();
  refused.addSubnet('169.254.0.0', 16, 'ipv4');
  refused.addSubnet('fe80::', 10, 'ipv6');
  refused.addSubnet('::ffff:169.254.0.0', 112, 'ipv6');
  const [plain = ''] = address.split('%', 1);
  return refused.check(plain, isIP(plain) === 6 ? 'ipv6' : 'ipv4');
}

async function openPool(origin: string, dial: () => Promise<Socket>): Promise<Pool> {
  const undici = await import('undici');
  return new undici.Pool(origin, {
    connections: 1,
    allowH2: false,
    connect: (_target, connected) => {
      dial().then(
        (socket) => connected(null, socket),
        (error: Error) => connected(error, null),
      );
    },
  });
}

/** What is beyond the limit is not read: the connection goes with it. */
async function beginningOf({ body }: Dispatcher.ResponseData): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > limits.notifyAnswerBytes) break;
  }
  return new TextDecoder().decode(Buffer.concat(chunks).subarray(0, limits.notifyAnswerBytes));
}
