/**
 * How a connection comes to be, for requests and WebSockets alike: to a Unix socket, or over TCP, through a proxy if
 * there is one, with TLS for https.
 */
import { connect, type LookupFunction, type NetConnectOpts, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { LinkError } from './link.ts';
import { openTunnel, type ProxySettings, proxyFor } from './proxy.ts';
import { createHandshake, type TlsTrust } from './tls.ts';

export interface DialOptions {
  /** The origin of a server, or the path of its Unix socket. */
  readonly server: URL | string;
  readonly label: string;
  readonly tls: TlsTrust | undefined;
  readonly proxy: ProxySettings;
  readonly clock: Clock;
  /** For the whole of it. */
  readonly timeoutMs: number;
  /** Ends what is under way. */
  readonly closed: AbortSignal;
  /** How names are resolved that no proxy resolves; the system's way when absent. */
  readonly lookup?: LookupFunction;
}

/** A socket that is ready for HTTP. Throws `LinkError`, what the socket met, or the reason of `closed`. */
export type Dial = () => Promise<Socket>;

/** As undici does it: a server that is gone without a word is noticed some day also on an idle connection. */
const keepAliveMs = 60_000;

/** `bad-request` for a proxy or a CA that cannot be one. Opens nothing yet. */
export function createDial(options: DialOptions): Dial {
  const { server, label, clock, timeoutMs, closed } = options;
  const open = typeof server === 'string' ? overUnix(server) : overTcp(server, options);
  return async () => {
    closed.throwIfAborted();
    const late = new AbortController();
    const cancel = clock.after(timeoutMs, () =>
      late.abort(new LinkError('unreachable', `Cannot reach ${label}: it does not answer`)),
    );
    try {
      return await open(AbortSignal.any([late.signal, closed]));
    } finally {
      cancel();
    }
  };
}

type Open = (signal: AbortSignal) => Promise<Socket>;

function overUnix(path: string): Open {
  return (signal) => opened({ path }, signal);
}

function overTcp(server: URL, { label, tls, proxy: settings, clock, lookup }: DialOptions): Open {
  const host = server.hostname.replace(/^\[|\]$/g, '');
  const secure = server.protocol === 'https:';
  const port = Number(server.port || (secure ? 443 : 80));
  const proxy = proxyFor(server, settings);
  const handshake = secure ? createHandshake({ host, label, trust: tls }, () => clock.now()) : null;
  return async (signal) => {
    const socket =
      proxy === null
        ? await opened({ host, port, ...(lookup === undefined ? {} : { lookup }) }, signal)
        : await openTunnel(proxy, { host, port, label }, signal);
    socket.setKeepAlive(true, keepAliveMs);
    socket.setNoDelay(true);
    return handshake === null ? socket : handshake(socket, signal);
  };
}

function opened(options: NetConnectOpts, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(options);
    const onAbort = () => {
      socket.destroy();
      done(() => reject(signal.reason));
    };
    const onError = (error: Error) => done(() => reject(error));
    const done = (settle: () => void) => {
      signal.removeEventListener('abort', onAbort);
      socket.off('error', onError);
      settle();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('error', onError);
    socket.once('connect', () => done(() => resolve(socket)));
  });
}
