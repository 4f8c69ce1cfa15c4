/** The page of one command with all below it: `holdfast-hosts(1)`. */
import type { DescribedCommand, DescribedOption, DescribedValue } from '../../src/cli/described.ts';
import { roleCommands, settings, settingsOf } from '../../src/cli/settings.ts';
import { bold, italic, Page, type PageHead, plain } from './roff.ts';
import { commandFiles, unitOf, unitVariables, variables } from './words.ts';

/** Run by the system or by root: the others are section 1. */
const administration = ['registry', 'agent', 'runner', 'install'];

export function sectionOf(name: string): 1 | 8 {
  return administration.includes(name) ? 8 : 1;
}

export function commandPage(
  command: DescribedCommand,
  { version, date, names }: Pick<PageHead, 'version' | 'date'> & { readonly names: readonly string[] },
): string {
  const [name = ''] = command.path;
  const page = new Page({ name: `holdfast-${name}`, section: sectionOf(name), version, date });
  page.section('Name').line(`${plain(`holdfast-${name}`)} \\- ${plain(shortSummary(command))}`);
  page.section('Synopsis');
  const runs = command.commands.length === 0 || hasOwnAction(command) ? [command] : [];
  const synopses = [...runs, ...command.commands];
  for (const [index, one] of synopses.entries()) {
    if (index > 0) page.break();
    page.line(synopsis(one));
  }
  page.section('Description').paragraphs(command.description);
  if (command.standsFor !== null)
    page.paragraphs(`"holdfast ${name}" alone means "holdfast ${command.standsFor.path.join(' ')}".`);

  const own = ownOptions(command);
  if (command.arguments.length > 0 || (own.length > 0 && command.commands.length === 0)) {
    page.section('Options');
    argumentsAndOptions(page, command);
  } else if (own.length > 0) {
    page.section('Options');
    for (const option of own) page.item(term(option), meaning(option));
  }
  if (command.commands.length > 0) {
    page.section('Commands');
    for (const one of command.commands) {
      page.subsection(`holdfast ${one.path.join(' ')}`).paragraphs(one.description);
      argumentsAndOptions(page, one);
      examples(page, one.examples);
    }
  }
  for (const [group, shared] of sharedGroups(synopses)) {
    page.section(group);
    for (const { option, only } of shared)
      page.item(term(option), `${meaning(option)}${only === '' ? '' : ` Only ${only}.`}`);
  }
  environment(page, name);
  files(page, name);
  page.section('Exit status');
  page.paragraphs('Zero is success, and each other number says what was wrong; holdfast(1) has them.');
  // Those of a group stand with its commands.
  if (runs.length > 0) {
    page.section('Examples');
    examples(page, command.examples);
  }
  seeAlso(page, name, names);
  return page.text();
}

/** `hosts of the fleet`, without the list of its commands. */
export function shortSummary({ summary, commands }: DescribedCommand): string {
  return commands.length === 0 ? summary : (summary.split(': ')[0] ?? summary);
}

/** `\fBholdfast hosts label\fR [\fIoption\fR...] \fIhost\fR` */
export function synopsis(command: DescribedCommand): string {
  const values = command.arguments.map(({ value }) => {
    const text = `${italic(value.name)}${value.variadic ? '...' : ''}`;
    return value.required ? text : `[${text}]`;
  });
  const must = command.options.filter(({ mandatory }) => mandatory).map((option) => optionName(option));
  const rest = command.options.length > must.length ? [`[${italic('option')}...]`] : [];
  return [bold(['holdfast', ...command.path].join(' ')), ...must, ...rest, ...values].join(' ');
}

/** A group that does something by itself, such as registry, has options of its own. */
function hasOwnAction({ options, commands, standsFor }: DescribedCommand): boolean {
  return commands.length > 0 && options.length > 0 && standsFor === null;
}

function argumentsAndOptions(page: Page, command: DescribedCommand): void {
  for (const { value, help } of command.arguments)
    page.item(`${italic(value.name)}${value.variadic ? '...' : ''}`, `${help}${choicesOf(value, null)}.`);
  for (const option of ownOptions(command)) page.item(term(option), meaning(option));
}

/** Those that only this command has; the others stand once at the end of the page. */
function ownOptions({ options }: DescribedCommand): readonly DescribedOption[] {
  return options.filter(({ group }) => !sharedHeadings.includes(group));
}

const sharedHeadings = ['Whom to ask', 'Output'];

interface SharedOption {
  readonly option: DescribedOption;
  /** Which commands have it: `ls and watch`; empty: all. */
  readonly only: string;
}

