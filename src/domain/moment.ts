/** Moments as people name them: an instant, or how long ago. What is known of past ones, and how far back. */
import { limits } from '../base/limits.ts';
import { formatDuration, formatInstant, parseDuration, parseInstant } from '../base/time.ts';
import { AppError } from './error.ts';

/** Relative ones are resolved where the answer is made, by its clock: machines that ask may disagree on what is now. */
export type Moment =
  | { readonly kind: 'at'; readonly atMs: number }
  | { readonly kind: 'ago'; readonly agoMs: number };

/** The longest ago that is one: instants end at year 0. */
const agoMaxMs = 1_000 * 365 * 86_400_000;

/** An instant, or a duration with its unit, which is how long ago; undefined for what is neither. */
export function parseMoment(text: string): Moment | undefined {
  const atMs = parseInstant(text);
  if (atMs !== undefined) return { kind: 'at', atMs };
  // A number alone may be a year, or seconds of an epoch: never seconds ago.
  const agoMs = /[a-z]$/.test(text) ? parseDuration(text) : undefined;
  return agoMs !== undefined && agoMs <= agoMaxMs ? { kind: 'ago', agoMs } : undefined;
}

/** What `parseMoment` reads again. */
export function formatMoment(moment: Moment): string {
  return moment.kind === 'at' ? formatInstant(moment.atMs) : `${moment.agoMs / 1_000}s`;
}

/** UTC milliseconds. */
export function momentMs(moment: Moment, now: number): number {
  return moment.kind === 'at' ? moment.atMs : now - moment.agoMs;
}

/** As a person wrote it, for messages: `2026-01-31T09:30:00.000Z`, or with how long ago that is. */
export function describeMoment(moment: Moment, now: number): string {
  const text = formatInstant(momentMs(moment, now));
  return moment.kind === 'at' ? text : `${text}, ${formatDuration(moment.agoMs)} ago`;
}

/**
 * The instant of a question about the past. `bad-request` for the future, of which nothing is known; `compacted`
 * (details.oldest) for what is kept no more.
 */
export function pastMs(moment: Moment, now: number, field = 'asOf'): number {
  const atMs = momentMs(moment, now);
  if (atMs > now)
    throw new AppError(
      'bad-request',
      `Cannot answer as of ${formatInstant(atMs)}: it is ${formatInstant(now)} here, and the future is not known`,
      { field },
    );
  const oldestMs = now - limits.historyKeptMs;
  if (atMs >= oldestMs) return atMs;
  const oldest = formatInstant(oldestMs);
  throw new AppError(
    'compacted',
    `Cannot answer as of ${formatInstant(atMs)}: what was before ${oldest} is not kept, ask for a later moment`,
    { field, details: { oldest } },
  );
}

/** Both ends of a stretch of the past. As `pastMs`, and `bad-request` naming both when it does not begin before its end. */
export function pastRange(
  range: { readonly from: Moment; readonly to: Moment },
  now: number,
): { readonly fromMs: number; readonly toMs: number } {
  const toMs = pastMs(range.to, now, 'to');
  const fromMs = momentMs(range.from, now);
  if (fromMs >= toMs)
    throw new AppError(
      'bad-request',
      `Cannot compare from (${formatInstant(fromMs)}) to (${formatInstant(toMs)}): from needs to be before to`,
      { field: 'from' },
    );
  return { fromMs: pastMs(range.from, now, 'from'), toMs };
}
