/**
 * At a registry: what a host's own transaction does to records. An agent tells what became of those that it holds,
 * which fall and return with the host; a host that is renamed or removed takes all that are on it along.
 */
import { AppError } from '../domain/error.ts';
import {
  decideHostLost,
  decideHostReturned,
  decideMoved,
  decideTold,
  type ToldRecord,
} from '../domain/liveness.ts';
import type { Transaction } from './engine/port.ts';
import type { ServiceRecords } from './liveness-records.ts';

export class HeldRecords {
  readonly #records: ServiceRecords;

  constructor(records: ServiceRecords) {
    this.#records = records;
  }

  /**
   * What the agent told of one record that it holds. A host speaks for itself alone, so a uuid that belongs elsewhere
   * is refused (`bad-request`, naming `field`): uuids are no secret.
   */
  async told(
    tx: Transaction,
    told: ToldRecord,
    hostGone: 'host' | 'left' | null,
    field: string,
  ): Promise<void> {
    const current = await this.#records.find(tx, told.uuid);
    if (current !== undefined && current.host !== told.host) {
      throw new AppError(
        'bad-request',
        `Cannot take the report: service ${told.uuid} is on "${current.host}"`,
        {
          field,
        },
      );
    }
    const decision = decideTold(current, told, hostGone);
    // The agent decides what runs on its host: whoever has its place here makes room.
    await this.#records.makeRoom(tx, current, decision.record, { takeover: true });
    await this.#records.apply(tx, current, decision);
  }

  /** The agent no longer holds this record. */
  async toldDeleted(tx: Transaction, uuid: string, host: string): Promise<void> {
    const record = await this.#records.find(tx, uuid);
    if (record !== undefined && record.heldBy === 'agent' && record.host === host)
      await this.#records.forget(tx, 'service.deleted', record);
  }

  /** This is all that the agent holds; what is not among it is gone. */
  async toldAll(
    tx: Transaction,
    host: string,
    all: readonly Omit<ToldRecord, 'host'>[],
    hostGone: 'host' | 'left' | null,
    field: string,
  ): Promise<void> {
    const kept = new Set(all.map((told) => told.uuid));
    for (const record of await this.#records.heldByAgentOf(tx, host)) {
      if (!kept.has(record.uuid)) await this.#records.forget(tx, 'service.deleted', record);
    }
    for (const [index, told] of all.entries())
      await this.told(tx, { ...told, host }, hostGone, `${field}/${index}/uuid`);
  }

  /** The host is lost or has left, and with it the records that its agent holds. */
  async hostGone(tx: Transaction, host: string, reason: 'host' | 'left'): Promise<void> {
    for (const record of await this.#records.heldByAgentOf(tx, host))
      await this.#records.apply(tx, record, decideHostLost(record, reason), { heard: false });
  }

  /** Whether a record is on a host of this name. */
  async isAnyOn(tx: Transaction, host: string): Promise<boolean> {
    return (await this.#records.ofHost(tx, host)).length > 0;
  }

  /** The host is called otherwise: what is on it follows. `conflict` (details.holder) when something is there already. */
  async hostRenamed(tx: Transaction, from: string, to: string): Promise<void> {
    for (const record of await this.#records.ofHost(tx, from)) {
      const holder = await this.#records.atPlace(tx, { type: record.type, host: to });
      if (holder !== undefined) {
        throw new AppError(
          'conflict',
          `Cannot rename host "${from}" to "${to}": service ${holder.uuid} is registered as "${record.type}" there already, delete it first`,
          { field: 'name', details: { holder: holder.uuid } },
        );
      }
      await this.#records.apply(tx, record, decideMoved(record, to), { heard: false });
    }
  }

  /** The host is gone, and with it all that was on it. */
  async hostRemoved(tx: Transaction, host: string): Promise<void> {
    for (const record of await this.#records.ofHost(tx, host))
      await this.#records.forget(tx, 'service.deleted', record);
  }

  /** The host is back, and its records are what its agent told last. */
  async hostReturned(tx: Transaction, host: string): Promise<void> {
    for (const record of await this.#records.heldByAgentOf(tx, host))
      await this.#records.apply(tx, record, decideHostReturned(record));
  }
}
