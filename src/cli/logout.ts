/** `holdfast logout` */
import type { Command } from 'commander';
import type { HoldfastClient } from '../client/client.ts';
import { systemCaller } from '../domain/access.ts';
import { isAppError } from '../domain/error.ts';
import type { Flags } from './config.ts';
import { action, type Context, debugOption, examples } from './context.ts';
import { readContexts, requireContext, writeContexts } from './contexts.ts';
import { UsageError } from './exit.ts';
import { connect } from './whom.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command
    .argument('[name]', 'a context (default: the current one)')
    .description('Ends the token of a context where its role may do that, and forgets the context.')
    .action(
      action(context, async (given: string | undefined, flags: Flags) => {
        const known = await readContexts(io);
        const name = given ?? known.current;
        if (name === null) throw new UsageError('Cannot log out: no context is current, name one');
        const { token } = requireContext(known, name);
        const client = await connect(io, { ...flags, context: name }, 'registry', { token });
        const ended = await ends(client, token).finally(() => client.close());
        const { [name]: _gone, ...contexts } = known.contexts;
        const current = known.current === name ? null : known.current;
        await writeContexts(io, { current, contexts });
        context.say(
          ended
            ? `logged out of "${name}": its token has ended`
            : `forgot "${name}"; its token stays good until it expires, an admin can end it with "holdfast token revoke"`,
        );
        context.say(`asking ${current === null ? 'this machine' : `"${current}"`} from now on`);
        return 0;
      }),
    );
  command.addOption(debugOption());
  examples(command, ['logout', 'logout prod']);
}

/** By itself; false when its role may not. */
async function ends(client: HoldfastClient, token: string): Promise<boolean> {
  try {
    await client.tokens.revoke(systemCaller, token.split('_')[1] ?? '');
    return true;
  } catch (error) {
    if (isAppError(error, 'unauthenticated')) return true;
    if (isAppError(error, 'forbidden')) return false;
    throw error;
  }
}
