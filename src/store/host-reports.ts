/**
 * The reports of an agent's outbox: in order, exactly once in effect. Where it stands is kept with the host, in the
 * transaction of what the reports do.
 */
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { hostNotFound } from '../domain/host.ts';
import { type ReportContent, readReport } from '../domain/report.ts';
import type { ReportBatch } from '../domain/services.ts';
import type { Store, Transaction } from './engine/port.ts';
import type { HostRow } from './engine/query.ts';
import type { HostChanges } from './host-changes.ts';
import type { HostMemory } from './host-memory.ts';
import type { hostStatements } from './host-sql.ts';
import type { LivenessStore } from './liveness.ts';

export interface HostReportsOptions {
  readonly store: Store;
  readonly liveness: LivenessStore;
  readonly memory: HostMemory;
  readonly sql: ReturnType<typeof hostStatements>;
  readonly changes: HostChanges;
}

export class HostReports {
  readonly #options: HostReportsOptions;

  constructor(options: HostReportsOptions) {
    this.#options = options;
  }

  /** As `HostService.report`. */
  async take(caller: Caller, id: string, batch: ReportBatch): Promise<{ readonly acked: number }> {
    const { store, memory, sql } = this.#options;
    const reports = batch.items.map((item, index) => ({ seq: item.seq, content: readReport(item, index) }));
    const lastOfHost = reports.findLastIndex(({ content }) => content.kind === 'host');
    return store.write(caller, async (tx) => {
      const row = await tx.get(sql.byId, { id });
      if (row === undefined) throw hostNotFound(id);
      requireCurrentLife(row, batch.epoch);
      let acked = row.outbox_epoch === batch.epoch ? (row.outbox_seq ?? 0) : 0;
      for (const [index, { seq, content }] of reports.entries()) {
        if (seq <= acked) continue;
        if (seq !== acked + 1) throw missing(acked + 1, seq, index);
        // Of several in a batch the last one says what holds; those before never did for anybody.
        if (content.kind !== 'host' || index === lastOfHost)
          await this.#apply(tx, row, content, `items/${index}/body`);
        acked = seq;
      }
      await tx.run(sql.setOutbox, { id, epoch: batch.epoch, seq: acked });
      tx.onCommit(() => {
        memory.facts(id).acked = { epoch: batch.epoch, seq: acked };
      });
      return { acked };
    });
  }

  /** What a report does. While the host is gone, its records stay DOWN and what is told waits for its return. */
  async #apply(tx: Transaction, row: HostRow, content: ReportContent, field: string): Promise<void> {
    const { held } = this.#options.liveness;
    const gone = row.status === 'UP' ? null : row.reason === 'left' ? 'left' : 'host';
    switch (content.kind) {
      case 'service':
        return held.told(tx, { ...content.record, host: row.name }, gone, `${field}/uuid`);
      case 'service-deleted':
        return held.toldDeleted(tx, content.uuid, row.name);
      case 'services':
        return held.toldAll(tx, row.name, content.records, gone, `${field}/items`);
      case 'host':
        return this.#options.changes.self(tx, row.id, content.self);
    }
  }
}

function requireCurrentLife(row: HostRow, epoch: number): void {
  if (row.outbox_epoch === null || epoch >= row.outbox_epoch) return;
  throw new AppError(
    'conflict',
    `Cannot take reports of epoch ${epoch}: epoch ${row.outbox_epoch} has begun`,
    {
      field: 'epoch',
      details: { epoch: row.outbox_epoch },
    },
  );
}

function missing(expected: number, seq: number, index: number): AppError {
  return new AppError(
    'conflict',
    `Cannot take report ${seq}: report ${expected} is missing, send from there`,
    {
      field: `items/${index}/seq`,
      details: { expected },
    },
  );
}
