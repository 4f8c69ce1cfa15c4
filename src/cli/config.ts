/**
 * The only reader of flags, variables and configuration files: flags > HOLDFAST_* > file > defaults. What this version
 * does not act on is refused with its place and the nearest thing that it does, never ignored.
 */
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { FileError, readPrivateFile } from '../base/atomic-file.ts';
import type { LogLevel } from '../base/log.ts';
import { parseDuration } from '../base/time.ts';
import { isLoopback, type ProxySettings } from '../client/proxy.ts';
import { certificatesIn, isCertificate } from '../client/tls.ts';
import { allowDefault } from '../domain/allow.ts';
import { standardDetectorSpecs } from '../domain/detector.ts';
import { normaliseHostName } from '../domain/ids.ts';
import { emptyNotifyPlan } from '../domain/notify.ts';
import { type Given, readConfigFile, readTextFile, readValue } from './config-file.ts';
import { ConfigurationError, UsageError } from './exit.ts';
import type { Io } from './io.ts';
import { nonEmpty, notifySocketBeside, roleLocations, runnerSocketBeside, upLocations } from './locations.ts';
import type { AgentConfig, DoctorReader, HostOrders, Listen, RegistryConfig, RunnerConfig } from './roles.ts';
import { type RoleCommand, type SettingName, type SettingValue, settings, settingsOf } from './settings.ts';
import { refuseUnknownVariables } from './variables.ts';

/** What commander parsed: option names in camel case. */
export type Flags = Readonly<Record<string, unknown>>;

/** The settings of a role that somebody gave. */
export class Settings {
  readonly role: RoleCommand;
  readonly given: ReadonlyMap<SettingName, Given>;

  constructor(role: RoleCommand, given: ReadonlyMap<SettingName, Given>) {
    this.role = role;
    this.given = given;
  }

  get<Name extends SettingName>(name: Name): SettingValue<Name> | undefined {
    return this.given.get(name)?.value as SettingValue<Name> | undefined;
  }
}

/** Throws `ConfigurationError` (78) naming the flag, variable, or file and line. */
export async function readSettings(io: Io, role: RoleCommand, flags: Flags): Promise<Settings> {
  refuseUnknownVariables(io);
  const file = configFileOf(io, flags);
  // The runner's file is the agent's: what else stands in it says nothing of the runner.
  const given =
    file === undefined || role === 'runner'
      ? new Map<SettingName, Given>()
      : await readConfigFile(file, role);
  for (const name of settingsOf[role]) {
    const { env, flag } = settings[name];
    const variable = env === null ? undefined : nonEmpty(io.env[env]);
    if (env !== null && variable !== undefined)
      given.set(name, { value: readValue(name, variable, env), source: env });
    const argument = flags[name];
    if (argument !== undefined && flag !== null) {
      const source = flag.split(' ')[0] ?? flag;
      given.set(name, { value: readValue(name, argument, source), source });
    }
  }
  return new Settings(role, given);
}

/** The file that `--config` or HOLDFAST_CONFIG names. */
export function configFileOf(io: Pick<Io, 'env'>, flags: Flags): string | undefined {
  return (flags['config'] as string | undefined) ?? nonEmpty(io.env['HOLDFAST_CONFIG']);
}

/** What `holdfast up` starts with; the agent joins with a token that its own registry makes for it. */
export function upConfigs(
  io: Io,
  given: Settings,
  flags: Flags,
): { registry: RegistryConfig; runner: RunnerConfig; agent: Omit<AgentConfig, 'registry'> } {
  const file = configFileOf(io, flags);
  const places = upLocations(io, given.get('dataDir'));
  const logLevel = given.get('logLevel') ?? logLevelDefault;
  return {
    registry: {
      ...places.registry,
      logLevel,
      listen: requireLoopback(given.get('registryListen') ?? registryDefault, 'the registry'),
      tls: { kind: 'off' },
      advertiseUrls: [],
      behindProxy: false,
      legacyAnonymous: false,
      doctorReader: null,
      databaseUrl: null,
      notify: given.get('notify') ?? emptyNotifyPlan,
      proxy: readProxySettings(io),
      runnerSocket: notifySocketBeside(places.registry.socketDir),
    },
    runner: {
      ...places.runner,
      logLevel,
      agentUser: null,
      orders: file === undefined ? null : { file: resolve(file), role: 'up' },
      registry: { user: null, orders: file === undefined ? null : { file: resolve(file), role: 'up' } },
      stopsSteps: true,
    },
    agent: {
      ...places.agent,
      logLevel,
      runnerSocket: runnerSocketBeside(places.agent.socketDir),
      listen: requireLoopback(given.get('agentListen') ?? agentDefault, 'the agent'),
      ...hostOf(io, given),
    },
  };
}

