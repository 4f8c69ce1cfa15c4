/** `holdfast registry rotate` */
import { Argument, type Command } from 'commander';
import { trustRequests } from '../client/trust.ts';
import { AppError, isAppError } from '../domain/error.ts';
import { type Rotation, rotations } from '../domain/trust.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption } from './context.ts';
import { writeRecord } from './output.ts';

/** What hosts notice of each. */
const words: Readonly<Record<Rotation, string>> = {
  'signing-key':
    'Targets are signed with the key that was announced before; the next one is announced from now on. Join tokens made before are no longer good.',
  ca: 'The certificate is issued by the CA that was announced before; the next one is announced from now on. ca.pem is another; join tokens made before are no longer good.',
  certificate: 'The registry has another certificate of the same CA; nobody has to do anything.',
};

/** The registry names what its API calls it. */
function inFlags(error: unknown): never {
  if (!isAppError(error, 'conflict')) throw error;
  const { code, field, details, cause, retryAfterMs } = error;
  throw new AppError(code, error.message.replace('insist with force', 'insist with --force'), {
    cause,
    details,
    ...(field === undefined ? {} : { field }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

export function defineRotate(registry: Command, context: Context): void {
  const command = registry
    .command('rotate')
    .addArgument(new Argument('<what>', 'what to replace').choices(rotations))
    .summary('replace the signing key, the CA or the certificate')
    .description(
      'Replaces a key of the running registry without losing a host: what takes over was announced to all hosts with ' +
        'their targets, and a new next one is announced. Wait until every host has been UP since, before rotating the ' +
        'same again: one that has heard of neither has to join anew. Within ten minutes it is refused.',
    )
    .option('--force', 'also before all hosts can have heard of the next one; these have to join anew')
    .action(
      action(context, async (what: Rotation, flags: Flags) => {
        await context.ask(flags, 'registry', async (client) => {
          const force = flags['force'] === true;
          const answer = await client.call(trustRequests.rotate(what, { force })).catch(inFlags);
          context.say(words[what]);
          await context.show(flags, answer, ({ keys }) =>
            writeRecord(context.io, [
              ['signing key', keys[0]?.key ?? null],
              ['next', keys[1]?.key ?? null],
            ]),
          );
        });
        return 0;
      }),
    );
  outputOption(clientOptions(command));
  examples(command, ['registry rotate certificate', 'registry rotate signing-key', 'registry rotate ca']);
}
