/**
 * The registry's keys: files in `<data>/keys`, 0700 and 0600, never in the database, so that no copy of it holds them.
 *
 *     signing.pem   Ed25519: what targets are signed with, and after it the next one
 *     ca.pem        the own CA: key and certificate, and after them the next one's
 *     server.pem    key and certificate of the server
 *
 * What belongs together is one file, so that a crash leaves the pair of before or the pair of after. Missing files are
 * made; a file that others can read, or that is not what it should be, is refused with a `FileError`.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { ensurePrivateFolder, FileError, readPrivateFile, writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Certified } from './certificates.ts';

/** What is in use, and what hosts have been told will be. */
export interface Pair<T> {
  readonly current: T;
  readonly next: T;
}

export interface KeyFolderOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: Random;
}

export class KeyFolder {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #random: Random;

  private constructor({ dataDir, clock, random }: KeyFolderOptions) {
    this.#path = join(dataDir, 'keys');
    this.#clock = clock;
    this.#random = random;
  }

  static async open(options: KeyFolderOptions): Promise<KeyFolder> {
    const folder = new KeyFolder(options);
    await ensurePrivateFolder(folder.#path);
    return folder;
  }

  /** Reads what a start would read, and makes nothing. Throws what the start would. */
  static async check(options: KeyFolderOptions): Promise<void> {
    const folder = new KeyFolder(options);
    const found = await lstat(folder.#path).catch(() => null);
    if (found === null) return;
    await ensurePrivateFolder(folder.#path);
    await folder.#readSigning();
    await folder.#readAuthority();
    await folder.server();
  }

  /** Read, or made when there are none. */
  async signing(): Promise<Pair<KeyObject>> {
    const found = await this.#readSigning();
    return found ?? this.#writeSigning({ current: newSigningKey(), next: newSigningKey() });
  }

  /** The next one takes its place, and a new one is next. Doing it twice from the same pair has the effect of once. */
  rotateSigning({ next }: Pair<KeyObject>): Promise<Pair<KeyObject>> {
    return this.#writeSigning({ current: next, next: newSigningKey() });
  }

  /** Read, or made when there are none. */
  async authority(): Promise<Pair<Certified>> {
    const found = await this.#readAuthority();
    return found ?? this.#writeAuthority({ current: await this.#newCa(), next: await this.#newCa() });
  }

  /** As `rotateSigning`. */
  async rotateAuthority({ next }: Pair<Certified>): Promise<Pair<Certified>> {
    return this.#writeAuthority({ current: next, next: await this.#newCa() });
  }

  /** The server's certificate as it was written last; null before the first. */
  async server(): Promise<Certified | null> {
    const found = await this.#read(serverFile, ['PRIVATE KEY', 'CERTIFICATE']);
    return found === null ? null : readCertified(found);
  }

  writeServer(server: Certified): Promise<void> {
    return this.#write(serverFile, pemOf(server));
  }

  async #readSigning(): Promise<Pair<KeyObject> | null> {
    const found = await this.#read('signing.pem', ['PRIVATE KEY', 'PRIVATE KEY']);
    if (found === null) return null;
    const [current, next] = found.map(({ text, refuse }) => readKey(text, 'ed25519', refuse));
    return pairOf(current, next);
  }

  async #readAuthority(): Promise<Pair<Certified> | null> {
    const certified = ['PRIVATE KEY', 'CERTIFICATE'] as const;
    const found = await this.#read('ca.pem', [...certified, ...certified]);
    if (found === null) return null;
    return pairOf(readCertified(found.slice(0, 2)), readCertified(found.slice(2)));
  }

  async #newCa(): Promise<Certified> {
    const { makeCa } = await import('./certificates.ts');
    return makeCa({ now: this.#clock.now(), random: this.#random });
  }

  async #writeSigning(pair: Pair<KeyObject>): Promise<Pair<KeyObject>> {
    await this.#write('signing.pem', keyPem(pair.current) + keyPem(pair.next));
    return pair;
  }

  async #writeAuthority(pair: Pair<Certified>): Promise<Pair<Certified>> {
    await this.#write('ca.pem', pemOf(pair.current) + pemOf(pair.next));
    return pair;
  }

  #write(name: string, text: string): Promise<void> {
    return writeFileAtomic(join(this.#path, name), text, { mode: 0o600, random: this.#random });
  }

  /** The blocks of a file, which must be of these kinds; null when there is no file. */
  async #read(name: string, kinds: readonly string[]): Promise<Block[] | null> {
    const path = join(this.#path, name);
    let text: string;
    try {
      text = (await readPrivateFile(path)).toString();
    } catch (error) {
      if (error instanceof FileError && error.code === 'ENOENT') return null;
      throw error;
    }
    const refuse: Refuse = (problem, cause) =>
      new FileError(
        `Cannot use ${path}: ${problem}; ${name === serverFile ? 'remove it, another is made' : 'put it back from a copy (without it, hosts must join anew)'}`,
        path,
        cause,
      );
    const blocks = [...text.matchAll(pemBlock)].map(([block, kind = '']) => ({ kind, text: block, refuse }));
    if (blocks.map(({ kind }) => kind).join() !== kinds.join())
      throw refuse(`it is damaged, expected ${kinds.join(', ').toLowerCase()}`);
    return blocks;
  }
}

/** The only one that can be made again without a host noticing. */
const serverFile = 'server.pem';

type Refuse = (problem: string, cause?: unknown) => FileError;

interface Block {
  readonly kind: string;
  readonly text: string;
  readonly refuse: Refuse;
}

const pemBlock = /-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----/g;

function newSigningKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey;
}

function readCertified([key, certificate]: readonly Block[]): Certified {
  if (key === undefined || certificate === undefined) throw new Error('a key and a certificate were read');
  const privateKey = readKey(key.text, 'ec', key.refuse);
  const read = readCertificate(certificate);
  if (!read.checkPrivateKey(privateKey)) throw key.refuse('its keys are not those of its certificates');
  return { privateKey, certificate: read };
}

function readCertificate({ text, refuse }: Block): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (error) {
    throw refuse('a certificate in it cannot be read', error);
  }
}

function readKey(text: string, type: 'ed25519' | 'ec', refuse: Refuse): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch (error) {
    throw refuse('a key in it cannot be read', error);
  }
  if (key.asymmetricKeyType !== type)
    throw refuse(`a key in it is of the kind ${key.asymmetricKeyType ?? 'unknown'}, expected ${type}`);
  return key;
}

function pairOf<T>(current: T | undefined, next: T | undefined): Pair<T> {
  if (current === undefined || next === undefined) throw new Error('a pair was read');
  return { current, next };
}

function pemOf({ privateKey, certificate }: Certified): string {
  return keyPem(privateKey) + certificate.toString();
}

function keyPem(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}
