/** A doctor report as people read it: what is wrong first, then what it was found in. */
import { formatDuration } from '../base/time.ts';
import { type HostReport, type Members, membersOf } from '../domain/diagnosis.ts';
import type { Io } from './io.ts';
import { type Column, printable, writeRecord, writeTable } from './output.ts';
import { ago } from './words.ts';

/**
 * Writes all that would be sent, but for the numbers that programs want: those are in `-o json`. Any report of the form of
 * `isHostReport` can be written, whatever a host has put into it.
 */
export function writeReport(io: Io, report: HostReport, { comment }: { comment: string | null }): void {
  const { findings, unseen, checks, detectors, problems, components, configuration } = report;
  const now = io.clock.now();
  writeRecord(io, summaryOf(report, now));
  if (comment !== null) part(io, 'Comment', comment.split('\n').map(printable));
  part(io, 'Out of the ordinary', findings.length === 0 ? ['nothing'] : findings.map(printable));
  part(io, 'Not looked into', unseen.map(printable));
  table(io, 'Checks', checks, checkColumns(now));
  table(io, 'Detectors', detectors, detectorColumns(now));
  table(io, 'Last warnings and errors', problems, problemColumns(now));
  table(io, 'Components', components, componentColumns);
  if (configuration !== null && configuration !== undefined)
    part(io, 'Configuration', settingLines(configuration).map(printable));
}

function summaryOf(report: HostReport, now: number): (readonly [string, string | null])[] {
  const { host, gatheredFrom, versions, registry, target, runner, outbox, store, resources } = report;
  const [machine, own, dataDir] = ['machine', 'process', 'dataDir'].map((name) => membersOf(resources[name]));
  return [
    ['host', host],
    [
      'gathered from',
      gatheredFrom === 'agent' ? 'the running agent' : 'what the agent has left: it does not run',
    ],
    [
      'version',
      joined([versions['program'], versions['node'] === undefined ? null : `node ${text(versions['node'])}`]),
    ],
    ['system', joined([versions['os'], versions['kernel'], versions['architecture']])],
    ['registry', registry === null ? 'none' : registryWords(registry, now)],
    ['target', target === null ? 'none' : targetWords(target, now)],
    ['runner', runner === null ? 'none' : runner['connected'] === true ? 'connected' : 'not connected'],
    ['waiting to be sent', outbox === null ? null : text(outbox['pending'])],
    ['store', store === null ? null : joined([store['state'], store['detail']])],
    ['data', dataDir == null ? null : dataWords(dataDir)],
    ['agent', own == null ? null : processWords(own)],
    ['machine', machine == null ? null : machineWords(machine)],
  ];
}

function registryWords({ url, connected, joined: isMember, lastAnswer }: Members, now: number): string {
  const how =
    isMember === false
      ? 'not joined'
      : connected === undefined
        ? null
        : connected === true
          ? 'connected'
          : 'not connected';
  const heard = typeof lastAnswer === 'string' ? `last answer ${ago(lastAnswer, now) ?? lastAnswer}` : null;
  return joined([url, how, heard]) ?? 'unknown';
}

function targetWords({ tag, accepted, placements }: Members, now: number): string {
  const age = typeof accepted === 'string' ? `accepted ${ago(accepted, now) ?? accepted}` : null;
  return (
    joined([tag ?? 'none', age, placements === undefined ? null : `${text(placements)} placements`]) ?? 'none'
  );
}

function dataWords({ path, bytes, diskFreeBytes }: Members): string {
  const free = typeof diskFreeBytes === 'number' ? `${size(diskFreeBytes)} free on its disk` : null;
  return joined([path, size(bytes), free]) ?? 'unknown';
}

function processWords({ pid, residentBytes, cpuMs, openFiles }: Members): string {
  const files = openFiles === null ? null : `${text(openFiles)} open files`;
  const cpu = typeof cpuMs === 'number' ? `${formatDuration(cpuMs)} of CPU time` : null;
  return joined([`process ${text(pid)}`, `${size(residentBytes)} of memory`, cpu, files]) ?? 'unknown';
}

function machineWords({ cpus, load, memoryBytes, memoryFreeBytes, uptimeMs }: Members): string {
  const loads = Array.isArray(load) ? `load ${load.map(text).join(' ')}` : null;
  const up =
    typeof uptimeMs === 'number' ? `up ${formatDuration(Math.floor(uptimeMs / 1_000) * 1_000)}` : null;
  return (
    joined([
      `${text(cpus)} CPUs`,
      loads,
      `${size(memoryFreeBytes)} of ${size(memoryBytes)} memory free`,
      up,
    ]) ?? 'unknown'
  );
}

function checkColumns(now: number): readonly Column<Members>[] {
  return [
    { title: 'CHECK', of: ({ type }) => text(type) },
    { title: 'STATE', of: ({ state }) => text(state), status: true },
    { title: 'SINCE', of: ({ since }) => ago(wordOf(since), now) },
    { title: 'FOUND', of: ({ detail, output }) => joined([detail, output]) },
  ];
}

function detectorColumns(now: number): readonly Column<Members>[] {
  return [
    { title: 'DETECTOR', of: ({ name }) => text(name) },
    { title: 'STATE', of: ({ state }) => text(state), status: true },
    { title: 'COMPONENTS', of: ({ components }) => text(components) },
    { title: 'LAST GOOD', of: ({ lastGood }) => ago(wordOf(lastGood), now) },
    { title: 'ERROR', of: ({ error, output }) => joined([error, output]) },
  ];
}

function problemColumns(now: number): readonly Column<Members>[] {
  return [
    { title: 'LAST', of: ({ at }) => ago(wordOf(at), now) },
    { title: 'LEVEL', of: ({ level }) => text(level) },
    { title: 'TIMES', of: ({ count }) => text(count) },
    { title: 'WHAT', of: ({ message, detail }) => joined([message, detail]) },
  ];
}

const componentColumns: readonly Column<Members>[] = [
  { title: 'COMPONENT', of: ({ name }) => text(name) },
  { title: 'VERSION', of: ({ version }) => text(version) },
  { title: 'DETECTOR', of: ({ detector }) => text(detector) },
];

function table(io: Io, title: string, rows: readonly Members[], columns: readonly Column<Members>[]): void {
  if (rows.length === 0) return;
  io.stdout.write(`\n${title}:\n`);
  writeTable(io, rows, columns, 'table');
}

function part(io: Io, title: string, lines: readonly string[]): void {
  if (lines.length > 0) io.stdout.write(`\n${title}:\n${lines.map((line) => `  ${line}\n`).join('')}`);
}

/** `checks.0.probe.url: http://…` */
function settingLines(value: unknown, label = ''): string[] {
  if (typeof value !== 'object' || value === null) return [`${label}: ${text(value)}`];
  const entries = Object.entries(value);
  if (entries.length === 0) return label === '' ? [] : [`${label}: none`];
  return entries.flatMap(([name, member]) => settingLines(member, label === '' ? name : `${label}.${name}`));
}

function size(value: unknown): string {
  if (typeof value !== 'number') return 'unknown';
  if (value < 1_048_576) return `${Math.ceil(value / 1_024)} KiB`;
  return value < 10 * 1_073_741_824
    ? `${Math.round(value / 1_048_576)} MiB`
    : `${Math.round(value / 1_073_741_824)} GiB`;
}

function joined(words: readonly unknown[]): string | null {
  return words.filter((word) => typeof word === 'string' && word !== '').join(', ') || null;
}

function wordOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function text(value: unknown): string {
  if (value === undefined || value === null) return 'none';
  // No String() of an object: it may have a toString that is none.
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
