/** `holdfast token` */
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { formatDuration, parseInstant } from '../base/time.ts';
import { tokenRequests } from '../client/token.ts';
import { roles } from '../domain/access.ts';
import type { TokenFilter } from '../domain/services.ts';
import { parseRole, type TokenDocument, type TokenRequest } from '../domain/token.ts';
import type { Flags } from './config.ts';
import {
  action,
  type Context,
  clientOptions,
  collect,
  examples,
  knownWords,
  outputOption,
  pageOptions,
} from './context.ts';
import { UsageError } from './exit.ts';
import { type Column, writeTable } from './output.ts';
import { requireDuration } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description(
    'Tokens: of people and programs, and those that hosts join with. A token is shown once, when it is made.',
  );

  const create = command
    .command('create')
    .summary('make a token')
    .description('Makes a token and prints it, this once. With --role host: a join token, for one host.')
    .addOption(knownWords(new Option('--role <role>', 'what it may do'), roles).makeOptionMandatory())
    .option('--subject <name>', 'whose it is: how events and the audit call them (not for hosts)')
    .option('--expires-in <duration>', 'its life (default 90d; for hosts 30m)')
    .option('--uses <n>', 'hosts: how many it lets in (default 1)')
    .option('--label <key=value>', 'hosts: a label that they get', collect)
    .option('--region <region>', 'hosts: the region that they get')
    .option('--name <pattern>', 'hosts: the names that it is good for, * is anything')
    .option('--hosts <selector>', 'people and programs: only these hosts')
    .option('--app <app>', 'people and programs: only these apps', collect)
    .option('--write <file>', 'write the token into this file (0600) instead of showing it')
    .action(
      action(context, async (flags: Flags) => {
        const request = requestOf(flags);
        await context.ask(flags, 'registry', async (client) => {
          const answer = await client.call(tokenRequests.create(request));
          const { token, id, expiresAt } = answer.document;
          const file = flags['write'] as string | undefined;
          if (file === undefined) await context.show(flags, answer, () => io.stdout.write(`${token}\n`));
          else await writeFileAtomic(resolve(file), `${token}\n`, { mode: 0o600, random: io.random });
          const next =
            request.role === 'host' ? '; on the host: holdfast install agent --join-file FILE' : '';
          context.say(`${file === undefined ? '' : `wrote ${file}: `}${id}, good until ${expiresAt}${next}`);
        });
        return 0;
      }),
    );
  outputOption(clientOptions(create));
  examples(create, [
    'token create --role host --label env=prod --write join.token',
    'token create --role host --uses 20 --expires-in 2h --name "edge-*"',
    'token create --role operator --subject ann --write ann.token',
  ]);

  const ls = command
    .command('ls')
    .summary('list tokens')
    .description('Lists tokens, without their secrets, the oldest first. Those that ended stay for a month.')
    .option('--kind <api|join|host>', 'only this kind (default: api and join)', collect)
    .addOption(knownWords(new Option('--role <role>', 'only this role').argParser(collect), roles))
    .option('--subject <name>', 'only of this person or program', collect)
    .action(
      action(context, async (flags: Flags) => {
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => tokenRequests.list(filterOf(flags), page), {
            empty: 'no tokens',
            write: (tokens, form) => writeTable(io, tokens, columns(io.clock.now()), form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(ls)));
  examples(ls, ['token ls', 'token ls --role admin', 'token ls --kind join -o wide']);

  const revoke = command
    .command('revoke')
    .argument('<id...>', 'ids as "token ls" shows them; never the tokens themselves')
    .summary('end tokens')
    .description('Ends tokens at once, also on connections that are open.')
    .action(
      action(context, async (ids: readonly string[], flags: Flags) => {
        await context.ask(flags, 'registry', async (client) => {
          for (const id of ids) {
            await client.call(tokenRequests.revoke(id));
            context.say(`${id} has ended`);
          }
        });
        return 0;
      }),
    );
  clientOptions(revoke);
  examples(revoke, ['token revoke tok-01kdvdna00eebswqmhrv62wrtb']);
}

function requestOf(flags: Flags): TokenRequest {
  const { subject, expiresIn, uses, label, region, name, hosts, app } = flags as Record<string, never>;
  const role = parseRole(flags['role'] as string);
  if (role === undefined)
    throw new UsageError(
      `Cannot make a token of role "${flags['role']}": expected one of ${roles.join(', ')}`,
    );
  const scope = { ...(hosts === undefined ? {} : { hosts }), ...(app === undefined ? {} : { apps: app }) };
  return {
    role,
    ...(subject === undefined ? {} : { subject }),
    ...(expiresIn === undefined ? {} : { expiresInMs: requireDuration(expiresIn, '--expires-in') }),
    ...(uses === undefined ? {} : { uses: requireCount(uses) }),
    ...(label === undefined ? {} : { labels: labelsOf(label) }),
    ...(region === undefined ? {} : { region }),
    ...(name === undefined ? {} : { name }),
    ...(Object.keys(scope).length === 0 ? {} : { scope }),
  };
}

function requireCount(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new UsageError(`Cannot read --uses "${text}": expected a number from 1`);
}

function labelsOf(pairs: readonly string[]): Record<string, string> {
  const labels = pairs.map((pair): [string, string] => {
    const at = pair.indexOf('=');
    if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
    throw new UsageError(`Cannot read --label "${pair}": expected key=value`);
  });
  return Object.fromEntries(labels);
}

function filterOf(flags: Flags): TokenFilter {
  const { kind, role, subject } = flags as Record<string, never>;
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(role === undefined ? {} : { role }),
    ...(subject === undefined ? {} : { subject }),
  };
}

function columns(now: number): Column<TokenDocument>[] {
  return [
    { title: 'SUBJECT', of: ({ subject }) => subject },
    { title: 'ROLE', of: ({ role, kind }) => (kind === 'join' ? 'host (join)' : role) },
    { title: 'STATE', of: (token) => stateOf(token, now), status: true },
    { title: 'USES', of: ({ uses }) => (uses === null ? null : String(uses)), spare: true },
    { title: 'MADE BY', of: ({ createdBy }) => createdBy, spare: true },
    { title: 'MADE', of: ({ createdAt }) => createdAt, wide: true, spare: true },
    { title: 'EXPIRES', of: ({ expiresAt }) => expiresAt, wide: true, spare: true },
    { title: 'ID', of: ({ id }) => id, whole: true },
  ];
}

/** `good for 29d`, `expired`, `revoked`, `used up` */
function stateOf({ revokedAt, expiresAt, uses }: TokenDocument, now: number): string {
  if (revokedAt !== null) return 'revoked';
  const leftMs = (parseInstant(expiresAt) ?? 0) - now;
  if (leftMs <= 0) return 'expired';
  return uses === 0 ? 'used up' : `good for ${formatDuration(leftMs)}`;
}
