/**
 * `GET /v1/watch`: many watches over one WebSocket. The envelope's id, chosen by the client, is the subscription.
 *
 * Frames are built here and written to the socket itself: a server's frames are not masked, so all who use the same
 * id get the same bytes, and all others the same body between bytes of their own. `ws` reads, answers pings and
 * closes; it writes whole frames at once when nothing is compressed, so the two never interleave.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TSchema } from 'typebox';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Cancel, Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { parsePosition } from '../domain/event.ts';
import { decodeEnvelope, type Envelope, jsonBody } from '../wire/envelope.ts';
import {
  bearerSubprotocolPrefix,
  UnwatchSchema,
  type WatchMessage,
  type WatchRequest,
  WatchSchema,
  watchSubprotocol,
} from '../wire/watch.ts';
import { type Frame, frameOf, writeFrame } from './message.ts';
import { type HttpContext, operation } from './operation.ts';
import { asAppError } from './problem.ts';
import { compileSelection } from './selection.ts';
import type { EndReason, Sink } from './subscription.ts';
import { createValidators, type Validate } from './validate.ts';
import type { WatchSubscription } from './watch-hub.ts';

export const watch = operation({
  id: 'watch',
  scoped: true,
  requestClass: 'watch',
  tag: 'watch',
  summary: `WebSocket (subprotocol ${watchSubprotocol}): snapshots and events of the log, resumable`,
  answers: { 101: null },
  streams: true,
  handle() {
    throw new AppError(
      'bad-request',
      'Cannot watch over plain HTTP: expected a WebSocket upgrade; /v1/events serves the same as server-sent events',
      { field: 'upgrade' },
    );
  },
});

/** Twice this without a sign of life, and the peer is gone. */
const pingMs = 15_000;
/** How long a peer that is told to go may take to take it. */
const goodbyeMs = 1_000;
const watchIdMax = 253;
/** Codes of RFC 6455 §7.4.1 and the IANA registry that it began. */
const policyViolation = 1008;
const tryAgainLater = 1013;

export interface WatchEndpoint {
  /** Open sockets. */
  readonly size: number;
  /** Throws `bad-request` for an upgrade that cannot be; nothing is written then. */
  check(request: IncomingMessage): void;
  /** Completes the upgrade of a caller who may. */
  accept(caller: Caller, request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Asks all peers to go; the hub has told their watches where to resume. */
  close(): void;
  /** Ends what is still open. */
  terminate(): void;
}

export function createWatchEndpoint(context: HttpContext, logger: Logger): WatchEndpoint {
  const { clock } = context;
  const connections = new Set<Connection>();
  const validate = requestValidators();
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    // Compression would cost a copy and a context of 64 KiB and more for each watcher.
    perMessageDeflate: false,
    maxPayload: limits.frameInboundBytes,
    handleProtocols: (offered) => (offered.has(watchSubprotocol) ? watchSubprotocol : false),
  });
  let cancelPings: Cancel | undefined;
  const ping = () => {
    for (const connection of connections) connection.ping();
    cancelPings = connections.size === 0 ? undefined : clock.after(pingMs, ping);
  };
  return {
    get size() {
      return connections.size;
    },
    check(request) {
      checkHandshake(request);
    },
    accept(caller, request, socket, head) {
      server.handleUpgrade(request, socket, head, (webSocket) => {
        const connection = new Connection(webSocket, socket as Socket, { caller, context, logger, validate });
        if (connections.size === 0) cancelPings = clock.after(pingMs, ping);
        connections.add(connection);
        webSocket.on('close', () => {
          connections.delete(connection);
          // Or the next socket begins a second round of pings beside this one, and is cut off between two of them.
          if (connections.size === 0) cancelPings?.();
        });
      });
    },
    close() {
      cancelPings?.();
      for (const connection of connections) connection.leave(1001, 'closing');
    },
    terminate() {
      for (const connection of connections) connection.terminate();
    },
  };
}

