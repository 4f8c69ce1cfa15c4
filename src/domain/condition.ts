/** `If-Match`: a change that is meant for what its author has seen. FORMATS "HTTP". */
import { AppError } from './error.ts';
import type { VersionCondition } from './host-change.ts';

/**
 * The condition of a change to a configuration object, which two people edit: whoever replaces or deletes one has to say
 * which he has seen, or that it may be any (null).
 */
export type StrictCondition = VersionCondition | 'missing';

/**
 * Throws `precondition-failed` when what is there has none of the tags in `condition`, and `precondition-required` when
 * something is there and nobody said what he has seen. `tag` is null when there is nothing. `action` begins the message:
 * `Cannot change release "1.4.2"`.
 */
export function requireTag(action: string, tag: number | null, condition: StrictCondition): void {
  if (condition === null) return;
  if (condition === 'missing') {
    if (tag === null) return;
    throw new AppError(
      'precondition-required',
      `${action}: If-Match is missing, its tag is "${tag}"; say that you have seen this one, or * for any`,
      { field: 'if-match' },
    );
  }
  if (tag !== null && condition.includes(tag)) return;
  const state = tag === null ? 'there is none' : `its tag is "${tag}"`;
  const wanted = condition.length === 0 ? 'a tag of ours' : condition.map((one) => `"${one}"`).join(' or ');
  throw new AppError(
    'precondition-failed',
    `${action}: ${state}, expected ${wanted} (If-Match); read it again`,
    {
      field: 'if-match',
    },
  );
}
