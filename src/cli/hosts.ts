/** `holdfast hosts` */
import type { Command } from 'commander';
import { hostRequests } from '../client/host.ts';
import type { Answer } from '../client/request.ts';
import type { HostDocument } from '../domain/host.ts';
import type { HostPatch } from '../domain/host-change.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption, pageOptions } from './context.ts';
import { UsageError } from './exit.ts';
import { asOfFlag, asOfOption, hostFilterOf, hostFilterOptions, isFiltered } from './host-filter.ts';
import { defineHistory, defineStats } from './hosts-history.ts';
import { type Column, writeRecord, writeTable } from './output.ts';
import { ago, statusWords } from './words.ts';

export function define(command: Command, context: Context): void {
  command.description('Hosts of the fleet: machines with an agent.');
  defineLs(command, context);
  defineGet(command, context);
  defineLabel(command, context);
  defineRename(command, context);
  defineRevoke(command, context);
  defineRm(command, context);
  defineHistory(command, context);
  defineStats(command, context);
}

function defineLs(command: Command, context: Context): void {
  const { io } = context;
  const ls = command
    .command('ls')
    .summary('list hosts')
    .description('Lists hosts by name. A repeated filter matches any of its values.')
    .action(
      action(context, async (flags: Flags) => {
        const filter = hostFilterOf(flags);
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => hostRequests.list(filter, page), {
            empty: emptyWords(flags),
            write: (hosts, form) => writeTable(io, hosts, columns(io.clock.now()), form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(hostFilterOptions(ls))));
  examples(ls, [
    'hosts ls',
    'hosts ls --status DOWN',
    'hosts ls --selector env=prod,@region=eu-west',
    'hosts ls --region eu-west -o wide',
    'hosts ls --stale 7d',
    'hosts ls --has "openssl<3.0.13"',
    'hosts ls --as-of 2026-01-31T09:30:00Z',
    'hosts ls --created-after 2026-01-01T00:00:00Z --seen-after 1d',
  ]);
}

function defineGet(command: Command, context: Context): void {
  const get = command
    .command('get')
    .argument('<host>', 'name or id')
    .summary('show one host')
    .description('Shows one host, with its labels and what it says of itself.')
    .action(
      action(context, async (host: string, flags: Flags) => {
        const asOf = asOfFlag(flags);
        await context.ask(flags, 'registry', async (client) => {
          await showHost(context, flags, await client.call(hostRequests.get(host, asOf)));
        });
        return 0;
      }),
    );
  asOfOption(outputOption(clientOptions(get)));
  examples(get, ['hosts get edge-1', 'hosts get edge-1 -o json', 'hosts get edge-1 --as-of 7d']);
}

function defineLabel(command: Command, context: Context): void {
  const label = command
    .command('label')
    .argument('<host>', 'name or id')
    .argument('[labels...]', 'key=value sets one, key- removes one; none shows them')
    .summary('set and remove labels, or the region')
    .description(
      'Sets and removes labels of a host: what selectors choose it by. What a host says of itself is not changed here.',
    )
    .option('--region <region>', 'the region that it is in')
    .option('--no-region', 'it is in no region')
    .option('--if-version <n>', 'only if this is still its version, else exit 4')
    .action(
      action(context, async (host: string, given: string[], flags: Flags) => {
        const patch = patchOf(given, flags);
        await context.ask(flags, 'registry', async (client) => {
          const changes = patch.labels !== undefined || patch.region !== undefined;
          const request = changes ? hostRequests.change(host, patch) : hostRequests.get(host);
          const before = changes ? (await client.call(hostRequests.get(host))).document : undefined;
          const answer = await client.call(request);
          await showHost(context, flags, answer);
          if (before === undefined) return;
          const { labels, region } = answer.document;
          const isSame = pairs(before.labels) === pairs(labels) && before.region === region;
          context.say(isSame ? 'nothing to change: it is so already' : 'labelled');
        });
        return 0;
      }),
    );
  outputOption(clientOptions(label));
  examples(label, [
    'hosts label edge-1 env=prod tier=web',
    'hosts label edge-1 tier- --region eu-west',
    'hosts label edge-1',
  ]);
}

function defineRename(command: Command, context: Context): void {
  const rename = command
    .command('rename')
    .argument('<host>', 'name or id')
    .argument('<name>', 'what it is called from now on')
    .summary('give a host another name')
    .description(
      'Renames a host. What is registered on it follows; its agent calls itself so as soon as it hears of it.',
    )
    .option('--if-version <n>', 'only if this is still its version, else exit 4')
    .action(
      action(context, async (host: string, name: string, flags: Flags) => {
        await context.ask(flags, 'registry', async (client) => {
          const answer = await client.call(hostRequests.change(host, { name, ...versionOf(flags) }));
          await showHost(context, flags, answer);
          const { name: called } = answer.document;
          const why = ' (host names are of a-z, 0-9, "." and "-")';
          context.say(`renamed to ${called}${called === name ? '' : why}`);
        });
        return 0;
      }),
    );
  outputOption(clientOptions(rename));
  examples(rename, ['hosts rename edge-1 shop-17']);
}

function defineRevoke(command: Command, context: Context): void {
  const revoke = command
    .command('revoke')
    .argument('<host>', 'name or id')
    .summary('end the credentials of a host at once')
    .description(
      'Ends every credential of a host at once, also on its open connections. The host stays known, with all that is registered on it, and may come back with a new join token.',
    )
    .action(
      action(context, async (host: string, flags: Flags) => {
        await context.ask(flags, 'registry', async (client) => {
          await client.call(hostRequests.revoke(host));
          context.say('revoked: it is turned away from now on; "hosts rm" forgets it');
        });
        return 0;
      }),
    );
  clientOptions(revoke);
  examples(revoke, ['hosts revoke edge-1']);
}

function defineRm(command: Command, context: Context): void {
  const rm = command
    .command('rm')
    .argument('<host>', 'name or id')
    .summary('forget a host, and all that is on it')
    .description(
      'Removes a host with its service records, components and credentials. An agent that still runs there is turned away until it joins anew.',
    )
    .option('--if-version <n>', 'only if this is still its version, else exit 4')
    .action(
      action(context, async (host: string, flags: Flags) => {
        const { version } = versionOf(flags);
        await context.ask(flags, 'registry', async (client) => {
          await client.call(hostRequests.remove(host, version === undefined ? null : [version]));
          context.say('removed');
        });
        return 0;
      }),
    );
  clientOptions(rm);
  examples(rm, ['hosts rm edge-1', 'hosts rm 0190a1b2-0000-7000-8000-00000000000a']);
}

function showHost(context: Context, flags: Flags, answer: Answer<HostDocument>): Promise<void> {
  const { io } = context;
  return context.show(flags, answer, (document) => writeRecord(io, fields(document, io.clock.now())));
}

function patchOf(given: readonly string[], flags: Flags): HostPatch {
  const labels = given.map(readLabel);
  const region = flags['region'] as string | boolean | undefined;
  return {
    ...(labels.length === 0 ? {} : { labels: Object.fromEntries(labels) }),
    ...(region === false ? { region: null } : {}),
    ...(typeof region === 'string' ? { region } : {}),
    ...versionOf(flags),
  };
}

/** `env=prod` sets, `env-` removes. */
function readLabel(text: string): [key: string, value: string | null] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  if (at === -1 && text.length > 1 && text.endsWith('-')) return [text.slice(0, -1), null];
  throw new UsageError(`Cannot read the label "${text}": expected key=value to set one, key- to remove one`);
}

function versionOf(flags: Flags): { version?: number } {
  const text = flags['ifVersion'] as string | undefined;
  if (text === undefined) return {};
  if (!/^\d{1,15}$/.test(text))
    throw new UsageError(`Cannot compare with version "${text}": expected a number`);
  return { version: Number(text) };
}

/** Whoever filtered has hosts; whoever did not learns how to get one. */
function emptyWords(flags: Flags): string {
  return isFiltered(flags) ? 'no hosts match' : 'no hosts: "holdfast token create --role host" lets one join';
}

function columns(now: number): Column<HostDocument>[] {
  return [
    { title: 'NAME', of: (host) => host.name },
    { title: 'STATUS', of: statusOf, status: true },
    { title: 'REGION', of: (host) => host.region, spare: true },
    { title: 'LABELS', of: (host) => pairs(host.labels), wide: true, spare: true },
    { title: 'SEEN', of: (host) => ago(host.lastSeen, now) },
    { title: 'CONFIRMED', of: (host) => (host.confirmed ? 'yes' : 'no'), wide: true, spare: true },
    { title: 'AGE', of: (host) => ageOf(host, now), wide: true, spare: true },
    { title: 'CHECK-INS', of: (host) => String(host.checkins), wide: true, spare: true },
    { title: 'FIRST SEEN', of: (host) => host.firstSeen, wide: true, spare: true },
    { title: 'ID', of: (host) => host.id, whole: true },
  ];
}

function fields(host: HostDocument, now: number): (readonly [string, string | null])[] {
  return [
    ['name', host.name],
    ['status', statusWords(host)],
    ['credentials', host.revokedAt === null ? 'in force' : `revoked ${ago(host.revokedAt, now) ?? ''}`],
    ...(host.conflict === null ? [] : ([['conflict', conflictWords]] as const)),
    ['region', host.region],
    ['labels', pairs(host.labels)],
    ['self', pairs(host.self)],
    ['confirmed', host.confirmed ? 'yes' : 'no: nothing heard since the registry started'],
    ['first seen', host.firstSeen],
    ['age', ageOf(host, now)],
    ['last seen', ago(host.lastSeen, now)],
    ['check-ins', checkInWords(host, now)],
    ['id', host.id],
  ];
}

/** `12 d`; within the first day in hours. */
function ageOf({ firstSeen }: HostDocument, now: number): string {
  const hours = Math.max(0, Math.floor((now - Date.parse(firstSeen)) / 3_600_000));
  return hours < 24 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

function checkInWords({ checkins, lastCheckin }: HostDocument, now: number): string {
  return lastCheckin === null ? `${checkins}` : `${checkins}, the last ${ago(lastCheckin, now)}`;
}

const conflictWords = 'clone: more than one machine claims to be this host';

/** A host that is turned away, or that two machines claim to be, stands out in a list. */
function statusOf(host: HostDocument): string {
  const more = [
    ...(host.revokedAt === null ? [] : ['revoked']),
    ...(host.conflict === null ? [] : [host.conflict]),
  ];
  return [statusWords(host), ...more].join(', ');
}

function pairs(map: Readonly<Record<string, string>>): string | null {
  const texts = Object.entries(map).map(([key, value]) => `${key}=${value}`);
  return texts.length === 0 ? null : texts.join(' ');
}
