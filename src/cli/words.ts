/** How instants and times are told to people. */
import { formatDuration, parseDuration, parseInstant } from '../base/time.ts';
import { type Moment, parseMoment } from '../domain/moment.ts';
import { UsageError } from './exit.ts';

/** `12s ago`; null when never. What a server whose clock is ahead has seen is just now. */
export function ago(instant: string | null, now: number): string | null {
  const ms = instant === null ? undefined : parseInstant(instant);
  if (ms === undefined) return null;
  return now - ms < 1_000 ? 'just now' : `${formatDuration(now - ms)} ago`;
}

/** An instant given as RFC 3339; `UsageError` naming the flag. */
export function requireInstant(text: string, flag: string): number {
  const ms = parseInstant(text);
  if (ms !== undefined) return ms;
  throw new UsageError(
    `Cannot read ${flag} "${text}": expected a time with a zone, such as 2026-01-31T09:30:00Z`,
  );
}

/** A time, or how long ago; `UsageError` naming the flag. */
export function requireMoment(text: string, flag: string): Moment {
  const moment = parseMoment(text);
  if (moment !== undefined) return moment;
  throw new UsageError(
    `Cannot read ${flag} "${text}": expected a time with a zone, such as 2026-01-31T09:30:00Z, or how long ago, such as 7d`,
  );
}

/** A duration with its unit that is not 0; `UsageError` naming the flag. */
export function requireAge(text: string, flag: string): number {
  const moment = parseMoment(text);
  if (moment?.kind === 'ago' && moment.agoMs > 0) return moment.agoMs;
  throw new UsageError(`Cannot read ${flag} "${text}": expected a duration, such as 7d`);
}

/** A duration such as 30s; `UsageError` naming the flag. */
export function requireDuration(text: string, flag: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw new UsageError(
    `Cannot read ${flag} "${text}": expected seconds, or a number with ms, s, m, h, d or w`,
  );
}

/** What `--status` of a list was given; `UsageError` for what is none. */
export function requireStatuses(texts: readonly string[]): ('UP' | 'DOWN')[] {
  return texts.map((text) => {
    if (text === 'UP' || text === 'DOWN') return text;
    throw new UsageError(`Cannot list by --status "${text}": expected UP or DOWN`);
  });
}

/** `UP`, `DOWN (lapsed)` */
export function statusWords({
  status,
  reason,
}: {
  readonly status: string;
  readonly reason: string | null;
}): string {
  return reason === null ? status : `${status} (${reason})`;
}
