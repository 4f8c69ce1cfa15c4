/**
 * Contexts: servers that this person asks, each with the token for it, in
 * `${XDG_CONFIG_HOME:-~/.config}/holdfast/contexts.yaml` (0600). `login` writes it, whom.ts asks by it.
 */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FileError, readPrivateFile, writeFileAtomic } from '../base/atomic-file.ts';
import { nearest } from '../base/nearest.ts';
import { ConfigurationError, UsageError } from './exit.ts';
import type { Io } from './io.ts';
import { userConfigFolder } from './locations.ts';

export interface ServerContext {
  readonly url: string;
  readonly token: string;
  /** Of a server with a CA of its own: its certificates, PEM. */
  readonly ca?: string;
}

export interface Contexts {
  /** What is asked when nobody says whom; null: this machine. */
  readonly current: string | null;
  readonly contexts: Readonly<Record<string, ServerContext>>;
}

/** `context use local`: this machine again. */
export const localContext = 'local';

export function contextsFile(io: Io): string {
  return join(userConfigFolder(io), 'contexts.yaml');
}

/** Empty when there is no file. `ConfigurationError` for one that others can read, or that is none of ours. */
export async function readContexts(io: Io): Promise<Contexts> {
  const file = contextsFile(io);
  const text = await readOwn(file, io);
  if (text === undefined) return { current: null, contexts: {} };
  const { parse } = await import('yaml');
  const refuse = (problem: string) =>
    new ConfigurationError(`Cannot read ${file}: ${problem}; mend it, or remove it and log in again`);
  let document: unknown;
  try {
    document = parse(text);
  } catch {
    // The parser's own words would show a line of it.
    throw refuse('it is no YAML');
  }
  if (!isMembers(document)) throw refuse('expected "current" and "contexts"');
  const { current = null, contexts = {} } = document;
  if (!isMembers(contexts)) throw refuse('"contexts" has no names');
  const read = Object.entries(contexts).map(([name, one]): [string, ServerContext] => {
    if (!isMembers(one) || typeof one['url'] !== 'string' || typeof one['token'] !== 'string')
      throw refuse(`context "${name}" has no url and token`);
    const { url, token, ca } = one;
    return [name, { url, token, ...(typeof ca === 'string' ? { ca } : {}) }];
  });
  if (current !== null && typeof current !== 'string') throw refuse('"current" is no name');
  return { current, contexts: Object.fromEntries(read) };
}

export async function writeContexts(io: Io, contexts: Contexts): Promise<void> {
  const file = contextsFile(io);
  const { stringify } = await import('yaml');
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeFileAtomic(file, stringify(contexts, { lineWidth: 0 }), { mode: 0o600, random: io.random });
}

/** A context by its name; `UsageError` naming the nearest. */
export function requireContext({ contexts }: Contexts, name: string): ServerContext {
  const found = Object.hasOwn(contexts, name) ? contexts[name] : undefined;
  if (found !== undefined) return found;
  const names = Object.keys(contexts);
  const near = nearest(name, names);
  const wish =
    names.length === 0
      ? 'there is none, "holdfast login" makes one'
      : near === undefined
        ? `there are ${names.join(', ')}`
        : `did you mean "${near}"?`;
  throw new UsageError(`Cannot find context "${name}": ${wish}`);
}

/** The context whose server a URL names; its token goes nowhere else. */
export function contextOfUrl({ contexts }: Contexts, url: string): ServerContext | undefined {
  return Object.values(contexts).find((one) => canonical(one.url) === canonical(url));
}

export function requireContextName(name: string): string {
  if (/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/i.test(name) && name !== localContext) return name;
  throw new UsageError(
    `Cannot call a context "${name}": expected letters, digits, ".", "_" and "-", and not "${localContext}", which is this machine`,
  );
}

function canonical(url: string): string {
  return URL.parse(url)?.href.replace(/(?<!\/)\/+$/, '') ?? url;
}

async function readOwn(file: string, io: Io): Promise<string | undefined> {
  try {
    return (await readPrivateFile(file, { uid: io.uid })).toString('utf8');
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    // A service's user may not even see its home.
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(error.code ?? '')) return undefined;
    throw new ConfigurationError(error.message);
  }
}

function isMembers(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
