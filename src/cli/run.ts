/** argv → exit code. Parses, runs one command, and puts every error into a line or two of words. */
import { Command, CommanderError } from 'commander';
import { nearest } from '../base/nearest.ts';
import { VERSION } from '../base/version.ts';
import { type CommandEntry, commands } from './commands.ts';
import { Context, examplesOfGroup } from './context.ts';
import { adviceFor, type ExitCode, exitCodeHelp, exitCodeOf, exitCodes, UsageError } from './exit.ts';
import type { Io } from './io.ts';
import { printable } from './output.ts';

/** Never throws. What it leaves open is nothing: the caller may end the process with the code. */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  const context = new Context(io, wholeProgram);
  // `holdfast help services ls`: commander knows only one word after help, and no mistake there.
  const [first, second] = argv;
  const isHelp = first === 'help' && (second === undefined || commands.some(({ name }) => name === second));
  const words = first === 'help' ? [...argv.slice(1), ...(isHelp ? ['--help'] : [])] : argv;
  try {
    refuseSecrets(words);
    const program = createProgram(context);
    const chosen = commands.find(({ name }) => name === words.find((word) => !word.startsWith('-')));
    if (chosen !== undefined) await define(program, chosen, context);
    if (isHelp) refuseUnknownHelp(program, argv.slice(1));
    const line = withDefault(program, chosen, words);
    if (words.length === 0) {
      program.outputHelp();
      return exitCodes.ok;
    }
    await program.parseAsync([...line], { from: 'user' });
    return context.exitCode;
  } catch (error) {
    return explain(error, words, io);
  }
}

/** The program with every command defined, to be described and never run: only actions touch the outside. */
export async function wholeProgram(): Promise<Command> {
  const context = new Context({} as Io, wholeProgram);
  const program = createProgram(context);
  for (const entry of commands) await define(program, entry, context);
  return program;
}

function createProgram(context: Context): Command {
  const { io } = context;
  const program = new Command('holdfast');
  program
    .description('Know what runs on every host, and hold it there.')
    .version(VERSION, '-V, --version', 'which version this is')
    .exitOverride()
    // An option behind a command's name is that command's: `registry rotate --socket` is not `registry --socket`.
    .enablePositionalOptions()
    .configureHelp({ showGlobalOptions: false, minWidthToWrap: 24 })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      // Errors are told once, by `explain`.
      outputError: () => undefined,
      getOutHelpWidth: () => io.stdout.columns ?? 80,
      getErrHelpWidth: () => io.stderr.columns ?? 80,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpCommand(
      new Command('help')
        .argument('[command...]')
        .summary('more about a command')
        .helpGroup('Look after it:'),
    )
    .addHelpText('after', rootHelp());
  for (const { name, summary, group } of commands)
    program.command(name).summary(summary).description(summary).helpGroup(group);
  return program;
}

/**
 * `holdfast hosts` means `holdfast hosts ls`. Not commander's own default command: that one takes a misspelt
 * subcommand for an argument, and nobody is told which one was meant.
 */
function withDefault(
  program: Command,
  chosen: CommandEntry | undefined,
  words: readonly string[],
): readonly string[] {
  const group = program.commands.find((command) => command.name() === chosen?.name);
  const [, next] = words;
  const bare = next === undefined || (next.startsWith('-') && next !== '--help' && next !== '-h');
  if (chosen === undefined || words[0] !== chosen.name || !bare) return words;
  // One with options of its own does something by itself.
  if ((group?.options.length ?? 0) > 0) return words;
  if (group?.commands.every((command) => command.name() !== 'ls') ?? true) return words;
  return [chosen.name, 'ls', ...words.slice(1)];
}

async function define(program: Command, entry: CommandEntry, context: Context): Promise<void> {
  const command = program.commands.find((one) => one.name() === entry.name);
  if (command === undefined) throw new Error(`command ${entry.name} is in the table but not in the program`);
  (await entry.load()).define(command, context);
  // Not the one of the program, whose heading is none of a group's.
  if (command.commands.length > 0)
    command.addHelpCommand(new Command('help').argument('[command]').summary('more about a command'));
  examplesOfGroup(command);
}

/** `holdfast help hosts nosuch`: commander would show the help of the group. */
function refuseUnknownHelp(program: Command, [name, sub]: readonly string[]): void {
  if (name === undefined || sub === undefined || sub.startsWith('-')) return;
  const known = program.commands.find((one) => one.name() === name)?.commands.map((one) => one.name()) ?? [];
  if (known.includes(sub) || (known.length > 0 && sub === 'help')) return;
  const near = nearest(sub, known);
  const wish =
    known.length === 0
      ? `"${name}" is one by itself`
      : near === undefined
        ? `it has ${known.join(', ')}`
        : `did you mean "${near}"?`;
  throw new UsageError(`Cannot explain "${name} ${sub}": there is no such command, ${wish}`);
}

