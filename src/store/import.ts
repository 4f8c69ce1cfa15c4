/** Taking over on SQL: a batch is one transaction, and each of its items stands for itself. */
import { limits } from '../base/limits.ts';
import type { Caller } from '../domain/access.ts';
import { type Cluster, type ClusterDraft, clusterKey, requireClusterId } from '../domain/cluster.ts';
import { type DoctorDraft, doctorEvent } from '../domain/doctor.ts';
import { AppError, type ErrorCode } from '../domain/error.ts';
import {
  type CheckInTimes,
  decideImportedRelease,
  decideImportedReport,
  type ImportBatch,
  type ImportedCheckIn,
  type ImportedRelease,
  type ImportResult,
  type ImportResults,
  mergeCluster,
  requireCheckIn,
} from '../domain/import.ts';
import { releaseEvent } from '../domain/release.ts';
import type { ImportService } from '../domain/services.ts';
import { clusterOf, clusterRow, clusterStatements } from './cluster-sql.ts';
import { doctorFileOf, doctorRow, doctorStatements, doctorSummaryOf } from './doctor-sql.ts';
import type { Store, Transaction } from './engine/port.ts';
import { importStatements } from './import-sql.ts';
import { releaseOf, releaseRow, releaseStatements } from './release-sql.ts';

const added: ImportResult = { outcome: 'added', problem: null };
const changed: ImportResult = { outcome: 'changed', problem: null };
const unchanged: ImportResult = { outcome: 'unchanged', problem: null };

export class ImportStore implements ImportService {
  readonly #store: Store;
  readonly #sql: ReturnType<typeof importStatements>;
  readonly #clusters: ReturnType<typeof clusterStatements>;
  readonly #releases: ReturnType<typeof releaseStatements>;
  readonly #doctor: ReturnType<typeof doctorStatements>;

  constructor({ store }: { store: Store }) {
    this.#store = store;
    this.#sql = importStatements(store.dialect);
    this.#clusters = clusterStatements(store.dialect);
    this.#releases = releaseStatements(store.dialect);
    this.#doctor = doctorStatements(store.dialect);
  }

