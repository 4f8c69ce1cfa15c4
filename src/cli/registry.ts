/** `holdfast registry` */
import type { Command } from 'commander';
import { type Flags, isLoopbackListen, readSettings } from './config.ts';
import { action, type Context, examples } from './context.ts';
import { registryConfig } from './registry-config.ts';
import { defineImport } from './registry-import.ts';
import { defineRotate } from './registry-rotate.ts';
import { defineResetAdmin } from './reset-admin.ts';
import type { RegistryConfig } from './roles.ts';
import { roleOptions, serve } from './serve.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  roleOptions(command, 'registry')
    .description(
      'Runs the fleet registry: it knows every host, what is alive on it and what is installed.\n' +
        'It serves HTTPS by a CA of its own; ca.pem and admin.token in its data directory are what a client needs.\n' +
        'With HOLDFAST_DATABASE_URL (a variable only, it holds a password) it keeps everything in PostgreSQL.\n' +
        'Once it serves it writes {"ready":"registry",…} to stdout.',
    )
    .action(
      action(context, async (flags: Flags) => {
        const config = registryConfig(io, await readSettings(io, 'registry', flags));
        return serve(io, config.logLevel, async (begin) => {
          await begin('registry', async (role) => {
            const running = await io.roles.startRegistry(config, role);
            if (!isNamed(config))
              role.logger.warn(
                { listen: config.listen },
                'no join tokens can be made until --advertise-url says where hosts find this registry',
              );
            return running;
          });
        });
      }),
    );
  command.enablePositionalOptions();
  defineResetAdmin(command, context);
  defineRotate(command, context);
  defineImport(command, context);
  examples(command, [
    'registry',
    'registry --listen 0.0.0.0:7420 --advertise-url https://registry.example:7420',
    'registry --listen 127.0.0.1:7420 --tls off --behind-proxy --advertise-url https://registry.example',
    'registry --tls off --listen 127.0.0.1:0 --data-dir ./registry',
  ]);
}

/** Whether it can tell hosts where they find it. */
function isNamed({ advertiseUrls, listen, behindProxy }: RegistryConfig): boolean {
  return advertiseUrls.length > 0 || (isLoopbackListen(listen) && !behindProxy);
}
