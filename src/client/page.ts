/** Lists over the wire. */
import { parsePosition } from '../domain/event.ts';
import type { Page } from '../domain/services.ts';
import { readInstant } from '../wire/schema.ts';

/** A list as the wire has it (`listOf`). */
export interface PageDocument<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
  readonly asOf: string;
  readonly position: string | null;
  readonly stale: boolean;
}

export function readPage<Item, View>(document: PageDocument<Item>, read: (item: Item) => View): Page<View> {
  const { items, next, asOf, position, stale } = document;
  return {
    items: items.map(read),
    next,
    asOfMs: readInstant(asOf, 'asOf'),
    position: position === null ? null : parsePosition(position, 'position'),
    stale,
  };
}
