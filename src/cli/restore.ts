/** `holdfast restore` */
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type Flags, readPassphrase } from './config.ts';
import { action, type Context, debugOption, examples } from './context.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command
    .description(
      'Puts a backup into a data directory, from which a registry or agent then starts. Never over a running one.\n' +
        'The store begins a new life: watchers and agents notice and take everything anew.',
    )
    .argument('<file>', 'a backup that "holdfast backup" wrote')
    .requiredOption('--data-dir <folder>', 'data directory of the role')
    .option('--force', 'also when there is a store already, which is kept beside it')
    .option(
      '--passphrase-file <file>',
      'file with the passphrase of the keys in the backup, - reads stdin (else HOLDFAST_PASSPHRASE)',
    )
    .addOption(debugOption())
    .action(
      action(context, async (file: string, flags: Flags) => {
        const dataDir = resolve(flags['dataDir'] as string);
        const logger = await io.logger('error');
        const roleContext = { clock: io.clock, random: io.random, logger, signal: io.signal };
        const { role, keys, kept } = await io.roles.restore(
          {
            file: resolve(file),
            dataDir,
            force: flags['force'] === true,
            passphrase: () => readPassphrase(io, flags),
          },
          roleContext,
        );
        if (kept !== null) context.say(`kept the store that was there: ${kept}`);
        context.say(`restored the ${role}'s store into ${dataDir}${keys ? ', with its keys' : ''}`);
        if (role === 'registry' && !keys)
          context.say(
            `the backup holds no keys: hosts know this registry only by those in ${join(dataDir, 'keys')}; put them there before it starts, or hosts must join anew`,
          );
        return 0;
      }),
    );
  examples(command, [
    'restore fleet.backup --data-dir ~/.local/share/holdfast/registry',
    'restore fleet.backup --data-dir ./registry --force',
  ]);
}
