/** `holdfast registry reset-admin` */
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import { LinkError } from '../client/link.ts';
import { tokenRequests } from '../client/token.ts';
import { type Flags, readSettings, type Settings } from './config.ts';
import { action, type Context, debugOption, examples } from './context.ts';
import { localContext } from './contexts.ts';
import type { Io } from './io.ts';
import { roleLocations } from './locations.ts';

/** `registry` is the command that it is a part of. */
export function defineResetAdmin(registry: Command, context: Context): void {
  const { io } = context;
  const command = registry
    .command('reset-admin')
    .summary('write another admin.token')
    .description(
      'Writes another admin.token into the data directory of a registry; the one before ends. Asks the registry ' +
        'through admin.sock where it runs, and opens its store itself where it does not.',
    )
    .option('--data-dir <folder>', 'of the registry')
    .option('--socket <folder>', 'of its sockets, where they are elsewhere')
    .addOption(debugOption())
    .action(
      action(context, async (_flags: Flags, given: Command) => {
        // The role's own options, some of the same names, stand on the command above.
        const settings = await readSettings(io, 'registry', given.optsWithGlobals());
        const file = await running(context, settings);
        context.say(`wrote ${file ?? (await stopped(io, settings))}`);
        return 0;
      }),
    );
  examples(command, ['registry reset-admin', 'registry reset-admin --data-dir ./registry']);
}

/** Through the socket of that very registry; null when nobody answers there. */
async function running(context: Context, settings: Settings): Promise<string | null> {
  const dataDir = settings.get('dataDir');
  const named = settings.get('socket');
  const folders =
    named !== undefined
      ? [named]
      : dataDir === undefined
        ? [undefined]
        : // That of a registry alone, and that of `up`, whose sockets lie beside the data under the name of the role.
          [
            roleLocations(context.io, 'registry', dataDir).socketDir,
            join(dirname(dataDir), 'run', basename(dataDir)),
          ];
  for (const socket of folders) {
    try {
      const flags = socket === undefined ? { context: localContext } : { socket };
      return await context.ask(flags, 'registry', async (client) => {
        return (await client.call(tokenRequests.resetAdmin())).document.file;
      });
    } catch (error) {
      if (!(error instanceof LinkError) || error.failure !== 'unreachable') throw error;
    }
  }
  return null;
}

async function stopped(io: Io, settings: Settings): Promise<string> {
  const { dataDir } = roleLocations(io, 'registry', settings.get('dataDir'));
  const logger = await io.logger('error');
  return io.roles.resetAdmin(
    { dataDir, databaseUrl: settings.get('databaseUrl') ?? null },
    { clock: io.clock, random: io.random, logger, signal: io.signal },
  );
}
