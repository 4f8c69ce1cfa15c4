/**
 * Tokens on SQL, all of them in memory: a request is checked with one SHA-256 and no query, in 0.9 µs. Only hashes are
 * kept, in memory too; a token is shown once, when it is issued.
 *
 * A host's credential. In force: it is the only one. When the host renews, a second one is on offer beside it: good
 * for an hour, also for beating. The first beat with it puts it in force and ends the other, so that neither a lost
 * answer nor a crash leaves the host with a credential that does not open. Another offer ends the one before.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { mintId } from '../domain/ids.ts';
import type { AccessService } from '../domain/services.ts';
import {
  credentialOfferMs,
  hostCredentialLifeMs,
  isNameAllowed,
  type TokenPlan,
  type TokenRecord,
  tokenEvent,
} from '../domain/token.ts';
import { accessStatements, labelsOf, scopeOf, tokenRecordOf } from './access-sql.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { TokenRow } from './engine/query.ts';

const secretBytes = 32;
/** Where the secret begins in `hf_tok-<26 characters>_<secret>`. */
const secretAt = 34;
/** How long one that has ended stays in the database, for whoever asks afterwards whose it was. */
const endedKeptMs = 30 * 86_400_000;

interface KnownToken {
  readonly id: string;
  readonly caller: Caller;
  /** For an offer the end of the offer. */
  readonly expiresAtMs: number;
}

/** A token with its secret, which nobody can show again. */
export interface Issued {
  readonly record: TokenRecord;
  /** `hf_<id>_<secret>` */
  readonly token: string;
}

/** Whom a credential is for. */
export interface CredentialHost {
  readonly id: string;
  readonly name: string;
  readonly generation: number;
}

/** A host's credential, and when it ends. */
export interface IssuedCredential {
  readonly credential: string;
  readonly expiresAtMs: number;
}

/** What a join token gives to the host that comes with it. */
export interface JoinGrant {
  readonly tokenId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly region: string | null;
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

  /** Issues an API or a join token (`token.issued`). */
  issue(caller: Caller, plan: TokenPlan): Promise<Issued> {
    return this.#store.write(caller, (tx) => this.issueIn(tx, plan));
  }

