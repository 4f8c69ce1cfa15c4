/** The command table as data, with everything that people may type: what completion scripts and man pages are made of. */
import type { Argument, Command, Option } from 'commander';
import { collect, examplesOf } from './context.ts';

/** What stands behind an option, or by itself. */
export interface DescribedValue {
  readonly name: string;
  readonly required: boolean;
  readonly variadic: boolean;
  /** The words that it may be; none: anything. */
  readonly choices: readonly string[];
  /** Of this machine's file system, or not. */
  readonly kind: 'word' | 'file' | 'folder';
}

export interface DescribedArgument {
  readonly value: DescribedValue;
  readonly help: string;
}

export interface DescribedOption {
  /** `--output` */
  readonly long: string;
  /** `-o` */
  readonly short: string | null;
  /** null: it is a switch. */
  readonly value: DescribedValue | null;
  readonly help: string;
  /** Without the colon: `Whom to ask`. */
  readonly group: string;
  readonly repeatable: boolean;
  readonly mandatory: boolean;
  /** What holds when it is not given, in words. */
  readonly default: string | null;
}

export interface DescribedCommand {
  /** From below the program: `['hosts', 'ls']`; empty for the program itself. */
  readonly path: readonly string[];
  /** Without the colon: `Look at it`. */
  readonly group: string;
  readonly summary: string;
  /** Lines of a paragraph. */
  readonly description: string;
  readonly arguments: readonly DescribedArgument[];
  readonly options: readonly DescribedOption[];
  /** Command lines without the program's name. */
  readonly examples: readonly string[];
  readonly commands: readonly DescribedCommand[];
  /** `hosts` alone means `hosts ls`, with the options of that; one with options of its own means itself. */
  readonly standsFor: DescribedCommand | null;
}

/** Describes a program whose commands are all defined. Commander's own `help` and `--help` are left to the reader. */
export function describe(command: Command, path: readonly string[] = []): DescribedCommand {
  const commands = command.commands.map((one) => describe(one, [...path, one.name()]));
  return {
    path,
    group: heading(command.helpGroup()),
    summary: command.summary(),
    description: command.description(),
    arguments: command.registeredArguments.map(describeArgument),
    options: command.options.filter(({ hidden }) => !hidden).map(describeOption),
    examples: examplesOf(command) ?? [],
    commands,
    standsFor:
      path.length === 1 && command.options.length === 0
        ? (commands.find((one) => one.path.at(-1) === 'ls') ?? null)
        : null,
  };
}

/** The command and all below it, each before its own. */
export function withAllBelow(command: DescribedCommand): readonly DescribedCommand[] {
  return [command, ...command.commands.flatMap(withAllBelow)];
}

/** What may be typed behind the words of the command: its own options and those of the one that it stands for. */
export function optionsAt({ options, standsFor }: DescribedCommand): readonly DescribedOption[] {
  return [...options, ...(standsFor?.options ?? [])];
}

function describeArgument(argument: Argument): DescribedArgument {
  const { required, variadic, description } = argument;
  return {
    value: describeValue(argument.name(), { required, variadic, choices: argument.argChoices }),
    help: description,
  };
}

function describeOption(option: Option): DescribedOption {
  const { required, optional, variadic, description, long, short, flags } = option;
  const name = /^[^<[]*[<[]([^>\]]+)[>\]]/.exec(flags)?.[1]?.replace(/\.{3}$/, '') ?? '';
  return {
    long: long ?? flags,
    short: short ?? null,
    value:
      required || optional ? describeValue(name, { required, variadic, choices: option.argChoices }) : null,
    help: description,
    group: heading(option.helpGroupHeading ?? 'Options:'),
    repeatable: variadic || option.parseArg === (collect as typeof option.parseArg),
    mandatory: option.mandatory,
    default: option.defaultValueDescription ?? null,
  };
}

/** A name with bars lists its words: `<own|off>`. */
function describeValue(
  name: string,
  {
    required,
    variadic,
    choices,
  }: { required: boolean; variadic: boolean; choices: readonly string[] | undefined },
): DescribedValue {
  return {
    name,
    required,
    variadic,
    choices: choices ?? (name.includes('|') ? name.split('|') : []),
    kind: name === 'file' || name === 'folder' ? name : 'word',
  };
}

function heading(text: string | undefined): string {
  return (text ?? '').replace(/:$/, '');
}
