/** Doctor reports over the wire. */
import type { DoctorDraft } from '../domain/doctor.ts';
import type { DoctorService, PageRequest } from '../domain/services.ts';
import {
  DoctorReportSchema,
  DoctorSummarySchema,
  readDoctorReport,
  readDoctorSummary,
} from '../wire/doctor.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody, expectNothing } from './request.ts';
import { anyObject } from './system.ts';

export const doctorRequests = {
  /** A second attempt finds what the first one did. */
  file: ({ id, host, comment, body }: Omit<DoctorDraft, 'wire'>) =>
    ({
      method: 'POST',
      path: paths.doctorReport(id),
      body: { host, comment, report: body },
      answer: expectBody(DoctorSummarySchema),
      idempotent: true,
    }) satisfies ApiRequest,
  get: (id: string) =>
    ({
      method: 'GET',
      path: paths.doctorReport(id),
      answer: expectBody(DoctorReportSchema),
    }) satisfies ApiRequest,
  list: (page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.doctor,
      query: { ...page },
      answer: expectBody(listOf(DoctorSummarySchema)),
    }) satisfies ApiRequest,
  /** Not retried: a second attempt after a lost answer would report `not-found` for what the first one did. */
  remove: (id: string) =>
    ({ method: 'DELETE', path: paths.doctorReport(id), answer: expectNothing }) satisfies ApiRequest,
  /** What an agent tells of itself. */
  diagnosis: () =>
    ({ method: 'GET', path: paths.diagnosis, answer: expectBody(anyObject) }) satisfies ApiRequest,
};

/** The `caller` arguments are ignored: the server establishes who calls from the connection's credential. */
export function createDoctor(connection: Connection): DoctorService {
  return {
    async file(_caller, draft) {
      const { status, document } = await connection.call(doctorRequests.file(draft));
      return { created: status === 201, report: readDoctorSummary(document) };
    },
    async read(_caller, id) {
      return readDoctorReport((await connection.call(doctorRequests.get(id))).document);
    },
    list: async (page) =>
      readPage((await connection.call(doctorRequests.list(page))).document, readDoctorSummary),
    async remove(_caller, id) {
      await connection.call(doctorRequests.remove(id));
    },
  };
}
