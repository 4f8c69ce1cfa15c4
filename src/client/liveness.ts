/** Liveness over the wire: the requests as data, and the contract of `domain/services.ts` made of them. */
import type { Static } from 'typebox';
import type { IsUpQuery, ServicePatch } from '../domain/liveness.ts';
import type { BeatResult, LivenessService, PageRequest, ServiceFilter } from '../domain/services.ts';
import {
  BeatManyAnswer,
  IsUpManyAnswer,
  IsUpSchema,
  maintenanceBody,
  readIsUp,
  readService,
  ServiceSchema,
  servicePatchBody,
} from '../wire/liveness.ts';
import { paths } from '../wire/paths.ts';
import { listOf } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { readPage } from './page.ts';
import { type ApiRequest, expectBody, expectNothing, type Query } from './request.ts';

const service = expectBody(ServiceSchema);
const services = expectBody(listOf(ServiceSchema));
const isUp = expectBody(IsUpSchema);

/** What the server understands about service records; `-o json` prints the answers of these as they are. */
export const livenessRequests = {
  register: (patch: ServicePatch, options: { takeover: boolean }) =>
    ({
      method: 'POST',
      path: paths.services,
      query: takeover(options),
      body: servicePatchBody(patch),
      answer: service,
      idempotent: true,
      creates: true,
    }) satisfies ApiRequest,
  put: (uuid: string, patch: ServicePatch, options: { takeover: boolean }) =>
    ({
      method: 'PUT',
      path: paths.service(uuid),
      query: takeover(options),
      body: servicePatchBody(patch),
      answer: service,
      // Once is not twice when the caller insists on a version: the second attempt finds the next one.
      idempotent: patch.version === undefined,
    }) satisfies ApiRequest,
  beat: (uuid: string) =>
    ({
      method: 'POST',
      path: paths.serviceHeartbeat(uuid),
      answer: service,
      idempotent: true,
    }) satisfies ApiRequest,
  beatMany: (uuids: readonly string[]) =>
    ({
      method: 'POST',
      path: paths.heartbeats,
      body: { items: uuids.map((uuid) => ({ uuid })) },
      answer: expectBody(BeatManyAnswer),
      idempotent: true,
    }) satisfies ApiRequest,
  get: (uuid: string) => ({ method: 'GET', path: paths.service(uuid), answer: service }) satisfies ApiRequest,
  list: ({ scope: _scope, ...filter }: ServiceFilter, page: Partial<PageRequest>) =>
    ({
      method: 'GET',
      path: paths.services,
      query: { ...filter, ...page },
      answer: services,
    }) satisfies ApiRequest,
  /** Not retried: a second attempt after a lost answer would report `not-found` for what the first one did. */
  delete: (at: IsUpQuery) =>
    ({
      method: 'DELETE',
      ...('uuid' in at ? { path: paths.service(at.uuid) } : { path: paths.services, query: { ...at } }),
      answer: expectNothing,
    }) satisfies ApiRequest,
  maintain: (uuid: string, plan: Parameters<LivenessService['maintain']>[2]) =>
    ({
      method: 'PUT',
      path: paths.serviceMaintenance(uuid),
      body: maintenanceBody(plan),
      answer: service,
      idempotent: true,
    }) satisfies ApiRequest,
  endMaintenance: (uuid: string) =>
    ({
      method: 'DELETE',
      path: paths.serviceMaintenance(uuid),
      answer: service,
      idempotent: true,
    }) satisfies ApiRequest,
  isUp: (query: IsUpQuery) =>
    ({ method: 'GET', path: paths.isUp, query: { ...query }, answer: isUp }) satisfies ApiRequest,
  isUpMany: (queries: readonly IsUpQuery[]) =>
    ({
      method: 'POST',
      path: paths.isUp,
      body: { items: queries },
      answer: expectBody(IsUpManyAnswer),
      idempotent: true,
    }) satisfies ApiRequest,
};

/** The `caller` arguments are ignored: the server establishes who calls from the connection's credential. */
export function createLiveness(connection: Connection): LivenessService {
  const requests = livenessRequests;
  const view = async (request: ApiRequest<Static<typeof ServiceSchema>>) =>
    readService((await connection.call(request)).document);
  return {
    register: (_caller, patch, options) => view(requests.register(patch, options)),
    async put(_caller, uuid, patch, options) {
      const { status, document } = await connection.call(requests.put(uuid, patch, options));
      return { created: status === 201, service: readService(document) };
    },
    beat: (_caller, uuid) => view(requests.beat(uuid)),
    async beatMany(_caller, uuids) {
      const { document } = await connection.call(requests.beatMany(uuids));
      return document.items.map(
        ({ uuid, code, status }): BeatResult =>
          code === null ? { uuid, code, status: status ?? 'UP' } : { uuid, code },
      );
    },
    get: (uuid) => view(requests.get(uuid)),
    async list(filter, page) {
      return readPage((await connection.call(requests.list(filter, page))).document, readService);
    },
    async delete(_caller, at) {
      await connection.call(requests.delete(at));
    },
    maintain: (_caller, uuid, plan) => view(requests.maintain(uuid, plan)),
    endMaintenance: (_caller, uuid) => view(requests.endMaintenance(uuid)),
    isUp: async (query) => readIsUp((await connection.call(requests.isUp(query))).document),
    isUpMany: async (queries) =>
      (await connection.call(requests.isUpMany(queries))).document.items.map(readIsUp),
  };
}

function takeover(options: { takeover: boolean }): Query {
  return options.takeover ? { takeover: true } : {};
}