/** `ws` would answer these itself, but not with a problem document. */
function checkHandshake(request: IncomingMessage): void {
  const { headers, url = '' } = request;
  if (url.includes('?'))
    throw new AppError(
      'bad-request',
      'Cannot watch: the query of /v1/watch takes no names; what to watch is said in the first frame',
      { field: 'query' },
    );
  if (request.method !== 'GET')
    throw new AppError('bad-request', `Cannot upgrade a ${request.method}: expected GET`, {
      field: 'method',
    });
  if (headers['sec-websocket-version'] !== '13') {
    throw new AppError('bad-request', 'Cannot upgrade: expected Sec-WebSocket-Version 13 (RFC 6455)', {
      field: 'sec-websocket-version',
    });
  }
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '')) {
    throw new AppError(
      'bad-request',
      'Cannot upgrade: expected a Sec-WebSocket-Key of 16 bytes in base64 (RFC 6455)',
      { field: 'sec-websocket-key' },
    );
  }
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  const named = offered.filter((name) => name !== '' && !name.startsWith(bearerSubprotocolPrefix));
  if (named.length > 0 && !named.includes(watchSubprotocol)) {
    throw new AppError(
      'bad-request',
      `Cannot speak ${named.map((name) => JSON.stringify(name.slice(0, 40))).join(', ')}: expected the subprotocol ${watchSubprotocol}`,
      {
        field: 'sec-websocket-protocol',
      },
    );
  }
  if (new Set(offered).size !== offered.length) {
    throw new AppError('bad-request', 'Cannot upgrade: a subprotocol is offered twice', {
      field: 'sec-websocket-protocol',
    });
  }
}

interface ConnectionOptions {
  readonly caller: Caller;
  readonly context: HttpContext;
  readonly logger: Logger;
  readonly validate: Record<WatchRequest['op'], Validate>;
}

/** One WebSocket and its watches. */
class Connection {
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #clock: Clock;
  readonly #watches = new Map<string, WatchSubscription>();
  #heard = true;

