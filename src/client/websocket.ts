/** One watch on one WebSocket, as an iterable that holds only a little more than its reader has taken. */

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { ClientOptions, WebSocket } from 'ws';
import type { Cancel } from '../base/clock.ts';
import { decodeEnvelope, encodeEnvelope } from '../wire/envelope.ts';
import { paths } from '../wire/paths.ts';
import { fromProblem, problemMediaType } from '../wire/problem.ts';
import { type WatchMessage, type WatchRequest, watchSubprotocol } from '../wire/watch.ts';
import { answerBytesMax, type Connection, parseJsonOrNothing } from './connection.ts';
import { LinkError, toLinkError } from './link.ts';
import { Mailbox } from './mailbox.ts';
import { readWatchMessage, silenceMaxMs, silent, type WatchTransport } from './watch-transport.ts';

/** Something answered, but not with a WebSocket: worth trying without one. */
export class UpgradeRefused extends Error {
  override readonly name = 'UpgradeRefused';
}

/**
 * The handshake broke off, or a gateway found nobody behind it (502, 503, 504): a server on its way down or up, more
 * likely than a proxy that lets no WebSocket through.
 */
export class UpgradeBroken extends LinkError {}

/** The subscription's id on its own socket. */
const subscriptionId = 'watch';

/** As every `WatchTransport`, and throws `UpgradeRefused` and `UpgradeBroken`. */
export const webSocketMessages: WatchTransport = async function* (connection, start, options) {
  const { clock, label, timeoutMs } = connection;
  const socket = await openSocket(connection);
  const mailbox = new Mailbox<WatchMessage>({
    pause() {
      socket.pause();
      // It is we who do not listen now.
      cancelSilence?.();
    },
    resume() {
      socket.resume();
      listen();
    },
  });
  let opened = false;
  let cancelSilence: Cancel | undefined;
  const listen = () => {
    cancelSilence?.();
    cancelSilence = opened
      ? clock.after(silenceMaxMs, () => mailbox.fail(silent(label)))
      : clock.after(timeoutMs, () => mailbox.fail(connection.timedOut()));
  };
  const onAbort = () => mailbox.fail(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted === true) onAbort();
  listen();

  socket.on('open', () => {
    opened = true;
    listen();
    options.onOpen();
    const request: WatchRequest = {
      op: 'watch',
      ...(start.select === undefined
        ? {}
        : { select: start.select as NonNullable<Extract<WatchRequest, { op: 'watch' }>['select']> }),
      ...(start.since === null ? {} : { since: start.since }),
      ...(start.snapshot ? { snapshot: true } : {}),
    };
    socket.send(
      encodeEnvelope({ id: subscriptionId, mimetype: 'application/json', body: request, replyTo: [] }),
    );
  });
  socket.on('ping', listen);
  socket.on('message', (data, isBinary) => {
    listen();
    try {
      if (isBinary) throw new LinkError('foreign', `Cannot follow ${label}: it sent a binary frame`);
      const envelope = decodeEnvelope(String(data));
      // Another id is another subscription's, however similar. The empty one speaks of a frame that was no envelope.
      if (envelope.id === '')
        throw new LinkError('foreign', `Cannot follow ${label}: it does not understand us`);
      if (envelope.id !== subscriptionId) return;
      const message = readWatchMessage(envelope.body, label);
      if (message !== undefined) mailbox.put(message);
    } catch (error) {
      mailbox.fail(
        error instanceof LinkError
          ? error
          : new LinkError('foreign', `Cannot follow ${label}: it sent a frame that is no envelope`, {
              cause: error,
            }),
      );
    }
  });
  socket.on('unexpected-response', (_request, response) => {
    refusalOf(response, connection).then(
      (error) => mailbox.fail(error),
      (error: unknown) => mailbox.fail(toLinkError(error, label)),
    );
  });
  socket.on('error', (error) =>
    mailbox.fail(opened ? toLinkError(error, label) : handshakeError(error, label)),
  );
  socket.on('close', (code) => {
    if (code === 1000 || code === 1001) mailbox.end();
    else mailbox.fail(new LinkError('unreachable', `Cannot follow ${label}: the connection broke (${code})`));
  });

  try {
    yield* mailbox;
  } finally {
    cancelSilence?.();
    options.signal?.removeEventListener('abort', onAbort);
    socket.removeAllListeners();
    // Terminating before the handshake is done makes ws emit an error once more.
    socket.on('error', ignore);
    socket.terminate();
  }
};

async function openSocket(connection: Connection): Promise<WebSocket> {
  const { default: WebSocket } = await import('ws');
  const options: ClientOptions = {
    headers: connection.headers(),
    maxPayload: answerBytesMax,
    perMessageDeflate: false,
    followRedirects: false,
    // As node:http takes it: nothing now, the socket later.
    createConnection: ((_options: unknown, created: (error: Error | null, socket?: Socket) => void) => {
      connection.dial().then(
        (socket) => created(null, socket),
        (error: Error) => created(error),
      );
    }) as unknown as NonNullable<ClientOptions['createConnection']>,
  };
  return new WebSocket(connection.webSocketUrl(paths.watch), [watchSubprotocol], options);
}

/** Refusals that say the same without a WebSocket are final or to be waited for; others are tried without one. */
async function refusalOf(response: IncomingMessage, connection: Connection): Promise<Error> {
  const text = await readStart(response);
  const status = response.statusCode ?? 0;
  const problem =
    response.headers['content-type']?.startsWith(problemMediaType) === true
      ? parseJsonOrNothing(text)
      : undefined;
  const retryAfter = Number(response.headers['retry-after'] ?? Number.NaN);
  const retryAfterMs = Number.isNaN(retryAfter) ? undefined : retryAfter * 1_000;
  if (problem !== undefined && [401, 403, 429, 503].includes(status))
    return fromProblem(status, problem, retryAfterMs);
  const why = `Cannot follow ${connection.label}: it answered HTTP ${status} to a WebSocket`;
  if (![502, 503, 504].includes(status)) return new UpgradeRefused(why);
  return new UpgradeBroken('unreachable', why, retryAfterMs === undefined ? {} : { retryAfterMs });
}

const problemBytesMax = 65_536;

async function readStart(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response as AsyncIterable<string>) {
    text += chunk;
    if (text.length > problemBytesMax) break;
  }
  return text;
}

/** Before the socket is open: a connection that cannot be had, or an answer that is no proper handshake. */
function handshakeError(error: Error & { code?: string }, label: string): Error {
  const link = toLinkError(error, label);
  if (error.code === 'ECONNRESET') return new UpgradeBroken('unreachable', link.message, { cause: error });
  const noHandshake = error.code === undefined || (link instanceof LinkError && link.failure === 'foreign');
  return noHandshake ? new UpgradeRefused(error.message, { cause: error }) : link;
}

function ignore(): void {
  // Whoever left does not want to know.
}