  async take(caller: Caller, batch: ImportBatch): Promise<ImportResults> {
    return this.#store.write(caller, async (tx) => {
      const { clusters, checkIns } = await this.#takeClusters(tx, batch);
      const releases: ImportResult[] = [];
      for (const release of batch.releases) releases.push(await judged(() => this.#takeRelease(tx, release)));
      const doctorReports: ImportResult[] = [];
      for (const draft of batch.doctorReports)
        doctorReports.push(await judged(() => this.#takeReport(tx, draft)));
      return { clusters, checkIns, releases, doctorReports };
    });
  }

  async #takeClusters(
    tx: Transaction,
    { clusters, checkIns }: ImportBatch,
  ): Promise<Pick<ImportResults, 'clusters' | 'checkIns'>> {
    const drafts = new Map<string, ClusterDraft>();
    const draftResults: ImportResult[] = [];
    for (const draft of clusters) {
      draftResults.push(
        await judged(async () => {
          requireClusterId(draft.id);
          drafts.set(clusterKey(draft.id), draft);
          return unchanged;
        }),
      );
    }
    const byKey = new Map<string, Map<number, number>>();
    const early: ImportResult[] = [];
    for (const checkIn of checkIns) {
      early.push(
        await judged(async () => {
          requireCheckIn(checkIn, tx.now);
          const key = clusterKey(checkIn.cluster);
          const instants = byKey.get(key) ?? new Map<number, number>();
          byKey.set(key, instants);
          instants.set(checkIn.atMs, Math.max(checkIn.count, instants.get(checkIn.atMs) ?? 0));
          return unchanged;
        }),
      );
    }
    const outcomes = new Map<string, Taken | AppError>();
    let known = Number((await tx.get(this.#clusters.count, {}))?.count ?? 0);
    for (const key of new Set([...drafts.keys(), ...byKey.keys()])) {
      const draft = drafts.get(key) ?? null;
      try {
        const instants = byKey.get(key) ?? new Map<number, number>();
        const hasRoom = known < limits.clustersMax;
        const taken = await this.#takeCluster(tx, key, { draft, instants, hasRoom });
        if (taken.result === added) known += 1;
        outcomes.set(key, taken);
      } catch (error) {
        if (!isOfItem(error)) throw error;
        outcomes.set(key, error);
      }
    }
    const resultOf = (id: string, of: (taken: Taken) => ImportResult): ImportResult => {
      const outcome = outcomes.get(clusterKey(id));
      if (outcome === undefined) throw new Error('a cluster of the batch was not looked at');
      return outcome instanceof AppError ? refused(outcome) : of(outcome);
    };
    return {
      clusters: clusters.map((draft, index) => {
        const result = draftResults[index] ?? unchanged;
        return result.outcome === 'refused' ? result : resultOf(draft.id, (taken) => taken.result);
      }),
      checkIns: checkIns.map(({ cluster, ...checkIn }, index) => {
        const result = early[index] ?? unchanged;
        return result.outcome === 'refused'
          ? result
          : resultOf(cluster, (taken) => checkInResult(taken, checkIn));
      }),
    };
  }

  /** Throws before it has written anything. */
  async #takeCluster(
    tx: Transaction,
    key: string,
    {
      draft,
      instants,
      hasRoom,
    }: { readonly draft: ClusterDraft | null; readonly instants: Instants; readonly hasRoom: boolean },
  ): Promise<Taken> {
    const row = await tx.get(this.#clusters.one, { key });
    const before = row === undefined ? null : clusterOf(row);
    if (before === null) requireNew({ draft, instants, hasRoom });
    const list = [...instants].map(([at, count]) => ({ key, at, count }));
    const json = JSON.stringify(list);
    const counted = before === null ? [] : await tx.all(this.#sql.counted, { checkIns: json });
    const counts = new Map(counted.map(({ at_ms: at, count }) => [at, Number(count)]));
    const lastMs = list.reduce((last, { at }) => Math.max(last, at), Number.NEGATIVE_INFINITY);
    if (before === null) {
      const cluster = mergeCluster(null, draft, { times: timesOf(instants), lastMs });
      await tx.run(this.#clusters.put, clusterRow(key, cluster));
      await tx.run(this.#sql.putCheckIns, { checkIns: json });
      return { result: added, counts };
    }
    if (list.some(({ at, count }) => count > (counts.get(at) ?? 0)))
      await tx.run(this.#sql.putCheckIns, { checkIns: json });
    const now = await tx.get(this.#sql.times, { key });
    if (now === undefined) throw new Error('a cluster has no check-ins');
    const times = { firstMs: now.first, lastMs: now.last, checkins: Number(now.checkins) };
    const cluster = mergeCluster(before, draft, { times, lastMs });
    if (isSame(before, cluster)) return { result: unchanged, counts };
    await tx.run(this.#clusters.put, clusterRow(key, cluster));
    return { result: changed, counts };
  }

  async #takeRelease(tx: Transaction, draft: ImportedRelease): Promise<ImportResult> {
    const { component, train, version } = draft;
    const row = await tx.get(this.#releases.one, { component, train, version });
    const before = row === undefined ? null : releaseOf(row);
    const given = { subject: tx.caller.subject, now: tx.now };
    const { release, outcome, problem } = decideImportedRelease(before, draft, given);
    if (release === null) return { outcome, problem };
    const count = await tx.get(this.#releases.count, { component, train });
    if (Number(count?.count ?? 0) >= limits.trainReleasesMax)
      throw full(`the train has ${limits.trainReleasesMax} releases`);
    await tx.run(this.#releases.put, releaseRow(release));
    tx.append(releaseEvent('release.published', release));
    return { outcome, problem };
  }

  async #takeReport(tx: Transaction, draft: DoctorDraft): Promise<ImportResult> {
    const row = await tx.get(this.#doctor.one, { id: draft.id });
    const before = row === undefined ? null : doctorFileOf(row);
    const { file, outcome, problem } = decideImportedReport(before, draft, tx.now);
    if (file === null) return { outcome, problem };
    // Those that are there stay: the oldest of them may be what somebody is mending just now.
    const count = await tx.get(this.#sql.reports, {});
    if (Number(count?.count ?? 0) >= limits.doctorReportsMax)
      throw full(`there are ${limits.doctorReportsMax} doctor reports`);
    const kept = doctorRow(file);
    await tx.run(this.#doctor.put, kept);
    tx.append(doctorEvent('doctor.filed', doctorSummaryOf(kept)));
    return { outcome, problem };
  }
}

/** How often at which instant. */
type Instants = ReadonlyMap<number, number>;

interface Taken {
  readonly result: ImportResult;
  /** How often it had checked in before, at the instants that came. */
  readonly counts: ReadonlyMap<number, number>;
}

function requireNew({
  draft,
  instants,
  hasRoom,
}: {
  draft: ClusterDraft | null;
  instants: Instants;
  hasRoom: boolean;
}): void {
  if (draft === null)
    throw new AppError('bad-request', 'Cannot take a check-in: there is no such cluster', {
      field: 'cluster',
    });
  if (instants.size === 0)
    throw new AppError(
      'bad-request',
      'Cannot take a new cluster: it has no check-in, so nobody knows when it was there',
      { field: 'id' },
    );
  if (!hasRoom) throw full(`there are ${limits.clustersMax} clusters`);
}

function full(what: string): AppError {
  return new AppError('unprocessable', `Cannot take one more: ${what}, as many as there may be`);
}

function checkInResult(
  { counts }: Taken,
  { atMs, count }: Pick<ImportedCheckIn, 'atMs' | 'count'>,
): ImportResult {
  const before = counts.get(atMs);
  if (before === undefined) return added;
  return count > before ? changed : unchanged;
}

function timesOf(instants: Instants): CheckInTimes {
  let [firstMs, lastMs, checkins] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (const [atMs, count] of instants) {
    firstMs = Math.min(firstMs, atMs);
    lastMs = Math.max(lastMs, atMs);
    checkins += count;
  }
  return { firstMs, lastMs, checkins };
}

function isSame(a: Cluster, b: Cluster): boolean {
  return (
    a.id === b.id &&
    a.firstSeenMs === b.firstSeenMs &&
    a.lastSeenMs === b.lastSeenMs &&
    a.checkins === b.checkins &&
    JSON.stringify(a.components) === JSON.stringify(b.components)
  );
}

/** What is wrong with one item is no reason to leave the others out. */
async function judged(take: () => Promise<ImportResult>): Promise<ImportResult> {
  try {
    return await take();
  } catch (error) {
    if (isOfItem(error)) return refused(error);
    throw error;
  }
}

/** Anything else is the store's, and ends the batch. */
function isOfItem(error: unknown): error is AppError {
  const codes: readonly ErrorCode[] = ['bad-request', 'unprocessable', 'too-large', 'conflict'];
  return error instanceof AppError && codes.includes(error.code);
}

function refused({ message }: AppError): ImportResult {
  return { outcome: 'refused', problem: message };
}
