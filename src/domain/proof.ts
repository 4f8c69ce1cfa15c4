/**
 * What a host proves itself with: an Ed25519 key of its own, made when it joins, which never leaves it. It signs its
 * join and each renewal of its credential; heartbeats are not signed, a verification costs as much as six of them.
 * Each statement begins with its purpose, so that none can stand for another.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

/** What is signed when a host joins: with which token, as whom, on which machine, with which key. */
export interface JoinStatement {
  /** Empty for a caller without a token. */
  readonly tokenId: string;
  /** As asked for, before the registry makes a name of it. */
  readonly name: string;
  readonly machineId: string;
  /** Base64 of the SPKI DER. */
  readonly publicKey: string;
}

export function joinStatement({ tokenId, name, machineId, publicKey }: JoinStatement): string {
  return `holdfast.join.v1\n${tokenId}\n${name}\n${machineId}\n${publicKey}\n`;
}

/** What is signed when a host renews: `generation` is that of the credential which it has. */
export function credentialStatement(hostId: string, generation: number): string {
  return `holdfast.credential.v1\n${hostId}\n${generation}\n`;
}

/** Base64. */
export function signProof(key: KeyObject, statement: string): string {
  return sign(null, Buffer.from(statement), key).toString('base64');
}

/** Whether whoever has the private half of `publicKey` signed exactly this. False for what is no key or signature. */
export function isProof(publicKey: string, statement: string, proof: string): boolean {
  const key = readEd25519(publicKey);
  if (key === null || !/^[A-Za-z0-9+/]{86}==$/.test(proof)) return false;
  return verify(null, Buffer.from(statement), key, Buffer.from(proof, 'base64'));
}

/** Null for what is no Ed25519 key as base64 of its SPKI DER, in the one form that it has. */
function readEd25519(publicKey: string): KeyObject | null {
  try {
    const der = Buffer.from(publicKey, 'base64');
    if (der.toString('base64') !== publicKey) return null;
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
    return key.asymmetricKeyType === 'ed25519' ? key : null;
  } catch {
    return null;
  }
}
