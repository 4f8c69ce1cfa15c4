/** What an agent reports of the records that it holds, read strictly: a report is input like any other. */
import { parseInstant } from '../base/time.ts';
import { AppError } from './error.ts';
import { requirePrintable, requireUuid } from './ids.ts';
import { type Labels, readLabels } from './labels.ts';
import {
  type Maintenance,
  type StatusReason,
  statuses,
  statusReasons,
  type ToldRecord,
  ttlMaxMs,
  ttlMinMs,
} from './liveness.ts';
import type { Report } from './services.ts';

export type ReportContent =
  | { readonly kind: 'service'; readonly record: ReportedRecord }
  | { readonly kind: 'service-deleted'; readonly uuid: string }
  | { readonly kind: 'services'; readonly records: readonly ReportedRecord[] }
  | { readonly kind: 'host'; readonly self: Labels };

/** It is on the host that reports it, whatever it says, and whatever that one is called by now. */
export type ReportedRecord = Omit<ToldRecord, 'host'>;

/**
 * A report's content. Throws `bad-request` (`unprocessable` for too many labels) whose field starts with
 * `items/<index>`, so that the agent can tell which report is refused for good.
 */
export function readReport(report: Report, index: number): ReportContent {
  const field = `items/${index}/body`;
  const body = objectOf(report.body, field);
  switch (report.type) {
    case 'service':
      return { kind: 'service', record: readTold(body, field) };
    case 'service-deleted':
      return {
        kind: 'service-deleted',
        uuid: requireUuid(textOf(body['uuid'], `${field}/uuid`), `${field}/uuid`),
      };
    case 'services': {
      const items = body['items'];
      if (!Array.isArray(items)) throw refused(`${field}/items`, 'a list of service records');
      return {
        kind: 'services',
        records: items.map((item, i) =>
          readTold(objectOf(item, `${field}/items/${i}`), `${field}/items/${i}`),
        ),
      };
    }
    case 'host':
      return { kind: 'host', self: readLabels(body['self'], `${field}/self`) };
  }
}

function readTold(body: Record<string, unknown>, field: string): ReportedRecord {
  const { region, reason, ttl, status } = body;
  const up = statuses.find((word) => word === status);
  if (up === undefined) throw refused(`${field}/status`, 'UP or DOWN');
  const why = reason === null || reason === undefined ? null : reasonOf(reason, `${field}/reason`);
  if ((up === 'UP') !== (why === null)) throw refused(`${field}/reason`, 'null for UP and a reason for DOWN');
  const ttlMs = typeof ttl === 'number' ? Math.round(ttl * 1_000) : Number.NaN;
  if (!(ttlMs >= ttlMinMs && ttlMs <= ttlMaxMs))
    throw refused(`${field}/ttl`, `${ttlMinMs / 1_000} to ${ttlMaxMs / 1_000} seconds`);
  return {
    uuid: requireUuid(textOf(body['uuid'], `${field}/uuid`), `${field}/uuid`),
    type: requirePrintable(textOf(body['type'], `${field}/type`), `${field}/type`),
    region:
      region === null || region === undefined
        ? null
        : requirePrintable(textOf(region, `${field}/region`), `${field}/region`),
    status: up,
    reason: why,
    ttlMs,
    maintenance: maintenanceOf(body['maintenance'] ?? null, `${field}/maintenance`),
  };
}

function maintenanceOf(value: unknown, field: string): Maintenance | null {
  if (value === null) return null;
  const { start, end, note } = objectOf(value, field);
  const startMs = instantOf(start, `${field}/start`);
  const endMs = end === null || end === undefined ? null : instantOf(end, `${field}/end`);
  if (endMs !== null && endMs < startMs) throw refused(`${field}/end`, 'after its start');
  return {
    startMs,
    endMs,
    note: note === null || note === undefined ? null : textOf(note, `${field}/note`),
  };
}

function reasonOf(value: unknown, field: string): StatusReason {
  const reason = statusReasons.find((word) => word === value);
  if (reason === undefined) throw refused(field, statusReasons.join(', '));
  return reason;
}

function instantOf(value: unknown, field: string): number {
  const ms = typeof value === 'string' ? parseInstant(value) : undefined;
  if (ms === undefined) throw refused(field, 'RFC 3339 with a zone');
  return ms;
}

function textOf(value: unknown, field: string): string {
  if (typeof value !== 'string') throw refused(field, 'text');
  return value;
}

function objectOf(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refused(field, 'an object');
  return value as Record<string, unknown>;
}

function refused(field: string, expected: string): AppError {
  return new AppError('bad-request', `Cannot take the report: ${field} is not ${expected}`, { field });
}
