/**
 * Notify: which events are told to whom. `notify` of registry.yaml, read into rules and sinks. Which event makes which
 * message is notify-batch.ts, in which words notify-words.ts.
 */
import { limits } from '../base/limits.ts';
import { nearest } from '../base/nearest.ts';
import { AppError, isAppError } from './error.ts';
import { eventTypes, type Selection } from './event.ts';
import { normaliseHostName, requireUuid } from './ids.ts';
import { Members, type Place, readDuration, readList, readText, readWord, unusable } from './members.ts';
import { parseSelector } from './selector.ts';
import { readSinks, type SinkKind, type SinkSpec } from './sinks.ts';

/** What events of one message have in common. */
export const groupKeys = ['host', 'region', 'type', 'service', 'app', 'component'] as const;
export type GroupKey = (typeof groupKeys)[number];

/** One rule: which events go to which sinks. */
export interface NotifyRule {
  /** Unique; `rule-1`, … where nobody gave it one. */
  readonly name: string;
  /** As a watch selects. */
  readonly select: Selection;
  /** Names of sinks, at least one. */
  readonly to: readonly string[];
  /** Events that differ in one of these are told apart. */
  readonly groupBy: readonly GroupKey[];
  /** For how long after the first event others may join its message. */
  readonly groupWaitMs: number;
  /** The same thing told again within this time is told once. */
  readonly repeatAfterMs: number;
}

export interface NotifyPlan {
  readonly rules: readonly NotifyRule[];
  readonly sinks: readonly SinkSpec[];
}

/** Nobody is told anything. */
export const emptyNotifyPlan: NotifyPlan = { rules: [], sinks: [] };

const groupWaitDefaultMs = 10_000;
const groupWaitMaxMs = 3_600_000;
const repeatAfterDefaultMs = 3_600_000;
const repeatAfterMaxMs = 7 * 86_400_000;
const selectListMax = 100;

/** `notify` of registry.yaml. Throws `bad-request`; its field is the place, such as `notify/rules/0/select/types/1`. */
export function readNotify(value: unknown): NotifyPlan {
  const members = new Members({ path: 'notify', value }, ['sinks', 'rules'], 'rules and sinks');
  const sinks = members.get('sinks', readSinks, []);
  const rules = members.get('rules', (place) => readRules(place, sinks), []);
  return { rules, sinks };
}

/** A rule as somebody wrote it, wherever; `sinks` are those that it may name. Throws `bad-request` naming the place. */
export function readRule(place: Place, options: { sinks: readonly SinkSpec[]; name: string }): NotifyRule {
  const known = ['name', 'select', 'to', 'groupBy', 'groupWait', 'repeatAfter'];
  const members = new Members(place, known, 'a rule, such as {select: {types: [host.lapsed]}, to: [ops]}');
  return {
    name: members.get('name', readWord, options.name),
    select: members.get('select', readSelect, {}),
    to: readTo(members.at('to'), options.sinks),
    groupBy: members.get('groupBy', readGroupBy, []),
    groupWaitMs: members.get(
      'groupWait',
      (at) => readDuration(at, { minMs: 0, maxMs: groupWaitMaxMs }),
      groupWaitDefaultMs,
    ),
    repeatAfterMs: members.get(
      'repeatAfter',
      (at) => readDuration(at, { minMs: 0, maxMs: repeatAfterMaxMs }),
      repeatAfterDefaultMs,
    ),
  };
}

/** Whether `types` of a selection name this type, itself or by its family; none named: all are. */
export function selectsType(types: readonly string[] | undefined, type: string): boolean {
  return types === undefined || types.includes(type) || types.includes(`${familyOf(type)}.*`);
}

/** `host` of `host.lapsed`. */
export function familyOf(type: string): string {
  return type.slice(0, type.indexOf('.'));
}

/** How a sink is, for people and programs. */
export interface SinkView {
  readonly name: string;
  readonly kind: SinkKind;
  /** Where it is, without what may be secret. */
  readonly target: string;
  /** Up to here it has taken all that is for it; null before anything was. */
  readonly position: string | null;
  /** Revisions after that, whether or not something in them is for it. */
  readonly behind: number;
  /** Messages that are on their way now. */
  readonly waiting: number;
  readonly delivered: number;
  readonly failed: number;
  /** Messages that it refused for good, and were given up. */
  readonly dropped: number;
  /** Revisions that the log had forgotten before they could be told. */
  readonly missed: number;
  readonly lastSuccessMs: number | null;
  /** What the last attempt met that failed. */
  readonly lastError: { readonly atMs: number; readonly detail: string } | null;
  /** When it is tried again; null while nothing failed. */
  readonly retryAtMs: number | null;
}

export interface NotifyView {
  readonly rules: readonly NotifyRule[];
  readonly sinks: readonly SinkView[];
}

