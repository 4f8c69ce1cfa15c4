/**
 * Rules of service records: who is UP, why not, and what changes that. Pure: state, command and instant in; next
 * state and events out. The semantics are os-lively's (seed 002), with its lapse bugs put right: a heartbeat always
 * renews, and a lapse is an event that every answer shows alike.
 */

import { formatInstant } from '../base/time.ts';
import { AppError } from './error.ts';
import type { Before, EventDraft, EventType } from './event.ts';
import { normaliseHostName, requirePrintable } from './ids.ts';

export const statuses = ['UP', 'DOWN'] as const;
export type Status = (typeof statuses)[number];

/** Why a record is DOWN; an UP record has none. */
export const statusReasons = ['set', 'lapsed', 'host', 'check', 'left'] as const;
export type StatusReason = (typeof statusReasons)[number];

export const ttlDefaultMs = 60_000;
export const ttlMinMs = 5_000;
export const ttlMaxMs = 7 * 86_400_000;

/** A planned time of work. It never changes the status by itself. `endMs` null: until it is deleted. */
export interface Maintenance {
  readonly startMs: number;
  readonly endMs: number | null;
  readonly note: string | null;
}

/** Who counts the record's ttl: the registry that it beats at, or the agent that reports it. */
export type Holder = 'registry' | 'agent';

/** One live thing, as stored. (type, host) is unique. */
export interface ServiceRecord {
  readonly uuid: string;
  readonly type: string;
  readonly host: string;
  readonly region: string | null;
  readonly status: Status;
  readonly reason: StatusReason | null;
  readonly ttlMs: number;
  readonly maintenance: Maintenance | null;
  readonly heldBy: Holder;
  /** What the holding agent last told, kept while its host is lost (`reason` is `host`); null otherwise. */
  readonly told: { readonly status: Status; readonly reason: StatusReason | null } | null;
  /** Starts at 1, one more with every event. */
  readonly version: number;
}

/** A record with what memory knows of it: is the status confirmed since the last start, and when was it last heard. */
export interface ServiceView extends ServiceRecord {
  readonly confirmed: boolean;
  readonly lastSeenMs: number | null;
}

/** Fields of a PUT or POST that a caller may set; absent ones are kept (or defaulted when registering). */
export interface ServicePatch {
  readonly type?: string;
  readonly host?: string;
  readonly region?: string | null;
  readonly status?: Status;
  readonly ttlMs?: number;
  /** The version the caller has seen; another one is a conflict. */
  readonly version?: number;
}

/** Conditions on a record's own fields: OR inside one, AND across. */
export interface RecordFilter {
  readonly uuid?: readonly string[];
  readonly type?: readonly string[];
  readonly host?: readonly string[];
  readonly region?: readonly string[];
  readonly status?: readonly Status[];
}

const filterFields = ['uuid', 'type', 'host', 'region', 'status'] as const;

/** A filter read once, for many records. */
export function recordTest(filter: RecordFilter): (record: ServiceRecord) => boolean {
  const wanted = filterFields.flatMap((field) => {
    const values: readonly string[] | undefined = filter[field];
    return values === undefined ? [] : [{ field, values: new Set(values) }];
  });
  return (record) => wanted.every(({ field, values }) => values.has(record[field] ?? ''));
}

/** A decision: the record to store and the event to append with it. No change: nothing to write. */
export interface Decision {
  readonly record: ServiceRecord;
  readonly change: EventType | null;
}

/** A record as GET, lists, watches and event bodies show it (FORMATS "Service record"). Instants RFC 3339, `ttl` seconds. */
export interface ServiceDocument {
  readonly uuid: string;
  readonly type: string;
  readonly host: string;
  readonly region: string | null;
  readonly status: Status;
  readonly reason: StatusReason | null;
  readonly ttl: number;
  readonly maintenance: MaintenanceDocument | null;
  readonly confirmed: boolean;
  readonly heldBy: Holder;
  readonly lastSeen: string | null;
  readonly version: number;
}

export interface MaintenanceDocument {
  readonly start: string;
  readonly end: string | null;
  readonly note: string | null;
  readonly active: boolean;
}

