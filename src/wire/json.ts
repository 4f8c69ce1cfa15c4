/**
 * JSON as it goes over the wire. `JSON.parse` alone accepts more than we may hand on: any depth, 1e400 as Infinity, half
 * a surrogate pair, NUL (which PostgreSQL's text cannot hold, so what one store takes another would refuse for ever);
 * and few of its errors say where the mistake is. `JSON.stringify` writes such things, or hides them.
 */
import { isUtf8 } from 'node:buffer';
import { limits } from '../base/limits.ts';
import { AppError } from '../domain/error.ts';

/**
 * The value of a JSON text (RFC 8259), as UTF-8 bytes or as a string. A key `__proto__` becomes an own property like
 * any other, never a prototype, so that validation refuses it by name. Of a repeated key the last one counts.
 *
 * Throws `bad-request`: for syntax and depth with line and column, for a value that cannot be represented with
 * `field`. Of a text beyond `parseFirstMax`, what is too deep, or would be too many things, is refused before anything is
 * built from it.
 */
export function parseJson(input: string | Uint8Array, options: { depthMax?: number } = {}): unknown {
  const { depthMax = limits.jsonDepthMax } = options;
  const text = typeof input === 'string' ? input : decodeUtf8(input);
  if (text.charCodeAt(0) === 0xfeff) throw refusal('it begins with a byte order mark, expected none');
  if (text.length > parseFirstMax) requireBounded(text, input, depthMax);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    requireBounded(text, input, depthMax);
    throw syntaxRefusal(text, cause);
  }
  const look = { strings: mayHoldBadText(text), depthMax };
  const problem = findUnrepresentable(value, look, depthMax);
  if (problem !== undefined) {
    requireBounded(text, input, depthMax);
    throw unrepresentable('read', problem);
  }
  return value;
}

/** Throws `bad-request` saying where it is too deep, or where there begin to be too many things, if it does. */
function requireBounded(text: string, input: string | Uint8Array, depthMax: number): void {
  if (hasFew(text, ['{', '['], depthMax) && hasFew(text, [','], limits.jsonMembersMax - 1)) return;
  const bytes = typeof input === 'string' ? Buffer.from(input) : asBuffer(input);
  const excess = findExcess(bytes, depthMax);
  if (excess !== undefined)
    throw refusalAt(text, bytes.toString('utf8', 0, excess.at).length, excess.problem);
}

/**
 * The JSON text of `value`, which `parseJson` with the same `depthMax` reads back. Throws `bad-request` with `field`
 * when there is none: undefined, NaN, a cycle, a bigint, half a surrogate pair, NUL, too deep.
 */
export function stringifyJson(value: unknown, options: { depthMax?: number } = {}): string {
  const { depthMax = limits.jsonDepthMax } = options;
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new AppError(
      'bad-request',
      'Cannot write JSON: it has a cycle, a bigint, or nests beyond all bounds',
      { cause },
    );
  }
  if (text === undefined)
    throw new AppError('bad-request', `Cannot write JSON: there is none for ${typeof value}`);
  const problem = findUnrepresentable(value, { strings: mayHoldBadText(text), depthMax }, depthMax);
  if (problem !== undefined) throw unrepresentable('write', problem);
  return text;
}

function refusal(problem: string, cause?: unknown): AppError {
  return new AppError('bad-request', `Cannot read JSON: ${problem}`, { cause });
}

function refusalAt(text: string, at: number, problem: string, cause?: unknown): AppError {
  const line = countLineFeeds(text, at) + 1;
  const column = line === 1 ? at + 1 : at - text.lastIndexOf('\n', at - 1);
  return refusal(`${problem} at line ${line}, column ${column}`, cause);
}

function countLineFeeds(text: string, end: number): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at !== -1 && at < end; at = text.indexOf('\n', at + 1)) count += 1;
  return count;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function decodeUtf8(bytes: Uint8Array): string {
  const buffer = asBuffer(bytes);
  if (isUtf8(buffer)) return buffer.toString('utf8');
  throw refusal(`it is not UTF-8 at byte ${findInvalidByte(buffer)}`);
}

