/** `holdfast releases` */
import { type Command, Option } from 'commander';
import { releaseRequests } from '../client/release.ts';
import type { Answer } from '../client/request.ts';
import {
  type LatestOrder,
  latestOrders,
  type ReleaseContent,
  type ReleaseDocument,
  type ReleaseKey,
} from '../domain/release.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption, pageOptions } from './context.ts';
import { readGiven, requireObject } from './given.ts';
import type { Io } from './io.ts';
import { type Column, printable, writeRecord, writeTable } from './output.ts';
import { asOf, asOfOption, defineTrains, trainOf, trainOption } from './release-trains.ts';
import { ago, requireInstant } from './words.ts';

export function define(command: Command, context: Context): void {
  command.description(
    'What is released: versions of components on trains, such as stable and beta. Whoever publishes needs the role publisher.',
  );
  definePublish(command, context);
  defineLatest(command, context);
  defineLs(command, context);
  defineGet(command, context);
  defineWithdraw(command, context);
  defineTrains(command, context);
}

function definePublish(command: Command, context: Context): void {
  const { io } = context;
  const publish = trainOption(
    command
      .command('publish')
      .argument('<component>', 'such as shop/api, or the name of a package')
      .argument('<version>', 'any text but "latest"'),
  )
    .summary('publish a version, or replace what is published of it')
    .description(
      'Publishes a version: creates the release, or replaces it with what is given now. The same again changes nothing, so a CI step may simply run again.',
    )
    .option('--notes <text>', 'what is in it; @FILE reads it from there, - or @- from stdin')
    .option('--fixes <text>', 'what it mends; likewise')
    .option('--image <text>', 'where it is got')
    .option('--data <json>', 'whatever else there is to know, a JSON object; likewise @FILE, @-')
    .option('--released <time>', 'when it came out, with a zone (default: as published before, or now)')
    .action(
      action(context, async (component: string, version: string, flags: Flags) => {
        const content = await contentOf(io, flags);
        const key = { component, train: trainOf(flags), version };
        await context.ask(flags, 'registry', async (client) => {
          const answer = await client.call(releaseRequests.publish(key, content));
          await showRelease(context, flags, answer);
          context.say(answer.status === 201 ? 'published' : 'it was published before; it is as given now');
        });
        return 0;
      }),
    );
  outputOption(clientOptions(publish));
  examples(publish, [
    'releases publish shop/api 1.4.2 --train stable --notes @CHANGES',
    'releases publish shop/api 1.5.0-rc.1 --train beta --image quay.io/shop/api:1.5.0-rc.1',
    'releases publish shop/api 1.4.1 --train stable --released 2026-01-31T09:30:00Z --data @build.json',
  ]);
}

function defineLatest(command: Command, context: Context): void {
  const latest = trainOption(command.command('latest').argument('<component>', 'such as shop/api'))
    .summary('show the latest release of a train')
    .description(
      'Shows the release of a train that arrived last, or the one with the highest version. Of a train that follows another one, also what has arrived from there.',
    )
    .addOption(
      new Option('--by <order>', 'what makes it the latest').choices(latestOrders).default('date', 'date'),
    )
    .action(
      action(context, async (component: string, flags: Flags) => {
        const key = { component, train: trainOf(flags) };
        await context.ask(flags, 'registry', async (client) => {
          const request = releaseRequests.latest(key, flags['by'] as LatestOrder, asOf(flags));
          await showRelease(context, flags, await client.call(request));
        });
        return 0;
      }),
    );
  outputOption(clientOptions(asOfOption(latest)));
  examples(latest, [
    'releases latest shop/api --train stable',
    'releases latest shop/api --train beta --by semver -o json',
  ]);
}

