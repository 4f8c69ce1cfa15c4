/** What TAB shall offer, whatever the shell. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A line up to the cursor, and every word that is offered there; without `=` and `/` at the end, paths by their last part. */
export interface Completion {
  readonly line: string;
  readonly offers: readonly string[];
}

/** `folder` is an empty one, into which some files are put. */
export function completions(folder: string): readonly Completion[] {
  mkdirSync(join(folder, 'fleet-keys'));
  writeFileSync(join(folder, 'fleet.backup'), '');
  const part = join(folder, 'fle');
  const files = ['fleet-keys', 'fleet.backup'];
  const hosts = ['get', 'help', 'history', 'label', 'ls', 'rename', 'revoke', 'rm', 'stats'];
  return [
    { line: 'holdfast ho', offers: ['hosts'] },
    { line: 'holdfast re', offers: ['registry', 'releases', 'restore'] },
    { line: 'holdfast hosts ', offers: hosts },
    { line: 'holdfast help ho', offers: ['hosts'] },
    { line: 'holdfast help hosts ', offers: hosts },
    { line: 'holdfast hosts ls --st', offers: ['--stale', '--status'] },
    // "hosts" alone lists them.
    { line: 'holdfast hosts --st', offers: ['--stale', '--status'] },
    { line: 'holdfast hosts rm --st', offers: [] },
    { line: 'holdfast hosts ls -o ', offers: ['json', 'table', 'wide', 'yaml'] },
    { line: 'holdfast hosts ls --url http://x --output=j', offers: ['json'] },
    { line: 'holdfast hosts ls --output json --curs', offers: ['--cursor'] },
    { line: 'holdfast services set --status ', offers: ['DOWN', 'UP'] },
    { line: 'holdfast registry --tls ', offers: ['off', 'own'] },
    { line: 'holdfast registry rotate ', offers: ['ca', 'certificate', 'signing-key'] },
    { line: 'holdfast registry --listen 0.0.0.0:7420 rot', offers: ['rotate'] },
    { line: 'holdfast registry --listen localhost:rot', offers: [] },
    { line: 'holdfast registry --behind-proxy rot', offers: ['rotate'] },
    { line: 'holdfast token create --role o', offers: ['operator'] },
    { line: 'holdfast config print a', offers: ['agent'] },
    { line: 'holdfast completion ', offers: ['bash', 'fish', 'zsh'] },
    { line: `holdfast backup ${part}`, offers: files },
    { line: `holdfast backup --role agent ${part}`, offers: files },
    { line: `holdfast backup x ${part}`, offers: [] },
    { line: `holdfast agent --config ${part}`, offers: files },
    { line: `holdfast agent --data-dir ${part}`, offers: ['fleet-keys'] },
    { line: `holdfast hosts get ${part}`, offers: [] },
    { line: 'holdfast services beat a b ', offers: [] },
  ];
}

/** The words of a shell's answer in the form of `offers`. */
export function offered(lines: readonly string[]): readonly string[] {
  const words = lines
    .filter((line) => line !== '')
    .map((line) => line.replace(/^(--[a-z-]+)=$/, '$1').replace(/^--[a-z-]+=/, ''))
    .map((word) => word.replace(/\/$/, '').split('/').at(-1) ?? '');
  return [...new Set(words)].sort();
}
