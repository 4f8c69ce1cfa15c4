/**
 * Detectors as agent.yaml names them: the ones that come along, commands that print a version, units of systemd and files
 * that say one.
 */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';
import {
  Members,
  type Place,
  readCommand,
  readDuration,
  readList,
  readPattern,
  readText,
  readUser,
  readWord,
  unusable,
} from './members.ts';

/** Those that need no words. */
export const standardDetectorNames = ['dpkg', 'rpm', 'os-release', 'kernel', 'agent'] as const;
export type StandardDetectorName = (typeof standardDetectorNames)[number];

export type DetectorSpec =
  | StandardDetectorSpec
  | CommandDetectorSpec
  | SystemdDetectorSpec
  | FileDetectorSpec;

/** Absent: as often, and for as long, as the detector has it by itself. */
export interface StandardDetectorSpec {
  readonly kind: 'standard';
  readonly name: StandardDetectorName;
  readonly everyMs?: number;
  readonly timeoutMs?: number;
}

interface ComponentSpec {
  readonly component: string;
  readonly everyMs: number;
  readonly timeoutMs: number;
}

/** A `command` detector: `match` takes the version (group `version`) out of what the command writes. */
export interface CommandDetectorSpec extends ComponentSpec {
  readonly kind: 'command';
  readonly command: readonly string[];
  readonly match: string;
  readonly user: string | null;
}

/**
 * What of a unit may name a version. Whether it runs is no business of a detector: that is liveness. Not its
 * environment, where secrets stand.
 */
export const unitProperties = [
  'ExecStart',
  'Description',
  'FragmentPath',
  'WorkingDirectory',
  'RootDirectory',
  'RootImage',
] as const;
export type UnitProperty = (typeof unitProperties)[number];

/** A `systemd` detector: `match` takes the version out of a property of the unit, as systemctl shows it. */
export interface SystemdDetectorSpec extends ComponentSpec {
  readonly kind: 'systemd';
  readonly unit: string;
  readonly property: UnitProperty;
  readonly match: string;
}

/** Where in a file the version stands: `at` is a JSON pointer (RFC 6901), of `ini` `section.key`; null: anywhere. */
export interface FileAddress {
  readonly format: 'json' | 'yaml' | 'ini';
  readonly at: string;
}

/** A `file` detector: `match` takes the version out of what stands at `address`; null: all of that is the version. */
export interface FileDetectorSpec extends ComponentSpec {
  readonly kind: 'file';
  readonly path: string;
  readonly address: FileAddress | null;
  readonly match: string | null;
}

/** Without a word from the host. */
export const standardDetectorSpecs: readonly DetectorSpec[] = standardDetectorNames.map((name) => ({
  kind: 'standard',
  name,
}));

/** The `detector` of the components that it finds; unique among those of a host. */
export function detectorName(spec: DetectorSpec): string {
  return spec.kind === 'standard' ? spec.name : `${spec.kind}:${spec.component}`;
}

const everyMinMs = 1_000;
const everyMaxMs = 30 * 86_400_000;
/** A command is a process, a unit a question to systemd, a file one `stat` while it is as it was. */
const everyDefaultMs = { command: 3_600_000, systemd: 300_000, file: 60_000 } as const;
const timeoutMinMs = 10;
/** The first check-in waits for every detector. */
const timeoutMaxMs = 60_000;
const timeoutDefaultMs = 10_000;
/** Those of packages wait up to 15 s for a package manager at work. */
const standardTimeoutMinMs = 20_000;

/** `detectors` of agent.yaml. Throws `bad-request`; its field is the place, such as `detectors/1/match`. */
export function readDetectors(value: unknown): readonly DetectorSpec[] {
  const expected = `a list of ${standardDetectorNames.join(', ')}, commands, units and files; [] for none`;
  const specs = new Map<string, DetectorSpec>();
  for (const place of readList({ path: 'detectors', value }, { expected, max: limits.detectorsMax })) {
    const spec = readDetector(place);
    const name = detectorName(spec);
    if (specs.has(name)) {
      const what = spec.kind === 'standard' ? `"${name}" stands there` : `"${spec.component}" is looked for`;
      throw new AppError(
        'bad-request',
        `Cannot use ${place.path}: ${what} already; leave one of the two away`,
        {
          field: place.path,
        },
      );
    }
    specs.set(name, spec);
  }
  return [...specs.values()];
}

const keysOf = {
  command: ['command', 'match', 'component', 'every', 'timeout', 'user'],
  systemd: ['systemd', 'property', 'match', 'component', 'every', 'timeout'],
  file: ['file', 'json', 'yaml', 'ini', 'match', 'component', 'every', 'timeout'],
  detector: ['detector', 'every', 'timeout'],
} as const;
type Shape = keyof typeof keysOf;
const shapes = Object.keys(keysOf) as Shape[];

