/**
 * Reading what a person wrote into a file: plain values in, typed ones out. Every error is `bad-request`, and names its
 * place as `checks/2/every`, what stands there, and what was expected.
 */
import { nearest } from '../base/nearest.ts';
import { parseDuration } from '../base/time.ts';
import { AppError, isAppError } from './error.ts';
import { requirePrintable } from './ids.ts';

/** What stands somewhere in the file. */
export interface Place {
  /** `checks/2/every` */
  readonly path: string;
  readonly value: unknown;
}

/** The error for what stands at a place. A password in a URL is not repeated: this ends up in logs. */
export function unusable({ path, value }: Place, expected: string, shown = shownOf(value)): AppError {
  return new AppError('bad-request', `Cannot use ${path}: ${shown} given, expected ${expected}`, {
    field: path,
  });
}

function shownOf(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 200).replace(/\/\/[^/]*@/g, '//(not shown)@');
}

/** The members of a map, each of a known name. */
export class Members {
  readonly place: Place;
  readonly #members: Readonly<Record<string, unknown>>;

  constructor(place: Place, known: readonly string[], expected = `keys such as ${known[0]}`) {
    const { path, value } = place;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unusable(place, expected);
    this.place = place;
    this.#members = value as Record<string, unknown>;
    for (const key of Object.keys(value)) {
      if (known.includes(key)) continue;
      const near = nearest(key, known);
      throw new AppError(
        'bad-request',
        `Cannot use ${path}/${key}: unknown key "${key}"; ${near === undefined ? `expected one of ${known.join(', ')}` : `did you mean "${near}"?`}`,
        { field: `${path}/${key}` },
      );
    }
  }

  has(key: string): boolean {
    return this.#members[key] !== undefined;
  }

  at(key: string): Place {
    return { path: `${this.place.path}/${key}`, value: this.#members[key] };
  }

  /** What `read` makes of a member; `fallback` when it is absent. */
  get<T>(key: string, read: (place: Place) => T, fallback: T): T {
    return this.has(key) ? read(this.at(key)) : fallback;
  }
}

/** Its entries, each with its own place. */
export function readList(place: Place, options: { expected: string; max: number }): readonly Place[] {
  const { path, value } = place;
  if (!Array.isArray(value)) throw unusable(place, options.expected);
  if (value.length > options.max) {
    throw new AppError(
      'bad-request',
      `Cannot use ${path}: it has ${value.length} entries, expected at most ${options.max}`,
      { field: path },
    );
  }
  return value.map((one: unknown, index) => ({ path: `${path}/${index}`, value: one }));
}

export function readText(place: Place): string {
  const { value } = place;
  if (typeof value === 'number' || typeof value === 'boolean')
    throw unusable(place, `a text; put it into quotes: '${value}'`);
  if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value;
  throw unusable(place, 'a text');
}

/** 1 to 128 printable characters. */
export function readWord(place: Place): string {
  const text = readText(place);
  try {
    return requirePrintable(text, place.path);
  } catch (error) {
    if (!isAppError(error)) throw error;
    throw unusable(place, '1 to 128 printable characters without spaces at the ends');
  }
}

export function readDuration(place: Place, { minMs, maxMs }: { minMs: number; maxMs: number }): number {
  const { value } = place;
  const ms = typeof value === 'string' || typeof value === 'number' ? parseDuration(value) : undefined;
  if (ms !== undefined && ms >= minMs && ms <= maxMs) return ms;
  throw unusable(
    place,
    `a duration such as 30s or 5m, ${minMs === 0 ? '' : `at least ${durationText(minMs)} and `}at most ${durationText(maxMs)}`,
  );
}

export function readCount(place: Place, { max }: { max: number }): number {
  const { value } = place;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw unusable(place, `a whole number from 1 to ${max}`);
}

/** A regular expression, as JavaScript has them. */
export function readPattern(place: Place): string {
  const text = readText(place);
  try {
    // `m`, as it will be looked for.
    RegExp(text, 'm');
    return text;
  } catch (error) {
    throw unusable(place, `a regular expression: ${(error as Error).message}`);
  }
}

/** A program and its arguments. No shell reads them. */
export function readCommand(place: Place): readonly string[] {
  const expected = 'a list of a program and its arguments, such as [nginx, -v]';
  // A whole command line may hold a password.
  if (typeof place.value === 'string') throw unusable(place, expected, 'a text');
  const [program, ...rest] = readList(place, { expected, max: 256 });
  if (program === undefined) throw unusable(place, expected);
  const name = readText(program);
  if (name.includes('/') && !name.startsWith('/'))
    throw unusable(program, 'the path of a program from / on, or a name that is found in PATH');
  return [name, ...rest.map(readArgument)];
}

/** Whose rights nothing that Holdfast starts ever has. */
export const ownUsers: readonly string[] = ['root', 'holdfast-agent', 'holdfast-registry', 'holdfast-runner'];

/** A user of this machine that foreign code may run as. */
export function readUser(place: Place): string {
  const name = readText(place);
  if (ownUsers.includes(name))
    throw unusable(place, `another user: foreign code never runs as ${ownUsers.join(', ')}`);
  if (isUserName(name)) return name;
  throw unusable(place, 'the name of a user');
}

/** As useradd(8) has them, and no number: 0 is root too. */
export function isUserName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/.test(name);
}

function readArgument(place: Place): string {
  return place.value === '' ? '' : readText(place);
}

function durationText(ms: number): string {
  for (const [unit, unitMs] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const) {
    if (ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  }
  return `${ms}ms`;
}
