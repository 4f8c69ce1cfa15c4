/** Trains over HTTP. */
import type { TrainKey } from '../domain/release.ts';
import type { TrainService } from '../domain/services.ts';
import { type TrainView, trainDocument } from '../domain/train.ts';
import { listOf, readAsOf } from '../wire/schema.ts';
import { readFollowPlan, TrainBody, TrainPageQuery, TrainQuery, TrainSchema } from '../wire/train.ts';
import {
  type Answer,
  type Call,
  type HttpServices,
  listAnswer,
  operation,
  param,
  readStrictIfMatch,
} from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'releases';

export const listTrains = operation({
  id: 'listTrains',
  scoped: true,
  tag,
  summary: 'Trains of a component, ordered by name: those with releases, and those that follow others',
  query: TrainPageQuery,
  answers: { 200: listOf(TrainSchema) },
  codes: ['compacted'],
  async handle(call) {
    const page = await trainsOf(call.services).list(
      param(call, 'component'),
      pageRequest(call.query),
      readAsOf(call.query),
    );
    return listAnswer(page, trainDocument);
  },
});

export const getTrain = operation({
  id: 'getTrain',
  scoped: true,
  tag,
  summary: 'One train, and which other one it follows',
  query: TrainQuery,
  answers: { 200: TrainSchema },
  codes: ['not-found', 'compacted'],
  async handle(call) {
    return one(await trainsOf(call.services).get(keyOf(call), readAsOf(call.query)));
  },
});

export const putTrain = operation({
  id: 'putTrain',
  scoped: true,
  requestClass: 'admin',
  tag,
  summary: 'Let a train follow another one: its releases arrive once they have been out for the delay',
  body: TrainBody,
  answers: { 200: TrainSchema, 201: TrainSchema },
  codes: ['precondition-failed', 'precondition-required', 'unprocessable'],
  async handle(call) {
    const { created, train } = await trainsOf(call.services).follow(
      call.caller,
      keyOf(call),
      readFollowPlan(call.body),
      readStrictIfMatch(call.ifMatch),
    );
    return one(train, created ? 201 : 200);
  },
});

export const deleteTrain = operation({
  id: 'deleteTrain',
  scoped: true,
  requestClass: 'admin',
  tag,
  summary: 'Let a train follow none any more; what is published on it itself stays',
  answers: { 204: null },
  codes: ['not-found', 'precondition-failed', 'precondition-required'],
  async handle(call) {
    await trainsOf(call.services).unfollow(call.caller, keyOf(call), readStrictIfMatch(call.ifMatch));
    return { kind: 'empty', status: 204 };
  },
});

/** Only that it follows another can be changed, and so has a tag. */
function one(train: TrainView, status = 200): Answer {
  const { changedAtMs } = train;
  const etag = changedAtMs === null ? {} : { etag: `"${changedAtMs}"` };
  return { kind: 'json', status, body: trainDocument(train), ...etag };
}

function keyOf(call: Call): TrainKey {
  return { component: param(call, 'component'), train: param(call, 'train') };
}

function trainsOf({ trains }: HttpServices): TrainService {
  if (trains === undefined) throw new Error('a server has a route of trains and no TrainService');
  return trains;
}
