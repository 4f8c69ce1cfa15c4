/**
 * The two kinds of certificate that a registry makes (RFC 5280): its own CA, and the server's, which that CA issues.
 * Only made here, never read: reading is OpenSSL's (`X509Certificate`). What encodes them is loaded when one is made.
 */
import {
  createPublicKey,
  generateKeyPair,
  hash,
  type KeyObject,
  sign as signBytes,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import type * as Asn1 from '@peculiar/asn1-x509';
import type { Random } from '../base/random.ts';

const dayMs = 86_400_000;
/** A host whose clock is two days slow still takes a certificate that was made today. */
export const backdatedMs = 2 * dayMs;
export const caLifeMs = 3_650 * dayMs;
export const leafLifeMs = 90 * dayMs;

/** A private key with its certificate. */
export interface Certified {
  readonly privateKey: KeyObject;
  readonly certificate: X509Certificate;
}

interface Making {
  readonly now: number;
  readonly random: Random;
}

/** A CA that may issue for servers and for nobody below it. ECDSA P-256, ten years. */
export async function makeCa({ now, random }: Making): Promise<Certified> {
  const privateKey = await newKey();
  const name = `Holdfast CA ${fingerprintOf(privateKey).toString('hex', 0, 4)}`;
  return make({
    subject: { name, key: privateKey },
    issuer: { name, key: privateKey },
    random,
    fromMs: now - backdatedMs,
    toMs: now + caLifeMs,
    extensions: ({ encode, x509 }) => [
      [
        x509.id_ce_basicConstraints,
        true,
        encode(new x509.BasicConstraints({ cA: true, pathLenConstraint: 0 })),
      ],
      [
        x509.id_ce_keyUsage,
        true,
        encode(new x509.KeyUsage(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign)),
      ],
    ],
  });
}

/** A server certificate for `names`, DNS names and addresses; it ends no later than its CA. */
export async function makeLeaf(
  ca: Certified,
  names: readonly string[],
  { now, random }: Making,
): Promise<Certified> {
  const privateKey = await newKey();
  return make({
    subject: { name: leafName, key: privateKey },
    issuer: { name: commonNameOf(ca.certificate), key: ca.privateKey },
    random,
    fromMs: now - backdatedMs,
    toMs: Math.min(now + leafLifeMs, ca.certificate.validToDate.getTime()),
    extensions: ({ encode, x509 }) => [
      [x509.id_ce_basicConstraints, true, encode(new x509.BasicConstraints({ cA: false }))],
      [x509.id_ce_keyUsage, true, encode(new x509.KeyUsage(x509.KeyUsageFlags.digitalSignature))],
      [x509.id_ce_extKeyUsage, false, encode(new x509.ExtendedKeyUsage([x509.id_kp_serverAuth]))],
      [
        x509.id_ce_subjectAltName,
        false,
        encode(
          new x509.SubjectAlternativeName(
            names.map(
              (name) => new x509.GeneralName(isIP(name) === 0 ? { dNSName: name } : { iPAddress: name }),
            ),
          ),
        ),
      ],
    ],
  });
}

/** Nobody reads it: names are in the extension, where a common name has room for 64 characters only. */
const leafName = 'Holdfast registry';

/** What a certificate is for, as `makeLeaf` was told; in its order. */
export function namesOf(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '').split(', ').flatMap((entry) => {
    const [kind, ...rest] = entry.split(':');
    if (kind === 'DNS') return rest.join(':');
    return kind === 'IP Address' ? expandAddress(rest.join(':')) : [];
  });
}

/** One way to write an address: OpenSSL writes IPv6 without `::`, people with it. */
export function canonicalName(name: string): string {
  return isIP(name) === 6 ? expandAddress(name) : name.toLowerCase();
}

function expandAddress(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}

export function commonNameOf(certificate: X509Certificate): string {
  return /^CN=(.*)$/m.exec(certificate.subject)?.[1] ?? '';
}

interface Encoding {
  readonly x509: typeof Asn1;
  readonly encode: (value: unknown) => ArrayBuffer;
}

