/**
 * Every setting of the roles: its flag, variable, key in a configuration file, and what it may be. Help, `config
 * check`, `config print` and the README's table come from here.
 */
import { resolve } from 'node:path';
import { logLevels } from '../base/log.ts';
import { readAllow } from '../domain/allow.ts';
import { readChecks } from '../domain/check.ts';
import { readDetectors, standardDetectorNames } from '../domain/detector.ts';
import { AppError } from '../domain/error.ts';
import { requirePrintable } from '../domain/ids.ts';
import { type Labels, readLabels } from '../domain/labels.ts';
import { readNotify } from '../domain/notify.ts';
import type { Listen } from './roles.ts';

export interface Setting<Value> {
  /** As commander has it; null: never an argument. */
  readonly flag: string | null;
  /** Null: never a variable. */
  readonly env: string | null;
  /** Path in the file; null: never in a file. */
  readonly key: string | null;
  readonly help: string;
  /** Throws an Error whose message says what was expected. */
  readonly read: (value: unknown) => Value;
}

export const settings = {
  dataDir: {
    flag: '--data-dir <folder>',
    env: 'HOLDFAST_DATA_DIR',
    key: 'dataDir',
    help: 'where everything is kept',
    read: readPath,
  },
  listen: {
    flag: '--listen <host:port>',
    env: 'HOLDFAST_LISTEN',
    key: 'listen',
    help: 'address of the API; port 0 takes a free one',
    read: readListen,
  },
  registryListen: {
    flag: '--registry-listen <host:port>',
    env: 'HOLDFAST_REGISTRY_LISTEN',
    key: 'registryListen',
    help: "address of the registry's API (default 127.0.0.1:7420)",
    read: readListen,
  },
  agentListen: {
    flag: '--agent-listen <host:port>',
    env: 'HOLDFAST_AGENT_LISTEN',
    key: 'agentListen',
    help: "address of the agent's API (default 127.0.0.1:7421)",
    read: readListen,
  },
  socket: {
    flag: '--socket <folder>',
    env: 'HOLDFAST_SOCKET',
    key: 'socket',
    help: 'folder of the Unix sockets',
    read: readPath,
  },
  tls: {
    flag: '--tls <own|off>',
    env: 'HOLDFAST_TLS',
    key: 'tls',
    help: 'own (default): by a CA of its own; off: plain HTTP, on a loopback address or behind a proxy',
    read: readTls,
  },
  tlsCert: {
    flag: '--tls-cert <file>',
    env: 'HOLDFAST_TLS_CERT',
    key: 'tlsCert',
    help: 'certificate and its chain, PEM, instead of its own; read again when it changes',
    read: readPath,
  },
  tlsKey: {
    flag: '--tls-key <file>',
    env: 'HOLDFAST_TLS_KEY',
    key: 'tlsKey',
    help: 'private key of --tls-cert, PEM',
    read: readPath,
  },
  advertiseUrl: {
    flag: '--advertise-url <url,url>',
    env: 'HOLDFAST_ADVERTISE_URL',
    key: 'advertiseUrl',
    help: 'where hosts find the registry; also names of its own certificate',
    read: readUrls,
  },
  behindProxy: {
    flag: '--behind-proxy',
    env: 'HOLDFAST_BEHIND_PROXY',
    key: 'behindProxy',
    help: 'a proxy that ends TLS stands in front: any Host is answered, and probes need a token',
    read: readSwitch,
  },
  legacyAnonymous: {
    flag: '--legacy-anonymous',
    env: 'HOLDFAST_LEGACY_ANONYMOUS',
    key: 'legacyAnonymous',
    help: 'lets clients of workflow-manager-api (/v2, /v3) check in, read and report without a token; never publish',
    read: readSwitch,
  },
  doctorUser: {
    flag: '--doctor-user <user>',
    env: 'HOLDFAST_DOCTOR_USER',
    key: 'doctorUser',
    help: 'who may read /v3/doctor reports with a password (default nobody)',
    read: readUser,
  },
  doctorPasswordFile: {
    flag: '--doctor-password-file <file>',
    env: 'HOLDFAST_DOCTOR_PASSWORD_FILE',
    key: 'doctorPasswordFile',
    help: 'file with the password of --doctor-user, in one line',
    read: readPath,
  },
  doctorPassword: {
    flag: null,
    env: 'HOLDFAST_DOCTOR_PASSWORD',
    key: null,
    help: 'that password itself',
    read: readText,
  },
  databaseUrl: {
    flag: null,
    env: 'HOLDFAST_DATABASE_URL',
    key: null,
    help: 'PostgreSQL instead of the embedded store: postgres://user:password@host/database',
    read: readDatabaseUrl,
  },
  registry: {
    flag: '--registry <url>',
    env: 'HOLDFAST_REGISTRY',
    key: 'registry',
    help: 'the registry to report to, or none',
    read: readRegistry,
  },
  tokenFile: {
    flag: '--token-file <file>',
    env: 'HOLDFAST_TOKEN_FILE',
    key: 'tokenFile',
    help: "file with a token to join with, such as the registry's admin.token (- reads stdin)",
    read: (value: unknown) => (value === '-' ? '-' : readPath(value)),
  },
  joinFile: {
    flag: '--join-file <file>',
    env: 'HOLDFAST_JOIN_FILE',
    key: 'joinFile',
    help: 'file with a join token, which also says where the registry is (- reads stdin; else HOLDFAST_JOIN holds it)',
    read: (value: unknown) => (value === '-' ? '-' : readPath(value)),
  },
  caFile: {
    flag: '--ca-file <file>',
    env: 'HOLDFAST_CA_FILE',
    key: 'caFile',
    help: 'CA of the registry or of a proxy in front of it, PEM; a join token names the registry’s own',
    read: readPath,
  },
  name: {
    flag: '--name <name>',
    env: 'HOLDFAST_NAME',
    key: 'host.name',
    help: 'name of this host (default: the machine’s)',
    read: readName,
  },
  region: {
    flag: '--region <region>',
    env: 'HOLDFAST_REGION',
    key: 'host.region',
    help: 'region of this host',
    read: readName,
  },
  self: {
    flag: '--self <labels>',
    env: 'HOLDFAST_SELF',
    key: 'host.self',
    help: 'what this host says of itself, such as rack=r7,floor=2; selected as @self/rack',
    read: readSelf,
  },
  runnerSocket: {
    flag: '--runner-socket <file>',
    env: 'HOLDFAST_RUNNER_SOCKET',
    key: 'runnerSocket',
    help: 'socket of the runner of this host, or none (default: runner/runner.sock, for a registry runner/notify.sock, beside the folder of its own)',
    read: readRunner,
  },
  agentUser: {
    flag: '--agent-user <user>',
    env: 'HOLDFAST_AGENT_USER',
    key: null,
    help: 'user that the agent runs as, who is given the socket (default: the one that runs the runner)',
    read: readText,
  },
  checks: {
    flag: null,
    env: null,
    key: 'checks',
    help: 'what the agent looks at for programs that do not tell of themselves (default none)',
    read: readChecks,
  },
  detectors: {
    flag: null,
    env: null,
    key: 'detectors',
    help: `what finds installed components (default ${standardDetectorNames.join(', ')}); a list replaces them`,
    read: readDetectors,
  },
  allow: {
    flag: null,
    env: null,
    key: 'allow',
    help: 'what a registry may make this host do: drivers, handlers, users, paths',
    read: readAllow,
  },
  notify: {
    flag: null,
    env: null,
    key: 'notify',
    help: 'whom the registry tells of what: sinks and rules (default nobody)',
    read: readNotify,
  },
  registryUser: {
    flag: '--registry-user <user>',
    env: 'HOLDFAST_REGISTRY_USER',
    key: null,
    help: 'user that the registry of this host runs as, who is given notify.sock (default: the one that runs the runner)',
    read: readText,
  },
  registryConfig: {
    flag: '--registry-config <file>',
    env: 'HOLDFAST_REGISTRY_CONFIG',
    key: null,
    help: 'registry.yaml, of which the runner reads the commands of sinks; without it there is no notify.sock',
    read: readPath,
  },
  logLevel: {
    flag: '--log-level <level>',
    env: 'HOLDFAST_LOG_LEVEL',
    key: 'logLevel',
    help: `${logLevels.join(', ')} (default info)`,
    read: (value: unknown) => readWord(value, logLevels),
  },
} as const satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof settings;

