/** Taking over what another program knew, over the wire. */
import type { ImportBatch } from '../domain/import.ts';
import { ImportResultsSchema, importDocument } from '../wire/import.ts';
import { paths } from '../wire/paths.ts';
import { type ApiRequest, expectBody } from './request.ts';

export const importRequests = {
  workflowManager: (batch: ImportBatch) =>
    ({
      method: 'POST',
      path: paths.importWorkflowManager,
      body: importDocument(batch),
      answer: expectBody(ImportResultsSchema),
      idempotent: true,
    }) satisfies ApiRequest,
};
