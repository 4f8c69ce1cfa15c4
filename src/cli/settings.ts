/**
 * Every setting of the roles: its flag, variable, key in a configuration file, and what it may be. Help, `config
 * check`, `config print` and the README's table come from here.
 */
import { resolve } from 'node:path';
import { logLevels } from '../base/log.ts';
import { AppError } from '../domain/error.ts';
import { requirePrintable } from '../domain/ids.ts';
import type { Listen } from './roles.ts';

export interface Setting<Value> {
  /** As commander has it; null: a secret, which is never an argument. */
  readonly flag: string | null;
  readonly env: string;
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
    flag: '--tls <off>',
    env: 'HOLDFAST_TLS',
    key: 'tls',
    help: 'off: plain HTTP, on a loopback address only',
    read: readTls,
  },
  databaseUrl: {
    flag: null,
    env: 'HOLDFAST_DATABASE_URL',
    key: null,
    help: 'PostgreSQL instead of the embedded store: postgres://user:password@host/database',
    read: readText,
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
  logLevel: {
    flag: '--log-level <level>',
    env: 'HOLDFAST_LOG_LEVEL',
    key: 'logLevel',
    help: `${logLevels.join(', ')} (default info)`,
    read: (value: unknown) => readWord(value, logLevels),
  },
} as const satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof settings;
export type SettingValue<Name extends SettingName> = ReturnType<(typeof settings)[Name]['read']>;

export const roleCommands = ['up', 'registry', 'agent'] as const;
export type RoleCommand = (typeof roleCommands)[number];

export const settingsOf: Readonly<Record<RoleCommand, readonly SettingName[]>> = {
  up: ['dataDir', 'registryListen', 'agentListen', 'name', 'region', 'logLevel'],
  registry: ['dataDir', 'listen', 'socket', 'tls', 'databaseUrl', 'logLevel'],
  agent: ['dataDir', 'listen', 'socket', 'registry', 'tokenFile', 'name', 'region', 'logLevel'],
};

/** Keys that FORMATS has and a later version will act on: refused with better words than "unknown". */
export const futureKeys = [
  'host.self',
  'detectors',
  'checks',
  'pipelines',
  'approvals',
  'allow',
  'egress',
  'programs',
];

function readText(value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new Error('expected a text');
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

function readWord<const Words extends readonly string[]>(value: unknown, words: Words): Words[number] {
  if (words.includes(value as string)) return value as Words[number];
  throw new Error(`expected one of ${words.join(', ')}`);
}

/** YAML reads `off` of version 1.1 as false; both mean the same. */
function readTls(value: unknown): 'off' {
  if (value === 'off' || value === false) return 'off';
  throw new Error('expected off: this version serves plain HTTP only');
}

/** `127.0.0.1:7420`, `localhost:0`, `[::1]:7420`. */
function readListen(value: unknown): Listen {
  const match = /^(\[[0-9a-f:.]+\]|[^\s:/[\]]+):(\d{1,5})$/i.exec(readText(value));
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port > 65_535)
    throw new Error('expected host:port, such as 127.0.0.1:7420');
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
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
