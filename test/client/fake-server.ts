/** A server that answers what the test says, and remembers what it was asked. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { AppError } from '../../src/domain/error.ts';
import { toProblem } from '../../src/wire/problem.ts';

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

export type Handler = (asked: Asked, response: ServerResponse, request: IncomingMessage) => void;

export interface FakeServer {
  readonly url: string;
  readonly asked: Asked[];
  handler: Handler;
  /** How an upgrade is refused without an `onSocket`, with this status and no body; null: the connection is reset. */
  refusal: number | null;
  /** After each refusal. */
  onRefused?: () => void;
  /** Gets each WebSocket that opens; undefined: upgrades are refused. */
  onSocket:
    | ((socket: WebSocket, asked: { url: string; headers: IncomingMessage['headers'] }) => void)
    | undefined;
}

/** Listens on loopback, or on a Unix socket, until the test `t` ends. */
export async function fakeServer(
  t: { after(fn: () => Promise<void>): void },
  handler: Handler = (_asked, response) => json(response, 200, {}),
  socketPath?: string,
): Promise<FakeServer> {
  const server = createServer();
  const fake: FakeServer = { url: '', asked: [], handler, refusal: 501, onSocket: undefined };
  server.on('request', (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      const asked = {
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        body: text === '' ? undefined : JSON.parse(text),
      };
      fake.asked.push(asked);
      fake.handler(asked, response, request);
    });
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'holdfast.v1' });
  server.on('upgrade', (request, socket, head) => {
    const { onSocket } = fake;
    if (onSocket === undefined) {
      if (fake.refusal === null) (socket as Socket).resetAndDestroy();
      else socket.end(`HTTP/1.1 ${fake.refusal} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      fake.onRefused?.();
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) =>
      onSocket(ws, { url: request.url ?? '', headers: request.headers }),
    );
  });
  await listen(server, socketPath);
  t.after(async () => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  return Object.assign(fake, {
    url: typeof address === 'object' ? `http://127.0.0.1:${(address as AddressInfo).port}` : '',
  });
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

export function problem(
  response: ServerResponse,
  error: AppError,
  headers: Record<string, string> = {},
): void {
  const body = toProblem(error, 'r-1');
  response.writeHead(body.status, { 'content-type': 'application/problem+json', ...headers });
  response.end(JSON.stringify(body));
}

export function envelope(id: string, body: unknown): string {
  return JSON.stringify({ v: 1, id, mimetype: 'application/json', body });
}

function listen(server: Server, socketPath: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    if (socketPath === undefined) server.listen(0, '127.0.0.1', resolve);
    else server.listen(socketPath, resolve);
  });
}
