/**
 * A watch that survives its connections: it resumes from the last position that it delivered, so nothing is missed
 * and nothing comes twice. Each connection is tried as a WebSocket first, and as server-sent events where that cannot
 * be had (proxies that drop them). The next one begins with a WebSocket again: what refused the last may be gone.
 */
import { backoffMs, retryDelayMs } from '../base/retry.ts';
import { AppError, type ErrorCode, errorCodes, isAppError } from '../domain/error.ts';
import { formatPosition, type Position, parsePosition, type Selection } from '../domain/event.ts';
import type { WatchMessage } from '../wire/watch.ts';
import { type Connection, isPassing } from './connection.ts';
import { eventStreamMessages } from './event-stream.ts';
import { LinkError } from './link.ts';
import type { WatchStart } from './watch-transport.ts';
import { UpgradeBroken, UpgradeRefused, webSocketMessages } from './websocket.ts';

export interface WatchOptions {
  readonly select?: Selection;
  /** Resume after this position; null starts now. */
  readonly since?: string | null;
  /** First everything selected as it is, then what happens after that. */
  readonly snapshot?: boolean;
  /**
   * When the position is gone (`compacted`, or `reset`: the store began a new life), the message is delivered first.
   * `end` (the default) then ends the watch; `resnapshot` goes on with a snapshot, which replaces what was known.
   */
  readonly onGap?: 'end' | 'resnapshot';
  /** Keep trying when there is no connection at the start, instead of throwing. Later losses are always retried. */
  readonly patient?: boolean;
  /** Told of every change of the connection, for people and logs. */
  readonly onLink?: (link: WatchLink) => void;
  /** Ends the watch, which then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export type WatchLink =
  | { readonly up: true; readonly via: 'websocket' | 'event-stream' }
  | { readonly up: false; readonly error: Error; readonly retryMs: number };

/**
 * What a watch delivers. `restart` is the client's own word: the connection broke inside a snapshot, which begins
 * anew; forget the pages so far. `closing` and `error` of the wire are not delivered: the one is resumed, the other
 * thrown.
 */
export type WatchUpdate = Exclude<WatchMessage, { kind: 'closing' | 'error' }> | { readonly kind: 'restart' };

const reconnectBackoff = { baseMs: 250, capMs: 15_000 };
/** A WebSocket that somebody takes and that breaks before its first message, this often in a row, is spoilt by a proxy. */
const silentSocketsMax = 2;

/**
 * Throws the server's refusals (`bad-request`, `unauthenticated`, …), a `LinkError` when the first connection fails
 * (unless `patient`), the signal's reason when aborted.
 */
export async function* watch(
  connection: Connection,
  options: WatchOptions = {},
): AsyncGenerator<WatchUpdate, void, undefined> {
  const { onLink, patient = false, onGap = 'end' } = options;
  const { clock, random } = connection;
  const asked = options.signal ?? connection.signal;
  const signal = asked === undefined ? connection.closed : AbortSignal.any([asked, connection.closed]);
  const progress = new Progress(options);
  let reached = patient;
  let refused = false;
  let silentSockets = 0;
  for (let failures = 0; ; ) {
    signal.throwIfAborted();
    const without = refused || silentSockets >= silentSocketsMax;
    const via = without ? 'event-stream' : 'websocket';
    // After the event stream a WebSocket has one more chance.
    if (without) silentSockets = silentSocketsMax - 1;
    refused = false;
    let opened = false;
    let told = false;
    try {
      const open = via === 'websocket' ? webSocketMessages : eventStreamMessages;
      const start = progress.start(options.select);
      const messages = open(connection, start, {
        signal,
        onOpen: () => {
          reached = true;
          opened = true;
          onLink?.({ up: true, via });
        },
      });
      for await (const message of messages) {
        told = true;
        if (via === 'websocket') silentSockets = 0;
        if (message.kind === 'error') throw new AppError(codeOf(message.code), message.detail);
        if (message.kind === 'closing') break;
        for (const update of progress.take(message)) {
          yield update;
          if (update.kind === 'events' || update.kind === 'progress') failures = 0;
        }
        if (progress.gap === null) continue;
        if (onGap === 'end') return;
        progress.resnapshot();
        break;
      }
      // The server closed in good order. Resume at once, but not in a tight circle if it does nothing else.
      failures += 1;
      await clock.sleep(failures === 1 ? 0 : backoffMs(failures - 1, { ...reconnectBackoff, random }), {
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      // Whoever waits for nothing hears at once whether it goes without a WebSocket.
      refused = error instanceof UpgradeRefused || (error instanceof UpgradeBroken && !reached);
      if (refused) continue;
      if (progress.isAhead(error)) {
        yield progress.reset();
        if (onGap === 'end') return;
        progress.resnapshot();
        continue;
      }
      if (!(error instanceof AppError) || !mayReconnect(error, reached)) throw error;
      if (via === 'websocket' && !told && (opened || wasAnswered(error))) silentSockets += 1;
      failures += 1;
      const retryMs = retryDelayMs(failures, error, { ...reconnectBackoff, random });
      onLink?.({ up: false, error, retryMs });
      await clock.sleep(retryMs, { signal });
    }
  }
}

/** A server that is away or busy may come back; what it refuses, it refuses again. */
function mayReconnect(error: AppError, reached: boolean): boolean {
  if (!reached) return false;
  return error instanceof LinkError || isPassing(error) || error.code === 'internal';
}

/** Somebody was there, whether or not a server. */
function wasAnswered(error: AppError): boolean {
  return !(error instanceof LinkError && error.failure === 'unreachable') || error instanceof UpgradeBroken;
}

/** What has been delivered, and so where to go on. */
class Progress {
  #last: Position | null;
  /** Whether the server itself said that position. */
  #delivered = false;
  #snapshot: boolean;
  /** Pages of the present snapshot have been delivered, its end has not. */
  #insideSnapshot = false;
  #restarted = false;
  /** Why the log cannot be followed from here; null while it can. */
  gap: 'compacted' | 'reset' | null = null;

  constructor({ since = null, snapshot = false }: WatchOptions) {
    this.#last = since === null ? null : parsePosition(since);
    this.#snapshot = snapshot;
  }

  start(select: Selection | undefined): WatchStart {
    this.#restarted = this.#insideSnapshot;
    this.#insideSnapshot = false;
    return {
      select,
      since: this.#last === null ? null : formatPosition(this.#last),
      snapshot: this.#snapshot,
    };
  }

  /**
   * Whether a refusal means that the server's log ends before what it delivered itself: its store was put back, and
   * nobody has told it yet.
   */
  isAhead(error: unknown): boolean {
    return this.#delivered && isAppError(error, 'bad-request');
  }

  /** As if the server had said `reset`: it will, once it knows. */
  reset(): WatchUpdate {
    this.gap = 'reset';
    return { kind: 'reset', epoch: this.#last?.epoch ?? 0 };
  }

  /** The updates to deliver for a message: none when they were delivered before. */
  *take(message: Exclude<WatchMessage, { kind: 'closing' | 'error' }>): Generator<WatchUpdate> {
    switch (message.kind) {
      case 'snapshot':
        if (this.#restarted) yield { kind: 'restart' };
        this.#restarted = false;
        this.#insideSnapshot = !message.done;
        if (message.done) {
          this.#snapshot = false;
          this.#last = parsePosition(message.position, 'position');
          this.#delivered = true;
        }
        yield message;
        return;
      case 'events':
      case 'progress': {
        const position = parsePosition(message.position, 'position');
        if (this.#last !== null && position.epoch !== this.#last.epoch) {
          // A server that forgot to say `reset`: positions of two lives cannot be compared.
          this.gap = 'reset';
          yield { kind: 'reset', epoch: position.epoch };
          return;
        }
        if (this.#last !== null && position.revision <= this.#last.revision && message.kind === 'events')
          return;
        this.#last = position;
        this.#delivered = true;
        yield message;
        return;
      }
      case 'compacted':
      case 'reset':
        this.gap = message.kind;
        yield message;
        return;
    }
  }

  resnapshot(): void {
    this.gap = null;
    this.#last = null;
    this.#delivered = false;
    this.#snapshot = true;
    this.#insideSnapshot = false;
  }
}

function codeOf(code: string): ErrorCode {
  return (errorCodes as readonly string[]).includes(code) ? (code as ErrorCode) : 'internal';
}
