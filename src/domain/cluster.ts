/**
 * Clusters: what clients of workflow-manager-api call themselves. They have no agent and no liveness; they check in with
 * what is installed, and the registry knows when they did.
 */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';
import { isPrintable, parseUuid } from './ids.ts';

/** What a cluster says of itself. */
export interface ClusterDraft {
  /** As it was sent; `clusterKey` is what it is known by. */
  readonly id: string;
  /** A JSON value, kept as it is. */
  readonly components: readonly unknown[];
}

export interface Cluster extends ClusterDraft {
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly checkins: number;
}

/** When a cluster checked in, and how often. */
export interface ClusterTimes {
  /** As it was sent last. */
  readonly id: string;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly checkins: number;
}

/** Bounds in UTC milliseconds, all of them exclusive; one that is absent is none. */
export interface ClusterFilter {
  readonly checkedInBeforeMs?: number;
  readonly checkedInAfterMs?: number;
  readonly createdBeforeMs?: number;
  readonly createdAfterMs?: number;
}

/** What was persistent at an instant: first seen after `epochMs`, and seen again within the day before `atMs`. */
export interface PersistentFilter {
  readonly epochMs?: number;
  readonly atMs: number;
}

/** Words that are questions in the path where a cluster's id stands. */
const reservedIds: readonly string[] = ['count', 'age', 'checkins', 'persistent'];

/** What a cluster is known by: all spellings of a UUID are one, anything else is as it was sent. */
export function clusterKey(id: string): string {
  const bare = /^\{(.*)\}$/.exec(id)?.[1] ?? id;
  return parseUuid(bare) ?? id;
}

/** Throws `bad-request` for what can be no id of a cluster. */
export function requireClusterId(id: string): void {
  if (id.length >= 1 && id.length <= limits.nameLengthMax && isPrintable(id) && !reservedIds.includes(id))
    return;
  throw new AppError(
    'bad-request',
    `Cannot use the id ${JSON.stringify(id.slice(0, 80))}: expected 1 to ${limits.nameLengthMax} printable characters, and none of ${reservedIds.join(', ')}`,
    { field: 'id' },
  );
}

/** A check-in at `now`: all of it replaces what was said before; a clock that goes back moves nothing back. */
export function decideClusterCheckIn(before: Cluster | null, draft: ClusterDraft, now: number): Cluster {
  return {
    id: draft.id,
    components: draft.components,
    firstSeenMs: before?.firstSeenMs ?? now,
    lastSeenMs: Math.max(now, before?.lastSeenMs ?? now),
    checkins: (before?.checkins ?? 0) + 1,
  };
}

/** Throws `bad-request` in the words of workflow-manager-api for bounds that nothing can meet. */
export function requirePossible(filter: ClusterFilter): void {
  const { checkedInBeforeMs, checkedInAfterMs, createdBeforeMs, createdAfterMs } = filter;
  const created = {
    before: bound('created_before', createdBeforeMs),
    after: bound('created_after', createdAfterMs),
  };
  const seen = {
    before: bound('checked_in_before', checkedInBeforeMs),
    after: bound('checked_in_after', checkedInAfterMs),
  };
  requireOrder(created.before, seen.before, {
    possible: (first, second) => first <= second,
    wish: 'checked_in_before needs to be greater than or equal to created_before',
  });
  requireOrder(seen.before, seen.after, {
    possible: (first, second) => second < first,
    wish: 'checked_in_before needs to be greater than checked_in_after',
  });
  requireOrder(created.after, created.before, {
    possible: (first, second) => first < second,
    wish: 'created_before needs to be greater than created_after',
  });
  requireOrder(seen.before, created.after, {
    possible: (first, second) => first > second,
    wish: 'checked_in_before needs to be greater than created_after',
  });
}

/** As `requirePossible`. */
export function requirePossiblePersistence({ epochMs, atMs }: PersistentFilter): void {
  requireOrder(bound('epoch', epochMs), bound('timestamp', atMs), {
    possible: (first, second) => first < second,
    wish: 'epoch needs to be less than timestamp',
  });
}

export function clusterNotFound(): AppError {
  return new AppError('not-found', '404 cluster not found');
}

interface Bound {
  readonly name: string;
  readonly ms: number | undefined;
}

function bound(name: string, ms: number | undefined): Bound {
  return { name, ms };
}

function requireOrder(
  first: Bound,
  second: Bound,
  { possible, wish }: { possible: (first: number, second: number) => boolean; wish: string },
): void {
  if (first.ms === undefined || second.ms === undefined || possible(first.ms, second.ms)) return;
  const told = (one: Bound, ms: number) => `${one.name} (${goTime(ms)})`;
  throw new AppError(
    'bad-request',
    `impossible filter for keys/times (${told(first, first.ms)}, ${told(second, second.ms)}): ${wish}`,
    { field: first.name },
  );
}

/** `2016-03-01 00:00:00 +0000 UTC`, as Go prints an instant. */
function goTime(ms: number): string {
  const text = new Date(ms).toISOString();
  return `${text.slice(0, 10)} ${timeText(ms - Math.floor(ms / 86_400_000) * 86_400_000)} +0000 UTC`;
}

/**
 * How long it is from one instant to a later one, as PostgreSQL's `age` counts (months of the calendar, UTC) and its
 * `postgres` interval style writes: `1 mon 22 days`, `30 days 12:30:00`, `00:00:00`. Zero for one that is not later.
 */
export function ageText(fromMs: number, toMs: number): string {
  const from = new Date(fromMs);
  const to = new Date(Math.max(fromMs, toMs));
  let months = (to.getUTCFullYear() - from.getUTCFullYear()) * 12 + to.getUTCMonth() - from.getUTCMonth();
  let days = to.getUTCDate() - from.getUTCDate();
  let ms = timeOfDay(to) - timeOfDay(from);
  if (ms < 0) {
    ms += 86_400_000;
    days -= 1;
  }
  if (days < 0) {
    // The month of the earlier one, as PostgreSQL borrows.
    days += new Date(Date.UTC(from.getUTCFullYear(), from.getUTCMonth() + 1, 0)).getUTCDate();
    months -= 1;
  }
  const parts = [
    counted(Math.floor(months / 12), 'year'),
    counted(months % 12, 'mon'),
    counted(days, 'day'),
  ].filter((part) => part !== '');
  if (ms > 0 || parts.length === 0) parts.push(timeText(ms));
  return parts.join(' ');
}

/** `12:30:00`, `00:00:01.5`. */
function timeText(ms: number): string {
  const text = new Date(ms).toISOString();
  return text.slice(11, 19) + text.slice(19, 23).replace(/\.?0{1,3}$/, '');
}

function timeOfDay(date: Date): number {
  return date.getTime() - Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate());
}

function counted(count: number, unit: string): string {
  return count === 0 ? '' : `${count} ${unit}${count === 1 ? '' : 's'}`;
}