/** What holds for a setting that nobody gave; undefined: nothing does. */
export function defaultOf(io: Io, given: Settings, name: SettingName): unknown {
  const { role } = given;
  const dataDir = given.get('dataDir');
  switch (name) {
    case 'dataDir':
      return role === 'up'
        ? dirname(upLocations(io, undefined).agent.dataDir)
        : roleLocations(io, role, undefined).dataDir;
    case 'socket':
      return role === 'up' ? undefined : roleLocations(io, role, dataDir).socketDir;
    case 'listen':
      return role === 'registry' ? registryDefault : agentDefault;
    case 'runnerSocket':
      if (role === 'registry')
        return notifySocketBeside(given.get('socket') ?? roleLocations(io, 'registry', dataDir).socketDir);
      return runnerSocketBeside(given.get('socket') ?? roleLocations(io, 'agent', dataDir).socketDir);
    case 'registryListen':
      return registryDefault;
    case 'agentListen':
      return agentDefault;
    case 'name':
      return hostOf(io, given).name;
    case 'logLevel':
      return logLevelDefault;
    case 'tls':
      return given.get('tlsCert') === undefined ? 'own' : undefined;
    case 'behindProxy':
      return false;
    case 'checks':
    case 'detectors':
    case 'allow':
      return hostOrders(given)[name];
    case 'notify':
      return emptyNotifyPlan;
    default:
      return undefined;
  }
}

/** Whom a command talks to, as far as somebody said: a URL, or else a folder of sockets; neither means this machine. */
export interface ClientSettings {
  readonly url: { readonly value: string; readonly source: string } | undefined;
  readonly socket: string | undefined;
  /** A context by its name; undefined: the current one, if there is one. */
  readonly context: string | undefined;
  readonly tokenFile: string | undefined;
  /** Who has signed the server's certificate; undefined: somebody whom this machine trusts. */
  readonly caFile: string | undefined;
  readonly timeoutMs: number | undefined;
}

/**
 * `--url`, `--socket` and `--context` exclude each other and stand above HOLDFAST_URL, that above HOLDFAST_SOCKET, that
 * above HOLDFAST_CONTEXT.
 */
export function readClientSettings(io: Io, flags: Flags): ClientSettings {
  const [url, socket] = [flags['url'] as string | undefined, flags['socket'] as string | undefined];
  if (url !== undefined && socket !== undefined)
    throw new UsageError('Cannot talk to two servers: pass either --url or --socket');
  const context = flags['context'] as string | undefined;
  if (context !== undefined && (url ?? socket) !== undefined)
    throw new UsageError('Cannot talk to two servers: pass either --context, or --url or --socket');
  const variable = (name: string) =>
    (url ?? socket ?? context) === undefined ? nonEmpty(io.env[name]) : undefined;
  const fromUrl = variable('HOLDFAST_URL');
  const fromSocket = variable('HOLDFAST_SOCKET');
  const timeout = (flags['timeout'] as string | undefined) ?? nonEmpty(io.env['HOLDFAST_TIMEOUT']);
  const timeoutMs = timeout === undefined ? undefined : parseDuration(timeout);
  if (timeout !== undefined && (timeoutMs === undefined || timeoutMs <= 0)) {
    throw new UsageError(`Cannot use the time-out "${timeout}": expected one like 30s or 2m`);
  }
  return {
    url:
      url !== undefined
        ? { value: url, source: '--url' }
        : fromUrl === undefined
          ? undefined
          : { value: fromUrl, source: 'HOLDFAST_URL' },
    socket: socket ?? fromSocket,
    context: context ?? ((fromUrl ?? fromSocket) === undefined ? variable('HOLDFAST_CONTEXT') : undefined),
    tokenFile: flags['tokenFile'] as string | undefined,
    caFile: (flags['caFile'] as string | undefined) ?? nonEmpty(io.env['HOLDFAST_CA_FILE']),
    timeoutMs,
  };
}

/** HTTPS_PROXY, HTTP_PROXY and NO_PROXY, also in lower case, which goes first as it does for curl. */
export function readProxySettings({ env }: Pick<Io, 'env'>): ProxySettings {
  const read = (name: string) => nonEmpty(env[name.toLowerCase()]) ?? nonEmpty(env[name]);
  const [https, http, none] = [read('HTTPS_PROXY'), read('HTTP_PROXY'), read('NO_PROXY')];
  return {
    ...(https === undefined ? {} : { https }),
    ...(http === undefined ? {} : { http }),
    ...(none === undefined ? {} : { none }),
  };
}

