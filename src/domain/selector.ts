/**
 * Selectors: which hosts, records or channels are meant, by their labels. FORMATS "Selector":
 *
 *     selector = term {(" " | ",") term}                       all of the terms
 *     term     = k=v | k!=v | k in (a,b) | k notin (a,b)       the value of a label
 *              | k | !k                                        it is there, it is not
 *              | "(" selector {"+" selector} ")"               any of the selectors
 *
 * As in Kubernetes, `!=` and `notin` also match what lacks the label. A key is a label, or after `@` something known
 * without one. Values hold no space and none of , ( ) + = ! " ' (quotes are kept free for values that do).
 */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';

/** All of the terms; never empty when parsed. */
export type Selector = readonly Term[];

export type Term =
  | { readonly kind: 'in' | 'notin'; readonly key: string; readonly values: readonly string[] }
  | { readonly kind: 'has' | 'lacks'; readonly key: string }
  | { readonly kind: 'any'; readonly of: readonly Selector[] };

/** Keys with `@` before them. What a host says of itself is `@self/…`. */
export const automaticKeys = ['name', 'id', 'group', 'region', 'app', 'channel', 'type'] as const;
export type AutomaticKey = (typeof automaticKeys)[number];

/** What a selector is matched against. */
export interface Selectable {
  readonly labels: Readonly<Record<string, string>>;
  /** Absent and null are alike: it has none. */
  readonly automatic: { readonly [Key in AutomaticKey]?: string | null | undefined };
  readonly self: Readonly<Record<string, string>>;
}

/**
 * Reads a selector in its one normal form: lists are sorted and hold nothing twice, a list of one is `=` or `!=`,
 * parentheses around one selector are gone. Throws `bad-request` naming `field`, the column, and what was expected.
 */
export function parseSelector(text: string, field = 'selector'): Selector {
  return new Parser(text, field).parse();
}

export function matches(selector: Selector, subject: Selectable): boolean {
  return selector.every((term) => matchesTerm(term, subject));
}

function matchesTerm(term: Term, subject: Selectable): boolean {
  switch (term.kind) {
    case 'any':
      return term.of.some((selector) => matches(selector, subject));
    case 'has':
      return valueAt(term.key, subject) !== undefined;
    case 'lacks':
      return valueAt(term.key, subject) === undefined;
    case 'in':
    case 'notin': {
      const value = valueAt(term.key, subject);
      return (value !== undefined && term.values.includes(value)) === (term.kind === 'in');
    }
  }
}

function valueAt(key: string, { labels, automatic, self }: Selectable): string | undefined {
  if (!key.startsWith('@')) return own(labels, key);
  if (key.startsWith(selfPrefix)) return own(self, key.slice(selfPrefix.length));
  return own(automatic, key.slice(1)) ?? undefined;
}

/** A label may be called `constructor`; only own properties count. */
function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** Whether a label may be called so: any key of a selector that is neither `@…` nor one of its words. */
export function isLabelKey(text: string): boolean {
  return !text.startsWith('@') && readsWhole(keyPattern, text) && !reservedKeys.includes(text);
}

/** Whether a label may have this value: what a selector can ask for. */
export function isLabelValue(text: string): boolean {
  return [...text].length <= limits.labelValueLengthMax && readsWhole(valuePattern, text);
}

/** The text of a selector, the same for selectors that were parsed to the same; `parseSelector` gives it back. */
export function formatSelector(selector: Selector): string {
  return selector.map(formatTerm).join(' ');
}

function formatTerm(term: Term): string {
  switch (term.kind) {
    case 'any':
      return `(${term.of.map(formatSelector).join(' + ')})`;
    case 'has':
      return term.key;
    case 'lacks':
      return `!${term.key}`;
    case 'in':
    case 'notin':
      if (term.values.length === 1) return `${term.key}${term.kind === 'in' ? '=' : '!='}${term.values[0]}`;
      return `${term.key} ${term.kind} (${term.values.join(',')})`;
  }
}

/** What both select: how a query for hosts adds `@type=host` to what its caller asked for. */
export function intersect(one: Selector, other: Selector): Selector {
  return [...one, ...other];
}

/** Every key that has a say, for rules such as "channels cannot select on `@self/…`". */
export function selectorKeys(selector: Selector): Set<string> {
  return new Set(
    selector.flatMap((term) =>
      term.kind === 'any' ? term.of.flatMap((s) => [...selectorKeys(s)]) : [term.key],
    ),
  );
}

export function isSelfKey(key: string): boolean {
  return key.startsWith(selfPrefix);
}

function readsWhole(pattern: RegExp, text: string): boolean {
  pattern.lastIndex = 0;
  return pattern.exec(text)?.[0] === text;
}

