/**
 * Regular expressions that somebody else wrote: looked for with a time limit, as one may take longer than the universe
 * lasts. In a V8 context of its own, for only there a script can be ended; it blocks this process until then. The thread
 * that keeps the time costs 1 ms of each search.
 */
import { type Context, createContext, Script } from 'node:vm';
import { limits } from './limits.ts';

export interface Found {
  /** By name; those that took no part in the match are missing. */
  readonly groups: Readonly<Record<string, string>>;
}

/** The first match, `^` and `$` being the ends of a line; null when there is none. Throws `SearchTooSlow`. */
export type Search = (pattern: string, text: string) => Found | null;

/** The pattern took longer than `limits.patternMs`. */
export class SearchTooSlow extends Error {
  override readonly name = 'SearchTooSlow';
}

const source = `(() => {
  const found = new RegExp(pattern, 'm').exec(text);
  return found === null ? null : JSON.stringify({ groups: { ...found.groups } });
})()`;

/** One context (half a megabyte, made at the first use) for any number of patterns. */
export function createSearch(): Search {
  // Texts go in and a text comes out: no object of ours is within reach.
  const given: { pattern: string; text: string } = { pattern: '', text: '' };
  let made: { readonly context: Context; readonly script: Script } | undefined;
  return (pattern, text) => {
    made ??= { context: createContext(given), script: new Script(source) };
    const { context, script } = made;
    Object.assign(given, { pattern, text });
    try {
      const found = script.runInContext(context, { timeout: limits.patternMs }) as string | null;
      return found === null ? null : (JSON.parse(found) as Found);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      throw new SearchTooSlow(
        `Cannot look for ${pattern}: it took longer than ${limits.patternMs} ms; write it so that it can match in one way only`,
        { cause: error },
      );
    } finally {
      Object.assign(given, { pattern: '', text: '' });
    }
  };
}
