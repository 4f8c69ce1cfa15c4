/** Releases over HTTP. */
import { type Release, type ReleaseKey, releaseDocument } from '../domain/release.ts';
import type { ReleaseService } from '../domain/services.ts';
import {
  LatestManyBody,
  LatestManySchema,
  LatestQuery,
  ReleaseBody,
  ReleasePageQuery,
  ReleaseQuery,
  ReleaseSchema,
  readReleaseContent,
} from '../wire/release.ts';
import { listOf, readAsOf } from '../wire/schema.ts';
import {
  type Answer,
  type Call,
  type HttpServices,
  listAnswer,
  ok,
  operation,
  param,
  readIfMatch,
} from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'releases';

export const putRelease = operation({
  id: 'putRelease',
  scoped: true,
  requestClass: 'report',
  tag,
  summary: 'Publish a release: create it, or replace what was published; the same again changes nothing',
  body: ReleaseBody,
  answers: { 200: ReleaseSchema, 201: ReleaseSchema },
  codes: ['precondition-failed', 'unprocessable'],
  async handle(call) {
    const key = keyOf(call);
    const content = readReleaseContent(key, call.body);
    const { created, release } = await releasesOf(call.services).publish(
      call.caller,
      key,
      content,
      readIfMatch(call.ifMatch),
    );
    return one(release, created ? 201 : 200);
  },
});

export const getRelease = operation({
  id: 'getRelease',
  scoped: true,
  tag,
  summary: 'One release',
  query: ReleaseQuery,
  answers: { 200: ReleaseSchema },
  codes: ['not-found', 'compacted'],
  async handle(call) {
    return one(await releasesOf(call.services).get(keyOf(call), readAsOf(call.query)));
  },
});

export const withdrawRelease = operation({
  id: 'withdrawRelease',
  scoped: true,
  requestClass: 'report',
  tag,
  summary: 'Withdraw a release: it is published no more',
  answers: { 204: null },
  codes: ['not-found', 'precondition-failed'],
  async handle(call) {
    await releasesOf(call.services).withdraw(call.caller, keyOf(call), readIfMatch(call.ifMatch));
    return { kind: 'empty', status: 204 };
  },
});

export const listReleases = operation({
  id: 'listReleases',
  scoped: true,
  tag,
  summary: 'Releases of a train, the latest first: by release date, then publishing date, then version text',
  query: ReleasePageQuery,
  answers: { 200: listOf(ReleaseSchema) },
  codes: ['compacted'],
  async handle(call) {
    const page = await releasesOf(call.services).list(
      keyOf(call),
      pageRequest(call.query),
      readAsOf(call.query),
    );
    return listAnswer(page, releaseDocument);
  },
});

export const getLatestRelease = operation({
  id: 'getLatestRelease',
  scoped: true,
  tag,
  summary: 'The latest release of a train, exactly one: the first of the list, or the highest version',
  query: LatestQuery,
  answers: { 200: ReleaseSchema },
  codes: ['not-found', 'compacted'],
  async handle(call) {
    return one(
      await releasesOf(call.services).latest(keyOf(call), call.query.by ?? 'date', readAsOf(call.query)),
    );
  },
});

export const getLatestReleases = operation({
  id: 'getLatestReleases',
  scoped: true,
  tag,
  summary: 'The latest release, by date, of each of many trains; null where nothing is published',
  body: LatestManyBody,
  answers: { 200: LatestManySchema },
  async handle({ services, body }) {
    const found = await releasesOf(services).latestOf(body.items);
    return ok({ items: found.map((release) => (release === null ? null : releaseDocument(release))) });
  },
});

function one(release: Release, status = 200): Answer {
  return { kind: 'json', status, body: releaseDocument(release), etag: `"${release.changedAtMs}"` };
}

function keyOf(call: Call): ReleaseKey {
  return {
    component: param(call, 'component'),
    train: param(call, 'train'),
    version: param(call, 'version'),
  };
}

function releasesOf({ releases }: HttpServices): ReleaseService {
  if (releases === undefined) throw new Error('a server has a route of releases and no ReleaseService');
  return releases;
}
