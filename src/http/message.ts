/** The texts of watch messages and their frames, made once for all who get the same. */
import type { Writable } from 'node:stream';
import { formatPosition, type Revision } from '../domain/event.ts';
import type { SnapshotItem } from '../domain/services.ts';
import type { CompiledSelection } from './selection.ts';

const snapshotPageItemsMax = 500;
const snapshotPageBytes = 64 * 1_024;

/** A smaller body is copied: one buffer is cheaper to write than three. */
const sharedBodyBytes = 16 * 1_024;

/** The bytes of one message, in order. A large body is a part of its own, shared by all who get it. */
export type Frame = readonly Buffer[];

export function frameOf(head: Buffer, body: Buffer, tail: Buffer): Frame {
  return body.length < sharedBodyBytes ? [Buffer.concat([head, body, tail])] : [head, body, tail];
}

/** In one piece: nobody else's bytes come between, and one system call takes all. */
export function writeFrame(stream: Writable, frame: Frame): void {
  if (frame.length > 1) stream.cork();
  for (const part of frame) stream.write(part);
  if (frame.length > 1) stream.uncork();
}

/** The body of an `events` message. */
export interface EventsText {
  readonly body: Buffer;
  /** Of the last revision that it speaks for. */
  readonly position: string;
  readonly revision: number;
}

/** `events` messages of whole revisions, each cut after the revision that passes `bytesMax`. */
export function* eventMessages(
  { matches, shown }: Pick<CompiledSelection, 'matches' | 'shown'>,
  epoch: number,
  revisions: readonly Revision[],
  bytesMax: number,
): Generator<EventsText> {
  let texts: string[] = [];
  let size = 0;
  for (const [index, revision] of revisions.entries()) {
    const text = eventsText({ matches, shown }, revision);
    if (text !== '') texts.push(text);
    size += text.length;
    const last = index === revisions.length - 1;
    if (texts.length === 0 || (size < bytesMax && !last)) continue;
    // Also speaks for the revisions since the last match, which nobody selected.
    const position = formatPosition({ epoch, revision: revision.revision });
    yield {
      body: Buffer.from(`{"kind":"events","position":"${position}","events":[${texts.join(',')}]}`),
      position,
      revision: revision.revision,
    };
    texts = [];
    size = 0;
  }
}

/** The selected events of a revision without the brackets of their array; the shared text when all are. */
function eventsText(
  { matches, shown }: Pick<CompiledSelection, 'matches' | 'shown'>,
  { events, encoded }: Revision,
): string {
  if (matches === null) return encoded.slice(1, -1);
  const selected = events.filter(matches);
  if (shown !== null) return selected.map((event) => JSON.stringify(shown(event))).join(',');
  if (selected.length === events.length) return encoded.slice(1, -1);
  return selected.map((event) => JSON.stringify(event)).join(',');
}

/** Collects items until a message is worth sending. */
export class SnapshotPage {
  readonly #position: string;
  #texts: string[] = [];
  #size = 0;

  constructor(position: string) {
    this.#position = position;
  }

  get full(): boolean {
    return this.#texts.length >= snapshotPageItemsMax || this.#size >= snapshotPageBytes;
  }

  add(item: SnapshotItem): void {
    const text = JSON.stringify(item);
    this.#texts.push(text);
    this.#size += text.length;
  }

  take(done: boolean): string {
    const text = `{"kind":"snapshot","position":"${this.#position}","items":[${this.#texts.join(',')}],"done":${done}}`;
    this.#texts = [];
    this.#size = 0;
    return text;
  }
}