/** What became of a test message. */
export interface SinkTest {
  readonly sink: string;
  readonly ok: boolean;
  /** What the other side answered, or why it could not. */
  readonly detail: string;
  readonly durationMs: number;
}

function readRules(place: Place, sinks: readonly SinkSpec[]): readonly NotifyRule[] {
  const expected = 'a list of rules, such as [{select: {types: [host.lapsed]}, to: [ops]}]; [] for none';
  const rules = new Map<string, NotifyRule>();
  for (const [index, at] of readList(place, { expected, max: limits.notifyRulesMax }).entries()) {
    const rule = readRule(at, { sinks, name: `rule-${index + 1}` });
    if (rules.has(rule.name))
      throw new AppError(
        'bad-request',
        `Cannot use ${at.path}: another rule is called "${rule.name}"; give it a name of its own`,
        { field: at.path },
      );
    rules.set(rule.name, rule);
  }
  return [...rules.values()];
}

function readTo(place: Place, sinks: readonly SinkSpec[]): readonly string[] {
  const expected = 'a list of names of sinks, such as [ops]';
  const places =
    typeof place.value === 'string' ? [place] : readList(place, { expected, max: limits.notifySinksMax });
  if (places.length === 0) throw unusable(place, expected);
  const names = sinks.map(({ name }) => name);
  const to = places.map((at) => {
    const name = readText(at);
    if (names.includes(name)) return name;
    const near = nearest(name, names);
    const wish =
      near !== undefined
        ? `a sink of notify.sinks; did you mean "${near}"?`
        : names.length === 0
          ? 'a sink, and notify.sinks has none'
          : `one of ${names.join(', ')}`;
    throw unusable(at, wish);
  });
  return [...new Set(to)];
}

function readGroupBy(place: Place): readonly GroupKey[] {
  const expected = `a list of ${groupKeys.join(', ')}`;
  const places =
    typeof place.value === 'string' ? [place] : readList(place, { expected, max: groupKeys.length });
  return [...new Set(places.map((at) => readOneOf(at, groupKeys)))];
}

function readSelect(place: Place): Selection {
  const members = new Members(
    place,
    ['types', 'hosts', 'apps', 'services'],
    'what a watch selects, such as {types: [host.*]}',
  );
  return {
    ...(members.has('types') ? { types: readTexts(members.at('types')).map(readType) } : {}),
    ...(members.has('hosts') ? { hosts: readHosts(members.at('hosts')) } : {}),
    ...(members.has('apps') ? { apps: readTexts(members.at('apps')).map(readWord) } : {}),
    ...(members.has('services') ? { services: readServices(members.at('services')) } : {}),
  };
}

function readServices(place: Place): NonNullable<Selection['services']> {
  const members = new Members(
    place,
    ['uuid', 'type', 'host', 'region'],
    'service records, such as {type: [shop/api]}',
  );
  const read = (key: string, one: (at: Place) => string) =>
    members.has(key) ? { [key]: readTexts(members.at(key)).map(one) } : {};
  return {
    ...read('uuid', (at) => located(at, () => requireUuid(readText(at), at.path), 'a UUID')),
    ...read('type', readWord),
    ...read('host', (at) => normaliseHostName(readText(at))),
    ...read('region', readWord),
  };
}

/** A list of texts, or one alone. */
function readTexts(place: Place): readonly Place[] {
  if (typeof place.value === 'string') return [place];
  const expected = 'a list of texts';
  const places = readList(place, { expected, max: selectListMax });
  if (places.length === 0) throw unusable(place, 'at least one');
  return places;
}

const families: readonly string[] = [...new Set(eventTypes.map(familyOf))].map((family) => `${family}.*`);

function readType(place: Place): string {
  return readOneOf(place, [...eventTypes, ...families]);
}

function readOneOf<const Words extends readonly string[]>(place: Place, words: Words): Words[number] {
  const { value } = place;
  if (typeof value === 'string' && words.includes(value)) return value as Words[number];
  const near = typeof value === 'string' ? nearest(value, words) : undefined;
  const wish =
    words.length > 12 ? `one such as ${words.slice(0, 3).join(', ')}` : `one of ${words.join(', ')}`;
  throw unusable(place, near === undefined ? wish : `another word; did you mean "${near}"?`);
}

function readHosts(place: Place): string {
  const text = readText(place);
  located(place, () => parseSelector(text, place.path), 'a selector over hosts, such as env=prod');
  return text;
}

/** What `read` refuses is told with its place. */
function located<T>(place: Place, read: () => T, expected: string): T {
  try {
    return read();
  } catch (error) {
    if (!isAppError(error)) throw error;
    throw unusable(place, `${expected} (${error.message})`);
  }
}
