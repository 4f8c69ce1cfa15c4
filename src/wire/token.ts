/** Tokens on the wire. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { roles } from '../domain/access.ts';
import type { TokenFilter } from '../domain/services.ts';
import {
  joinUsesMax,
  type TokenDocument,
  type TokenRecord,
  type TokenRequest,
  tokenKinds,
} from '../domain/token.ts';
import {
  Count,
  Duration,
  Instant,
  nullable,
  pageQuery,
  readDuration,
  readInstant,
  repeatable,
  strictObject,
  Uuid,
  words,
} from './schema.ts';

const Labels = Type.Record(Type.String(), Type.String());
const Text = Type.String({ minLength: 1, maxLength: limits.nameLengthMax });
const RoleSchema = words(roles);

const ScopeSchema = strictObject(
  {
    hosts: Type.Optional(
      Type.String({ maxLength: limits.selectorBytes, description: 'A selector over hosts' }),
    ),
    apps: Type.Optional(Type.Array(Text, { maxItems: 100 })),
  },
  { description: 'What the token is limited to' },
);

const properties = {
  id: Type.String(),
  kind: words(tokenKinds, {
    description: 'api: of a person or program; join: makes hosts; host: the credential of one',
  }),
  role: RoleSchema,
  subject: Type.String({ description: 'Whoever uses it is called so in events, logs and the audit' }),
  scope: nullable(ScopeSchema),
  uses: nullable(Count),
  labels: Labels,
  region: nullable(Type.String()),
  name: nullable(Type.String()),
  host: nullable(Uuid),
  createdBy: Type.String(),
  createdAt: Instant,
  expiresAt: Instant,
  revokedAt: nullable(Instant),
};

export const TokenSchema = strictObject(properties, { description: 'A token, without its secret' });

export const IssuedTokenSchema = strictObject({
  ...properties,
  token: Type.String({ description: 'Shown once' }),
});

export const TokenBody = strictObject({
  role: RoleSchema,
  subject: Type.Optional(Type.String({ maxLength: 128, description: 'Of every role but host' })),
  expiresIn: Type.Optional(Duration),
  scope: Type.Optional(nullable(ScopeSchema)),
  uses: Type.Optional(
    Type.Integer({ minimum: 1, maximum: joinUsesMax, description: 'Role host: hosts that it lets in' }),
  ),
  labels: Type.Optional(Labels),
  region: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: 128 }))),
  name: Type.Optional(
    nullable(Type.String({ description: 'Role host: the host names that it is good for; * is anything' })),
  ),
});

export const TokenFilterQuery = strictObject({
  kind: repeatable(words(tokenKinds)),
  role: repeatable(RoleSchema),
  subject: repeatable(Text),
  ...pageQuery,
});

export const AdminTokenSchema = strictObject({
  file: Type.String({ description: 'On the machine of the registry' }),
});

export const WhoamiSchema = strictObject({
  role: Type.String(),
  subject: Type.String(),
  host: nullable(Uuid),
  scope: nullable(ScopeSchema),
  expiresAt: nullable(Instant),
});

export function readTokenRequest(body: Static<typeof TokenBody>): TokenRequest {
  const { expiresIn, ...same } = body;
  return expiresIn === undefined ? same : { ...same, expiresInMs: readDuration(expiresIn, 'expiresIn') };
}

export function tokenRequestBody(request: TokenRequest): Static<typeof TokenBody> {
  const { expiresInMs, scope, ...same } = request;
  return {
    ...same,
    ...(expiresInMs === undefined ? {} : { expiresIn: `${expiresInMs}ms` }),
    ...(scope === undefined || scope === null
      ? {}
      : {
          scope: {
            ...(scope.hosts === undefined ? {} : { hosts: scope.hosts }),
            ...(scope.apps === undefined ? {} : { apps: [...scope.apps] }),
          },
        }),
  };
}

export function readTokenFilter(query: Static<typeof TokenFilterQuery>): TokenFilter {
  const { kind, role, subject } = query;
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(role === undefined ? {} : { role }),
    ...(subject === undefined ? {} : { subject }),
  };
}

export function readToken(document: TokenDocument): TokenRecord {
  const { host, createdAt, expiresAt, revokedAt, ...same } = document;
  return {
    ...same,
    hostId: host,
    createdAtMs: readInstant(createdAt, 'createdAt'),
    expiresAtMs: readInstant(expiresAt, 'expiresAt'),
    revokedAtMs: revokedAt === null ? null : readInstant(revokedAt, 'revokedAt'),
  };
}
