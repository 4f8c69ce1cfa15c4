/** A host's target on the wire. */
import { Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { Count, Instant, nullable, strictObject, Uuid } from './schema.ts';
import { TargetTrustSchema, TrustSchema } from './trust.ts';

const Name = Type.String({ minLength: 1, maxLength: limits.nameLengthMax });

export const TargetSchema = strictObject(
  {
    host: Uuid,
    epoch: Count,
    serial: Count,
    issuedAt: Instant,
    notAfter: Instant,
    settings: strictObject({
      name: Name,
      region: nullable(Name),
      labels: Type.Record(Type.String(), Type.String()),
      urls: TrustSchema.properties.urls,
      trust: TargetTrustSchema,
    }),
    placements: Type.Array(Type.Unknown()),
  },
  {
    description:
      'Everything that a host shall hold; signed as its exact bytes, in the header Holdfast-Signature',
  },
);