/** The answer to `is-up`. */
export interface IsUp {
  readonly up: boolean;
  readonly known: boolean;
  readonly reason: StatusReason | null;
  readonly maintenance: Maintenance | null;
  readonly confirmed: boolean;
  /** True when the registry could not be asked and this is what it said last. */
  readonly stale: boolean;
  /** When the answer was true. */
  readonly asOfMs: number;
  /** How old the answer is by a monotonic clock; 0 from whoever counts. */
  readonly ageMs: number;
}

export type IsUpQuery = { readonly uuid: string } | { readonly type: string; readonly host: string };

/** Registers an unknown uuid. Throws `not-found` without type and host, `bad-request` for values that cannot be. */
export function decideRegister(uuid: string, patch: ServicePatch, heldBy: Holder): Decision {
  if (patch.type === undefined || patch.host === undefined) {
    throw new AppError(
      'not-found',
      `Cannot find service ${uuid}: it is not registered; name its type and host to register it`,
    );
  }
  const status = patch.status ?? 'UP';
  return changed('service.registered', {
    uuid,
    type: requirePrintable(patch.type, 'type'),
    host: requireHostName(patch.host),
    region:
      patch.region === undefined || patch.region === null ? null : requirePrintable(patch.region, 'region'),
    status,
    reason: status === 'DOWN' ? 'set' : null,
    ttlMs: requireTtl(patch.ttlMs ?? ttlDefaultMs),
    maintenance: null,
    heldBy,
    told: null,
    version: 0,
  });
}

/**
 * Sets the named fields of a known record and counts as a heartbeat, so it lifts a lapse. Unchanged: no event.
 * Throws `conflict` when `patch.version` is not the record's.
 */
export function decideSet(record: ServiceRecord, patch: ServicePatch): Decision {
  if (patch.version !== undefined && patch.version !== record.version) {
    throw new AppError(
      'conflict',
      `Cannot set service ${record.uuid}: its version is ${record.version}, expected ${patch.version}; read it again`,
      {
        field: 'version',
      },
    );
  }
  const beaten = decideBeat(record).record;
  const status = patch.status ?? beaten.status;
  const explicit =
    patch.status !== undefined &&
    (patch.status !== beaten.status || (patch.status === 'DOWN' && beaten.reason !== 'set'));
  const next: ServiceRecord = {
    ...beaten,
    type: patch.type === undefined ? record.type : requirePrintable(patch.type, 'type'),
    host: patch.host === undefined ? record.host : requireHostName(patch.host),
    region:
      patch.region === undefined
        ? record.region
        : patch.region === null
          ? null
          : requirePrintable(patch.region, 'region'),
    ttlMs: patch.ttlMs === undefined ? record.ttlMs : requireTtl(patch.ttlMs),
    status,
    reason: explicit ? (status === 'DOWN' ? 'set' : null) : beaten.reason,
    version: record.version,
  };
  if (sameContent(next, record)) return { record, change: null };
  const onlyRevived =
    sameContent({ ...next, status: record.status, reason: record.reason }, record) &&
    patch.status === undefined;
  return changed(onlyRevived ? 'service.revived' : 'service.set', next);
}

/** Its host has another name; everything else stays, a lapse too. */
export function decideMoved(record: ServiceRecord, host: string): Decision {
  const name = requireHostName(host);
  return name === record.host ? { record, change: null } : changed('service.set', { ...record, host: name });
}

/** Renews; lifts a lapse and nothing else: DOWN that somebody set stays until somebody sets UP. */
export function decideBeat(record: ServiceRecord): Decision {
  if (record.status !== 'DOWN' || record.reason !== 'lapsed') return { record, change: null };
  return changed('service.revived', { ...record, status: 'UP', reason: null });
}

/**
 * What the check of a record found, which counts as a heartbeat. It changes what the check itself or silence has made of
 * the record; DOWN that somebody set stays until somebody sets UP.
 */
