/** Taking over what another program knew, over HTTP. */
import type { ImportService } from '../domain/services.ts';
import { ImportBody, ImportResultsSchema, importBodyBytes, readImport } from '../wire/import.ts';
import { type HttpServices, ok, operation } from './operation.ts';

export const importWorkflowManager = operation({
  id: 'importWorkflowManager',
  requestClass: 'admin',
  tag: 'import',
  summary: 'Take over a batch of what workflow-manager-api knew; the same again changes nothing',
  body: ImportBody,
  bodyMaxBytes: importBodyBytes,
  answers: { 200: ImportResultsSchema },
  codes: ['storage-full'],
  async handle({ services, caller, body }) {
    return ok(await importsOf(services).take(caller, readImport(body)));
  },
});

function importsOf({ imports }: HttpServices): ImportService {
  if (imports === undefined) throw new Error('a server has a route of imports and no ImportService');
  return imports;
}
