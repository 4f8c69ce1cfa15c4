/** Trains over the wire: requests as data, and the contract made of them. */
import type { StrictCondition } from '../domain/condition.ts';
import type { TrainKey } from '../domain/release.ts';
import type { AsOf, PageRequest, TrainService } from '../domain/services.ts';
import type { FollowPlan } from '../domain/train.ts';
import { paths } from '../wire/paths.ts';
import { asOfText, listOf } from '../wire/schema.ts';
import { readTrain, TrainSchema, trainBody } from '../wire/train.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody, expectNothing } from './request.ts';

const train = expectBody(TrainSchema);

export const trainRequests = {
  get: (key: TrainKey, at: AsOf = {}) =>
    ({ method: 'GET', path: paths.train(key), query: asOfText(at), answer: train }) satisfies ApiRequest,
  list: (component: string, page: Partial<PageRequest>, at: AsOf = {}) =>
    ({
      method: 'GET',
      path: paths.trains(component),
      query: { ...asOfText(at), ...page },
      answer: expectBody(listOf(TrainSchema)),
    }) satisfies ApiRequest,
  follow: (key: TrainKey, plan: FollowPlan, condition: StrictCondition) =>
    ({
      method: 'PUT',
      path: paths.train(key),
      body: trainBody(plan),
      ifMatch: ifMatchOf(condition),
      answer: train,
      // A tag is good once, and so is that there is none.
      idempotent: condition === null,
    }) satisfies ApiRequest,
  /** Not retried: a second attempt after a lost answer would report `not-found` for what the first one did. */
  unfollow: (key: TrainKey, condition: StrictCondition) =>
    ({
      method: 'DELETE',
      path: paths.train(key),
      ifMatch: ifMatchOf(condition),
      answer: expectNothing,
    }) satisfies ApiRequest,
};

/** The `caller` arguments are ignored: the server establishes who calls from the connection's credential. */
export function createTrains(connection: Connection): TrainService {
  return {
    get: async (key, at) => readTrain((await connection.call(trainRequests.get(key, at))).document),
    list: async (component, page, at) =>
      readPage((await connection.call(trainRequests.list(component, page, at))).document, readTrain),
    async follow(_caller, key, plan, condition) {
      const { status, document } = await connection.call(trainRequests.follow(key, plan, condition));
      return { created: status === 201, train: readTrain(document) };
    },
    async unfollow(_caller, key, condition) {
      await connection.call(trainRequests.unfollow(key, condition));
    },
  };
}

function ifMatchOf(condition: StrictCondition): readonly number[] | '*' | null {
  return condition === null ? '*' : condition === 'missing' ? null : condition;
}
