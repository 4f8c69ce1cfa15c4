/** The audit over HTTP. */
import { auditDocument } from '../domain/audit.ts';
import type { AuditService } from '../domain/services.ts';
import {
  AuditEntrySchema,
  AuditFilterQuery,
  AuditVerificationQuery,
  AuditVerificationSchema,
  auditVerificationDocument,
  readAuditFilter,
  readNoted,
} from '../wire/audit.ts';
import { listOf } from '../wire/schema.ts';
import { type HttpServices, listAnswer, ok, operation } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'access';

export const listAudit = operation({
  id: 'listAudit',
  tag,
  summary: 'What people and tokens did, the latest first',
  query: AuditFilterQuery,
  answers: { 200: listOf(AuditEntrySchema) },
  async handle({ services, query }) {
    return listAnswer(
      await auditOf(services).list(readAuditFilter(query), pageRequest(query)),
      auditDocument,
    );
  },
});

export const verifyAudit = operation({
  id: 'verifyAudit',
  tag,
  summary: 'Whether the audit is as it was written, or which entry is not',
  query: AuditVerificationQuery,
  answers: { 200: AuditVerificationSchema },
  async handle({ services, query }) {
    return ok(auditVerificationDocument(await auditOf(services).verify(readNoted(query))));
  },
});

function auditOf({ audit }: HttpServices): AuditService {
  if (audit === undefined) throw new Error('a server has a route of the audit and no AuditService');
  return audit;
}
