/**
 * How the host becomes known to its registry: once, with a token; from then on with the credential that it was given.
 * What is kept, and in which order, stands in membership.ts.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { joinStatement, signProof } from '../domain/proof.ts';
import type { JoinAnswer } from '../domain/services.ts';
import { hostCredentialLifeMs } from '../domain/token.ts';
import { keyFingerprint, type TrustKey, trustKeyOf } from '../domain/trust.ts';
import type { Store, Transaction } from '../store/engine/port.ts';
import type { Identity, IdentityStore } from '../store/identity.ts';
import { type JoinToken as JoinTokenParts, joinBearer, parseJoinToken } from '../wire/join-token.ts';
import { atFirstThatAnswers, pinCa, requireSigningKey } from './first-contact.ts';
import type { Credential, Membership, MembershipFiles } from './membership.ts';
import type { Connect, RegistryAddress } from './peer.ts';

/**
 * A join token (`hfj1.…`), or the API token of an admin. A function is asked only when the host joins, so that one that
 * has joined starts without it.
 */
export type JoinToken = string | (() => Promise<string>) | null;

export interface JoinOptions {
  readonly store: Store;
  readonly identities: IdentityStore;
  readonly files: MembershipFiles;
  /** Null: where the join token says. */
  readonly registryUrl: string | null;
  /** What the membership is kept under instead of the URL, for a registry that may have another port each time. */
  readonly knownAs?: string | undefined;
  /** What to be called; the registry may give another name when this one is taken. */
  readonly name: string;
  readonly region: string | null;
  readonly machineId: string;
  /** Needed for the first join only. */
  readonly token: JoinToken;
  /** Certificates (PEM) that are believed beside the registry's own CA; the roots of this machine when empty. */
  readonly ca: readonly string[];
  readonly connect: Connect;
  /** In the transaction that stores a new identity: what must begin anew with it. */
  readonly onJoined: (tx: Transaction) => Promise<void>;
}

/** The membership of an earlier start; null when there is none with this registry, or only half of one. */
export async function readMembership(
  options: Pick<JoinOptions, 'identities' | 'files' | 'registryUrl' | 'knownAs'>,
): Promise<Membership | null> {
  const identity = await options.identities.read();
  if (identity === null) return null;
  const { knownAs = options.registryUrl } = options;
  if (knownAs !== null && canonical(identity.registryUrl) !== canonical(knownAs)) return null;
  return options.files.read(identity);
}

/**
 * Joins. Throws what the registry answers: `unauthenticated` or `forbidden` for a token that is not, or no longer,
 * good for joining; `unavailable` when it cannot be reached or believed; `bad-request` for a join token that is none;
 * and `unauthenticated` itself when there is no token.
 */
export async function join(options: JoinOptions): Promise<Membership> {
  const { files, identities, store, onJoined } = options;
  const token = await readJoinToken(options);
  const key = await files.joinKey();
  const { url, answer, signingKeys } = await atFirstThatAnswers(token.urls, (at) =>
    joinAt(at, token, key, options),
  );
  const keyId = keyFingerprint(key);
  const { ca } = answer.trust;
  const credential: Credential = {
    host: answer.id,
    key: keyId,
    generation: answer.generation,
    expiresAtMs: answer.expiresAtMs,
    renewAtMs: answer.expiresAtMs - hostCredentialLifeMs / 3,
    credential: answer.credential,
  };
  const identity: Identity = {
    id: answer.id,
    name: answer.name,
    registryUrl: options.knownAs ?? url,
    key: keyId,
    joinedWith: tokenIdOf(token.bearer),
    urls: answer.trust.urls.length > 0 ? answer.trust.urls : token.urls,
    signingKeys,
  };
  await files.writeJoined(credential, ca);
  await store.write(systemCaller, async (tx) => {
    await identities.writeIn(tx, identity);
    await onJoined(tx);
  });
  await files.finishJoin();
  return { identity, credential, next: null, key, ca };
}

/** What a host is let in with. */
export interface ReadToken {
  /** What is shown to the registry, a secret. */
  readonly bearer: string;
  readonly urls: readonly string[];
  /** Null: an API token, which says nothing of the registry. */
  readonly parts: JoinTokenParts | null;
}

/** Throws `unauthenticated` when there is none, `bad-request` for one that cannot be read or says no URL. */
export async function readJoinToken({
  token,
  registryUrl,
}: Pick<JoinOptions, 'token' | 'registryUrl'>): Promise<ReadToken> {
  if (token === null) {
    throw new AppError(
      'unauthenticated',
      `Cannot join ${registryUrl ?? 'the registry'}: this host is not known by that URL yet, start the agent with --join-file too (where it is known by another one, it stays the same host)`,
    );
  }
  const text = (typeof token === 'string' ? token : await token()).trim();
  const parts = text.startsWith('hfj') ? parseJoinToken(text) : null;
  const urls = registryUrl !== null ? [registryUrl] : (parts?.urls ?? []);
  if (urls.length === 0) {
    throw new AppError(
      'bad-request',
      'Cannot join: an API token does not say where the registry is, pass --registry URL, or a join token',
      { field: 'joinToken' },
    );
  }
  return { bearer: parts === null ? text : joinBearer(parts), urls, parts };
}

/** Of `hf_<id>_<secret>`; null for what is no token of ours. */
export function tokenIdOf(bearer: string): string | null {
  return /^hf_(tok-[0-9a-z]{26})_/.exec(bearer)?.[1] ?? null;
}

async function joinAt(
  url: string,
  { bearer, parts }: ReadToken,
  key: KeyObject,
  options: JoinOptions,
): Promise<{ url: string; answer: JoinAnswer; signingKeys: readonly TrustKey[] }> {
  const { connect, ca, name, region, machineId } = options;
  const once = async <T>(at: RegistryAddress, ask: (peer: ReturnType<Connect>) => Promise<T>) => {
    const peer = connect(at);
    try {
      return await ask(peer);
    } finally {
      await peer.close();
    }
  };
  const pinned = parts === null ? null : await pinCa(url, parts, (at) => once(at, (peer) => peer.trust()));
  const { publicKey } = trustKeyOf(createPublicKey(key));
  const statement = joinStatement({ tokenId: tokenIdOf(bearer) ?? '', name, machineId, publicKey });
  const request = { name, region, machineId, publicKey, proof: signProof(key, statement) };
  const at: RegistryAddress = { url, token: bearer, ...trusting(pinned === null ? ca : [pinned]) };
  const answer = await once(at, (peer) => peer.hosts.join(systemCaller, request));
  const { trust } = answer;
  return { url, answer, signingKeys: parts === null ? trust.keys : [requireSigningKey(url, parts, trust)] };
}

/** With these certificates alone, or the roots of this machine. */
export function trusting(ca: readonly string[]): Pick<RegistryAddress, 'tls'> {
  return ca.length === 0 ? {} : { tls: { ca } };
}

/** `https://Registry:443/` and `https://registry` are the same registry. */
function canonical(registryUrl: string): string {
  const url = URL.parse(registryUrl);
  if (url === null) return registryUrl;
  url.pathname = url.pathname.replace(/(?<!\/)\/+$/, '');
  return url.href;
}
