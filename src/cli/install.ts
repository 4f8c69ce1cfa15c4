/** `holdfast install`: makes this machine a host, or the registry, that systemd keeps running. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import { removeFile } from '../base/atomic-file.ts';
import { formatDuration } from '../base/time.ts';
import { createClient } from '../client/client.ts';
import { LinkError } from '../client/link.ts';
import { type Allow, allowDefault, drivers, handlers } from '../domain/allow.ts';
import { AppError } from '../domain/error.ts';
import { parseJoinToken } from '../wire/join-token.ts';
import { handedOverToken, hasJoined } from './agent-config.ts';
import { type Flags, readToken } from './config.ts';
import { readConfigText, readValue } from './config-file.ts';
import { action, type Context, debugOption, examples } from './context.ts';
import { ConfigurationError, type ExitCode, exitCodes, UsageError } from './exit.ts';
import { configurationFile, InstallPlan } from './install-steps.ts';
import type { Io } from './io.ts';
import type { Role } from './locations.ts';
import { nonEmpty } from './locations.ts';
import { type SettingName, settings } from './settings.ts';
import { requireDuration } from './words.ts';
import { editYaml, type YamlEdit } from './yaml-edit.ts';

/** Settings that may be written into the file of a role on the way. */
const offered = {
  agent: ['registry', 'name', 'region'],
  registry: ['listen', 'advertiseUrl'],
} as const satisfies Record<Role, readonly SettingName[]>;

const stateFolder = '/var/lib/holdfast/agent';
const agentSocket = '/run/holdfast/agent/admin.sock';
const pollMs = 500;

export function define(command: Command, context: Context): void {
  command
    .addArgument(new Argument('[role]', 'what this machine shall be').choices(['agent', 'registry']))
    .description(
      'Has systemd run a role on this machine, now and at each boot. After the package it configures and starts it; the ' +
        'bare binary also copies itself to /usr/local/lib/holdfast and writes units. Doing it again does what is missing.',
    )
    .option(
      '--join-file <file>',
      'agent: file with a join token, - reads stdin (else HOLDFAST_JOIN holds it)',
    )
    .option('--allow <words>', `agent: lets the registry use these too: ${allowWords().join(', ')}`)
    .option('--registry <url>', 'agent: none for a host on its own')
    .option('--name <name>', 'agent: name of this host')
    .option('--region <region>', 'agent: region of this host')
    .option('--listen <host:port>', 'registry: address of its API, such as 0.0.0.0:7420')
    .option('--advertise-url <url,url>', 'registry: where hosts find it')
    .option('--timeout <duration>', 'how long to wait until the agent has joined (default 30s)')
    .option('--dry-run', 'tell what would be done')
    .option('--remove', 'undo what the bare binary installed; state, configuration and users stay')
    .addOption(debugOption())
    .action(
      action(context, async (role: Role | undefined, flags: Flags) => {
        requireFlagsOf(role, flags);
        const { io } = context;
        const host = await io.installHost();
        if (!host.manager.runs)
          throw new ConfigurationError(
            'Cannot install: systemd does not run this machine; have what does run "holdfast agent" or "holdfast registry", each as a user of its own',
          );
        if (io.uid !== 0)
          throw new AppError('forbidden', 'Cannot install as this user: it needs root; use sudo', {
            field: 'root',
          });
        const plan = new InstallPlan(host);
        if (flags['remove'] === true) {
          await plan.addRemoval();
          return remove(context, plan, flags);
        }
        if (role === undefined) throw new UsageError('Cannot install: name a role, agent or registry');
        const token = role === 'agent' ? await joinTokenOf(io, plan, flags) : null;
        plan.addProgram();
        await addConfiguration(plan, role, flags, token !== null);
        if (token !== null) plan.addJoinToken(token);
        await plan.addStart(role);
        if (!(await perform(context, plan, flags))) return exitCodes.ok;
        return role === 'agent' ? await reportAgent(context, plan, flags) : reportRegistry(context, plan);
      }),
    );
  examples(command, [
    'install agent --join-file ./edge-1.join',
    'install agent --registry none',
    'install agent --join-file - --allow exec < edge-1.join',
    'install registry --listen 0.0.0.0:7420 --advertise-url https://registry.example:7420',
    'install agent --join-file ./edge-1.join --dry-run',
  ]);
}

