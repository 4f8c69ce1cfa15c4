/**
 * Labels: what selectors choose hosts by. Those of a host come from its join token or an operator; what a host says of
 * itself (`self`) obeys the same rules and is selected as `@self/…`. Whatever is a label can be written in a selector.
 */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';
import { isLabelKey, isLabelValue } from './selector.ts';

export type Labels = Readonly<Record<string, string>>;

/** A merge patch (RFC 7396): null removes a label, what is not named stays. */
export type LabelPatch = Readonly<Record<string, string | null>>;

/** The labels in an unknown value; `bad-request` naming `field` and the key. */
export function readLabels(value: unknown, field: string): Labels {
  const entries = entriesOf(value, field);
  for (const [key, text] of entries) {
    requireKey(key, field);
    requireValue(key, text, field);
  }
  return requireFew(Object.fromEntries(entries) as Labels, field);
}

/** As `readLabels`, where null removes a label. The sum is bounded by `patchLabels`. */
export function readLabelPatch(value: unknown, field: string): LabelPatch {
  const entries = entriesOf(value, field);
  for (const [key, text] of entries) {
    requireKey(key, field);
    if (text !== null) requireValue(key, text, field);
  }
  return Object.fromEntries(entries) as LabelPatch;
}

/** Labels with a patch applied, in the order of their keys; `unprocessable` naming `field` when they become too many. */
export function patchLabels(labels: Labels, patch: LabelPatch, field: string): Labels {
  const merged = new Map<string, string>(Object.entries(labels));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, value);
  }
  const sorted = [...merged].sort(([a], [b]) => (a < b ? -1 : 1));
  return requireFew(Object.fromEntries(sorted), field);
}

/** Whether both hold the same, in any order. */
export function sameLabels(one: Labels, other: Labels): boolean {
  if (one === other) return true;
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && one[key] === other[key])
  );
}

function entriesOf(value: unknown, field: string): [string, unknown][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(value);
  throw new AppError('bad-request', `Cannot read ${field}: expected an object of names and texts`, { field });
}

function requireKey(key: string, field: string): void {
  if (isLabelKey(key)) return;
  throw new AppError(
    'bad-request',
    `Cannot use the label ${JSON.stringify(key.slice(0, 80))}: expected 1 to 128 letters, digits and . _ / -, a letter or digit first, and not the word in or notin`,
    { field },
  );
}

function requireValue(key: string, value: unknown, field: string): void {
  if (typeof value === 'string' && isLabelValue(value)) return;
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : typeof value;
  throw new AppError(
    'bad-request',
    `Cannot give the label ${key} the value ${shown}: expected 1 to ${limits.labelValueLengthMax} printable characters without spaces, quotes and , ( ) + = !`,
    { field: `${field}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}` },
  );
}

function requireFew(labels: Labels, field: string): Labels {
  const count = Object.keys(labels).length;
  if (count <= limits.labelsMax) return labels;
  throw new AppError('unprocessable', `Cannot take ${count} labels: a host has ${limits.labelsMax} at most`, {
    field,
  });
}
