/** `holdfast registry` */
import type { Command } from 'commander';
import { type Flags, readSettings, registryConfig } from './config.ts';
import { action, type Context, examples } from './context.ts';
import { roleOptions, serve } from './serve.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  roleOptions(command, 'registry')
    .description(
      'Runs the fleet registry: it knows every host, what is alive on it and what is installed.\n' +
        'It writes admin.token into its data directory, and {"ready":"registry",…} to stdout once it serves.',
    )
    .addHelpText(
      'after',
      '\nWith HOLDFAST_DATABASE_URL (a variable only, it holds a password) it keeps everything in PostgreSQL.',
    )
    .action(
      action(context, async (flags: Flags) => {
        const config = registryConfig(io, await readSettings(io, 'registry', flags));
        return serve(io, config.logLevel, async (begin) => {
          await begin('registry', (role) => io.roles.startRegistry(config, role));
        });
      }),
    );
  examples(command, ['registry --tls off', 'registry --tls off --listen 127.0.0.1:0 --data-dir ./registry']);
}
