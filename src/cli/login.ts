/** `holdfast login` */
import type { Command } from 'commander';
import type { HoldfastClient } from '../client/client.ts';
import { tokenRequests } from '../client/token.ts';
import { systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { type Flags, readCaFile, readClientSettings, readToken } from './config.ts';
import { action, type Context, clientOptions, examples } from './context.ts';
import {
  contextOfUrl,
  contextsFile,
  readContexts,
  requireContextName,
  type ServerContext,
  writeContexts,
} from './contexts.ts';
import { UsageError } from './exit.ts';
import type { Io } from './io.ts';
import { connect } from './whom.ts';
import { requireDuration } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command
    .argument('[name]', 'what to call it (default: the host name of the server)')
    .description(
      'Keeps a server and the token for it, and asks it from now on.\n' +
        'With the admin.token of a registry it makes a token of your own, and that one ends.',
    )
    .option('--as <subject>', 'how events and the audit shall call you (default: your name on this machine)')
    .option('--expires-in <duration>', 'life of your own token (default 30d)')
    .action(
      action(context, async (name: string | undefined, flags: Flags) => {
        const url = (flags['url'] as string | undefined) ?? io.env['HOLDFAST_URL'];
        if (url === undefined || url === '')
          throw new UsageError('Cannot log in: pass --url URL; a server on this machine is asked without');
        const given = await readToken(io, flags['tokenFile'] as string | undefined);
        if (given === undefined)
          throw new UsageError('Cannot log in: pass --token-file FILE (- reads stdin), or HOLDFAST_TOKEN');
        const called = requireContextName(name ?? nameOf(url));
        const { caFile } = readClientSettings(io, flags);
        const known = await readContexts(io);
        // As `connect` takes it: of the file, or else what is known of this very server.
        const ca =
          caFile === undefined ? contextOfUrl(known, url)?.ca : (await readCaFile(caFile)).join('\n');
        const client = await connect(io, { ...flags, url }, 'registry', { token: given });
        try {
          const { document } = await client.call(tokenRequests.whoami());
          const isFirst = document.subject === 'admin.token';
          const token = isFirst ? await ownToken(io, client, flags) : given;
          const entry = { url, token, ...(ca === undefined ? {} : { ca }) };
          await writeContexts(io, { current: called, contexts: { ...known.contexts, [called]: entry } });
          // Not before the new one lies on disk.
          if (isFirst) await client.tokens.revoke(systemCaller, idOf(given));
          const { subject, role } = isFirst ? { subject: subjectOf(io, flags), role: 'admin' } : document;
          context.say(`logged in as ${subject} (${role}), kept as "${called}" in ${contextsFile(io)}`);
          const before = Object.hasOwn(known.contexts, called) ? known.contexts[called] : undefined;
          if (before !== undefined && ![token, given].includes(before.token))
            context.say(await wordsOfBefore(client, before, url));
          if (isFirst) context.say('admin.token has ended: delete the file');
        } finally {
          await client.close();
        }
        return 0;
      }),
    );
  clientOptions(command);
  examples(command, [
    'login --url https://registry.example:7420 --ca-file ca.pem --token-file admin.token',
    'login prod --url https://registry.example:7420 --token-file - < token',
  ]);
}

async function ownToken(io: Io, client: HoldfastClient, flags: Flags): Promise<string> {
  const life = flags['expiresIn'] as string | undefined;
  const { token } = await client.tokens.create(systemCaller, {
    role: 'admin',
    subject: subjectOf(io, flags),
    expiresInMs: requireDuration(life ?? '30d', '--expires-in'),
  });
  return token;
}

/** The token that the context held: it is forgotten here, and still opens doors. */
async function wordsOfBefore(client: HoldfastClient, before: ServerContext, url: string): Promise<string> {
  const id = idOf(before.token);
  const isHere = before.url === url;
  const until = isHere ? await expiryOf(client, id) : undefined;
  return `the token kept under this name before stays good until ${until ?? 'it expires'}: "holdfast token revoke ${id}${isHere ? '' : ` --url ${before.url}`}" ends it`;
}

/** Undefined where this caller may not know. */
async function expiryOf(client: HoldfastClient, id: string): Promise<string | undefined> {
  try {
    return (await client.call(tokenRequests.get(id))).document.expiresAt;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

function subjectOf(io: Io, flags: Flags): string {
  return (flags['as'] as string | undefined) ?? io.env['USER'] ?? io.env['LOGNAME'] ?? 'admin';
}

function nameOf(url: string): string {
  const host = URL.parse(url)?.hostname ?? '';
  return (
    host.replaceAll(/[^a-z0-9.-]/gi, '-').replaceAll(/^[^a-z0-9]+|(?<![^a-z0-9])[^a-z0-9]+$/gi, '') ||
    'server'
  );
}

/** `hf_<id>_<secret>` → its id. */
function idOf(token: string): string {
  return token.split('_')[1] ?? '';
}
