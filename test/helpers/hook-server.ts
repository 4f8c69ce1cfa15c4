/** A local HTTP server that is told things: it keeps what came, and answers as the test says. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { until } from './until.ts';

export interface Taken {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** JSON of the text; undefined when it is none. */
  readonly body:
    | { readonly id: string; readonly title: string; readonly kind: string; readonly more: number }
    | undefined;
}

export interface HookServer {
  /** `http://127.0.0.1:…` */
  readonly url: string;
  /** All requests, also those that were refused. */
  readonly taken: readonly Taken[];
  /** 204 when it is not set. */
  answer: (taken: Taken, response: ServerResponse) => void;
  /** Waits until there were so many. */
  came(count: number): Promise<readonly Taken[]>;
  close(): Promise<void>;
}

export async function hookServer(t: { after(fn: () => Promise<void>): void }): Promise<HookServer> {
  const taken: Taken[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on('data', (chunk: Uint8Array) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString('utf8');
      const one: Taken = { path: request.url ?? '', headers: request.headers, text, body: jsonOf(text) };
      taken.push(one);
      hook.answer(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const hook: HookServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    taken,
    answer: (_taken, response) => response.writeHead(204).end(),
    async came(count) {
      await until(
        () => taken.length >= count,
        () => `${taken.length} of ${count} requests came`,
      );
      return taken;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  t.after(() => hook.close());
  return hook;
}

function jsonOf(text: string): Taken['body'] {
  try {
    return JSON.parse(text) as Taken['body'];
  } catch {
    return undefined;
  }
}
