/** Rules of hosts: joining, who is UP, heartbeats and what they carry. */
import { formatInstant } from '../base/time.ts';
import { AppError } from './error.ts';
import type { Before, EventDraft, EventType, Mark } from './event.ts';
import { normaliseHostName, parseUuid } from './ids.ts';
import { type Labels, sameLabels } from './labels.ts';
import type { Status, StatusReason } from './liveness.ts';
import type { Selectable } from './selector.ts';

/** A machine with an agent, as stored. */
export interface HostRecord {
  readonly id: string;
  /** Unique; what service records and people call it. */
  readonly name: string;
  readonly region: string | null;
  readonly labels: Labels;
  /** What the host says of itself; never selects anything that decides. */
  readonly self: Labels;
  readonly status: Status;
  readonly reason: StatusReason | null;
  readonly firstSeenMs: number;
  /** When its credentials were ended; null when it has some. */
  readonly revokedAtMs: number | null;
  readonly version: number;
}

export interface HostView extends HostRecord {
  readonly confirmed: boolean;
  readonly lastSeenMs: number | null;
  /** Check-ins that changed what is known to be installed. */
  readonly checkIns: number;
  /** The last one of them. */
  readonly lastCheckInMs: number | null;
  /** `clone`: more than one machine claims to be this host. */
  readonly conflict: 'clone' | null;
}

/** What selectors may ask of a host. */
export type HostFacts = Pick<HostRecord, 'id' | 'name' | 'region' | 'labels' | 'self'>;

/** A host as the wire shows it (FORMATS "Host"). */
export interface HostDocument {
  readonly id: string;
  readonly name: string;
  readonly region: string | null;
  readonly labels: Labels;
  readonly self: Labels;
  readonly status: Status;
  readonly reason: StatusReason | null;
  readonly confirmed: boolean;
  readonly firstSeen: string;
  readonly lastSeen: string | null;
  readonly checkins: number;
  readonly lastCheckin: string | null;
  readonly conflict: 'clone' | null;
  readonly revokedAt: string | null;
  readonly version: number;
}

/** What a host sends with every beat. Small and volatile: nothing here is written when nothing changed. */
export interface Beat {
  /** Changes with every boot of the machine, and with every start of the agent. */
  readonly bootId: string;
  readonly startedAtMs: number;
  /** One more with every beat of this start; an answer to an older beat is ignored. */
  readonly seq: number;
  /** The last beat of this start whose answer has been acted on; null when there is none yet. */
  readonly answered: number | null;
  /** The end of the agent's own log. */
  readonly own: Mark;
  /** The furthest the agent has seen of the registry's log; null before the first answer. */
  readonly seen: Mark | null;
  /** Hash of the agent's components (`inventoryHash`); null before the first detection is done. */
  readonly inventory: string | null;
  /** True with the last beat of a clean stop. */
  readonly leaving: boolean;
  /** Of the installation that the agent runs on, as in its join; null from agents that do not tell. */
  readonly machineId: string | null;
}

export interface BeatAnswer {
  /** When to beat next; the deadline is counted from this value. */
  readonly intervalMs: number;
  /** Within which time to come back, spread evenly, after the registry was gone. */
  readonly spreadMs: number;
  /** The registry's clock, for people who compare. */
  readonly nowMs: number;
  readonly own: Mark;
  /**
   * The furthest the registry has seen of the agent's log, of what it has answered before; null when it knows none.
   * It moves on only when the agent has acted on it, so that a lost answer hides no rewind.
   */
  readonly seen: Mark | null;
  /** `complete`: the registry does not have this inventory, send all. `delta`: it has another, send what changed. */
  readonly checkin: 'none' | 'delta' | 'complete';
  /** The tag of the host's target (`targetTag`); null while none may be given out. */
  readonly target: string | null;
  /** The last report of the agent's outbox that is in effect here. */
  readonly acked: { readonly epoch: number; readonly seq: number } | null;
}

/** 2.5 × the interval last told + 2 s. */
export function hostDeadlineMs(intervalToldMs: number): number {
  return 2.5 * intervalToldMs + 2_000;
}

export const beatIntervalMinMs = 10_000;
export const beatIntervalMaxMs = 60_000;

/** The interval that keeps `hosts` within what the registry can carry, between 10 s and 60 s. */
export function beatIntervalMs(hosts: number, beatsPerSecondMax: number): number {
  return Math.min(
    beatIntervalMaxMs,
    Math.max(beatIntervalMinMs, Math.ceil((hosts / beatsPerSecondMax) * 1_000)),
  );
}

export interface HostDecision {
  readonly record: HostRecord;
  readonly change: EventType | null;
}