  constructor(webSocket: WebSocket, socket: Socket, options: ConnectionOptions) {
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#options = options;
    this.#clock = options.context.clock;
    // Every drain wakes every slow watch of this socket, and there may be as many.
    socket.setMaxListeners(0);
    webSocket.on('message', (data: Buffer, binary: boolean) => this.#received(data, binary));
    webSocket.on('pong', () => (this.#heard = true));
    webSocket.on('ping', () => (this.#heard = true));
    webSocket.on('error', (error) =>
      options.logger.debug({ err: error, subject: options.caller.subject }, 'watch socket failed'),
    );
    webSocket.on('close', () => {
      for (const subscription of this.#watches.values()) subscription.cancel();
    });
  }

  ping(): void {
    if (!this.#heard) {
      this.terminate();
      return;
    }
    this.#heard = false;
    if (this.#webSocket.readyState === this.#webSocket.OPEN) this.#webSocket.ping();
  }

  /** Closes; a peer that does not take it is cut off. */
  leave(code: number, reason: string): void {
    this.#webSocket.close(code, reason);
    const cancel = this.#clock.after(goodbyeMs, () => this.terminate());
    this.#webSocket.once('close', cancel);
  }

  terminate(): void {
    this.#webSocket.terminate();
  }

  #received(data: Buffer, binary: boolean): void {
    this.#heard = true;
    // Nothing may follow the close frame.
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    let id = '';
    try {
      if (binary)
        throw new AppError(
          'bad-request',
          'Cannot read the frame: it is binary, expected an envelope as text',
        );
      const envelope = decodeEnvelope(data);
      id = envelope.id;
      this.#obey(id, this.#requestOf(envelope));
    } catch (error) {
      const told = asAppError(error);
      if (told.code === 'internal') this.#options.logger.error({ err: error }, 'watch request failed');
      this.#watches.get(id)?.cancel();
      this.#watches.delete(id);
      this.#answer(id, { kind: 'error', code: told.code, detail: told.message });
      if (told.code === 'unauthenticated') this.#leaveWhole('credential', policyViolation);
    }
    // Who sends without reading what comes back is not read from either.
    if (this.#socket.writableLength > limits.socketBufferedBytes) {
      this.#webSocket.pause();
      this.#socket.once('drain', () => this.#webSocket.resume());
    }
  }

  #requestOf(envelope: Envelope): WatchRequest {
    const { id } = envelope;
    if (id === '' || id.length > watchIdMax) {
      throw new AppError(
        'bad-request',
        `Cannot watch under this id: expected 1 to ${watchIdMax} characters`,
        { field: 'id' },
      );
    }
    const body = jsonBody(envelope);
    const op = typeof body === 'object' && body !== null && 'op' in body ? body.op : undefined;
    if (op !== 'watch' && op !== 'unwatch')
      throw new AppError('bad-request', 'Cannot obey: op must be one of watch, unwatch', { field: 'op' });
    const result = this.#options.validate[op](body);
    if (result !== true) throw result.error;
    return body as WatchRequest;
  }

  #obey(id: string, request: WatchRequest): void {
    if (request.op === 'unwatch') {
      // One that has just ended by itself is as gone as it was asked to be.
      this.#watches.get(id)?.cancel();
      this.#watches.delete(id);
      return;
    }
    const { context, caller } = this.#options;
    if (!this.#allowed())
      throw new AppError(
        'unauthenticated',
        'Cannot watch: the token of this socket has expired or was revoked',
      );
    if (this.#watches.has(id))
      throw new AppError(
        'conflict',
        `Cannot watch under "${id.slice(0, 80)}" twice: that watch has ended now, begin it again`,
        { field: 'id' },
      );
    if (this.#watches.size >= limits.socketWatchesMax) {
      throw new AppError(
        'rate-limited',
        `Cannot begin another watch: ${limits.socketWatchesMax} are on this socket`,
      );
    }
    const selection = compileSelection(request.select ?? {}, caller, context.history);
    const since = request.since === undefined || request.since === null ? null : parsePosition(request.since);
    const sink = new WebSocketSink(id, this.#socket, (reason) => this.#ended(id, reason));
    const start = { selection, since, snapshot: request.snapshot ?? false, allowed: () => this.#allowed() };
    this.#watches.set(id, context.hub.subscribe(start, sink));
  }

  #allowed(): boolean {
    const { context, caller } = this.#options;
    return context.services.access.stillValid?.(caller) ?? true;
  }

  #ended(id: string, reason: EndReason): void {
    this.#watches.delete(id);
    // The socket is what is slow, or has no credential: the other watches on it are told where they are, and it goes.
    if (reason === 'slow') this.#leaveWhole('slow-reader', tryAgainLater);
    if (reason === 'credential') this.#leaveWhole('credential', policyViolation);
  }

  #leaveWhole(reason: string, code: number): void {
    for (const subscription of this.#watches.values()) subscription.close(reason);
    this.leave(code, reason);
  }

  #answer(id: string, message: WatchMessage): void {
    writeFrame(this.#socket, envelopeFrame(envelopePrefix(id), Buffer.from(JSON.stringify(message))));
  }
}

class WebSocketSink implements Sink {
  readonly encodingKey: string;
  readonly ended: (reason: EndReason) => void;
  readonly #prefix: Buffer;
  readonly #socket: Socket;

  constructor(id: string, socket: Socket, ended: (reason: EndReason) => void) {
    this.encodingKey = `websocket ${id}`;
    this.ended = ended;
    this.#prefix = envelopePrefix(id);
    this.#socket = socket;
  }

  encode(body: Buffer): Frame {
    return envelopeFrame(this.#prefix, body);
  }

  write(frame: Frame): void {
    if (this.#socket.writable) writeFrame(this.#socket, frame);
  }

  bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  takenBytes(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }

  onceDrained(fn: () => void): Cancel {
    this.#socket.once('drain', fn);
    return () => this.#socket.off('drain', fn);
  }
}

/** An envelope up to its body; `}` closes it. */
function envelopePrefix(id: string): Buffer {
  return Buffer.from(`{"v":1,"id":${JSON.stringify(id)},"mimetype":"application/json","body":`);
}

const closingBrace = Buffer.from('}');

/** A whole unmasked text frame (RFC 6455 §5.2) around `prefix`, `body` and `}`. */
function envelopeFrame(prefix: Buffer, body: Buffer): Frame {
  const payloadBytes = prefix.length + body.length + closingBrace.length;
  const headerBytes = payloadBytes < 126 ? 2 : payloadBytes < 65_536 ? 4 : 10;
  const head = Buffer.allocUnsafe(headerBytes + prefix.length);
  head[0] = 0x81;
  if (headerBytes === 2) head[1] = payloadBytes;
  else if (headerBytes === 4) {
    head[1] = 126;
    head.writeUInt16BE(payloadBytes, 2);
  } else {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(payloadBytes), 2);
  }
  prefix.copy(head, headerBytes);
  return frameOf(head, body, closingBrace);
}

function requestValidators(): Record<WatchRequest['op'], Validate> {
  const validator = createValidators();
  const of = (schema: TSchema) => validator(schema, 'body', { optional: false });
  return { watch: of(WatchSchema), unwatch: of(UnwatchSchema) };
}
