/**
 * Who is which host: joining, and the credentials that follow from a host's key. A host that joined with a key renews
 * with it: also one that was away for longer than its credential lives, and one whose registry was put back to before
 * its last renewal. One whose own folder was put back, or copied, is behind and turned away.
 */
import type { Random } from '../base/random.ts';
import type { Caller } from '../domain/access.ts';
import { isUndecided, noSessions } from '../domain/clone.ts';
import { AppError } from '../domain/error.ts';
import { decideHostName, type HostRecord, hostEvent, hostNameCandidates } from '../domain/host.ts';
import { mintUuid, normaliseHostName, requirePrintable } from '../domain/ids.ts';
import { credentialStatement, isProof, joinStatement } from '../domain/proof.ts';
import type { JoinAnswer, JoinRequest, RenewalAnswer, RenewalRequest } from '../domain/services.ts';
import { hostCredentialLifeMs, keylessCredentialLifeMs } from '../domain/token.ts';
import type { AccessStore, CredentialHost, JoinGrant } from './access.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { HostRow } from './engine/query.ts';
import type { HostMemory } from './host-memory.ts';
import type { HostPast } from './host-past.ts';
import { type hostStatements, recordOf, rowOf } from './host-sql.ts';

export interface HostIdentityOptions {
  readonly store: Store;
  readonly random: Random;
  readonly access: AccessStore;
  readonly memory: HostMemory;
  readonly sql: ReturnType<typeof hostStatements>;
  readonly past: HostPast;
}

export class HostIdentity {
  readonly #options: HostIdentityOptions;

  constructor(options: HostIdentityOptions) {
    this.#options = options;
  }

  /** As `HostService.join`, without what the registry says of itself. */
  join(caller: Caller, request: JoinRequest): Promise<Omit<JoinAnswer, 'trust'>> {
    const { store, access, memory, sql } = this.#options;
    const region = request.region === null ? null : requirePrintable(request.region, 'region');
    const publicKey = provedKey(caller, request);
    return store.write(caller, async (tx) => {
      const ofMachine = await tx.all(sql.byMachine, { machineId: request.machineId });
      const known = knownHost(ofMachine, request.name, memory);
      const again = known !== undefined && isSameJoin(known, caller, publicKey);
      const grant =
        caller.role === 'joiner'
          ? await access.useJoinToken(tx, caller, { name: request.name, again })
          : null;
      const host =
        known === undefined
          ? await this.#admit(tx, { ...request, region }, { grant, publicKey })
          : await this.#readmit(tx, known, { grant, publicKey });
      const lifeMs = publicKey === null ? keylessCredentialLifeMs : hostCredentialLifeMs;
      const issued = await access.issueHostCredential(tx, host, lifeMs);
      return { id: host.id, name: host.name, generation: host.generation, ...issued };
    });
  }

  /** As `HostService.renew`. */
  async renew(id: string, { generation, proof, machineId }: RenewalRequest): Promise<RenewalAnswer> {
    const { store, access, memory, sql } = this.#options;
    const slot = memory.find(id);
    const proved = slot === undefined ? null : memory.facts(memory.presence.record(slot).id).publicKey;
    // Before the queue of writes, which nobody unknown may fill. Who guesses ids learns nothing of them.
    if (slot === undefined || proved === null || !isProof(proved, credentialStatement(id, generation), proof))
      throw new AppError(
        'unauthenticated',
        'Cannot renew the credential: the proof is not of a host of ours',
      );
    const { name } = memory.presence.record(slot);
    const caller: Caller = { role: 'host', subject: `host:${name}`, hostId: id };
    return store.write(caller, async (tx) => {
      const row = await tx.get(sql.byId, { id });
      if (row === undefined || row.public_key !== proved)
        throw new AppError(
          'unauthenticated',
          'Cannot renew the credential: this host has joined anew meanwhile',
        );
      if (row.revoked_at_ms !== null)
        throw new AppError('unauthenticated', `Cannot renew the credential: host "${row.name}" was revoked`);
      this.#refuseClone(row, machineId);
      if (generation < row.generation)
        throw new AppError(
          'identity-conflict',
          `Cannot renew the credential: it is the ${generation}. of host "${row.name}", which has its ${row.generation}. already. Another machine has this identity, or this one was put back to an earlier state: join it anew`,
          { details: { generation: row.generation } },
        );
      const host: CredentialHost = { id, name: row.name, generation: generation + 1 };
      const issued = await access.offerHostCredential(tx, host);
      return { ...issued, generation: host.generation };
    });
  }

  /** A beat came with the offered credential: it is in force, and the only one. */
  async commitOffer(caller: Caller, id: string): Promise<void> {
    const { store, access, sql } = this.#options;
    await store.write(caller, async (tx) => {
      const generation = await access.commitOffer(tx, caller);
      if (generation !== null) await tx.run(sql.setGeneration, { id, generation });
    });
  }

