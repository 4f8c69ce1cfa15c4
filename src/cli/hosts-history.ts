/** `holdfast hosts history` and `holdfast hosts stats` */
import type { Command } from 'commander';
import { hostHistoryRequests } from '../client/host-history.ts';
import type { HostStatsQuery } from '../domain/services.ts';
import type { HostStatsDocument, HostTurnDocument } from '../wire/host-history.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption, pageOptions } from './context.ts';
import { UsageError } from './exit.ts';
import { fieldText, showSteps, valueText } from './history-steps.ts';
import { type Column, writeRecord, writeTable } from './output.ts';
import { requireAge, requireMoment } from './words.ts';

export function defineHistory(command: Command, context: Context): void {
  const history = command
    .command('history [host]')
    .summary('which hosts appeared, changed or disappeared between two moments; of one host, each step')
    .description(
      'Lists what differs between two moments. With --selector a host that begins to match appears, and one that ends to match disappears. With the name or id of a host: each change of it and of its components, in the order of time.',
    )
    .option(
      '--from <when>',
      'from when: a time, or "7d" ago; needed without a host (default: as far back as is kept)',
    )
    .option('--to <when>', 'until when (default: now)')
    .option('--selector <selector>', 'only hosts that match, such as "env=prod"')
    .action(
      action(context, async (host: string | undefined, flags: Flags) => {
        const { selector, from } = flags as Record<string, string | undefined>;
        if (host !== undefined) {
          if (selector !== undefined)
            throw new UsageError('Cannot list steps of many hosts: pass either a host or --selector');
          await showSteps(context, flags, { host, stretch: stretchOf(flags) });
          return 0;
        }
        if (from === undefined)
          throw new UsageError(
            'Cannot compare hosts: --from is missing, say from when, such as 7d; or name one host for all that is kept of it',
          );
        const filter = {
          from: requireMoment(from, '--from'),
          ...stretchOf(flags),
          ...(selector === undefined ? {} : { selector }),
        };
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => hostHistoryRequests.differences(filter, page), {
            empty: 'nothing has changed between these moments',
            write: (turns, form) => writeTable(context.io, turns, turnColumns, form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(history)));
  examples(history, [
    'hosts history --from 7d',
    'hosts history edge-1',
    'hosts history --from 2026-03-01T00:00:00Z --to 2026-04-01T00:00:00Z --selector env=prod',
  ]);
}

export function defineStats(command: Command, context: Context): void {
  const stats = command
    .command('stats')
    .summary('how many hosts there are, and were')
    .description('Counts hosts now; with --from also at points of the past, for plots.')
    .option('--within <duration>', 'for fresh, stale and created (default: 7d)')
    .option('--from <when>', 'where the series begins: a time, or "30d" ago')
    .option('--to <when>', 'where it ends (default: now)')
    .option(
      '--step <duration>',
      'from one point to the next (default: whole hours or days, 24 steps at most)',
    )
    .action(
      action(context, async (flags: Flags) => {
        const query = statsQueryOf(flags);
        await context.ask(flags, 'registry', async (client) => {
          const answer = await client.call(hostHistoryRequests.stats(query));
          await context.show(flags, answer, (document) => writeStats(context, document));
        });
        return 0;
      }),
    );
  outputOption(clientOptions(stats));
  examples(stats, [
    'hosts stats',
    'hosts stats --within 30d',
    'hosts stats --from 30d --step 1d',
    'hosts stats --from 7d --step 1h -o json',
  ]);
}

function stretchOf(flags: Flags) {
  const { from, to } = flags as Record<string, string | undefined>;
  return {
    ...(from === undefined ? {} : { from: requireMoment(from, '--from') }),
    ...(to === undefined ? {} : { to: requireMoment(to, '--to') }),
  };
}

function statsQueryOf(flags: Flags): HostStatsQuery {
  const { within, from, to, step } = flags as Record<string, string | undefined>;
  if (from === undefined && (to !== undefined || step !== undefined))
    throw new UsageError('Cannot count hosts over time: --to and --step go with --from, say where it begins');
  return {
    ...(within === undefined ? {} : { withinMs: requireAge(within, '--within') }),
    ...(from === undefined ? {} : { stretch: { from: requireMoment(from, '--from'), ...stretchOf(flags) } }),
    ...(step === undefined ? {} : { stepMs: requireAge(step, '--step') }),
  };
}

const turnColumns: readonly Column<HostTurnDocument>[] = [
  { title: 'WHAT', of: ({ kind }) => kind },
  { title: 'NAME', of: ({ name }) => name },
  { title: 'CHANGES', of: changesOf },
  { title: 'ID', of: ({ id }) => id, wide: true, whole: true },
];

/** `status UP > DOWN, labels env=prod > -` */
function changesOf({ changed, before, after }: HostTurnDocument): string | null {
  if (before === null || after === null) return null;
  return changed.map((field) => `${fieldText(field, before)} > ${valueText(after[field])}`).join(', ');
}

function writeStats({ io }: Context, { now, series }: HostStatsDocument): void {
  if (series.length > 0) {
    writeTable(io, series, pointColumns, 'table');
    return;
  }
  const days = now.withinMs / 86_400_000;
  const within = Number.isInteger(days) ? `${days} d` : `${now.withinMs / 3_600_000} h`;
  writeRecord(io, [
    ['total', String(now.total)],
    ['up', String(now.up)],
    ['down', String(now.down)],
    ['fresh', `${now.fresh} (seen within ${within})`],
    ['stale', `${now.stale} (not seen within ${within})`],
    ['created', `${now.created} (first seen within ${within})`],
  ]);
}

const pointColumns: readonly Column<HostStatsDocument['series'][number]>[] = [
  { title: 'AT', of: ({ at }) => at },
  { title: 'TOTAL', of: ({ total }) => String(total) },
  { title: 'UP', of: ({ up }) => String(up) },
  { title: 'DOWN', of: ({ down }) => String(down) },
  { title: 'APPEARED', of: ({ appeared }) => String(appeared) },
  { title: 'DISAPPEARED', of: ({ disappeared }) => String(disappeared) },
];
