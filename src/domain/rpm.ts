/**
 * Packages of rpm: the question that the runner asks, and its answer.
 *
 * rpm is asked, and its database is not read here: it is Berkeley DB on RHEL 8, SQLite on RHEL 9 and Fedora, ndb on SUSE,
 * and rpm is the one program that reads whichever its host has, with its locks. Reading SQLite ourselves would leave out
 * half of these, and a header is rpm's own format. That needs the runner, which alone starts programs.
 */
import type { Component } from './inventory.ts';

/** Takes a second for 2,000 packages; a database that somebody holds is waited for. */
export const rpmQueryMs = 30_000;

/** Who asks names nothing of it. */
export const rpmQuery: readonly string[] = [
  'rpm',
  '-qa',
  '--qf',
  '%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{INSTALLTIME}\\n',
];

interface RpmPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly installed: number;
}

/**
 * The components of an answer, ordered by name; `name:arch` only where several architectures of a name are installed, as
 * with dpkg. Where one name has several versions beside each other, as kernels have, it is the one that was installed
 * last (of the same second, the later text): it is what an update has brought, and the kernel that runs is told by the
 * detector `kernel`. Keys that signatures are checked with (`gpg-pubkey`) are no packages. A line that is none hides
 * itself, never the others.
 */
export function rpmComponents(answer: string): Component[] {
  const byName = new Map<string, Map<string, RpmPackage>>();
  for (const line of answer.split('\n')) {
    const found = parseLine(line);
    if (found === undefined) continue;
    const variants = byName.get(found.name) ?? new Map<string, RpmPackage>();
    byName.set(found.name, variants);
    const other = variants.get(found.architecture);
    if (other === undefined || isLater(found, other)) variants.set(found.architecture, found);
  }
  const components: Component[] = [];
  for (const variants of byName.values()) {
    for (const { name, version, architecture } of variants.values()) {
      components.push({
        name: variants.size === 1 ? name : `${name}:${architecture}`,
        version,
        detector: 'rpm',
        ...(architecture === '' ? {} : { architecture }),
      });
    }
  }
  return components.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function parseLine(line: string): RpmPackage | undefined {
  const [name = '', version = '', architecture = '', installed = ''] = line.split('\t');
  if (name === '' || name === 'gpg-pubkey' || !isVersionAndRelease(version)) return undefined;
  return {
    name,
    version,
    architecture: architecture === '(none)' ? '' : architecture,
    installed: Number(installed) || 0,
  };
}

function isVersionAndRelease(text: string): boolean {
  return text.slice(1, -1).includes('-') && !/\s/.test(text);
}

function isLater(a: RpmPackage, b: RpmPackage): boolean {
  return a.installed > b.installed || (a.installed === b.installed && a.version > b.version);
}
