/** `holdfast updates` */
import { type Command, Option } from 'commander';
import { updateRequests } from '../client/update.ts';
import type { UpdateFilter } from '../domain/services.ts';
import { type UpdateOrder, updateOrders } from '../domain/update.ts';
import type { ComponentUpdatesDocument, UpdateDocument } from '../wire/update.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption, pageOptions } from './context.ts';
import { exitCodes, UsageError } from './exit.ts';
import { type Column, writeTable } from './output.ts';
import { asOf, asOfOption } from './release-trains.ts';
import { ago } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command
    .description(
      'Shows what is out of date: what is installed, against the latest release of the train that its host follows. That is the label "train/COMPONENT" of the host, else its label "train", else stable. By component for the fleet; with --host, what to install on that one. Exits with 0 when nothing is out of date, with 1 when something is.',
    )
    .option('--host <host>', 'what to install on one host, by name or id')
    .option('--selector <selector>', 'only on hosts that match, such as "env=prod"')
    .option('--component <component>', 'only of this component')
    .addOption(
      new Option('--order <order>', 'what makes a release the latest: the greatest version, or the last date')
        .choices(updateOrders)
        .default('version', 'version'),
    )
    .action(
      action(context, async (flags: Flags) => {
        const filter = filterOf(flags);
        const found = { items: 0, unknown: 0 };
        const page = (document: { readonly items: readonly unknown[]; readonly unknown: number }) => {
          found.items += document.items.length;
          found.unknown = document.unknown;
        };
        const empty = () => nothingWords(found.unknown, filter);
        const now = io.clock.now();
        await context.ask(flags, 'registry', async (client) => {
          if (filter.host === undefined)
            await context.showList(flags, client, (asked) => updateRequests.byComponent(filter, asked), {
              ...{ empty, page },
              write: (items, form) => {
                writeTable(io, items, componentColumns(now), form);
                sayUnknown(context, found.unknown);
              },
            });
          else
            await context.showList(flags, client, (asked) => updateRequests.list(filter, asked), {
              ...{ empty, page },
              write: (items, form) => {
                writeTable(io, items, updateColumns(now), form);
                sayUnknown(context, found.unknown);
              },
            });
        });
        return found.items === 0 ? exitCodes.ok : exitCodes.failed;
      }),
    );
  pageOptions(outputOption(clientOptions(asOfOption(command))));
  examples(command, [
    'updates',
    'updates --host edge-1',
    'updates --selector env=prod --component openssl',
    'updates --order date -o json',
    'updates --as-of 7d',
  ]);
}

function filterOf(flags: Flags): UpdateFilter {
  const { host, selector, component } = flags as Record<string, string | undefined>;
  if (host !== undefined && selector !== undefined)
    throw new UsageError('Cannot show updates of one host and of many: pass either --host or --selector');
  return {
    ...(host === undefined ? {} : { host }),
    ...(selector === undefined ? {} : { selector }),
    ...(component === undefined ? {} : { component }),
    order: flags['order'] as UpdateOrder,
    ...asOf(flags),
  };
}

/** A component that is misspelt is out of date nowhere too. */
function nothingWords(unknown: number, { component }: UpdateFilter): string {
  if (unknown === 0)
    return component === undefined
      ? 'nothing is out of date'
      : `nothing is out of date: "${component}" is the latest wherever it is installed, or installed nowhere`;
  return `nothing is out of date\nnothing is known of ${componentWords(unknown)}: a release makes it known, such as "holdfast releases publish COMPONENT VERSION --train stable"`;
}

function sayUnknown(context: Context, unknown: number): void {
  if (unknown > 0)
    context.say(`nothing is known of ${componentWords(unknown)}: no release is on the train of their hosts`);
}

function componentWords(count: number): string {
  return count === 1 ? '1 installed component' : `${count} installed components`;
}

function componentColumns(now: number): readonly Column<ComponentUpdatesDocument>[] {
  return [
    { title: 'COMPONENT', of: ({ component }) => component },
    { title: 'FOUND BY', of: ({ detector }) => detector, wide: true, spare: true },
    { title: 'TRAIN', of: ({ train }) => train, spare: true },
    { title: 'LATEST', of: ({ latest }) => latest },
    { title: 'RELEASED', of: ({ released }) => ago(released, now), spare: true },
    { title: 'OUT OF DATE', of: ({ hostsOutOfDate }) => hostsOf(hostsOutOfDate) },
    { title: 'UP TO DATE', of: ({ hostsUpToDate }) => hostsOf(hostsUpToDate), spare: true },
    {
      title: 'VERSIONS',
      of: ({ versions }) => versions.map(({ version, hosts }) => `${version} (${hosts})`).join(', '),
      wide: true,
      spare: true,
    },
  ];
}

function updateColumns(now: number): readonly Column<UpdateDocument>[] {
  return [
    { title: 'COMPONENT', of: ({ component }) => component },
    { title: 'INSTALLED', of: ({ installed }) => installed },
    { title: 'LATEST', of: ({ latest }) => latest },
    { title: 'TRAIN', of: ({ train }) => train, spare: true },
    { title: 'RELEASED', of: ({ released }) => ago(released, now), spare: true },
    { title: 'FOUND BY', of: ({ detector }) => detector, wide: true, spare: true },
    { title: 'IMAGE', of: ({ image }) => image, wide: true, spare: true },
  ];
}

function hostsOf(count: number): string {
  return count === 1 ? '1 host' : `${count} hosts`;
}