/** Neither an argument, which everybody on the machine can see, nor in a file that is shown around. */
export function isSecret(name: SettingName): boolean {
  return settings[name].flag === null && settings[name].key === null;
}

export type SettingValue<Name extends SettingName> = ReturnType<(typeof settings)[Name]['read']>;

export const roleCommands = ['up', 'registry', 'agent', 'runner'] as const;
export type RoleCommand = (typeof roleCommands)[number];

export const settingsOf: Readonly<Record<RoleCommand, readonly SettingName[]>> = {
  up: [
    'dataDir',
    'registryListen',
    'agentListen',
    'name',
    'region',
    'self',
    'checks',
    'detectors',
    'allow',
    'notify',
    'logLevel',
  ],
  registry: [
    'dataDir',
    'listen',
    'socket',
    'tls',
    'tlsCert',
    'tlsKey',
    'advertiseUrl',
    'behindProxy',
    'legacyAnonymous',
    'doctorUser',
    'doctorPasswordFile',
    'doctorPassword',
    'databaseUrl',
    'runnerSocket',
    'notify',
    'logLevel',
  ],
  agent: [
    'dataDir',
    'listen',
    'socket',
    'registry',
    'joinFile',
    'tokenFile',
    'caFile',
    'runnerSocket',
    'name',
    'region',
    'self',
    'checks',
    'detectors',
    'allow',
    'logLevel',
  ],
  // Of the file it reads what it does for the agent, and nothing that is the agent's own.
  runner: ['dataDir', 'socket', 'agentUser', 'registryUser', 'registryConfig', 'logLevel'],
};

