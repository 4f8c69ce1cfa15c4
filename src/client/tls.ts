/**
 * Whose certificates a client believes, and in which words it says why one cannot be believed.
 *
 * One case is judged here and not by OpenSSL: a machine without a battery for its clock starts in 1970 and may reach
 * its registry before its time server. A CA that we hold and that is "not valid yet" then says something of our clock
 * and nothing of the CA, which exists. Only then are dates left aside; signature, name and purpose never are.
 */
import { X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import type { ConnectionOptions, SecureContext, TLSSocket } from 'node:tls';
import { formatInstant } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import { LinkError, tlsCodeOf } from './link.ts';

/** `ca`: only what these certificates (PEM) have signed. `unverified`: whoever answers; for what needs no secret. */
export type TlsTrust = { readonly ca: readonly string[] } | { readonly unverified: true };

export interface TlsPeer {
  /** As in the URL, IPv6 without its brackets. */
  readonly host: string;
  /** For people. */
  readonly label: string;
  /** Absent: the roots of this machine and those that come with Node. */
  readonly trust: TlsTrust | undefined;
}

/** Speaks TLS on `socket`, and believes the other end or throws `LinkError` (`untrusted`), or what the socket met. */
export type Handshake = (socket: Socket, signal: AbortSignal) => Promise<TLSSocket>;

/** `bad-request` when a CA is no certificate. Loads its certificates once, at the first handshake. */
export function createHandshake(peer: TlsPeer, now: () => number): Handshake {
  const { host, trust } = peer;
  const pinned = trust !== undefined && 'ca' in trust ? trust.ca.flatMap(readCertificates) : null;
  const verified = trust === undefined || 'ca' in trust;
  let context: Promise<SecureContext> | undefined;
  /** Of the last connection: the next one need not prove itself with a signature again. */
  let session: Buffer | undefined;
  return async (socket, signal) => {
    const { connect } = await import('node:tls');
    context ??= secureContext(trust);
    const clockIsWrong = pinned?.every(({ validFromDate }) => validFromDate.getTime() > now()) ?? false;
    const options: ConnectionOptions = {
      socket,
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      secureContext: await context,
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: verified && !clockIsWrong,
      ...(session === undefined ? {} : { session }),
    };
    const secure = connect(options);
    try {
      await secured(secure, signal);
      if (pinned !== null && !secure.authorized) requirePinned(secure, pinned, peer);
    } catch (error) {
      secure.destroy();
      throw untrusted(error, peer, now());
    }
    if (verified && secure.authorized) secure.on('session', (latest) => (session = latest));
    return secure;
  };
}

/**
 * Of a CA of ours TLS 1.3 can be expected, as its registry speaks nothing else. What stands in front of a registry
 * with certificates of others may be older, down to TLS 1.2.
 */
async function secureContext(trust: TlsTrust | undefined): Promise<SecureContext> {
  const { createSecureContext, getCACertificates } = await import('node:tls');
  if (trust !== undefined && 'ca' in trust)
    return createSecureContext({ ca: [...trust.ca], minVersion: 'TLSv1.3' });
  if (trust !== undefined) return createSecureContext({});
  return createSecureContext({
    ca: [...new Set([...getCACertificates('default'), ...getCACertificates('system')])],
  });
}

/** Each certificate of a PEM file that may hold several. */
export function certificatesIn(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
}

/** Whether it can be read. */
export function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem);
    return true;
  } catch {
    return false;
  }
}

function readCertificates(pem: string): X509Certificate[] {
  const refusal = (cause?: unknown) =>
    new AppError('bad-request', 'Cannot use the CA: it is no certificate in PEM form', {
      field: 'ca',
      cause,
    });
  const certificates = certificatesIn(pem);
  if (certificates.length === 0) throw refusal();
  try {
    return certificates.map((one) => new X509Certificate(one));
  } catch (error) {
    throw refusal(error);
  }
}