function defineLs(command: Command, context: Context): void {
  const { io } = context;
  const ls = trainOption(command.command('ls').argument('<component>', 'such as shop/api'))
    .summary('list the releases of a train')
    .description('Lists what is published on a train itself, the release that came out last first.')
    .action(
      action(context, async (component: string, flags: Flags) => {
        const key = { component, train: trainOf(flags) };
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => releaseRequests.list(key, page, asOf(flags)), {
            empty: `no releases: nothing of ${component} is published on train ${key.train}`,
            write: (releases, form) =>
              writeTable(io, releases as readonly ReleaseDocument[], columns(io.clock.now()), form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(asOfOption(ls))));
  examples(ls, ['releases ls shop/api --train stable', 'releases ls shop/api --train stable --as-of 7d']);
}

function defineGet(command: Command, context: Context): void {
  const get = trainOption(
    command.command('get').argument('<component>', 'such as shop/api').argument('<version>', 'as published'),
  )
    .summary('show one release')
    .description('Shows one release with its notes.')
    .action(
      action(context, async (component: string, version: string, flags: Flags) => {
        const key: ReleaseKey = { component, train: trainOf(flags), version };
        await context.ask(flags, 'registry', async (client) => {
          await showRelease(context, flags, await client.call(releaseRequests.get(key, asOf(flags))));
        });
        return 0;
      }),
    );
  outputOption(clientOptions(asOfOption(get)));
  examples(get, ['releases get shop/api 1.4.2 --train stable']);
}

function defineWithdraw(command: Command, context: Context): void {
  const withdraw = trainOption(
    command
      .command('withdraw')
      .argument('<component>', 'such as shop/api')
      .argument('<version>', 'as published'),
  )
    .summary('withdraw a release')
    .description(
      'Withdraws a release: it is published no more, and whichever was the latest before is so again. The audit keeps what it was.',
    )
    .action(
      action(context, async (component: string, version: string, flags: Flags) => {
        const key: ReleaseKey = { component, train: trainOf(flags), version };
        await context.ask(flags, 'registry', async (client) => {
          await client.call(releaseRequests.withdraw(key));
          context.say('withdrawn');
        });
        return 0;
      }),
    );
  clientOptions(withdraw);
  examples(withdraw, ['releases withdraw shop/api 1.4.2 --train stable']);
}

async function contentOf(io: Io, flags: Flags): Promise<ReleaseContent> {
  const { image, released } = flags as Record<string, string | undefined>;
  const given = await readGiven(io, flags, ['notes', 'fixes', 'data']);
  return {
    description: given.notes ?? null,
    fixes: given.fixes ?? null,
    image: image ?? null,
    data: given.data === undefined ? null : requireObject(given.data, '--data'),
    ...(released === undefined ? {} : { releasedMs: requireInstant(released, '--released') }),
  };
}

function showRelease(context: Context, flags: Flags, answer: Answer<ReleaseDocument>): Promise<void> {
  const { io } = context;
  return context.show(flags, answer, (document) => {
    writeRecord(io, fields(document, io.clock.now()));
    for (const [title, text] of longTexts(document)) {
      const lines = text.trimEnd().split('\n');
      io.stdout.write(`\n${title}:\n${lines.map((line) => `  ${printable(line)}`.trimEnd()).join('\n')}\n`);
    }
  });
}

function fields(release: ReleaseDocument, now: number): (readonly [string, string | null])[] {
  const { component, train, version, released, description, fixes, image, data } = release;
  return [
    ['component', component],
    ['version', version],
    ['train', train],
    ['released', released],
    ['image', image],
    ...(isLong(description) ? [] : ([['notes', description]] as const)),
    ...(isLong(fixes) ? [] : ([['fixes', fixes]] as const)),
    ['data', data === null ? null : JSON.stringify(data)],
    ['published', `${ago(release.publishedAt, now)} by ${release.publishedBy}`],
    ...(release.changedAt === release.publishedAt
      ? []
      : ([['changed', ago(release.changedAt, now)]] as const)),
  ];
}

/** What is shown below the record, line by line. */
function longTexts({ description, fixes }: ReleaseDocument): [title: string, text: string][] {
  const texts: [string, string | null][] = [
    ['notes', description],
    ['fixes', fixes],
  ];
  return texts.flatMap(([title, text]) => (text !== null && isLong(text) ? [[title, text]] : []));
}

function isLong(text: string | null): boolean {
  return text?.trimEnd().includes('\n') ?? false;
}

function columns(now: number): Column<ReleaseDocument>[] {
  return [
    { title: 'VERSION', of: ({ version }) => version },
    { title: 'RELEASED', of: ({ released }) => ago(released, now) },
    { title: 'BY', of: ({ publishedBy }) => publishedBy, spare: true },
    { title: 'IMAGE', of: ({ image }) => image, wide: true, spare: true },
    { title: 'PUBLISHED', of: ({ publishedAt }) => publishedAt, wide: true, spare: true },
    { title: 'NOTES', of: ({ description }) => firstLine(description), spare: true },
  ];
}

function firstLine(text: string | null): string | null {
  return text?.split('\n').find((line) => line.trim() !== '') ?? null;
}
