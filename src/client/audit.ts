/** The audit over the wire: requests as data, and the contract made of them. */
import type { AuditFilter, AuditService, PageRequest } from '../domain/services.ts';
import {
  AuditEntrySchema,
  AuditVerificationSchema,
  auditFilterQuery,
  readAuditEntry,
  readAuditVerification,
} from '../wire/audit.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const auditRequests = {
  list: (filter: AuditFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.audit,
      query: { ...auditFilterQuery(filter), ...page },
      answer: expectBody(listOf(AuditEntrySchema)),
    }) satisfies ApiRequest,
  verify: (noted: { readonly seq: number; readonly hash: string } | null = null) =>
    ({
      method: 'GET',
      path: paths.auditVerification,
      query: noted === null ? {} : { ...noted },
      answer: expectBody(AuditVerificationSchema),
    }) satisfies ApiRequest,
};

/** Refusals are the server's own to tell, so a client has none. */
export function createAudit(connection: Connection): Omit<AuditService, 'refused'> {
  return {
    list: async (filter, page) =>
      readPage((await connection.call(auditRequests.list(filter, page))).document, readAuditEntry),
    verify: async (noted) =>
      readAuditVerification((await connection.call(auditRequests.verify(noted))).document),
  };
}
