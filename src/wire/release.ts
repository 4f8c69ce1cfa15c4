/** Releases on the wire. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant, parseInstant } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import {
  latestOrders,
  type Release,
  type ReleaseContent,
  type ReleaseDocument,
  type ReleaseKey,
} from '../domain/release.ts';
import { asOfQuery, Instant, nullable, pageQuery, readInstant, strictObject, words } from './schema.ts';

const Word = Type.String({ minLength: 1, maxLength: limits.wordLengthMax });
const Version = Type.String({ minLength: 1, maxLength: limits.versionLengthMax });
const Data = Type.Record(Type.String(), Type.Unknown(), {
  description: 'Whatever else there is to know, kept as it is',
});

export const ReleaseSchema = strictObject(
  {
    component: Word,
    train: Word,
    version: Version,
    released: Instant,
    description: nullable(Type.String()),
    fixes: nullable(Type.String()),
    image: nullable(Type.String()),
    data: nullable(Data),
    publishedBy: Type.String({ description: 'Who published it first' }),
    publishedAt: Instant,
    changedAt: Type.String({
      maxLength: 64,
      description: 'When its content changed last; in milliseconds, its ETag',
    }),
  },
  { description: 'One version of a component that was published on a train' },
);

const ReadOnly = { description: 'Read-only: ignored when it is sent back' };

/** What is left out is empty from then on, but for `released`, which stays. */
export const ReleaseBody = strictObject({
  released: Type.Optional(
    Type.String({ maxLength: 64, description: 'RFC 3339 with a zone; as published before, or now' }),
  ),
  description: Type.Optional(nullable(Type.String({ description: 'What is in it: release notes' }))),
  fixes: Type.Optional(nullable(Type.String({ description: 'What it mends' }))),
  image: Type.Optional(nullable(Type.String({ description: 'Where it is got' }))),
  data: Type.Optional(nullable(Data)),
  component: Type.Optional(Type.String({ description: 'As in the path' })),
  train: Type.Optional(Type.String({ description: 'As in the path' })),
  version: Type.Optional(Type.String({ description: 'As in the path' })),
  publishedBy: Type.Optional(Type.String(ReadOnly)),
  publishedAt: Type.Optional(Type.String(ReadOnly)),
  changedAt: Type.Optional(Type.String(ReadOnly)),
});

export const ReleasePageQuery = strictObject({ ...asOfQuery, ...pageQuery });

export const ReleaseQuery = strictObject({ ...asOfQuery });

export const LatestQuery = strictObject({
  by: Type.Optional(
    words(latestOrders, {
      description: 'date: the one that came out last (the default); semver, debian, rpm: the highest version',
    }),
  ),
  ...asOfQuery,
});

export const LatestManyBody = strictObject({
  items: Type.Array(strictObject({ component: Word, train: Word }), { maxItems: limits.batchItemsMax }),
});

export const LatestManySchema = strictObject({
  items: Type.Array(nullable(ReleaseSchema), {
    description: 'As many as were asked for, in that order; null where nothing is published',
  }),
});

/** Throws `bad-request` naming the field: an instant that is none, and a name that is not the one in the path. */
export function readReleaseContent(key: ReleaseKey, body: Static<typeof ReleaseBody>): ReleaseContent {
  for (const field of ['component', 'train', 'version'] as const) {
    const named = body[field];
    if (named !== undefined && named !== key[field])
      throw refusal(key, field, `it is "${named.slice(0, 80)}" in the body and "${key[field]}" in the path`);
  }
  const { released, description = null, fixes = null, image = null, data = null } = body;
  const content = { description, fixes, image, data };
  if (released === undefined) return content;
  const releasedMs = parseInstant(released);
  if (releasedMs !== undefined) return { ...content, releasedMs };
  throw refusal(
    key,
    'released',
    `it is "${released}", expected RFC 3339 with a zone, such as 2026-01-31T09:30:00Z`,
  );
}

export function releaseBody(content: ReleaseContent): Static<typeof ReleaseBody> {
  const { releasedMs, data, ...texts } = content;
  return {
    ...texts,
    data: data === null ? null : { ...data },
    ...(releasedMs === undefined ? {} : { released: formatInstant(releasedMs) }),
  };
}

export function readRelease(document: ReleaseDocument): Release {
  const { released, publishedAt, changedAt, ...same } = document;
  return {
    ...same,
    releasedMs: readInstant(released, 'released'),
    publishedAtMs: readInstant(publishedAt, 'publishedAt'),
    changedAtMs: readInstant(changedAt, 'changedAt'),
  };
}

function refusal({ component, version }: ReleaseKey, field: string, problem: string): AppError {
  return new AppError(
    'bad-request',
    `Cannot publish release "${version}" of ${component}: ${field}: ${problem}`,
    { field },
  );
}
