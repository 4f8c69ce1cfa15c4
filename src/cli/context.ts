/** What every command's file builds on: options that all clients share, and how an action ends. */
import { type Command, Option } from 'commander';
import { formatLimit, limitTable } from '../base/limits.ts';
import type { HoldfastClient } from '../client/client.ts';
import type { Answer, ApiRequest } from '../client/request.ts';
import { AppError, isAppError } from '../domain/error.ts';
import type { Flags } from './config.ts';
import { type ExitCode, UsageError } from './exit.ts';
import type { Io } from './io.ts';
import type { Role } from './locations.ts';
import { type Form, forms, writeJson, writeYaml } from './output.ts';
import type { Purpose } from './whom.ts';

export class Context {
  readonly io: Io;
  /** What the action that ran wants the process to exit with. */
  exitCode: ExitCode = 0;
  /** The program with all its commands, of which only the one that was named is loaded otherwise. */
  readonly program: () => Promise<Command>;

  constructor(io: Io, program: () => Promise<Command>) {
    this.io = io;
    this.program = program;
  }

  /** Words for people: stderr. */
  say(text: string): void {
    this.io.stderr.write(`${text}\n`);
  }

  /**
   * Runs `fn` with a client of whomever the flags name, by default of the local `role`, and closes it. About services
   * a local agent is asked with the rights of those who report them, where there are no greater ones.
   */
  async ask<T>(
    flags: Flags,
    role: Role,
    fn: (client: HoldfastClient) => Promise<T>,
    purpose: Purpose = 'anything',
  ): Promise<T> {
    const { connect } = await import('./whom.ts');
    const client = await connect(this.io, flags, role, { purpose });
    try {
      return await fn(client);
    } catch (error) {
      throw await ofWrongRole(client, error, role);
    } finally {
      await client.close();
    }
  }

  /** One answer in the wanted form; `table` writes it for people. */
  async show<T>(flags: Flags, answer: Answer<T>, table: (document: T, form: Form) => void): Promise<void> {
    const form = formOf(flags);
    if (form === 'json') writeJson(this.io, answer.text);
    else if (form === 'yaml') await writeYaml(this.io, answer.text);
    else table(answer.document, form);
  }

  /**
   * A list: JSON and YAML are one page's answer as it is; tables follow the pages. `empty` is said when there is
   * nothing, `page` is given each answer.
   */
  async showList<Item, More extends object>(
    flags: Flags,
    client: HoldfastClient,
    request: (page: {
      limit?: number;
      cursor?: string;
    }) => ApiRequest<{ items: readonly Item[]; next: string | null; stale: boolean } & More>,
    table: {
      readonly empty: string | (() => string);
      readonly page?: (document: { items: readonly Item[] } & More) => void;
      write(items: readonly Item[], form: Form): void;
    },
  ): Promise<void> {
    const page = pageOf(flags);
    const form = formOf(flags);
    if (form === 'json' || form === 'yaml') {
      const answer = await client.call(request(page));
      const { next } = answer.document;
      table.page?.(answer.document);
      if (next !== null) this.say(`there are more: raise --limit, or go on with --cursor ${next}`);
      return this.show(flags, answer, () => undefined);
    }
    const items: Item[] = [];
    const limit = page.limit ?? Number.POSITIVE_INFINITY;
    let cursor = page.cursor;
    let stale = false;
    do {
      const size = Math.min(limitTable.listMax.value, limit - items.length);
      const { document } = await client.call(
        request({ limit: size, ...(cursor === undefined ? {} : { cursor }) }),
      );
      table.page?.(document);
      items.push(...document.items);
      stale ||= document.stale;
      cursor = document.next ?? undefined;
    } while (cursor !== undefined && items.length < limit);
    if (items.length > 0) table.write(items, form);
    else this.say(typeof table.empty === 'string' ? table.empty : table.empty());
    if (cursor !== undefined)
      this.say(`there are more: --limit shows ${items.length} of them, --cursor ${cursor} goes on`);
    if (stale) this.say('the registry cannot be reached: this is what it said last');
  }
}

