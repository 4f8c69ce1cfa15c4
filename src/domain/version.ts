/**
 * Which of two versions is the later one. Neither order refuses a text: what is installed somewhere has to have its
 * place, whatever its maker called it. Versions of equal place, such as `1.0` and `1.0-0` to Debian, compare as 0.
 */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';

/** `debian`: deb-version(7). `rpm`: rpm-version(7). `semver`: SemVer 2.0.0, extended to all texts. */
export const versionOrders = ['debian', 'rpm', 'semver'] as const;
export type VersionOrder = (typeof versionOrders)[number];

/** The order that versions of a component are in, by the detector that found it. */
export function versionOrderOf(detector: string): VersionOrder {
  return detector === 'dpkg' ? 'debian' : detector === 'rpm' ? 'rpm' : 'semver';
}

/** Below 0 when `a` is the earlier one, above 0 when it is the later one. */
export function compareVersions(order: VersionOrder, a: string, b: string): number {
  switch (order) {
    case 'debian':
      return compareDebian(a, b);
    case 'rpm':
      return compareRpm(a, b);
    case 'semver':
      return compareSemver(a, b);
  }
}

/**
 * Epoch, then upstream version, then revision. Parts are compared in turns: what is no digit by letters before all
 * else, `~` before everything, also before the end; digits as numbers. An epoch that is no number is part of the
 * upstream version.
 */
function compareDebian(a: string, b: string): number {
  const [left, right] = [splitDebian(a), splitDebian(b)];
  return (
    compareDigits(left.epoch, right.epoch) ||
    compareDebianPart(left.upstream, right.upstream) ||
    compareDebianPart(left.revision, right.revision)
  );
}

function splitDebian(version: string): { epoch: string; upstream: string; revision: string } {
  const [, epoch = ''] = /^(\d+):/.exec(version) ?? [];
  const rest = epoch === '' ? version : version.slice(epoch.length + 1);
  const dash = rest.lastIndexOf('-');
  return dash === -1
    ? { epoch, upstream: rest, revision: '' }
    : { epoch, upstream: rest.slice(0, dash), revision: rest.slice(dash + 1) };
}

function compareDebianPart(a: string, b: string): number {
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    while ((i < a.length && !isDigit(a, i)) || (j < b.length && !isDigit(b, j))) {
      const difference = debianWeight(a, i) - debianWeight(b, j);
      if (difference !== 0) return difference;
      i += 1;
      j += 1;
    }
    const [from, to] = [endOfDigits(a, i), endOfDigits(b, j)];
    const difference = compareDigits(a.slice(i, from), b.slice(j, to));
    if (difference !== 0) return difference;
    [i, j] = [from, to];
  }
  return 0;
}