/** The certificates in a file of PEM, such as a registry's ca.pem. `ConfigurationError` when there is none. */
export async function readCaFile(file: string): Promise<readonly string[]> {
  const certificates = certificatesIn(await readTextFile(file, '--ca-file'));
  if (certificates.length > 0 && certificates.every(isCertificate)) return certificates;
  throw new ConfigurationError(
    `Cannot use ${file} as the CA: expected certificates in PEM form, such as ca.pem in the data directory of the registry`,
  );
}

/** Of whoever may read doctor reports. Throws `ConfigurationError` for a file without a password. */
export async function readDoctorPassword({ password, passwordFile }: DoctorReader): Promise<string> {
  if (password !== null) return password;
  const text = await readTextFile(passwordFile ?? '', '--doctor-password-file');
  const line = text.replace(/\r?\n$/, '');
  if (line !== '' && !/[\r\n]/.test(line)) return line;
  throw new ConfigurationError(`Cannot use ${passwordFile} as a password: expected one line`);
}

/**
 * The bearer token for a client: `--token-file` (`-` is stdin), then HOLDFAST_TOKEN, else none. Also the agent's for
 * joining. `UsageError` when there is nothing in it.
 */
export async function readToken(io: Io, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return nonEmpty(io.env['HOLDFAST_TOKEN']?.trim());
  return requireToken(file === '-' ? await readStdin(io) : await readTokenFile(io, file), file);
}

/** A passphrase: `--passphrase-file` (`-` is stdin), then HOLDFAST_PASSPHRASE, else null. Its last line break is none of it. */
export async function readPassphrase(io: Io, flags: Flags): Promise<string | null> {
  const file = flags['passphraseFile'] as string | undefined;
  const text =
    file === undefined
      ? nonEmpty(io.env['HOLDFAST_PASSPHRASE'])
      : (file === '-' ? await readStdin(io) : await readTokenFile(io, file)).replace(/\r?\n$/, '');
  if (text === undefined) return null;
  if (text === '' || text.includes('\n'))
    throw new UsageError('Cannot use the passphrase: expected one line that is not empty');
  return text;
}

export const logLevelDefault: LogLevel = 'info';
export const registryDefault: Listen = { host: '127.0.0.1', port: 7420 };
export const agentDefault: Listen = { host: '127.0.0.1', port: 7421 };

/** What an agent is told of its host, also by `up`. */
export function hostOf(
  io: Io,
  given: Settings,
): Pick<AgentConfig, 'name' | 'keepName' | 'region' | 'self' | keyof HostOrders> {
  const name = given.get('name');
  return {
    ...hostOrders(given),
    name: normaliseHostName(name ?? io.hostname),
    keepName: name === undefined,
    region: given.get('region') ?? null,
    self: given.get('self') ?? {},
  };
}

/** What agent and runner both read of agent.yaml, with what holds where it is silent. */
export function hostOrders(given: Pick<Settings, 'get'>): HostOrders {
  return {
    checks: given.get('checks') ?? [],
    detectors: given.get('detectors') ?? standardDetectorSpecs,
    allow: given.get('allow') ?? allowDefault,
  };
}

/** Throws `ConfigurationError` for an address that others reach too. */
export function requireLoopback(listen: Listen, who: string): Listen {
  if (isLoopbackListen(listen)) return listen;
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  throw new ConfigurationError(
    `Cannot let ${who} listen on ${host}:${listen.port} without TLS: everybody there could read along; use a loopback address such as 127.0.0.1:${listen.port}`,
  );
}

/** Whether only this machine reaches it. */
export function isLoopbackListen({ host }: Listen): boolean {
  return isLoopback(host.includes(':') ? `[${host}]` : host);
}

async function readTokenFile(io: Io, file: string): Promise<string> {
  try {
    // Root may use anybody's token; all others only one that is their own.
    const uid = io.uid === 0 ? ((await stat(file).catch(() => undefined))?.uid ?? 0) : io.uid;
    return (await readPrivateFile(file, { uid })).toString('utf8');
  } catch (error) {
    if (error instanceof FileError) throw new ConfigurationError(error.message);
    throw error;
  }
}

const tokenBytesMax = 16_384;

async function readStdin(io: Io): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of io.stdin) {
    sizeBytes += chunk.length;
    if (sizeBytes > tokenBytesMax)
      throw new UsageError('Cannot read a token from stdin: there is too much of it');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function requireToken(text: string, file: string): string {
  const token = text.trim();
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new UsageError(`Cannot use the token in ${file === '-' ? 'stdin' : file}: expected one word`);
}
