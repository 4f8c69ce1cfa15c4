/** Which hosts a list is about: flags that several commands share. */
import type { Command } from 'commander';
import type { AgeFilter } from '../domain/age.ts';
import type { Moment } from '../domain/moment.ts';
import type { HostFilter } from '../domain/services.ts';
import { parseVersionRange } from '../domain/version.ts';
import type { Flags } from './config.ts';
import { collect } from './context.ts';
import { requireAge, requireMoment, requireStatuses } from './words.ts';

const moments = [
  ['createdAfter', 'created-after', 'first seen after this: a time, or "7d" ago'],
  ['createdBefore', 'created-before', 'first seen before this'],
  ['seenAfter', 'seen-after', 'last seen after this'],
  ['seenBefore', 'seen-before', 'last seen before this'],
] as const;
const ages = [
  ['fresh', 'seen within so long, such as 7d'],
  ['stale', 'not seen within so long'],
  ['created', 'first seen within so long'],
  ['persistent', 'first seen at least so long ago, and seen within the last day'],
] as const;
const fields = ['name', 'region', 'status', 'selector', 'has', 'asOf'] as const;

export function hostFilterOptions(command: Command): Command {
  command
    .option('--name <name>', 'only this host', collect)
    .option('--region <region>', 'only hosts of this region', collect)
    .option('--status <UP|DOWN>', 'only with this status', collect)
    .option('--selector <selector>', 'only hosts that match, such as "env=prod,tier in (web,db)"');
  for (const [, flag, words] of moments) command.option(`--${flag} <when>`, words);
  for (const [flag, words] of ages) command.option(`--${flag} <duration>`, words);
  command.option(
    '--has <range>',
    'only with this installed, such as "openssl<3.0.13"; repeated: all of them',
    collect,
  );
  return asOfOption(command);
}

export function asOfOption(command: Command): Command {
  return command.option('--as-of <when>', 'as it was known then: a time, or "7d" ago');
}

/** What `asOfOption` was given. */
export function asOfFlag(flags: Flags): Moment | undefined {
  const text = flags['asOf'] as string | undefined;
  return text === undefined ? undefined : requireMoment(text, '--as-of');
}

/** `UsageError` naming the flag that cannot be read; which go together is the registry's to say. */
export function hostFilterOf(flags: Flags): HostFilter {
  const { name, region, status, has } = flags as Record<string, string[] | undefined>;
  const selector = flags['selector'] as string | undefined;
  const asOf = asOfFlag(flags);
  return {
    ...agesOf(flags),
    ...(asOf === undefined ? {} : { asOf }),
    ...(has === undefined ? {} : { has: has.map((text) => parseVersionRange(text, '--has')) }),
    ...(selector === undefined ? {} : { selector }),
    ...(name === undefined ? {} : { name }),
    ...(region === undefined ? {} : { region }),
    ...(status === undefined ? {} : { status: requireStatuses(status) }),
  };
}

/** Whether any of the flags says which hosts. */
export function isFiltered(flags: Flags): boolean {
  return [...fields, ...moments.map(([key]) => key), ...ages.map(([key]) => key)].some(
    (name) => flags[name] !== undefined,
  );
}

function agesOf(flags: Flags): AgeFilter {
  const found: { -readonly [Key in keyof AgeFilter]: AgeFilter[Key] } = {};
  for (const [key, flag] of moments) {
    const text = flags[key] as string | undefined;
    if (text !== undefined) found[key] = requireMoment(text, `--${flag}`);
  }
  for (const [key] of ages) {
    const text = flags[key] as string | undefined;
    if (text !== undefined) found[`${key}Ms`] = requireAge(text, `--${key}`);
  }
  return found;
}
