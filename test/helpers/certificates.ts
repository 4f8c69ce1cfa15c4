/** Certificates as a test needs them, also wrong ones: X.509 in DER by hand, so that no test trusts what it tests. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  /** PEM, PKCS#8. */
  readonly key: string;
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export interface CertificateOptions {
  /** Common name; the issuer's too when there is no `by`. */
  readonly name: string;
  /** Who signs; itself when absent. */
  readonly by?: Certificate;
  readonly ca?: boolean;
  /** Names and addresses that it is good for. */
  readonly names?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Extended key usage; serverAuth when absent and no CA. */
  readonly usage?: string;
}

const dayMs = 86_400_000;

export function makeCertificate(options: CertificateOptions): Certificate {
  const { name, by, ca = false, names = [], usage = '1.3.6.1.5.5.7.3.1' } = options;
  const { notBefore = new Date(Date.now() - 2 * dayMs), notAfter = new Date(Date.now() + 30 * dayMs) } =
    options;
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(oid('1.2.840.10045.4.3.2'));
  const extensions = [
    extension('2.5.29.19', true, sequence(...(ca ? [tlv(0x01, Buffer.from([0xff]))] : []))),
    ...(ca ? [] : [extension('2.5.29.37', false, sequence(oid(usage)))]),
    ...(names.length === 0 ? [] : [extension('2.5.29.17', false, sequence(...names.map(generalName)))]),
  ];
  const serial = randomBytes(8);
  serial[0] = 1;
  const tbs = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, serial),
    algorithm,
    distinguishedName(by?.name ?? name),
    sequence(time(notBefore), time(notAfter)),
    distinguishedName(name),
    publicKey.export({ format: 'der', type: 'spki' }),
    tlv(0xa3, sequence(...extensions)),
  );
  const signature = sign('sha256', tbs, by?.privateKey ?? privateKey);
  const der = sequence(tbs, algorithm, tlv(0x03, Buffer.concat([Buffer.from([0]), signature])));
  const body = der.toString('base64').replaceAll(/(.{64})/g, '$1\n');
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${body.trimEnd()}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    name,
    privateKey,
    publicKey,
  };
}

/** A CA, and a server's certificate of it for this machine's loopback names. */
export function makePair(options: Partial<CertificateOptions> & { readonly caName?: string } = {}): {
  ca: Certificate;
  leaf: Certificate;
} {
  const { caName = 'Test CA', ...more } = options;
  const ca = makeCertificate({
    name: caName,
    ca: true,
    notBefore: more.notBefore ?? new Date(Date.now() - 2 * dayMs),
  });
  const leaf = makeCertificate({ name: 'server', by: ca, names: ['localhost', '127.0.0.1'], ...more });
  return { ca, leaf };
}

function tlv(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const bytes =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...bytes]), content]);
}

function sequence(...parts: Uint8Array[]): Buffer {
  return tlv(0x30, Buffer.concat(parts));
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = rest.flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    return groups;
  });
  return tlv(0x06, Buffer.from([40 * first + second, ...bytes]));
}

function distinguishedName(name: string): Buffer {
  return sequence(tlv(0x31, sequence(oid('2.5.4.3'), tlv(0x0c, Buffer.from(name)))));
}

/** GeneralizedTime for all years: OpenSSL reads it below 2050 too. */
function time(at: Date): Buffer {
  return tlv(0x18, Buffer.from(`${at.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`));
}

function extension(id: string, critical: boolean, value: Uint8Array): Buffer {
  return sequence(oid(id), ...(critical ? [tlv(0x01, Buffer.from([0xff]))] : []), tlv(0x04, value));
}

function generalName(name: string): Buffer {
  if (isIP(name) === 4) return tlv(0x87, Buffer.from(name.split('.').map(Number)));
  return tlv(0x82, Buffer.from(name));
}
