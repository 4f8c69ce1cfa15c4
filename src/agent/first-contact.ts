/**
 * The first words with a registry of which only a join token is known. A token that names the key of the registry's CA
 * is what makes the rest safe: whoever answers is asked for its CA without being believed and without being shown any
 * secret; of what comes, only a certificate with that very key is taken, and from then on nobody speaks for the registry
 * but who has a certificate of it. Without such a name, the roots of this machine have to vouch for the registry.
 */
import { X509Certificate } from 'node:crypto';
import { isPassing } from '../client/connection.ts';
import { LinkError } from '../client/link.ts';
import {
  isConsistentKey,
  type JoinTrust,
  keyFingerprint,
  type Trust,
  type TrustKey,
} from '../domain/trust.ts';
import type { RegistryAddress } from './peer.ts';

/** Asks for `GET /v1/trust`. */
export type AskTrust = (at: RegistryAddress) => Promise<Trust>;

/**
 * The CA that the token names, from the registry at `url`; null when it names none, or there is no TLS. `LinkError`
 * (`untrusted`) when whoever answers has another one.
 */
export async function pinCa(
  url: string,
  { ca }: Pick<JoinTrust, 'ca'>,
  ask: AskTrust,
): Promise<string | null> {
  if (ca === null || new URL(url).protocol !== 'https:') return null;
  const trust = await ask({ url, tls: { unverified: true } });
  // That certificate alone: behind it, the same text may hold another one of whoever answers.
  const pinned = trust.ca
    .map(readCertificate)
    .find((one) => one !== null && keyFingerprint(one.publicKey) === ca);
  if (pinned != null) return pinned.toString();
  throw new LinkError(
    'untrusted',
    `Cannot join ${url}: whoever answers there does not have the CA that the join token names (${ca}). A man in the middle, or the token is of another registry, or older than its CA: make a new one`,
  );
}

/**
 * The key that the token names, of those that the registry says it signs with; `LinkError` (`untrusted`) when it is not
 * among them. The others count once a target says so that this one has signed: until then only TLS vouches for them.
 */
export function requireSigningKey(url: string, { key }: Pick<JoinTrust, 'key'>, trust: Trust): TrustKey {
  const named = trust.keys.find((one) => one.key === key);
  if (named !== undefined && isConsistentKey(named)) return named;
  throw new LinkError(
    'untrusted',
    `Cannot join ${url}: it does not sign with the key that the join token names (${key}). A man in the middle, or the token is of another registry, or older than its keys: make a new one`,
  );
}

/**
 * Tries the registry's URLs, best first, until one of them gives a result; the next one only when nobody answers at
 * one. Throws what the last one met.
 */
export async function atFirstThatAnswers<T>(
  urls: readonly string[],
  ask: (url: string) => Promise<T>,
): Promise<T> {
  let failure: unknown;
  for (const url of urls) {
    try {
      return await ask(url);
    } catch (error) {
      failure = error;
      const silent = error instanceof LinkError && error.failure !== 'untrusted';
      if (!silent && !isPassing(error)) throw error;
    }
  }
  throw failure;
}

function readCertificate(pem: string): X509Certificate | null {
  try {
    return new X509Certificate(pem);
  } catch {
    // Whoever answers is not believed yet: it may say anything.
    return null;
  }
}