function sharedGroups(commands: readonly DescribedCommand[]): ReadonlyMap<string, readonly SharedOption[]> {
  const groups = new Map<string, SharedOption[]>();
  for (const group of sharedHeadings) {
    const all = commands.flatMap(({ options }) => options.filter((option) => option.group === group));
    const byName = new Map(all.map((option) => [option.long, option]));
    if (byName.size === 0) continue;
    groups.set(
      group,
      [...byName.values()].map((option) => {
        const having = commands.filter(({ options }) =>
          options.some((one) => one.group === group && one.long === option.long),
        );
        const names = having.map(({ path }) => path.at(-1) ?? '');
        return { option, only: having.length === commands.length ? '' : listed(names) };
      }),
    );
  }
  return groups;
}

function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`;
}

function term(option: DescribedOption): string {
  const { short, value } = option;
  const letter = short === null ? '' : `${bold(short)}${value === null ? '' : ` ${italic(value.name)}`}, `;
  return `${letter}${optionName(option)}`;
}

function optionName({ long, value }: DescribedOption): string {
  return `${bold(long)}${value === null ? '' : ` ${italic(value.name)}`}`;
}

function meaning(option: DescribedOption): string {
  const { help, value, repeatable } = option;
  const words = `${help}${value === null ? '' : choicesOf(value, option.default)}`;
  return `${words}${repeatable && !/repeatable/.test(help) ? ' (may be given several times)' : ''}.`;
}

function choicesOf({ name, choices }: DescribedValue, preset: string | null): string {
  const words = choices.length === 0 || name.includes('|') ? [] : [choices.join(', ')];
  const all = [...words, ...(preset === null ? [] : [`default: ${preset}`])];
  return all.length === 0 ? '' : ` (${all.join('; ')})`;
}

function examples(page: Page, lines: readonly string[]): void {
  page.example(lines.flatMap((line) => folded(`holdfast ${line}`)));
}

/** A command line in the width of a page, with the shell's own backslash. */
export function folded(line: string, width = 68): string[] {
  if (line.length <= width) return [line];
  const at = [...line.matchAll(/(?<=\S) (?=--|[<>] )/g)].map(({ index }) => index);
  const last = at.filter((index) => index <= width).at(-1) ?? at[0];
  if (last === undefined) return [line];
  return [`${line.slice(0, last)} \\`, ...folded(`    ${line.slice(last + 1)}`, width)];
}

function environment(page: Page, name: string): void {
  const role = roleCommands.find((one) => one === name);
  page.section('Environment');
  if (role === undefined) {
    page.paragraphs('The variables that stand for options are in holdfast(1).');
    return;
  }
  page.paragraphs('The variable that stands for an option is named with it.');
  const others = settingsOf[role].flatMap((setting): [string, string][] => {
    const { env, flag, help } = settings[setting];
    return env === null || flag !== null ? [] : [[env, help]];
  });
  if (role === 'agent') others.push(['HOLDFAST_JOIN', variables.HOLDFAST_JOIN]);
  if (role !== 'up') others.push(...Object.entries(unitVariables));
  if (others.length > 0) page.paragraphs('These have no option:');
  for (const [variable, words] of others) page.item(bold(variable), `${words}.`);
}

function files(page: Page, name: string): void {
  const own = commandFiles[name];
  if (own === undefined) return;
  page.section('Files');
  for (const [path, words] of Object.entries(own)) page.item(italic(path), `${words}.`);
}

function seeAlso(page: Page, name: string, names: readonly string[]): void {
  const unit = unitOf(name);
  const others = (seeAlsoOf[name] ?? [])
    .filter((other) => names.includes(other))
    .map((other) => reference(`holdfast-${other}`, sectionOf(other)));
  const config = [...roleCommands, 'config', 'install'].includes(name) ? [reference('holdfast.yaml', 5)] : [];
  const system = unit === undefined ? [] : [reference('systemctl', 1)];
  page.section('See also').line([reference('holdfast', 1), ...others, ...config, ...system].join(',\n'));
}

const seeAlsoOf: Readonly<Record<string, readonly string[]>> = {
  up: ['agent', 'registry', 'status'],
  agent: ['registry', 'runner', 'status', 'token', 'install', 'config'],
  registry: ['agent', 'token', 'login', 'backup', 'install', 'config'],
  runner: ['agent', 'status', 'install'],
  install: ['agent', 'registry', 'runner'],
  status: ['agent', 'watch'],
  hosts: ['token', 'components', 'watch'],
  services: ['watch', 'hosts'],
  components: ['hosts', 'releases'],
  releases: ['components', 'token', 'audit'],
  watch: ['services', 'hosts'],
  token: ['login', 'audit', 'agent'],
  login: ['logout', 'context', 'token'],
  logout: ['login', 'context'],
  context: ['login', 'logout'],
  audit: ['token'],
  backup: ['restore'],
  restore: ['backup'],
  config: ['agent', 'registry'],
};

/** `holdfast-agent(8)` */
export function reference(name: string, section: number): string {
  return `${bold(name)}(${section})`;
}
