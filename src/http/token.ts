/** Tokens over HTTP, and who the caller is. */

import type { TokenService } from '../domain/services.ts';
import { tokenDocument } from '../domain/token.ts';
import { listOf } from '../wire/schema.ts';
import {
  AdminTokenSchema,
  IssuedTokenSchema,
  readTokenFilter,
  readTokenRequest,
  TokenBody,
  TokenFilterQuery,
  TokenSchema,
  WhoamiSchema,
} from '../wire/token.ts';
import { type HttpServices, listAnswer, ok, operation, param } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'access';

/** Takes no Idempotency-Key: its answer holds a secret, which is not kept. */
export const createToken = operation({
  id: 'createToken',
  requestClass: 'admin',
  tag,
  summary: 'Issue a token; role host: one that hosts join with',
  body: TokenBody,
  answers: { 201: IssuedTokenSchema },
  codes: ['unprocessable'],
  async handle({ services, caller, body }) {
    const { record, token } = await tokensOf(services).create(caller, readTokenRequest(body));
    return { kind: 'json', status: 201, body: { ...tokenDocument(record), token } };
  },
});

export const listTokens = operation({
  id: 'listTokens',
  tag,
  summary: 'Tokens, the oldest first, without their secrets; those of hosts with kind=host',
  query: TokenFilterQuery,
  answers: { 200: listOf(TokenSchema) },
  async handle({ services, query }) {
    return listAnswer(
      await tokensOf(services).list(readTokenFilter(query), pageRequest(query)),
      tokenDocument,
    );
  },
});

export const getToken = operation({
  id: 'getToken',
  tag,
  summary: 'One token, without its secret',
  answers: { 200: TokenSchema },
  codes: ['not-found'],
  async handle(call) {
    return ok(tokenDocument(await tokensOf(call.services).get(param(call, 'token'))));
  },
});

export const revokeToken = operation({
  id: 'revokeToken',
  requestClass: 'admin',
  tag,
  summary: 'End a token at once',
  answers: { 204: null },
  codes: ['not-found'],
  async handle(call) {
    await tokensOf(call.services).revoke(call.caller, param(call, 'token'));
    return { kind: 'empty', status: 204 };
  },
});

/** The token itself is in no answer: whoever may read the data directory reads it there. */
export const resetAdmin = operation({
  id: 'resetAdmin',
  requestClass: 'admin',
  tag,
  summary: 'Write another admin.token into the data directory; the one before ends',
  answers: { 200: AdminTokenSchema },
  async handle({ services, caller }) {
    if (services.resetAdmin === undefined)
      throw new Error('a server has a route of admin.token and none of them');
    return ok({ file: await services.resetAdmin(caller) });
  },
});

export const whoami = operation({
  id: 'whoami',
  scoped: true,
  tag,
  summary: 'Who the caller is, by its credential',
  answers: { 200: WhoamiSchema },
  handle({ caller, context }) {
    const { role, subject, hostId, scope, expiresAtMs } = caller;
    return ok({
      role,
      subject,
      host: hostId ?? null,
      scope: scope ?? null,
      expiresAt: expiresAtMs === undefined ? null : context.formatInstant(expiresAtMs),
    });
  },
});

function tokensOf({ tokens }: HttpServices): TokenService {
  if (tokens === undefined) throw new Error('a server has a route of tokens and no TokenService');
  return tokens;
}
