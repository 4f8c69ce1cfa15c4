/** The host's say: what a registry may make this host do. It stands in agent.yaml, which local root alone changes. */
import { Members, type Place, readList, readText, readUser, unusable } from './members.ts';

export const drivers = ['archive', 'exec', 'files', 'systemd'] as const;
export type Driver = (typeof drivers)[number];

export const handlers = ['exec', 'http', 'snapshot', 'prometheus'] as const;
export type Handler = (typeof handlers)[number];

export interface Allow {
  readonly drivers: readonly Driver[];
  readonly handlers: readonly Handler[];
  /** Under which a registry may let something run; empty: only under users made for the one run. */
  readonly users: readonly string[];
  /** Folders (absolute, without `..`) in and below which a registry may have files written; empty: only Holdfast's own. */
  readonly paths: readonly string[];
}

/** Without a word from the host. */
export const allowDefault: Allow = {
  drivers: ['archive', 'files'],
  handlers: ['http', 'snapshot'],
  users: [],
  paths: [],
};

/** `allow` of agent.yaml; a key that is absent keeps its default. Throws `bad-request`; its field is the place. */
export function readAllow(value: unknown): Allow {
  const members = new Members(
    { path: 'allow', value },
    ['drivers', 'handlers', 'users', 'paths'],
    'keys such as drivers: [archive, files]',
  );
  return {
    drivers: members.get('drivers', (place) => readWords(place, drivers), allowDefault.drivers),
    handlers: members.get('handlers', (place) => readWords(place, handlers), allowDefault.handlers),
    users: members.get('users', (place) => readEach(place, 'users', readUser), allowDefault.users),
    paths: members.get('paths', (place) => readEach(place, 'folders', readFolder), allowDefault.paths),
  };
}

const entriesMax = 1_000;

function readEach<T>(place: Place, what: string, read: (place: Place) => T): readonly T[] {
  const places = readList(place, { expected: `a list of ${what}; [] for none`, max: entriesMax });
  return [...new Set(places.map(read))];
}

function readWords<const Words extends readonly string[]>(
  place: Place,
  words: Words,
): readonly Words[number][] {
  const expected = `one of ${words.join(', ')}`;
  return readEach(place, words.join(', '), (one) => {
    const word = words.find((known) => known === one.value);
    if (word === undefined) throw unusable(one, expected);
    return word;
  });
}

function readFolder(place: Place): string {
  const text = readText(place);
  const parts = text.split('/').filter((part) => part !== '');
  if (!text.startsWith('/') || parts.length === 0 || parts.includes('..') || parts.includes('.'))
    throw unusable(place, 'the path of a folder from / on, without ".." and not / itself');
  return `/${parts.join('/')}`;
}
