/** Cursors of lists: the key of the last item, so that a page costs the same however deep it is. */
import { AppError } from '../domain/error.ts';
import { pastMs } from '../domain/moment.ts';
import type { AsOf, PageRequest } from '../domain/services.ts';

export function encodeCursor(key: readonly string[]): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url');
}

/** The first `count` by key, in order: of many, without sorting all of them. */
export function firstBy<T>(items: Iterable<T>, count: number, key: (item: T) => string): T[] {
  const byKey = (a: T, b: T) => (key(a) < key(b) ? -1 : 1);
  const roomMax = 4 * count;
  let kept: T[] = [];
  /** What is not before this one is not among the first. */
  let last: string | null = null;
  for (const item of items) {
    if (last !== null && key(item) >= last) continue;
    kept.push(item);
    if (kept.length < roomMax) continue;
    kept = kept.sort(byKey).slice(0, count);
    last = key(kept[count - 1] as T);
  }
  return kept.sort(byKey).slice(0, count);
}

/** The key of `parts` strings that `encodeCursor` hid; `bad-request` when it is something else. */
export function decodeCursor(cursor: string, parts: number): string[] {
  const key = parse(Buffer.from(cursor, 'base64url').toString());
  if (Array.isArray(key) && key.length === parts && key.every(isText)) return key;
  throw foreignCursor();
}

/**
 * Where a list of the past goes on: at the moment of its first page, which is the first part of its cursors, behind the
 * key of the last item. `atMs` is null for now.
 */
export function placeAt(
  { asOf }: AsOf,
  { cursor }: PageRequest,
  options: { readonly parts: number; readonly now: number },
): { readonly atMs: number | null; readonly after: readonly string[] | null } {
  const { parts, now } = options;
  if (asOf === undefined)
    return { atMs: null, after: cursor === undefined ? null : decodeCursor(cursor, parts) };
  if (cursor === undefined) return { atMs: pastMs(asOf, now), after: null };
  const [at = '', ...after] = decodeCursor(cursor, parts + 1);
  if (!/^\d{1,16}$/.test(at)) throw foreignCursor();
  return { atMs: pastMs({ kind: 'at', atMs: Number(at) }, now, 'cursor'), after };
}

/** A cursor that `placeAt` reads. */
export function encodeCursorAt(atMs: number | null, key: readonly string[]): string {
  return encodeCursor(atMs === null ? key : [String(atMs), ...key]);
}

/** What is no cursor, or one of another list. */
export function foreignCursor(): AppError {
  return new AppError(
    'bad-request',
    'Cannot go on from this cursor: it is not one that a list answered as "next"',
    { field: 'cursor' },
  );
}

/** No key of ours holds NUL, and PostgreSQL takes none. */
function isText(part: unknown): part is string {
  return typeof part === 'string' && !part.includes('\0');
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
