/**
 * The engine behind WebSocket and server-sent watches: who has seen what, and who gets it next. Each subscription goes
 * through the states that stand in subscription.ts.
 *
 * The promises (etcd's names) and where they are kept: *ordered* and *unique*, since a position only grows and what is
 * sent lies after it; *reliable*, since live needs position = hub's position and a batch from the log has no holes;
 * *atomic*, since a message holds whole revisions; *resumable* and *bookmarkable*, since each message carries the position
 * up to which everything selected has been sent.
 */
import type { Cancel, Clock } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import type { Group } from '../base/group.ts';
import type { Logger } from '../base/log.ts';
import { AppError, isAppError } from '../domain/error.ts';
import { formatPosition, type Position, type Revision } from '../domain/event.ts';
import type { EventLog, SnapshotSource } from '../domain/services.ts';
import type { WatchMessage } from '../wire/watch.ts';
import { LiveSubscriptions } from './live-subscriptions.ts';
import { SnapshotPage } from './message.ts';
import {
  type EndReason,
  type Sink,
  Subscription,
  type WatchLimits,
  type WatchStart,
  watchLimits,
} from './subscription.ts';

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

const readRevisionsMax = 1_024;
/**
 * Idle and slow subscriptions, and those whose credential ended, are looked for this often at least; what is due within
 * the next tick is due now.
 */
const tickMaxMs = 2_000;

export class WatchHub {
  readonly #log: EventLog;
  readonly #snapshots: SnapshotSource;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #group: Group;
  readonly #limits: WatchLimits;
  readonly #subscriptions = new Set<Subscription>();
  readonly #live: LiveSubscriptions;
  #pending: Revision[] = [];
  #flushAsked = false;
  #flushed: (() => void)[] = [];
  /** Everything up to here has been handed to whoever is live. */
  #position: Position;
  #unsubscribe: Cancel;
  #cancelTick: Cancel;
  readonly #tickMs: number;
  /** So that a thousand watchers that come back together hold a few batches, not a thousand. */
  readonly #reads: Gate;
  #closing = false;

  constructor(options: WatchHubOptions) {
    this.#log = options.log;
    this.#snapshots = options.snapshots;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#group = options.group;
    this.#limits = { ...watchLimits, ...options.limits };
    this.#live = new LiveSubscriptions(this.#limits.messageBytes);
    this.#reads = new Gate(this.#limits.readsMax);
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
    const subscription = new Subscription(start, sink, { clock: this.#clock, limits: this.#limits });
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
        await subscription.selection.reach?.(start.since.revision);
        if (subscription.ended) return;
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
      subscription.sendText(page.take(false), null);
      await subscription.room();
      if (subscription.ended) return false;
    }
    subscription.sendText(page.take(true), place);
    subscription.state = 'behind';
    subscription.cursor = position.revision;
    return true;
  }

  /** State behind: reads until the subscription is where the hub is, then it is live and this returns. */
  async #follow(subscription: Subscription): Promise<void> {
    subscription.state = 'behind';
    for (;;) {
      while (subscription.full && !subscription.ended) await subscription.room();
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
      if (subscription.full) continue;
      // What was committed after the hub's last turn comes with its next one.
      const due = revisions.filter(({ revision }) => revision <= this.#position.revision);
      subscription.sendRevisions(this.#position.epoch, due);
      await this.#nextTurn();
    }
  }

  #goLive(subscription: Subscription): void {
    subscription.state = 'live';
    this.#live.add(subscription);
    if (!subscription.toldAnything) this.#sendProgress(subscription);
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
      const slow = this.#live.handOut(this.#position, revisions);
      this.#position = { epoch, revision: last.revision };
      for (const subscription of slow) if (subscription.state === 'live') this.#demote(subscription);
    }
    this.#resumeWaiting();
  }

  /** Live → behind, from its cursor. */
  #demote(subscription: Subscription): void {
    this.#live.remove(subscription);
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
    this.#resumeWaiting();
  }

  #resumeWaiting(): void {
    const waiting = this.#flushed;
    this.#flushed = [];
    for (const resume of waiting) resume();
  }

  #sendProgress(subscription: Subscription): void {
    const position = formatPosition(this.#positionOf(subscription));
    subscription.send({ kind: 'progress', position }, position);
  }

  #positionOf(subscription: Subscription): Position {
    return subscription.state === 'live'
      ? this.#position
      : { epoch: this.#position.epoch, revision: subscription.cursor };
  }

  #closeOne(subscription: Subscription, reason: string, ending: EndReason): void {
    // A snapshot cut short leaves nothing to resume from.
    const resume = subscription.placed ? formatPosition(this.#positionOf(subscription)) : null;
    this.#end(subscription, { kind: 'closing', reason, resume }, ending);
  }

  #end(subscription: Subscription, message: WatchMessage, reason: EndReason = 'told'): void {
    if (subscription.ended) return;
    subscription.send(message, null);
    this.#forget(subscription);
    subscription.sink.ended(reason);
  }

  #forget(subscription: Subscription): void {
    if (subscription.state === 'live') this.#live.remove(subscription);
    subscription.end();
    this.#subscriptions.delete(subscription);
  }

  #tick(): void {
    this.#cancelTick = this.#clock.after(this.#tickMs, () => this.#tick());
    const now = this.#clock.monotonic();
    for (const subscription of [...this.#subscriptions]) {
      if (!subscription.allowed()) this.#closeOne(subscription, 'credential', 'credential');
      else if (subscription.stuckForMs(now) >= this.#limits.slowReaderMs - this.#tickMs)
        this.#closeOne(subscription, 'slow-reader', 'slow');
      else if (subscription.placed && subscription.idleForMs(now) >= this.#limits.progressMs - this.#tickMs) {
        this.#sendProgress(subscription);
      }
    }
  }

  /** Nothing for one whose peer has no room when its turn comes. */
  #read(subscription: Subscription): Promise<readonly Revision[]> {
    return this.#reads.through(async () => {
      if (subscription.ended || subscription.full) return [];
      const revisions = await this.#log.read(subscription.cursor, {
        revisions: readRevisionsMax,
        bytes: this.#limits.messageBytes,
      });
      if (revisions.length === 0)
        throw new Error(`the log ends before ${formatPosition(this.#position)}, which it told of`);
      return revisions;
    });
  }

  #nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#clock.nextTurn(resolve));
  }

  #nextFlush(): Promise<void> {
    return new Promise((resolve) => this.#flushed.push(resolve));
  }
}