type ExtensionParts = readonly [id: string, critical: boolean, value: ArrayBuffer];

interface CertificateParts {
  readonly subject: { readonly name: string; readonly key: KeyObject };
  readonly issuer: { readonly name: string; readonly key: KeyObject };
  readonly fromMs: number;
  readonly toMs: number;
  readonly random: Random;
  readonly extensions: (encoding: Encoding) => readonly ExtensionParts[];
}

async function make(parts: CertificateParts): Promise<Certified> {
  const encoding = await loadEncoding();
  const { encode, x509 } = encoding;
  const { subject, issuer } = parts;
  const algorithm = () => new x509.AlgorithmIdentifier({ algorithm: ecdsaWithSha256 });
  const name = (text: string) =>
    new x509.Name([
      new x509.RelativeDistinguishedName([
        new x509.AttributeTypeAndValue({
          type: commonName,
          value: new x509.AttributeValue({ utf8String: text }),
        }),
      ]),
    ]);
  const identifiers: readonly ExtensionParts[] = [
    [x509.id_ce_subjectKeyIdentifier, false, encode(new x509.SubjectKeyIdentifier(keyIdOf(subject.key)))],
    [
      x509.id_ce_authorityKeyIdentifier,
      false,
      encode(new x509.AuthorityKeyIdentifier({ keyIdentifier: new x509.KeyIdentifier(keyIdOf(issuer.key)) })),
    ],
  ];
  const toBeSigned = new x509.TBSCertificate({
    version: x509.Version.v3,
    serialNumber: serialNumber(parts.random),
    signature: algorithm(),
    issuer: name(issuer.name),
    validity: new x509.Validity({ notBefore: new Date(parts.fromMs), notAfter: new Date(parts.toMs) }),
    subject: name(subject.name),
    subjectPublicKeyInfo: encoding.readKey(publicDer(subject.key)),
    extensions: new x509.Extensions(
      [...parts.extensions(encoding), ...identifiers].map(
        ([extnID, critical, value]) =>
          new x509.Extension({ extnID, critical, extnValue: encoding.octets(value) }),
      ),
    ),
  });
  const signature = signBytes('sha256', Buffer.from(encode(toBeSigned)), issuer.key);
  const certificate = encode(
    new x509.Certificate({
      tbsCertificate: toBeSigned,
      signatureAlgorithm: algorithm(),
      signatureValue: arrayBuffer(signature),
    }),
  );
  return { privateKey: subject.key, certificate: new X509Certificate(Buffer.from(certificate)) };
}

const ecdsaWithSha256 = '1.2.840.10045.4.3.2';
const commonName = '2.5.4.3';

/** 175 KiB of code and 35 ms, which a start pays only when it makes something. */
async function loadEncoding() {
  const [schema, x509] = await Promise.all([import('@peculiar/asn1-schema'), import('@peculiar/asn1-x509')]);
  return {
    x509,
    encode: (value: unknown) => schema.AsnConvert.serialize(value),
    readKey: (der: Buffer) => schema.AsnConvert.parse(der, x509.SubjectPublicKeyInfo),
    octets: (value: ArrayBuffer) => new schema.OctetString(value),
  };
}

function newKey(): Promise<KeyObject> {
  return promisify(generateKeyPair)('ec', { namedCurve: 'P-256' }).then(({ privateKey }) => privateKey);
}

/** RFC 5280 §4.1.2.2: positive, at most 20 octets; ours has 126 random bits. */
function serialNumber(random: Random): ArrayBuffer {
  const bytes = random.bytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return arrayBuffer(bytes);
}

/** RFC 7093 §2 (1): the leftmost 160 bits of SHA-256 over the key. */
function keyIdOf(key: KeyObject): ArrayBuffer {
  return arrayBuffer(fingerprintOf(key).subarray(0, 20));
}

function fingerprintOf(key: KeyObject): Buffer {
  return hash('sha256', publicDer(key), 'buffer');
}

function publicDer(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: 'der', type: 'spki' });
}

/** A copy with a buffer of its own: a Buffer's may be shared. */
function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}
