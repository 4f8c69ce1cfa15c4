/** `holdfast doctor` */
import { lstat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { limits } from '../base/limits.ts';
import { visibleJson } from '../base/visible.ts';
import type { HoldfastClient } from '../client/client.ts';
import { doctorRequests } from '../client/doctor.ts';
import { type HostReport, isHostReport } from '../domain/diagnosis.ts';
import { mintUuid } from '../domain/ids.ts';
import type { DoctorReportDocument, DoctorSummaryDocument } from '../wire/doctor.ts';
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
import { localContext } from './contexts.ts';
import { absence, type Gathered, gather } from './doctor-gather.ts';
import { wayOf } from './doctor-send.ts';
import { writeReport } from './doctor-words.ts';
import { UsageError } from './exit.ts';
import { readGiven } from './given.ts';
import type { Io } from './io.ts';
import { type Column, type Form, writeJson, writeTable, writeYaml } from './output.ts';
import { connect } from './whom.ts';

export function define(command: Command, context: Context): void {
  command
    .description(
      'Gathers what this host says of itself, also while its agent is down, shows it with secrets masked, and asks ' +
        'whether to send it to the registry, where only admins read it.\n' +
        'Of what is installed it tells the system, the kernel and holdfast, or what --component names. It goes ' +
        'through the agent; without one as the host itself, or to whom --url or --context names.',
    )
    .option('--comment <text>', 'what you have seen; @FILE reads a file, @- stdin')
    .option(
      '--component <name>',
      'tell of this component, of all of a detector, or what a check or detector has printed',
      collect,
    )
    .option('--send', 'send it without asking')
    .option('--dry-run', 'show it, and send nothing')
    .option('--save <file>', 'write it as JSON into a new file, and send nothing')
    .option('--data-dir <folder>', "the agent's data directory, for when it is down (HOLDFAST_DATA_DIR)")
    .option('--config <file>', "the agent's settings, for when it is down (HOLDFAST_CONFIG)")
    .action(action(context, (flags: Flags) => examine(context, flags)));
  outputOption(clientOptions(command));
  examples(command, [
    'doctor',
    'doctor --comment @notes.txt --component nginx --send',
    'doctor --dry-run -o json',
    'doctor --save report.json',
  ]);
  defineReading(command, context);
}

/** What is shown as JSON, saved, and sent under its id. */
interface Sent {
  readonly id: string;
  readonly host: string | null;
  readonly comment: string | null;
  readonly report: HostReport;
}

async function examine(context: Context, flags: Flags): Promise<0> {
  const { io } = context;
  const save = flags['save'] as string | undefined;
  const isSilent = save !== undefined || flags['dryRun'] === true;
  if (isSilent && flags['send'] === true)
    throw new UsageError('Cannot send the report: --dry-run and --save send nothing');
  if (save !== undefined) await requireNew(save);
  const given = (await readGiven(io, flags, ['comment'])).comment;
  const agent = await askedAgent(io, flags);
  try {
    const { gathered, client } = await gatherFrom(io, flags, agent);
    const comment = given === undefined ? null : commentOf(gathered, given);
    const { report } = gathered;
    const sent: Sent = { id: mintUuid(io.clock.now(), io.random), host: report.host, comment, report };
    await showReport(io, flags, sent);
    if (save !== undefined) {
      await writeFileAtomic(resolve(save), `${JSON.stringify(sent, null, 2)}\n`, { mode: 0o600 });
      context.say(`wrote ${save}; nothing was sent`);
      return 0;
    }
    if (flags['dryRun'] === true) return 0;
    if (flags['send'] !== true && (io.stdout.columns === undefined || io.stderr.columns === undefined)) {
      context.say('not sent: nobody can be asked here, --send sends it');
      return 0;
    }
    const way = await wayOf(io, flags, { agent: client, ...gathered });
    try {
      if (flags['send'] !== true && !(await isAgreed(io, way.words))) {
        context.say('not sent');
        return 0;
      }
      await way.client.call(doctorRequests.file({ ...sent, body: report }));
      context.say(`sent to ${way.words}; an admin reads it with: holdfast doctor get ${sent.id}`);
      return 0;
    } finally {
      await way.client.close();
    }
  } finally {
    await agent.client?.close();
  }
}

/** The agent of this machine; nobody else is told of, whomever other commands would ask. */
async function askedAgent(
  io: Io,
  flags: Flags,
): Promise<{ readonly client: HoldfastClient | null; readonly why: string | null }> {
  const { socket, timeout } = flags;
  const whom = socket === undefined ? { context: localContext } : { socket };
  try {
    return {
      client: await connect(io, { ...whom, ...(timeout === undefined ? {} : { timeout }) }, 'agent'),
      why: null,
    };
  } catch (error) {
    const why = absence(error);
    if (why === null) throw error;
    return { client: null, why };
  }
}

/** One that has accepted and does not answer is down too, and one of another data directory is not the one meant. */
async function gatherFrom(
  io: Io,
  flags: Flags,
  { client, why }: { client: HoldfastClient | null; why: string | null },
): Promise<{ readonly gathered: Gathered; readonly client: HoldfastClient | null }> {
  const wanted = {
    components: (flags['component'] ?? []) as readonly string[],
    config: flags['config'] as string | undefined,
  };
  const withoutAgent = async (reason: string | null) => ({
    gathered: await gather(io, flags, { client: null, why: reason, wanted }),
    client: null,
  });
  if (client === null) return withoutAgent(why);
  try {
    const gathered = await gather(io, flags, { client, why: null, wanted });
    const named = flags['dataDir'] as string | undefined;
    if (named !== undefined && resolve(named) !== resolve(gathered.dataDir))
      return withoutAgent(`the agent: the one that answers is that of ${gathered.dataDir}`);
    return { gathered, client };
  } catch (error) {
    const reason = absence(error);
    if (reason === null) throw error;
    return withoutAgent(reason);
  }
}

/** Masked as everything else: people paste what they have seen. */
function commentOf({ mask }: Gathered, given: string): string {
  const text = mask.text(given.trim());
  const bytes = Buffer.byteLength(text);
  if (bytes <= limits.doctorCommentBytes) return text;
  throw new UsageError(
    `Cannot use --comment: it takes ${bytes} bytes, expected at most ${limits.doctorCommentBytes}`,
  );
}

async function showReport(io: Io, flags: Flags, sent: Sent): Promise<void> {
  const form = flags['output'] as Form;
  if (form === 'json') writeJson(io, JSON.stringify(sent));
  else if (form === 'yaml') await writeYaml(io, JSON.stringify(sent));
  else writeReport(io, sent.report, sent);
}

/** The first line that is typed; anything but yes is no. */
async function isAgreed(io: Io, whom: string): Promise<boolean> {
  io.stderr.write(`\nSend it to ${whom}? [y/N] `);
  let line = '';
  for await (const chunk of io.stdin) {
    line += Buffer.from(chunk).toString('utf8');
    if (line.includes('\n') || line.length > 80) break;
  }
  return /^\s*y(?:es)?\s*(?:\n|$)/i.test(line);
}

async function requireNew(file: string): Promise<void> {
  const found = await lstat(file).catch(() => undefined);
  if (found !== undefined)
    throw new UsageError(`Cannot write the report: ${file} exists, remove it or name another file`);
  const folder = dirname(resolve(file));
  if (
    await lstat(folder).then(
      () => false,
      () => true,
    )
  )
    throw new UsageError(
      `Cannot write the report: there is no folder ${folder}, make it or name another file`,
    );
}

function defineReading(command: Command, context: Context): void {
  const { io } = context;
  const ls = command
    .command('ls')
    .summary('list the reports that the registry has, the latest first')
    .description('Lists the reports that the registry has, the latest first. Only admins may.')
    .action(
      action(context, async (flags: Flags) => {
        await context.ask(flags, 'registry', (client) =>
          context.showList(flags, client, (page) => doctorRequests.list(page), {
            empty: 'no reports',
            write: (reports, form) =>
              writeTable(io, reports as readonly DoctorSummaryDocument[], columns, form),
          }),
        );
        return 0;
      }),
    );
  pageOptions(outputOption(clientOptions(ls)));
  examples(ls, ['doctor ls']);

  const get = command
    .command('get')
    .argument('<id>', 'of the report')
    .summary('show a report; the audit keeps who did')
    .description('Shows a report. Only admins may, and the audit keeps who did.')
    .action(
      action(context, async (id: string, flags: Flags) => {
        await context.ask(flags, 'registry', async (client) => {
          const answer = await client.call(doctorRequests.get(id));
          await context.show(flags, answer, (document) => writeSent(io, document));
        });
        return 0;
      }),
    );
  outputOption(clientOptions(get));
  examples(get, ['doctor get 019b76da-a800-7000-8000-000000000001']);

  const rm = command
    .command('rm')
    .argument('<id>', 'of the report')
    .summary('remove a report')
    .description(`Removes a report. After ${limits.doctorKeptMs / 86_400_000} days they leave by themselves.`)
    .action(
      action(context, async (id: string, flags: Flags) => {
        await context.ask(flags, 'registry', (client) => client.call(doctorRequests.remove(id)));
        context.say(`removed report ${id}`);
        return 0;
      }),
    );
  clientOptions(rm);
  examples(rm, ['doctor rm 019b76da-a800-7000-8000-000000000001']);
}

const columns: readonly Column<DoctorSummaryDocument>[] = [
  { title: 'AT', of: ({ at }) => at, whole: true },
  { title: 'HOST', of: ({ host }) => host },
  { title: 'ID', of: ({ id }) => id, whole: true },
  { title: 'COMMENT', of: ({ comment }) => comment, spare: true },
  { title: 'SENT BY', of: ({ sender }) => sender, wide: true },
  { title: 'BYTES', of: ({ bytes }) => String(bytes), wide: true },
  { title: 'WIRE', of: ({ wire }) => wire, wide: true },
];

/** One of ours as its host has shown it; what is of another form, as it is. */
function writeSent(io: Io, { report, comment, wire }: DoctorReportDocument): void {
  if (wire === 'v1' && isHostReport(report)) writeReport(io, report, { comment });
  else writeJson(io, visibleJson(JSON.stringify(report, null, 2)));
}
