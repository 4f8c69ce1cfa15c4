/**
 * What people change of hosts: name, region, labels; that a host's credentials end, that it is gone. One revision each,
 * with all that follows from it. A change is told with what it replaced, so that watches of a selection follow.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { TokenBuckets } from '../base/token-buckets.ts';
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { type HostRecord, type HostView, hostEvent, hostNotFound } from '../domain/host.ts';
import {
  decideHostPatch,
  decideHostRevoked,
  decideHostSelf,
  type HostPatch,
  type HostStep,
  requireVersion,
  type VersionCondition,
} from '../domain/host-change.ts';
import type { Labels } from '../domain/labels.ts';
import { outOfScope, Scope } from '../domain/scope.ts';
import type { AccessStore } from './access.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { HostRow } from './engine/query.ts';
import type { HostMemory } from './host-memory.ts';
import type { HostPast } from './host-past.ts';
import { type hostStatements, recordOf } from './host-sql.ts';
import type { InventoryStore } from './inventory.ts';
import type { LivenessStore } from './liveness.ts';

export interface HostChangesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly liveness: LivenessStore;
  readonly inventory: InventoryStore;
  readonly access: AccessStore;
  readonly memory: HostMemory;
  readonly sql: ReturnType<typeof hostStatements>;
  readonly past: HostPast;
}

export class HostChanges {
  readonly #options: HostChangesOptions;
  /** By host. A host that is turned bad must not fill the log, nor the memory that watches are judged by. */
  readonly #selfChanges = new TokenBuckets(
    { burst: limits.selfChangesBurstMax, everyMs: limits.selfChangesEveryMs },
    limits.connectionsMax,
  );

  constructor(options: HostChangesOptions) {
    this.#options = options;
  }

  /** As `HostService.change`. */
  change(caller: Caller, idOrName: string, patch: HostPatch, condition: VersionCondition): Promise<HostView> {
    const { sql, liveness, access, memory, past } = this.#options;
    return this.#write(caller, idOrName, async (tx, before, row) => {
      requireVersion(before, condition);
      const steps = decideHostPatch(before, patch);
      const after = steps.at(-1)?.after;
      if (after === undefined) return this.#view(before);
      const renamed = after.name !== before.name;
      requireCovered(caller, after);
      if (renamed) await this.#requireFree(tx, caller, after.name);
      this.#tell(tx, steps);
      const { id, name, region, version } = after;
      const labels = JSON.stringify(after.labels);
      const atMs = await past.keep(tx, row);
      await tx.run(sql.setFacts, { id, name, region, labels, version, changed_at_ms: atMs });
      if (renamed) {
        await liveness.held.hostRenamed(tx, before.name, name);
        await access.renameHost(tx, after);
      }
      tx.onCommit(() => {
        memory.changed(after, atMs);
        // As `setFacts` counts it.
        memory.facts(id).targetSerial += 1;
      });
      return this.#view(after);
    });
  }

  /** As `HostService.remove`. */
  remove(caller: Caller, idOrName: string, condition: VersionCondition): Promise<void> {
    const { sql, liveness, inventory, access, memory, past } = this.#options;
    return this.#write(caller, idOrName, async (tx, record, row) => {
      requireVersion(record, condition);
      tx.append(hostEvent('host.removed', this.#view(record)));
      await liveness.held.hostRemoved(tx, record.name);
      const { no, inventory_at_ms: changedAtMs } = row;
      await inventory.forgetHost(tx, {
        no,
        name: record.name,
        hash: null,
        atMs: Math.max(tx.now, changedAtMs ?? 0),
      });
      await access.endHostCredentials(tx, record.id);
      await past.keep(tx, row, { removed: true });
      await tx.run(sql.remove, { id: record.id });
      tx.onCommit(() => memory.forget(record));
    });
  }

  /** As `HostService.revoke`. Credentials end also where the host was revoked already. */
  revoke(caller: Caller, idOrName: string): Promise<void> {
    const { sql, access, memory, past } = this.#options;
    return this.#write(caller, idOrName, async (tx, record, row) => {
      await access.endHostCredentials(tx, record.id);
      const step = decideHostRevoked(record, tx.now);
      if (step === null) return;
      const { id, revokedAtMs, version } = step.after;
      const atMs = await past.keep(tx, row);
      await tx.run(sql.setRevoked, { id, atMs: revokedAtMs, version, changed_at_ms: atMs });
      this.#tell(tx, [step]);
      tx.onCommit(() => memory.changed(step.after, atMs));
    });
  }

  /** In the transaction of a report: what the host says of itself now. */
  async self(tx: Transaction, id: string, self: Labels): Promise<void> {
    const { sql, memory, clock, past } = this.#options;
    // As the reports before it in the batch have left it.
    const row = await tx.get(sql.byId, { id });
    if (row === undefined) throw hostNotFound(id);
    const step = decideHostSelf(recordOf(row), self);
    if (step === null) return;
    const retryAfterMs = this.#selfChanges.waitMs(id, clock.monotonic());
    if (retryAfterMs > 0)
      throw new AppError(
        'rate-limited',
        `Cannot take what host "${row.name}" says of itself: it changes too often`,
        { retryAfterMs },
      );
    const { version } = step.after;
    const atMs = await past.keep(tx, row);
    await tx.run(sql.setSelf, { id, self: JSON.stringify(self), version, changed_at_ms: atMs });
    this.#tell(tx, [step]);
    tx.onCommit(() => {
      memory.changed(step.after, atMs);
      this.#selfChanges.take(id, clock.monotonic());
    });
  }

  async #write<T>(
    caller: Caller,
    idOrName: string,
    fn: (tx: Transaction, record: HostRecord, row: HostRow) => Promise<T>,
  ): Promise<T> {
    const { store, memory, sql } = this.#options;
    const { id } = memory.presence.record(memory.slotOf(idOrName));
    return store.write(caller, async (tx) => {
      const row = await tx.get(sql.byId, { id });
      if (row === undefined) throw hostNotFound(idOrName);
      const record = recordOf(row);
      requireCovered(caller, record);
      return fn(tx, record, row);
    });
  }

  /** Records may be on a host of a name that never joined; a caller of limited scope gets none of them by the name. */
  async #requireFree(tx: Transaction, caller: Caller, name: string): Promise<void> {
    const { sql, liveness } = this.#options;
    const holder = await tx.get(sql.byName, { name });
    if (holder === undefined) {
      if (!covers(caller, name) && (await liveness.held.isAnyOn(tx, name)))
        throw outOfScope('rename the host to the name of another');
      return;
    }
    throw new AppError(
      'conflict',
      `Cannot rename the host: "${name}" is the name of host ${holder.id}, choose another`,
      { field: 'name', details: { holder: holder.id } },
    );
  }

  #tell(tx: Transaction, steps: readonly HostStep[]): void {
    for (const { change, before, after } of steps) tx.append(hostEvent(change, this.#view(after), before));
  }

  /** A record of this transaction, with what is known of the host beside it. */
  #view(record: HostRecord): HostView {
    const { memory } = this.#options;
    const slot = memory.presence.find(record.id);
    if (slot === undefined) throw hostNotFound(record.id);
    return { ...memory.view(slot), ...record };
  }
}

/** As the host is in this transaction: what was seen before it may have changed. */
function requireCovered(caller: Caller, record: HostRecord): void {
  if (!covers(caller, record.name, record)) throw outOfScope('change the host');
}

/** A host of no facts is one that never joined. */
function covers({ scope }: Caller, name: string, facts?: HostRecord): boolean {
  return scope === undefined || new Scope(scope).coversWhole(name, facts);
}
