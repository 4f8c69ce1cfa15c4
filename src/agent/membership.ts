/**
 * What a host keeps of its membership, in files that only it reads:
 *
 *     host.key            Ed25519, PKCS#8: what it proves itself with
 *     host.key.next       of a join that is not done
 *     credential          what it calls with; says whose it is and which key it goes with
 *     credential.next     offered by a renewal, until the first answer to a beat with it
 *     registry-ca.pem     certificates of the registry's own CA; not there when others vouch for it
 *
 * A crash between any two writes leaves either the membership of before or none, never half of one: a credential counts
 * only with the identity in the database whose id and key it names. The join that was cut off goes on with the key that
 * it had begun with, by which the registry knows that it is the same join.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join as joinPath } from 'node:path';
import { FileError, readPrivateFile, removeFile, renameFile, writeFileAtomic } from '../base/atomic-file.ts';
import { certificatesIn } from '../client/tls.ts';
import { keyFingerprint } from '../domain/trust.ts';
import type { Identity } from '../store/identity.ts';

/** What the host calls the registry with. */
export interface Credential {
  /** The host that it is of. */
  readonly host: string;
  /** Fingerprint of the key that it was given for; null: none, so it cannot be renewed. */
  readonly key: string | null;
  readonly generation: number;
  readonly expiresAtMs: number;
  /** From when on to renew it, by the registry's clock. */
  readonly renewAtMs: number;
  /** A secret. */
  readonly credential: string;
}

export interface Membership {
  readonly identity: Identity;
  readonly credential: Credential;
  /** A renewal was cut off: this one may be in force already, or have ended. */
  readonly next: Credential | null;
  /** Null: it joined without one. */
  readonly key: KeyObject | null;
  /** Empty: others vouch for the registry's certificate. */
  readonly ca: readonly string[];
}

export class MembershipFiles {
  readonly #dataDir: string;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /** Null when there is none, or half of one. `FileError` when others can read a secret: then it is none. */
  async read(identity: Identity): Promise<Membership | null> {
    const credential = ownOf(identity, await this.#readCredential('credential'));
    if (credential === null) return null;
    const key = await this.#readKeyOf(identity);
    if (key === null && identity.key !== null) return null;
    const next = ownOf(identity, await this.#readCredential('credential.next'));
    return { identity, credential, next, key, ca: await this.#readCa() };
  }

  /** The key of a join that is not done, or else a new one, on disk before anybody hears of it. */
  async joinKey(): Promise<KeyObject> {
    const begun = await this.#readKey('host.key.next');
    if (begun !== null) return begun;
    const { privateKey } = generateKeyPairSync('ed25519');
    await this.#write('host.key.next', privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());
    return privateKey;
  }

  /** What a join's answer gave, before the database says that it is done. */
  async writeJoined(credential: Credential, ca: readonly string[]): Promise<void> {
    // Not before it is known by which CA: without it the credential could not be used.
    await this.writeCa(ca);
    await this.#writeCredential('credential', credential);
    await removeFile(this.#path('credential.next'));
  }

  /** After the database says so: the key is the host's. */
  async finishJoin(): Promise<void> {
    await renameFile(this.#path('host.key.next'), this.#path('host.key'));
  }

  async writeCa(ca: readonly string[]): Promise<void> {
    if (ca.length === 0) return removeFile(this.#path('registry-ca.pem'));
    const text = ca.map((pem) => `${pem.trim()}\n`).join('');
    await this.#write('registry-ca.pem', text);
  }

  /** Before it is tried, so that a crash does not lose the one that is in force. */
  writeNext(credential: Credential): Promise<void> {
    return this.#writeCredential('credential.next', credential);
  }

  /** The registry took it: it is the credential. */
  commitNext(): Promise<void> {
    return renameFile(this.#path('credential.next'), this.#path('credential'));
  }

  async dropNext(): Promise<void> {
    await removeFile(this.#path('credential.next'));
  }

  async #readKeyOf(identity: Identity): Promise<KeyObject | null> {
    for (const name of ['host.key', 'host.key.next'] as const) {
      const key = await this.#readKey(name);
      if (key === null || keyFingerprint(key) !== identity.key) continue;
      if (name === 'host.key.next') await this.finishJoin();
      return key;
    }
    return null;
  }

  async #readKey(name: string): Promise<KeyObject | null> {
    const text = await this.#readPrivate(name);
    if (text === null) return null;
    try {
      return createPrivateKey(text);
    } catch (error) {
      throw new FileError(
        `Cannot use ${this.#path(name)}: it is no private key; remove it and join this host anew`,
        this.#path(name),
        error,
      );
    }
  }

  async #readCredential(name: string): Promise<Credential | null> {
    const text = await this.#readPrivate(name);
    if (text === null) return null;
    try {
      return JSON.parse(text) as Credential;
    } catch {
      // Written whole or not at all; what somebody has changed by hand is none.
      return null;
    }
  }

  #writeCredential(name: string, credential: Credential): Promise<void> {
    return this.#write(name, `${JSON.stringify(credential)}\n`);
  }

  async #readCa(): Promise<readonly string[]> {
    return certificatesIn((await this.#readPrivate('registry-ca.pem')) ?? '');
  }

  async #readPrivate(name: string): Promise<string | null> {
    try {
      return (await readPrivateFile(this.#path(name))).toString('utf8');
    } catch (error) {
      if (error instanceof FileError && error.code === 'ENOENT') return null;
      throw error;
    }
  }

  #write(name: string, text: string): Promise<void> {
    return writeFileAtomic(this.#path(name), text, { mode: 0o600 });
  }

  #path(name: string): string {
    return joinPath(this.#dataDir, name);
  }
}

/** A credential of another host, or of another join of this one, is none. */
function ownOf(identity: Identity, credential: Credential | null): Credential | null {
  return credential?.host === identity.id && credential.key === identity.key ? credential : null;
}
