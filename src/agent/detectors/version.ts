/** How command, file and systemd detectors find a version in a text, and how they say that they cannot. */
import { limits } from '../../base/limits.ts';
import type { Search } from '../../base/search.ts';
import { AppError } from '../../domain/error.ts';
import { isPrintable } from '../../domain/ids.ts';

/**
 * What `match` finds in `text`, or all of it without its blanks when there is no `match`; undefined: nothing matches. Throws what
 * `refuse` makes of a version that can be none.
 */
export function versionIn(
  text: string,
  { match, search, refuse }: { match: string | null; search: Search; refuse: (why: string) => AppError },
): string | undefined {
  const version = match === null ? text.trim() : search(match, text)?.groups['version'];
  if (version === undefined) return undefined;
  if (version !== '' && [...version].length <= limits.versionLengthMax && isPrintable(version))
    return version;
  const what = match === null ? 'what stands there' : `what ${match} finds`;
  throw refuse(`${what} is not 1 to ${limits.versionLengthMax} printable characters`);
}

/** What was read of the source stands in `details.output`: it is not everybody's business. */
export function versionRefused(component: string, why: string, output: string | null = null): AppError {
  return new AppError('unprocessable', `Cannot tell the version of "${component}": ${why}`, {
    details: { output },
  });
}
