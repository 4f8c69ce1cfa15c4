/**
 * Secrets under a passphrase, as one line of text: scrypt (RFC 7914) makes the key, AES-256-GCM hides and protects the
 * rest. The cost parameters travel with the text, so that they can be raised later.
 */
import { createCipheriv, createDecipheriv, scrypt } from 'node:crypto';
import { type Random, systemRandom } from './random.ts';

/** 128 MiB and about half a second for each guess: OWASP's "Password Storage" figures for scrypt. */
const cost = { N: 2 ** 17, r: 8, p: 1 } as const;
/** What somebody else's text may make us spend. */
const costMax = { N: 2 ** 20, r: 16, p: 4 } as const;
const keyBytes = 32;
const saltBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;
const cipher = 'aes-256-gcm';

/** A sealed text cannot be opened: the passphrase is wrong, or the text is not what `seal` made. */
export class SealError extends Error {
  override readonly name = 'SealError';
}

/** `scrypt$<N>$<r>$<p>$<salt>$<nonce, ciphertext and tag>`, the last two in base64url. */
export async function seal(
  secret: string,
  passphrase: string,
  options: { random?: Random } = {},
): Promise<string> {
  const { random = systemRandom } = options;
  const salt = random.bytes(saltBytes);
  const nonce = random.bytes(nonceBytes);
  const head = `scrypt$${cost.N}$${cost.r}$${cost.p}$${base64(salt)}`;
  const sealing = createCipheriv(cipher, await keyOf(passphrase, salt, cost), nonce);
  // Nobody exchanges the parameters without being noticed.
  sealing.setAAD(Buffer.from(head));
  const body = Buffer.concat([nonce, sealing.update(secret, 'utf8'), sealing.final(), sealing.getAuthTag()]);
  return `${head}$${base64(body)}`;
}

/** What was sealed. Throws `SealError`. */
export async function unseal(text: string, passphrase: string): Promise<string> {
  const match = /^(scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([\w-]{22}))\$([\w-]+)$/.exec(text);
  const [, head = '', n, r, p, salt = '', packed = ''] = match ?? [];
  const given = { N: Number(n), r: Number(r), p: Number(p) };
  const body = Buffer.from(packed, 'base64url');
  const affordable = given.N <= costMax.N && given.r <= costMax.r && given.p <= costMax.p;
  const possible = given.N >= 2 && Number.isInteger(Math.log2(given.N)) && given.r >= 1 && given.p >= 1;
  if (match === null || !affordable || !possible || body.length < nonceBytes + tagBytes)
    throw new SealError('it is not what holdfast seals');
  const key = await keyOf(passphrase, Buffer.from(salt, 'base64url'), given);
  const opening = createDecipheriv(cipher, key, body.subarray(0, nonceBytes), { authTagLength: tagBytes });
  opening.setAAD(Buffer.from(head));
  opening.setAuthTag(body.subarray(-tagBytes));
  try {
    const hidden = body.subarray(nonceBytes, -tagBytes);
    return Buffer.concat([opening.update(hidden), opening.final()]).toString('utf8');
  } catch (error) {
    throw new SealError('the passphrase is wrong, or it was changed', { cause: error });
  }
}

function keyOf(
  passphrase: string,
  salt: Uint8Array,
  parameters: { N: number; r: number; p: number },
): Promise<Buffer> {
  // As people type it: the same characters are the same bytes on every keyboard (RFC 8265).
  const text = passphrase.normalize('NFC');
  const maxmem = 256 * parameters.N * parameters.r;
  return new Promise((resolve, reject) => {
    scrypt(text, salt, keyBytes, { ...parameters, maxmem }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
