/** `holdfast components` */
import type { Command } from 'commander';
import { inventoryRequests } from '../client/inventory.ts';
import type { ComponentSummary } from '../domain/services.ts';
import { parseVersionRange } from '../domain/version.ts';
import type { Flags } from './config.ts';
import {
  action,
  type Context,
  clientOptions,
  collect,
  examples,
  outputOption,
  pageOptions,
} from './context.ts';
import { UsageError } from './exit.ts';
import { showSteps } from './history-steps.ts';
import { type Column, writeTable } from './output.ts';
import { ago, requireMoment } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description('What is installed: packages, operating system, kernel, and Holdfast itself.');
  const ls = command
    .command('ls')
    .summary('list components, of all hosts or of one')
    .description('Lists components with how many hosts have which version; with --host, what is on that one.')
    .option('--host <host>', 'name or id of one host')
    .option('--selector <selector>', 'only of hosts that match, such as "env=prod"')
    .option('--has <range>', 'only of hosts with such a component, as "openssl<3.0.13"; repeatable', collect)
    .option('--as-of <when>', 'as it was then: a time, or "7d" ago')
    .action(
      action(context, async (flags: Flags) => {
        const { host, selector, has, asOf } = flags as ListFlags;
        if (host !== undefined && (selector !== undefined || has !== undefined))
          throw new UsageError(
            'Cannot list components of one host and of many: pass either --host or --selector and --has',
          );
        const at = asOf === undefined ? {} : { asOf: requireMoment(asOf, '--as-of') };
        const filter = {
          ...(selector === undefined ? {} : { selector }),
          ...(has === undefined ? {} : { has: has.map((text) => parseVersionRange(text, '--has')) }),
          ...at,
        };
        await context.ask(flags, 'registry', (client) =>
          host === undefined
            ? context.showList(flags, client, (page) => inventoryRequests.list(filter, page), {
                empty:
                  selector === undefined && has === undefined && asOf === undefined
                    ? 'no components: hosts report theirs shortly after they join'
                    : 'no components match',
                write: (summaries, form) => writeTable(io, summaries, summaryColumns, form),
              })
            : context.showList(flags, client, (page) => inventoryRequests.ofHost(host, page, at), {
                empty: `no components: ${host} ${asOf === undefined ? 'has not reported any yet' : 'had not reported any then'}`,
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
    'components ls --has "openssl<3.0.13" --as-of 7d',
    'components ls --host edge-1 -o json --limit 1000',
  ]);
  defineHistory(command, context);
}

function defineHistory(command: Command, context: Context): void {
  const { io } = context;
  const history = command
    .command('history')
    .summary('what was installed, changed or removed between two moments')
    .description(
      'Lists what differs between two moments; with --host and --steps, each change of that host, and of itself, in the order of time.',
    )
    .requiredOption('--from <when>', 'from when: a time, or "7d" ago')
    .option('--to <when>', 'until when (default: now)')
    .option('--host <host>', 'name or id of one host')
    .option('--selector <selector>', 'only of hosts that match, such as "env=prod"')
    .option('--name <component>', 'only of this component')
    .option('--steps', 'each change, also what was undone in between; needs --host')
    .action(
      action(context, async (flags: Flags) => {
        const { from, to, host, selector, name, steps = false } = flags as unknown as HistoryFlags;
        if (steps && (host === undefined || selector !== undefined || name !== undefined))
          throw new UsageError(
            'Cannot list steps of many: pass --steps with --host, and nothing else to select',
          );
        const stretch = {
          from: requireMoment(from, '--from'),
          ...(to === undefined ? {} : { to: requireMoment(to, '--to') }),
        };
        const filter = {
          ...stretch,
          ...(host === undefined ? {} : { host }),
          ...(selector === undefined ? {} : { selector }),
          ...(name === undefined ? {} : { name }),
        };
        if (steps && host !== undefined) {
          await showSteps(context, flags, { host, stretch });
          return 0;
        }
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => inventoryRequests.differences(filter, page), {
            empty: 'nothing has changed between these moments',
            write: (items, form) => writeTable(io, items, differenceColumns, form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(history)));
  examples(history, [
    'components history --from 7d',
    'components history --from 2026-03-01T00:00:00Z --to 2026-04-01T00:00:00Z --name openssl',
    'components history --from 1d --host edge-1 --steps',
  ]);
}

interface ListFlags {
  readonly host?: string;
  readonly selector?: string;
  readonly has?: readonly string[];
  readonly asOf?: string;
}

interface HistoryFlags {
  readonly from: string;
  readonly to?: string;
  readonly host?: string;
  readonly selector?: string;
  readonly name?: string;
  readonly steps?: boolean;
}

interface TurnRow {
  readonly host: string;
  readonly kind: string;
  readonly name: string;
  readonly detector: string;
  readonly before: { readonly version: string } | null;
  readonly after: { readonly version: string } | null;
}

const differenceColumns: readonly Column<TurnRow>[] = [
  { title: 'HOST', of: ({ host }) => host },
  { title: 'WHAT', of: ({ kind }) => kind },
  { title: 'NAME', of: ({ name }) => name },
  { title: 'BEFORE', of: ({ before }) => before?.version ?? null },
  { title: 'AFTER', of: ({ after }) => after?.version ?? null },
  { title: 'FOUND BY', of: ({ detector }) => detector, wide: true, spare: true },
];

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
