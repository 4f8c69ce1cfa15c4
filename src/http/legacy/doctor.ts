/** Doctor reports in the form of workflow-manager-api. Admins read them, and whoever has the password. */
import { limits } from '../../base/limits.ts';
import { AppError, isAppError } from '../../domain/error.ts';
import { parseUuid } from '../../domain/ids.ts';
import type { DoctorService } from '../../domain/services.ts';
import { readReport } from '../../wire/legacy.ts';
import { LegacyReport } from '../../wire/legacy-schema.ts';
import { type Call, type HttpServices, ok, operation, param } from '../operation.ts';

const tag = 'doctor';

export const postReport = operation({
  id: 'postReport',
  requestClass: 'checkin',
  tag,
  summary: 'Keep a doctor report; the second one under an id takes the place of the first',
  legacy: { anonymous: true, basic: false },
  body: LegacyReport,
  bodyMaxBytes: limits.doctorReportBytes,
  answers: { 200: null },
  async handle(call) {
    const id = idOf(call);
    const { document, cluster } = readReport(call.body);
    const draft = { id, wire: 'v3', host: cluster, comment: null, body: document } as const;
    await doctorOf(call.services).file(call.caller, draft);
    return { kind: 'text', status: 200, type: 'application/json', text: '' };
  },
});

export const getReport = operation({
  id: 'getReport',
  tag,
  summary: 'A doctor report, as it was sent; the audit keeps who read it',
  legacy: { anonymous: false, basic: true },
  answers: { 200: LegacyReport },
  codes: ['not-found'],
  async handle(call) {
    try {
      return ok((await doctorOf(call.services).read(call.caller, idOf(call), 'v3')).body);
    } catch (error) {
      if (isAppError(error, 'not-found'))
        throw new AppError('not-found', '404 report not found', { cause: error });
      throw error;
    }
  },
});

function idOf(call: Call): string {
  const text = param(call, 'uuid');
  const id = parseUuid(/^\{(.*)\}$/.exec(text)?.[1] ?? text);
  if (id !== undefined) return id;
  throw new AppError(
    'unprocessable',
    `uuid in path must be of type uuid: ${JSON.stringify(text.slice(0, 80))}`,
    { field: 'uuid' },
  );
}

function doctorOf({ doctor }: HttpServices): DoctorService {
  if (doctor === undefined) throw new Error('a server has a route of doctor reports and no DoctorService');
  return doctor;
}