  #refuseClone(row: HostRow, machineId: string | null): void {
    const { sessions, machineId: joined } = this.#options.memory.facts(row.id);
    const isOutcast = sessions.clone?.decided === true && machineId !== joined;
    if (!isUndecided(sessions) && !isOutcast) return;
    throw clonedHost(row.name, 'renew the credential');
  }

  async #admit(
    tx: Transaction,
    request: JoinRequest,
    { grant, publicKey }: { grant: JoinGrant | null; publicKey: string | null },
  ): Promise<CredentialHost> {
    const { memory, sql, random } = this.#options;
    const id = mintUuid(tx.now, random);
    const taken = new Set<string>();
    for (const name of hostNameCandidates(request.name, id)) {
      if ((await tx.get(sql.byName, { name })) !== undefined) taken.add(name);
    }
    const record: HostRecord = {
      id,
      name: decideHostName(request.name, id, taken),
      region: grant?.region ?? request.region,
      labels: grant?.labels ?? {},
      self: {},
      status: 'UP',
      reason: null,
      firstSeenMs: tx.now,
      revokedAtMs: null,
      version: 1,
    };
    const numbered = await tx.get(sql.nextNo, {});
    const row = rowOf(record, {
      no: Number(numbered?.no),
      machineId: request.machineId,
      joinedAs: normaliseHostName(request.name),
      lastSeenMs: tx.now,
      intervalToldMs: memory.intervalMs(),
      publicKey,
      joinedBy: grant?.tokenId ?? null,
    });
    await tx.run(sql.insert, row);
    tx.append(
      hostEvent('host.joined', {
        ...record,
        confirmed: true,
        lastSeenMs: tx.now,
        checkIns: 0,
        lastCheckInMs: null,
        conflict: null,
      }),
    );
    tx.onCommit(() => memory.heard(memory.add(row)));
    return { id, name: record.name, generation: row.generation };
  }

  /** A host that was here before keeps its records and its labels. */
  async #readmit(
    tx: Transaction,
    row: HostRow,
    { grant, publicKey }: { grant: JoinGrant | null; publicKey: string | null },
  ): Promise<CredentialHost> {
    const { memory, sql, past } = this.#options;
    const { id, name } = row;
    const generation = row.generation + 1;
    const atMs = row.revoked_at_ms === null ? row.changed_at_ms : await past.keep(tx, row);
    const joined = {
      id,
      public_key: publicKey,
      generation,
      joined_by: grant?.tokenId ?? null,
      changed_at_ms: atMs,
    };
    await tx.run(sql.setJoined, joined);
    const record = recordOf({ ...row, revoked_at_ms: null });
    // Who let it in again is as much worth knowing as who turned it away.
    if (row.revoked_at_ms !== null)
      tx.append(
        hostEvent('host.joined', {
          ...record,
          confirmed: true,
          lastSeenMs: row.last_seen_ms,
          checkIns: row.checkins,
          lastCheckInMs: row.inventory_at_ms,
          conflict: null,
        }),
      );
    tx.onCommit(() => {
      memory.changed(record, atMs);
      const facts = memory.facts(id);
      facts.publicKey = publicKey;
      facts.sessions = noSessions;
    });
    return { id, name, generation };
  }
}

/**
 * The host of this machine that comes back by this name: the one that is called so, or else the one that was when it
 * joined, and has been renamed since. A second agent on the machine is another host, as long as the first one beats.
 */
function knownHost(ofMachine: readonly HostRow[], wished: string, memory: HostMemory): HostRow | undefined {
  const name = normaliseHostName(wished);
  const away = ofMachine.filter(({ id }) => !memory.isBeating(id));
  return (
    away.find((row) => hostNameCandidates(wished, row.id).includes(row.name)) ??
    away.find((row) => row.joined_as === name)
  );
}

/** What a machine hears that is turned away from a host's identity. */
export function clonedHost(name: string, what: string): AppError {
  return new AppError(
    'identity-conflict',
    `Cannot ${what}: another machine has the identity of host "${name}" too. If this one is the copy, join it anew with a join token`,
  );
}

/** The key that the host proved; null without one. A join token wants it, so that no host of a fleet is without. */
function provedKey(caller: Caller, request: JoinRequest): string | null {
  const { name, machineId, publicKey, proof } = request;
  if (publicKey === undefined || proof === undefined) {
    if (caller.role !== 'joiner' && publicKey === proof) return null;
    const field = publicKey === undefined ? 'publicKey' : 'proof';
    throw new AppError('bad-request', `Cannot join: ${field} is missing, a host proves its key`, { field });
  }
  const statement = joinStatement({ tokenId: caller.tokenId ?? '', name, machineId, publicKey });
  if (isProof(publicKey, statement, proof)) return publicKey;
  throw new AppError(
    'bad-request',
    'Cannot join: the proof does not fit; expected the signature, by an Ed25519 publicKey, of the join',
    { field: 'proof' },
  );
}

/** Whether this very host joined with this very token, and did not hear the answer. A revoked one needs another token. */
function isSameJoin(known: HostRow, caller: Caller, publicKey: string | null): boolean {
  return (
    publicKey !== null &&
    known.public_key === publicKey &&
    known.joined_by === caller.tokenId &&
    known.revoked_at_ms === null
  );
}
