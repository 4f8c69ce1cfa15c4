/**
 * All man pages, from the command table and the table of settings: file name → roff. Deliberately without groff or any
 * other tool, so that every machine that builds can make them.
 */
import { describe } from '../../src/cli/described.ts';
import { wholeProgram } from '../../src/cli/run.ts';
import { commandPage, sectionOf } from './command-page.ts';
import { mainPage } from './main-page.ts';
import { yamlPage } from './yaml-page.ts';

/** `date` as `2026-11-20`. */
export async function manPages(head: {
  readonly version: string;
  readonly date: string;
}): Promise<ReadonlyMap<string, string>> {
  const program = describe(await wholeProgram());
  const names = program.commands.map(({ path: [name = ''] }) => name);
  return new Map([
    ['holdfast.1', mainPage(program, head)],
    ...program.commands.map((command): [string, string] => {
      const [name = ''] = command.path;
      return [`holdfast-${name}.${sectionOf(name)}`, commandPage(command, { ...head, names })];
    }),
    ['holdfast.yaml.5', yamlPage(head)],
  ]);
}