function rootHelp(): string {
  const codes = Object.entries(exitCodeHelp).map(([code, words]) => `${code} ${words}`);
  return `
First steps:
  holdfast up                      start an agent and a registry here
  holdfast status                  how they are, from another terminal
  holdfast services ls             what is alive
  holdfast components ls           what is installed
  holdfast watch                   what changes, as it happens

"holdfast help COMMAND" tells more about each. Answers go to stdout, words to
stderr; "-o json" is for programs.
Exit codes: ${codes.slice(0, 5).join(', ')},
  ${codes.slice(5, 9).join(', ')},
  ${codes.slice(9).join(', ')}.`;
}

/** Arguments can be read by every process of the machine, so a secret in one is refused before anything uses it. */
function refuseSecrets(argv: readonly string[]): void {
  for (const word of argv) {
    const [name = ''] = word.split('=');
    const instead = secretFlags[name];
    if (instead !== undefined)
      throw new UsageError(
        `Cannot take a secret as an argument (${name}), every process here could read it: use ${instead}`,
      );
    if (
      /^(.*=)?(hf_|hfj1\.)/.test(word) ||
      /hf_tok-|hfj1\.\w/.test(word) ||
      /^(.*=)?\w+:\/\/[^/@\s]*:[^/@\s]*@/.test(word)
    ) {
      throw new UsageError(
        'Cannot take a secret as an argument, every process here could read it: use --token-file or an environment variable',
      );
    }
  }
}

const secretFlags: Readonly<Record<string, string>> = {
  '--token': '--token-file FILE (- reads stdin), or HOLDFAST_TOKEN',
  '--password': '--token-file FILE (- reads stdin), or HOLDFAST_TOKEN',
  '--passphrase': '--passphrase-file FILE (- reads stdin), or HOLDFAST_PASSPHRASE',
  '--database': 'the variable HOLDFAST_DATABASE_URL',
  '--database-url': 'the variable HOLDFAST_DATABASE_URL',
  '--import-url': 'the variable HOLDFAST_IMPORT_URL',
};

/** One or two lines on stderr; with `--log-level debug` also where it comes from. Returns the exit code. */
function explain(error: unknown, argv: readonly string[], io: Io): ExitCode {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.ok;
    // `holdfast services` without a word more: commander has shown the help already.
    if (error.code === 'commander.help') return exitCodes.usage;
    const message = ourWords(oneLine(error.message.replace(/^error: /, '')));
    io.stderr.write(`holdfast: ${message}\nSee "holdfast ${helpPath(argv)}--help".\n`);
    return exitCodes.usage;
  }
  if (io.signal.aborted) {
    io.stderr.write('holdfast: interrupted\n');
    return exitCodes.failed;
  }
  const message = printable(error instanceof Error ? error.message : String(error));
  const advice = adviceFor(error);
  io.stderr.write(`holdfast: ${message}\n${advice === undefined ? '' : `${advice}\n`}`);
  if (isDebug(argv, io) && error instanceof Error) io.stderr.write(`${stackOf(error)}\n`);
  return exitCodeOf(error);
}

/** The command whose help explains the mistake: `services ls `, as far as the words are known. */
function helpPath(argv: readonly string[]): string {
  const [name = '', sub = ''] = argv;
  const entry = commands.find((one) => one.name === name);
  if (entry === undefined) return '';
  const isKnown = entry.summary.split(': ')[1]?.split(' ').includes(sub) === true;
  return isKnown ? `${name} ${sub} ` : `${name} `;
}

function isDebug(argv: readonly string[], io: Io): boolean {
  return (
    argv.some(
      (word, index) =>
        word === '--log-level=debug' || (word === '--log-level' && argv[index + 1] === 'debug'),
    ) || io.env['HOLDFAST_LOG_LEVEL'] === 'debug'
  );
}

function stackOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${stackOf(error.cause)}` : '';
  return `${error.stack ?? error.message}${cause}`;
}

/** What commander says of an argument with choices. */
function ourWords(message: string): string {
  const [, value, name, choices] =
    /^command-argument value '(.*)' is invalid for argument '(.*)'\. Allowed choices are (.*)\.$/.exec(
      message,
    ) ?? [];
  if (choices === undefined) return message;
  return `Cannot use "${printable(value ?? '')}" for <${name}>: expected one of ${choices}`;
}

function oneLine(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trim())
    .join(' ');
}
