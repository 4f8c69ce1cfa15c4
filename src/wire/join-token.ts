/**
 * The text of a join token: `hfj1.` + base64url of JSON `{urls, key, ca?, id, secret}`. With it a host finds its
 * registry, believes it and nobody else, and is let in. All that a person can do to it on the way (cut it, wrap it,
 * take half of it) is told apart, and never by showing any of it: it is a secret.
 */
import { AppError } from '../domain/error.ts';
import type { JoinTrust } from '../domain/trust.ts';

export const joinTokenPrefix = 'hfj1.';

export interface JoinToken extends JoinTrust {
  readonly id: string;
  readonly secret: string;
}

/** `token` is its bearer, `hf_<id>_<secret>`. */
export function encodeJoinToken(trust: JoinTrust, token: string): string {
  const { id, secret } = splitBearer(token);
  const { urls, key, ca } = trust;
  const json = JSON.stringify({ urls, key, ...(ca === null ? {} : { ca }), id, secret });
  return joinTokenPrefix + Buffer.from(json).toString('base64url');
}

/** What the host shows the registry: `hf_<id>_<secret>`. */
export function joinBearer({ id, secret }: Pick<JoinToken, 'id' | 'secret'>): string {
  return `hf_${id}_${secret}`;
}

/** Throws `bad-request` that says what is wrong with the text. White space around and inside it is nobody's fault. */
export function parseJoinToken(text: string): JoinToken {
  const word = text.replaceAll(/\s/g, '');
  if (word === '') throw refusal('it is empty');
  if (/^hf_/.test(word))
    throw refusal('it is an API token; "holdfast token create --role host" makes one that joins');
  if (/^hfj\d+\./.test(word) && !word.startsWith(joinTokenPrefix))
    throw refusal('a newer Holdfast made it, use that version here too');
  if (!word.startsWith(joinTokenPrefix)) throw refusal(`it does not begin with ${joinTokenPrefix}`);
  const encoded = word.slice(joinTokenPrefix.length);
  if (encoded.length > encodedMax) throw refusal('it is far too long');
  if (!/^[\w-]+$/.test(encoded))
    throw refusal('it holds a character that none has; was something added to it?');
  return readParts(parseJson(encoded));
}

/** Room for a dozen URLs. */
const encodedMax = 16_384;
const urlsMax = 16;

function parseJson(encoded: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(encoded, 'base64url').toString());
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // The parser's own words would show some of the secret.
  }
  throw refusal('a part of it is missing; copy it whole, it is one line');
}

function readParts(parts: Record<string, unknown>): JoinToken {
  const { urls, key, ca = null, id, secret, ...more } = parts;
  const [unknown] = Object.keys(more);
  if (unknown !== undefined) throw refusal('it has a part that this version does not know');
  if (!Array.isArray(urls) || urls.length === 0 || urls.length > urlsMax || !urls.every(isUrl))
    throw refusal('its URLs are none');
  if (!isFingerprint(key)) throw refusal("its fingerprint of the registry's signing key is none");
  if (ca !== null && !isFingerprint(ca)) throw refusal("its fingerprint of the registry's CA is none");
  if (typeof id !== 'string' || !/^tok-[0-9a-z]{26}$/.test(id)) throw refusal('its id is none');
  if (typeof secret !== 'string' || !/^[\w-]{43}$/.test(secret)) throw refusal('its secret is none');
  return { urls: urls as string[], key, ca, id, secret };
}

function isUrl(value: unknown): value is string {
  const url = typeof value === 'string' ? URL.parse(value) : null;
  return (
    url !== null &&
    /^https?:$/.test(url.protocol) &&
    url.username === '' &&
    url.password === '' &&
    url.hash === ''
  );
}

function isFingerprint(value: unknown): value is string {
  return typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value);
}

function splitBearer(token: string): { id: string; secret: string } {
  const [, id, secret] = /^hf_(tok-[0-9a-z]{26})_([\w-]{43})$/.exec(token) ?? [];
  if (id === undefined || secret === undefined) throw new Error('a join token was made of what is no token');
  return { id, secret };
}

function refusal(problem: string): AppError {
  return new AppError('bad-request', `Cannot read the join token: ${problem}`, { field: 'joinToken' });
}
