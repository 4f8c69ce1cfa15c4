/** Hosts over the wire: requests as data, and the contract made of them. */
import type { Beat } from '../domain/host.ts';
import type { HostPatch, VersionCondition } from '../domain/host-change.ts';
import type { CheckIn } from '../domain/inventory.ts';
import { formatMoment, type Moment } from '../domain/moment.ts';
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
  hostFilterQuery,
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
import { type ApiRequest, expectBody, expectNothing } from './request.ts';

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
  get: (idOrName: string, asOf?: Moment) =>
    ({
      method: 'GET',
      path: paths.host(idOrName),
      ...(asOf === undefined ? {} : { query: { asOf: formatMoment(asOf) } }),
      answer: expectBody(HostSchema),
    }) satisfies ApiRequest,
  list: (filter: HostFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.hosts,
      query: { ...hostFilterQuery(filter), ...page },
      answer: expectBody(listOf(HostSchema)),
    }) satisfies ApiRequest,
  change: (idOrName: string, patch: HostPatch, condition: VersionCondition = null) =>
    ({
      method: 'PATCH',
      path: paths.host(idOrName),
      body: patch,
      ifMatch: condition,
      answer: expectBody(HostSchema),
      // By name, a second attempt after a rename would miss the host; a version is good once.
      idempotent: patch.name === undefined && patch.version === undefined && condition === null,
    }) satisfies ApiRequest,
  /** Not retried: a second attempt after a lost answer would report `not-found` for what the first one did. */
  remove: (idOrName: string, condition: VersionCondition = null) =>
    ({
      method: 'DELETE',
      path: paths.host(idOrName),
      ifMatch: condition,
      answer: expectNothing,
    }) satisfies ApiRequest,
  revoke: (idOrName: string) =>
    ({
      method: 'DELETE',
      path: paths.hostCredential(idOrName),
      answer: expectNothing,
      idempotent: true,
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
      gzip: true,
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
    get: async (idOrName, asOf) =>
      readHost((await connection.call(hostRequests.get(idOrName, asOf))).document),
    list: async (filter, page) =>
      readPage((await connection.call(hostRequests.list(filter, page))).document, readHost),
    change: async (_caller, idOrName, patch, condition) =>
      readHost((await connection.call(hostRequests.change(idOrName, patch, condition))).document),
    async remove(_caller, idOrName, condition) {
      await connection.call(hostRequests.remove(idOrName, condition));
    },
    async revoke(_caller, idOrName) {
      await connection.call(hostRequests.revoke(idOrName));
    },
    beat: async (_caller, id, beat) =>
      readBeatAnswer((await connection.call(hostRequests.beat(id, beat))).document),
    checkIn: async (_caller, id, checkIn) =>
      (await connection.call(hostRequests.checkIn(id, checkIn))).document,
    report: async (_caller, id, batch) => (await connection.call(hostRequests.report(id, batch))).document,
  };
}
