/** `GET /v1/events`: one watch as server-sent events (WHATWG HTML §9.2), for pages, curl and proxies that drop WebSockets. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Cancel, Clock } from '../base/clock.ts';
import { parsePosition } from '../domain/event.ts';
import { EventsQuery, selectionOfQuery } from '../wire/watch.ts';
import { type Frame, frameOf, writeFrame } from './message.ts';
import { operation } from './operation.ts';
import { compileSelection } from './selection.ts';
import type { EndReason, Sink } from './subscription.ts';

/** How long a reader that is told to go may take to take it. */
const goodbyeMs = 1_000;
/** Ends a message. */
const blankLine = Buffer.from('\n\n');

export const events = operation({
  id: 'events',
  scoped: true,
  requestClass: 'watch',
  tag: 'watch',
  summary: 'Snapshots and events of the log as server-sent events; Last-Event-ID resumes',
  query: EventsQuery,
  answers: { 200: 'text/event-stream' },
  streams: true,
  handle({ context, services, caller, query, lastEventId, requestId }) {
    const selection = compileSelection(selectionOfQuery(query), caller, context.history);
    // A browser that comes back asks for the same URL; what it has seen goes before what the URL says.
    const since = lastEventId === undefined || lastEventId === '' ? query.since : lastEventId;
    const position =
      since === undefined ? null : parsePosition(since, since === query.since ? 'since' : 'last-event-id');
    return {
      kind: 'takeover',
      run(request, response) {
        response.writeHead(200, {
          'content-type': 'text/event-stream; charset=utf-8',
          'cache-control': 'no-store',
          // The stream is the connection's last answer, so that closing one ends the other.
          connection: 'close',
          'x-accel-buffering': 'no',
          'x-request-id': requestId,
        });
        response.flushHeaders();
        const sink = new EventStreamSink(response, request.socket, context.clock);
        const subscription = context.hub.subscribe(
          {
            selection,
            since: position,
            snapshot: query.snapshot ?? false,
            allowed: () => services.access.stillValid?.(caller) ?? true,
          },
          sink,
        );
        response.on('close', subscription.cancel);
      },
    };
  },
});

class EventStreamSink implements Sink {
  readonly encodingKey = 'event-stream';
  readonly #response: ServerResponse;
  readonly #socket: Socket;
  readonly #clock: Clock;

  constructor(response: ServerResponse, socket: Socket, clock: Clock) {
    this.#response = response;
    this.#socket = socket;
    this.#clock = clock;
  }

  /** The body is JSON, so it has no line break. */
  encode(body: Buffer, resume: string | null): Frame {
    return frameOf(Buffer.from(resume === null ? 'data: ' : `id: ${resume}\ndata: `), body, blankLine);
  }

  write(frame: Frame): void {
    if (this.#response.writable) writeFrame(this.#response, frame);
  }

  bufferedBytes(): number {
    return this.#response.writableLength;
  }

  takenBytes(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }

  onceDrained(fn: () => void): Cancel {
    this.#socket.once('drain', fn);
    return () => this.#socket.off('drain', fn);
  }

  ended(_reason: EndReason): void {
    this.#response.end();
    const cancel = this.#clock.after(goodbyeMs, () => this.#socket.destroy());
    this.#response.once('finish', cancel);
    this.#response.once('close', cancel);
  }
}
