/** `holdfast watch`, and the lines in which changes are told. */
import type { Command } from 'commander';
import { formatDuration } from '../base/time.ts';
import type { WatchUpdate } from '../client/watch.ts';
import { AppError } from '../domain/error.ts';
import type { ChangeEvent, Selection } from '../domain/event.ts';
import type { SnapshotItem } from '../domain/services.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, collect, examples, outputOption } from './context.ts';
import { type ExitCode, UsageError } from './exit.ts';
import type { Io } from './io.ts';
import { hasColors, paint, paintStatus, printable, writeYaml } from './output.ts';

export function define(command: Command, context: Context): void {
  watchOptions(command)
    .description(
      'Shows changes as they happen, of the local agent or whomever --url names. It survives lost connections: nothing is left out or told twice.',
    )
    .option('--type <type>', 'only these events, such as host.lapsed or service.* (repeatable)', collect)
    .option('--hosts <selector>', 'only events of hosts that match, such as "@region=eu-west"')
    .action(
      action(context, async (flags: Flags) => {
        const { type, hosts } = flags as { type?: string[]; hosts?: string };
        return follow(context, flags, {
          ...(type === undefined ? {} : { types: type }),
          ...(hosts === undefined ? {} : { hosts }),
        });
      }),
    );
  examples(command, [
    'watch',
    'watch --type "service.*" --snapshot',
    'watch --since 1767225600000.42 -o json',
  ]);
}

/** Options of every command that watches. */
export function watchOptions(command: Command): Command {
  command
    .optionsGroup('What to tell:')
    .option('--snapshot', 'first how everything is, then what changes')
    .option('--since <position>', 'everything after this position of the log')
    .option('--count <n>', 'stop after n changes');
  return outputOption(clientOptions(command)).optionsGroup('What to tell:');
}

/** Tells what is selected until `--count`, Ctrl-C (0), or an end that the server makes. */
export async function follow(context: Context, flags: Flags, select: Selection): Promise<ExitCode> {
  const { io } = context;
  const count = countOf(flags);
  const tell = tellerOf(io, flags);
  try {
    return await context.ask(flags, 'agent', async (client): Promise<ExitCode> => {
      let told = 0;
      let wasLost = false;
      // Programs decide themselves what a gap means to them; people are shown how things are now.
      const onGap = flags['output'] === 'table' || flags['output'] === 'wide' ? 'resnapshot' : 'end';
      const updates = client.watch({
        select,
        ...(flags['since'] === undefined ? {} : { since: flags['since'] as string }),
        snapshot: flags['snapshot'] === true,
        onGap: flags['since'] === undefined ? onGap : 'end',
        onLink: (link) => {
          // Who waits at a terminal wants to know that there is something to wait for.
          if (link.up && wasLost) context.say('connected again');
          else if (link.up && io.stderr.columns !== undefined) context.say('watching; Ctrl-C ends');
          wasLost = !link.up;
          if (!link.up)
            context.say(`${link.error.message}; trying again in ${Math.ceil(link.retryMs / 1_000)} s`);
        },
      });
      for await (const update of updates) {
        await tell(update);
        if (update.kind === 'compacted') {
          if (onGap === 'end' || flags['since'] !== undefined) {
            throw new AppError(
              'compacted',
              `Cannot tell what came after that position: the log begins at ${update.oldest}; start anew with --snapshot`,
            );
          }
          context.say('the log no longer goes back that far; this is how things are now:');
        }
        if (update.kind === 'reset') {
          if (onGap === 'end' || flags['since'] !== undefined) {
            throw new AppError(
              'compacted',
              'Cannot go on from that position: the store began a new life; start anew with --snapshot',
            );
          }
          context.say('the store began a new life; this is how things are now:');
        }
        if (update.kind === 'events') told += update.events.length;
        if (told >= count) break;
      }
      return 0;
    });
  } catch (error) {
    if (io.signal.aborted) return 0;
    throw error;
  }
}

/** JSON: each message as one line. People get a line for each change. */
function tellerOf(io: Io, flags: Flags): (update: WatchUpdate) => Promise<void> {
  if (flags['output'] === 'json') return async (update) => io.stdout.write(`${JSON.stringify(update)}\n`);
  if (flags['output'] === 'yaml') {
    return async (update) => {
      io.stdout.write('---\n');
      await writeYaml(io, JSON.stringify(update));
    };
  }
  const colors = hasColors(io, io.stdout);
  return async (update) => {
    if (update.kind === 'events')
      for (const line of eventLines(update.events, colors)) io.stdout.write(`${line}\n`);
    if (update.kind === 'snapshot')
      for (const item of update.items) io.stdout.write(`${snapshotLine(item, colors)}\n`);
  };
}