function readDetector(place: Place): DetectorSpec {
  const { value } = place;
  const name = standardDetectorNames.find((one) => one === value);
  if (name !== undefined) return { kind: 'standard', name };
  const expected = `one of ${standardDetectorNames.join(', ')}, or a map with one of ${shapes.join(', ')}`;
  // Of an entry that is none of them, the key that is unknown is told first.
  const members = new Members(place, [...new Set(shapes.flatMap((one) => [...keysOf[one]]))], expected);
  const named = shapes.filter((one) => Object.hasOwn(Object(value), one));
  const [shape] = named;
  if (shape === undefined || named.length > 1) throw unusable(place, expected);
  const own = new Members(place, keysOf[shape], expected);
  switch (shape) {
    case 'command':
      return {
        kind: 'command',
        component: readComponent(own, 'command'),
        command: readCommand(own.at('command')),
        match: readVersionPattern(own.at('match')),
        user: own.get<string | null>('user', readUser, null),
        ...readTimes(own, everyDefaultMs.command),
      };
    case 'systemd':
      return {
        kind: 'systemd',
        component: readComponent(own, 'systemd'),
        unit: readUnit(own.at('systemd')),
        property: own.get('property', readProperty, 'ExecStart'),
        match: readVersionPattern(own.at('match')),
        ...readTimes(own, everyDefaultMs.systemd),
      };
    case 'file':
      return readFile(own);
    case 'detector':
      return readStandard(members, expected);
  }
}

function readFile(members: Members): FileDetectorSpec {
  const formats = (['json', 'yaml', 'ini'] as const).filter((one) => members.has(one));
  const [format] = formats;
  if (formats.length > 1) throw unusable(members.place, 'one of json, yaml and ini, not several', 'several');
  const match = members.get<string | null>('match', readVersionPattern, null);
  if (format === undefined && match === null)
    throw unusable(members.place, 'where in the file the version stands: json, yaml, ini or match', 'none');
  const path = readText(members.at('file'));
  if (!path.startsWith('/')) throw unusable(members.at('file'), 'a path from / on');
  return {
    kind: 'file',
    component: readComponent(members, 'file'),
    path,
    address: format === undefined ? null : { format, at: readAddress(members.at(format), format) },
    match,
    ...readTimes(members, everyDefaultMs.file),
  };
}

function readAddress(place: Place, format: FileAddress['format']): string {
  const text = readText(place);
  if (format === 'ini' || (text.startsWith('/') && !/~(?![01])/.test(text))) return text;
  throw unusable(place, 'a JSON pointer, such as /release/version');
}

function readStandard(members: Members, expected: string): StandardDetectorSpec {
  const at = members.at('detector');
  const name = standardDetectorNames.find((one) => one === at.value);
  if (name === undefined) throw unusable(at, expected.split(', or')[0] ?? expected);
  const spec = { kind: 'standard', name } as const;
  const everyMs = members.get('every', readEvery, 0);
  const within = { minMs: standardTimeoutMinMs, maxMs: timeoutMaxMs };
  const timeoutMs = members.get('timeout', (one) => readDuration(one, within), 0);
  return { ...spec, ...(everyMs === 0 ? {} : { everyMs }), ...(timeoutMs === 0 ? {} : { timeoutMs }) };
}

function readTimes(members: Members, everyMsByDefault: number): { everyMs: number; timeoutMs: number } {
  const everyMs = members.get('every', readEvery, everyMsByDefault);
  const longestMs = Math.min(everyMs, timeoutMaxMs);
  return {
    everyMs,
    timeoutMs: members.get(
      'timeout',
      (at) => readDuration(at, { minMs: timeoutMinMs, maxMs: longestMs }),
      Math.min(timeoutDefaultMs, longestMs),
    ),
  };
}

function readEvery(place: Place): number {
  return readDuration(place, { minMs: everyMinMs, maxMs: everyMaxMs });
}

/** Of a unit its name, where nothing else is said. */
function readComponent(members: Members, kind: 'command' | 'systemd' | 'file'): string {
  const at = members.at(kind === 'systemd' && !members.has('component') ? 'systemd' : 'component');
  const component = readWord(at);
  const lengthMax = limits.wordLengthMax - `${kind}:`.length;
  if ([...component].length > lengthMax) throw unusable(at, `at most ${lengthMax} characters`);
  return component;
}

function readUnit(place: Place): string {
  const unit = readText(place);
  if (/^[A-Za-z0-9:_.\\@-]{1,255}$/.test(unit) && !unit.startsWith('-')) return unit;
  throw unusable(place, 'the name of a unit, such as nginx.service');
}

function readProperty(place: Place): UnitProperty {
  const property = unitProperties.find((one) => one === place.value);
  if (property !== undefined) return property;
  throw unusable(place, `one of ${unitProperties.join(', ')}`);
}

function readVersionPattern(place: Place): string {
  const pattern = readPattern(place);
  // An alternative that is empty matches anything, and names all groups.
  const groups = RegExp(`${pattern}|`, 'm').exec('')?.groups ?? {};
  if ('version' in groups) return pattern;
  throw unusable(place, 'a group called version, such as nginx/(?<version>\\S+)');
}
