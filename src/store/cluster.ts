/** Clusters on SQL. */
import { limits } from '../base/limits.ts';
import type { Caller } from '../domain/access.ts';
import {
  type Cluster,
  type ClusterDraft,
  type ClusterFilter,
  type ClusterTimes,
  clusterKey,
  clusterNotFound,
  decideClusterCheckIn,
  type PersistentFilter,
  requireClusterId,
  requirePossible,
  requirePossiblePersistence,
} from '../domain/cluster.ts';
import { AppError } from '../domain/error.ts';
import type { ClusterService } from '../domain/services.ts';
import { clusterOf, clusterRow, clusterStatements, timesOf } from './cluster-sql.ts';
import type { Session, Store, Transaction } from './engine/port.ts';

/** Read at once: of the largest, 16 MiB. */
const stepMax = 16;
const dayMs = 86_400_000;
const earliest = Number.MIN_SAFE_INTEGER;
const latest = Number.MAX_SAFE_INTEGER;

export class ClusterStore implements ClusterService {
  readonly #store: Store;
  readonly #sql: ReturnType<typeof clusterStatements>;

  constructor({ store }: { store: Store }) {
    this.#store = store;
    this.#sql = clusterStatements(store.dialect);
  }

  async checkIn(caller: Caller, draft: ClusterDraft): Promise<Cluster> {
    requireClusterId(draft.id);
    const key = clusterKey(draft.id);
    return this.#store.write(caller, async (tx) => {
      const before = await this.#find(tx, key);
      if (before === null) await this.#requireRoom(tx);
      const cluster = decideClusterCheckIn(before, draft, tx.now);
      await tx.run(this.#sql.put, clusterRow(key, cluster));
      await tx.run(this.#sql.checkIn, { key, atMs: tx.now });
      return cluster;
    });
  }

  async get(id: string): Promise<Cluster> {
    const cluster = await this.#store.read((session) => this.#find(session, clusterKey(id)));
    if (cluster === null) throw clusterNotFound();
    return cluster;
  }

  async count(): Promise<number> {
    const row = await this.#store.read((session) => session.get(this.#sql.count, {}));
    return Number(row?.count ?? 0);
  }

  async aged(filter: ClusterFilter): Promise<readonly Cluster[]> {
    requirePossible(filter);
    const bounds = {
      seenBefore: filter.checkedInBeforeMs ?? latest,
      seenAfter: filter.checkedInAfterMs ?? earliest,
      createdBefore: filter.createdBeforeMs ?? latest,
      createdAfter: filter.createdAfterMs ?? earliest,
    };
    return this.#store.read(async (session) => {
      const found: Cluster[] = [];
      let after = '';
      let bytes = 0;
      for (;;) {
        const rows = await session.all(this.#sql.aged, { ...bounds, after, limit: stepMax });
        for (const row of rows) {
          found.push(clusterOf(row));
          bytes += Buffer.byteLength(row.components);
          after = row.key;
        }
        if (bytes > limits.latestAnswerBytes) throw tooMuch();
        if (rows.length < stepMax) return found;
      }
    });
  }

  async times(
    filter: Pick<ClusterFilter, 'createdBeforeMs' | 'createdAfterMs'>,
  ): Promise<readonly ClusterTimes[]> {
    requirePossible(filter);
    const { createdBeforeMs: createdBefore = latest, createdAfterMs: createdAfter = earliest } = filter;
    const asked = { createdBefore, createdAfter, limit: limits.clustersMax };
    return this.#store.read(async (session) => (await session.all(this.#sql.times, asked)).map(timesOf));
  }

  async persistent(filter: PersistentFilter): Promise<readonly ClusterTimes[]> {
    requirePossiblePersistence(filter);
    const { epochMs: epoch = earliest, atMs: at } = filter;
    const asked = { epoch, at, since: at - dayMs, limit: limits.clustersMax };
    return this.#store.read(async (session) => (await session.all(this.#sql.persistent, asked)).map(timesOf));
  }

  async #find(session: Session, key: string): Promise<Cluster | null> {
    const row = await session.get(this.#sql.one, { key });
    return row === undefined ? null : clusterOf(row);
  }

  async #requireRoom(tx: Transaction): Promise<void> {
    const row = await tx.get(this.#sql.count, {});
    if (Number(row?.count ?? 0) < limits.clustersMax) return;
    throw new AppError(
      'unprocessable',
      `Cannot take a new cluster: there are ${limits.clustersMax}, as many as there may be`,
      { field: 'id' },
    );
  }
}

function tooMuch(): AppError {
  return new AppError(
    'too-large',
    `Cannot answer with so many clusters: they take more than ${limits.latestAnswerBytes} bytes; ask with narrower bounds`,
  );
}
