/** What became of hosts between two moments, and how many there were when. */

import { limits } from '../base/limits.ts';
import { formatDuration } from '../base/time.ts';
import { AppError } from './error.ts';
import type { HostRecord } from './host.ts';
import type { ComponentStep } from './inventory.ts';
import { sameLabels } from './labels.ts';

export const hostTurnKinds = ['appeared', 'changed', 'disappeared'] as const;
export type HostTurnKind = (typeof hostTurnKinds)[number];

/** What of a host may change, but for when it was seen. */
export const hostTurnFields = ['name', 'region', 'labels', 'self', 'status', 'reason', 'revokedAt'] as const;
export type HostTurnField = (typeof hostTurnFields)[number];

/** What is different of one host at the end from the beginning; ordered by name. */
export interface HostTurn {
  readonly kind: HostTurnKind;
  readonly id: string;
  /** As it was called at the end; of one that disappeared, at the beginning. */
  readonly name: string;
  /** Empty for one that appeared or disappeared. */
  readonly changed: readonly HostTurnField[];
  /** Null: it was not there, or not among those that are meant. */
  readonly before: HostRecord | null;
  readonly after: HostRecord | null;
}

/** The difference of two states; null when there is none. */
export function hostTurn(before: HostRecord | null, after: HostRecord | null): HostTurn | null {
  const last = after ?? before;
  if (last === null) return null;
  const kind = before === null ? 'appeared' : after === null ? 'disappeared' : 'changed';
  const changed = before === null || after === null ? [] : changedFields(before, after);
  if (kind === 'changed' && changed.length === 0) return null;
  return { kind, id: last.id, name: last.name, changed, before, after };
}

/** What of a host may change, with the version that says that it has. */
export type HostState = Omit<HostRecord, 'id' | 'firstSeenMs'>;

/** As events are called; several things that changed at one moment are called by the first of them. */
export const hostStepKinds = [
  'host.joined',
  'host.removed',
  'host.revoked',
  'host.lapsed',
  'host.left',
  'host.returned',
  'host.renamed',
  'host.labelled',
] as const;
export type HostStepKind = (typeof hostStepKinds)[number];

/** What became of a host itself at a moment. */
export interface HostPastStep {
  readonly kind: HostStepKind;
  readonly atMs: number;
  /** As it was called from then on; of one that was removed, until then. */
  readonly name: string;
  /** Empty for one that joined for the first time or was removed. */
  readonly changed: readonly HostTurnField[];
  /** Null: it was not there, or not among those that may be seen. */
  readonly before: HostState | null;
  readonly after: HostState | null;
}

/** One step in the life of a host: of itself, or of a component on it. */
export type HostHistoryStep = ComponentStep | HostPastStep;

/** Whether it is of the host itself. */
export function isHostPastStep(step: HostHistoryStep): step is HostPastStep {
  return step.kind.startsWith('host.');
}

/** The step from one state to another; null where nothing differs that is shown. */
export function hostPastStep(
  atMs: number,
  before: HostState | null,
  after: HostState | null,
): HostPastStep | null {
  const name = (after ?? before)?.name ?? '';
  if (before === null || after === null) {
    if (before === after) return null;
    return { kind: after === null ? 'host.removed' : 'host.joined', atMs, name, changed: [], before, after };
  }
  const changed = changedFields(before, after);
  return changed.length === 0
    ? null
    : { kind: stepKind(after, new Set(changed)), atMs, name, changed, before, after };
}

function stepKind(after: HostState, changed: ReadonlySet<HostTurnField>): HostStepKind {
  // A host that joins again is not revoked any more.
  if (changed.has('revokedAt')) return after.revokedAtMs === null ? 'host.joined' : 'host.revoked';
  if (changed.has('status') || changed.has('reason')) {
    if (after.status === 'UP') return 'host.returned';
    return after.reason === 'left' ? 'host.left' : 'host.lapsed';
  }
  return changed.has('name') ? 'host.renamed' : 'host.labelled';
}

function changedFields(before: HostState, after: HostState): HostTurnField[] {
  const same: Readonly<Record<HostTurnField, boolean>> = {
    name: before.name === after.name,
    region: before.region === after.region,
    labels: sameLabels(before.labels, after.labels),
    self: sameLabels(before.self, after.self),
    status: before.status === after.status,
    reason: before.reason === after.reason,
    revokedAt: before.revokedAtMs === after.revokedAtMs,
  };
  return hostTurnFields.filter((field) => !same[field]);
}

/** How many hosts there are now. */
export interface HostCounts {
  readonly total: number;
  readonly up: number;
  readonly down: number;
  /** Seen, not seen, and first seen within so long. */
  readonly withinMs: number;
  readonly fresh: number;
  readonly stale: number;
  readonly created: number;
}

/** How many there were at a moment, and came and went since the point before it. */
export interface HostPoint {
  readonly atMs: number;
  readonly total: number;
  readonly up: number;
  readonly down: number;
  readonly appeared: number;
  readonly disappeared: number;
}

export interface HostStats {
  readonly asOfMs: number;
  readonly now: HostCounts;
  /** The oldest first; empty when none was asked for. */
  readonly series: readonly HostPoint[];
}

const stepsDefault = 24;
const hourMs = 3_600_000;
/** A day is a whole number of these. */
const hoursDefault = [1, 2, 3, 4, 6, 8, 12] as const;

/**
 * The points of a series, from its beginning on, unless told a whole number of hours or days apart and 25 at most;
 * `bad-request` for more than `seriesPointsMax`.
 */
export function seriesSteps(
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  stepMs: number | undefined,
): { readonly stepMs: number; readonly count: number } {
  const step = Math.max(1, Math.round(stepMs ?? defaultStepMs(toMs - fromMs)));
  const count = Math.floor((toMs - fromMs) / step) + 1;
  if (count <= limits.seriesPointsMax) return { stepMs: step, count };
  throw new AppError(
    'bad-request',
    `Cannot count hosts every ${formatDuration(step)} over ${formatDuration(toMs - fromMs)}: that is ${count} points, ${limits.seriesPointsMax} at the most; take a longer step`,
    { field: 'step' },
  );
}

function defaultStepMs(spanMs: number): number {
  const leastMs = spanMs / stepsDefault;
  const hours = hoursDefault.find((count) => count * hourMs >= leastMs);
  return hours === undefined ? Math.ceil(leastMs / (24 * hourMs)) * 24 * hourMs : hours * hourMs;
}
