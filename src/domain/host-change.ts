/** Rules of what an operator changes of a host, and of what the host says of itself. */
import { AppError } from './error.ts';
import type { EventType } from './event.ts';
import { type HostRecord, requireHostName } from './host.ts';
import { requirePrintable } from './ids.ts';
import { type LabelPatch, type Labels, patchLabels, sameLabels } from './labels.ts';

/** What is to be changed of a host; absent fields are kept. */
export interface HostPatch {
  readonly name?: string;
  readonly region?: string | null;
  readonly labels?: LabelPatch;
  /** The version the caller has seen; another one is a conflict. */
  readonly version?: number;
}

/** The versions that a change is for (`If-Match`); null: whichever it is. */
export type VersionCondition = readonly number[] | null;

/** One change of a host, with the event that tells of it. */
export interface HostStep {
  readonly before: HostRecord;
  readonly after: HostRecord;
  readonly change: EventType;
}

/**
 * In order, a name before the rest; none when all is so already. Throws `conflict` when `patch.version` is not the
 * host's, `bad-request` and `unprocessable` naming the field that cannot be.
 */
export function decideHostPatch(record: HostRecord, patch: HostPatch): readonly HostStep[] {
  if (patch.version !== undefined && patch.version !== record.version) {
    throw new AppError(
      'conflict',
      `Cannot change host "${record.name}": its version is ${record.version}, expected ${patch.version}; read it again`,
      { field: 'version' },
    );
  }
  const steps: HostStep[] = [];
  let now = record;
  const name = patch.name === undefined ? now.name : requireHostName(patch.name, 'rename the host');
  if (name !== now.name) {
    steps.push(step('host.renamed', now, { name }));
    now = steps.at(-1)?.after ?? now;
  }
  const region = regionAfter(now, patch);
  const labels = patch.labels === undefined ? now.labels : patchLabels(now.labels, patch.labels, 'labels');
  if (region !== now.region || !sameLabels(labels, now.labels))
    steps.push(step('host.labelled', now, { region, labels }));
  return steps;
}

/** The host says this of itself now, and nothing else; null when it said so already. */
export function decideHostSelf(record: HostRecord, self: Labels): HostStep | null {
  return sameLabels(record.self, self) ? null : step('host.labelled', record, { self });
}

/** Its credentials end; null when they had already, and none came since. */
export function decideHostRevoked(record: HostRecord, now: number): HostStep | null {
  return record.revokedAtMs === null ? step('host.revoked', record, { revokedAtMs: now }) : null;
}

/** Throws `precondition-failed` when the host is of none of these versions. */
export function requireVersion(record: HostRecord, condition: VersionCondition): void {
  if (condition === null || condition.includes(record.version)) return;
  throw new AppError(
    'precondition-failed',
    `Cannot change host "${record.name}": its version is ${record.version}, expected ${condition.length === 0 ? 'a tag of ours' : condition.join(' or ')} (If-Match); read it again`,
    { field: 'if-match' },
  );
}

function regionAfter({ region }: HostRecord, patch: HostPatch): string | null {
  if (patch.region === undefined) return region;
  return patch.region === null ? null : requirePrintable(patch.region, 'region');
}

function step(change: EventType, before: HostRecord, changed: Partial<HostRecord>): HostStep {
  return { change, before, after: { ...before, ...changed, version: before.version + 1 } };
}