/** Decoding puts U+FFFD where the input is invalid; one that the input itself holds is EF BF BD there. */
function findInvalidByte(buffer: Buffer): number {
  const text = buffer.toString('utf8');
  let byte = 0;
  let from = 0;
  for (let at = text.indexOf('\ufffd'); at !== -1; at = text.indexOf('\ufffd', from)) {
    byte += Buffer.byteLength(text.slice(from, at));
    if (buffer.toString('hex', byte, byte + 3) !== 'efbfbd') return byte;
    byte += 3;
    from = at + 1;
  }
  return byte;
}

/** Whether these characters stand there `max` times at most, anywhere. Spares most bodies the scan. */
function hasFew(text: string, characters: readonly string[], max: number): boolean {
  let count = 0;
  for (const character of characters) {
    for (let at = text.indexOf(character); at !== -1; at = text.indexOf(character, at + 1)) {
      count += 1;
      if (count > max) return false;
    }
  }
  return true;
}

/** Characters. That much of nothing but brackets costs 0.8 ms; a hundred is-up queries (5 KB) save 7 of 21 µs. */
const parseFirstMax = 16_384;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
/** Where the members of an object are counted, a list begins so far below that it never gets there. */
const isList = -(2 ** 31);

const tooManyMembers = `an object has more than ${limits.jsonMembersMax} members`;
const tooManyValues = `it has more than ${limits.jsonValuesMax} values`;

/**
 * Where a bracket opens level `depthMax` + 1, an object gets a member too many, or the whole a value too many: one pass
 * that skips strings and stops there. To parse first and measure then costs less for the good (0.4 µs per KB of records;
 * this 1.1, the same over a string 1.9, JSON.parse 4.2), but 16 MiB of brackets would cost 0.8 s and 700 MB, a million
 * keys 1 s: so only short texts are parsed first.
 */
function findExcess(bytes: Buffer, depthMax: number): { at: number; problem: string } | undefined {
  /** By level: the commas of the object that is open there. */
  const commas = new Int32Array(depthMax + 1).fill(isList);
  let depth = 0;
  let values = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === quote) {
      at = endOfString(bytes, at);
      continue;
    }
    // Brackets and braces differ in one bit: [ 5b { 7b, ] 5d } 7d.
    const bracket = byte | 0x20;
    if (bracket === 0x7b) {
      depth += 1;
      if (depth > depthMax) return { at, problem: `nesting is deeper than ${depthMax}` };
      commas[depth] = byte === 0x7b ? 0 : isList;
    } else if (byte === comma) {
      const count = (commas[depth] ?? 0) + 1;
      if (count >= limits.jsonMembersMax) return { at, problem: tooManyMembers };
      commas[depth] = count;
    } else {
      if (bracket === 0x7d && depth > 0) depth -= 1;
      continue;
    }
    values += 1;
    if (values > limits.jsonValuesMax) return { at, problem: tooManyValues };
  }
  return undefined;
}

/** The index of the quote that closes the string opened at `start`, or one beyond the text. */
function endOfString(bytes: Buffer, start: number): number {
  let at = start + 1;
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === quote) return at;
    if (byte === backslash) at += 1;
  }
  return at;
}

/** NUL can only come from an escape; half a surrogate pair also from a string (not bytes) that holds one itself. */
function mayHoldBadText(text: string): boolean {
  return /\\u(?:[dD]|0000)/.test(text) || !text.isWellFormed();
}

interface Look {
  readonly strings: boolean;
  readonly depthMax: number;
}

function unrepresentable(action: 'read' | 'write', problem: Problem): AppError {
  const field = problem.path.reverse().join('/');
  const where = field === '' ? '' : ` at ${JSON.stringify(field.slice(0, 200))}`;
  return new AppError('bad-request', `Cannot ${action} JSON: ${problem.what}${where}`, { field });
}

interface Problem {
  readonly what: string;
  /** Innermost key first. */
  readonly path: (string | number)[];
}

/**
 * The first number beyond the range of a double, the first bracket beyond `levels` and, if `strings` are looked at, the
 * first that is no Unicode or holds NUL.
 */
