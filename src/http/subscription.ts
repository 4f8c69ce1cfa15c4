/**
 * One watcher: what it selects, how far it is, and its end of the connection.
 *
 * A subscription is in one of these states:
 *
 * - **snapshot**: pages of everything selected, as of one position P. Nothing to resume from until they are all sent.
 * - **behind**: at a position of its own, reading from the log in batches, waiting whenever its peer is slow.
 * - **live**: at the hub's position. Revisions are handed over in the turn after their commit, all of a turn at once;
 *   the filter runs and the text is made once for all subscriptions that select the same. One whose peer is slow
 *   goes back to behind: nothing is queued for it here, only its position is kept.
 * - **ended**: it has said why (`compacted`, `reset`, `error`, `closing`) or its peer went.
 */
import type { Cancel, Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Position, Revision } from '../domain/event.ts';
import type { WatchMessage } from '../wire/watch.ts';
import { type EventsText, eventMessages, type Frame } from './message.ts';
import type { CompiledSelection } from './selection.ts';

/** Where the messages of a subscription go: one envelope id of a WebSocket, or one response of server-sent events. */
export interface Sink {
  /** Sinks with equal keys encode alike, so that their subscriptions share the bytes. */
  readonly encodingKey: string;
  /** A message in its frame. `resume`: the position that a client keeps once it has this message; null when it keeps the one it had. */
  encode(body: Buffer, resume: string | null): Frame;
  /** Hands a whole frame over. Never blocks, never throws; what the peer has not taken counts in `bufferedBytes`. */
  write(frame: Frame): void;
  /** Of the connection, which sinks may share. */
  bufferedBytes(): number;
  /** Grows with every byte that the peer takes. */
  takenBytes(): number;
  /** Calls `fn` once when nothing is buffered any more. */
  onceDrained(fn: () => void): Cancel;
  /** The subscription is over and has said so. */
  ended(reason: EndReason): void;
}

export type EndReason = 'told' | 'slow' | 'credential' | 'closing';

export interface WatchStart {
  readonly selection: CompiledSelection;
  /** Exclusive; null starts at the present, or with a snapshot when asked. A given position goes before a snapshot. */
  readonly since: Position | null;
  readonly snapshot: boolean;
  /** Asked at each tick; once it is false the subscription is closed with the reason `credential`. */
  readonly allowed?: () => boolean;
}

export interface WatchLimits {
  readonly bufferedBytes: number;
  readonly slowReaderMs: number;
  readonly progressMs: number;
  /** One message is cut after the revision that passes this. */
  readonly messageBytes: number;
  /** Reads from the log at the same time; each holds at most `messageBytes`. */
  readonly readsMax: number;
}

/** What holds unless told otherwise. */
export const watchLimits: WatchLimits = {
  bufferedBytes: limits.socketBufferedBytes,
  slowReaderMs: limits.slowReaderMs,
  progressMs: limits.progressMs,
  messageBytes: 256 * 1_024,
  readsMax: 8,
};

type State = 'new' | 'snapshot' | 'behind' | 'live' | 'ended';

export class Subscription {
  state: State = 'new';
  /** Everything selected up to this revision has been sent; while live, the hub's position counts. */
  cursor = 0;
  /** False until its first message: a watcher is told where it is before anything happens. */
  toldAnything = false;
  readonly selection: CompiledSelection;
  readonly sink: Sink;
  readonly allowed: () => boolean;
  readonly #clock: Clock;
  readonly #limits: WatchLimits;
  #lastSentMs: number;
  #wake: (() => void) | undefined;
  #takenBytes = 0;
  #takenAtMs: number;

  constructor(
    { selection, allowed = () => true }: WatchStart,
    sink: Sink,
    { clock, limits }: { clock: Clock; limits: WatchLimits },
  ) {
    this.selection = selection;
    this.sink = sink;
    this.allowed = allowed;
    this.#clock = clock;
    this.#limits = limits;
    this.#lastSentMs = clock.monotonic();
    this.#takenAtMs = this.#lastSentMs;
  }

  get ended(): boolean {
    return this.state === 'ended';
  }

  /** Whether there is a place to resume from: not before a snapshot is complete. */
  get placed(): boolean {
    return this.state !== 'new' && this.state !== 'snapshot';
  }

  /** Whether its peer has enough to take before it gets more. Watches of one socket share its buffer. */
  get full(): boolean {
    return this.sink.bufferedBytes() > this.#limits.bufferedBytes;
  }

  /** For how long it was sent nothing. */
  idleForMs(now: number): number {
    return now - this.#lastSentMs;
  }

  /** For how long the peer has taken nothing of what waits for it. */
  stuckForMs(now: number): number {
    const taken = this.sink.takenBytes();
    if (this.sink.bufferedBytes() === 0 || taken !== this.#takenBytes) {
      this.#takenBytes = taken;
      this.#takenAtMs = now;
    }
    return now - this.#takenAtMs;
  }

  send(message: WatchMessage, resume: string | null): void {
    this.sendText(JSON.stringify(message), resume);
  }

  sendText(text: string, resume: string | null): void {
    this.#write(this.sink.encode(Buffer.from(text), resume));
  }

  /** What it selects of these, whether its peer has room or not; its cursor is then behind the last. */
  sendRevisions(epoch: number, revisions: readonly Revision[]): void {
    const messages = eventMessages(this.selection, epoch, revisions, this.#limits.messageBytes);
    for (const { body, position } of messages) this.#write(this.sink.encode(body, position));
    this.cursor = revisions.at(-1)?.revision ?? this.cursor;
  }

  /**
   * Messages that were made and framed for several. False when the peer had no room for all: the subscription goes on
   * behind its cursor. Asked before each frame: the watches of one socket share its buffer, so the first of them that
   * fills it must be the last that adds to it.
   */
  writeWhileRoom(messages: readonly EventsText[], frames: readonly Frame[]): boolean {
    for (const [index, frame] of frames.entries()) {
      if (this.full) return false;
      this.#write(frame);
      this.cursor = messages[index]?.revision ?? this.cursor;
    }
    return true;
  }

  /** Resolves in a later turn when the peer has taken what it was sent, or when the subscription ended. */
  async room(): Promise<void> {
    await new Promise<void>((resolve) => this.#clock.nextTurn(resolve));
    if (this.ended || !this.full) return;
    await new Promise<void>((resolve) => {
      const cancel = this.sink.onceDrained(resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  /** It has said why, or its peer went. */
  end(): void {
    this.state = 'ended';
    this.#wake?.();
    this.#wake = undefined;
  }

  #write(frame: Frame): void {
    this.toldAnything = true;
    this.#lastSentMs = this.#clock.monotonic();
    this.sink.write(frame);
  }
}
