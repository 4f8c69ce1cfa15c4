/**
 * What a host tells of itself when it is ill, as one document, and what is out of the ordinary in it. Pure; agent and
 * command line gather the parts, each as far as it can see them.
 */

/** A doctor report of a host. Members may be added; a reader leaves alone what it does not know. */
export interface HostReport {
  readonly format: 1;
  /** When it was gathered, RFC 3339. */
  readonly at: string;
  /** Null: it has no name yet, or it could not be read. */
  readonly host: string | null;
  /** `agent`: it runs and told it; `files`: it does not, and this is what it left. */
  readonly gatheredFrom: 'agent' | 'files';
  readonly versions: Members;
  /** What is out of the ordinary, in words, what to mend first. */
  readonly findings: readonly string[];
  /** Which registry, whether it is reached, and since when not. Null: none. */
  readonly registry: Members | null;
  /** What the registry wants of this host, and how old that is. Null: it has never been told. */
  readonly target: Members | null;
  readonly checks: readonly Members[];
  readonly detectors: readonly Members[];
  readonly runner: Members | null;
  readonly outbox: Members | null;
  readonly store: Members | null;
  /** The last warnings and errors, the oldest first. */
  readonly problems: readonly Members[];
  readonly resources: Members;
  /** Masked; null: it could not be read. */
  readonly configuration: unknown;
  readonly components: readonly Members[];
  /** What could not be looked into, why, and who can. */
  readonly unseen: readonly string[];
}

export type Members = Readonly<Record<string, unknown>>;

/** Whether a report that somebody has sent is one of a host, as far as a reader relies on it. */
export function isHostReport(value: unknown): value is HostReport {
  const report = membersOf(value);
  if (report === null || report['format'] !== 1) return false;
  const isNothingOr = (name: string, is: (found: unknown) => boolean) =>
    report[name] === null || is(report[name]);
  const isMembers = (found: unknown) => membersOf(found) !== null;
  const isList = (name: string, is: (found: unknown) => boolean) => {
    const found = report[name];
    return Array.isArray(found) && found.every(is);
  };
  const isText = (found: unknown) => typeof found === 'string';
  return (
    isText(report['at']) &&
    isNothingOr('host', isText) &&
    ['versions', 'resources'].every((name) => isMembers(report[name])) &&
    ['registry', 'target', 'runner', 'outbox', 'store'].every((name) => isNothingOr(name, isMembers)) &&
    ['checks', 'detectors', 'problems', 'components'].every((name) => isList(name, isMembers)) &&
    ['findings', 'unseen'].every((name) => isList(name, isText))
  );
}

/** Difference of clocks that is worth a word. */
const clockOffMs = 5_000;
const diskFreeBytesMin = 256 * 1_024 * 1_024;
const pendingMax = 1_000;

/** In the order in which somebody has to do something about them. */
export function findingsOf(report: Omit<HostReport, 'findings'>): readonly string[] {
  const { gatheredFrom, store, registry, target, runner, checks, detectors, outbox, resources } = report;
  const words: (string | undefined)[] = [
    gatheredFrom === 'files' ? 'the agent does not run' : undefined,
    store !== null && store['state'] !== 'ok'
      ? `the database is ${text(store['state'])}${because(store['detail'])}`
      : undefined,
    diskFinding(membersOf(resources['dataDir'])),
    ...registryFindings(report),
    target === null && registry !== null ? 'this host has never been given a target' : undefined,
    target !== null && membersOf(target['refused']) !== null
      ? `the latest target is not held${because(membersOf(target['refused'])?.['detail'])}`
      : undefined,
    runner !== null && (runner['connected'] !== true || typeof runner['problem'] === 'string')
      ? `the runner cannot be asked${because(runner['problem'])}`
      : undefined,
    ...detectors.flatMap(({ name, state, error }) =>
      typeof error === 'string'
        ? [`detector ${text(name)}${state === 'failed' ? ' fails' : ''}: ${error}`]
        : [],
    ),
    ...checks
      .filter(({ state }) => state === 'failing' || state === 'unknown')
      .map(({ type, state, detail }) => `check ${text(type)} is ${text(state)}${because(detail)}`),
    numberOf(outbox?.['pending']) > pendingMax
      ? `${text(outbox?.['pending'])} reports wait to be sent`
      : undefined,
    numberOf(outbox?.['dropped']) > 0 ? `${text(outbox?.['dropped'])} reports were dropped` : undefined,
  ];
  return words.filter((one) => one !== undefined);
}

function registryFindings({ registry, gatheredFrom }: Omit<HostReport, 'findings'>): (string | undefined)[] {
  if (registry === null) return [];
  const { joined, connected, problem, clockAheadMs } = registry;
  const off = numberOf(clockAheadMs);
  return [
    joined === false
      ? `this host has not joined its registry${because(problem)}`
      : gatheredFrom === 'agent' && connected !== true
        ? `the registry cannot be reached${because(problem)}`
        : typeof problem === 'string'
          ? problem
          : undefined,
    Math.abs(off) >= clockOffMs
      ? `this machine's clock is ${Math.round(Math.abs(off) / 1_000)} s ${off > 0 ? 'ahead of' : 'behind'} the registry's`
      : undefined,
  ];
}

function diskFinding(dataDir: Members | null): string | undefined {
  const free = dataDir?.['diskFreeBytes'];
  if (typeof free !== 'number' || free >= diskFreeBytesMin) return undefined;
  return `the disk of the data directory has ${Math.round(free / 1_048_576)} MiB left`;
}

function because(detail: unknown): string {
  return typeof detail === 'string' && detail !== '' ? `: ${detail}` : '';
}

/** Null for what has no members. */
export function membersOf(value: unknown): Members | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : null;
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function text(value: unknown): string {
  return String(value ?? 'unknown');
}
