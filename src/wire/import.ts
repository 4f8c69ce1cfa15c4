/** What is taken over, on the wire. Of an item only its shape is judged here: what it says is wrong with it alone. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import { AppError } from '../domain/error.ts';
import { type ImportBatch, importKinds, importOutcomes } from '../domain/import.ts';
import { Instant, nullable, readInstant, strictObject, words } from './schema.ts';

const clusterItem = strictObject({ id: Type.String(), components: Type.Array(Type.Unknown()) });
const checkInItem = strictObject({
  cluster: Type.String(),
  at: Instant,
  count: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'At this instant' }),
});
const releaseItem = strictObject({
  component: Type.String(),
  train: Type.String(),
  version: Type.String(),
  released: Instant,
  description: nullable(Type.String()),
  fixes: nullable(Type.String()),
  image: nullable(Type.String()),
  data: nullable(Type.Record(Type.String(), Type.Unknown())),
});
const reportItem = strictObject({
  id: Type.String(),
  cluster: nullable(Type.String()),
  report: Type.Record(Type.String(), Type.Unknown(), { description: 'Kept as it is' }),
});

export const ImportBody = strictObject(
  {
    clusters: Type.Optional(Type.Array(clusterItem)),
    checkIns: Type.Optional(Type.Array(checkInItem)),
    releases: Type.Optional(Type.Array(releaseItem)),
    doctorReports: Type.Optional(Type.Array(reportItem)),
  },
  {
    description: `At most ${limits.batchItemsMax} items together; a new cluster comes with one of its check-ins`,
  },
);
export type ImportDocument = Static<typeof ImportBody>;

/** Two of the largest bodies, so that one fits with what is around it. */
export const importBodyBytes = 2 * limits.bodyBytes;

const results = Type.Array(
  strictObject({
    outcome: words(importOutcomes),
    problem: nullable(Type.String({ description: 'Why it was refused or kept' })),
  }),
  { description: 'In the order in which they came' },
);

export const ImportResultsSchema = strictObject({
  clusters: results,
  checkIns: results,
  releases: results,
  doctorReports: results,
});

/** Throws `too-large` for more than `limits.batchItemsMax`, `bad-request` for a time that is none. */
export function readImport(body: ImportDocument): ImportBatch {
  const { clusters = [], checkIns = [], releases = [], doctorReports = [] } = body;
  const count = importKinds.reduce((sum, kind) => sum + (body[kind]?.length ?? 0), 0);
  if (count > limits.batchItemsMax)
    throw new AppError(
      'too-large',
      `Cannot take ${count} items at once: expected at most ${limits.batchItemsMax}`,
    );
  return {
    clusters,
    checkIns: checkIns.map(({ at, ...same }, index) => ({
      ...same,
      atMs: readInstant(at, `checkIns/${index}/at`),
    })),
    releases: releases.map(({ component, train, version, released, ...content }, index) => ({
      ...{ component, train, version },
      content: { ...content, releasedMs: readInstant(released, `releases/${index}/released`) },
    })),
    doctorReports: doctorReports.map(({ id, cluster, report }) => ({
      ...{ id, wire: 'v3', host: cluster, comment: null, body: report },
    })),
  };
}

/** As `readImport` reads it. */
export function importDocument(batch: ImportBatch): ImportDocument {
  return {
    clusters: batch.clusters.map(({ id, components }) => ({ id, components: [...components] })),
    checkIns: batch.checkIns.map(({ atMs, ...same }) => ({ ...same, at: formatInstant(atMs) })),
    releases: batch.releases.map(({ content: { releasedMs, ...content }, ...key }) => ({
      ...key,
      ...content,
      released: formatInstant(releasedMs),
    })),
    doctorReports: batch.doctorReports.map(({ id, host, body }) => ({
      ...{ id, cluster: host, report: body as Record<string, unknown> },
    })),
  };
}
