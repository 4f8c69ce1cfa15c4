/** Texts that options are given: as they stand, or `@FILE`, or `@-` for stdin, or `-` as other programs have it. */
import { readFile, stat } from 'node:fs/promises';
import { reasonOf } from '../base/atomic-file.ts';
import { limits } from '../base/limits.ts';
import type { Flags } from './config.ts';
import { UsageError } from './exit.ts';
import type { Io } from './io.ts';

/**
 * The texts of the named options; absent ones stay so. Throws `UsageError` naming the option: for a file that cannot be
 * read, is larger than a request may be, or is no text, and when two are to come from stdin.
 */
export async function readGiven<Name extends string>(
  io: Io,
  flags: Flags,
  names: readonly Name[],
): Promise<{ readonly [name in Name]?: string }> {
  const given = names.flatMap((name): [Name, string][] =>
    typeof flags[name] === 'string' ? [[name, flags[name]]] : [],
  );
  const fromStdin = [
    ...(flags['tokenFile'] === '-' ? ['--token-file'] : []),
    ...given.filter(([, text]) => isStdin(text)).map(([name]) => `--${name}`),
  ];
  if (fromStdin.length > 1)
    throw new UsageError(`Cannot read ${fromStdin.join(' and ')} from stdin: only one of them can be there`);
  const texts = given.map(async ([name, text]) => [name, await readOne(io, `--${name}`, text)] as const);
  return Object.fromEntries(await Promise.all(texts)) as { [name in Name]?: string };
}

/** A JSON object as text; `UsageError` naming the option for anything else. */
export function requireObject(text: string, option: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError(
      `Cannot read ${option}: it is not JSON (${error instanceof Error ? error.message : error})`,
    );
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new UsageError(`Cannot read ${option}: expected a JSON object, such as {"build": 17}`);
}

async function readOne(io: Io, option: string, text: string): Promise<string> {
  const file = isStdin(text) ? '-' : text.slice(1);
  if (file !== '-' && !text.startsWith('@')) return text;
  const bytes = file === '-' ? await readStdin(io, option) : await readBytes(file, option);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(`Cannot use ${file === '-' ? 'stdin' : file} for ${option}: it is not UTF-8 text`);
  }
}

function isStdin(text: string): boolean {
  return text === '@-' || text === '-';
}

async function readBytes(file: string, option: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(file);
    if (size > limits.bodyBytes) throw tooLarge(file, option);
    return await readFile(file);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`Cannot read ${file} for ${option}: ${reasonOf(error)}`);
  }
}

async function readStdin(io: Io, option: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of io.stdin) {
    sizeBytes += chunk.length;
    if (sizeBytes > limits.bodyBytes) throw tooLarge('stdin', option);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(what: string, option: string): UsageError {
  return new UsageError(
    `Cannot use ${what} for ${option}: it is larger than ${limits.bodyBytes / 1_048_576} MiB`,
  );
}