/** A host name in its one form; `bad-request` for one that would be none, or would hide a host behind its id. */
export function requireHostName(wished: string, action: string): string {
  const name = normaliseHostName(wished);
  if (name !== '' && parseUuid(name) === undefined) return name;
  const problem = name === '' ? 'is empty' : 'looks like the id of a host';
  throw new AppError('bad-request', `Cannot ${action}: the host name ${problem}, choose another`, {
    field: 'name',
  });
}

/** The names a joining host may get, best first: the wished one, or with the last 4 or 8 digits of its id. */
export function hostNameCandidates(wished: string, id: string): string[] {
  const name = requireHostName(wished, 'join');
  const digits = id.replaceAll('-', '');
  return [name, `${name.slice(0, 248)}-${digits.slice(-4)}`, `${name.slice(0, 244)}-${digits.slice(-8)}`];
}

/** The first candidate that nobody has. Throws `conflict` when all are taken. */
export function decideHostName(wished: string, id: string, taken: ReadonlySet<string>): string {
  const candidates = hostNameCandidates(wished, id);
  const free = candidates.find((candidate) => !taken.has(candidate));
  if (free !== undefined) return free;
  throw new AppError(
    'conflict',
    `Cannot join as "${candidates[0]}": the name and its variants are taken, choose another`,
    {
      field: 'name',
    },
  );
}

/** A beat arrived: a host that was lost or had left is back. */
export function decideHostBeat(record: HostRecord): HostDecision {
  if (record.status === 'UP') return { record, change: null };
  return {
    record: { ...record, status: 'UP', reason: null, version: record.version + 1 },
    change: 'host.returned',
  };
}

/** The deadline passed in silence (`lapsed`), or the agent said that it stops (`left`). */
export function decideHostGone(record: HostRecord, reason: 'lapsed' | 'left'): HostDecision {
  if (record.status === 'DOWN') return { record, change: null };
  const change = reason === 'left' ? 'host.left' : 'host.lapsed';
  return { record: { ...record, status: 'DOWN', reason, version: record.version + 1 }, change };
}

export function hostDocument(view: HostView): HostDocument {
  const { id, name, region, labels, self, status, reason, confirmed, version } = view;
  return {
    id,
    name,
    region,
    labels,
    self,
    status,
    reason,
    confirmed,
    firstSeen: formatInstant(view.firstSeenMs),
    lastSeen: view.lastSeenMs === null ? null : formatInstant(view.lastSeenMs),
    checkins: view.checkIns,
    lastCheckin: view.lastCheckInMs === null ? null : formatInstant(view.lastCheckInMs),
    conflict: view.conflict,
    revokedAt: view.revokedAtMs === null ? null : formatInstant(view.revokedAtMs),
    version,
  };
}

/** `not-found`, in the same words wherever a host is missing; `then`: at a moment of the past, it may have joined since. */
export function hostNotFound(idOrName: string, when: 'now' | 'then' = 'now'): AppError {
  const why = when === 'now' ? 'no such host has joined' : 'there was no such host then';
  return new AppError('not-found', `Cannot find host "${idOrName}": ${why}`);
}

/** The event that tells of a change of a host; `before` is the record that it changed. */
export function hostEvent(type: EventType, view: HostView, before?: HostRecord): EventDraft {
  const changed = before === undefined ? {} : changedFacts(before, view);
  return {
    type,
    host: view.name,
    ...(Object.keys(changed).length === 0 ? {} : { before: changed }),
    body: hostDocument(view),
  };
}

/** What an agent tells of its own host: what is selected by, and nothing of how it is. Null when nothing changed. */
export function ownHostEvent(before: HostFacts, after: HostFacts): EventDraft | null {
  const changed = changedFacts(before, after);
  if (Object.keys(changed).length === 0) return null;
  const { id, name, region, labels, self } = after;
  const type = changed.name === undefined ? 'host.labelled' : 'host.renamed';
  return { type, host: name, before: changed, body: { id, name, region, labels, self } };
}

/** A host as selectors see it. One that never joined has a name and nothing else. */
export function selectableHost(
  name: string,
  facts: HostFacts | undefined,
  more: Pick<Selectable['automatic'], 'type' | 'app' | 'channel'> = {},
): Selectable {
  return {
    labels: facts?.labels ?? {},
    self: facts?.self ?? {},
    automatic: { name, id: facts?.id, region: facts?.region, ...more },
  };
}

function changedFacts(before: HostFacts, after: HostFacts): Before {
  return {
    ...(before.name === after.name ? {} : { name: before.name }),
    ...(before.region === after.region ? {} : { region: before.region }),
    ...(sameLabels(before.labels, after.labels) ? {} : { labels: before.labels }),
    ...(sameLabels(before.self, after.self) ? {} : { self: before.self }),
  };
}
