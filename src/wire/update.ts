/** What is out of date, on the wire. */
import { type Static, type TSchema, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import type { ComponentUpdates, UpdateFilter, UpdateView } from '../domain/services.ts';
import { updateOrders } from '../domain/update.ts';
import {
  asOfQuery,
  Count,
  Instant,
  listOf,
  nullable,
  pageQuery,
  readAsOf,
  readInstant,
  readSelector,
  SelectorText,
  strictObject,
  words,
} from './schema.ts';

const Word = Type.String({ minLength: 1, maxLength: limits.wordLengthMax });
const Name = Type.String({ minLength: 1, maxLength: limits.nameLengthMax });
const Version = Type.String({ minLength: 1, maxLength: limits.versionLengthMax });

const latest = {
  component: Word,
  detector: Word,
  train: Type.String({
    description: 'That the host follows: its label train/<component>, else train, else stable',
  }),
  latest: Version,
  publishedOn: Type.String({ description: 'The train that the latest was published on' }),
  released: Instant,
};

export const UpdateSchema = strictObject(
  { host: Name, hostId: Type.String(), ...latest, installed: Version, image: nullable(Type.String()) },
  { description: 'That a host has another version of a component than the latest of its train' },
);

export const ComponentUpdatesSchema = strictObject(
  {
    ...latest,
    hostsOutOfDate: Count,
    hostsUpToDate: Count,
    versions: Type.Array(strictObject({ version: Version, hosts: Count }), {
      description: 'The greatest first',
    }),
  },
  { description: 'A component that is out of date somewhere, of the hosts that follow one train for it' },
);

/** A list with what could not be compared. */
export function updateListOf<T extends TSchema>(items: T) {
  const { properties } = listOf(items);
  const description = 'Installed components of which these hosts follow no train with a release';
  return strictObject({ ...properties, unknown: Type.Integer({ minimum: 0, description }) });
}

export const UpdateQuery = strictObject({
  host: Type.Optional(
    Type.String({ minLength: 1, maxLength: limits.nameLengthMax, description: 'Name or id' }),
  ),
  selector: Type.Optional(SelectorText),
  component: Type.Optional(Word),
  order: Type.Optional(
    words(updateOrders, {
      description: 'version: the latest is the greatest (the default); date: the one that arrived last',
    }),
  ),
  ...asOfQuery,
  ...pageQuery,
});

/** Throws `bad-request` naming the field. */
export function readUpdateFilter(query: Static<typeof UpdateQuery>): UpdateFilter {
  const { host, selector, component, order } = query;
  return {
    ...(host === undefined ? {} : { host }),
    ...(selector === undefined ? {} : { selector: readSelector(selector) }),
    ...(component === undefined ? {} : { component }),
    ...(order === undefined ? {} : { order }),
    ...readAsOf(query),
  };
}

export type UpdateDocument = Static<typeof UpdateSchema>;
export type ComponentUpdatesDocument = Static<typeof ComponentUpdatesSchema>;

export function updateDocument({ releasedMs, ...same }: UpdateView): UpdateDocument {
  return { ...same, released: formatInstant(releasedMs) };
}

export function readUpdate({ released, ...same }: UpdateDocument): UpdateView {
  return { ...same, releasedMs: readInstant(released, 'released') };
}

export function componentUpdatesDocument({
  releasedMs,
  versions,
  ...same
}: ComponentUpdates): ComponentUpdatesDocument {
  return { ...same, versions: [...versions], released: formatInstant(releasedMs) };
}

export function readComponentUpdates({ released, ...same }: ComponentUpdatesDocument): ComponentUpdates {
  return { ...same, releasedMs: readInstant(released, 'released') };
}
