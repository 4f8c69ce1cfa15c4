/** Trains on the wire. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import type { FollowPlan, TrainDocument, TrainView } from '../domain/train.ts';
import {
  asOfQuery,
  Count,
  Duration,
  Instant,
  nullable,
  pageQuery,
  readDuration,
  readInstant,
  strictObject,
} from './schema.ts';

const Word = Type.String({ minLength: 1, maxLength: limits.wordLengthMax });

export const TrainSchema = strictObject(
  {
    component: Word,
    train: Word,
    follows: nullable(Word),
    delayMs: Count,
    changedAt: nullable(Instant),
  },
  { description: 'A line of versions of a component; it may follow another one with a delay' },
);

export const TrainBody = strictObject({
  follows: Type.String({
    minLength: 1,
    maxLength: limits.wordLengthMax,
    description: 'The train whose releases arrive on this one',
  }),
  delay: Type.Optional(Duration),
});

export const TrainPageQuery = strictObject({ ...asOfQuery, ...pageQuery });

export const TrainQuery = strictObject({ ...asOfQuery });

/** Without a delay they arrive at once. */
export function readFollowPlan({ follows, delay }: Static<typeof TrainBody>): FollowPlan {
  return { follows, delayMs: delay === undefined ? 0 : readDuration(delay, 'delay') };
}

export function trainBody({ follows, delayMs }: FollowPlan): Static<typeof TrainBody> {
  return { follows, delay: `${delayMs}ms` };
}

export function readTrain({ changedAt, ...same }: TrainDocument): TrainView {
  return { ...same, changedAtMs: changedAt === null ? null : readInstant(changedAt, 'changedAt') };
}
