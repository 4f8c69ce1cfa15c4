/** `holdfast releases trains`, `follow` and `unfollow`. */
import { type Command, Option } from 'commander';
import { formatDuration } from '../base/time.ts';
import { trainRequests } from '../client/train.ts';
import type { AsOf } from '../domain/services.ts';
import type { TrainDocument } from '../domain/train.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption, pageOptions } from './context.ts';
import { type Column, writeRecord, writeTable } from './output.ts';
import { ago, requireDuration, requireMoment } from './words.ts';

/** Adds them to `releases`. */
export function defineTrains(command: Command, context: Context): void {
  defineLs(command, context);
  defineFollow(command, context);
  defineUnfollow(command, context);
}

/** `--train`, which every command about one needs. */
export function trainOption(command: Command): Command {
  return command.addOption(
    new Option('--train <train>', 'the line of versions, such as stable').makeOptionMandatory(),
  );
}

/** `--as-of`, for commands that show what is published. */
export function asOfOption(command: Command): Command {
  return command.option('--as-of <when>', 'as it was then: a time, or "7d" ago');
}

/** What `--as-of` says. `UsageError` for what is no moment. */
export function asOf(flags: Flags): AsOf {
  const text = flags['asOf'] as string | undefined;
  return text === undefined ? {} : { asOf: requireMoment(text, '--as-of') };
}

export function trainOf(flags: Flags): string {
  return flags['train'] as string;
}

function defineLs(command: Command, context: Context): void {
  const { io } = context;
  const trains = command
    .command('trains')
    .argument('<component>', 'such as shop/api')
    .summary('list the trains of a component')
    .description('Lists the trains of a component: those with releases, and those that follow others.')
    .action(
      action(context, async (component: string, flags: Flags) => {
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => trainRequests.list(component, page, asOf(flags)), {
            empty: `no trains: nothing of ${component} is published`,
            write: (found, form) => writeTable(io, found as readonly TrainDocument[], columns, form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(asOfOption(trains))));
  examples(trains, ['releases trains shop/api']);
}

function defineFollow(command: Command, context: Context): void {
  const { io } = context;
  const follow = trainOption(
    command
      .command('follow')
      .argument('<component>', 'such as shop/api')
      .argument('<other>', 'the train whose releases arrive on this one'),
  )
    .summary('let a train follow another one')
    .description(
      'Lets a train follow another one, and no other than that: each of its releases arrives once it has been out for the delay. What is published on the following train itself arrives at once. Needs the role operator.',
    )
    .option('--delay <duration>', 'how long a release has to be out, such as 7d', '0s')
    .action(
      action(context, async (component: string, follows: string, flags: Flags) => {
        const delayMs = requireDuration(flags['delay'] as string, '--delay');
        await context.ask(flags, 'registry', async (client) => {
          const key = { component, train: trainOf(flags) };
          const answer = await client.call(trainRequests.follow(key, { follows, delayMs }, null));
          await context.show(flags, answer, (document) => writeRecord(io, fields(document, io.clock.now())));
        });
        return 0;
      }),
    );
  outputOption(clientOptions(follow));
  examples(follow, ['releases follow shop/api beta --train stable --delay 7d']);
}

function defineUnfollow(command: Command, context: Context): void {
  const unfollow = trainOption(command.command('unfollow').argument('<component>', 'such as shop/api'))
    .summary('let a train follow none any more')
    .description(
      'Lets a train follow none any more: what arrived from the other one is gone from it, what is published on it itself stays.',
    )
    .action(
      action(context, async (component: string, flags: Flags) => {
        const train = trainOf(flags);
        await context.ask(flags, 'registry', async (client) => {
          await client.call(trainRequests.unfollow({ component, train }, null));
          context.say(`train ${train} follows none any more`);
        });
        return 0;
      }),
    );
  clientOptions(unfollow);
  examples(unfollow, ['releases unfollow shop/api --train stable']);
}

const columns: readonly Column<TrainDocument>[] = [
  { title: 'TRAIN', of: ({ train }) => train },
  { title: 'FOLLOWS', of: ({ follows }) => follows },
  { title: 'DELAY', of: delayWords },
  { title: 'CHANGED', of: ({ changedAt }) => changedAt, wide: true, spare: true },
];

function fields(train: TrainDocument, now: number): (readonly [string, string | null])[] {
  return [
    ['component', train.component],
    ['train', train.train],
    ['follows', train.follows],
    ['delay', delayWords(train)],
    ['changed', ago(train.changedAt, now)],
  ];
}

function delayWords({ follows, delayMs }: TrainDocument): string | null {
  return follows === null ? null : delayMs === 0 ? 'none' : formatDuration(delayMs);
}
