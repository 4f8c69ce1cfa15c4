/**
 * Tokens on SQL, all of them in memory: a request is checked with one SHA-256 (about 1 µs) and no query. The store
 * keeps only hashes; a token is shown once, when it is issued.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Caller, Role } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { mintId } from '../domain/ids.ts';
import type { AccessService } from '../domain/services.ts';
import { accessStatements } from './access-sql.ts';
import type { Store, Transaction } from './port.ts';
import type { TokenRow } from './query.ts';

const secretBytes = 32;
export const adminTokenLifeMs = 30 * 86_400_000;
export const hostCredentialLifeMs = 90 * 86_400_000;

interface KnownToken {
  readonly hash: Buffer;
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
  readonly #known = new Map<string, KnownToken>();

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

  /** `hf_<id>_<secret>` → its caller. All refusals look alike, so that nobody learns which part was wrong. */
  async authenticate(token: string): Promise<Caller> {
    const match = /^hf_(tok-[0-9a-z]{26})_([A-Za-z0-9_-]{43})$/.exec(token);
    const known = match?.[1] === undefined ? undefined : this.#known.get(match[1]);
    // Compared even when the id is unknown, so that both take the same time.
    const same = timingSafeEqual(digest(match?.[2] ?? ''), known?.hash ?? nobody);
    if (known !== undefined && same && known.expiresAtMs > this.#clock.now()) return known.caller;
    throw new AppError('unauthenticated', 'Cannot accept the token: it is unknown, expired or revoked');
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

  /** In the transaction of a join: a new credential for the host; the ones before it end. */
  async issueHostCredential(tx: Transaction, host: { id: string; name: string }): Promise<string> {
    const before = await tx.all(this.#sql.ofHost, { hostId: host.id });
    await tx.run(this.#sql.revokeOfHost, { hostId: host.id, now: tx.now });
    tx.onCommit(() => {
      for (const { id } of before) this.#known.delete(id);
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
      hash: digest(secret).toString('hex'),
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
    this.#known.set(row.id, { hash: Buffer.from(row.hash, 'hex'), caller, expiresAtMs: row.expires_at_ms });
  }
}

const nobody = Buffer.alloc(32);

function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
