/**
 * Checks: what the agent looks at for a program that does not tell of itself, and when that changes the status of the
 * program's record. Pure; who looks is agent/checks.ts, and what needs a foreign process is the runner's.
 */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';
import { type ServiceRecord, type Status, ttlDefaultMs, ttlMaxMs } from './liveness.ts';
import {
  Members,
  type Place,
  readCommand,
  readCount,
  readDuration,
  readList,
  readPattern,
  readText,
  readUser,
  readWord,
  unusable,
} from './members.ts';

/** One check of agent.yaml. Its record is (type, this host); one check for a type. */
export interface CheckSpec {
  readonly type: string;
  readonly probe: Probe;
  readonly everyMs: number;
  /** A look that takes longer has failed. */
  readonly timeoutMs: number;
  /** Failures in a row until DOWN, and passes in a row until UP again. */
  readonly failAfter: number;
  readonly passAfter: number;
}

/** What is looked at. `exec`, `process` and `systemd` are the runner's to do. */
export type Probe =
  /**
   * Passes with a status in one of the ranges, and a body that `match` (a regular expression) finds something in.
   * Redirects on the same host are followed, unless a range holds their status.
   */
  | {
      readonly kind: 'http';
      readonly url: string;
      readonly status: readonly StatusRange[];
      readonly match: string | null;
    }
  /** Passes when a connection is accepted. */
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  /** Passes with exit code 0. `user` null: nobody in particular. */
  | { readonly kind: 'exec'; readonly command: readonly string[]; readonly user: string | null }
  /** Passes while a process runs whose executable has this file name, or this path when it begins with `/`. */
  | { readonly kind: 'process'; readonly name: string }
  /** Passes while the unit is active. */
  | { readonly kind: 'systemd'; readonly unit: string };

export type StatusRange = readonly [from: number, to: number];

export const probeKinds = ['http', 'tcp', 'exec', 'process', 'systemd'] as const;
export type ProbeKind = (typeof probeKinds)[number];

/** What one look found. `unknown`: nobody could look, which says nothing of what is looked at. */
export interface Outcome {
  readonly kind: 'passed' | 'failed' | 'unknown';
  readonly detail: string;
  /** What the command said first, which is not everybody's business; absent where there was none, or no word of it. */
  readonly output?: string;
}

/** What a check has made of its looks. */
export interface Verdict {
  /** Null before the first look that said anything. */
  readonly status: Status | null;
  /** The last looks in a row that say the opposite. */
  readonly against: number;
}

export const undecided: Verdict = { status: null, against: 0 };

/** A verdict changes after as many looks in a row as the check wants; the first look decides at once. */
export function decideCheck(
  verdict: Verdict,
  outcome: Outcome['kind'],
  { failAfter, passAfter }: Pick<CheckSpec, 'failAfter' | 'passAfter'>,
): Verdict {
  if (outcome === 'unknown') return verdict;
  const said: Status = outcome === 'passed' ? 'UP' : 'DOWN';
  if (verdict.status === null || verdict.status === said) return { status: said, against: 0 };
  const against = verdict.against + 1;
  const wanted = said === 'UP' ? passAfter : failAfter;
  return against >= wanted ? { status: said, against: 0 } : { status: verdict.status, against };
}

/**
 * What the check of a record thought before this process looked: so that a restart neither forgets a DOWN nor makes one
 * failure a DOWN. Undecided where the record does not say it: there is none, silence made it DOWN, or somebody did.
 */
export function verdictOf(record: Pick<ServiceRecord, 'status' | 'reason'> | undefined): Verdict {
  if (record?.status === 'UP') return { status: 'UP', against: 0 };
  return record?.reason === 'check' ? { status: 'DOWN', against: 0 } : undecided;
}

const everyMinMs = 1_000;
const everyMaxMs = 86_400_000;
const timeoutMinMs = 10;
const everyDefaultMs = 30_000;
const timeoutDefaultMs = 5_000;
const lookCountMax = 100;

/** `checks` of agent.yaml. Throws `bad-request`; its field is the place, such as `checks/2/every`. */
export function readChecks(value: unknown): readonly CheckSpec[] {
  const expected = 'a list of checks, such as [{type: web, http: "http://127.0.0.1/"}]; [] for none';
  const specs = new Map<string, CheckSpec>();
  for (const place of readList({ path: 'checks', value }, { expected, max: limits.checksMax })) {
    const spec = readCheck(place);
    if (specs.has(spec.type)) {
      throw new AppError(
        'bad-request',
        `Cannot use ${place.path}: another check has the type "${spec.type}"; each checks a type of its own`,
        { field: place.path },
      );
    }
    specs.set(spec.type, spec);
  }
  return [...specs.values()];
}

/**
 * How long a record stays UP without a look that says anything: long enough that a check decides by its own count, and
 * two slow looks in a row are no lapse.
 */
