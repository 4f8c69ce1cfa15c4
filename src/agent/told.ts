/** What a data directory holds that is told in a doctor report, and what in it must not be. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, readPrivateFile } from '../base/atomic-file.ts';
import { formatInstant } from '../base/time.ts';
import type { TargetDocument } from '../domain/target.ts';

/** Files of secrets in an agent's data directory. */
const secretFiles = [
  'credential',
  'credential.next',
  'admin.token',
  'join.token',
  'host.key',
  'host.key.next',
];

/**
 * Every secret of the data directory that can be read, to be masked wherever it turns up: what the report says comes
 * from many places. One that cannot be read by this user cannot have been read by what it says either.
 */
export async function secretsIn(dataDir: string, options: { uid?: number } = {}): Promise<readonly string[]> {
  const texts = secretFiles.map(async (name) => {
    try {
      return wordsOf((await readPrivateFile(join(dataDir, name), options)).toString('utf8'));
    } catch (error) {
      if (error instanceof FileError) return [];
      throw error;
    }
  });
  return (await Promise.all(texts)).flat();
}

/** The whole text, and the secret in it where it is a credential. */
function wordsOf(text: string): readonly string[] {
  try {
    const { credential } = JSON.parse(text) as { credential?: unknown };
    return typeof credential === 'string' ? [text, credential] : [text];
  } catch {
    // A token, or a key: lines of a key turn up alone.
    return [text, ...text.split('\n').filter((line) => !line.startsWith('-----'))];
  }
}

/** Of a target what says whether it is the right one: never its placements' parameters, which may be secrets. */
export function shownTarget(
  {
    tag,
    acceptedAtMs,
    document,
  }: { readonly tag: string; readonly acceptedAtMs: number; readonly document: TargetDocument },
  refused: object | null,
): Record<string, unknown> {
  const { epoch, serial, issuedAt, notAfter, settings, placements } = document;
  const { name, region, labels, urls } = settings;
  return {
    tag,
    accepted: formatInstant(acceptedAtMs),
    epoch,
    serial,
    issuedAt,
    notAfter,
    settings: { name, region, labels, urls },
    placements: placements.length,
    refused,
  };
}

/** Of `/etc/os-release`, such as `Debian GNU/Linux 12 (bookworm)`; null where there is none. */
export async function systemWords(): Promise<string | null> {
  try {
    const text = await readFile('/etc/os-release', 'utf8');
    return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(text)?.[1] ?? null;
  } catch {
    return null;
  }
}
