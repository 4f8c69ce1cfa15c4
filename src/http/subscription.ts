/**
 * The engine behind WebSocket and server-sent watches: who has seen what, and who gets it next.
 *
 * A subscription is in one of these states:
 *
 * - **snapshot**: pages of everything selected, as of one position P. Nothing to resume from until they are all sent.
 * - **behind**: at a position of its own, reading from the log in batches, waiting whenever its peer is slow.
 * - **live**: at the hub's position. Revisions are handed over in the turn after their commit, all of a turn at once;
 *   the filter runs and the text is made once for all subscriptions that select the same. One whose peer is slow
 *   goes back to behind: nothing is queued for it here, only its position is kept.
 * - **ended**: it has said why (`compacted`, `reset`, `error`, `closing`) or its peer went.
 *
 * The promises (etcd's names) and where they are kept: *ordered* and *unique*, since a position only grows and what is
 * sent lies after it; *reliable*, since live needs position = hub's position and a batch from the log has no holes;
 * *atomic*, since a message holds whole revisions; *resumable* and *bookmarkable*, since each message carries the position
 * up to which everything selected has been sent.
 */
import type { Cancel, Clock } from '../base/clock.ts';
import type { Group } from '../base/group.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { AppError, isAppError } from '../domain/error.ts';
import { formatPosition, type Position, type Revision } from '../domain/event.ts';
import type { EventLog, SnapshotSource } from '../domain/services.ts';
import type { WatchMessage } from '../wire/watch.ts';
import { type EventsText, eventMessages, type Frame, SnapshotPage } from './message.ts';
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

/** Held by whoever began it. Both are harmless once it has ended. */
export interface WatchSubscription {
  /** Ends it without a word: nobody listens any more. */
  readonly cancel: Cancel;
  /** Ends it with `closing` and where to resume. */
  readonly close: (reason: string) => void;
}

export interface WatchHubOptions {
  readonly log: EventLog;
  readonly snapshots: SnapshotSource;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly group: Group;
  readonly limits?: Partial<WatchLimits>;
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

const watchLimits: WatchLimits = {
  bufferedBytes: limits.socketBufferedBytes,
  slowReaderMs: limits.slowReaderMs,
  progressMs: limits.progressMs,
  messageBytes: 256 * 1_024,
  readsMax: 8,
};

const readRevisionsMax = 1_024;
/**
 * Idle and slow subscriptions, and those whose credential ended, are looked for this often at least; what is due within
 * the next tick is due now.
 */
const tickMaxMs = 5_000;

export class WatchHub {
  readonly #log: EventLog;
  readonly #snapshots: SnapshotSource;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #group: Group;
  readonly #limits: WatchLimits;
  readonly #subscriptions = new Set<Subscription>();
  readonly #live = new Map<string, LiveSelection>();
  #pending: Revision[] = [];
  #flushAsked = false;
  #flushed: (() => void)[] = [];
  /** Everything up to here has been handed to whoever is live. */
  #position: Position;
  #unsubscribe: Cancel;
  #cancelTick: Cancel;
  readonly #tickMs: number;
  #readsFree: number;
  #readsWaiting: (() => void)[] = [];
  #closing = false;

