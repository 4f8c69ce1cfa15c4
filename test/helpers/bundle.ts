/** The program as one file, for tests that start it a hundred times: a start takes a third of that from the sources. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { ProcessOptions } from './process.ts';

const root = join(import.meta.dirname, '../..');

/** Writes it into `folder`; what comes back starts it with `startProcess`. */
export async function bundleProgram(
  folder: string,
): Promise<Required<Pick<ProcessOptions, 'command' | 'env'>>> {
  const outfile = join(folder, 'holdfast.cjs');
  await build({
    entryPoints: [join(root, 'src/main.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    logLevel: 'warning',
    // One is native, the other optional and never installed.
    external: ['better-sqlite3', 'pg-native'],
    define: { __HOLDFAST_MIGRATIONS__: JSON.stringify(migrationTexts()), 'import.meta.dirname': '""' },
  });
  return { command: [process.execPath, outfile], env: { NODE_PATH: join(root, 'node_modules') } };
}

/** As build.mjs writes them into its bundles. */
function migrationTexts(): Record<string, string> {
  const names = ['agent', 'registry'].flatMap((store) =>
    readdirSync(join(root, 'migrations', store)).map((name) => `${store}/${name}`),
  );
  return Object.fromEntries(
    names.sort().map((name) => [name, readFileSync(join(root, 'migrations', name), 'utf8')]),
  );
}
