/** `holdfast agent` */
import type { Command } from 'commander';
import { agentConfig, requireJoinToken } from './agent-config.ts';
import { type Flags, readSettings } from './config.ts';
import { action, type Context, examples } from './context.ts';
import { roleOptions, serve } from './serve.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  roleOptions(command, 'agent')
    .description(
      'Runs the agent of this host: it beats, reports what is installed, and answers for this host also while the ' +
        'registry is away. It writes {"ready":"agent",…} to stdout once it serves, whether or not the registry is there.',
    )
    .action(
      action(context, async (flags: Flags) => {
        const config = agentConfig(io, await readSettings(io, 'agent', flags));
        await requireJoinToken(config);
        return serve(io, config.logLevel, async (begin) => {
          await begin('agent', (role) => io.roles.startAgent(config, role));
        });
      }),
    );
  examples(command, [
    'agent --join-file ./edge-1.join',
    'agent --registry http://127.0.0.1:7420 --token-file ./registry/admin.token',
    'agent --registry none',
    'agent --config /etc/holdfast/agent.yaml',
  ]);
}
