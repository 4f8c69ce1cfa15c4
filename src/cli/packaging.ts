/** The files of packaging/ that the binary carries: units, users, and examples of configuration. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Path below packaging/ → text; written in by build.mjs. */
declare const __HOLDFAST_PACKAGING__: Readonly<Record<string, string>> | undefined;

export const packagingFiles = [
  'systemd/holdfast-agent.service',
  'systemd/holdfast-registry.service',
  'systemd/holdfast-runner.service',
  'systemd/holdfast.sysusers.conf',
  'examples/agent.yaml',
  'examples/registry.yaml',
] as const;

/** Its text; run from the sources, that of the file. */
export function packagingText(name: (typeof packagingFiles)[number]): string {
  if (typeof __HOLDFAST_PACKAGING__ === 'undefined')
    return readFileSync(join(import.meta.dirname, '../../packaging', name), 'utf8');
  const text = __HOLDFAST_PACKAGING__[name];
  if (text === undefined) throw new Error(`packaging/${name} is not in this binary`);
  return text;
}
