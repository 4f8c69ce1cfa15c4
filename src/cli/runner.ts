/** `holdfast runner` */
import type { Command } from 'commander';
import { type Flags, readSettings } from './config.ts';
import { action, type Context, examples } from './context.ts';
import { runnerConfig } from './runner-config.ts';
import { roleOptions, serve } from './serve.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  roleOptions(command, 'runner')
    .description(
      'Runs the runner of this host, the only part that starts programs that are not Holdfast: commands of checks, of ' +
        'detectors and of placements. It listens on one socket, runner.sock, for the agent. It starts what agent.yaml and ' +
        'signed targets name and nothing else. Once it listens it writes {"ready":"runner",…} to stdout.',
    )
    .action(
      action(context, async (flags: Flags) => {
        const config = runnerConfig(io, await readSettings(io, 'runner', flags), flags);
        return serve(io, config.logLevel, async (begin) => {
          await begin('runner', (role) => io.roles.startRunner(config, role));
        });
      }),
    );
  examples(command, [
    'runner --config /etc/holdfast/agent.yaml --agent-user holdfast-agent',
    'runner --config ./agent.yaml --data-dir ./runner',
  ]);
}
