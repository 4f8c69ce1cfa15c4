/** Which HOLDFAST_* variables somebody reads: one that nobody does is a slip, and believed to hold. */

import { nearest } from '../base/nearest.ts';
import { ConfigurationError } from './exit.ts';
import type { Io } from './io.ts';
import { settings } from './settings.ts';

/** Of every command, and of clients, which a role's environment may hold as well. */
const others = [
  'HOLDFAST_CONFIG',
  'HOLDFAST_URL',
  'HOLDFAST_SOCKET',
  'HOLDFAST_TOKEN',
  'HOLDFAST_PASSPHRASE',
  'HOLDFAST_TIMEOUT',
  'HOLDFAST_CONTEXT',
  'HOLDFAST_JOIN',
  'HOLDFAST_IMPORT_URL',
  // Of what the runner starts, which may be this program again.
  'HOLDFAST_STEP',
] as const;
export type ClientVariable = (typeof others)[number];

export function knownVariables(): ReadonlySet<string> {
  return new Set([...Object.values(settings).flatMap(({ env }) => env ?? []), ...others]);
}

/** Throws `ConfigurationError` naming the variable and the nearest that is read. Those of another role are known. */
export function refuseUnknownVariables({ env }: Pick<Io, 'env'>): void {
  const known = knownVariables();
  for (const name of Object.keys(env)) {
    if (!name.startsWith('HOLDFAST_') || known.has(name)) continue;
    const near = nearest(name, known);
    throw new ConfigurationError(
      `Cannot use the variable ${name}: nothing reads it; ${near === undefined ? 'unset it' : `did you mean ${near}?`}`,
    );
  }
}
