/**
 * What a host must know of its registry to believe it: where it is, the keys that sign targets, and the certificates
 * of its own CA. Fingerprints are SHA-256 over the SPKI DER of a key; two signing keys live at all times, the current
 * one first, so that a host knows the next one before anything is signed with it.
 */
import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';

/** A signing key as it is told. */
export interface TrustKey {
  /** Its fingerprint: `sha256:` + hex. */
  readonly key: string;
  /** Ed25519, base64 of the SPKI DER. */
  readonly publicKey: string;
}

/** The answer of `GET /v1/trust`. */
export interface Trust {
  readonly urls: readonly string[];
  /** Current, next. */
  readonly keys: readonly TrustKey[];
  /** Certificates of the registry's own CA, PEM: current, next. Empty when others vouch for its certificate. */
  readonly ca: readonly string[];
}

/** What a join token says of the registry: enough for a host to trust nobody in between. */
export interface JoinTrust {
  readonly urls: readonly string[];
  /** Fingerprint of the current signing key. */
  readonly key: string;
  /** Fingerprint of the key of the registry's own CA, the current one; null when others vouch for its certificate. */
  readonly ca: string | null;
}

/** What `rotate` replaces: `certificate` is the server's own, within the same CA. */
export const rotations = ['signing-key', 'ca', 'certificate'] as const;
export type Rotation = (typeof rotations)[number];

/**
 * How long hosts have to hear of the next key before it takes over: ten of the longest beat intervals. A second rotation
 * within it, such as by a command that was run twice, would strand whoever had not.
 */
export const rotationRestMs = 600_000;

/** The header of a signed document. */
export const signatureHeader = 'Holdfast-Signature';

/** `sha256:` + hex over the SPKI DER of a public key, of a certificate or of anybody. */
export function keyFingerprint(key: KeyObject): string {
  return `sha256:${hash('sha256', spkiOf(key))}`;
}

export function trustKeyOf(key: KeyObject): TrustKey {
  return { key: keyFingerprint(key), publicKey: spkiOf(key).toString('base64') };
}

/** The value of `Holdfast-Signature`: `<key fingerprint> <base64>`, a detached Ed25519 signature over the exact bytes. */
export function signDetached(body: Uint8Array, privateKey: KeyObject, keyId: string): string {
  return `${keyId} ${sign(null, body, privateKey).toString('base64')}`;
}

/** Why a signature is not believed. */
export type SignatureProblem = 'unsigned' | 'unknown-key' | 'bad-signature';

/** Null when one of `keys` has signed exactly these bytes. `header` is null when the answer had none. */
export function checkSignature(
  body: Uint8Array,
  header: string | null,
  keys: readonly TrustKey[],
): SignatureProblem | null {
  const match = /^(sha256:[0-9a-f]{64}) ([A-Za-z0-9+/]{86}==)$/.exec(header ?? '');
  const [, keyId, signature] = match ?? [];
  if (signature === undefined) return 'unsigned';
  const known = keys.find(({ key }) => key === keyId);
  if (known === undefined) return 'unknown-key';
  return verify(null, body, readPublicKey(known), Buffer.from(signature, 'base64')) ? null : 'bad-signature';
}

/** Whether a key is an Ed25519 key with the fingerprint that stands beside it. */
export function isConsistentKey(told: TrustKey): boolean {
  try {
    const key = readPublicKey(told);
    return key.asymmetricKeyType === 'ed25519' && keyFingerprint(key) === told.key;
  } catch {
    return false;
  }
}

function readPublicKey({ publicKey }: TrustKey): KeyObject {
  return createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' });
}

/** Of a private key its public half. */
function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return publicKey.export({ format: 'der', type: 'spki' });
}
