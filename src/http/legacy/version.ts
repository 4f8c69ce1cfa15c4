/** Released versions in the form of workflow-manager-api: the same releases as under `/v1`. */
import { limits } from '../../base/limits.ts';
import { AppError, isAppError } from '../../domain/error.ts';
import { type Release, type ReleaseKey, releaseBytes } from '../../domain/release.ts';
import type { ReleaseService } from '../../domain/services.ts';
import { readPublication, readTrains, releaseVersionDocument } from '../../wire/legacy.ts';
import { LegacyComponentVersion, LegacyVersions } from '../../wire/legacy-schema.ts';
import { type Call, type HttpServices, ok, operation, param } from '../operation.ts';

const tag = 'versions';
const latestWord = 'latest';

export const listVersions = operation({
  id: 'listVersions',
  tag,
  summary: 'The releases of a component on a train, in the order of publishing',
  legacy: { anonymous: true, basic: false },
  answers: { 200: LegacyVersions },
  async handle(call) {
    const { component, train } = keyOf(call);
    const all = await allOf(releasesOf(call.services), { component, train });
    all.sort((a, b) => a.publishedAtMs - b.publishedAtMs || (a.version < b.version ? -1 : 1));
    return ok({ data: all.map(releaseVersionDocument) });
  },
});

export const getVersion = operation({
  id: 'getVersion',
  tag,
  summary: 'One release; `latest` is the one with the latest date',
  legacy: { anonymous: true, basic: false },
  answers: { 200: LegacyComponentVersion },
  codes: ['not-found'],
  async handle(call) {
    const key = keyOf(call);
    const releases = releasesOf(call.services);
    try {
      const release =
        key.version === latestWord ? await releases.latest(key, 'date') : await releases.get(key);
      return ok(releaseVersionDocument(release));
    } catch (error) {
      if (isAppError(error, 'not-found'))
        throw new AppError('not-found', '404 release not found', { cause: error });
      throw error;
    }
  },
});

export const postVersion = operation({
  id: 'postVersion',
  requestClass: 'report',
  tag,
  summary: 'Publish a release: create it, or replace what was published',
  legacy: { anonymous: false, basic: false },
  body: LegacyComponentVersion,
  answers: { 200: LegacyComponentVersion },
  async handle(call) {
    const key = keyOf(call);
    const content = readPublication(call.body, key);
    const { release } = await releasesOf(call.services).publish(call.caller, key, content, null);
    return ok(releaseVersionDocument(release));
  },
});

export const postLatestVersions = latestVersions('v3');
export const postLatestVersionsV2 = latestVersions('v2');

function latestVersions(wire: 'v2' | 'v3') {
  return operation({
    id: 'postLatestVersions',
    tag,
    summary:
      'The latest release of each train that is asked for, in that order, without those that have none',
    legacy: { anonymous: true, basic: false },
    body: LegacyVersions,
    answers: { 200: LegacyVersions },
    async handle({ services, body }) {
      const keys = readTrains(body, wire);
      if (keys.length > limits.batchItemsMax)
        throw new AppError(
          'too-large',
          `Cannot look for ${keys.length} trains at once: expected at most ${limits.batchItemsMax}`,
          { field: 'data' },
        );
      const found = await releasesOf(services).latestOf(keys);
      return ok({ data: found.filter((release) => release !== null).map(releaseVersionDocument) });
    },
  });
}

async function allOf(
  releases: ReleaseService,
  key: Pick<ReleaseKey, 'component' | 'train'>,
): Promise<Release[]> {
  const all: Release[] = [];
  let bytes = 0;
  let cursor: string | null = null;
  do {
    const { items, next } = await releases.list(key, {
      limit: limits.listMax,
      ...(cursor === null ? {} : { cursor }),
    });
    all.push(...items);
    bytes += items.reduce((sum, release) => sum + releaseBytes(release), 0);
    if (bytes > limits.latestAnswerBytes)
      throw new AppError(
        'too-large',
        `Cannot answer with all releases of the train: they take more than ${limits.latestAnswerBytes} bytes; ask for one, or by pages under /v1`,
      );
    cursor = next;
  } while (cursor !== null);
  return all;
}

function keyOf(call: Call): ReleaseKey {
  return {
    component: param(call, 'component'),
    train: param(call, 'train'),
    version: param(call, 'release'),
  };
}

function releasesOf({ releases }: HttpServices): ReleaseService {
  if (releases === undefined) throw new Error('a server has a route of versions and no ReleaseService');
  return releases;
}