function secured(socket: TLSSocket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => done(() => reject(signal.reason));
    const onClose = () =>
      done(() => reject(Object.assign(new Error('closed in the handshake'), { code: 'ECONNRESET' })));
    const onError = (error: Error) => done(() => reject(error));
    const onSecure = () => done(resolve);
    const done = (settle: () => void) => {
      signal.removeEventListener('abort', onAbort);
      socket.off('close', onClose).off('error', onError).off('secureConnect', onSecure);
      // What a socket that is given up still meets is of no interest.
      if (!socket.listenerCount('error')) socket.once('error', () => undefined);
      settle();
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('secureConnect', onSecure).once('error', onError).once('close', onClose);
  });
}

/** All that OpenSSL checks but the dates. Our registries send a leaf that the CA itself has signed. */
function requirePinned(socket: TLSSocket, pinned: readonly X509Certificate[], { host }: TlsPeer): void {
  const leaf = socket.getPeerX509Certificate();
  const signed = pinned.some((ca) => ca.ca && leaf?.checkIssued(ca) === true && leaf.verify(ca.publicKey));
  if (leaf === undefined || !signed) throw withCode('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  const named = isIP(host) === 0 ? leaf.checkHost(host, { subject: 'never' }) : leaf.checkIP(host);
  if (named === undefined)
    throw Object.assign(withCode('ERR_TLS_CERT_ALTNAME_INVALID'), {
      cert: { subjectaltname: leaf.subjectAltName },
    });
  // Absent: good for everything. `keyUsage` is what RFC 5280 §4.2.1.12 calls extended key usage.
  const { keyUsage } = leaf as { keyUsage?: readonly string[] };
  if (keyUsage !== undefined && !keyUsage.includes(serverAuth)) throw withCode('INVALID_PURPOSE');
}

const serverAuth = '1.3.6.1.5.5.7.3.1';

function withCode(code: string): Error {
  return Object.assign(new Error(code), { code });
}

function untrusted(error: unknown, peer: TlsPeer, now: number): unknown {
  const code = tlsCodeOf(error);
  if (code === undefined) return error;
  const { label } = peer;
  return new LinkError('untrusted', `Cannot trust ${label}: ${reasonOf(code, error, peer, now)}`, {
    cause: error,
  });
}

const unknownIssuer: readonly string[] = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
];
/** What answers there does not speak TLS at all, whatever it is. */
const noTls: readonly string[] = [
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_HTTP_REQUEST',
];
const tooOld: readonly string[] = [
  'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
  'ERR_SSL_UNSUPPORTED_PROTOCOL',
  'ERR_SSL_NO_PROTOCOLS_AVAILABLE',
];

function reasonOf(code: string, error: unknown, { host, trust }: TlsPeer, now: number): string {
  const clock = `this machine's clock says ${formatInstant(now)}, is that right?`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `its certificate is for ${namesOf(error)}, not for ${host}; use such a name, or name this one where the registry starts (--advertise-url)`;
  if (code === 'CERT_HAS_EXPIRED') return `its certificate has expired; ${clock}`;
  if (code === 'CERT_NOT_YET_VALID') return `its certificate is not valid yet; ${clock}`;
  if (unknownIssuer.includes(code)) {
    return trust === undefined
      ? `nobody whom this machine trusts has signed its certificate (${code}); if the registry has a CA of its own, pass its ca.pem with --ca-file`
      : `its certificate is not signed by the CA that belongs to it (${code}): another server answers there, or something in between reads along`;
  }
  if (noTls.includes(code)) return 'it speaks plain HTTP, use http:// instead';
  if (tooOld.includes(code)) return `it does not speak TLS 1.3 (${code})`;
  return `its certificate cannot be trusted (${code})`;
}

/** `DNS:a.test, IP Address:10.0.0.1` → `a.test, 10.0.0.1` */
function namesOf(error: unknown): string {
  const { cert } = error as { cert?: { subjectaltname?: string } };
  const names = cert?.subjectaltname?.replaceAll(/(DNS|IP Address):/g, '') ?? '';
  return names === '' ? 'no name at all' : names.slice(0, 200);
}