function findUnrepresentable(value: unknown, look: Look, levels: number): Problem | undefined {
  if (typeof value === 'number') {
    return Number.isFinite(value) ? undefined : { what: 'a number out of range', path: [] };
  }
  if (typeof value === 'string') {
    if (!look.strings) return undefined;
    if (!value.isWellFormed()) return { what: 'half of a surrogate pair', path: [] };
    return value.includes('\0') ? { what: 'a NUL character', path: [] } : undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  if (levels === 0) return { what: `nesting is deeper than ${look.depthMax}`, path: [] };
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      const problem = findUnrepresentable(value[index], look, levels - 1);
      if (problem !== undefined) return below(problem, index);
    }
    return undefined;
  }
  for (const key in value) {
    const problem =
      findUnrepresentable(key, look, levels) ??
      findUnrepresentable((value as Record<string, unknown>)[key], look, levels - 1);
    if (problem !== undefined) return below(problem, key.toWellFormed().replaceAll('\0', '\ufffd'));
  }
  return undefined;
}

function below(problem: Problem, key: string | number): Problem {
  problem.path.push(key);
  return problem;
}

/** What JSON.parse refused, read again slowly to say where the mistake is and what was expected there. */
function syntaxRefusal(text: string, cause: unknown): AppError {
  const reader = new SyntaxReader(text);
  reader.document();
  const found = text.codePointAt(reader.at);
  const what = found === undefined ? 'the end' : JSON.stringify(String.fromCodePoint(found));
  return refusalAt(text, reader.at, `found ${what}, expected ${reader.expected}`, cause);
}

/**
 * Each method reads one thing and tells whether it was there; if not, `at` and `expected` say what is wrong. Recursion
 * is bounded: up to the first mistake, the depth was checked.
 */
class SyntaxReader {
  at = 0;
  expected = 'a value';
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  document(): boolean {
    if (!this.#value()) return false;
    this.#space();
    return this.at === this.#text.length || this.#fail('the end');
  }

  #value(): boolean {
    this.#space();
    switch (this.#text[this.at]) {
      case '{':
        return this.#list('}', () => this.#member());
      case '[':
        return this.#list(']', () => this.#value());
      case '"':
        return this.#string();
      case 't':
        return this.#word('true');
      case 'f':
        return this.#word('false');
      case 'n':
        return this.#word('null');
      default:
        return this.#number();
    }
  }

  #list(end: string, item: () => boolean): boolean {
    this.at += 1;
    this.#space();
    if (this.#take(end)) return true;
    for (;;) {
      if (!item()) return false;
      this.#space();
      if (this.#take(end)) return true;
      if (!this.#take(',')) return this.#fail(`"," or "${end}"`);
    }
  }

  #member(): boolean {
    this.#space();
    if (this.#text[this.at] !== '"') return this.#fail('a key in double quotes');
    if (!this.#string()) return false;
    this.#space();
    return (this.#take(':') || this.#fail('":"')) && this.#value();
  }

  #string(): boolean {
    this.at += 1;
    for (;;) {
      const character = this.#text[this.at];
      if (character === undefined) return this.#fail('a closing quote');
      if (character < ' ') return this.#fail('an escape like \\n in place of a control character');
      this.at += 1;
      if (character === '"') return true;
      if (character === '\\' && !this.#escape()) return false;
    }
  }

  #escape(): boolean {
    if (!this.#take('u')) return this.#takeOneOf('"\\/bfnrt') || this.#fail('one of " \\ / b f n r t u');
    for (let digit = 0; digit < 4; digit += 1) {
      if (!this.#takeOneOf('0123456789abcdefABCDEF')) return this.#fail('a hexadecimal digit');
    }
    return true;
  }

  #word(word: string): boolean {
    for (const letter of word) if (!this.#take(letter)) return this.#fail(word);
    return true;
  }

  #number(): boolean {
    const negative = this.#take('-');
    if (!this.#take('0') && !this.#digits()) return this.#fail(negative ? 'a digit' : 'a value');
    if (this.#take('.') && !this.#digits()) return this.#fail('a digit');
    if (!this.#takeOneOf('eE')) return true;
    this.#takeOneOf('+-');
    return this.#digits() || this.#fail('a digit');
  }

  #digits(): boolean {
    const start = this.at;
    while (this.#takeOneOf('0123456789'));
    return this.at > start;
  }

  #space(): void {
    while (this.#takeOneOf(' \t\n\r'));
  }

  #take(character: string): boolean {
    if (this.#text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  #takeOneOf(characters: string): boolean {
    const character = this.#text[this.at];
    return character !== undefined && characters.includes(character) && this.#take(character);
  }

  #fail(expected: string): false {
    this.expected = expected;
    return false;
  }
}