  constructor(options: WatchHubOptions) {
    this.#log = options.log;
    this.#snapshots = options.snapshots;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#group = options.group;
    this.#limits = { ...watchLimits, ...options.limits };
    this.#readsFree = this.#limits.readsMax;
    this.#tickMs = Math.min(tickMaxMs, this.#limits.slowReaderMs / 5, this.#limits.progressMs / 5);
    const { epoch, revision } = this.#log.head();
    this.#position = { epoch, revision };
    this.#unsubscribe = this.#log.subscribe((revisions) => this.#committed(revisions));
    this.#cancelTick = this.#clock.after(this.#tickMs, () => this.#tick());
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  /** Up to where live subscriptions have been served. */
  get position(): Position {
    return this.#position;
  }

  /**
   * Begins a subscription; its first message says where it is. What cannot begin (`compacted`, `reset`, a position of
   * the future) is said to the sink as well: this never throws.
   */
  subscribe(start: WatchStart, sink: Sink): WatchSubscription {
    const now = this.#clock.monotonic();
    const subscription = new Subscription(start, sink, now);
    this.#subscriptions.add(subscription);
    this.#group.own('watch', this.#serve(subscription, start));
    return {
      cancel: () => this.#forget(subscription),
      close: (reason) => this.#closeOne(subscription, reason, 'closing'),
    };
  }

  /** Tells everybody where to resume and ends all. New subscriptions are refused the same way. */
  close(reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#cancelTick();
    this.#unsubscribe();
    this.#flush();
    for (const subscription of this.#subscriptions) this.#closeOne(subscription, reason, 'closing');
  }

  async #serve(subscription: Subscription, start: Pick<WatchStart, 'since' | 'snapshot'>): Promise<void> {
    try {
      if (this.#closing) return this.#closeOne(subscription, 'shutdown', 'closing');
      if (start.since !== null) {
        if (!this.#resumable(subscription, start.since)) return;
        subscription.cursor = start.since.revision;
      } else if (start.snapshot) {
        if (!(await this.#sendSnapshot(subscription))) return;
      } else {
        subscription.cursor = this.#log.head().revision;
      }
      await this.#follow(subscription);
    } catch (error) {
      if (subscription.ended) return;
      if (isAppError(error, 'compacted'))
        return this.#end(subscription, { kind: 'compacted', oldest: formatPosition(this.#log.oldest()) });
      const told = isAppError(error)
        ? error
        : new AppError('internal', 'Cannot go on watching: something failed here; the log has the reason');
      if (told !== error) this.#logger.error({ err: error }, 'watch failed');
      this.#end(subscription, { kind: 'error', code: told.code, detail: told.message });
    }
  }

  #resumable(subscription: Subscription, since: Position): boolean {
    const head = this.#log.head();
    const oldest = this.#log.oldest();
    if (since.epoch !== head.epoch) {
      this.#end(subscription, { kind: 'reset', epoch: head.epoch });
    } else if (since.revision > head.revision) {
      throw new AppError(
        'bad-request',
        `Cannot watch from ${formatPosition(since)}: the log ends at ${formatPosition(head)}`,
        { field: 'since' },
      );
    } else if (since.revision < oldest.revision) {
      this.#end(subscription, { kind: 'compacted', oldest: formatPosition(oldest) });
    }
    return !subscription.ended;
  }

  /** State snapshot. False when the subscription ended on the way. */
  async #sendSnapshot(subscription: Subscription): Promise<boolean> {
    subscription.state = 'snapshot';
    const { selection, shows } = subscription.selection;
    const { position, items } = this.#snapshots.snapshot(selection);
    const place = formatPosition(position);
    const page = new SnapshotPage(place);
    for (const item of items) {
      if (shows?.(item) === false) continue;
      page.add(item);
      if (!page.full) continue;
      this.#sendText(subscription, page.take(false), null);
      await this.#room(subscription);
      if (subscription.ended) return false;
    }
    this.#sendText(subscription, page.take(true), place);
    subscription.state = 'behind';
    subscription.cursor = position.revision;
    return true;
  }

  /** State behind: reads until the subscription is where the hub is, then it is live and this returns. */
  async #follow(subscription: Subscription): Promise<void> {
    subscription.state = 'behind';
    for (;;) {
      while (this.#isFull(subscription) && !subscription.ended) await this.#room(subscription);
      if (subscription.ended) return;
      if (subscription.cursor === this.#position.revision) return this.#goLive(subscription);
      if (subscription.cursor > this.#position.revision) {
        // It began at a commit that the hub hands out in this turn.
        await this.#nextFlush();
        continue;
      }
      const revisions = await this.#read(subscription);
      if (subscription.ended) return;
      // Meanwhile another watch of the same socket may have filled it; what was read is read again rather than kept.
      if (this.#isFull(subscription)) continue;
      // What was committed after the hub's last turn comes with its next one.
      const due = revisions.filter(({ revision }) => revision <= this.#position.revision);
      this.#sendRevisions(subscription, due);
      await this.#nextTurn();
    }
  }

  #goLive(subscription: Subscription): void {
    subscription.state = 'live';
    const { key } = subscription.selection;
    let selection = this.#live.get(key);
    if (selection === undefined) {
      selection = { selection: subscription.selection, bySink: new Map() };
      this.#live.set(key, selection);
    }
    const members = selection.bySink.get(subscription.sink.encodingKey);
    if (members === undefined) selection.bySink.set(subscription.sink.encodingKey, new Set([subscription]));
    else members.add(subscription);
    if (!subscription.toldAnything) this.#sendProgress(subscription);
  }

  #leaveLive(subscription: Subscription): void {
    const { key } = subscription.selection;
    const selection = this.#live.get(key);
    const members = selection?.bySink.get(subscription.sink.encodingKey);
    members?.delete(subscription);
    if (members?.size === 0) selection?.bySink.delete(subscription.sink.encodingKey);
    if (selection?.bySink.size === 0) this.#live.delete(key);
  }

  /** After a commit. The turn's end hands out everything that was committed in it. */
  #committed(revisions: readonly Revision[]): void {
    this.#pending.push(...revisions);
    if (this.#flushAsked) return;
    this.#flushAsked = true;
    this.#clock.nextTurn(() => this.#flush());
  }

  #flush(): void {
    this.#flushAsked = false;
    const { epoch, revision: headRevision } = this.#log.head();
    if (epoch !== this.#position.epoch) {
      this.#reset(epoch, headRevision);
      return;
    }
    const revisions = this.#pending.filter(({ revision }) => revision > this.#position.revision);
    this.#pending = [];
    const first = revisions[0];
    const last = revisions.at(-1);
    if (first !== undefined && last !== undefined) {
      if (first.revision !== this.#position.revision + 1) this.#demoteAll();
      const slow: Subscription[] = [];
      for (const live of this.#live.values()) this.#handOut(live, revisions, slow);
      this.#position = { epoch, revision: last.revision };
      for (const subscription of slow) if (subscription.state === 'live') this.#demote(subscription);
    }
    const waiting = this.#flushed;
    this.#flushed = [];
    for (const resume of waiting) resume();
  }

  /**
   * Writes to all of one selection; adds those whose peer is slow to `slow`, with their cursor. Asked before each frame:
   * the watches of one socket share its buffer, so the first of them that fills it must be the last that adds to it.
   */
  #handOut(live: LiveSelection, revisions: readonly Revision[], slow: Subscription[]): void {
    let messages: EventsText[] | undefined;
    for (const members of live.bySink.values()) {
      let frames: Frame[] | undefined;
      for (const subscription of members) {
        subscription.cursor = this.#position.revision;
        if (this.#isFull(subscription)) {
          slow.push(subscription);
          continue;
        }
        const { epoch } = this.#position;
        messages ??= [...eventMessages(live.selection, epoch, revisions, this.#limits.messageBytes)];
        if (messages.length === 0) return;
        frames ??= messages.map(({ body, position }) => subscription.sink.encode(body, position));
        if (!this.#writeWhileRoom(subscription, messages, frames)) slow.push(subscription);
      }
    }
  }

  /** False when the peer had no room for all: the subscription goes on behind its cursor. */
  #writeWhileRoom(
    subscription: Subscription,
    messages: readonly EventsText[],
    frames: readonly Frame[],
  ): boolean {
    for (const [index, frame] of frames.entries()) {
      if (this.#isFull(subscription)) return false;
      this.#write(subscription, frame);
      subscription.cursor = messages[index]?.revision ?? subscription.cursor;
    }
    return true;
  }

  #isFull(subscription: Subscription): boolean {
    return subscription.sink.bufferedBytes() > this.#limits.bufferedBytes;
  }

  /** Live → behind, from its cursor. */
  #demote(subscription: Subscription): void {
    this.#leaveLive(subscription);
    subscription.state = 'behind';
    this.#group.own('watch', this.#refollow(subscription));
  }

  async #refollow(subscription: Subscription): Promise<void> {
    return this.#serve(subscription, {
      since: { epoch: this.#position.epoch, revision: subscription.cursor },
      snapshot: false,
    });
  }

  /** The log told of revisions that do not follow what we have: everybody reads them from the log instead. */
  #demoteAll(): void {
    for (const subscription of [...this.#subscriptions]) {
      if (subscription.state !== 'live') continue;
      subscription.cursor = this.#position.revision;
      this.#demote(subscription);
    }
  }

  /** The store began a new life: what watchers have seen is no place in it. */
  #reset(epoch: number, revision: number): void {
    this.#pending = [];
    this.#position = { epoch, revision };
    for (const subscription of [...this.#subscriptions]) this.#end(subscription, { kind: 'reset', epoch });
    const waiting = this.#flushed;
    this.#flushed = [];
    for (const resume of waiting) resume();
  }

  #sendRevisions(subscription: Subscription, revisions: readonly Revision[]): void {
    for (const { body, position } of eventMessages(
      subscription.selection,
      this.#position.epoch,
      revisions,
      this.#limits.messageBytes,
    )) {
      this.#write(subscription, subscription.sink.encode(body, position));
    }
    subscription.cursor = revisions.at(-1)?.revision ?? subscription.cursor;
  }

  #sendProgress(subscription: Subscription): void {
    const position = formatPosition(this.#positionOf(subscription));
    this.#send(subscription, { kind: 'progress', position }, position);
  }

  #positionOf(subscription: Subscription): Position {
    return subscription.state === 'live'
      ? this.#position
      : { epoch: this.#position.epoch, revision: subscription.cursor };
  }

  #send(subscription: Subscription, message: WatchMessage, resume: string | null): void {
    this.#sendText(subscription, JSON.stringify(message), resume);
  }

  #sendText(subscription: Subscription, text: string, resume: string | null): void {
    this.#write(subscription, subscription.sink.encode(Buffer.from(text), resume));
  }

  #write(subscription: Subscription, frame: Frame): void {
    subscription.toldAnything = true;
    subscription.lastSentMs = this.#clock.monotonic();
    subscription.sink.write(frame);
  }