const selfPrefix = '@self/';
const reservedKeys = ['in', 'notin'];
const keyPattern = /@?[A-Za-z0-9][A-Za-z0-9._/-]{0,127}/y;
const valuePattern = /[^\s,()+=!"'\p{C}]+/uy;
const spacePattern = /\s*/y;
const listPattern = /\s+(in|notin)\s*\(/y;

/** Recursive descent; each method reads one rule of the grammar at `#at`. */
class Parser {
  readonly #text: string;
  readonly #field: string;
  #at = 0;
  /** Terms and listed values so far. */
  #count = 0;

  constructor(text: string, field: string) {
    this.#text = text;
    this.#field = field;
  }

  parse(): Selector {
    this.#requireShort(this.#text);
    const selector = this.#selector(0);
    if (this.#at < this.#text.length) throw this.#expected('the end, "," or a space');
    // The normal form may be longer by its spaces; it is what is stored, and must be readable again.
    this.#requireShort(formatSelector(selector));
    return selector;
  }

  #requireShort(text: string): void {
    if (Buffer.byteLength(text) <= limits.selectorBytes) return;
    throw this.#error(`it is longer than ${limits.selectorBytes} bytes`);
  }

  /** Ends at the end of the text, `+` or `)`. */
  #selector(depth: number): Selector {
    const terms: Term[] = [];
    for (;;) {
      this.#skip(spacePattern);
      terms.push(...this.#term(depth));
      const before = this.#at;
      this.#skip(spacePattern);
      if (this.#take(',')) continue;
      if (this.#at === this.#text.length || this.#peek('+') || this.#peek(')')) return terms;
      if (this.#at === before) throw this.#expected('"," or a space');
    }
  }

  #term(depth: number): readonly Term[] {
    this.#countOne();
    if (this.#take('(')) return this.#group(depth + 1);
    if (this.#take('!')) return [{ kind: 'lacks', key: this.#key() }];
    const key = this.#key();
    const list = this.#skip(listPattern);
    if (list !== undefined) return [{ kind: list[1] === 'in' ? 'in' : 'notin', key, values: this.#values() }];
    if (this.#take('!=')) return [{ kind: 'notin', key, values: [this.#value()] }];
    if (this.#take('=')) return [{ kind: 'in', key, values: [this.#value()] }];
    return [{ kind: 'has', key }];
  }

  #group(depth: number): readonly Term[] {
    if (depth > limits.selectorDepthMax)
      throw this.#error(`parentheses are deeper than ${limits.selectorDepthMax}`);
    const of: Selector[] = [];
    do of.push(this.#selector(depth));
    while (this.#take('+'));
    if (!this.#take(')')) throw this.#expected('")", "+", "," or a space');
    const [only, ...others] = of;
    return only !== undefined && others.length === 0 ? only : [{ kind: 'any', of }];
  }

  #values(): readonly string[] {
    const values = new Set<string>();
    do {
      this.#countOne();
      this.#skip(spacePattern);
      values.add(this.#value());
      this.#skip(spacePattern);
    } while (this.#take(','));
    if (!this.#take(')')) throw this.#expected('"," or ")"');
    return [...values].sort();
  }

  #key(): string {
    const start = this.#at;
    const key = this.#skip(keyPattern)?.[0];
    if (key === undefined) throw this.#expected('a key');
    const known = !key.startsWith('@') || isSelfKey(key) || automaticKeys.some((name) => key === `@${name}`);
    if (known && !reservedKeys.includes(key) && key !== selfPrefix) return key;
    this.#at = start;
    throw this.#expected(
      known ? 'a key' : `one of ${automaticKeys.map((name) => `@${name}`).join(', ')}, ${selfPrefix}…`,
      key,
    );
  }

  #value(): string {
    const value = this.#skip(valuePattern)?.[0];
    if (value === undefined) throw this.#expected('a value');
    return value;
  }

  #countOne(): void {
    this.#count += 1;
    if (this.#count > limits.selectorTermsMax) {
      throw this.#error(`it has more than ${limits.selectorTermsMax} terms and values`);
    }
  }

  #peek(text: string): boolean {
    return this.#text.startsWith(text, this.#at);
  }

  #take(text: string): boolean {
    if (!this.#peek(text)) return false;
    this.#at += text.length;
    return true;
  }

  /** Reads what a sticky pattern matches here, if it does. */
  #skip(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return undefined;
    this.#at = pattern.lastIndex;
    return match;
  }

  #expected(wish: string, found?: string): AppError {
    const point = this.#text.codePointAt(this.#at);
    const next = found ?? (point === undefined ? undefined : String.fromCodePoint(point));
    return this.#error(`found ${next === undefined ? 'the end' : JSON.stringify(next)}, expected ${wish}`);
  }

  #error(problem: string): AppError {
    const shown = this.#text.length > 80 ? `${this.#text.slice(0, 80)}…` : this.#text;
    return new AppError(
      'bad-request',
      `Cannot read selector ${JSON.stringify(shown)}: ${problem} at column ${this.#at + 1}`,
      { field: this.#field },
    );
  }
}
