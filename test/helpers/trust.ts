/** What a registry is believed by, without files: signing keys in memory. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { type JoinTrust, signDetached, type Trust, trustKeyOf } from '../../src/domain/trust.ts';

export class FakeTrust {
  readonly urls: readonly string[];
  ca: readonly string[] = [];
  /** Counts the changes. */
  serial = 1;
  current: KeyObject = newKey();
  next: KeyObject = newKey();

  constructor(urls: readonly string[] = ['http://registry.test']) {
    this.urls = urls;
  }

  trust(): Trust {
    return { urls: this.urls, keys: [this.current, this.next].map(trustKeyOf), ca: this.ca };
  }

  joinTrust(): JoinTrust {
    return { urls: this.urls, key: trustKeyOf(this.current).key, ca: null };
  }

  /** The next key becomes the current one. */
  rotate(): void {
    [this.current, this.next] = [this.next, newKey()];
    this.serial += 1;
  }

  sign(body: string): string {
    return signDetached(Buffer.from(body), this.current, trustKeyOf(this.current).key);
  }
}

function newKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey;
}
