/**
 * What a secret looks like, taken out of texts and values that are shown around. It errs to the side of hiding: a name
 * that sounds like a secret hides its value, whatever it is, and of a command only the program is left, as no rule knows
 * which of its arguments is a password.
 */
import { limits } from './limits.ts';

/** What stands in the place of a secret. */
export const maskText = '(masked)';

/** Values under such names. */
const secretName =
  /pass(?:wo?r?d|phrase)?$|pwd|secret|token|credential|authori[sz]ation|cookie|(?:api|access|private|signing|ssh)[-_]?key|signature$|^auth$|database[-_]?url|dsn$/i;
/** Names of what only says about a secret where it lies, when it ends, or how many there are. */
const aboutSecret = /(?:[a-z](?:File|Path|At|Ms|Count|Max|Id)|[-_](?:file|path|id))$/;
/** Mappings of which the names may be seen, and no value. */
const secretMapping = /^(?:env|environment|headers|variables)$/i;
/** Lists of a program and its arguments. */
const commandName = /^(?:command|argv|cmd|args)$/i;

/** Ends of names, and what stands between a name and its value. */
const secretWord =
  '(?:pass(?:wo?r?d|phrase)?|pwd|secret|token|credential|authorization|(?:api|access|private)[-_]?key)';
const named = `(?<![\\w-])([\\w-]*${secretWord}\\\\*["']?\\s*[=:]\\s*\\\\*)`;

const patterns: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, maskText],
  // Ours: tokens, join tokens, and the subprotocol that carries one.
  [/hfj1\.[\w.~+/=-]+/g, maskText],
  [/\bhf_[\w.~+/=-]+/g, maskText],
  // A JSON Web Token, keys of AWS, GitHub, Slack and others that say what they are.
  [/\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*/g, maskText],
  [/\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g, maskText],
  [/\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk_(?:live|test)_)[\w-]+/g, maskText],
  // Credentials of a URL also where the password holds an @ or a slash, and every value of its query.
  [/\b([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s"'<>]*@/gi, `$1${maskText}@`],
  [/(\b[a-z][a-z0-9+.-]{0,30}:\/\/[^\s"'<>?#]*)[?#][^\s"'<>]*/gi, `$1?${maskText}`],
  // Whose path is the secret.
  [/(https:\/\/hooks\.[^\s"'/]+\/)[^\s"'<>]*/gi, `$1${maskText}`],
  [/\b(Bearer|Basic|Digest)\s+[\w.~+/=:-]{6,}/gi, `$1 ${maskText}`],
  // password=x, "apiKey": "x", PGPASSWORD=x, also within JSON within JSON; one that is cut has no second quote.
  [new RegExp(`${named}"(?:[^"\\\\]|\\\\.)*"?`, 'gi'), `$1"${maskText}"`],
  [new RegExp(`${named}'[^']*'?`, 'gi'), `$1'${maskText}'`],
  [new RegExp(`${named}[^\\s,;&"'\\\\]+`, 'gi'), `$1${maskText}`],
  // --token x. What -p x is, no rule knows.
  [
    new RegExp(`(?<![\\w-])(--?[\\w-]*${secretWord}\\s+)(?!-)(?:"[^"]*"?|'[^']*'?|\\S+)`, 'gi'),
    `$1${maskText}`,
  ],
];

/** Shorter ones are found by chance in what is none, and are no secret of ours. */
const secretLengthMin = 6;

/** Masks texts and values; `known` are secrets of this machine, hidden wherever they stand. */
export class Mask {
  /** Longest first: one may be a part of another. */
  readonly #known: readonly string[];

  constructor(known: Iterable<string> = []) {
    this.#known = [...new Set([...known].map((text) => text.trim()))]
      .filter((text) => text.length >= secretLengthMin)
      .sort((a, b) => b.length - a.length);
  }

  text(text: string): string {
    // What is cut cannot be searched for ever.
    let shown = text.length > limits.maskedTextMax ? `${text.slice(0, limits.maskedTextMax)}…` : text;
    for (const secret of this.#known) shown = shown.replaceAll(secret, maskText);
    for (const [pattern, masked] of patterns) shown = shown.replace(pattern, masked);
    return shown;
  }

  /** The same JSON value, masked; what is no JSON is left out. */
  value(value: unknown): unknown {
    return this.#value(value, 0);
  }

  #value(value: unknown, depth: number): unknown {
    if (typeof value === 'string') return this.text(value);
    if (typeof value !== 'object' || value === null) return value;
    if (depth > depthMax) return '(too deep)';
    if (Array.isArray(value)) return value.map((one) => this.#value(one, depth + 1));
    const entries = Object.entries(value).flatMap(([name, member]): [string, unknown][] => {
      if (typeof member === 'function' || member === undefined) return [];
      return [[this.text(name), this.#member(name, member, depth + 1)]];
    });
    return Object.fromEntries(entries);
  }

  #member(name: string, member: unknown, depth: number): unknown {
    if (member === null || typeof member === 'boolean' || typeof member === 'number')
      return member !== null && isSecretName(name) && typeof member === 'number' ? maskText : member;
    if (isSecretName(name)) return isMapping(member) ? this.#value(member, depth) : maskText;
    if (secretMapping.test(name) && isMapping(member))
      return Object.fromEntries(Object.keys(member).map((key) => [this.text(key), maskText]));
    if (secretMapping.test(name) && Array.isArray(member))
      return member.map((one) => `${this.text(String(one).split('=')[0] ?? '')}=${maskText}`);
    if (commandName.test(name)) return this.#command(member);
    return this.#value(member, depth);
  }

  #command(member: unknown): unknown {
    if (typeof member === 'string') {
      const [program = '', ...rest] = member.trim().split(/\s+/);
      return this.#program(program, rest.length);
    }
    if (!Array.isArray(member)) return this.#value(member, 0);
    return this.#program(String(member[0] ?? ''), Math.max(0, member.length - 1));
  }

  #program(program: string, given: number): string {
    return `${this.text(program)}${given === 0 ? '' : ` ${maskText}`}`;
  }
}

const depthMax = 24;

function isSecretName(name: string): boolean {
  return secretName.test(name) && !aboutSecret.test(name);
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
