/** `holdfast up`: a registry, a runner, and an agent that reports to the one and asks the other, in one process. */
import { pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { type Flags, readSettings, upConfigs } from './config.ts';
import { action, type Context, examples } from './context.ts';
import { roleOptions, serve } from './serve.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  roleOptions(command, 'up')
    .description(
      'Starts a registry, a runner and an agent for this machine, on loopback and without TLS. Ctrl-C stops all.',
    )
    .action(
      action(context, async (flags: Flags) => {
        const { registry, runner, agent } = upConfigs(io, await readSettings(io, 'up', flags), flags);
        return serve(io, registry.logLevel, async (begin) => {
          const started = await begin('registry', (role) => io.roles.startRegistry(registry, role));
          const { url, dataDir } = started;
          // Asked for when the agent joins; it never leaves this process.
          const joinToken = () => started.joinToken();
          // By its folder and not its URL: on port 0 that is another one each time, and the registry is not.
          const knownAs = pathToFileURL(dataDir).href;
          await begin('runner', (role) => io.roles.startRunner(runner, role));
          await begin('agent', (role) =>
            io.roles.startAgent({ ...agent, registry: { url, joinToken, knownAs } }, role),
          );
          // Into a pipe or a unit's journal only what programs read.
          if (io.stderr.columns !== undefined) {
            context.say(
              'Up. In another terminal: "holdfast status", "holdfast components ls", "holdfast watch". Ctrl-C stops.',
            );
          }
        });
      }),
    );
  examples(command, ['up', 'up --data-dir ./try --registry-listen 127.0.0.1:0 --agent-listen 127.0.0.1:0']);
}
