/** `holdfast registry rotate` */
import { Argument, type Command } from 'commander';
import { trustRequests } from '../client/trust.ts';
import { type Rotation, rotations } from '../domain/trust.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption } from './context.ts';

/** What hosts notice of each. */
const words: Readonly<Record<Rotation, string>> = {
  'signing-key':
    'Targets are signed with the key that was announced before; the next one is announced from now on. Join tokens made before are no longer good.',
  ca: 'The certificate is issued by the CA that was announced before; the next one is announced from now on. ca.pem is another; join tokens made before are no longer good.',
  certificate: 'The registry has another certificate of the same CA; nobody has to do anything.',
};

export function defineRotate(registry: Command, context: Context): void {
  const command = registry
    .command('rotate')
    .addArgument(new Argument('<what>', 'what to replace').choices(rotations))
    .summary('replace the signing key, the CA or the certificate')
    .description(
      'Replaces a key of the running registry without losing a host: what takes over was announced to all hosts with\n' +
        'their targets, and a new next one is announced. Wait until every host has been UP since, before rotating the\n' +
        'same again: one that heard of neither has to join anew.',
    )
    .action(
      action(context, async (what: Rotation, flags: Flags) => {
        await context.ask(flags, 'registry', async (client) => {
          const answer = await client.call(trustRequests.rotate(what));
          context.say(words[what]);
          await context.show(flags, answer, ({ keys }) => {
            for (const [index, { key }] of keys.entries())
              context.io.stdout.write(`${index === 0 ? 'signing key' : 'next'}  ${key}\n`);
          });
        });
        return 0;
      }),
    );
  outputOption(clientOptions(command));
  examples(command, ['registry rotate certificate', 'registry rotate signing-key', 'registry rotate ca']);
}
