/**
 * Service records inside a transaction: how a decision is stored, told and remembered, whichever service made it.
 */
import { AppError } from '../domain/error.ts';
import type { EventType } from '../domain/event.ts';
import {
  type Decision,
  type Holder,
  type ServiceRecord,
  type ServiceView,
  serviceEvent,
} from '../domain/liveness.ts';
import type { Transaction } from './engine/port.ts';
import { type LivenessMemory, samePlace } from './liveness-memory.ts';
import { recordOf, rowOf, type serviceStatements } from './liveness-sql.ts';

/** How long the loser of a takeover is told so. */
const takenOverKeptMs = 7 * 86_400_000;

/** Called in the transaction of a change of a record, so that what must be told of it commits with it. */
export type OnChange = (tx: Transaction, change: EventType, record: ServiceRecord) => Promise<void>;

export interface ServiceRecordsOptions {
  sql: ReturnType<typeof serviceStatements>;
  memory: LivenessMemory;
  heldBy: Holder;
  onChange: OnChange;
}

/** Rows and events at once, memory after the commit. */
export class ServiceRecords {
  readonly #sql: ReturnType<typeof serviceStatements>;
  readonly #memory: LivenessMemory;
  readonly #heldBy: Holder;
  readonly #onChange: OnChange;

  constructor({ sql, memory, heldBy, onChange }: ServiceRecordsOptions) {
    this.#sql = sql;
    this.#memory = memory;
    this.#heldBy = heldBy;
    this.#onChange = onChange;
  }

  async find(tx: Transaction, uuid: string): Promise<ServiceRecord | undefined> {
    const row = await tx.get(this.#sql.byUuid, { uuid });
    return row === undefined ? undefined : recordOf(row);
  }

  async atPlace(tx: Transaction, at: { type: string; host: string }): Promise<ServiceRecord | undefined> {
    const row = await tx.get(this.#sql.byPlace, { type: at.type, host: at.host });
    return row === undefined ? undefined : recordOf(row);
  }

  async ofHost(tx: Transaction, host: string): Promise<ServiceRecord[]> {
    return (await tx.all(this.#sql.ofHost, { host })).map(recordOf);
  }

  async heldByAgentOf(tx: Transaction, host: string): Promise<ServiceRecord[]> {
    return (await tx.all(this.#sql.heldByAgent, { host })).map(recordOf);
  }

  /** Every record, as the transaction sees them. */
  async all(tx: Transaction): Promise<ServiceRecord[]> {
    return (await tx.all(this.#sql.loadAll, {})).map(recordOf);
  }

  /** Stores a decision, appends its event, and brings memory along after the commit. */
  async apply(
    tx: Transaction,
    before: ServiceRecord | undefined,
    { record, change }: Decision,
    options: { heard: boolean } = { heard: true },
  ): Promise<ServiceView> {
    const slotNow = this.#memory.presence.find(record.uuid);
    const lastSeenMs = options.heard
      ? tx.now
      : slotNow === undefined
        ? null
        : this.#memory.presence.lastSeenMs(slotNow);
    const view: ServiceView = { ...record, confirmed: true, lastSeenMs };
    if (change !== null) {
      const row = rowOf(record, lastSeenMs);
      if (before === undefined) await tx.run(this.#sql.insert, row);
      else await tx.run(this.#sql.update(rowOf(before, null), row), row);
      tx.append(serviceEvent(change, view, tx.now, before));
      await this.#onChange(tx, change, record);
    }
    tx.onCommit(() => {
      const slot = this.#memory.remember(record);
      if (options.heard) this.#memory.touch(slot);
      else if (change !== null) this.#memory.presence.confirm(slot);
    });
    return view;
  }

  /** Removes a record, for the reason that `change` says. */
  async forget(
    tx: Transaction,
    change: 'service.deleted' | 'service.taken-over',
    record: ServiceRecord,
  ): Promise<void> {
    await tx.run(this.#sql.remove, { uuid: record.uuid });
    tx.append(serviceEvent(change, this.#memory.viewOf(record), tx.now));
    await this.#onChange(tx, change, record);
    tx.onCommit(() => {
      this.#memory.forget(record);
    });
  }

  /** (type, host) belongs to one uuid: another one there is a conflict, or is taken over in the same transaction. */
  async makeRoom(
    tx: Transaction,
    before: ServiceRecord | undefined,
    record: ServiceRecord,
    options: { takeover: boolean },
  ): Promise<void> {
    if (before !== undefined && samePlace(before, record)) return;
    const holder = await this.atPlace(tx, record);
    await tx.run(this.#sql.removeTakenOver, { uuid: record.uuid });
    if (holder === undefined || holder.uuid === record.uuid) return;
    if (!options.takeover) {
      throw new AppError(
        'conflict',
        `Cannot register "${record.type}" on "${record.host}": service ${holder.uuid} holds it; delete that one, or pass takeover=true to replace it`,
        { details: { holder: holder.uuid } },
      );
    }
    await this.forget(tx, 'service.taken-over', holder);
    await tx.run(this.#sql.addTakenOver, { uuid: holder.uuid, byUuid: record.uuid, atMs: tx.now });
    await tx.run(this.#sql.forgetTakenOver, { beforeMs: tx.now - takenOverKeptMs });
  }

  /** A registry does not change what an agent holds: the agent would put it back with its next report. */
  requireOwn(record: ServiceRecord, action: string): void {
    if (record.heldBy === this.#heldBy) return;
    throw new AppError(
      'unprocessable',
      `Cannot ${action} service ${record.uuid} here: the agent on "${record.host}" holds it, ask that agent`,
      { details: { host: record.host } },
    );
  }
}
