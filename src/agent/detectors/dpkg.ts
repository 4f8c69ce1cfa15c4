/**
 * Debian packages, from dpkg's status file (deb822 stanzas, see dpkg(1) and deb822(5)). Only stanzas whose status is
 * exactly `installed` count. No process is started: `dpkg-query` would cost a fork and 30 ms for the same bytes.
 *
 * A look costs one `stat` while the file is as it was (measured: 30 µs, so 30 s between looks is 0.0001 % of a core).
 * dpkg replaces the file many times during one run, and between two of them packages are half-installed; so a changed
 * file is read once it has been left alone for a while (settle.ts).
 */
import type { BigIntStats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../domain/inventory.ts';
import type { Detector } from './detector.ts';
import { settled } from './settle.ts';

export interface DpkgOptions {
  readonly clock: Clock;
  /** Default `/var/lib/dpkg/status`. */
  readonly path?: string;
  /** Default 30 s: with the settling below, a package shows up within a minute. */
  readonly everyMs?: number;
}

/** Read at a time; the event loop turns between two of these, so a beat never waits for a long file. */
const chunkBytes = 128 * 1024;

/** A stanza beyond this is no package (the largest in Debian is 20 KiB) and is skipped, so memory stays bounded. */
const stanzaCharsMax = 1024 * 1024;

const nameCharsMax = 128;
const versionCharsMax = 256;

export function dpkgDetector(options: DpkgOptions): Detector {
  const { clock, path = '/var/lib/dpkg/status', everyMs = 30_000 } = options;
  let last: { readonly print: string; readonly components: readonly Component[] } | undefined;

  return {
    name: 'dpkg',
    everyMs,
    async detect({ signal }) {
      const found = await fingerprint(path);
      if (found === null) {
        last = undefined;
        return null;
      }
      if (found === last?.print) return last.components;
      if (last !== undefined) await settled(found, () => fingerprint(path), { clock, signal });
      const file = await openIfThere(path);
      if (file === null) return null;
      try {
        // Of the opened file, not of the path: dpkg may put another one there while we read.
        const print = printOf(await file.stat({ bigint: true }));
        last = { print, components: await readComponents(file, signal) };
        return last.components;
      } finally {
        await file.close();
      }
    },
  };
}

/** One installed package as its stanza names it. */
export interface DpkgPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

/**
 * The package of a stanza; undefined when it is not installed, and also when the stanza is malformed: one broken
 * stanza hides one package, never the others.
 */
export function parseStanza(stanza: string): DpkgPackage | undefined {
  // Cheapest first: a status file holds removed packages with leftover configuration too.
  if (!/^status:[ \t]*\S+[ \t]+\S+[ \t]+installed[ \t\r]*$/im.test(stanza)) return undefined;
  const name = fieldOf(stanza, packageField);
  const version = fieldOf(stanza, versionField);
  if (name === undefined || name.length > nameCharsMax || /\s/.test(name)) return undefined;
  if (version === undefined || version.length > versionCharsMax || /\s/.test(version)) return undefined;
  return { name, version, architecture: fieldOf(stanza, architectureField) ?? '' };
}

const packageField = /^package:[ \t]*(.*)$/im;
const versionField = /^version:[ \t]*(.*)$/im;
const architectureField = /^architecture:[ \t]*(\S{1,64})[ \t\r]*$/im;

function fieldOf(stanza: string, pattern: RegExp): string | undefined {
  const value = pattern.exec(stanza)?.[1]?.trim();
  return value === '' ? undefined : value;
}

/** Packages → components: `name:arch` only where several architectures of a name are installed, ordered by name. */
export function componentsOf(packages: Iterable<DpkgPackage>): Component[] {
  const byName = new Map<string, Map<string, DpkgPackage>>();
  for (const one of packages) {
    const variants = byName.get(one.name);
    if (variants === undefined) byName.set(one.name, new Map([[one.architecture, one]]));
    else variants.set(one.architecture, one);
  }
  const components: Component[] = [];
  for (const variants of byName.values()) {
    for (const { name, version, architecture } of variants.values()) {
      const unique = variants.size === 1 || architecture === '';
      components.push({
        name: unique ? name : `${name}:${architecture}`,
        version,
        detector: 'dpkg',
        ...(architecture === '' ? {} : { architecture }),
      });
    }
  }
  return components.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function readComponents(file: FileHandle, signal: AbortSignal): Promise<Component[]> {
  const packages: DpkgPackage[] = [];
  for await (const stanza of stanzasOf(file, signal)) {
    const found = parseStanza(stanza);
    if (found !== undefined) packages.push(found);
  }
  return componentsOf(packages);
}

/** The paragraphs of a deb822 file: separated by lines that are empty or hold only blanks. */
async function* stanzasOf(file: FileHandle, signal: AbortSignal): AsyncGenerator<string> {
  const stream = file.createReadStream({
    highWaterMark: chunkBytes,
    encoding: 'utf8',
    autoClose: false,
    signal,
  });
  let rest = '';
  let skipping = false;
  for await (const chunk of stream) {
    const parts = (rest + String(chunk)).split(/\n[ \t\r]*\n/);
    rest = parts.pop() ?? '';
    for (const part of parts) {
      if (!skipping) yield part;
      skipping = false;
    }
    if (rest.length > stanzaCharsMax) {
      skipping = true;
      // What is kept finds a separator that is cut by the end of the chunk.
      rest = rest.slice(-2);
    }
  }
  if (!skipping) yield rest;
}

async function fingerprint(path: string): Promise<string | null> {
  try {
    return printOf(await stat(path, { bigint: true }));
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

function printOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join('.');
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
