/** The audit on the wire. */
import { type Static, Type } from 'typebox';
import { limits } from '../base/limits.ts';
import { formatInstant } from '../base/time.ts';
import type { AuditEntry, AuditVerification } from '../domain/audit.ts';
import { AppError } from '../domain/error.ts';
import { type EventType, eventTypes } from '../domain/event.ts';
import { normaliseHostName } from '../domain/ids.ts';
import type { AuditFilter } from '../domain/services.ts';
import {
  Count,
  Digest,
  Instant,
  nullable,
  PositionText,
  pageQuery,
  readInstant,
  repeatable,
  strictObject,
} from './schema.ts';

const Word = Type.String({ minLength: 1, maxLength: limits.nameLengthMax });

export const AuditEntrySchema = strictObject(
  {
    seq: Count,
    at: Instant,
    actor: Type.String({ description: 'Who did it' }),
    role: Type.String(),
    token: nullable(
      Type.String({ description: 'With which token; null: through a socket, or the program itself' }),
    ),
    type: Type.String(),
    host: nullable(Type.String()),
    position: PositionText,
    body: Type.Unknown(),
    hash: Digest,
  },
  { description: 'An act, chained to the one before by its hash' },
);

export const AuditFilterQuery = strictObject({
  actor: repeatable(Word),
  type: repeatable(Word),
  host: repeatable(Word),
  since: Type.Optional(Instant),
  until: Type.Optional(Instant),
  ...pageQuery,
});

export const AuditVerificationQuery = strictObject({
  seq: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
  hash: Type.Optional(Digest),
});

export const AuditVerificationSchema = strictObject({
  ok: Type.Boolean(),
  from: Count,
  head: strictObject({ seq: Count, hash: Digest }),
  seq: nullable(Type.Integer({ description: 'The first entry that is not as it was written' })),
  detail: nullable(Type.String()),
});

/** Throws `bad-request` for a type that no event has. */
export function readAuditFilter(query: Static<typeof AuditFilterQuery>): AuditFilter {
  const { actor, type, host, since, until } = query;
  for (const one of type ?? []) {
    const known = eventTypes.some((name) => name === one || `${name.split('.')[0]}.*` === one);
    if (known) continue;
    throw new AppError('bad-request', `Cannot list acts of type "${one.slice(0, 80)}": no event has it`, {
      field: 'type',
    });
  }
  return {
    ...(actor === undefined ? {} : { actor }),
    ...(type === undefined ? {} : { type }),
    ...(host === undefined ? {} : { host: host.map(normaliseHostName) }),
    ...(since === undefined ? {} : { sinceMs: readInstant(since, 'since') }),
    ...(until === undefined ? {} : { untilMs: readInstant(until, 'until') }),
  };
}

export function auditFilterQuery(filter: AuditFilter): Record<string, string | readonly string[]> {
  const { sinceMs, untilMs, ...lists } = filter;
  return {
    ...lists,
    ...(sinceMs === undefined ? {} : { since: formatInstant(sinceMs) }),
    ...(untilMs === undefined ? {} : { until: formatInstant(untilMs) }),
  };
}

/** The types of a newer server pass as they are. */
export function readAuditEntry(document: Static<typeof AuditEntrySchema>): AuditEntry {
  const { at, token, role, type, ...same } = document;
  return {
    ...same,
    atMs: readInstant(at, 'at'),
    tokenId: token,
    role: role as AuditEntry['role'],
    type: type as EventType,
  };
}

export function auditVerificationDocument(found: AuditVerification): Static<typeof AuditVerificationSchema> {
  const { ok, from, head } = found;
  return {
    ok,
    from,
    head: { ...head },
    seq: found.ok ? null : found.seq,
    detail: found.ok ? null : found.detail,
  };
}

export function readAuditVerification(document: Static<typeof AuditVerificationSchema>): AuditVerification {
  const { ok, from, head, seq, detail } = document;
  if (ok) return { ok, from, head };
  return { ok, from, head, seq: seq ?? from, detail: detail ?? 'the server did not say what' };
}

/** An end of the chain that somebody has noted; null when none is given. `bad-request` for half of one. */
export function readNoted(
  query: Static<typeof AuditVerificationQuery>,
): { readonly seq: number; readonly hash: string } | null {
  const { seq, hash } = query;
  if (seq === undefined && hash === undefined) return null;
  if (seq !== undefined && hash !== undefined) return { seq, hash };
  const field = seq === undefined ? 'seq' : 'hash';
  throw new AppError('bad-request', `Cannot verify against what was noted: ${field} is missing`, { field });
}
