/** Tokens over the wire: requests as data, and the contract made of them. */
import type { PageRequest, TokenFilter, TokenService } from '../domain/services.ts';
import type { TokenRequest } from '../domain/token.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import {
  AdminTokenSchema,
  IssuedTokenSchema,
  readToken,
  TokenSchema,
  tokenRequestBody,
  WhoamiSchema,
} from '../wire/token.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody, expectNothing } from './request.ts';

export const tokenRequests = {
  create: (request: TokenRequest) =>
    ({
      method: 'POST',
      path: paths.tokens,
      body: tokenRequestBody(request),
      answer: expectBody(IssuedTokenSchema),
    }) satisfies ApiRequest,
  get: (id: string) =>
    ({ method: 'GET', path: paths.token(id), answer: expectBody(TokenSchema) }) satisfies ApiRequest,
  list: (filter: TokenFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.tokens,
      query: { ...filter, ...page },
      answer: expectBody(listOf(TokenSchema)),
    }) satisfies ApiRequest,
  /** Ending one twice is ending it once. */
  revoke: (id: string) =>
    ({
      method: 'DELETE',
      path: paths.token(id),
      answer: expectNothing,
      idempotent: true,
    }) satisfies ApiRequest,
  resetAdmin: () =>
    ({
      method: 'POST',
      path: paths.adminToken,
      answer: expectBody(AdminTokenSchema),
    }) satisfies ApiRequest,
  whoami: () =>
    ({ method: 'GET', path: paths.whoami, answer: expectBody(WhoamiSchema) }) satisfies ApiRequest,
};

/** The `caller` arguments are ignored: the server establishes who calls from the connection's credential. */
export function createTokens(connection: Connection): TokenService {
  return {
    async create(_caller, request) {
      const { document } = await connection.call(tokenRequests.create(request));
      const { token, ...record } = document;
      return { record: readToken(record), token };
    },
    get: async (id) => readToken((await connection.call(tokenRequests.get(id))).document),
    list: async (filter, page) =>
      readPage((await connection.call(tokenRequests.list(filter, page))).document, readToken),
    async revoke(_caller, id) {
      await connection.call(tokenRequests.revoke(id));
    },
  };
}
