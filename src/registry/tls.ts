/**
 * The registry's certificate: its own, which its own CA issues and which is renewed at two thirds of its life, or one
 * that somebody else keeps in two files, read again when they change. Either is swapped without a restart.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { FileError } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { formatInstant } from '../base/time.ts';
import { keyFingerprint } from '../domain/trust.ts';
import type { TlsPair, TlsSource } from '../http/listen.ts';
import type { Check } from '../http/operation.ts';
import { type Certified, canonicalName, leafLifeMs, namesOf } from './certificates.ts';
import type { KeyFolder } from './keys.ts';

const dayMs = 86_400_000;

/** A certificate in use, and whoever looks after it. */
export interface ServerCertificate extends TlsSource {
  /** How often to `look`. */
  readonly everyMs: number;
  /** Replaces the certificate when it is time to, or when its files have changed. Throws why it could not. */
  look(): Promise<void>;
  /** For healthz. */
  check(): Check;
  /** UTC milliseconds. */
  endsAtMs(): number;
}

/** Tells listeners when there is another pair. */
class Current {
  readonly #listeners = new Set<(pair: TlsPair) => void>();
  #pair: TlsPair;

  constructor(pair: TlsPair) {
    this.#pair = pair;
  }

  get pair(): TlsPair {
    return this.#pair;
  }

