/**
 * Rules of trains. A train holds what is published on it, and is there as soon as something is. One may follow another
 * of the same component with a delay: each release of the other also arrives on it once it has been out for that long,
 * and is gone from it when it is withdrawn there. What is published on the following train itself, such as a hot fix,
 * arrives at once. So the latest by date is the one that arrived last.
 */
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { requireTag, type StrictCondition } from './condition.ts';
import { AppError } from './error.ts';
import type { EventDraft, EventType } from './event.ts';
import { requirePrintable } from './ids.ts';
import { requireTrainKey, type TrainKey } from './release.ts';

/** That one train follows another. */
export interface Following extends TrainKey {
  readonly follows: string;
  readonly delayMs: number;
  /** When it was set so: greater with each change, and so the version of the document (`ETag`). */
  readonly changedAtMs: number;
}

export interface TrainView extends TrainKey {
  /** Null: it holds only what is published on it. */
  readonly follows: string | null;
  readonly delayMs: number;
  readonly changedAtMs: number | null;
}

/** What is to be followed. */
export interface FollowPlan {
  readonly follows: string;
  readonly delayMs: number;
}

/** A train whose releases arrive on another one `delayMs` after they came out. */
export interface Leg {
  readonly train: string;
  readonly delayMs: number;
}

/** A train by itself, then the one that it follows, and so on. `known` are of one component. */
export function legsOf(known: readonly Following[], train: string): readonly Leg[] {
  const byTrain = new Map(known.map((following) => [following.train, following]));
  const legs: Leg[] = [{ train, delayMs: 0 }];
  let delayMs = 0;
  // What was accepted has no circle, and is no longer; one more leg shows what is.
  for (let at = byTrain.get(train); at !== undefined && legs.length <= limits.followedTrainsMax + 1; ) {
    delayMs += at.delayMs;
    legs.push({ train: at.follows, delayMs });
    at = byTrain.get(at.follows);
  }
  return legs;
}

export interface FollowDecision {
  readonly following: Following;
  /** Null: it is so already. */
  readonly change: EventType | null;
}

/**
 * `known`: all that follow of this component. Throws `bad-request` naming the field, `unprocessable` for a circle, a
 * chain that is too long and too many that follow, `precondition-required`, `precondition-failed`.
 */
export function decideFollow(
  known: readonly Following[],
  key: TrainKey,
  options: { readonly plan: FollowPlan; readonly condition: StrictCondition; readonly now: number },
): FollowDecision {
  const { plan, condition, now } = options;
  const action = `Cannot let train "${key.train}" of ${key.component} follow`;
  requireTrainKey(key);
  requirePrintable(plan.follows, 'follows');
  requireDelay(action, plan.delayMs);
  const before = known.find(({ train }) => train === key.train);
  requireTag(`${action} "${plan.follows}"`, before?.changedAtMs ?? null, condition);
  if (before?.follows === plan.follows && before.delayMs === plan.delayMs)
    return { following: before, change: null };
  const following = {
    component: key.component,
    train: key.train,
    follows: plan.follows,
    delayMs: plan.delayMs,
    changedAtMs: before === undefined ? now : Math.max(now, before.changedAtMs + 1),
  };
  const after = [...known.filter((one) => one !== before), following];
  requireNoCircle(action, after, following);
  if (after.length > limits.followingTrainsMax)
    throw refusal(action, `${known.length} trains of it follow others already, as many as may`);
  const long = after.find(({ train }) => legsOf(after, train).length - 1 > limits.followedTrainsMax);
  if (long !== undefined)
    throw refusal(
      action,
      `"${long.train}" would follow more than ${limits.followedTrainsMax} trains, one through another`,
    );
  return { following, change: 'release.followed' };
}

/** Throws `not-found`, `precondition-required`, `precondition-failed`. */
export function decideUnfollow(
  known: readonly Following[],
  key: TrainKey,
  condition: StrictCondition,
): Following {
  const before = known.find(({ train }) => train === key.train);
  if (before === undefined) throw trainNotFound(key, 'it follows none');
  requireTag(
    `Cannot end that train "${key.train}" of ${key.component} follows "${before.follows}"`,
    before.changedAtMs,
    condition,
  );
  return before;
}

export function trainNotFound(
  { component, train }: TrainKey,
  why = 'nothing is published on it, and it follows none',
): AppError {
  const [name, line] = [component, train].map((text) => JSON.stringify(text.slice(0, 80)));
  return new AppError('not-found', `Cannot find train ${line} of ${name}: ${why}`);
}

/** A train as the wire and events show it. */
export interface TrainDocument extends TrainKey {
  readonly follows: string | null;
  readonly delayMs: number;
  readonly changedAt: string | null;
}

export function trainDocument({ component, train, follows, delayMs, changedAtMs }: TrainView): TrainDocument {
  const changedAt = changedAtMs === null ? null : formatInstant(changedAtMs);
  return { component, train, follows, delayMs, changedAt };
}

/** `release.followed` and `release.unfollowed`: which releases arrive on a train has changed. */
export function followEvent(type: EventType, following: Following): EventDraft {
  const { component } = following;
  const end = component.indexOf('/');
  return {
    type,
    ...(end > 0 ? { app: component.slice(0, end), service: component } : {}),
    body: trainDocument(following),
  };
}

function requireDelay(action: string, delayMs: number): void {
  if (Number.isSafeInteger(delayMs) && delayMs >= 0 && delayMs <= limits.followDelayMaxMs) return;
  throw new AppError(
    'bad-request',
    `${action}: delay is ${delayMs} ms, expected 0 to ${limits.followDelayMaxMs / 86_400_000} days`,
    { field: 'delay' },
  );
}

function requireNoCircle(action: string, after: readonly Following[], { train }: Following): void {
  const path = [train];
  for (let at = train; path.length <= after.length + 1; ) {
    const next = after.find((one) => one.train === at)?.follows;
    if (next === undefined) return;
    path.push(next);
    if (next === train) break;
    at = next;
  }
  throw refusal(action, `it would follow itself: ${path.join(' → ')}`);
}

function refusal(action: string, problem: string): AppError {
  return new AppError('unprocessable', `${action}: ${problem}`, { field: 'follows' });
}
