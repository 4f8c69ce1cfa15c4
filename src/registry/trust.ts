/**
 * What hosts believe this registry by: the keys that sign, the own CA and the server's certificate, and how each is
 * replaced without losing a host. What takes over was announced before, in targets that the key of then has signed;
 * a host that has not fetched one between two rotations has to join anew.
 */
import { type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { FileError, writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { formatInstant } from '../base/time.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import type { TrustService } from '../domain/services.ts';
import {
  type JoinTrust,
  keyFingerprint,
  type Rotation,
  rotationRestMs,
  signDetached,
  type Trust,
  trustKeyOf,
} from '../domain/trust.ts';
import { isLoopback } from '../http/listen.ts';
import type { Check } from '../http/operation.ts';
import type { Store } from '../store/engine/port.ts';
import { type Told, TrustStore } from '../store/trust.ts';
import type { Certified } from './certificates.ts';
import { KeyFolder, type Pair } from './keys.ts';
import {
  checkAuthority,
  endOf,
  GivenCertificate,
  type GivenFiles,
  OwnCertificate,
  type ServerCertificate,
} from './tls.ts';

/** `own`: by a CA of its own. `given`: by whoever keeps these files. `off`: plain HTTP. */
export type TlsChoice =
  | { readonly kind: 'off' }
  | { readonly kind: 'own' }
  | ({ readonly kind: 'given' } & GivenFiles);

export interface RegistryTrustOptions {
  readonly store: Store;
  readonly dataDir: string;
  readonly tls: TlsChoice;
  /** The address that is listened at. */
  readonly listenHost: string;
  readonly advertiseUrls: readonly string[];
  /** A proxy ends TLS in front: hosts see its certificate, and not ours. */
  readonly behindProxy: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** For people. */
const words: Readonly<Record<Rotation, string>> = {
  'signing-key': 'the signing key',
  ca: 'the CA',
  certificate: 'the certificate',
};

/** The certificate and who issues it. */
type Serving =
  | { readonly kind: 'off' }
  | { readonly kind: 'own'; authority: Pair<Certified>; readonly certificate: OwnCertificate }
  | { readonly kind: 'given'; readonly certificate: ServerCertificate };

export class RegistryTrust implements TrustService {
  readonly #options: RegistryTrustOptions;
  readonly #folder: KeyFolder;
  readonly #told: TrustStore;
  readonly #serving: Serving;
  #signing: Pair<KeyObject>;
  #trust: Trust;
  /** Where it listens, once it does. */
  #url: string | null = null;
  /** Rotations one after another. */
  #rotating: Promise<unknown> = Promise.resolve();

  private constructor(
    options: RegistryTrustOptions,
    parts: { folder: KeyFolder; signing: Pair<KeyObject>; serving: Serving },
  ) {
    this.#options = options;
    this.#folder = parts.folder;
    this.#signing = parts.signing;
    this.#serving = parts.serving;
    this.#told = new TrustStore(options.store);
    this.#trust = this.#describe(parts.signing, this.#authority());
  }

  /** Reads the keys, or makes them at the first start. Throws `FileError` for what cannot be used as it is. */
  static async open(options: RegistryTrustOptions): Promise<RegistryTrust> {
    const folder = await KeyFolder.open(options);
    const signing = await folder.signing();
    const trust = new RegistryTrust(options, {
      folder,
      signing,
      serving: await openServing(options, folder),
    });
    await trust.#publish();
    return trust;
  }

  /** What is served with, and has to be looked after; undefined for plain HTTP. */
  get certificate(): ServerCertificate | undefined {
    return this.#serving.kind === 'off' ? undefined : this.#serving.certificate;
  }

  /** Counts the changes of what every target tells. */
  get serial(): number {
    return this.#told.serial;
  }

  /**
   * Once this process leads: notes what targets tell from now on. That is another than before when a rotation was cut
   * off, when other URLs are advertised, or when the keys are not those of this database.
   */
  async settle(): Promise<void> {
    const told = toldBy(this.#trust);
    const before = await this.#told.tell(systemCaller, told);
    const [key = ''] = told.keys;
    if (before === null || before.keys.includes(key)) return;
    this.#options.logger.error(
      { key, before: before.keys },
      'no host was told the key that signs targets now: put back the folder "keys" of this registry, or join all hosts anew',
    );
  }

  /** Says where it listens. */
  listening(url: string): void {
    this.#url = url;
  }

  trust(): Trust {
    return this.#trust;
  }

  joinTrust(): JoinTrust {
    const [key] = this.#trust.keys;
    if (key === undefined) throw new Error('there are always two signing keys');
    const ca = this.#authority()?.current.certificate;
    return {
      urls: this.#joinUrls(),
      key: key.key,
      ca: ca === undefined ? null : keyFingerprint(ca.publicKey),
    };
  }

  /** The value of `Holdfast-Signature` for these bytes. */
  sign(body: Uint8Array): string {
    return signDetached(body, this.#signing.current, toldBy(this.#trust).keys[0] ?? '');
  }

  rotate(caller: Caller, what: Rotation, { force }: { force: boolean }): Promise<Trust> {
    const rotation = this.#rotating.then(() => {
      if (!force) this.#requireRested(what);
      return this.#rotate(caller, what).catch((error: unknown) => {
        throw fullDisk(error);
      });
    });
    this.#rotating = rotation.catch(() => undefined);
    return rotation;
  }

  /** For `GET /v1/status`: what is in use, and until when. */
  status(): object {
    const [key, next] = toldBy(this.#trust).keys;
    const serving = this.#serving;
    return {
      serial: this.serial,
      signingKey: { current: key, next },
      tls: serving.kind,
      certificateEnds: serving.kind === 'off' ? null : formatInstant(serving.certificate.endsAtMs()),
      caEnds: serving.kind === 'own' ? formatInstant(endOf(serving.authority.current.certificate)) : null,
    };
  }

  /** For healthz. */
  check(): Check {
    if (this.#serving.kind === 'off') return { status: 'ok' };
    const checks = [this.#serving.certificate.check()];
    if (this.#serving.kind === 'own') {
      const now = this.#options.clock.now();
      const { current, next } = this.#serving.authority;
      checks.push(checkAuthority(current, now), checkAuthority(next, now));
    }
    return checks.find(({ status }) => status !== 'ok') ?? { status: 'ok' };
  }

  /**
   * Files first, then what is announced, then memory: what a crash cuts off is finished by `settle`. Nothing is used
   * before hosts were told of it, so that the steps may be any time apart.
   */
  async #rotate(caller: Caller, what: Rotation): Promise<Trust> {
    const serving = this.#serving;
    switch (what) {
      case 'signing-key': {
        const signing = await this.#folder.rotateSigning(this.#signing);
        const trust = this.#describe(signing, this.#authority());
        await this.#told.tell(caller, toldBy(trust), () => {
          this.#signing = signing;
          this.#trust = trust;
        });
        break;
      }
      case 'ca': {
        if (serving.kind !== 'own') throw this.#notOurs(what);
        const authority = await this.#folder.rotateAuthority(serving.authority);
        // Before the old one is told no longer: a host that believes the new pair alone must find it served.
        await serving.certificate.reissue(authority.current);
        const adopt = () => {
          serving.authority = authority;
        };
        if (this.#options.behindProxy) {
          const { current, next } = authority;
          await this.#told.note(caller, what, [current, next].map(fingerprintOf));
          adopt();
        } else {
          const trust = this.#describe(this.#signing, authority);
          await this.#told.tell(caller, toldBy(trust), () => {
            adopt();
            this.#trust = trust;
          });
        }
        await this.#publish();
        break;
      }
      case 'certificate':
        if (serving.kind !== 'own') throw this.#notOurs(what);
        await serving.certificate.reissue();
        await this.#told.note(caller, what, [serving.certificate.fingerprint]);
    }
    this.#options.logger.warn({ what, subject: caller.subject }, 'rotated');
    return this.#trust;
  }

  #requireRested(what: Rotation): void {
    const at = this.#told.changedAtMs(what);
    const agoMs = at === null ? Number.POSITIVE_INFINITY : this.#options.clock.now() - at;
    if (agoMs < 0 || agoMs >= rotationRestMs) return;
    const leftMs = rotationRestMs - agoMs;
    throw new AppError(
      'conflict',
      `Cannot rotate ${words[what]} again: hosts that have not heard of the next one would be lost, wait ${Math.ceil(leftMs / 60_000)} min, or insist with force`,
      { field: 'what', retryAfterMs: leftMs },
    );
  }

  #notOurs(what: Rotation): AppError {
    const { tls } = this.#options;
    const why =
      tls.kind === 'given'
        ? `it is given; replace ${tls.certFile} and ${tls.keyFile}, they are read again within a minute`
        : 'this registry serves plain HTTP';
    return new AppError('unprocessable', `Cannot rotate ${words[what]}: ${why}`, { field: 'what' });
  }

  /** Who issues the certificate that hosts see; null when that is not us. */
  #authority(): Pair<Certified> | null {
    return this.#serving.kind === 'own' && !this.#options.behindProxy ? this.#serving.authority : null;
  }

  #describe(signing: Pair<KeyObject>, authority: Pair<Certified> | null): Trust {
    return {
      urls: this.#options.advertiseUrls,
      keys: [signing.current, signing.next].map(trustKeyOf),
      ca:
        authority === null
          ? []
          : [authority.current, authority.next].map(({ certificate }) => certificate.toString()),
    };
  }

  #joinUrls(): readonly string[] {
    const { advertiseUrls, listenHost, behindProxy } = this.#options;
    if (advertiseUrls.length > 0) return advertiseUrls;
    if (this.#url !== null && isLoopback(listenHost) && !behindProxy) return [this.#url];
    throw new AppError(
      'unprocessable',
      'Cannot make a join token: nobody said where other hosts find this registry, start it with --advertise-url https://NAME:PORT',
    );
  }

  /** `ca.pem` for people: what their tools verify this registry by, now and after the next rotation. */
  async #publish(): Promise<void> {
    if (this.#serving.kind !== 'own') return;
    const { current, next } = this.#serving.authority;
    const text = current.certificate.toString() + next.certificate.toString();
    const file = join(this.#options.dataDir, 'ca.pem');
    if ((await readFile(file, 'utf8').catch(() => '')) === text) return;
    await writeFileAtomic(file, text, { mode: 0o644, random: this.#options.random });
  }
}

/** A file that could not be written for want of room, as what it is. */
function fullDisk(error: unknown): unknown {
  if (!(error instanceof FileError) || !['ENOSPC', 'EDQUOT'].includes(error.code ?? '')) return error;
  return new AppError('storage-full', `Cannot rotate: ${error.message}`, { cause: error });
}

async function openServing(options: RegistryTrustOptions, folder: KeyFolder): Promise<Serving> {
  const { tls, clock, random, logger } = options;
  switch (tls.kind) {
    case 'off':
      return { kind: 'off' };
    case 'own': {
      const authority = await folder.authority();
      const names = certificateNames(options);
      const certificate = await OwnCertificate.open({
        folder,
        ca: authority.current,
        names,
        clock,
        random,
        logger,
      });
      return { kind: 'own', authority, certificate };
    }
    case 'given':
      return { kind: 'given', certificate: await GivenCertificate.open(tls, { clock, logger }) };
  }
}

/** What it may be called: by itself, by where it listens, by this machine, and by what it is advertised as. */
function certificateNames({ listenHost, advertiseUrls }: RegistryTrustOptions): string[] {
  const everywhere = ['0.0.0.0', '::'];
  const advertised = advertiseUrls.map((url) => new URL(url).hostname.replace(/^\[|\]$/g, ''));
  return ['localhost', '127.0.0.1', '::1', listenHost, hostname(), ...advertised]
    .filter((name) => !everywhere.includes(name))
    .filter((name) => isIP(name) !== 0 || /^[a-z0-9._-]+$/i.test(name));
}

function fingerprintOf({ certificate }: Certified): string {
  return keyFingerprint(certificate.publicKey);
}

function toldBy({ urls, keys, ca }: Trust): Told {
  return {
    urls,
    keys: keys.map(({ key }) => key),
    ca: ca.map((pem) => keyFingerprint(new X509Certificate(pem).publicKey)),
  };
}
