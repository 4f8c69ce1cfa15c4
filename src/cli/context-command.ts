/** `holdfast context` */
import type { Command } from 'commander';
import type { Flags } from './config.ts';
import { action, type Context, debugOption, examples, outputOption } from './context.ts';
import { localContext, readContexts, requireContext, writeContexts } from './contexts.ts';
import { writeJson, writeTable, writeYaml } from './output.ts';

interface Row {
  readonly name: string;
  readonly url: string;
  readonly current: boolean;
}

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description(
    `Servers that "holdfast login" knows. Commands ask the current one; "${localContext}" is this machine.`,
  );

  const ls = command
    .command('ls')
    .summary('list contexts')
    .description('Lists the contexts, without their tokens.')
    .action(
      action(context, async (flags: Flags) => {
        const { current, contexts } = await readContexts(io);
        const rows = Object.entries(contexts).map(
          ([name, { url }]): Row => ({ name, url, current: name === current }),
        );
        const text = JSON.stringify({ items: rows });
        if (flags['output'] === 'json') writeJson(io, text);
        else if (flags['output'] === 'yaml') await writeYaml(io, text);
        else if (rows.length === 0) context.say('no contexts: "holdfast login --url URL" makes one');
        else writeTable(io, rows, columns, 'table');
        return 0;
      }),
    );
  outputOption(ls).addOption(debugOption());
  examples(ls, ['context ls']);

  const use = command
    .command('use')
    .argument('<name>', `a context, or ${localContext}`)
    .summary('ask this one from now on')
    .description('Makes a context the one that commands ask when nobody says whom.')
    .action(
      action(context, async (name: string) => {
        const known = await readContexts(io);
        if (name !== localContext) requireContext(known, name);
        await writeContexts(io, { ...known, current: name === localContext ? null : name });
        context.say(
          name === localContext ? 'asking this machine' : `asking ${requireContext(known, name).url}`,
        );
        return 0;
      }),
    );
  use.addOption(debugOption());
  examples(use, ['context use prod', `context use ${localContext}`]);

  const rm = command
    .command('rm')
    .argument('<name>', 'a context')
    .summary('forget one')
    .description('Forgets a context. Its token stays good; "holdfast logout" ends it too.')
    .action(
      action(context, async (name: string) => {
        const known = await readContexts(io);
        requireContext(known, name);
        const { [name]: _gone, ...contexts } = known.contexts;
        await writeContexts(io, { current: known.current === name ? null : known.current, contexts });
        return 0;
      }),
    );
  rm.addOption(debugOption());
  examples(rm, ['context rm prod']);
}

const columns = [
  { title: 'NAME', of: ({ name }: Row) => name },
  { title: 'CURRENT', of: ({ current }: Row) => (current ? 'yes' : null) },
  { title: 'URL', of: ({ url }: Row) => url, whole: true },
];
