/** Liveness over HTTP: service records, heartbeats, maintenance, is-up. */
import { limits } from '../base/limits.ts';
import { AppError } from '../domain/error.ts';
import { normaliseHostName, requireUuid } from '../domain/ids.ts';
import { type ServiceView, serviceDocument } from '../domain/liveness.ts';
import {
  BeatManyAnswer,
  BeatManyBody,
  beatResultDocument,
  DeleteServiceQuery,
  EmptyBody,
  IsUpManyAnswer,
  IsUpManyBody,
  IsUpQuerySchema,
  IsUpSchema,
  isUpDocument,
  isUpManyText,
  MaintenanceBody,
  readIsUpQuery,
  readMaintenance,
  readServiceFilter,
  readServicePatch,
  ServiceFilterQuery,
  ServicePatchSchema,
  ServiceSchema,
  TakeoverQuery,
} from '../wire/liveness.ts';
import { listOf } from '../wire/schema.ts';
import { type Answer, type Call, jsonText, listAnswer, ok, operation, tagged } from './operation.ts';
import { pageRequest } from './page.ts';

const tag = 'liveness';

export const registerService = operation({
  id: 'registerService',
  scoped: true,
  requestClass: 'report',
  tag,
  summary: 'Register a service record under a fresh uuid',
  query: TakeoverQuery,
  body: ServicePatchSchema,
  answers: { 201: ServiceSchema },
  codes: ['conflict', 'not-found', 'unprocessable'],
  creates: true,
  async handle(call) {
    const options = { takeover: call.query.takeover ?? false };
    return record(
      call,
      await call.services.liveness.register(call.caller, readServicePatch(call.body), options),
      201,
    );
  },
});

export const putService = operation({
  id: 'putService',
  scoped: true,
  requestClass: 'report',
  tag,
  summary: 'Register a service record, or set the named fields of a known one; counts as a heartbeat',
  query: TakeoverQuery,
  body: ServicePatchSchema,
  answers: { 200: ServiceSchema, 201: ServiceSchema },
  codes: ['conflict', 'not-found', 'taken-over', 'unprocessable'],
  async handle(call) {
    const options = { takeover: call.query.takeover ?? false };
    const uuid = uuidOf(call);
    requireSameUuid(uuid, call.body.uuid);
    const { created, service } = await call.services.liveness.put(
      call.caller,
      uuid,
      readServicePatch(call.body),
      options,
    );
    return record(call, service, created ? 201 : 200);
  },
});

export const getService = operation({
  id: 'getService',
  scoped: true,
  tag,
  summary: 'One service record',
  answers: { 200: ServiceSchema },
  codes: ['not-found'],
  async handle(call) {
    return record(call, await call.services.liveness.get(uuidOf(call)));
  },
});

export const listServices = operation({
  id: 'listServices',
  scoped: true,
  tag,
  summary: 'Service records, ordered by uuid; filters are OR inside a field, AND across',
  query: ServiceFilterQuery,
  answers: { 200: listOf(ServiceSchema) },
  async handle({ services, context, query }) {
    const page = await services.liveness.list(readServiceFilter(query), pageRequest(query));
    const now = context.clock.now();
    return listAnswer(page, (view) => serviceDocument(view, now));
  },
});

export const deleteService = operation({
  id: 'deleteService',
  scoped: true,
  requestClass: 'report',
  tag,
  summary: 'Delete a service record',
  answers: { 204: null },
  codes: ['not-found', 'unprocessable'],
  async handle(call) {
    await call.services.liveness.delete(call.caller, { uuid: uuidOf(call) });
    return { kind: 'empty', status: 204 };
  },
});

export const deleteServiceAt = operation({
  id: 'deleteServiceAt',
  scoped: true,
  requestClass: 'report',
  tag,
  summary: 'Delete the service record of a type on a host',
  query: DeleteServiceQuery,
  answers: { 204: null },
  codes: ['not-found', 'unprocessable'],
  async handle({ services, caller, query }) {
    await services.liveness.delete(caller, { type: query.type, host: normaliseHostName(query.host) });
    return { kind: 'empty', status: 204 };
  },
});

export const beatService = operation({
  id: 'beatService',
  scoped: true,
  requestClass: 'beat',
  tag,
  summary: 'Heartbeat: renew the ttl, lift a lapse',
  body: EmptyBody,
  bodyOptional: true,
  bodyMaxBytes: limits.heartbeatBodyBytes,
  answers: { 200: ServiceSchema },
  codes: ['not-found', 'taken-over'],
  async handle(call) {
    return record(call, await call.services.liveness.beat(call.caller, uuidOf(call)));
  },
});

export const beatServices = operation({
  id: 'beatServices',
  scoped: true,
  requestClass: 'beat',
  tag,
  summary: 'Heartbeats of many records; an answer per item',
  body: BeatManyBody,
  bodyMaxBytes: limits.heartbeatBodyBytes,
  answers: { 200: BeatManyAnswer },
  async handle({ services, caller, body }) {
    const uuids = body.items.map(({ uuid }, index) => requireUuid(uuid, `items/${index}/uuid`));
    const results = await services.liveness.beatMany(caller, uuids);
    return ok({ items: results.map(beatResultDocument) });
  },
});

export const putMaintenance = operation({
  id: 'putMaintenance',
  scoped: true,
  requestClass: 'admin',
  tag,
  summary: 'Plan maintenance of a service record',
  body: MaintenanceBody,
  bodyOptional: true,
  answers: { 200: ServiceSchema },
  codes: ['not-found', 'unprocessable'],
  async handle(call) {
    return record(
      call,
      await call.services.liveness.maintain(call.caller, uuidOf(call), readMaintenance(call.body ?? {})),
    );
  },
});

export const deleteMaintenance = operation({
  id: 'deleteMaintenance',
  scoped: true,
  requestClass: 'admin',
  tag,
  summary: 'End maintenance for good',
  answers: { 200: ServiceSchema },
  codes: ['not-found', 'unprocessable'],
  async handle(call) {
    return record(call, await call.services.liveness.endMaintenance(call.caller, uuidOf(call)));
  },
});

export const isUp = operation({
  id: 'isUp',
  scoped: true,
  tag,
  summary: 'Is it up? By uuid, or by type and host; unknown is an answer',
  query: IsUpQuerySchema,
  answers: { 200: IsUpSchema },
  async handle({ services, context, query }) {
    return ok(isUpDocument(await services.liveness.isUp(readIsUpQuery(query)), context.formatInstant));
  },
});

export const isUpMany = operation({
  id: 'isUpMany',
  scoped: true,
  tag,
  summary: 'Is-up of many, in order',
  body: IsUpManyBody,
  answers: { 200: IsUpManyAnswer },
  async handle({ services, context, body }) {
    const answers = await services.liveness.isUpMany(body.items.map(readIsUpQuery));
    return jsonText(isUpManyText(answers, context.formatInstant));
  },
});

function uuidOf(call: Call): string {
  return requireUuid(call.params['uuid'] ?? '');
}

/** A record that is sent back carries its uuid; another one than the path's is a mistake, and nobody knows which. */
function requireSameUuid(uuid: string, sent: string | undefined): void {
  if (sent === undefined || requireUuid(sent) === uuid) return;
  throw new AppError(
    'bad-request',
    `Cannot set service ${uuid}: the body says uuid ${sent}; leave it out, or send the request to that one`,
    { field: 'uuid' },
  );
}

function record({ context }: Call, view: ServiceView, status = 200): Answer {
  return tagged(serviceDocument(view, context.clock.now(), context.formatInstant), status);
}