/** Keys that FORMATS has and a later version will act on: refused with better words than "unknown". */
export const futureKeys = ['pipelines', 'approvals', 'egress', 'programs'];

function readText(value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new Error('expected a text');
}

/** A name of RFC 7617, which ends where the password begins. */
function readUser(value: unknown): string {
  const user = readText(value);
  if (!user.includes(':')) return user;
  throw new Error('expected a name without a colon');
}

function readPath(value: unknown): string {
  return resolve(readText(value));
}

function readName(value: unknown): string {
  try {
    return requirePrintable(readText(value), 'name');
  } catch (error) {
    if (error instanceof AppError)
      throw new Error('expected 1 to 128 printable characters', { cause: error });
    throw error;
  }
}

/** A map of a file, or `key=value,key=value`. */
function readSelf(value: unknown): Labels {
  try {
    return readLabels(typeof value === 'string' ? pairsOf(value) : value, 'self');
  } catch (error) {
    if (error instanceof AppError) throw new Error(lowerFirst(error.message), { cause: error });
    throw error;
  }
}

function pairsOf(text: string): Record<string, string> {
  return Object.fromEntries(
    text
      .split(',')
      .filter((pair) => pair.trim() !== '')
      .map((pair) => {
        const at = pair.indexOf('=');
        if (at === -1) throw new Error('expected key=value,key=value');
        return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
      }),
  );
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function readWord<const Words extends readonly string[]>(value: unknown, words: Words): Words[number] {
  if (words.includes(value as string)) return value as Words[number];
  throw new Error(`expected one of ${words.join(', ')}`);
}

/** YAML reads `off` of version 1.1 as false; both mean the same. */
function readTls(value: unknown): 'own' | 'off' {
  return value === false ? 'off' : readWord(value, ['own', 'off']);
}

/** A flag without a value, `true` in a file, one of four words in a variable. */
function readSwitch(value: unknown): boolean {
  if (value === true || value === 'true' || value === '1') return true;
  if (value === false || value === 'false' || value === '0') return false;
  throw new Error('expected true or false');
}

/** A list, or a text with commas. */
function readUrls(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : readText(value).split(',');
  if (list.length === 0) throw new Error('expected a URL');
  return [...new Set(list.map(readUrl))];
}

function readUrl(value: unknown): string {
  const url = typeof value === 'string' ? URL.parse(value.trim()) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw new Error('expected URLs such as https://registry.example:7420');
  if (`${url.username}${url.password}${url.search}${url.hash}` !== '')
    throw new Error('expected URLs of a name, a port and perhaps a path');
  return url.href.replace(/(?<!\/)\/+$/, '');
}

/** `127.0.0.1:7420`, `localhost:0`, `[::1]:7420`. */
function readListen(value: unknown): Listen {
  const match = /^(\[[0-9a-f:.]+\]|[^\s:/[\]]+):(\d{1,5})$/i.exec(readText(value));
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port > 65_535)
    throw new Error('expected host:port, such as 127.0.0.1:7420');
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
}

function readRunner(value: unknown): string | null {
  return value === 'none' ? null : readPath(value);
}

function readDatabaseUrl(value: unknown): string {
  const text = readText(value);
  const url = URL.canParse(text) && /^postgres(?:ql)?:\/\//.test(text) ? new URL(text) : undefined;
  // A password with a sign that is to be escaped reads as a host or a path, which the log names.
  if (url !== undefined && !`${url.pathname}${url.search}${url.hash}`.includes('@')) return text;
  throw new Error('expected postgres://user:password@host/database, with @ : / in a password as %40 %3A %2F');
}

function readRegistry(value: unknown): string | null {
  const text = readText(value);
  if (text === 'none') return null;
  if (!URL.canParse(text) || !/^https?:\/\//.test(text))
    throw new Error('expected a URL such as http://127.0.0.1:7420, or none');
  const { username, password } = new URL(text);
  if (username !== '' || password !== '')
    throw new Error('expected one without a user name or password; pass a token with --token-file');
  return text;
}
