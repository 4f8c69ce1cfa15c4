/** What `holdfast registry` starts with: where it listens, and how whoever connects knows that it is the registry. */
import { isLoopback } from '../client/proxy.ts';
import { emptyNotifyPlan } from '../domain/notify.ts';
import {
  isLoopbackListen,
  logLevelDefault,
  readProxySettings,
  registryDefault,
  type Settings,
} from './config.ts';
import { ConfigurationError } from './exit.ts';
import type { Io } from './io.ts';
import { notifySocketBeside, roleLocations } from './locations.ts';
import type { DoctorReader, Listen, RegistryConfig, TlsConfig } from './roles.ts';

/** Throws `ConfigurationError` (78) for settings that contradict each other, or would send secrets in the clear. */
export function registryConfig(io: Io, given: Settings): RegistryConfig {
  const { dataDir, socketDir } = roleLocations(io, 'registry', given.get('dataDir'));
  const listen = given.get('listen') ?? registryDefault;
  const behindProxy = given.get('behindProxy') ?? false;
  const tls = tlsOf(given);
  requireSafe(listen, { tls, behindProxy });
  const sockets = given.get('socket') ?? socketDir;
  const runnerSocket = given.get('runnerSocket');
  const advertiseUrls = given.get('advertiseUrl') ?? [];
  for (const url of advertiseUrls) requireReachable(url, { tls, behindProxy, listen });
  return {
    dataDir,
    listen,
    socketDir: sockets,
    logLevel: given.get('logLevel') ?? logLevelDefault,
    tls,
    advertiseUrls,
    behindProxy,
    legacyAnonymous: given.get('legacyAnonymous') ?? false,
    doctorReader: doctorReaderOf(given),
    databaseUrl: given.get('databaseUrl') ?? null,
    notify: given.get('notify') ?? emptyNotifyPlan,
    proxy: readProxySettings(io),
    runnerSocket: runnerSocket === undefined ? notifySocketBeside(sockets) : runnerSocket,
  };
}

/** Both or none: a password alone is a slip, and so is a user whom nobody could be. */
function doctorReaderOf(given: Settings): DoctorReader | null {
  const user = given.get('doctorUser');
  const password = given.get('doctorPassword') ?? null;
  const passwordFile = given.get('doctorPasswordFile') ?? null;
  if (user === undefined && password === null && passwordFile === null) return null;
  if (user === undefined)
    throw new ConfigurationError('Cannot use the password of doctor reports alone: pass --doctor-user too');
  if (password === null && passwordFile === null)
    throw new ConfigurationError(
      'Cannot use --doctor-user alone: pass --doctor-password-file, or set HOLDFAST_DOCTOR_PASSWORD',
    );
  if (password !== null && passwordFile !== null)
    throw new ConfigurationError(
      'Cannot use --doctor-password-file with HOLDFAST_DOCTOR_PASSWORD: leave one away',
    );
  return { user, password, passwordFile };
}

function tlsOf(given: Settings): TlsConfig {
  const [certFile, keyFile, kind] = [given.get('tlsCert'), given.get('tlsKey'), given.get('tls')];
  if (certFile === undefined && keyFile === undefined) return { kind: kind ?? 'own' };
  if (certFile === undefined || keyFile === undefined) {
    const [is, wants] = certFile === undefined ? ['--tls-key', '--tls-cert'] : ['--tls-cert', '--tls-key'];
    throw new ConfigurationError(`Cannot serve TLS with ${is} alone: pass ${wants} too`);
  }
  if (kind !== undefined) {
    throw new ConfigurationError(
      `Cannot use --tls-cert with --tls ${kind}: the certificate is either given or ${kind === 'own' ? 'its own' : 'none'}, leave one away`,
    );
  }
  return { kind: 'given', certFile, keyFile };
}

interface Served {
  readonly tls: TlsConfig;
  readonly behindProxy: boolean;
}

function requireSafe(listen: Listen, { tls, behindProxy }: Served): void {
  if (tls.kind !== 'off' || behindProxy || isLoopbackListen(listen)) return;
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  throw new ConfigurationError(
    `Cannot let the registry listen on ${host}:${listen.port} without TLS: everybody there could read along; leave "--tls off" away, use a loopback address such as 127.0.0.1:${listen.port}, or pass --behind-proxy when a proxy in front ends TLS`,
  );
}

/** A URL that no host could use is a slip that shows only when the first one joins. */
function requireReachable(url: string, { tls, behindProxy, listen }: Served & { listen: Listen }): void {
  const { protocol, hostname } = new URL(url);
  const refuse = (problem: string) => new ConfigurationError(`Cannot advertise ${url}: ${problem}`);
  if (protocol === 'http:' && !isLoopback(hostname))
    throw refuse('credentials would travel unencrypted, use https (plain http goes to loopback only)');
  if (behindProxy) return;
  if (protocol === 'https:' && tls.kind === 'off')
    throw refuse('with "--tls off" nobody answers https there; pass --behind-proxy when a proxy does');
  if (protocol === 'http:' && tls.kind !== 'off')
    throw refuse('the registry answers https only; advertise https://, or pass "--tls off"');
  if (isLoopbackListen(listen) && !isLoopback(hostname)) {
    throw refuse(
      `the registry listens on ${listen.host} only, where no other host comes; pass --listen 0.0.0.0:${listen.port || 7420}, or --behind-proxy when a proxy stands in front`,
    );
  }
}
