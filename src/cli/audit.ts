/** `holdfast audit` */
import { type Command, Option } from 'commander';
import { parseDuration } from '../base/time.ts';
import { auditRequests } from '../client/audit.ts';
import type { AuditDocument } from '../domain/audit.ts';
import type { AuditFilter } from '../domain/services.ts';
import type { Flags } from './config.ts';
import {
  action,
  type Context,
  clientOptions,
  collect,
  examples,
  outputOption,
  pageOptions,
} from './context.ts';
import { exitCodes, UsageError } from './exit.ts';
import type { Role } from './locations.ts';
import { type Column, none, writeTable } from './output.ts';
import { requireInstant } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description(
    'What people and tokens did, kept for 400 days: each entry is chained to the one before by its hash.',
  );

  const ls = roleOption(command.command('ls'))
    .summary('list acts, the latest first')
    .description('Lists acts, the latest first. A repeated filter matches any of its values.')
    .option('--actor <subject>', 'only what this person, program or host did', collect)
    .option('--type <type>', 'only acts of this type, such as token.issued, or of a family: token.*', collect)
    .option('--host <host>', 'only what concerns this host', collect)
    .option('--since <time>', 'from this instant on, or from so long ago: 2h')
    .option('--until <time>', 'before this instant, or before so long ago')
    .action(
      action(context, async (flags: Flags) => {
        const filter = filterOf(flags, io.clock.now());
        await context.ask(flags, flags['role'] as Role, (client) =>
          context.showList(flags, client, (page) => auditRequests.list(filter, page), {
            empty: 'no acts',
            write: (entries, form) => writeTable(io, entries as readonly AuditDocument[], columns, form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(ls)));
  examples(ls, ['audit ls', 'audit ls --actor ann --since 7d', 'audit ls --type "token.*" -o wide']);

  const verify = roleOption(command.command('verify'))
    .summary('check that nobody has changed it')
    .description(
      'Walks along the whole chain. Exit 1 names the first entry that is not as it was written.\n' +
        'The end of the chain is printed: noted elsewhere, it shows later (--noted) that nothing up to it was written anew.',
    )
    .option('--noted <text>', 'what an earlier verify printed: "SEQ HASH"')
    .action(
      action(context, async (flags: Flags) => {
        const noted = notedOf(flags['noted'] as string | undefined);
        return context.ask(flags, flags['role'] as Role, async (client) => {
          const answer = await client.call(auditRequests.verify(noted));
          const { ok, detail, from, head } = answer.document;
          await context.show(flags, answer, () => io.stdout.write(`${head.seq} ${head.hash}\n`));
          context.say(
            ok
              ? `the audit is as it was written, entries ${from} to ${head.seq}`
              : `the audit is not as it was written: ${detail}`,
          );
          return ok ? exitCodes.ok : exitCodes.failed;
        });
      }),
    );
  outputOption(clientOptions(verify));
  examples(verify, ['audit verify', 'audit verify > noted', 'audit verify --noted "$(cat noted)"']);
}

function roleOption(command: Command): Command {
  return command.addOption(
    new Option('--role <role>', 'whose audit').choices(['registry', 'agent']).default('registry', 'registry'),
  );
}

function filterOf(flags: Flags, now: number): AuditFilter {
  const { actor, type, host, since, until } = flags as Record<string, never>;
  return {
    ...(actor === undefined ? {} : { actor }),
    ...(type === undefined ? {} : { type }),
    ...(host === undefined ? {} : { host }),
    ...(since === undefined ? {} : { sinceMs: instantOf(since, '--since', now) }),
    ...(until === undefined ? {} : { untilMs: instantOf(until, '--until', now) }),
  };
}

function notedOf(text: string | undefined): { seq: number; hash: string } | null {
  if (text === undefined) return null;
  const [, seq, hash] = /^\s*([1-9]\d{0,15}) (sha256:[0-9a-f]{64})\s*$/.exec(text) ?? [];
  if (seq === undefined || hash === undefined)
    throw new UsageError('Cannot read --noted: expected what "audit verify" printed, a number and a hash');
  return { seq: Number(seq), hash };
}

function instantOf(text: string, flag: string, now: number): number {
  const agoMs = /[a-z]$/.test(text) ? parseDuration(text) : undefined;
  return agoMs === undefined ? requireInstant(text, flag) : now - agoMs;
}

const columns: readonly Column<AuditDocument>[] = [
  { title: 'AT', of: ({ at }) => at },
  { title: 'WHO', of: ({ actor }) => actor },
  { title: 'DID', of: ({ type }) => type },
  { title: 'HOST', of: ({ host }) => host, spare: true },
  { title: 'WHAT', of: ({ body }) => wordsOf(body), spare: true },
  { title: 'ROLE', of: ({ role }) => role, wide: true, spare: true },
  { title: 'TOKEN', of: ({ token }) => token, wide: true, spare: true },
  { title: 'SEQ', of: ({ seq }) => String(seq), wide: true },
];

/** Of a body what people know things by. */
function wordsOf(body: unknown): string {
  if (typeof body !== 'object' || body === null) return none;
  const members = body as Readonly<Record<string, unknown>>;
  const known = ['operation', 'subject', 'type', 'name', 'what', 'component'].find(
    (key) => typeof members[key] === 'string',
  );
  const id =
    members['id'] ??
    members['uuid'] ??
    (known === 'component' ? (members['version'] ?? members['train']) : undefined);
  return [known === undefined ? undefined : members[known], id]
    .filter((word) => typeof word === 'string')
    .join(' ');
}