  set(pair: TlsPair): void {
    this.#pair = pair;
    for (const listener of this.#listeners) listener(pair);
  }

  subscribe(listener: (pair: TlsPair) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export interface OwnCertificateOptions {
  readonly folder: KeyFolder;
  readonly ca: Certified;
  /** DNS names and addresses that it must be good for. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The certificate that the own CA issues. */
export class OwnCertificate implements ServerCertificate {
  /** A renewal is weeks early, so that an hour more is nothing. */
  readonly everyMs = 3_600_000;
  readonly #options: OwnCertificateOptions;
  readonly #names: readonly string[];
  readonly #current: Current;
  #ca: Certified;
  #server: Certified;

  private constructor(options: OwnCertificateOptions, names: readonly string[], server: Certified) {
    this.#options = options;
    this.#names = names;
    this.#ca = options.ca;
    this.#server = server;
    this.#current = new Current(pairOf(server, options.ca));
  }

  /** With the certificate of before, when it is still good for these names; otherwise with another. */
  static async open(options: OwnCertificateOptions): Promise<OwnCertificate> {
    const { folder, ca, clock } = options;
    const names = [...new Set(options.names.map(canonicalName))];
    const kept = await folder.server();
    if (kept !== null && isGood(kept, { ca, names, now: clock.now() }))
      return new OwnCertificate(options, names, kept);
    return new OwnCertificate(options, names, await issue(options, ca, names));
  }

  current(): TlsPair {
    return this.#current.pair;
  }

  subscribe(listener: (pair: TlsPair) => void): () => void {
    return this.#current.subscribe(listener);
  }

  /** Of the key that it certifies. */
  get fingerprint(): string {
    return keyFingerprint(this.#server.certificate.publicKey);
  }

  async look(): Promise<void> {
    const now = this.#options.clock.now();
    if (!isGood(this.#server, { ca: this.#ca, names: this.#names, now })) await this.reissue(this.#ca);
  }

  /** Another certificate, of this CA. */
  async reissue(ca: Certified = this.#ca): Promise<void> {
    const { logger } = this.#options;
    const server = await issue(this.#options, ca, this.#names);
    this.#ca = ca;
    this.#server = server;
    this.#current.set(pairOf(server, ca));
    logger.info({ notAfter: formatInstant(endOf(server.certificate)) }, 'certificate renewed');
  }

  endsAtMs(): number {
    return endOf(this.#server.certificate);
  }

  check(): Check {
    const now = this.#options.clock.now();
    // Half of what a renewal has left: then it has failed for two weeks.
    return checkEnd('certificate', endOf(this.#server.certificate), { now, soonMs: leafLifeMs / 6 });
  }
}

/** What a CA's end means for `healthz`: a year ahead, so that every host learns of the next one in time. */
export function checkAuthority(ca: Certified, now: number): Check {
  const check = checkEnd('CA', endOf(ca.certificate), { now, soonMs: 365 * dayMs });
  return check.status === 'ok'
    ? check
    : { ...check, detail: `${check.detail}, run "holdfast registry rotate ca"` };
}

async function issue(
  { folder, clock, random }: OwnCertificateOptions,
  ca: Certified,
  names: readonly string[],
): Promise<Certified> {
  const { makeLeaf } = await import('./certificates.ts');
  const server = await makeLeaf(ca, names, { now: clock.now(), random });
  await folder.writeServer(server);
  return server;
}

/** Of this CA, for these names, begun, and with a third of its life left, or as long as its CA lasts. */
function isGood(
  { certificate }: Certified,
  { ca, names, now }: { ca: Certified; names: readonly string[]; now: number },
): boolean {
  const endMs = endOf(certificate);
  return (
    certificate.checkIssued(ca.certificate) &&
    certificate.verify(ca.certificate.publicKey) &&
    namesOf(certificate).join() === names.join() &&
    certificate.validFromDate.getTime() <= now &&
    endMs > now &&
    (endMs - now > leafLifeMs / 3 || endMs === endOf(ca.certificate))
  );
}

function pairOf({ privateKey, certificate }: Certified, ca: Certified): TlsPair {
  return {
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    cert: certificate.toString() + ca.certificate.toString(),
  };
}

export interface GivenFiles {
  /** PEM: the certificate, and those between it and the CA. */
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate that somebody else renews. */
export class GivenCertificate implements ServerCertificate {
  readonly everyMs = 60_000;
  readonly #files: GivenFiles;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #current: Current;
  /** Why what the files hold now is not in use; null when it is. */
  #problem: string | null = null;

  private constructor(files: GivenFiles, options: { clock: Clock; logger: Logger }, pair: TlsPair) {
    this.#files = files;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#current = new Current(pair);
  }

  /** Throws as `readGivenPair`. */
  static async open(files: GivenFiles, options: { clock: Clock; logger: Logger }): Promise<GivenCertificate> {
    return new GivenCertificate(files, options, await readGivenPair(files, options.clock.now()));
  }

  current(): TlsPair {
    return this.#current.pair;
  }

  subscribe(listener: (pair: TlsPair) => void): () => void {
    return this.#current.subscribe(listener);
  }

  /** What cannot be used is logged once, and the pair of before stays: somebody may be writing the files just now. */
  async look(): Promise<void> {
    try {
      const { key, cert } = await readGivenPair(this.#files, this.#clock.now());
      this.#problem = null;
      const before = this.#current.pair;
      if (before.key === key && before.cert === cert) return;
      this.#current.set({ key, cert });
      this.#logger.info({ file: this.#files.certFile }, 'certificate read anew');
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      if (this.#problem !== error.message)
        this.#logger.error({ err: error }, 'cannot use the given certificate, keeping the one of before');
      this.#problem = error.message;
    }
  }

  endsAtMs(): number {
    return endOf(new X509Certificate(this.#current.pair.cert));
  }

  check(): Check {
    const ending = checkEnd('certificate', this.endsAtMs(), { now: this.#clock.now(), soonMs: 7 * dayMs });
    if (this.#problem === null || ending.status === 'failed') return ending;
    return { status: 'degraded', detail: this.#problem };
  }
}

/**
 * A key and its certificate chain, checked as far as OpenSSL can: readable, a pair, begun and not ended. Throws
 * `FileError` with what is wrong and what to do. Links are followed: that is how certbot offers the newest.
 */
export async function readGivenPair({ certFile, keyFile }: GivenFiles, now: number): Promise<TlsPair> {
  const cert = await readGiven(certFile, 'certificate');
  const key = await readGiven(keyFile, 'key');
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (error) {
    throw unusable(certFile, 'it holds no certificate, expected PEM', error);
  }
  let privateKey: ReturnType<typeof createPrivateKey>;
  try {
    privateKey = createPrivateKey(key);
  } catch (error) {
    const locked = /ENCRYPTED/.test(key);
    throw unusable(
      keyFile,
      locked
        ? 'it is under a passphrase, which nobody types at a start'
        : 'it holds no private key, expected PEM',
      error,
    );
  }
  if (!certificate.checkPrivateKey(privateKey))
    throw unusable(keyFile, `it is not the key of the certificate in ${certFile}`);
  if (certificate.validFromDate.getTime() > now)
    throw unusable(certFile, `it is good from ${formatInstant(certificate.validFromDate.getTime())} only`);
  if (endOf(certificate) <= now)
    throw unusable(certFile, `it has expired on ${formatInstant(endOf(certificate))}, renew it`);
  try {
    createSecureContext({ key, cert, minVersion: 'TLSv1.3' });
  } catch (error) {
    throw unusable(certFile, `OpenSSL refuses it with its key: ${(error as Error).message}`, error);
  }
  return { key, cert };
}

async function readGiven(path: string, what: 'certificate' | 'key'): Promise<string> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const reason =
      code === 'ENOENT' ? 'it does not exist' : code === 'EACCES' ? 'permission denied' : String(code);
    throw unusable(path, reason, error);
  }
  try {
    const { mode, size } = await file.stat();
    if (size > limits.privateFileBytes) throw unusable(path, `it has ${size} bytes, no ${what} has so many`);
    // Its group may: that is how distributions share keys between services.
    if (what === 'key' && (mode & 0o007) !== 0)
      throw unusable(path, `everybody on this machine can read or change it; run chmod o= ${path}`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function unusable(path: string, problem: string, cause?: unknown): FileError {
  return new FileError(`Cannot serve TLS with ${path}: ${problem}`, path, cause);
}

/** When a certificate ends, UTC milliseconds. */
export function endOf(certificate: X509Certificate): number {
  return certificate.validToDate.getTime();
}

function checkEnd(what: string, endMs: number, { now, soonMs }: { now: number; soonMs: number }): Check {
  if (endMs <= now) return { status: 'failed', detail: `the ${what} has expired on ${formatInstant(endMs)}` };
  if (endMs - now > soonMs) return { status: 'ok' };
  return { status: 'degraded', detail: `the ${what} ends on ${formatInstant(endMs)}` };
}
