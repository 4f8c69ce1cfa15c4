/** `holdfast backup` */
import { type Command, Option } from 'commander';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples } from './context.ts';
import type { Role } from './locations.ts';

export function define(command: Command, context: Context): void {
  command
    .description('Writes a consistent copy of a running store to a new file, while it goes on working.')
    .argument('<file>', 'where to write it; must not exist')
    .addOption(
      new Option('--role <role>', 'whose store')
        .choices(['registry', 'agent'])
        .default('registry', 'registry'),
    )
    .action(
      action(context, async (file: string, flags: Flags) => {
        await context.ask(flags, flags['role'] as Role, async (client) => {
          const sizeBytes = await client.backup(file);
          context.say(`wrote ${file}, ${(sizeBytes / 1_048_576).toFixed(1)} MiB`);
        });
        return 0;
      }),
    );
  clientOptions(command);
  examples(command, ['backup fleet.backup', 'backup --role agent host.backup']);
}
