/**
 * Sockets that cost the load generator next to nothing: requests are bytes made before, answers are searched for a
 * marker and not parsed. A thousand watchers at a hundred events a second are 100,000 deliveries on one core.
 */
import { connect, type Socket } from 'node:net';

export interface RawSocket {
  write(text: string | Buffer): void;
  destroy(): void;
}

/** Connected. `onData` gets bytes that are valid only during the call. */
export function openSocket(url: string, onData: (bytes: Buffer) => void): Promise<RawSocket> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      // One buffer for all: nothing is allocated for each delivery.
      onread: {
        buffer: shared,
        callback: (length) => {
          onData(shared.subarray(0, length));
          return true;
        },
      },
    });
    socket.once('error', reject);
    socket.once('connect', () =>
      resolve({ write: (text) => socket.write(text), destroy: () => socket.destroy() }),
    );
  });
}

const shared = Buffer.allocUnsafe(256 * 1_024);

export function httpBytes(
  method: string,
  url: string,
  path: string,
  headers: Record<string, string>,
  body: string,
): Buffer {
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${new URL(url).host}`];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  if (body !== '' || method !== 'GET') lines.push(`Content-Length: ${Buffer.byteLength(body)}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

/** A masked text frame (RFC 6455 §5.2) of at most 64 KiB; the mask is zeros. */
export function clientFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  const header =
    payload.length < 126
      ? Buffer.from([0x81, 0x80 | payload.length])
      : Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([header, Buffer.alloc(4), payload]);
}

/** Finds `marker` followed by a decimal number and one byte that ends it, also across chunks. */
export class MarkerScanner {
  readonly #marker: Buffer;
  readonly #found: (value: number) => void;
  #rest: Buffer | null = null;

  constructor(marker: string, found: (value: number) => void) {
    this.#marker = Buffer.from(marker);
    this.#found = found;
  }

  scan(chunk: Buffer): void {
    const bytes = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = null;
    let at = 0;
    for (;;) {
      const start = bytes.indexOf(this.#marker, at);
      if (start === -1) break;
      let end = start + this.#marker.length;
      let value = 0;
      for (let digit = bytes[end]; digit !== undefined && digit >= 48 && digit <= 57; digit = bytes[end]) {
        value = value * 10 + digit - 48;
        end += 1;
      }
      if (end === bytes.length) {
        // The number may go on in the next chunk.
        this.#rest = Buffer.from(bytes.subarray(start));
        return;
      }
      this.#found(value);
      at = end;
    }
    const tail = Math.max(at, bytes.length - this.#marker.length + 1);
    if (tail < bytes.length) this.#rest = Buffer.from(bytes.subarray(tail));
  }
}
