/** An HTTPS server with the certificate that a test made, and a proxy that lets through or not. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import { createServer, type ServerOptions } from 'node:https';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Certificate } from '../helpers/certificates.ts';

interface TestEnd {
  after(fn: () => Promise<void>): void;
}

export interface TlsServer {
  /** `https://localhost:…` */
  readonly url: string;
  readonly port: number;
  /** Protocol of each connection, and whether it went on from an earlier one. */
  readonly connections: { readonly protocol: string | null; readonly resumed: boolean }[];
  readonly requests: IncomingMessage['headers'][];
  onSocket: ((socket: WebSocket) => void) | undefined;
  /** Upgrades are answered as a proxy does that knows none. */
  refuseUpgrades: boolean;
}

/** Answers `{"up":true}` to everything, unless `handler` does. */
export async function tlsServer(
  t: TestEnd,
  leaf: Certificate,
  more: ServerOptions & { readonly chain?: string; readonly handler?: RequestListener } = {},
): Promise<TlsServer> {
  const { chain = '', handler = sayUp, ...options } = more;
  const connections: TlsServer['connections'] = [];
  const requests: TlsServer['requests'] = [];
  const server = createServer({ key: leaf.key, cert: leaf.cert + chain, ...options });
  server.on('secureConnection', (socket) =>
    connections.push({ protocol: socket.getProtocol(), resumed: socket.isSessionReused() }),
  );
  server.on('request', (request, response) => {
    requests.push(request.headers);
    handler(request, response);
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'holdfast.v1' });
  const fake: Pick<TlsServer, 'onSocket' | 'refuseUpgrades'> = { onSocket: undefined, refuseUpgrades: false };
  server.on('upgrade', (request, socket, head) => {
    if (fake.refuseUpgrades)
      socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    else sockets.handleUpgrade(request, socket, head, (ws) => fake.onSocket?.(ws));
  });
  const port = await listen(server);
  t.after(async () => {
    for (const one of sockets.clients) one.terminate();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return Object.assign(fake, { url: `https://localhost:${port}`, port, connections, requests });
}

function sayUp(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end('{"up":true}');
}

export interface TunnelProxy {
  readonly url: string;
  readonly port: number;
  /** What was asked for, and with which login. */
  readonly asked: { readonly authority: string; readonly login: string | undefined }[];
  /** Names that it knows beside those of DNS: `registry.test:443` → a port of this machine. */
  readonly names: Map<string, number>;
  /** What it answers instead of connecting; null: it connects. */
  refusal: number | null;
  /** Ends all that is open, as a proxy does that restarts. */
  cut(): void;
}

/** A proxy that knows CONNECT and nothing else. */
export async function connectProxy(t: TestEnd): Promise<TunnelProxy> {
  const open = new Set<Socket>();
  const proxy: Omit<TunnelProxy, 'url' | 'port'> = {
    asked: [],
    names: new Map(),
    refusal: null,
    cut() {
      for (const socket of open) socket.destroy();
    },
  };
  const server = createHttpServer((_request, response) => response.writeHead(405).end());
  server.on('connect', (request, client: Socket, head: Buffer) => {
    const authority = request.url ?? '';
    proxy.asked.push({ authority, login: request.headers['proxy-authorization'] });
    if (proxy.refusal !== null) {
      client.end(`HTTP/1.1 ${proxy.refusal} No\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const named = proxy.names.get(authority);
    const url = new URL(`http://${authority}`);
    const upstream = connect(
      named ?? Number(url.port || 80),
      named === undefined ? url.hostname : '127.0.0.1',
    );
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.on('error', () => other.destroy());
    }
    upstream.on('connect', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      if (head.length > 0) upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
  });
  const port = await listen(server);
  t.after(async () => {
    proxy.cut();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return Object.assign(proxy, { url: `http://127.0.0.1:${port}`, port });
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}