/** Words that `--allow` takes: drivers and handlers that a host does not allow by itself. */
function allowWords(): string[] {
  const usual: readonly string[] = [...allowDefault.drivers, ...allowDefault.handlers];
  return [...new Set<string>([...drivers, ...handlers])].filter((word) => !usual.includes(word));
}

function requireFlagsOf(role: Role | undefined, flags: Flags): void {
  const of: Record<Role, readonly string[]> = {
    agent: ['joinFile', 'allow', 'timeout', ...offered.agent],
    registry: offered.registry,
  };
  for (const [other, names] of Object.entries(of)) {
    const wrong = other === role ? undefined : names.find((name) => flags[name] !== undefined);
    if (wrong === undefined) continue;
    const flag = `--${wrong.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new UsageError(`Cannot use ${flag} here: it belongs to "install ${other}"`);
  }
}

/** Null when nobody gave one, which only a host that has joined, or stands alone, can do without. */
async function joinTokenOf(io: Io, plan: InstallPlan, flags: Flags): Promise<string | null> {
  const file = flags['joinFile'] as string | undefined;
  const text = file === undefined ? nonEmpty(io.env['HOLDFAST_JOIN']?.trim()) : await readToken(io, file);
  if (text === undefined) return null;
  try {
    parseJoinToken(text);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const where = file === undefined ? 'HOLDFAST_JOIN' : file === '-' ? 'stdin' : file;
    throw new ConfigurationError(`${error.message} (in ${where})`, { cause: error });
  }
  return (await plan.hasJoinToken(text)) ? null : text;
}

/** What was asked for goes into the role's file, below what a person wrote; the whole must be a configuration. */
async function addConfiguration(
  plan: InstallPlan,
  role: Role,
  flags: Flags,
  hasToken: boolean,
): Promise<void> {
  const file = configurationFile(role);
  const text = plan.configurationOf(role);
  const before = await readConfigText(text, { file, role });
  const edits: YamlEdit[] = [];
  for (const name of offered[role]) {
    const value = flags[name] as string | undefined;
    if (value === undefined) continue;
    readValue(name, value, (settings[name].flag ?? name).split(' ')[0] ?? name);
    edits.push({ path: settings[name].key.split('.'), value });
  }
  if (flags['allow'] !== undefined) {
    const allow = (before.get('allow')?.value as Allow | undefined) ?? allowDefault;
    edits.push(...allowEdits(allow, String(flags['allow'])));
  }
  const edited = await editYaml(text, edits, { file, heading: 'Written by "holdfast install".' });
  const after = await readConfigText(edited, { file, role });
  if (role === 'agent') {
    const registry = after.get('registry');
    const known = registry !== undefined || after.has('joinFile') || after.has('tokenFile');
    if (hasToken && registry !== undefined && registry.value === null)
      throw new ConfigurationError(
        `Cannot join: ${registry.source} says "registry: none"; remove that line, or leave the join token away`,
      );
    const handed = join(plan.at(stateFolder), handedOverToken);
    if (!hasToken && !known && !hasJoined(plan.at(stateFolder)) && !existsSync(handed))
      throw new UsageError(
        'Cannot install the agent: pass "--join-file FILE" with a join token ("holdfast token create --role host" makes one), or "--registry none" for a host on its own',
      );
  }
  plan.addConfiguration(role, edited);
}

function allowEdits(allow: Allow, text: string): YamlEdit[] {
  const words = text.split(',').map((word) => word.trim());
  const known = [...drivers, ...handlers] as readonly string[];
  const unknown = words.find((word) => !known.includes(word));
  if (unknown !== undefined)
    throw new UsageError(`Cannot allow "${unknown}": expected some of ${allowWords().join(', ')}`);
  const edit = (key: 'drivers' | 'handlers', all: readonly string[]): YamlEdit[] => {
    const value = [...new Set<string>([...allow[key], ...words.filter((word) => all.includes(word))])];
    return value.length === allow[key].length ? [] : [{ path: ['allow', key], value }];
  };
  return [...edit('drivers', drivers), ...edit('handlers', handlers)];
}

/** False when it only told. */
async function perform(context: Context, plan: InstallPlan, flags: Flags): Promise<boolean> {
  const dry = flags['dryRun'] === true;
  if (plan.steps.length === 0) context.say('everything is installed as it shall be');
  if (dry) for (const { words } of plan.steps) context.say(`would ${words}`);
  else await plan.perform((words) => context.say(words));
  return !dry;
}

async function remove(context: Context, plan: InstallPlan, flags: Flags): Promise<ExitCode> {
  if (plan.steps.length === 0) {
    context.say('nothing of the bare binary is installed; a package is removed with "apt remove holdfast"');
    return exitCodes.ok;
  }
  if (await perform(context, plan, flags))
    context.say('removed; /var/lib/holdfast, /etc/holdfast and the users are as they were');
  return exitCodes.ok;
}

/** Waits until it has joined, and says what it is now. */
async function reportAgent(context: Context, plan: InstallPlan, flags: Flags): Promise<ExitCode> {
  const { io } = context;
  const timeoutMs = requireDuration((flags['timeout'] as string | undefined) ?? '30s', '--timeout');
  const client = createClient({
    target: { socket: plan.at(agentSocket) },
    clock: io.clock,
    random: io.random,
    signal: io.signal,
  });
  try {
    const untilMs = io.clock.monotonic() + timeoutMs;
    for (;;) {
      const status = await statusOf(client);
      const { registry, host } = status;
      if (registry === null) {
        context.say(`the agent runs; this host stands on its own. "holdfast status" tells how it is.`);
        return exitCodes.ok;
      }
      if (registry?.joined === true && registry.connected) {
        await removeFile(join(plan.at(stateFolder), handedOverToken));
        context.say(
          `joined ${registry.url} as ${host?.name}. "holdfast status" tells how it is; members of the group holdfast may report to it.`,
        );
        return exitCodes.ok;
      }
      if (io.clock.monotonic() >= untilMs) {
        const why = registry?.problem ?? 'the registry has not answered yet';
        context.say(
          `the agent runs, but ${registry?.joined === true ? 'the registry has not answered' : 'has not joined'} within ${formatDuration(timeoutMs)}: ${why}\nIt goes on trying by itself; "holdfast status" tells how it is. Where the token has expired or was used before, make another ("holdfast token create --role host") and hand it over with --join-file.`,
        );
        return exitCodes.timedOut;
      }
      await io.clock.sleep(pollMs, { signal: io.signal });
    }
  } finally {
    await client.close();
  }
}

interface AgentStatus {
  readonly host?: { readonly name: string };
  readonly registry?: {
    readonly url: string | null;
    readonly joined: boolean;
    readonly connected: boolean;
    readonly problem: string | null;
  } | null;
}

/** Empty while nobody answers: it may be starting again at this moment. */
async function statusOf(client: { status(): Promise<Record<string, unknown>> }): Promise<AgentStatus> {
  try {
    return (await client.status()) as AgentStatus;
  } catch (error) {
    if (error instanceof LinkError) return {};
    throw error;
  }
}

function reportRegistry(context: Context, plan: InstallPlan): ExitCode {
  const file = configurationFile('registry');
  const text = readFileSync(plan.at(file), 'utf8');
  context.say(
    'the registry runs. Root asks it here without a token; elsewhere "holdfast login" needs ca.pem and admin.token of /var/lib/holdfast/registry.',
  );
  context.say(
    /^advertiseUrl:/m.test(text)
      ? 'Next, a token for each host: holdfast token create --role host --write edge-1.join'
      : `Hosts on other machines join only when ${file} says listen and advertiseUrl: run this again with --listen and --advertise-url.`,
  );
  return exitCodes.ok;
}
