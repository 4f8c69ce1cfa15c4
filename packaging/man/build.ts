/** Writes dist/man and dist/completions; `node build.mjs man` calls it. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { completionScript, shells } from '../../src/cli/completion.ts';
import { describe } from '../../src/cli/described.ts';
import { wholeProgram } from '../../src/cli/run.ts';
import { manPages } from './pages.ts';

/** Where each shell's script goes, below dist/completions. */
const scriptNames = { bash: 'holdfast.bash', zsh: '_holdfast', fish: 'holdfast.fish' } as const;

/** `timeMs` is what the pages are dated by. Resolves with how many files there are. */
export async function buildDocuments(options: {
  readonly outDir: string;
  readonly version: string;
  readonly timeMs: number;
}): Promise<{ readonly pages: number; readonly scripts: number }> {
  const { outDir, version, timeMs } = options;
  const pages = await manPages({ version, date: new Date(timeMs).toISOString().slice(0, 10) });
  await writeAll(join(outDir, 'man'), pages);
  const program = describe(await wholeProgram());
  const scripts = new Map(shells.map((shell) => [scriptNames[shell], completionScript(shell, program)]));
  await writeAll(join(outDir, 'completions'), scripts);
  return { pages: pages.size, scripts: scripts.size };
}

async function writeAll(folder: string, files: ReadonlyMap<string, string>): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [name, text] of files) await writeFile(join(folder, name), text);
}
