/**
 * Which Holdfast this is. The build writes both values in (esbuild `define` in build.mjs); run from the sources
 * there is no release to name, and saying so is more honest than repeating package.json.
 */

declare const __HOLDFAST_VERSION__: string | undefined;
declare const __HOLDFAST_COMMIT__: string | undefined;

/** Semantic version of this build; `0.0.0-source` when run from .ts files. */
export const VERSION: string =
  typeof __HOLDFAST_VERSION__ === 'undefined' ? '0.0.0-source' : __HOLDFAST_VERSION__;

/** Full git commit of this build; `unknown` outside a git checkout or when run from .ts files. */
export const COMMIT: string = typeof __HOLDFAST_COMMIT__ === 'undefined' ? 'unknown' : __HOLDFAST_COMMIT__;
