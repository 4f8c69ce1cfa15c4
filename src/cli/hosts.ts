/** `holdfast hosts` */
import type { Command } from 'commander';
import { hostRequests } from '../client/host.ts';
import type { HostDocument } from '../domain/host.ts';
import type { HostFilter } from '../domain/services.ts';
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
import { type Column, writeRecord, writeTable } from './output.ts';
import { ago, statusWords } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description('Hosts of the fleet: machines with an agent.');

  const ls = command
    .command('ls')
    .summary('list hosts')
    .description('Lists hosts by name. A repeated filter matches any of its values.')
    .option('--name <name>', 'only this host', collect)
    .option('--region <region>', 'only hosts of this region', collect)
    .option('--status <status>', 'UP or DOWN', collect)
    .action(
      action(context, async (flags: Flags) => {
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => hostRequests.list(filterOf(flags), page), {
            empty: 'no hosts: one joins with "holdfast agent --registry URL --token-file FILE"',
            write: (hosts, form) => writeTable(io, hosts, columns(io.clock.now()), form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(ls)));
  examples(ls, ['hosts ls', 'hosts ls --status DOWN', 'hosts ls --region eu-west -o wide']);

  const get = command
    .command('get')
    .argument('<host>', 'name or id')
    .summary('show one host')
    .description('Shows one host.')
    .action(
      action(context, async (host: string, flags: Flags) => {
        await context.ask(flags, 'registry', async (client) => {
          await context.show(flags, await client.call(hostRequests.get(host)), (document) =>
            writeRecord(io, fields(document, io.clock.now())),
          );
        });
        return 0;
      }),
    );
  outputOption(clientOptions(get));
  examples(get, ['hosts get edge-1', 'hosts get edge-1 -o json']);
}

function filterOf(flags: Flags): HostFilter {
  const { name, region, status } = flags as Record<string, string[] | undefined>;
  return {
    ...(name === undefined ? {} : { name }),
    ...(region === undefined ? {} : { region }),
    ...(status === undefined ? {} : { status: status as ('UP' | 'DOWN')[] }),
  };
}

function columns(now: number): Column<HostDocument>[] {
  return [
    { title: 'NAME', of: (host) => host.name },
    { title: 'STATUS', of: statusWords, status: true },
    { title: 'REGION', of: (host) => host.region, spare: true },
    { title: 'SEEN', of: (host) => ago(host.lastSeen, now) },
    { title: 'CONFIRMED', of: (host) => (host.confirmed ? 'yes' : 'no'), wide: true, spare: true },
    { title: 'FIRST SEEN', of: (host) => host.firstSeen, wide: true, spare: true },
    { title: 'ID', of: (host) => host.id, whole: true },
  ];
}

function fields(host: HostDocument, now: number): (readonly [string, string | null])[] {
  const pairs = (map: Readonly<Record<string, string>>) =>
    Object.entries(map)
      .map(([key, value]) => `${key}=${value}`)
      .join(' ') || null;
  return [
    ['name', host.name],
    ['status', statusWords(host)],
    ['region', host.region],
    ['labels', pairs(host.labels)],
    ['self', pairs(host.self)],
    ['confirmed', host.confirmed ? 'yes' : 'no: nothing heard since the registry started'],
    ['first seen', host.firstSeen],
    ['last seen', ago(host.lastSeen, now)],
    ['id', host.id],
  ];
}
