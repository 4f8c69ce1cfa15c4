/** The distribution, from os-release(5): component `<ID>` at `<VERSION_ID>`. */
import { readFile } from 'node:fs/promises';
import type { Component } from '../../domain/inventory.ts';
import type { Detector } from './detector.ts';

export interface OsReleaseOptions {
  /** The first that exists is read. Default: the two places of os-release(5), in its order. */
  readonly paths?: readonly string[];
  /** Default 5 minutes: a distribution upgrade takes longer, and the file is 400 bytes. */
  readonly everyMs?: number;
}

const standardPaths = ['/etc/os-release', '/usr/lib/os-release'];

export function osReleaseDetector(options: OsReleaseOptions = {}): Detector {
  const { paths = standardPaths, everyMs = 300_000 } = options;
  let last: { readonly text: string; readonly components: readonly Component[] } | undefined;
  return {
    name: 'os-release',
    everyMs,
    async detect({ signal }) {
      const text = await readFirst(paths, signal);
      if (text === null) return null;
      if (text === last?.text) return last.components;
      last = { text, components: [osReleaseComponent(text)] };
      return last.components;
    },
  };
}

/**
 * A distribution without VERSION_ID has no versions but builds or none at all (Arch: BUILD_ID=rolling; Debian sid:
 * only a code name). The most exact word that it has is its version, and `rolling` when it has none. A missing ID is
 * `linux`, as os-release(5) says.
 */
export function osReleaseComponent(text: string): Component {
  const fields = parseOsRelease(text);
  const word = (...names: string[]) =>
    names.map((name) => fields.get(name)).find((value) => value !== undefined && value !== '');
  return {
    name: (word('ID') ?? 'linux').slice(0, 128),
    version: (word('VERSION_ID', 'BUILD_ID', 'VERSION_CODENAME') ?? 'rolling').slice(0, 256),
    detector: 'os-release',
  };
}

/** Shell-like assignments, one a line; quotes and the backslash escapes of double quotes are undone. */
export function parseOsRelease(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) fields.set(match[1], unquote(match[2]));
  }
  return fields;
}

function unquote(value: string): string {
  if (/^'.*'$/.test(value) && value.length > 1) return value.slice(1, -1);
  const inner = /^".*"$/.test(value) && value.length > 1 ? value.slice(1, -1) : value;
  return inner.replace(/\\(["$`\\])/g, '$1');
}

async function readFirst(paths: readonly string[], signal: AbortSignal): Promise<string | null> {
  for (const path of paths) {
    try {
      return await readFile(path, { encoding: 'utf8', signal });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return null;
}