/** The end of a part and a digit weigh the same: they end a run of other characters. */
function debianWeight(text: string, at: number): number {
  const code = text.charCodeAt(at);
  if (Number.isNaN(code) || isDigit(text, at)) return 0;
  if (code === 0x7e) return -1;
  const isLetter = (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
  return isLetter ? code : code + 0x1_0000;
}

/**
 * Epoch, then version, then release; none is before any release, and no epoch is 0. Parts are compared segment by
 * segment (`rpmSegments`).
 */
function compareRpm(a: string, b: string): number {
  const [left, right] = [splitRpm(a), splitRpm(b)];
  return (
    compareDigits(left.epoch, right.epoch) ||
    compareRpmPart(left.version, right.version) ||
    Number(left.release !== null) - Number(right.release !== null) ||
    compareRpmPart(left.release ?? '', right.release ?? '')
  );
}

function splitRpm(text: string): { epoch: string; version: string; release: string | null } {
  const end = endOfDigits(text, 0);
  const hasEpoch = text.charAt(end) === ':';
  const rest = hasEpoch ? text.slice(end + 1) : text;
  const dash = rest.lastIndexOf('-');
  return {
    epoch: hasEpoch ? text.slice(0, end) : '',
    version: dash === -1 ? rest : rest.slice(0, dash),
    release: dash === -1 ? null : rest.slice(dash + 1),
  };
}

/** `~` before the end, the end before `^`, that before letters by their characters, those before digits by value. */
function compareRpmPart(a: string, b: string): number {
  const [left, right] = [rpmSegments(a), rpmSegments(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const [one = '', other = ''] = [left[i], right[i]];
    const difference =
      rpmWeight(one) - rpmWeight(other) ||
      (isNumber(one) ? compareDigits(one, other) : compareText(one, other));
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Runs of letters, runs of digits, `~` and `^`; whatever else there is only separates them. */
function rpmSegments(text: string): string[] {
  return text.match(/[0-9]+|[A-Za-z]+|[~^]/g) ?? [];
}

function rpmWeight(segment: string): number {
  if (segment === '~') return -1;
  if (segment === '') return 0;
  if (segment === '^') return 1;
  return isNumber(segment) ? 3 : 2;
}

/**
 * SemVer's precedence for what is a version to it, with one rule that also places all other texts, so that a list which
 * mixes both has one order: comparing only pairs that both parse would let a < b < c < a be.
 *
 * A leading `v` and everything from the first `+` on count for nothing. What stands before the first `-` is compared
 * field by field at its dots, and a field that is missing is a 0 (`1.25` is `1.25.0`); a field by turns of numbers, by
 * value, and of other characters, which come after numbers (`1.1` before `1.1g` before `1.1w` before `1.2`). Then the
 * prerelease: none is later than any; fields that are numbers by value, before the others, which are compared by their
 * characters; the shorter is the earlier.
 */
function compareSemver(a: string, b: string): number {
  const [left, right] = [splitSemver(a), splitSemver(b)];
  return compareCore(left.core, right.core) || comparePrerelease(left.prerelease, right.prerelease);
}

function splitSemver(version: string): { core: string; prerelease: string | null } {
  const plus = version.indexOf('+');
  const text = version.slice(/^v\d/i.test(version) ? 1 : 0, plus === -1 ? version.length : plus);
  const dash = text.indexOf('-');
  return dash === -1
    ? { core: text, prerelease: null }
    : { core: text.slice(0, dash), prerelease: text.slice(dash + 1) };
}

function compareCore(a: string, b: string): number {
  const [left, right] = [a.split('.'), b.split('.')];
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = compareTurns(left[i] ?? '0', right[i] ?? '0');
    if (difference !== 0) return difference;
  }
  return 0;
}

function comparePrerelease(a: string | null, b: string | null): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const [left, right] = [a.split('.'), b.split('.')];
  for (let i = 0; i < Math.min(left.length, right.length); i += 1) {
    const difference = compareFields(left[i] ?? '', right[i] ?? '');
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/** Numbers by value, before what is none. */
function compareFields(a: string, b: string): number {
  const [left, right] = [isNumber(a), isNumber(b)];
  if (left && right) return compareDigits(a, b);
  return left || right ? Number(right) - Number(left) : compareText(a, b);
}

/** By turns of other characters and numbers: `rc9` before `rc10`. */
function compareTurns(a: string, b: string): number {
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const [from, to] = [endOfTurn(a, i), endOfTurn(b, j)];
    const difference = compareFields(a.slice(i, from), b.slice(j, to));
    if (difference !== 0) return difference;
    [i, j] = [from, to];
  }
  return a.length - i - (b.length - j);
}

function endOfTurn(text: string, start: number): number {
  if (isDigit(text, start)) return endOfDigits(text, start);
  let end = start + 1;
  while (end < text.length && !isDigit(text, end)) end += 1;
  return end;
}

/** The empty text is no number, and neither is one with anything but 0 to 9 in it. */
function isNumber(text: string): boolean {
  return text !== '' && endOfDigits(text, 0) === text.length;
}

function isDigit(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0x30 && code <= 0x39;
}

function endOfDigits(text: string, start: number): number {
  let end = start;
  while (end < text.length && isDigit(text, end)) end += 1;
  return end;
}

/** Texts of digits by their value, of any length; the empty one is 0. */
function compareDigits(a: string, b: string): number {
  const [left, right] = [withoutZeros(a), withoutZeros(b)];
  return left.length - right.length || compareText(left, right);
}

function withoutZeros(digits: string): string {
  let start = 0;
  while (digits.charCodeAt(start) === 0x30) start += 1;
  return digits.slice(start);
}

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

export const versionOperators = ['<=', '<', '>=', '>', '!=', '='] as const;
export type VersionOperator = (typeof versionOperators)[number];

/** Which versions of a component are meant: `openssl<3.0.13`. */
export interface VersionRange {
  readonly name: string;
  readonly operator: VersionOperator;
  readonly version: string;
}

const example = 'such as openssl<3.0.13';

/**
 * Reads `name op version`, with or without spaces around the operator. What stands before the first of `<`, `>`, `=`,
 * `!` is the name. Throws `bad-request` naming `field`.
 */
export function parseVersionRange(text: string, field: string): VersionRange {
  const refuse = (why: string) =>
    new AppError('bad-request', `Cannot read ${field} "${text.slice(0, 80)}": ${why}`, { field });
  const [, name = '', operator = '', version = ''] = /^([^<>=!]*)([<>=!]*)(.*)$/su.exec(text.trim()) ?? [];
  if (operator === '') throw refuse(`expected a name, one of ${operatorWords} and a version, ${example}`);
  if (!isOperator(operator)) throw refuse(`"${operator.slice(0, 8)}" is none of ${operatorWords}`);
  if (name.trim() === '') throw refuse(`there is no name before ${operator}, expected one ${example}`);
  if (version.trim() === '') throw refuse(`there is no version after ${operator}, expected one ${example}`);
  if (/[<>=!]/.test(version))
    throw refuse('there is another operator in the version; ask for each range by itself');
  if ([...version.trim()].length > limits.versionLengthMax)
    throw refuse(`the version is longer than ${limits.versionLengthMax} characters`);
  return { name: name.trim(), operator, version: version.trim() };
}

/** Whether a version is one of those that are meant. */
export function isInRange(
  { operator, version: bound }: VersionRange,
  order: VersionOrder,
  version: string,
): boolean {
  const difference = compareVersions(order, version, bound);
  switch (operator) {
    case '<':
      return difference < 0;
    case '<=':
      return difference <= 0;
    case '=':
      return difference === 0;
    case '>=':
      return difference >= 0;
    case '>':
      return difference > 0;
    case '!=':
      return difference !== 0;
  }
}

const operatorWords = versionOperators.join(' ');

function isOperator(text: string): text is VersionOperator {
  return (versionOperators as readonly string[]).includes(text);
}
