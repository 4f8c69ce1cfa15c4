/** Hosts over HTTP: joining, beats, check-ins, reports. The registry's side. */
import { limits } from '../base/limits.ts';
import { hostDocument } from '../domain/host.ts';
import { requireUuid } from '../domain/ids.ts';
import type { HostService } from '../domain/services.ts';
import {
  BeatAnswerSchema,
  BeatBody,
  beatAnswerDocument,
  HostFilterQuery,
  HostPatchBody,
  HostQuery,
  HostSchema,
  JoinAnswerSchema,
  JoinBody,
  joinAnswerDocument,
  RenewalAnswerSchema,
  RenewalBody,
  ReportAnswer,
  ReportBody,
  readBeat,
  readHostFilter,
  readHostPatch,
  readJoin,
  readRenewal,
  readReportBatch,
  renewalAnswerDocument,
} from '../wire/host.ts';
import { CheckInAnswerSchema, CheckInBody, readCheckIn } from '../wire/inventory.ts';
import { listOf, readAsOf } from '../wire/schema.ts';
import {
  type Call,
  type HttpServices,
  listAnswer,
  ok,
  operation,
  param,
  readIfMatch,
  tagged,
} from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'hosts';

/** Takes no Idempotency-Key: its answer holds a secret, which is not kept. A machine that joins again is the same host. */
export const join = operation({
  id: 'join',
  requestClass: 'join',
  tag,
  summary: 'Join the fleet: a host gets its identity and its credential',
  body: JoinBody,
  answers: { 200: JoinAnswerSchema },
  codes: ['conflict'],
  async handle({ services, caller, body }) {
    return ok(joinAnswerDocument(await hostsOf(services).join(caller, readJoin(body))));
  },
});

/** Open to everybody, because the credential of whoever comes may have ended: the host's key is what lets it in. */
export const renewCredential = operation({
  id: 'renewCredential',
  requestClass: 'credential',
  tag,
  summary: 'A new credential for a host that proves its key',
  body: RenewalBody,
  bodyMaxBytes: limits.proofBodyBytes,
  answers: { 200: RenewalAnswerSchema },
  codes: ['unauthenticated', 'identity-conflict'],
  async handle(call) {
    const answer = await hostsOf(call.services).renew(
      requireUuid(param(call, 'host'), 'id'),
      readRenewal(call.body),
    );
    return ok(renewalAnswerDocument(answer));
  },
});

export const listHosts = operation({
  id: 'listHosts',
  scoped: true,
  tag,
  summary: 'Hosts, ordered by name',
  query: HostFilterQuery,
  answers: { 200: listOf(HostSchema) },
  codes: ['compacted'],
  async handle({ services, query }) {
    return listAnswer(await hostsOf(services).list(readHostFilter(query), pageRequest(query)), hostDocument);
  },
});

export const getHost = operation({
  id: 'getHost',
  scoped: true,
  tag,
  summary:
    'One host, by id or by name; as of a past moment by the name that it had, also if it is gone since',
  query: HostQuery,
  answers: { 200: HostSchema },
  codes: ['not-found', 'compacted'],
  async handle(call) {
    const { asOf } = readAsOf(call.query);
    return tagged(hostDocument(await hostsOf(call.services).get(param(call, 'host'), asOf)));
  },
});

export const changeHost = operation({
  id: 'changeHost',
  scoped: true,
  requestClass: 'admin',
  tag,
  summary: 'Rename a host, move it to another region, set and remove labels',
  body: HostPatchBody,
  answers: { 200: HostSchema },
  codes: ['not-found', 'conflict', 'precondition-failed', 'unprocessable'],
  async handle(call) {
    const patch = readHostPatch(call.body);
    const hosts = hostsOf(call.services);
    const view = await hosts.change(call.caller, param(call, 'host'), patch, readIfMatch(call.ifMatch));
    return tagged(hostDocument(view));
  },
});

export const removeHost = operation({
  id: 'removeHost',
  scoped: true,
  requestClass: 'admin',
  tag,
  summary: 'Remove a host with its records, components and credentials',
  answers: { 204: null },
  codes: ['not-found', 'precondition-failed'],
  async handle(call) {
    const hosts = hostsOf(call.services);
    await hosts.remove(call.caller, param(call, 'host'), readIfMatch(call.ifMatch));
    return { kind: 'empty', status: 204 };
  },
});

export const revokeHost = operation({
  id: 'revokeHost',
  scoped: true,
  requestClass: 'admin',
  tag,
  summary: 'End all credentials of a host at once; it stays known, and may join again',
  answers: { 204: null },
  codes: ['not-found'],
  async handle(call) {
    await hostsOf(call.services).revoke(call.caller, param(call, 'host'));
    return { kind: 'empty', status: 204 };
  },
});

export const beatHost = operation({
  id: 'beatHost',
  requestClass: 'beat',
  tag,
  summary: 'Heartbeat of a host',
  body: BeatBody,
  bodyMaxBytes: limits.heartbeatBodyBytes,
  answers: { 200: BeatAnswerSchema },
  codes: ['not-found', 'identity-conflict'],
  async handle(call) {
    const answer = await hostsOf(call.services).beat(call.caller, hostIdOf(call), readBeat(call.body));
    return ok(beatAnswerDocument(answer, call.context.formatInstant));
  },
});

export const checkInHost = operation({
  id: 'checkInHost',
  requestClass: 'checkin',
  smallClass: 'report',
  tag,
  summary: 'Check in installed components, complete or as a delta',
  body: CheckInBody,
  bodyMaxBytes: limits.checkInBodyBytes,
  gzip: true,
  answers: { 200: CheckInAnswerSchema },
  codes: ['not-found', 'identity-conflict', 'unprocessable'],
  async handle(call) {
    return ok(await hostsOf(call.services).checkIn(call.caller, hostIdOf(call), readCheckIn(call.body)));
  },
});

export const reportHost = operation({
  id: 'reportHost',
  requestClass: 'report',
  tag,
  summary: "Reports of the agent's outbox, exactly once in effect",
  body: ReportBody,
  bodyMaxBytes: limits.reportBodyBytes,
  answers: { 200: ReportAnswer },
  codes: ['not-found', 'conflict', 'identity-conflict'],
  async handle(call) {
    return ok(await hostsOf(call.services).report(call.caller, hostIdOf(call), readReportBatch(call.body)));
  },
});

/** Only the host itself writes here, and by its id: a name may pass on to another host. */
function hostIdOf(call: Call): string {
  return call.caller.hostId ?? requireUuid(param(call, 'host'), 'id');
}

function hostsOf(services: HttpServices): HostService {
  if (services.hosts === undefined)
    throw new Error('a registry route was reached on a server without a HostService');
  return services.hosts;
}
