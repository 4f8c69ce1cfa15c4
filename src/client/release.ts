/** Releases over the wire: requests as data, and the contract made of them. */
import type { VersionCondition } from '../domain/host-change.ts';
import type { LatestOrder, ReleaseContent, ReleaseKey, TrainKey } from '../domain/release.ts';
import type { AsOf, PageRequest, ReleaseService } from '../domain/services.ts';
import { paths } from '../wire/paths.ts';
import { LatestManySchema, ReleaseSchema, readRelease, releaseBody } from '../wire/release.ts';
import { asOfText, listOf } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody, expectNothing } from './request.ts';

const release = expectBody(ReleaseSchema);

export const releaseRequests = {
  publish: (key: ReleaseKey, content: ReleaseContent, condition: VersionCondition = null) =>
    ({
      method: 'PUT',
      path: paths.release(key),
      body: releaseBody(content),
      ifMatch: condition,
      answer: release,
      // A tag is good once: the second attempt finds the next one.
      idempotent: condition === null,
    }) satisfies ApiRequest,
  get: (key: ReleaseKey, at: AsOf = {}) =>
    ({
      method: 'GET',
      path: paths.release(key),
      query: asOfText(at),
      answer: release,
    }) satisfies ApiRequest,
  list: (key: TrainKey, page: Partial<PageRequest>, at: AsOf = {}) =>
    ({
      method: 'GET',
      path: paths.releases(key),
      query: { ...asOfText(at), ...page },
      answer: expectBody(listOf(ReleaseSchema)),
    }) satisfies ApiRequest,
  latest: (key: TrainKey, by: LatestOrder, at: AsOf = {}) =>
    ({
      method: 'GET',
      path: paths.latestRelease(key),
      query: { by, ...asOfText(at) },
      answer: release,
    }) satisfies ApiRequest,
  latestOf: (keys: readonly TrainKey[]) =>
    ({
      method: 'POST',
      path: paths.latestReleases,
      body: { items: keys.map(({ component, train }) => ({ component, train })) },
      answer: expectBody(LatestManySchema),
      idempotent: true,
    }) satisfies ApiRequest,
  /** Not retried: a second attempt after a lost answer would report `not-found` for what the first one did. */
  withdraw: (key: ReleaseKey, condition: VersionCondition = null) =>
    ({
      method: 'DELETE',
      path: paths.release(key),
      ifMatch: condition,
      answer: expectNothing,
    }) satisfies ApiRequest,
};

/** The `caller` arguments are ignored: the server establishes who calls from the connection's credential. */
export function createReleases(connection: Connection): ReleaseService {
  return {
    async publish(_caller, key, content, condition) {
      const { status, document } = await connection.call(releaseRequests.publish(key, content, condition));
      return { created: status === 201, release: readRelease(document) };
    },
    get: async (key, at) => readRelease((await connection.call(releaseRequests.get(key, at))).document),
    list: async (key, page, at) =>
      readPage((await connection.call(releaseRequests.list(key, page, at))).document, readRelease),
    latest: async (key, order, at) =>
      readRelease((await connection.call(releaseRequests.latest(key, order, at))).document),
    async latestOf(keys) {
      const { document } = await connection.call(releaseRequests.latestOf(keys));
      return document.items.map((item) => (item === null ? null : readRelease(item)));
    },
    async withdraw(_caller, key, condition) {
      await connection.call(releaseRequests.withdraw(key, condition));
    },
  };
}