/** More alike events of one revision than this are told in one line: a new host installs a thousand components at once. */
const alikeMax = 5;

/** A line for each event; many of one type in one revision share one. */
export function eventLines(events: readonly ChangeEvent[], colors: boolean): string[] {
  const groups = new Map<string, ChangeEvent[]>();
  for (const event of events) {
    const key = `${event.position} ${event.type} ${event.host}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [event]);
    else group.push(event);
  }
  return [...groups.values()].flatMap((alike) => {
    const [first] = alike;
    if (first === undefined || alike.length <= alikeMax)
      return alike.map((event) => eventLine(event, colors));
    return [`${eventLine(first, colors)}, and ${alike.length - 1} more`];
  });
}

/** `12:03:01Z service.lapsed       web on edge-1 is DOWN (lapsed)` */
export function eventLine(event: ChangeEvent, colors: boolean): string {
  const time = paint(colors, 'dim', `${event.at.slice(11, 19)}Z`);
  return `${time} ${event.type.padEnd(typeWidth)} ${sentence(event, colors)}`;
}

const typeWidth = 20;

function snapshotLine(item: SnapshotItem, colors: boolean): string {
  const body = item.body as Body;
  const subject = item.kind === 'service' ? `${body.type} on ${body.host}` : String(body.name);
  return `${' '.repeat(9)} ${item.kind.padEnd(typeWidth)} ${printable(subject)} is ${statusOf(body, colors)}`;
}

/** The members of records that the lines use; which are there depends on the event. */
interface Body {
  readonly type?: unknown;
  readonly host?: unknown;
  readonly name?: unknown;
  readonly version?: unknown;
  readonly component?: unknown;
  readonly train?: unknown;
  readonly follows?: unknown;
  readonly delayMs?: unknown;
  readonly status?: unknown;
  readonly reason?: unknown;
  readonly maintenance?: {
    readonly start: string;
    readonly end: string | null;
    readonly note: string | null;
  } | null;
}

function sentence(event: ChangeEvent, colors: boolean): string {
  const body = (typeof event.body === 'object' && event.body !== null ? event.body : {}) as Body;
  const [family] = event.type.split('.');
  const place = event.host === undefined ? '' : ` on ${printable(event.host)}`;
  switch (family) {
    case 'service': {
      const subject = `${printable(event.service ?? String(body.type))}${place}`;
      if (event.type === 'service.deleted' || event.type === 'service.taken-over') return subject;
      return `${subject} is ${statusOf(body, colors)}${event.type === 'service.maintained' ? maintenanceOf(body) : ''}`;
    }
    case 'host':
      return `${printable(event.host ?? String(body.name))} is ${statusOf(body, colors)}`;
    case 'component':
      return `${printable(String(body.name))} ${printable(String(body.version))}${place}`;
    case 'release':
      return `${printable(String(body.component))} ${releaseWords(event.type, body)}`;
    default:
      return printable(JSON.stringify(event.body)) + place;
  }
}

/** `1.4.2 on train stable`, `train stable follows beta after 7d` */
function releaseWords(type: ChangeEvent['type'], body: Body): string {
  const train = `train ${printable(String(body.train))}`;
  if (type === 'release.unfollowed') return `${train} follows none any more`;
  if (type !== 'release.followed') return `${printable(String(body.version))} on ${train}`;
  const delayMs = Number(body.delayMs);
  return `${train} follows ${printable(String(body.follows))}${delayMs > 0 ? ` after ${formatDuration(delayMs)}` : ''}`;
}

function statusOf({ status, reason }: Body, colors: boolean): string {
  const word = paintStatus(colors, printable(String(status)));
  return typeof reason === 'string' ? `${word} (${printable(reason)})` : word;
}

function maintenanceOf({ maintenance }: Body): string {
  if (maintenance === null || maintenance === undefined) return ', maintenance ended';
  const until = maintenance.end === null ? '' : ` to ${maintenance.end}`;
  return `, maintenance from ${maintenance.start}${until}${maintenance.note === null ? '' : `: ${printable(maintenance.note)}`}`;
}

function countOf(flags: Flags): number {
  const text = flags['count'] as string | undefined;
  if (text === undefined) return Number.POSITIVE_INFINITY;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(`Cannot count to "${text}": --count wants a number from 1`);
}
