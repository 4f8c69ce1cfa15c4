/**
 * Which hosts are meant by when they were first and last seen. Bounds compare strictly, and by instant. A filter that
 * no host can match is a mistake, and refused: an empty answer would look like a fact.
 */
import { formatDuration } from '../base/time.ts';
import { AppError } from './error.ts';
import { describeMoment, type Moment, momentMs } from './moment.ts';

/** All that are there have to hold. Relative ones count back from the moment that the question is about. */
export interface AgeFilter {
  /** First seen after this. */
  readonly createdAfter?: Moment;
  readonly createdBefore?: Moment;
  /** Last seen after this. */
  readonly seenAfter?: Moment;
  readonly seenBefore?: Moment;
  /** Seen within so long. */
  readonly freshMs?: number;
  /** Not seen within so long. */
  readonly staleMs?: number;
  /** First seen within so long. */
  readonly createdMs?: number;
  /** First seen at least so long ago, and seen within the last day. */
  readonly persistentMs?: number;
}

/** When a host was seen; `lastSeenMs` null: never since its join. */
export interface Seen {
  readonly firstSeenMs: number;
  readonly lastSeenMs: number | null;
}

/** Neither end is in it. `by`: the filter that set it, with its value. */
interface Bound {
  readonly key: string;
  readonly by: string;
  readonly atMs: number;
}

interface Bounds {
  readonly after: readonly Bound[];
  readonly before: readonly Bound[];
}

/** A host that is there was seen within this. */
const presentMs = 86_400_000;

/**
 * What the filter says of a host, as of `atMs`; null: nothing. `bad-request` naming two bounds with their values when no
 * host can match both, and for `createdBefore` after `seenBefore`, which bounds nothing then.
 */
export function ageSelection(filter: AgeFilter, atMs: number): ((host: Seen) => boolean) | null {
  const [first, last] = boundsOf(filter, atMs);
  requireMeant(filter, atMs);
  requireRoom(last.after, last.before);
  requireRoom(first.after, first.before);
  // Nobody was last seen before it was first seen.
  requireRoom(first.after, last.before);
  const all = [...first.after, ...first.before, ...last.after, ...last.before];
  if (all.length === 0) return null;
  const firstIs = within(first);
  const lastIs = within(last);
  return ({ firstSeenMs, lastSeenMs }) => firstIs(firstSeenMs) && lastIs(lastSeenMs ?? firstSeenMs);
}

function boundsOf(filter: AgeFilter, atMs: number): [first: Bounds, last: Bounds] {
  const given = (key: 'createdAfter' | 'createdBefore' | 'seenAfter' | 'seenBefore'): Bound[] => {
    const moment = filter[key];
    if (moment === undefined) return [];
    return [{ key, by: `${key} (${describeMoment(moment, atMs)})`, atMs: momentMs(moment, atMs) }];
  };
  /** `more` is 1 where the instant itself is in it. */
  const within = (key: 'fresh' | 'stale' | 'created' | 'persistent', more: 0 | 1): Bound[] => {
    const ms = filter[`${key}Ms`];
    if (ms === undefined) return [];
    const moment: Moment = { kind: 'ago', agoMs: ms };
    return [{ key, by: `${key} (${describeMoment(moment, atMs)})`, atMs: atMs - ms + more }];
  };
  const present =
    filter.persistentMs === undefined
      ? []
      : [{ ...presentBound(filter.persistentMs), atMs: atMs - presentMs }];
  return [
    {
      after: [...given('createdAfter'), ...within('created', 0)],
      before: [...given('createdBefore'), ...within('persistent', 1)],
    },
    {
      after: [...given('seenAfter'), ...within('fresh', 0), ...present],
      before: [...given('seenBefore'), ...within('stale', 1)],
    },
  ];
}

function presentBound(ms: number): Omit<Bound, 'atMs'> {
  return { key: 'persistent', by: `persistent (${formatDuration(ms)}, and seen within the last day)` };
}

/** Whoever was last seen before a moment was first seen before it: a later `createdBefore` was meant to say something. */
function requireMeant({ createdBefore, seenBefore }: AgeFilter, atMs: number): void {
  if (createdBefore === undefined || seenBefore === undefined) return;
  if (momentMs(createdBefore, atMs) <= momentMs(seenBefore, atMs)) return;
  throw new AppError(
    'bad-request',
    `Cannot select hosts by createdBefore (${describeMoment(createdBefore, atMs)}) and seenBefore (${describeMoment(seenBefore, atMs)}): seenBefore needs to be at createdBefore or later, or leave out createdBefore`,
    { field: 'seenBefore' },
  );
}

function requireRoom(after: readonly Bound[], before: readonly Bound[]): void {
  for (const low of after) {
    for (const high of before) {
      if (low.atMs + 1 < high.atMs) continue;
      throw new AppError(
        'bad-request',
        `Cannot select hosts by ${low.by} and ${high.by}: no host can match both`,
        { field: high.key },
      );
    }
  }
}

function within({ after, before }: Bounds): (ms: number) => boolean {
  const low = Math.max(Number.NEGATIVE_INFINITY, ...after.map(({ atMs }) => atMs));
  const high = Math.min(Number.POSITIVE_INFINITY, ...before.map(({ atMs }) => atMs));
  return (ms) => ms > low && ms < high;
}
