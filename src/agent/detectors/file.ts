/**
 * The version that stands in a file: at a place of JSON, YAML or INI, or where a regular expression finds it. The agent
 * reads it as its own user, so it is a file that everybody may read, or that the host's root has given it.
 *
 * A link is followed: `current/version.json` of a release is one. A FIFO, a device and a folder are refused without being
 * waited for.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { limits } from '../../base/limits.ts';
import type { Search } from '../../base/search.ts';
import { TooSlow, timed } from '../../base/timed.ts';
import { detectorName, type FileAddress, type FileDetectorSpec } from '../../domain/detector.ts';
import type { AppError } from '../../domain/error.ts';
import type { Component } from '../../domain/inventory.ts';
import type { Detector } from './detector.ts';
import { versionIn, versionRefused } from './version.ts';

/** Throws when the file is there and says no version. A host without the file has nothing of it installed. */
export function fileDetector(spec: FileDetectorSpec, { search }: { search: Search }): Detector {
  const { component, path, address, match, everyMs, timeoutMs } = spec;
  const name = detectorName(spec);
  const refuse = (why: string): AppError => versionRefused(component, `${path}: ${why}`);
  let last: { readonly print: string; readonly found: readonly [Component] } | undefined;
  return {
    name,
    everyMs,
    lookMs: timeoutMs,
    async detect({ signal }) {
      const file = await openFile(path, refuse);
      if (file === null) {
        last = undefined;
        return null;
      }
      try {
        const { print, isFile } = await kindOf(file);
        if (!isFile) throw refuse('it is no regular file');
        if (print === last?.print) return last.found;
        const text = await readBounded(file, refuse);
        signal.throwIfAborted();
        const place = address === null ? text : await textAt(text, address, refuse);
        const version = versionIn(place, { match, search, refuse });
        if (version === undefined) throw refuse(`nothing in it matches ${match}`);
        const [before] = last?.found ?? [];
        const isSame = before?.version === version;
        last = { print, found: isSame ? [before] : [{ name: component, version, detector: name }] };
        return last.found;
      } finally {
        await file.close();
      }
    },
  };
}

/** Null: it is not there. Opening waits for nobody: a FIFO would wait for its writer. */
async function openFile(path: string, refuse: (why: string) => AppError): Promise<FileHandle | null> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    if (code === 'EACCES' || code === 'EPERM')
      throw refuse('the agent may not read it, let its user do so, or have a command say the version');
    throw refuse(`it cannot be opened (${code ?? 'unknown'})`);
  }
}

async function kindOf(file: FileHandle): Promise<{ print: string; isFile: boolean }> {
  const found = await file.stat({ bigint: true });
  const { dev, ino, size, mtimeNs, ctimeNs } = found;
  return { print: [dev, ino, size, mtimeNs, ctimeNs].join('.'), isFile: found.isFile() };
}

/** One byte more than may be there tells that there is more: what `stat` says of a size may be over by now. */
async function readBounded(file: FileHandle, refuse: (why: string) => AppError): Promise<string> {
  const max = limits.detectorFileBytes;
  const buffer = Buffer.alloc(max + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length);
    length += bytesRead;
    if (length > max) throw refuse(`it has more than ${max} bytes`);
    if (bytesRead === 0) return buffer.toString('utf8', 0, length).replace(/^\ufeff/, '');
  }
}

/** No message repeats what stands in the file: it may hold secrets beside the version. */
async function textAt(
  text: string,
  { format, at }: FileAddress,
  refuse: (why: string) => AppError,
): Promise<string> {
  const found = format === 'ini' ? iniText(text, at) : pointed(await parsed(text, format, refuse), at);
  if (found === undefined) throw refuse(`there is nothing at ${at}`);
  if (typeof found !== 'string') throw refuse(`what stands at ${at} is no text and no number`);
  return found;
}

async function parsed(
  text: string,
  format: 'json' | 'yaml',
  refuse: (why: string) => AppError,
): Promise<unknown> {
  try {
    if (format === 'json') return parseJson(text);
    const { parse } = await import('yaml');
    // Every scalar is a text: 1.10 is no number 1.1.
    return timed(
      limits.detectorParseMs,
      () => parse(text, { schema: 'failsafe', logLevel: 'error' }) as unknown,
    );
  } catch (error) {
    if (error instanceof TooSlow)
      throw refuse(
        `to read it as YAML took longer than ${limits.detectorParseMs} ms, make it smaller and plain`,
      );
    throw refuse(`it is no ${format.toUpperCase()}`);
  }
}

/** Numbers stay as they are written. */
function parseJson(text: string): unknown {
  const asWritten = (_key: string, value: unknown, context?: { readonly source?: string }) =>
    typeof value === 'number' ? (context?.source ?? String(value)) : value;
  return JSON.parse(text, asWritten) as unknown;
}

/** RFC 6901. */
function pointed(value: unknown, pointer: string): unknown {
  let found = value;
  for (const step of pointer.split('/').slice(1)) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as Record<string, unknown>)[key];
  }
  return found;
}

/**
 * The value of `section.key`, or of `key` before all sections; sections and keys may hold dots themselves. There is no
 * standard: `[section]`, `key = value` or `key: value`, comments with ; and #, also behind a value and a blank, quotes
 * around a value. Of several the last counts.
 */
export function iniText(text: string, address: string): string | undefined {
  let section = '';
  let found: string | undefined;
  for (const line of text.split(/\r?\n/)) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith(';') || trimmed.startsWith('#')) continue;
    if (trimmed.startsWith('[') && trimmed.includes(']')) {
      section = trimmed.slice(1, trimmed.indexOf(']')).trim();
      continue;
    }
    const end = trimmed.search(/[=:]/);
    if (end < 1) continue;
    const key = trimmed.slice(0, end).trim();
    if ((section === '' ? key : `${section}.${key}`) === address) found = iniValue(trimmed.slice(end + 1));
  }
  return found;
}

function iniValue(text: string): string {
  const value = text.trim();
  const quoted = /^"([^"]*)"|^'([^']*)'/.exec(value);
  if (quoted !== null) return quoted[1] ?? quoted[2] ?? '';
  const comment = value.search(/\s[;#]/);
  return (comment === -1 ? value : value.slice(0, comment)).trim();
}
