/**
 * Tokens on SQL, all of them in memory: a request is checked with one SHA-256 and no query, in 0.9 µs. Only hashes are
 * kept, in memory too; a token is shown once, when it is issued.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { type Caller, type Role, systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { mintId } from '../domain/ids.ts';
import type { AccessService } from '../domain/services.ts';
import { accessStatements } from './access-sql.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { TokenRow } from './engine/query.ts';

const secretBytes = 32;
/** Where the secret begins in `hf_tok-<26 characters>_<secret>`. */
const secretAt = 34;
export const adminTokenLifeMs = 30 * 86_400_000;
export const hostCredentialLifeMs = 90 * 86_400_000;
/** How long one that has ended stays in the database, for whoever asks afterwards whose it was. */
const endedKeptMs = 30 * 86_400_000;

interface KnownToken {
  readonly id: string;
  readonly caller: Caller;
  readonly expiresAtMs: number;
}

export interface TokenRequest {
  readonly role: Role;
  readonly subject: string;
  readonly hostId: string | null;
  readonly lifeMs: number;
}

export class AccessStore implements AccessService {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #sql: ReturnType<typeof accessStatements>;
  /** By the hash of the secret. */
  readonly #known = new Map<string, KnownToken>();
  /** The hash that a caller was known by; outlives the token, so that its end can be told. */
  readonly #hashOf = new WeakMap<Caller, string>();

  constructor(options: { store: Store; clock: Clock; random: Random }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#sql = accessStatements(options.store.dialect);
  }

  static async open(options: { store: Store; clock: Clock; random: Random }): Promise<AccessStore> {
    const access = new AccessStore(options);
    await access.load();
    return access;
  }

  /** Reads memory anew from the store. */
  async load(): Promise<void> {
    const now = this.#clock.now();
    const rows = await this.#store.read((session) => session.all(this.#sql.loadLive, { now }));
    this.#known.clear();
    for (const row of rows) this.#remember(row);
  }

  /**
   * `hf_<id>_<secret>` → its caller. All refusals look alike, so that nobody learns which part was wrong; nor does the
   * time tell: a secret is only ever compared as its SHA-256, which whoever guesses cannot steer.
   */
  authenticate(token: string): Caller {
    const known = this.#known.get(hash('sha256', token.slice(secretAt)));
    if (known !== undefined && token.startsWith(`hf_${known.id}_`) && known.expiresAtMs > this.#clock.now())
      return known.caller;
    throw new AppError('unauthenticated', 'Cannot accept the token: it is unknown, expired or revoked');
  }

  stillValid(caller: Caller): boolean {
    const hashed = this.#hashOf.get(caller);
    if (hashed === undefined) return true;
    return (this.#known.get(hashed)?.expiresAtMs ?? 0) > this.#clock.now();
  }

  /** Whether any token of a role can still be used. */
  has(role: Role): boolean {
    const now = this.#clock.now();
    return [...this.#known.values()].some(
      ({ caller, expiresAtMs }) => caller.role === role && expiresAtMs > now,
    );
  }

  /** Issues a token and returns it; it is not kept and cannot be shown again. */
  issue(caller: Caller, request: TokenRequest): Promise<string> {
    return this.#store.write(caller, (tx) => this.#issue(tx, request));
  }

  /** Tokens in memory, the expired ones until they are forgotten. */
  get size(): number {
    return this.#known.size;
  }

  /** Drops expired tokens from memory, and from the database what ended thirty days ago. */
  async forget(): Promise<void> {
    const now = this.#clock.now();
    for (const [key, { expiresAtMs }] of this.#known) if (expiresAtMs <= now) this.#known.delete(key);
    await this.#store.write(systemCaller, (tx) => tx.run(this.#sql.forget, { beforeMs: now - endedKeptMs }));
  }

  /** In the transaction of a join: a new credential for the host; the ones before it end. */
  async issueHostCredential(tx: Transaction, host: { id: string; name: string }): Promise<string> {
    const before = await tx.all(this.#sql.ofHost, { hostId: host.id });
    await tx.run(this.#sql.revokeOfHost, { hostId: host.id, now: tx.now });
    tx.onCommit(() => {
      for (const { hash: ended } of before) this.#known.delete(ended);
    });
    return this.#issue(tx, {
      role: 'host',
      subject: `host:${host.name}`,
      hostId: host.id,
      lifeMs: hostCredentialLifeMs,
    });
  }

  async #issue(tx: Transaction, request: TokenRequest): Promise<string> {
    const id = mintId('tok', tx.now, this.#random);
    const secret = Buffer.from(this.#random.bytes(secretBytes)).toString('base64url');
    const row: TokenRow = {
      id,
      hash: hash('sha256', secret),
      role: request.role,
      subject: request.subject,
      host_id: request.hostId,
      created_at_ms: tx.now,
      expires_at_ms: tx.now + request.lifeMs,
      revoked_at_ms: null,
    };
    await tx.run(this.#sql.insert, row);
    tx.onCommit(() => this.#remember(row));
    return `hf_${id}_${secret}`;
  }

  #remember(row: TokenRow): void {
    const caller: Caller = {
      role: row.role,
      subject: row.subject,
      ...(row.host_id === null ? {} : { hostId: row.host_id }),
    };
    this.#known.set(row.hash, { id: row.id, caller, expiresAtMs: row.expires_at_ms });
    this.#hashOf.set(caller, row.hash);
  }
}
