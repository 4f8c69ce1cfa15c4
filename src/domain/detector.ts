/** Detectors as agent.yaml names them: the ones that come along, and commands that print a version. */
import { limits } from '../base/limits.ts';
import { AppError } from './error.ts';
import {
  Members,
  type Place,
  readCommand,
  readDuration,
  readList,
  readPattern,
  readUser,
  readWord,
  unusable,
} from './members.ts';

/** Those that need no words. */
export const standardDetectorNames = ['dpkg', 'os-release', 'kernel', 'agent'] as const;
export type StandardDetectorName = (typeof standardDetectorNames)[number];

export type DetectorSpec =
  | { readonly kind: 'standard'; readonly name: StandardDetectorName }
  | CommandDetectorSpec;

/** A `command` detector: `match` takes the version (group `version`) out of what the command writes. */
export interface CommandDetectorSpec {
  readonly kind: 'command';
  readonly component: string;
  readonly command: readonly string[];
  readonly match: string;
  readonly user: string | null;
  readonly everyMs: number;
  readonly timeoutMs: number;
}

/** Without a word from the host. */
export const standardDetectorSpecs: readonly DetectorSpec[] = standardDetectorNames.map((name) => ({
  kind: 'standard',
  name,
}));

/** The `detector` of the components that it finds; unique among those of a host. */
export function detectorName(spec: DetectorSpec): string {
  return spec.kind === 'standard' ? spec.name : `${commandPrefix}${spec.component}`;
}

const commandPrefix = 'command:';
const everyMinMs = 1_000;
const everyMaxMs = 30 * 86_400_000;
const everyDefaultMs = 3_600_000;
const timeoutMinMs = 10;
/** The first check-in waits for every detector. */
const timeoutMaxMs = 60_000;
const timeoutDefaultMs = 10_000;

/** `detectors` of agent.yaml. Throws `bad-request`; its field is the place, such as `detectors/1/match`. */
export function readDetectors(value: unknown): readonly DetectorSpec[] {
  const expected = `a list of ${standardDetectorNames.join(', ')} and commands; [] for none`;
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

function readDetector(place: Place): DetectorSpec {
  const { value } = place;
  const name = standardDetectorNames.find((one) => one === value);
  if (name !== undefined) return { kind: 'standard', name };
  const expected = `one of ${standardDetectorNames.join(', ')}, or {command: […], match: …, component: …}`;
  const known = ['command', 'match', 'component', 'every', 'timeout', 'user'];
  const members = new Members(place, known, expected);
  const component = readWord(members.at('component'));
  const lengthMax = limits.wordLengthMax - commandPrefix.length;
  if ([...component].length > lengthMax)
    throw unusable(members.at('component'), `at most ${lengthMax} characters`);
  const everyMs = members.get(
    'every',
    (at) => readDuration(at, { minMs: everyMinMs, maxMs: everyMaxMs }),
    everyDefaultMs,
  );
  const longestMs = Math.min(everyMs, timeoutMaxMs);
  return {
    kind: 'command',
    component,
    command: readCommand(members.at('command')),
    match: readVersionPattern(members.at('match')),
    user: members.get<string | null>('user', readUser, null),
    everyMs,
    timeoutMs: members.get(
      'timeout',
      (at) => readDuration(at, { minMs: timeoutMinMs, maxMs: longestMs }),
      Math.min(timeoutDefaultMs, longestMs),
    ),
  };
}

function readVersionPattern(place: Place): string {
  const pattern = readPattern(place);
  // An alternative that is empty matches anything, and names all groups.
  const groups = RegExp(`${pattern}|`, 'm').exec('')?.groups ?? {};
  if ('version' in groups) return pattern;
  throw unusable(place, 'a group called version, such as nginx/(?<version>\\S+)');
}