export function checkTtlMs({
  everyMs,
  timeoutMs,
  failAfter,
}: Pick<CheckSpec, 'everyMs' | 'timeoutMs' | 'failAfter'>): number {
  return Math.max(ttlDefaultMs, 2 * everyMs * failAfter + timeoutMs);
}

/** Whether somebody else than the agent has to look. */
export function needsRunner({ kind }: Probe): boolean {
  return kind !== 'http' && kind !== 'tcp';
}

function readCheck(place: Place): CheckSpec {
  const known = [
    'type',
    ...probeKinds,
    'every',
    'timeout',
    'failAfter',
    'passAfter',
    'status',
    'match',
    'user',
  ];
  const members = new Members(place, known, 'a check, such as {type: web, http: "http://127.0.0.1/"}');
  const type = readWord(members.at('type'));
  const probe = readProbe(members);
  const everyMs = members.get(
    'every',
    (at) => readDuration(at, { minMs: everyMinMs, maxMs: everyMaxMs }),
    everyDefaultMs,
  );
  const timeoutMs = members.get(
    'timeout',
    (at) => readDuration(at, { minMs: timeoutMinMs, maxMs: everyMs }),
    Math.min(timeoutDefaultMs, everyMs),
  );
  const count = (key: string, fallback: number) =>
    members.get(key, (at) => readCount(at, { max: lookCountMax }), fallback);
  const spec = {
    type,
    probe,
    everyMs,
    timeoutMs,
    failAfter: count('failAfter', 3),
    passAfter: count('passAfter', 1),
  };
  if (checkTtlMs(spec) > ttlMaxMs)
    throw unusable(members.at('failAfter'), 'fewer: DOWN would be told only after more than half a week');
  return spec;
}

function readProbe(members: Members): Probe {
  const [kind, second] = probeKinds.filter((one) => members.has(one));
  if (kind === undefined || second !== undefined) {
    const { path } = members.place;
    throw new AppError(
      'bad-request',
      `Cannot use ${path}: ${second === undefined ? 'it does not say what to look at' : `it has both ${kind} and ${second}`}, expected one of ${probeKinds.join(', ')}`,
      { field: path },
    );
  }
  for (const [key, only] of [
    ['status', 'http'],
    ['match', 'http'],
    ['user', 'exec'],
  ] as const) {
    if (members.has(key) && kind !== only)
      throw unusable(members.at(key), `nothing: only a check with ${only} has it`);
  }
  const place = members.at(kind);
  switch (kind) {
    case 'http':
      return {
        kind,
        url: readHttpUrl(place),
        status: members.get('status', readStatus, [[200, 299]]),
        match: members.get<string | null>('match', readPattern, null),
      };
    case 'tcp':
      return { kind, ...readAddress(place) };
    case 'exec':
      return { kind, command: readCommand(place), user: members.get<string | null>('user', readUser, null) };
    case 'process':
      return { kind, name: readProcess(place) };
    case 'systemd':
      return { kind, unit: readUnit(place) };
  }
}

function readHttpUrl(place: Place): string {
  const url = URL.parse(readText(place));
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw unusable(place, 'a URL such as http://127.0.0.1:8080/healthz');
  if (`${url.username}${url.password}` !== '')
    throw unusable(place, 'one without a user name or password, which everybody could read in the status');
  url.hash = '';
  return url.href;
}

/** `200`, `200-299`, or a list of these. */
function readStatus(place: Place): readonly StatusRange[] {
  const expected = 'a status such as 204, a range such as 200-399, or a list of these';
  if (!Array.isArray(place.value)) return [readRange(place, expected)];
  const ranges = readList(place, { expected, max: 100 }).map((one) => readRange(one, expected));
  if (ranges.length === 0) throw unusable(place, expected);
  return ranges;
}

function readRange(place: Place, expected: string): StatusRange {
  const match = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(String(place.value));
  const [from, to] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match === null || from > to) throw unusable(place, expected);
  return [from, to];
}

/** `127.0.0.1:5432`, `db.example:5432`, `[::1]:5432`. */
function readAddress(place: Place): { host: string; port: number } {
  const match = /^(\[[0-9a-f:.]+\]|[^\s:/[\]]{1,253}):(\d{1,5})$/i.exec(String(place.value));
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535)
    throw unusable(place, 'host:port, such as 127.0.0.1:5432');
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
}

function readProcess(place: Place): string {
  const name = readText(place);
  if (name.startsWith('/') ? name.length > 1 : !name.includes('/')) return name;
  throw unusable(place, 'the file name of a program, or its whole path from / on');
}

const unitSuffix = /\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$/;

/** A name without a suffix is a service, as for systemctl. */
function readUnit(place: Place): string {
  const name = readText(place);
  const unit = unitSuffix.test(name) ? name : `${name}.service`;
  if (/^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*$/.test(unit) && unit.length <= 255) return unit;
  throw unusable(place, 'the name of a unit, such as nginx.service');
}