/** Who asks an agent for what only a registry has learns that it is one. */
async function ofWrongRole(client: HoldfastClient, error: unknown, role: Role): Promise<unknown> {
  const why = ': there is no such path here';
  if (role !== 'registry' || !isAppError(error, 'not-found') || !error.message.endsWith(why)) return error;
  const status = await client.status().catch(() => undefined);
  if (status?.['role'] !== 'agent') return error;
  const what = error.message.slice(0, -why.length);
  return new AppError(
    'not-found',
    `${what}: this is an agent, that is asked of the registry; name that one`,
    {
      cause: error,
    },
  );
}

/** Wraps an action: its result is the exit code, nothing is 0. */
export function action<Arguments extends readonly unknown[]>(
  context: Context,
  fn: (...given: Arguments) => Promise<ExitCode | undefined>,
): (...given: Arguments) => Promise<void> {
  return async (...given) => {
    context.exitCode = (await fn(...given)) ?? 0;
  };
}

/** Options of every command that asks a server. */
export function clientOptions(command: Command): Command {
  return command
    .optionsGroup('Whom to ask:')
    .option('--url <url>', 'server to ask (HOLDFAST_URL)')
    .option('--context <name>', 'a server that "holdfast login" knows (HOLDFAST_CONTEXT)')
    .option('--socket <folder>', 'folder of the sockets of a role on this machine (HOLDFAST_SOCKET)')
    .option(
      '--token-file <file>',
      'file with the token, - reads stdin (else HOLDFAST_TOKEN, or that of the context; a socket needs none)',
    )
    .option('--ca-file <file>', "the registry's ca.pem, if it has a CA of its own (HOLDFAST_CA_FILE)")
    .option('--timeout <duration>', 'how long to wait for an answer (default 10s)')
    .optionsGroup('Output:')
    .addOption(debugOption());
}

/** `-o`, for commands that print an answer. */
export function outputOption(command: Command): Command {
  return command
    .optionsGroup('Output:')
    .addOption(
      new Option('-o, --output <form>', "form of the answer; json is the server's own text")
        .choices(forms)
        .default('table', 'table'),
    );
}

/** `--limit` and `--cursor`, for lists. */
export function pageOptions(command: Command): Command {
  return command
    .optionsGroup('Output:')
    .option(
      '--limit <n>',
      `at most n entries (tables: all; json: ${formatLimit(limitTable.listDefaultMax)} a page)`,
    )
    .option('--cursor <text>', '"next" of the page before');
}

export function debugOption(): Option {
  return new Option('--log-level <level>', 'debug shows where an error comes from').choices([
    'debug',
    'info',
    'warn',
    'error',
  ]);
}

/** Tells help and completion the words that an option takes. What is none of them the action refuses, in better words. */
export function knownWords(option: Option, choices: readonly string[]): Option {
  option.argChoices = [...choices];
  return option;
}

const exampleLines = Symbol('examples');

/** Examples below the options, `holdfast` is put before each; further ones stand below those that are there. */
export function examples(command: Command, lines: readonly string[]): Command {
  const before = examplesOf(command);
  const all = [...(before ?? []), ...lines];
  Object.assign(command, { [exampleLines]: all });
  if (before !== undefined) return command;
  return command.addHelpText('after', () => {
    const shown = examplesOf(command) ?? [];
    return `\nExamples:\n${shown.map((line) => `  holdfast ${line}`).join('\n')}`;
  });
}

/** The first example of each of a group's commands, below the group's own help. */
export function examplesOfGroup(group: Command): void {
  const lines = group.commands.flatMap((command) => examplesOf(command)?.slice(0, 1) ?? []);
  if (lines.length > 0) examples(group, lines);
}

/** The command lines that `examples` was given, without the program's name. */
export function examplesOf(command: Command): readonly string[] | undefined {
  return (command as Command & { [exampleLines]?: readonly string[] })[exampleLines];
}

/** A repeatable option's values, in order. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

function formOf(flags: Flags): Form {
  return flags['output'] as Form;
}

function pageOf(flags: Flags): { limit?: number; cursor?: string } {
  const [limit, cursor] = [flags['limit'] as string | undefined, flags['cursor'] as string | undefined];
  if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit))
    throw new UsageError(`Cannot list ${limit} entries: --limit wants a number from 1`);
  return {
    ...(limit === undefined ? {} : { limit: Number(limit) }),
    ...(cursor === undefined ? {} : { cursor }),
  };
}
