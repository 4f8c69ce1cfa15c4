/** A change of a record that this agent holds → the report that tells the registry. `domain/report.ts` reads it there. */
import type { EventType } from '../domain/event.ts';
import type { Labels } from '../domain/labels.ts';
import { maintenanceDocument, type ServiceRecord } from '../domain/liveness.ts';
import type { ReportDraft } from '../store/outbox.ts';

export function reportOf(change: EventType, record: ServiceRecord, now: number): ReportDraft {
  const { uuid } = record;
  const gone = change === 'service.deleted' || change === 'service.taken-over';
  return gone
    ? { type: 'service-deleted', uuid, body: { uuid } }
    : { type: 'service', uuid, body: reportBody(record, now) };
}

export function reportOfAll(records: readonly ServiceRecord[], now: number): ReportDraft {
  return { type: 'services', uuid: null, body: { items: records.map((record) => reportBody(record, now)) } };
}

/** What the host says of itself, all of it. */
export function reportOfSelf(self: Labels): ReportDraft {
  return { type: 'host', uuid: null, body: { self } };
}

function reportBody(
  { uuid, type, host, region, status, reason, ttlMs, maintenance }: ServiceRecord,
  now: number,
) {
  return {
    uuid,
    type,
    host,
    region,
    status,
    reason,
    ttl: ttlMs / 1_000,
    maintenance: maintenance === null ? null : maintenanceDocument(maintenance, now),
  };
}
