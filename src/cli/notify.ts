/** `holdfast notify` */
import type { Command } from 'commander';
import { limits } from '../base/limits.ts';
import { formatDuration } from '../base/time.ts';
import { notifyRequests } from '../client/notify.ts';
import type { NotifyDocument } from '../wire/notify.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption } from './context.ts';
import { exitCodes } from './exit.ts';
import type { Io } from './io.ts';
import { type Column, type Form, writeTable } from './output.ts';
import { ago } from './words.ts';

type Sink = NotifyDocument['sinks'][number];
type Rule = NotifyDocument['rules'][number];
interface Tested {
  readonly sink: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly durationMs: number;
}

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description(
    'Whom the registry tells of what. Rules and sinks stand under "notify" in registry.yaml; they are read at its start.',
  );

  const ls = command
    .command('ls')
    .summary('list sinks and rules, and how far each sink was told')
    .description(
      'Lists the sinks, how far in the log each has been told and what its last failure was, and the rules. Exit 1 when the last attempt to tell a sink has failed.',
    )
    .action(
      action(context, async (flags: Flags) =>
        context.ask(flags, 'registry', async (client) => {
          const answer = await client.call(notifyRequests.status());
          const { sinks } = answer.document;
          await context.show(flags, answer, (document, form) => writeNotify(io, document, form));
          if (sinks.length === 0) context.say('no sinks: registry.yaml names none under "notify"');
          return sinks.some(isFailing) ? exitCodes.failed : exitCodes.ok;
        }),
      ),
    );
  outputOption(clientOptions(ls));
  examples(ls, ['notify ls', 'notify ls -o json']);

  const test = command
    .command('test')
    .argument('[sink...]', 'names of sinks; all when none is named')
    .summary('send sinks a message that says that it is a test')
    .description(
      'Sends sinks a message that says that it is a test, and prints what the other side answered. It waits as long as the sinks may take, which is their timeout. Exit 1 when one of them has not taken it.',
    )
    .action(
      action(context, async (sinks: string[], flags: Flags) =>
        context.ask({ timeout: sinksTimeout, ...flags }, 'registry', async (client) => {
          const answer = await client.call(notifyRequests.test(sinks.length === 0 ? null : sinks));
          const { items } = answer.document;
          await context.show(flags, answer, (document, form) =>
            writeTable(io, document.items, testColumns, form),
          );
          if (items.length === 0) context.say('no sinks: registry.yaml names none under "notify"');
          return items.every(({ ok }) => ok) ? exitCodes.ok : exitCodes.failed;
        }),
      ),
    );
  outputOption(clientOptions(test));
  examples(test, ['notify test', 'notify test chat pager']);
}

/** Longer than any sink may take: the registry answers once it knows of all of them. */
const sinksTimeout = `${limits.notifyTimeoutMs / 1_000 + 5}s`;

/** Whether the last that was heard of it is a failure. */
function isFailing({ lastError, lastSuccess }: Sink): boolean {
  return lastError !== null && (lastSuccess === null || lastSuccess < lastError.at);
}

function writeNotify(io: Io, { sinks, rules }: NotifyDocument, form: Form): void {
  const now = io.clock.now();
  if (sinks.length > 0) writeTable(io, sinks, sinkColumns(now), form);
  if (rules.length === 0) return;
  io.stdout.write('\n');
  writeTable(io, rules, ruleColumns, form);
}

function sinkColumns(now: number): readonly Column<Sink>[] {
  return [
    { title: 'SINK', of: ({ name }) => name },
    { title: 'KIND', of: ({ kind }) => kind },
    { title: 'TARGET', of: ({ target }) => target, spare: true },
    { title: 'BEHIND', of: ({ behind }) => String(behind) },
    { title: 'DELIVERED', of: ({ delivered }) => String(delivered) },
    { title: 'LAST', of: ({ lastSuccess }) => ago(lastSuccess, now) },
    {
      title: 'ERROR',
      of: (sink) => (isFailing(sink) && sink.lastError !== null ? sink.lastError.detail : null),
      spare: true,
    },
    { title: 'POSITION', of: ({ position }) => position, wide: true },
    { title: 'FAILED', of: ({ failed }) => String(failed), wide: true },
    { title: 'DROPPED', of: ({ dropped }) => String(dropped), wide: true },
    { title: 'MISSED', of: ({ missed }) => String(missed), wide: true },
  ];
}

const ruleColumns: readonly Column<Rule>[] = [
  { title: 'RULE', of: ({ name }) => name },
  { title: 'TO', of: ({ to }) => to.join(', ') },
  { title: 'SELECTS', of: ({ select }) => selectWords(select), spare: true },
  { title: 'GROUP BY', of: ({ groupBy }) => groupBy.join(', ') || null },
  { title: 'WAIT', of: ({ groupWaitMs }) => (groupWaitMs === 0 ? 'none' : formatDuration(groupWaitMs)) },
  {
    title: 'REPEAT',
    of: ({ repeatAfterMs }) => (repeatAfterMs === 0 ? 'always' : formatDuration(repeatAfterMs)),
  },
];

function selectWords({ types, hosts, apps, services }: Rule['select']): string {
  const records = Object.entries(services ?? {}).map(([key, values]) => `${key} ${values.join(', ')}`);
  return (
    [
      types?.join(', '),
      hosts === undefined ? undefined : `hosts ${hosts}`,
      apps === undefined ? undefined : `apps ${apps.join(', ')}`,
      ...records,
    ]
      .filter((one) => one !== undefined)
      .join('; ') || 'everything'
  );
}

const testColumns: readonly Column<Tested>[] = [
  { title: 'SINK', of: ({ sink }) => sink },
  { title: 'RESULT', of: ({ ok }) => (ok ? 'taken' : 'failed') },
  { title: 'TOOK', of: ({ durationMs }) => `${durationMs} ms` },
  { title: 'ANSWER', of: ({ detail }) => detail, spare: true },
];