  async issueIn(tx: Transaction, plan: TokenPlan): Promise<Issued> {
    const { token, row } = await this.#insert(tx, (id) => ({
      ...noRow,
      kind: plan.kind,
      role: plan.role,
      subject: plan.subject ?? `join:${id}`,
      scope: plan.scope === null ? null : JSON.stringify(plan.scope),
      uses_left: plan.uses,
      labels: plan.kind === 'join' ? JSON.stringify(plan.labels) : null,
      region: plan.region,
      host_name: plan.name,
      expires_at_ms: tx.now + plan.lifeMs,
    }));
    const record = tokenRecordOf(row);
    tx.append(tokenEvent('token.issued', record));
    return { record, token };
  }

  /** Ends a token at once (`token.revoked`); one that has ended already stays as it is. `not-found`. */
  async revokeIn(tx: Transaction, id: string): Promise<TokenRecord> {
    const row = await tx.get(this.#sql.byId, { id });
    if (row === undefined) throw tokenNotFound(id);
    if (row.revoked_at_ms !== null || row.expires_at_ms <= tx.now) return tokenRecordOf(row);
    await this.#end(tx, [row]);
    const record = tokenRecordOf({ ...row, revoked_at_ms: tx.now });
    tx.append(tokenEvent('token.revoked', record));
    return record;
  }

  /** Ends every API token of a subject (`token.revoked` each). */
  async revokeSubjectIn(tx: Transaction, subject: string): Promise<void> {
    const rows = await tx.all(this.#sql.ofSubject, { subject });
    for (const row of rows) await this.revokeIn(tx, row.id);
  }

  /**
   * In the transaction of a join by a join token: counts the use and tells what comes with it. `unauthenticated` when
   * no use is left, so that of any number at once no more get in than it was made for; `forbidden` for another name.
   * `again`: this very host, proved by its key, joined with it before and may not have heard the answer; that is no
   * use.
   */
  async useJoinToken(
    tx: Transaction,
    caller: Caller,
    host: { readonly name: string; readonly again: boolean },
  ): Promise<JoinGrant> {
    const { tokenId = '' } = caller;
    const row = await tx.get(this.#sql.byId, { id: tokenId });
    if (row?.kind !== 'join' || row.revoked_at_ms !== null || row.expires_at_ms <= tx.now)
      throw new AppError('unauthenticated', 'Cannot join: the join token has expired or was revoked');
    if (!isNameAllowed(row.host_name, host.name)) {
      throw new AppError(
        'forbidden',
        `Cannot join as "${host.name.slice(0, 253)}": the join token is good for "${row.host_name}" only`,
        { field: 'name' },
      );
    }
    if (!host.again && (await tx.run(this.#sql.use, { id: tokenId })) === 0) {
      throw new AppError(
        'unauthenticated',
        'Cannot join: the join token is used up; "holdfast token create --role host" makes another',
      );
    }
    return { tokenId, labels: labelsOf(row), region: row.region };
  }

  /** In the transaction of a join: the host's one credential; those before it end. */
  async issueHostCredential(
    tx: Transaction,
    host: CredentialHost,
    lifeMs: number = hostCredentialLifeMs,
  ): Promise<IssuedCredential> {
    await this.endHostCredentials(tx, host.id);
    return this.#insertCredential(tx, host, { lifeMs, offered: false });
  }

  /** A second credential beside the one in force, until `commitOffer` or for an hour; an earlier offer ends. */
  async offerHostCredential(
    tx: Transaction,
    host: CredentialHost,
    lifeMs: number = hostCredentialLifeMs,
  ): Promise<IssuedCredential> {
    const live = await tx.all(this.#sql.ofHost, { hostId: host.id });
    await this.#end(
      tx,
      live.filter((row) => row.offered_until_ms !== null),
    );
    return this.#insertCredential(tx, host, { lifeMs, offered: true });
  }

  /**
   * The host has used its offered credential: it is in force now and all others end. Returns its generation; null when
   * it was in force already. `unauthenticated` when the offer has ended meanwhile.
   */
  async commitOffer(tx: Transaction, caller: Caller): Promise<number | null> {
    const row = await tx.get(this.#sql.byId, { id: caller.tokenId ?? '' });
    if (row?.host_id == null || row.generation === null || row.revoked_at_ms !== null)
      throw new AppError('unauthenticated', 'Cannot accept the token: it is unknown, expired or revoked');
    if (row.offered_until_ms === null) return null;
    const live = await tx.all(this.#sql.ofHost, { hostId: row.host_id });
    await this.#end(
      tx,
      live.filter(({ id }) => id !== row.id),
    );
    await tx.run(this.#sql.commit, { id: row.id });
    tx.onCommit(() => this.#remember({ ...row, offered_until_ms: null }));
    return row.generation;
  }

  /** Ends every credential of a host at once. */
  async endHostCredentials(tx: Transaction, hostId: string): Promise<void> {
    await this.#end(tx, await tx.all(this.#sql.ofHost, { hostId }));
  }

  /** A host is called otherwise: so is whoever comes with its credentials. */
  async renameHost(tx: Transaction, host: { readonly id: string; readonly name: string }): Promise<void> {
    const subject = `host:${host.name}`;
    const live = await tx.all(this.#sql.ofHost, { hostId: host.id });
    await tx.run(this.#sql.setSubject, { hostId: host.id, subject });
    tx.onCommit(() => {
      for (const row of live) this.#remember({ ...row, subject });
    });
  }

  async #insertCredential(
    tx: Transaction,
    host: CredentialHost,
    { lifeMs, offered }: { lifeMs: number; offered: boolean },
  ): Promise<IssuedCredential> {
    const { token, row } = await this.#insert(tx, () => ({
      ...noRow,
      kind: 'host',
      role: 'host',
      subject: `host:${host.name}`,
      host_id: host.id,
      generation: host.generation,
      offered_until_ms: offered ? tx.now + credentialOfferMs : null,
      expires_at_ms: tx.now + lifeMs,
    }));
    return { credential: token, expiresAtMs: row.expires_at_ms };
  }

  async #insert(
    tx: Transaction,
    fill: (id: string) => Omit<TokenRow, 'id' | 'hash' | 'created_by' | 'created_at_ms'>,
  ): Promise<{ token: string; row: TokenRow }> {
    const id = mintId('tok', tx.now, this.#random);
    const secret = Buffer.from(this.#random.bytes(secretBytes)).toString('base64url');
    const row: TokenRow = {
      ...fill(id),
      id,
      hash: hash('sha256', secret),
      created_by: tx.caller.subject,
      created_at_ms: tx.now,
    };
    await tx.run(this.#sql.insert, row);
    tx.onCommit(() => this.#remember(row));
    return { token: `hf_${id}_${secret}`, row };
  }

  async #end(tx: Transaction, rows: readonly TokenRow[]): Promise<void> {
    for (const { id } of rows) await tx.run(this.#sql.revoke, { id, now: tx.now });
    tx.onCommit(() => {
      for (const { hash: ended } of rows) this.#known.delete(ended);
    });
  }

  #remember(row: TokenRow): void {
    const caller = callerOf(row);
    const expiresAtMs = Math.min(row.expires_at_ms, row.offered_until_ms ?? row.expires_at_ms);
    this.#known.set(row.hash, { id: row.id, caller, expiresAtMs });
    this.#hashOf.set(caller, row.hash);
  }
}

/** What a token of any kind may lack. */
const noRow = {
  scope: null,
  uses_left: null,
  labels: null,
  region: null,
  host_name: null,
  host_id: null,
  generation: null,
  offered_until_ms: null,
  revoked_at_ms: null,
} as const satisfies Partial<TokenRow>;

export function tokenNotFound(id: string): AppError {
  return new AppError('not-found', `Cannot find token "${id.slice(0, 80)}": there is none`);
}

function callerOf(row: TokenRow): Caller {
  const scope = scopeOf(row);
  return {
    role: row.kind === 'join' ? 'joiner' : row.role,
    subject: row.subject,
    tokenId: row.id,
    expiresAtMs: row.expires_at_ms,
    ...(row.host_id === null ? {} : { hostId: row.host_id }),
    ...(scope === null ? {} : { scope }),
    ...(row.offered_until_ms === null ? {} : { offered: true as const }),
  };
}
