/**
 * Taking over what another program knew: clusters with all their check-ins, releases and doctor reports of
 * workflow-manager-api. Doing it twice has the effect of doing it once, and what is there already stays:
 *
 * - Of the check-ins of a cluster at one instant the greater count holds; a cluster was first and last seen, and as
 *   often, as its check-ins say. What it said last is taken, unless it has checked in here since.
 * - A release or a doctor report that the registry has under the same name, and that says something else, is kept.
 */
import { formatInstant } from '../base/time.ts';
import type { Cluster, ClusterDraft } from './cluster.ts';
import { requireClusterId } from './cluster.ts';
import { type DoctorDraft, type DoctorFile, decideFile } from './doctor.ts';
import { AppError } from './error.ts';
import { decidePublish, type Release, type ReleaseContent, type ReleaseKey } from './release.ts';

/** What is taken over, in the order in which it is. */
export const importKinds = ['clusters', 'checkIns', 'releases', 'doctorReports'] as const;
export type ImportKind = (typeof importKinds)[number];

/** How often a cluster checked in at one instant. */
export interface ImportedCheckIn {
  /** The id of the cluster, in any spelling. */
  readonly cluster: string;
  readonly atMs: number;
  readonly count: number;
}

export interface ImportedRelease extends ReleaseKey {
  readonly content: Required<ReleaseContent>;
}

export interface ImportItems {
  readonly clusters: ClusterDraft;
  readonly checkIns: ImportedCheckIn;
  readonly releases: ImportedRelease;
  /** Of `v3`. */
  readonly doctorReports: DoctorDraft;
}

/** A new cluster comes with at least one of its check-ins. */
export type ImportBatch = { readonly [Kind in ImportKind]: readonly ImportItems[Kind][] };

/** `kept`: the registry has another one under this name, which stays; `refused`: it cannot be taken. */
export const importOutcomes = ['added', 'changed', 'unchanged', 'kept', 'refused'] as const;
export type ImportOutcome = (typeof importOutcomes)[number];

export interface ImportResult {
  readonly outcome: ImportOutcome;
  /** Why it was refused or kept; null otherwise. */
  readonly problem: string | null;
}

/** In the order of the batch. */
export type ImportResults = { readonly [Kind in ImportKind]: readonly ImportResult[] };

/** Whom a doctor report that was taken over is of: who sent it nobody knows any more. */
export const importSender = 'workflow-manager';

/** When a cluster checked in, as far as it is known. */
export interface CheckInTimes {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly checkins: number;
}

/** Throws `bad-request` for what can be no check-in. */
export function requireCheckIn({ cluster, atMs, count }: ImportedCheckIn, now: number): void {
  requireClusterId(cluster);
  if (atMs > now)
    throw new AppError(
      'bad-request',
      `Cannot take a check-in of ${formatInstant(atMs)}: that is yet to come; is the time zone right?`,
      { field: 'at' },
    );
  if (!Number.isSafeInteger(count) || count < 1)
    throw new AppError('bad-request', `Cannot take ${count} check-ins at one instant: expected 1 or more`, {
      field: 'count',
    });
}

/**
 * The cluster once all its check-ins are in. `lastMs` is the last of those that come with the draft: only what is not
 * older than what is known says what is installed now.
 */
export function mergeCluster(
  before: Cluster | null,
  draft: ClusterDraft | null,
  { times, lastMs }: { readonly times: CheckInTimes; readonly lastMs: number },
): Cluster {
  const said = draft !== null && (before === null || lastMs >= before.lastSeenMs) ? draft : before;
  if (said === null) throw new Error('a cluster without a draft is there already');
  const { id, components } = said;
  return {
    ...{ id, components },
    firstSeenMs: times.firstMs,
    lastSeenMs: times.lastMs,
    checkins: times.checkins,
  };
}

/** Throws as `decidePublish`. A null release: nothing is written. */
export function decideImportedRelease(
  before: Release | null,
  { content, ...key }: ImportedRelease,
  { subject, now }: { readonly subject: string; readonly now: number },
): ImportResult & { readonly release: Release | null } {
  const { release, change } = decidePublish(before, key, { content, condition: null, subject, now });
  if (before === null) return { release, outcome: 'added', problem: null };
  return change === null
    ? { release: null, outcome: 'unchanged', problem: null }
    : { release: null, outcome: 'kept', problem: 'the registry has another release of this name' };
}

/** Throws as `decideFile`. A null file: nothing is written. */
export function decideImportedReport(
  before: DoctorFile | null,
  draft: DoctorDraft,
  now: number,
): ImportResult & { readonly file: DoctorFile | null } {
  const file = decideFile(before, draft, { sender: importSender, now });
  if (file === null) return { file, outcome: 'unchanged', problem: null };
  return before === null
    ? { file, outcome: 'added', problem: null }
    : { file: null, outcome: 'kept', problem: 'the registry has another report under this id' };
}
