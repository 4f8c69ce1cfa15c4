/** `holdfast backup` */
import { type Command, Option } from 'commander';
import type { HoldfastClient } from '../client/client.ts';
import { type Flags, readPassphrase } from './config.ts';
import { action, type Context, clientOptions, examples } from './context.ts';
import { UsageError } from './exit.ts';
import type { Role } from './locations.ts';

/** NIST SP 800-63B asks for eight at least where guesses are counted; nobody counts them for a file. */
const passphraseLengthMin = 12;

export function define(command: Command, context: Context): void {
  command
    .description('Writes a consistent copy of a running store to a new file, while it goes on working.')
    .argument('<file>', 'where to write it; must not exist')
    .addOption(
      new Option('--role <role>', 'whose store')
        .choices(['registry', 'agent'])
        .default('registry', 'registry'),
    )
    .option(
      '--with-keys',
      "also the registry's keys, under a passphrase; works on its machine, as its user or root. Without them a new machine's hosts must join anew",
    )
    .option('--passphrase-file <file>', 'file with the passphrase, - reads stdin (else HOLDFAST_PASSPHRASE)')
    .action(
      action(context, async (file: string, flags: Flags) => {
        const role = flags['role'] as Role;
        if (flags['withKeys'] !== true && flags['passphraseFile'] !== undefined)
          throw new UsageError('Cannot use a passphrase: without --with-keys a backup holds no keys to seal');
        const passphrase = flags['withKeys'] === true ? await requirePassphrase(context, role, flags) : null;
        await context.ask(flags, role, async (client) => {
          const sizeBytes = await client.backup(
            file,
            passphrase === null ? {} : { finish: (partial) => addKeys(context, client, partial, passphrase) },
          );
          const keys = passphrase === null ? '' : ', with the keys under the passphrase';
          context.say(`wrote ${file}, ${(sizeBytes / 1_048_576).toFixed(1)} MiB${keys}`);
        });
        return 0;
      }),
    );
  clientOptions(command);
  examples(command, [
    'backup fleet.backup',
    'backup --with-keys --passphrase-file ./passphrase fleet.backup',
    'backup --role agent host.backup',
  ]);
}

async function requirePassphrase(context: Context, role: Role, flags: Flags): Promise<string> {
  if (role !== 'registry') throw new UsageError('Cannot back up keys of an agent: only a registry has any');
  const passphrase = await readPassphrase(context.io, flags);
  if (passphrase === null)
    throw new UsageError('Cannot back up the keys: pass --passphrase-file, or set HOLDFAST_PASSPHRASE');
  if (passphrase.length >= passphraseLengthMin) return passphrase;
  throw new UsageError(
    `Cannot use the passphrase: it has ${passphrase.length} characters, expected ${passphraseLengthMin} at least`,
  );
}

async function addKeys(
  { io }: Context,
  client: HoldfastClient,
  file: string,
  passphrase: string,
): Promise<void> {
  const { dataDir } = await client.status();
  if (typeof dataDir !== 'string') throw new Error('a registry says where its data is');
  await io.roles.addKeys({ file, dataDir, passphrase });
}
