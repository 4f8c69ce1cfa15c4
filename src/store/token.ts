/** Tokens of people, programs and hosts to come, as an admin issues, lists and revokes them. */
import type { Clock } from '../base/clock.ts';
import type { Caller, TokenScope } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { Scope } from '../domain/scope.ts';
import type { IssuedToken, Page, PageRequest, TokenFilter, TokenService } from '../domain/services.ts';
import { decideToken, type TokenRecord, type TokenRequest } from '../domain/token.ts';
import { type AccessStore, tokenNotFound } from './access.ts';
import { accessStatements, tokenRecordOf } from './access-sql.ts';
import type { Store } from './engine/port.ts';
import { decodeCursor, encodeCursor } from './page.ts';

export interface TokenStoreOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly access: AccessStore;
  /**
   * The text of a join token, made of its bearer and of what a host has to know of this registry. Throws
   * `unprocessable` when hosts could not find it. Null: nobody joins here.
   */
  readonly joinText: ((bearer: string) => string) | null;
}

export class TokenStore implements TokenService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #access: AccessStore;
  readonly #joinText: ((bearer: string) => string) | null;
  readonly #sql: ReturnType<typeof accessStatements>;

  constructor(options: TokenStoreOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#access = options.access;
    this.#joinText = options.joinText;
    this.#sql = accessStatements(options.store.dialect);
  }

  create(caller: Caller, request: TokenRequest): Promise<IssuedToken> {
    const plan = decideToken(request);
    if (plan.scope !== null) this.#requireScopes(plan.scope);
    return this.#store.write(caller, async (tx) => {
      const { record, token } = await this.#access.issueIn(tx, plan);
      return { record, token: plan.kind === 'join' ? this.#toJoinText(token) : token };
    });
  }

  #requireScopes(scope: TokenScope): void {
    if (this.#joinText === null) {
      throw new AppError(
        'unprocessable',
        'Cannot issue the token: an agent speaks of one host only, and limits no tokens to some; leave scope out',
        { field: 'scope' },
      );
    }
    if (scope.hosts === undefined && scope.apps === undefined) {
      throw new AppError(
        'bad-request',
        'Cannot issue the token: its scope names neither hosts nor apps, leave it out to limit nothing',
        { field: 'scope' },
      );
    }
    // Throws for a selector that is none.
    new Scope(scope);
  }

  async get(id: string): Promise<TokenRecord> {
    const row = await this.#store.read((session) => session.get(this.#sql.byId, { id }));
    if (row === undefined) throw tokenNotFound(id);
    return tokenRecordOf(row);
  }

  async list(filter: TokenFilter, page: PageRequest): Promise<Page<TokenRecord>> {
    const { epoch, revision } = this.#store.log.head();
    const after = page.cursor === undefined ? '' : (decodeCursor(page.cursor, 1)[0] ?? '');
    const query = this.#sql.list(filter, after, page.limit + 1);
    const rows = await this.#store.read((session) => session.query(query));
    const items = rows.slice(0, page.limit).map(tokenRecordOf);
    const last = items.at(-1);
    return {
      items,
      next: rows.length > page.limit && last !== undefined ? encodeCursor([last.id]) : null,
      asOfMs: this.#clock.now(),
      position: { epoch, revision },
      stale: false,
    };
  }

  async revoke(caller: Caller, id: string): Promise<void> {
    await this.#store.write(caller, (tx) => this.#access.revokeIn(tx, id));
  }

  #toJoinText(bearer: string): string {
    if (this.#joinText !== null) return this.#joinText(bearer);
    throw new AppError(
      'unprocessable',
      'Cannot issue a join token: hosts join a registry, and this is an agent',
      { field: 'role' },
    );
  }
}