export function decideChecked(
  record: ServiceRecord | undefined,
  found: Pick<ServiceRecord, 'uuid' | 'type' | 'host' | 'status' | 'ttlMs'>,
  heldBy: Holder,
): Decision {
  const reason = found.status === 'DOWN' ? ('check' as const) : null;
  if (record === undefined) {
    const registered = decideRegister(found.uuid, found, heldBy);
    return { ...registered, record: { ...registered.record, reason } };
  }
  const decides = record.status === 'UP' || record.reason === 'check' || record.reason === 'lapsed';
  const said = decides ? { status: found.status, reason } : {};
  const next: ServiceRecord = { ...record, ...said, type: found.type, ttlMs: requireTtl(found.ttlMs) };
  if (sameContent(next, record)) return { record, change: null };
  const onlyRevived = next.status === 'UP' && sameContent(next, { ...decideBeat(record).record });
  return changed(onlyRevived ? 'service.revived' : 'service.set', next);
}

/** The ttl ran out. Only an UP record lapses; a record that an agent holds lapses with its host (`decideHostLost`). */
export function decideLapse(record: ServiceRecord): Decision {
  if (record.status !== 'UP') return { record, change: null };
  return changed('service.lapsed', { ...record, status: 'DOWN', reason: 'lapsed' });
}

/** The host of an agent-held record is lost (`host`) or has left (`left`): remember what the agent told, answer DOWN. */
export function decideHostLost(record: ServiceRecord, reason: 'host' | 'left'): Decision {
  if (record.heldBy !== 'agent' || record.told !== null) return { record, change: null };
  const told = { status: record.status, reason: record.reason };
  return changed('service.lapsed', { ...record, status: 'DOWN', reason, told });
}

/** The host is back: what the agent told last holds again. */
export function decideHostReturned(record: ServiceRecord): Decision {
  if (record.told === null) return { record, change: null };
  const { status, reason } = record.told;
  return changed(status === 'UP' ? 'service.revived' : 'service.set', {
    ...record,
    status,
    reason,
    told: null,
  });
}

/** What an agent tells of a record that it holds. */
export type ToldRecord = Pick<
  ServiceRecord,
  'uuid' | 'type' | 'host' | 'region' | 'status' | 'reason' | 'ttlMs' | 'maintenance'
>;

/**
 * Takes over what the holding agent told. While its host is lost the record stays DOWN and what was told is kept for
 * the return; otherwise the change is named by what it did to the status.
 */
export function decideTold(
  record: ServiceRecord | undefined,
  told: ToldRecord,
  hostGone: 'host' | 'left' | null,
): Decision {
  const effective =
    hostGone === null
      ? { status: told.status, reason: told.reason, told: null }
      : { status: 'DOWN' as const, reason: hostGone, told: { status: told.status, reason: told.reason } };
  const next: ServiceRecord = { ...told, ...effective, heldBy: 'agent', version: record?.version ?? 0 };
  if (record === undefined) return changed('service.registered', next);
  const sameTold = record.told?.status === next.told?.status && record.told?.reason === next.told?.reason;
  if (record.heldBy === 'agent' && sameTold && sameContent(next, record)) return { record, change: null };
  const statusOnly = sameContent({ ...next, status: record.status, reason: record.reason }, record);
  if (statusOnly && record.reason === 'lapsed' && next.status === 'UP')
    return changed('service.revived', next);
  if (statusOnly && record.status === 'UP' && next.reason === 'lapsed')
    return changed('service.lapsed', next);
  const maintenanceOnly = sameContent({ ...next, maintenance: record.maintenance }, record);
  return changed(maintenanceOnly && !sameContent(next, record) ? 'service.maintained' : 'service.set', next);
}

