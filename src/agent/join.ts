/**
 * How the host becomes known to its registry: once, with a token; from then on with the credential it was given.
 * The credential lies in `<data>/credential` (0600), with the id of the host that it is of: `<id> <credential>`. The
 * rest lies in the database. The file is written first: after a crash between the two there is no identity, or that of
 * another host, and the host joins again. The registry knows the machine by its id and gives the same host back.
 */
import { join as joinPath } from 'node:path';
import { FileError, readPrivateFile, writeFileAtomic } from '../base/atomic-file.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { HostService } from '../domain/services.ts';
import type { Store, Transaction } from '../store/engine/port.ts';
import type { Identity, IdentityStore } from '../store/identity.ts';

export interface Membership {
  readonly identity: Identity;
  readonly credential: string;
}

/** A function is asked only when the host joins, so that one that has joined starts without it. */
export type JoinToken = string | (() => Promise<string>) | null;

export interface JoinOptions {
  readonly store: Store;
  readonly identities: IdentityStore;
  /** The agent's own folder. */
  readonly dataDir: string;
  readonly registryUrl: string;
  /** What the membership is kept under instead of the URL, for a registry that may have another port each time. */
  readonly knownAs?: string | undefined;
  /** What to be called; the registry may give another name when this one is taken. */
  readonly name: string;
  readonly region: string | null;
  readonly machineId: string;
  /** Needed for the first join only. */
  readonly token: JoinToken;
  /** The registry, asked with this token. */
  readonly connect: (token: string) => Pick<HostService, 'join'>;
  /** In the transaction that stores a new identity: what must begin anew with it. */
  readonly onJoined: (tx: Transaction) => Promise<void>;
}

/** The membership of an earlier start; null when there is none with this registry, or only half of one. */
export async function readMembership(
  options: Pick<JoinOptions, 'identities' | 'dataDir' | 'registryUrl' | 'knownAs'>,
): Promise<Membership | null> {
  const identity = await options.identities.read();
  const { knownAs = options.registryUrl } = options;
  if (identity === null || canonical(identity.registryUrl) !== canonical(knownAs)) return null;
  const kept = await readCredential(options.dataDir);
  return kept === null || kept.id !== identity.id ? null : { identity, credential: kept.credential };
}

/**
 * Joins. Throws what the registry answers: `unauthenticated` or `forbidden` for a token that is not, or no longer,
 * good for joining; `unavailable` when it cannot be reached; and `unauthenticated` itself when there is no token.
 */
export async function join(options: JoinOptions): Promise<Membership> {
  const { dataDir, registryUrl, knownAs = registryUrl, name, region, machineId, token } = options;
  if (token === null) {
    throw new AppError(
      'unauthenticated',
      `Cannot join ${registryUrl}: this host is not known there yet, start the agent with --token-file`,
    );
  }
  const secret = typeof token === 'string' ? token : await token();
  const answer = await options.connect(secret).join(systemCaller, { name, region, machineId });
  await writeFileAtomic(credentialPath(dataDir), `${answer.id} ${answer.credential}\n`, { mode: 0o600 });
  const identity: Identity = { id: answer.id, name: answer.name, registryUrl: knownAs };
  await options.store.write(systemCaller, async (tx) => {
    await options.identities.writeIn(tx, identity);
    await options.onJoined(tx);
  });
  return { identity, credential: answer.credential };
}

function credentialPath(dataDir: string): string {
  return joinPath(dataDir, 'credential');
}

/** Null when there is none, or what is there is none. `FileError` when others can read it: then it is no secret. */
async function readCredential(dataDir: string): Promise<{ id: string; credential: string } | null> {
  try {
    const text = (await readPrivateFile(credentialPath(dataDir))).toString('utf8');
    const [, id, credential] = /^(\S+) (\S+)\s*$/.exec(text) ?? [];
    return id === undefined || credential === undefined ? null : { id, credential };
  } catch (error) {
    if (error instanceof FileError && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** `https://Registry:443/` and `https://registry` are the same registry. */
function canonical(registryUrl: string): string {
  const url = URL.parse(registryUrl);
  if (url === null) return registryUrl;
  url.pathname = url.pathname.replace(/(?<!\/)\/+$/, '');
  return url.href;
}
