/** Bytes as they are to a server, and what comes back: for what no HTTP client would send. */
import { connect } from 'node:net';

/** What comes back until the server closes, or `until` is seen. A reset connection ends it, too. */
export function raw(
  port: number,
  bytes: string | Buffer,
  options: { until?: RegExp; halfClose?: boolean; timeoutMs?: number } = {},
): Promise<string> {
  const { until, halfClose = false, timeoutMs = 20_000 } = options;
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      if (halfClose) socket.end(bytes);
      else socket.write(bytes);
    });
    let text = '';
    const timer = setTimeout(
      () => socket.destroy(new Error(`no end within ${timeoutMs} ms after: ${text}`)),
      timeoutMs,
    );
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      text += chunk;
      if (until?.test(text)) socket.destroy();
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(text) : reject(error),
    );
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}
