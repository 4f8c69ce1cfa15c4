/** `holdfast status` */
import type { Command } from 'commander';
import { systemRequests } from '../client/system.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption } from './context.ts';
import { writeRecord } from './output.ts';

export function define(command: Command, context: Context): void {
  command.description('Shows how the local agent is doing, or whomever --url or --socket names.').action(
    action(context, async (flags: Flags) => {
      await context.ask(flags, 'agent', async (client) => {
        await context.show(flags, await client.call(systemRequests.status()), (status) =>
          writeRecord(context.io, lines(status)),
        );
      });
      return 0;
    }),
  );
  outputOption(clientOptions(command));
  examples(command, [
    'status',
    'status --url http://127.0.0.1:7420 --token-file admin.token',
    'status -o json',
  ]);
}

/** Members of members as `registry.url`; what a role says of itself grows, so nothing is left out. */
function lines(value: object, prefix = ''): [string, string | null][] {
  return Object.entries(value).flatMap(([name, member]): [string, string | null][] => {
    const label = `${prefix}${name}`;
    if (member === null || member === undefined) return [[label, null]];
    if (Array.isArray(member))
      return [
        [
          label,
          member.map((one) => (typeof one === 'object' ? JSON.stringify(one) : String(one))).join(', ') ||
            null,
        ],
      ];
    return typeof member === 'object' ? lines(member, `${label}.`) : [[label, String(member)]];
  });
}