/** Plans or replaces maintenance. Throws `bad-request` when it ends before it starts. `down` also sets DOWN. */
export function decideMaintain(
  record: ServiceRecord,
  plan: { startMs?: number; endMs?: number | null; note?: string | null; down?: boolean },
  now: number,
): Decision {
  const maintenance: Maintenance = {
    startMs: plan.startMs ?? now,
    endMs: plan.endMs ?? null,
    note: plan.note ?? null,
  };
  if (maintenance.endMs !== null && maintenance.endMs < maintenance.startMs) {
    throw new AppError(
      'bad-request',
      `Cannot plan maintenance: its end ${formatInstant(maintenance.endMs)} is before its start ${formatInstant(maintenance.startMs)}`,
      { field: 'end' },
    );
  }
  const down = plan.down === true ? ({ status: 'DOWN', reason: 'set' } as const) : {};
  const next = { ...record, ...down, maintenance };
  return sameContent(next, record) ? { record, change: null } : changed('service.maintained', next);
}

/** Ends maintenance for good; the status stays as it is. */
export function decideEndMaintenance(record: ServiceRecord): Decision {
  if (record.maintenance === null) return { record, change: null };
  return changed('service.maintained', { ...record, maintenance: null });
}

export function maintenanceActive(maintenance: Maintenance, now: number): boolean {
  return maintenance.startMs <= now && (maintenance.endMs === null || now < maintenance.endMs);
}

/**
 * The event that tells of a change; its body is the record after it (deleted, taken over: before it). `before` is the
 * record that it changed.
 */
export function serviceEvent(
  type: EventType,
  view: ServiceView,
  now: number,
  before?: ServiceRecord,
): EventDraft {
  const draft: EventDraft = { type, host: view.host, service: view.type, body: serviceDocument(view, now) };
  const stays =
    before === undefined ||
    (before.type === view.type && before.host === view.host && before.region === view.region);
  return stays ? draft : { ...draft, before: changedPlace(before, view) };
}

export function serviceDocument(
  view: ServiceView,
  now: number,
  format: (ms: number) => string = formatInstant,
): ServiceDocument {
  return {
    uuid: view.uuid,
    type: view.type,
    host: view.host,
    region: view.region,
    status: view.status,
    reason: view.reason,
    ttl: view.ttlMs / 1_000,
    maintenance: view.maintenance === null ? null : maintenanceDocument(view.maintenance, now),
    confirmed: view.confirmed,
    heldBy: view.heldBy,
    lastSeen: view.lastSeenMs === null ? null : format(view.lastSeenMs),
    version: view.version,
  };
}

export function maintenanceDocument(maintenance: Maintenance, now: number): MaintenanceDocument {
  return {
    start: formatInstant(maintenance.startMs),
    end: maintenance.endMs === null ? null : formatInstant(maintenance.endMs),
    note: maintenance.note,
    active: maintenanceActive(maintenance, now),
  };
}

/** `not-found`, in the same words wherever a record is missing. */
export function serviceNotFound(what: string): AppError {
  return new AppError('not-found', `Cannot find service ${what}: it is not registered`);
}

function changedPlace(before: ServiceRecord, after: ServiceRecord): Before {
  return {
    ...(before.type === after.type ? {} : { type: before.type }),
    ...(before.host === after.host ? {} : { host: before.host }),
    ...(before.region === after.region ? {} : { region: before.region }),
  };
}

function changed(change: EventType, next: ServiceRecord): Decision {
  return { record: { ...next, version: next.version + 1 }, change };
}

function requireHostName(text: string): string {
  requirePrintable(text.slice(0, 128), 'host');
  return normaliseHostName(text);
}

function requireTtl(ttlMs: number): number {
  if (!(ttlMs > 0 && ttlMs <= ttlMaxMs)) {
    throw new AppError(
      'bad-request',
      `Cannot use ttl ${ttlMs / 1000}: expected more than 0 and at most ${ttlMaxMs / 1000} seconds`,
      {
        field: 'ttl',
      },
    );
  }
  return Math.max(ttlMinMs, Math.round(ttlMs));
}

function sameContent(a: ServiceRecord, b: ServiceRecord): boolean {
  return (
    a.type === b.type &&
    a.host === b.host &&
    a.region === b.region &&
    a.status === b.status &&
    a.reason === b.reason &&
    a.ttlMs === b.ttlMs &&
    a.maintenance?.startMs === b.maintenance?.startMs &&
    a.maintenance?.endMs === b.maintenance?.endMs &&
    a.maintenance?.note === b.maintenance?.note
  );
}
