/**
 * The subscriptions that are at the hub's position: a revision is filtered, put into words and framed once for all
 * that select the same.
 */
import type { Position, Revision } from '../domain/event.ts';
import { type EventsText, eventMessages, type Frame } from './message.ts';
import type { CompiledSelection } from './selection.ts';
import type { Subscription } from './subscription.ts';

interface Group {
  readonly selection: CompiledSelection;
  /** Those of one encoding share the frames. */
  readonly byEncoding: Map<string, Set<Subscription>>;
}

export class LiveSubscriptions {
  /** By the key of the selection. */
  readonly #groups = new Map<string, Group>();
  readonly #messageBytes: number;

  /** One message is cut after the revision that passes `messageBytes`. */
  constructor(messageBytes: number) {
    this.#messageBytes = messageBytes;
  }

  add(subscription: Subscription): void {
    const { selection, sink } = subscription;
    let group = this.#groups.get(selection.key);
    if (group === undefined) {
      group = { selection, byEncoding: new Map() };
      this.#groups.set(selection.key, group);
    }
    const members = group.byEncoding.get(sink.encodingKey);
    if (members === undefined) group.byEncoding.set(sink.encodingKey, new Set([subscription]));
    else members.add(subscription);
  }

  remove(subscription: Subscription): void {
    const { selection, sink } = subscription;
    const group = this.#groups.get(selection.key);
    const members = group?.byEncoding.get(sink.encodingKey);
    members?.delete(subscription);
    if (members?.size === 0) group?.byEncoding.delete(sink.encodingKey);
    if (group?.byEncoding.size === 0) this.#groups.delete(selection.key);
  }

  /** Writes these revisions, which follow `position`, to all; returns those whose peer is slow, with their cursor. */
  handOut(position: Position, revisions: readonly Revision[]): Subscription[] {
    const slow: Subscription[] = [];
    for (const group of this.#groups.values()) this.#handOutTo(group, position, revisions, slow);
    return slow;
  }

  #handOutTo(
    { selection, byEncoding }: Group,
    { epoch, revision }: Position,
    revisions: readonly Revision[],
    slow: Subscription[],
  ): void {
    let messages: EventsText[] | undefined;
    for (const members of byEncoding.values()) {
      let frames: Frame[] | undefined;
      for (const subscription of members) {
        subscription.cursor = revision;
        if (subscription.full) {
          slow.push(subscription);
          continue;
        }
        messages ??= [...eventMessages(selection, epoch, revisions, this.#messageBytes)];
        if (messages.length === 0) return;
        frames ??= messages.map(({ body, position }) => subscription.sink.encode(body, position));
        if (!subscription.writeWhileRoom(messages, frames)) slow.push(subscription);
      }
    }
  }
}
