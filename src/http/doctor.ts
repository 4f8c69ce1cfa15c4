/** Doctor reports over HTTP, and what an agent tells of itself for one. */
import { Type } from 'typebox';
import type { DoctorDraft } from '../domain/doctor.ts';
import { AppError } from '../domain/error.ts';
import { requireUuid } from '../domain/ids.ts';
import type { DoctorService } from '../domain/services.ts';
import {
  DoctorBody,
  DoctorPageQuery,
  DoctorReportSchema,
  DoctorSummarySchema,
  doctorBodyBytes,
  doctorReportDocument,
  doctorSummaryDocument,
} from '../wire/doctor.ts';
import { listOf } from '../wire/schema.ts';
import { type Call, type HttpServices, listAnswer, ok, operation, param } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'doctor';

export const fileDoctorReport = operation({
  id: 'fileDoctorReport',
  requestClass: 'report',
  tag,
  summary: 'Send a doctor report under a new UUID; the same again changes nothing. An agent passes it on',
  body: DoctorBody,
  bodyMaxBytes: doctorBodyBytes,
  answers: { 200: DoctorSummarySchema, 201: DoctorSummarySchema },
  codes: ['conflict'],
  async handle(call) {
    const { host = null, comment = null, report } = call.body;
    const draft: DoctorDraft = {
      id: requireUuid(param(call, 'report'), 'id'),
      wire: 'v1',
      host: await hostOf(call, host),
      comment,
      body: report,
    };
    const filed = await filingOf(call.services).file(call.caller, draft);
    return {
      kind: 'json',
      status: filed.created ? 201 : 200,
      body: doctorSummaryDocument(filed.report),
    };
  },
});

export const listDoctorReports = operation({
  id: 'listDoctorReports',
  tag,
  summary: 'Doctor reports without what they say, the latest first',
  query: DoctorPageQuery,
  answers: { 200: listOf(DoctorSummarySchema) },
  async handle({ services, query }) {
    return listAnswer(await reportsOf(services).list(pageRequest(query)), doctorSummaryDocument);
  },
});

export const getDoctorReport = operation({
  id: 'getDoctorReport',
  tag,
  summary: 'One doctor report; the audit keeps who read it',
  answers: { 200: DoctorReportSchema },
  codes: ['not-found'],
  async handle(call) {
    return ok(doctorReportDocument(await reportsOf(call.services).read(call.caller, param(call, 'report'))));
  },
});

export const removeDoctorReport = operation({
  id: 'removeDoctorReport',
  requestClass: 'admin',
  tag,
  summary: 'Remove a doctor report',
  answers: { 204: null },
  codes: ['not-found'],
  async handle(call) {
    await reportsOf(call.services).remove(call.caller, param(call, 'report'));
    return { kind: 'empty', status: 204 };
  },
});

export const getDiagnosis = operation({
  id: 'getDiagnosis',
  tag,
  summary: 'What this agent tells of itself for a doctor report, secrets masked',
  answers: { 200: Type.Object({}, { description: 'Fields are added' }) },
  async handle({ services }) {
    if (services.diagnosis === undefined) throw new Error('a server has a route of a diagnosis and none');
    return ok(await services.diagnosis());
  },
});

/** A host speaks for itself alone, under the name that the registry knows it by. */
async function hostOf({ caller, services }: Call, told: string | null): Promise<string | null> {
  if (caller.role !== 'host' || caller.hostId === undefined) return told;
  if (services.hosts === undefined) throw new Error('a server that knows hosts has no HostService');
  return (await services.hosts.get(caller.hostId)).name;
}

function filingOf({ doctor, filing = doctor }: HttpServices): Pick<DoctorService, 'file'> {
  if (filing === undefined)
    throw new AppError('unprocessable', 'Cannot send the doctor report: this host has no registry');
  return filing;
}

function reportsOf({ doctor }: HttpServices): DoctorService {
  if (doctor === undefined) throw new Error('a server has a route of doctor reports and no DoctorService');
  return doctor;
}
