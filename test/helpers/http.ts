/** One HTTP exchange as it is on the wire: no client of ours, no retry, a connection of its own. */
import { type IncomingHttpHeaders, request as sendPlain } from 'node:http';
import { request as sendTls } from 'node:https';
import { isIP } from 'node:net';

export interface Exchange {
  readonly method?: string;
  /** Path and query, as they are sent: nothing is encoded or normalised. */
  readonly path: string;
  readonly token?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object is sent as JSON, a string as it is. */
  readonly body?: unknown;
  readonly timeoutMs?: number;
  /** PEM of the CA to verify an https server by; null does not verify at all. */
  readonly ca?: string | null;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined when it is empty. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into documents of every shape
  readonly json: any;
}

export function exchange(
  url: string,
  { method = 'GET', path, token, headers = {}, body, timeoutMs = 10_000, ca }: Exchange,
): Promise<HttpAnswer> {
  const { protocol, hostname, port } = new URL(url);
  const secure = protocol === 'https:';
  const send = secure ? sendTls : sendPlain;
  const bytes = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = send(
      {
        host: hostname.replace(/^\[|\]$/g, ''),
        port,
        // Otherwise the name in a Host header of a test's own would be asked for.
        ...(secure ? { servername: isIP(hostname) === 0 ? hostname : '' } : {}),
        ...(secure && ca === null ? { rejectUnauthorized: false } : {}),
        ...(secure && typeof ca === 'string' ? { ca } : {}),
        method,
        path,
        agent: false,
        signal: AbortSignal.timeout(timeoutMs),
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(bytes === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(bytes)) }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const isJson = /^application\/(problem\+)?json/.test(response.headers['content-type'] ?? '');
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            json: isJson && text !== '' ? JSON.parse(text) : undefined,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(bytes);
  });
}
