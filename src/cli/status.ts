/** `holdfast status` */
import type { Command } from 'commander';
import { systemRequests } from '../client/system.ts';
import type { Flags } from './config.ts';
import { action, type Context, clientOptions, examples, outputOption } from './context.ts';
import type { Io } from './io.ts';
import { type Column, writeRecord, writeTable } from './output.ts';
import { ago } from './words.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command
    .description(
      'Shows how the local agent is doing, or whomever --url or --socket names; -o wide shows all.',
    )
    .action(
      action(context, async (flags: Flags) => {
        await context.ask(flags, 'agent', async (client) => {
          const answer = await client.call(systemRequests.status());
          await context.show(flags, answer, (status, form) => {
            writeRecord(io, form === 'wide' ? everything(status) : essence(status, io.clock.now()));
            if (form === 'wide') return;
            writeFailed(io, membersOf(status['inventory']), io.clock.now());
            writeChecks(io, status, io.clock.now());
          });
        });
        return 0;
      }),
    );
  outputOption(clientOptions(command));
  examples(command, [
    'status',
    'status --url http://127.0.0.1:7420 --token-file admin.token',
    'status -o json',
  ]);
}

type Line = readonly [label: string, value: string | null];
type Members = Readonly<Record<string, unknown>>;

/**
 * What people look for first. A status is the role's own words and grows: members that are not there are left out, and
 * those that nobody knows here are in `everything`.
 */
export function essence(status: Members, now: number): Line[] {
  const { role, version, dataDir } = status;
  const [host, registry, inventory, outbox, store] = ['host', 'registry', 'inventory', 'outbox', 'store'].map(
    (name) => membersOf(status[name]),
  );
  const lines: (Line | undefined)[] = [
    ['role', text(role)],
    host && ['host', text(host['name'])],
    role === 'agent'
      ? ['registry', registry === undefined ? 'none' : registryWords(registry, now)]
      : undefined,
    counts('hosts', status['hosts']),
    counts('services', status['services']),
    inventory && [
      'components',
      `${text(inventory['components'])}${registry === undefined || inventory['acknowledged'] === true ? '' : ', not yet reported'}`,
    ],
    inventory && ['detectors', detectorWords(inventory['detectors'])],
    ['checks', checkCounts(status['checks'])],
    ['runner', runnerWords(membersOf(status['runner']))],
    outbox && ['waiting to be sent', text(outbox['pending'])],
    store && [
      'store',
      [store['state'], store['detail']].filter((word) => typeof word === 'string').join(': '),
    ],
    ['data', text(dataDir)],
    ['version', text(version)],
  ];
  return lines.filter((line): line is Line => line !== undefined && line[1] !== null);
}

/** A difference of clocks that is worth a word. */
const clockOffMs = 5_000;

function registryWords(registry: Members, now: number): string {
  const { url, connected, problem, lastAnswer } = registry;
  const refused = membersOf(membersOf(registry['target'])?.['refused'])?.['detail'];
  const why = typeof problem === 'string' ? problem : refused;
  const heard = typeof lastAnswer === 'string' ? `, last answer ${ago(lastAnswer, now)}` : '';
  // A join token says where it is, and the agent knows once it has joined.
  return `${text(url) ?? 'not joined yet'}, ${connected === true ? 'connected' : 'not connected'}${heard}${clockWords(registry)}${typeof why === 'string' ? `: ${why}` : ''}`;
}

/** How far this machine's clock is off, where that is more than a slow answer makes of it. */
function clockWords({ clockAheadMs }: Members): string {
  if (typeof clockAheadMs !== 'number' || Math.abs(clockAheadMs) < clockOffMs) return '';
  const { ahead, span } = { ahead: clockAheadMs > 0, span: Math.round(Math.abs(clockAheadMs) / 1_000) };
  return `, this machine's clock is ${span} s ${ahead ? 'ahead of' : 'behind'} the registry's`;
}

/** `3 UP, 1 DOWN` */
function counts(label: string, value: unknown): Line | undefined {
  const { up, down } = membersOf(value) ?? {};
  return up === undefined ? undefined : [label, `${text(up)} UP, ${text(down)} DOWN`];
}

/** In the order in which somebody has to do something about them. */
const checkStates = ['failing', 'unknown', 'waiting', 'passing'] as const;

