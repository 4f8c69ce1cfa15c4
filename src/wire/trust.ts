/** The registry's trust on the wire. */
import { Type } from 'typebox';
import { rotations } from '../domain/trust.ts';
import { Digest, strictObject, words } from './schema.ts';

export const TrustKeySchema = strictObject({
  key: Digest,
  publicKey: Type.String({ maxLength: 128, description: 'Ed25519, base64 of the SPKI DER' }),
});

const Certificates = Type.Array(Type.String({ maxLength: 16_384 }), {
  maxItems: 8,
  description: "PEM, of the registry's own CA: current, next; empty when others vouch for its certificate",
});

export const TrustSchema = strictObject({
  urls: Type.Array(Type.String({ maxLength: 2_048 }), { maxItems: 64 }),
  keys: Type.Array(TrustKeySchema, { maxItems: 8, description: 'Signing keys: current, next' }),
  ca: Certificates,
});

/** The part that stands in a target, beside the URLs. */
export const TargetTrustSchema = strictObject({ keys: TrustSchema.properties.keys, ca: Certificates });

export const RotateBody = strictObject({
  what: words(rotations, { description: 'What to replace; the one that was announced takes its place' }),
  force: Type.Optional(
    Type.Boolean({
      description: 'Also before all hosts can have heard of the next one; these have to join anew',
    }),
  ),
});
