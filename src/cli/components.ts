/** `holdfast components` */
import type { Command } from 'commander';
import { inventoryRequests } from '../client/inventory.ts';
import type { ComponentSummary } from '../domain/services.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption, pageOptions } from './context.ts';
import { UsageError } from './exit.ts';
import { type Column, writeTable } from './output.ts';
import { ago } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description('What is installed: packages, operating system, kernel, and Holdfast itself.');
  const ls = command
    .command('ls')
    .summary('list components, of all hosts or of one')
    .description('Lists components with how many hosts have which version; with --host, what is on that one.')
    .option('--host <host>', 'name or id of one host')
    .option('--selector <selector>', 'only of hosts that match, such as "env=prod"')
    .action(
      action(context, async (flags: Flags) => {
        const { host, selector } = flags as { host?: string; selector?: string };
        if (host !== undefined && selector !== undefined)
          throw new UsageError(
            'Cannot list components of one host and of many: pass either --host or --selector',
          );
        await context.ask(flags, 'registry', (client) =>
          host === undefined
            ? context.showList(
                flags,
                client,
                (page) => inventoryRequests.list(selector === undefined ? {} : { selector }, page),
                {
                  empty: 'no components: hosts report theirs shortly after they join',
                  write: (summaries, form) => writeTable(io, summaries, summaryColumns, form),
                },
              )
            : context.showList(flags, client, (page) => inventoryRequests.ofHost(host, page), {
                empty: `no components: ${host} has not reported any yet`,
                write: (components, form) =>
                  writeTable(io, components, componentColumns(io.clock.now()), form),
              }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(ls)));
  examples(ls, [
    'components ls',
    'components ls --host edge-1',
    'components ls --selector env=prod,tier=web',
    'components ls --host edge-1 -o json --limit 1000',
  ]);
}

interface ComponentRow {
  readonly name: string;
  readonly version: string;
  readonly detector: string;
  readonly architecture?: string;
  readonly firstSeen: string;
  readonly changedAt: string;
}

const summaryColumns: readonly Column<ComponentSummary>[] = [
  { title: 'NAME', of: ({ name }) => name },
  { title: 'HOSTS', of: ({ versions }) => String(versions.reduce((sum, { hosts }) => sum + hosts, 0)) },
  {
    title: 'VERSIONS',
    of: ({ versions }) => versions.map(({ version, hosts }) => `${version} (${hosts})`).join(', '),
  },
];

function componentColumns(now: number): readonly Column<ComponentRow>[] {
  return [
    { title: 'NAME', of: ({ name }) => name },
    { title: 'VERSION', of: ({ version }) => version },
    { title: 'FOUND BY', of: ({ detector }) => detector },
    { title: 'ARCHITECTURE', of: ({ architecture }) => architecture ?? null, wide: true, spare: true },
    { title: 'FIRST SEEN', of: ({ firstSeen }) => firstSeen, wide: true, spare: true },
    { title: 'CHANGED', of: ({ changedAt }) => ago(changedAt, now) },
  ];
}