/** `1 failing, 18 passing`; null without checks. */
function checkCounts(value: unknown): string | null {
  const checks = listed(value);
  const words = checkStates.flatMap((state) => {
    const count = checks.filter((check) => check['state'] === state).length;
    return count === 0 ? [] : [`${count} ${state}`];
  });
  return words.join(', ') || null;
}

/** What fails first. */
function writeChecks(io: Io, status: Members, now: number): void {
  const rank = ({ state }: Members) => (checkStates as readonly unknown[]).indexOf(state);
  const checks = listed(status['checks']).sort((a, b) => rank(a) - rank(b));
  if (checks.length === 0) return;
  io.stdout.write('\n');
  const columns: readonly Column<Members>[] = [
    { title: 'CHECK', of: ({ type }) => text(type) },
    { title: 'KIND', of: ({ kind }) => text(kind), spare: true },
    { title: 'STATE', of: ({ state }) => text(state), status: true },
    { title: 'SINCE', of: ({ since }) => ago(text(since), now), whole: true },
    { title: 'LOOKED', of: ({ lastLook }) => ago(text(lastLook), now), spare: true },
    {
      title: 'FOUND',
      of: ({ detail, output }) =>
        [detail, output].filter((word) => typeof word === 'string').join(': ') || null,
    },
  ];
  writeTable(io, checks, columns, 'table');
}

/** So many fit into a line. */
const detectorsInLineMax = 6;

/** `dpkg ok (714), kernel ok (1)`, or `1 failed, 4 ok` where some fail, which then have a table, or there are many. */
function detectorWords(value: unknown): string | null {
  const detectors = listed(value);
  if (detectors.length <= detectorsInLineMax && !detectors.some(({ state }) => state === 'failed'))
    return (
      detectors
        .map(({ name, state, components }) => `${text(name)} ${text(state)} (${text(components)})`)
        .join(', ') || null
    );
  const states = [...new Set(['failed', ...detectors.map(({ state }) => text(state))])];
  return states
    .map((state) => [detectors.filter((one) => text(one['state']) === state).length, state] as const)
    .flatMap(([count, state]) => (count === 0 ? [] : [`${count} ${state}`]))
    .join(', ');
}

/** The detectors that fail; what they found last stays. */
function writeFailed(io: Io, inventory: Members | undefined, now: number): void {
  const failed = listed(inventory?.['detectors']).filter(({ state }) => state === 'failed');
  if (failed.length === 0) return;
  io.stdout.write('\n');
  const columns: readonly Column<Members>[] = [
    { title: 'DETECTOR', of: ({ name }) => text(name) },
    { title: 'STATE', of: ({ state }) => text(state), status: true },
    { title: 'LAST GOOD', of: ({ lastGood }) => ago(text(lastGood), now), spare: true },
    { title: 'ERROR', of: ({ error, output }) => [why(error), output].filter(isWord).join(': ') || null },
  ];
  writeTable(io, failed, columns, 'table');
}

/** Without what the first column says already, for terminals are narrow. */
function why(error: unknown): unknown {
  return isWord(error) ? error.replace(/^Cannot tell the version of "[^"]*": /, '') : error;
}

function isWord(value: unknown): value is string {
  return typeof value === 'string';
}

function listed(value: unknown): Members[] {
  return Array.isArray(value) ? value.map((one: unknown) => membersOf(one) ?? {}) : [];
}

/** `connected, starts processes`; null on a host without one. */
function runnerWords(runner: Members | undefined): string | null {
  if (runner === undefined) return null;
  const { connected, kind, problem } = runner;
  const how =
    kind === 'systemd' ? ', starts units of systemd' : kind === 'processes' ? ', starts processes' : '';
  return `${connected === true ? `connected${how}` : 'not connected'}${typeof problem === 'string' ? `: ${problem}` : ''}`;
}

/** Members of members as `registry.url`, named things of a list as `inventory.detectors.dpkg`. */
function everything(value: unknown, label = ''): Line[] {
  if (typeof value !== 'object' || value === null) return [[label, text(value)]];
  const entries: [string, unknown][] = Array.isArray(value)
    ? value.map((one: unknown, index) => {
        const { name, type } = membersOf(one) ?? {};
        return [String(name ?? type ?? index), one];
      })
    : Object.entries(value);
  return entries.flatMap(([name, member]) => everything(member, label === '' ? name : `${label}.${name}`));
}

function membersOf(value: unknown): Members | undefined {
  return typeof value === 'object' && value !== null ? (value as Members) : undefined;
}

function text(value: unknown): string | null {
  return value === undefined || value === null ? null : String(value);
}