  #closeOne(subscription: Subscription, reason: string, ending: EndReason): void {
    // A snapshot cut short leaves nothing to resume from.
    const resume =
      subscription.state === 'snapshot' || subscription.state === 'new'
        ? null
        : formatPosition(this.#positionOf(subscription));
    this.#end(subscription, { kind: 'closing', reason, resume }, ending);
  }

  #end(subscription: Subscription, message: WatchMessage, reason: EndReason = 'told'): void {
    if (subscription.ended) return;
    this.#send(subscription, message, null);
    this.#forget(subscription);
    subscription.sink.ended(reason);
  }

  #forget(subscription: Subscription): void {
    if (subscription.state === 'live') this.#leaveLive(subscription);
    subscription.state = 'ended';
    this.#subscriptions.delete(subscription);
    subscription.wake();
  }

  #tick(): void {
    this.#cancelTick = this.#clock.after(this.#tickMs, () => this.#tick());
    const now = this.#clock.monotonic();
    for (const subscription of [...this.#subscriptions]) {
      if (!subscription.allowed()) this.#closeOne(subscription, 'credential', 'credential');
      else if (subscription.stuckForMs(now) >= this.#limits.slowReaderMs - this.#tickMs)
        this.#closeOne(subscription, 'slow-reader', 'slow');
      else if (
        subscription.state !== 'snapshot' &&
        subscription.state !== 'new' &&
        now - subscription.lastSentMs >= this.#limits.progressMs - this.#tickMs
      ) {
        this.#sendProgress(subscription);
      }
    }
  }

  /** Resolves in a later turn when the peer has taken what it was sent, or when the subscription ended. */
  async #room(subscription: Subscription): Promise<void> {
    await this.#nextTurn();
    if (subscription.ended || !this.#isFull(subscription)) return;
    await new Promise<void>((resolve) => {
      const cancel = subscription.sink.onceDrained(resolve);
      subscription.onWake(() => {
        cancel();
        resolve();
      });
    });
  }

  /**
   * At most `readsMax` at a time, so that a thousand watchers that come back together hold a few batches, not a thousand.
   * Nothing for one whose peer has no room when its turn comes.
   */
  async #read(subscription: Subscription): Promise<readonly Revision[]> {
    if (this.#readsFree === 0) await new Promise<void>((resolve) => this.#readsWaiting.push(resolve));
    else this.#readsFree -= 1;
    try {
      if (subscription.ended || this.#isFull(subscription)) return [];
      const revisions = await this.#log.read(subscription.cursor, {
        revisions: readRevisionsMax,
        bytes: this.#limits.messageBytes,
      });
      if (revisions.length === 0)
        throw new Error(`the log ends before ${formatPosition(this.#position)}, which it told of`);
      return revisions;
    } finally {
      const next = this.#readsWaiting.shift();
      if (next === undefined) this.#readsFree += 1;
      else next();
    }
  }

  #nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#clock.nextTurn(resolve));
  }

  #nextFlush(): Promise<void> {
    return new Promise((resolve) => this.#flushed.push(resolve));
  }
}

interface LiveSelection {
  readonly selection: CompiledSelection;
  readonly bySink: Map<string, Set<Subscription>>;
}

class Subscription {
  state: 'new' | 'snapshot' | 'behind' | 'live' | 'ended' = 'new';
  /** Everything selected up to this revision has been sent; while live, the hub's position counts. */
  cursor = 0;
  toldAnything = false;
  lastSentMs: number;
  readonly selection: CompiledSelection;
  readonly sink: Sink;
  readonly allowed: () => boolean;
  #wake: (() => void) | undefined;
  #takenBytes = 0;
  #takenAtMs: number;

  constructor({ selection, allowed = () => true }: WatchStart, sink: Sink, now: number) {
    this.selection = selection;
    this.sink = sink;
    this.allowed = allowed;
    this.lastSentMs = now;
    this.#takenAtMs = now;
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

  get ended(): boolean {
    return this.state === 'ended';
  }

  /** Called when the subscription ends while it waits. */
  onWake(fn: () => void): void {
    this.#wake = fn;
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
