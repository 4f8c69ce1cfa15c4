/** Hosts over the wire: requests as data, and the contract made of them. */
import type { Beat } from '../domain/host.ts';
import type { CheckIn } from '../domain/inventory.ts';
import type {
  HostFilter,
  HostService,
  JoinRequest,
  PageRequest,
  RenewalRequest,
  ReportBatch,
} from '../domain/services.ts';
import {
  BeatAnswerSchema,
  beatBody,
  HostSchema,
  JoinAnswerSchema,
  RenewalAnswerSchema,
  ReportAnswer,
  readBeatAnswer,
  readHost,
  readJoinAnswer,
  readRenewalAnswer,
  renewalBody,
  reportBatchBody,
} from '../wire/host.ts';
import { CheckInAnswerSchema, checkInBody } from '../wire/inventory.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody } from './request.ts';

/**
 * Beats, check-ins and reports are not retried here: the agent's loops send the newest beat, the difference that is
 * left and the outbox from where it was acknowledged, which are better than the same bytes again.
 */
export const hostRequests = {
  join: (request: JoinRequest) =>
    ({
      method: 'POST',
      path: paths.join,
      body: request,
      answer: expectBody(JoinAnswerSchema),
    }) satisfies ApiRequest,
  renew: (id: string, request: RenewalRequest) =>
    ({
      method: 'POST',
      path: paths.hostCredential(id),
      body: renewalBody(request),
      answer: expectBody(RenewalAnswerSchema),
    }) satisfies ApiRequest,
  get: (idOrName: string) =>
    ({ method: 'GET', path: paths.host(idOrName), answer: expectBody(HostSchema) }) satisfies ApiRequest,
  list: (filter: HostFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.hosts,
      query: { ...filter, ...page },
      answer: expectBody(listOf(HostSchema)),
    }) satisfies ApiRequest,
  beat: (id: string, beat: Beat) =>
    ({
      method: 'POST',
      path: paths.hostHeartbeat(id),
      body: beatBody(beat),
      answer: expectBody(BeatAnswerSchema),
    }) satisfies ApiRequest,
  checkIn: (id: string, checkIn: CheckIn) =>
    ({
      method: 'POST',
      path: paths.hostCheckIn(id),
      body: checkInBody(checkIn),
      answer: expectBody(CheckInAnswerSchema),
    }) satisfies ApiRequest,
  report: (id: string, batch: ReportBatch) =>
    ({
      method: 'POST',
      path: paths.hostReports(id),
      body: reportBatchBody(batch),
      answer: expectBody(ReportAnswer),
    }) satisfies ApiRequest,
};

/** The `caller` arguments are ignored: the server establishes who calls from the connection's credential. */
export function createHosts(connection: Connection): HostService {
  return {
    join: async (_caller, request) =>
      readJoinAnswer((await connection.call(hostRequests.join(request))).document),
    renew: async (id, request) =>
      readRenewalAnswer((await connection.call(hostRequests.renew(id, request))).document),
    get: async (idOrName) => readHost((await connection.call(hostRequests.get(idOrName))).document),
    list: async (filter, page) =>
      readPage((await connection.call(hostRequests.list(filter, page))).document, readHost),
    beat: async (_caller, id, beat) =>
      readBeatAnswer((await connection.call(hostRequests.beat(id, beat))).document),
    checkIn: async (_caller, id, checkIn) =>
      (await connection.call(hostRequests.checkIn(id, checkIn))).document,
    report: async (_caller, id, batch) => (await connection.call(hostRequests.report(id, batch))).document,
  };
}
