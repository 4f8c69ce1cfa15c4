/** Where a server listens: TCP addresses, and Unix sockets whose file mode is the check. */
import { type AddressInfo, isIP, type Server } from 'node:net';
import { join } from 'node:path';
import type { Caller } from '../domain/access.ts';
import { bindSocketFile, listening } from '../wire/socket-file.ts';
import type { Entrance } from './auth.ts';
import type { Kind } from './operation.ts';

/** A private key and its certificate chain, PEM. */
export interface TlsPair {
  readonly key: string;
  readonly cert: string;
}

/** Where a listener's certificate comes from. */
export interface TlsSource {
  current(): TlsPair;
  /** Called with each pair that takes the place of the one before. Returns how to stop. */
  subscribe(listener: (pair: TlsPair) => void): () => void;
}

export interface TcpListener {
  readonly kind: 'tcp';
  /** An address, or `localhost`. */
  readonly host: string;
  /** 0: any free one; `Bound.url` tells. */
  readonly port: number;
  /** A proxy stands in front, so who is on this machine cannot be told: probes need a token, Host is not checked. */
  readonly behindProxy?: boolean;
  /** HTTPS; plain HTTP without it. */
  readonly tls?: TlsSource;
}

export interface UnixListener {
  readonly kind: 'unix';
  readonly path: string;
  /** `0o600`: whoever may open the file is the caller. */
  readonly mode: number;
  readonly caller: Caller;
}

/**
 * The Unix sockets of a role, one for each privilege, where whoever may open the file is its caller: `admin.sock`
 * (its owner and root, everything), `agent.sock` of an agent (the group too: programs of this host that report), and
 * `read.sock` (everybody who can reach the folder: what a viewer sees, without what is nobody's business).
 */
export function roleSockets(kind: Kind, folder: string): UnixListener[] {
  const socket = (name: string, mode: number, caller: Caller): UnixListener => ({
    kind: 'unix',
    path: join(folder, name),
    mode,
    caller,
  });
  return [
    socket('admin.sock', 0o600, { role: 'admin', subject: 'local' }),
    ...(kind === 'agent'
      ? [socket('agent.sock', 0o660, { role: 'reporter', subject: 'local-program' })]
      : []),
    socket('read.sock', 0o666, { role: 'reader', subject: 'local-reader' }),
  ];
}

export type Listener = TcpListener | UnixListener;

export interface Bound {
  readonly listener: Listener;
  /** `https://127.0.0.1:7420`, or `unix:/run/holdfast/agent/admin.sock`. */
  readonly url: string;
  /** Removes what was left in the file system. */
  release(): Promise<void>;
}

/** What coming through this listener means. */
export function entranceThrough(listener: Listener): Entrance {
  if (listener.kind === 'unix') return { caller: listener.caller, loopback: false, behindProxy: false };
  const { behindProxy = false, host } = listener;
  return { caller: null, loopback: !behindProxy && isLoopback(host), behindProxy };
}

/** Throws `bad-request` for a place that cannot be, `conflict` for one where somebody listens already. */
export async function bind(server: Server, listener: Listener): Promise<Bound> {
  return listener.kind === 'tcp' ? bindTcp(server, listener) : bindUnix(server, listener);
}

async function bindTcp(server: Server, listener: TcpListener): Promise<Bound> {
  const { host, port } = listener;
  await listening(server, { host, port }, `${host}:${port}`);
  const { address, family, port: bound } = server.address() as AddressInfo;
  return {
    listener,
    url: `${listener.tls === undefined ? 'http' : 'https'}://${connectable(address, family)}:${bound}`,
    release: () => Promise.resolve(),
  };
}

/** Every address of this machine is none that one can ask, or that a certificate can name: the loopback one is. */
function connectable(address: string, family: string): string {
  if (family === 'IPv6') return address === '::' ? '[::1]' : `[${address}]`;
  return address === '0.0.0.0' ? '127.0.0.1' : address;
}

async function bindUnix(server: Server, listener: UnixListener): Promise<Bound> {
  const { release } = await bindSocketFile(server, listener);
  return { listener, url: `unix:${listener.path}`, release };
}

/** Whether only this machine reaches a listener at this address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
