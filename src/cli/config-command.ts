/** `holdfast config` */
import { Argument, type Command } from 'commander';
import { systemRequests } from '../client/system.ts';
import { type DetectorSpec, detectorName } from '../domain/detector.ts';
import type { NotifyPlan } from '../domain/notify.ts';
import { defaultOf, type Flags, readSettings, type Settings } from './config.ts';
import { checkStart } from './config-check.ts';
import { action, type Context, clientOptions, examples, outputOption } from './context.ts';
import { UsageError } from './exit.ts';
import type { Io } from './io.ts';
import type { Role } from './locations.ts';
import { type Column, writeJson, writeTable, writeYaml } from './output.ts';
import { isSecret, type RoleCommand, roleCommands, settings, settingsOf } from './settings.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command.description('Settings of the roles: flags, then HOLDFAST_* variables, then a file, then defaults.');
  const roleArgument = () => new Argument('<role>', 'whose settings').choices(roleCommands);

  const print = command
    .command('print')
    .addArgument(roleArgument())
    .summary('show settings and where they come from')
    .description(
      'Shows what a role would start with from here and who said so; with --running, what a running one uses.',
    )
    .option('--config <file>', 'YAML file to read (HOLDFAST_CONFIG)')
    .option('--running', 'ask the running role instead')
    .action(
      action(context, async (role: RoleCommand, flags: Flags) => {
        if (flags['running'] === true) {
          if (role === 'runner')
            throw new UsageError('Cannot ask the runner: it has no API; leave --running away');
          const asked: Role = role === 'registry' ? 'registry' : 'agent';
          await context.ask(flags, asked, async (client) => {
            const answer = await client.call(systemRequests.config());
            if (flags['output'] === 'json') writeJson(io, answer.text);
            else await writeYaml(io, JSON.stringify(answer.document.config));
          });
          return 0;
        }
        const rows = rowsOf(io, await readSettings(io, role, flags));
        const document = JSON.stringify(
          Object.fromEntries(rows.map(({ name, value, source }) => [name, { value, source }])),
        );
        if (flags['output'] === 'json') writeJson(io, document);
        else if (flags['output'] === 'yaml') await writeYaml(io, document);
        else writeTable(io, rows, columns, flags['output'] === 'wide' ? 'wide' : 'table');
        return 0;
      }),
    );
  outputOption(clientOptions(print));
  examples(print, ['config print agent --config agent.yaml', 'config print agent --running']);

  const check = command
    .command('check')
    .addArgument(roleArgument())
    .summary('tell whether a role would start with these settings')
    .description(
      'Reads everything that the role would read, and exits 0, or 78 with the place of the first mistake.',
    )
    .option('--config <file>', 'YAML file to read (HOLDFAST_CONFIG)')
    .action(
      action(context, async (role: RoleCommand, flags: Flags) => {
        await checkStart(io, await readSettings(io, role, flags), flags);
        context.say('ok');
        return 0;
      }),
    );
  examples(check, ['config check agent --config agent.yaml']);
}

interface Row {
  readonly name: string;
  readonly value: string | null;
  readonly source: string;
  readonly env: string | null;
}

const columns: readonly Column<Row>[] = [
  { title: 'SETTING', of: ({ name }) => name },
  { title: 'VALUE', of: ({ value }) => value },
  { title: 'FROM', of: ({ source }) => source },
  { title: 'VARIABLE', of: ({ env }) => env, wide: true },
];

function rowsOf(io: Io, given: Settings): Row[] {
  return settingsOf[given.role].map((name) => {
    const { env } = settings[name];
    const found = given.given.get(name);
    if (found !== undefined)
      return { name, value: isSecret(name) ? '(set)' : textOf(found.value), source: found.source, env };
    const value = defaultOf(io, given, name);
    return value === undefined
      ? { name, value: null, source: 'not set', env }
      : { name, value: textOf(value), source: 'default', env };
  });
}

function textOf(value: unknown): string {
  if (value === null) return 'none';
  if (Array.isArray(value)) return value.map(nameOf).join(', ') || 'none';
  if (typeof value !== 'object') return String(value);
  if ('sinks' in value) return sinksText(value as NotifyPlan);
  if (!('port' in value)) return pairsText(value);
  const { host, port } = value as { host: string; port: number };
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Of an entry of a list: a URL, a check by its type, a detector. */
function nameOf(entry: unknown): string {
  if (typeof entry !== 'object' || entry === null) return String(entry);
  return 'type' in entry ? String(entry.type) : detectorName(entry as DetectorSpec);
}

/** Their names: where they are may be a secret. */
function sinksText({ sinks, rules }: NotifyPlan): string {
  if (sinks.length === 0) return 'none';
  return `${sinks.map(({ name, kind }) => `${name} (${kind})`).join(', ')}; rules: ${rules.map(({ name }) => name).join(', ') || 'none'}`;
}

function pairsText(value: object): string {
  return Object.entries(value)
    .map(([key, text]) => `${key}=${Array.isArray(text) ? text.join('+') || 'none' : String(text)}`)
    .join(',');
}
