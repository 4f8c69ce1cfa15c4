/** A tiny registry in memory, as far as the command line can tell: the rules are the domain's own. */
import type { ServerResponse } from 'node:http';
import { AppError } from '../../src/domain/error.ts';
import { parseUuid } from '../../src/domain/ids.ts';
import {
  decideBeat,
  decideEndMaintenance,
  decideMaintain,
  decideRegister,
  decideSet,
  type ServiceRecord,
  serviceDocument,
} from '../../src/domain/liveness.ts';
import { readMaintenance, readServicePatch } from '../../src/wire/liveness.ts';
import { type Asked, envelope, type FakeServer, fakeServer, json, problem } from '../client/fake-server.ts';

export const fleetNow = Date.UTC(2026, 0, 31, 12, 3, 1);

export interface FakeFleet {
  readonly server: FakeServer;
  readonly env: Record<string, string>;
  readonly records: Map<string, ServiceRecord>;
}

/** Serves /v1/services, /v1/is-up and a watch of both, until the test ends. */
export async function fakeFleet(
  t: { after(fn: () => Promise<void>): void },
  socketPath?: string,
): Promise<FakeFleet> {
  const records = new Map<string, ServiceRecord>();
  const listeners = new Set<(type: string, record: ServiceRecord) => void>();
  let minted = 0;
  let revision = 0;
  const documentOf = (record: ServiceRecord) =>
    serviceDocument({ ...record, confirmed: true, lastSeenMs: fleetNow - 4_000 }, fleetNow);
  const tell = (type: string, record: ServiceRecord) => {
    revision += 1;
    for (const listener of listeners) listener(type, record);
  };
  const find = (uuid: string) => {
    const record = records.get(parseUuid(uuid) ?? '');
    if (record === undefined)
      throw new AppError('not-found', `Cannot find service ${uuid}: it is not registered`);
    return record;
  };
  const store = ({ record, change }: { record: ServiceRecord; change: string | null }) => {
    if (change !== null) {
      records.set(record.uuid, record);
      tell(change, record);
    }
    return documentOf(record);
  };
  const handle = (asked: Asked, response: ServerResponse) => {
    const url = new URL(asked.url, 'http://x');
    const [, , noun, id, part] = url.pathname.split('/').map(decodeURIComponent);
    const body = (asked.body ?? {}) as Record<string, never>;
    const query = (name: string) => url.searchParams.getAll(name);
    const matches = (record: ServiceRecord) =>
      (['type', 'host', 'region', 'status'] as const).every(
        (name) => query(name).length === 0 || query(name).includes(String(record[name])),
      ) &&
      (query('uuid').length === 0 || query('uuid').map(parseUuid).includes(record.uuid));
    if (noun === 'is-up') {
      const record = [...records.values()].find(matches);
      return json(response, 200, {
        up: record?.status === 'UP',
        known: record !== undefined,
        reason: record?.reason ?? null,
        maintenance: null,
        confirmed: true,
        stale: false,
        asOf: new Date(fleetNow).toISOString(),
        ageMs: 0,
      });
    }
    if (noun !== 'services') throw new AppError('not-found', `Cannot find ${url.pathname}`);
    if (part === 'heartbeat') return json(response, 200, store(decideBeat(find(id ?? ''))));
    if (part === 'maintenance') {
      const record = find(id ?? '');
      return json(
        response,
        200,
        store(
          asked.method === 'DELETE'
            ? decideEndMaintenance(record)
            : decideMaintain(record, readMaintenance(body), fleetNow),
        ),
      );
    }
    if (asked.method === 'GET' && id === undefined) {
      const items = [...records.values()].filter(matches).sort((a, b) => (a.uuid < b.uuid ? -1 : 1));
      const start = Number(url.searchParams.get('cursor') ?? 0);
      const limit = Number(url.searchParams.get('limit') ?? 100);
      const next = start + limit < items.length ? String(start + limit) : null;
      return json(response, 200, {
        items: items.slice(start, start + limit).map(documentOf),
        next,
        asOf: new Date(fleetNow).toISOString(),
        position: `7.${revision}`,
        stale: false,
      });
    }
    if (asked.method === 'GET') return json(response, 200, documentOf(find(id ?? '')));
    if (asked.method === 'DELETE') {
      const record = id === undefined ? [...records.values()].find(matches) : find(id);
      if (record === undefined) throw new AppError('not-found', 'Cannot find that service');
      records.delete(record.uuid);
      tell('service.deleted', record);
      response.writeHead(204).end();
      return;
    }
    if (id === undefined) minted += 1;
    const uuid =
      id === undefined
        ? `00000000-0000-7000-8000-${String(minted).padStart(12, '0')}`
        : (parseUuid(id) ?? '');
    const known = records.get(uuid);
    const patch = readServicePatch(body);
    const holder = [...records.values()].find(
      (one) => one.type === patch.type && one.host === patch.host && one.uuid !== uuid,
    );
    if (holder !== undefined && url.searchParams.get('takeover') !== 'true') {
      throw new AppError(
        'conflict',
        `Cannot register "${holder.type}" on "${holder.host}": it is held by ${holder.uuid}, delete that one or pass takeover=true`,
        {
          details: { holder: holder.uuid },
        },
      );
    }
    if (holder !== undefined) records.delete(holder.uuid);
    return json(
      response,
      known === undefined ? 201 : 200,
      store(known === undefined ? decideRegister(uuid, patch, 'registry') : decideSet(known, patch)),
    );
  };
  const server = await fakeServer(
    t,
    (asked, response) => {
      try {
        handle(asked, response);
      } catch (error) {
        problem(response, error as AppError);
      }
    },
    socketPath,
  );
  server.onSocket = (socket) => {
    const listener = (type: string, record: ServiceRecord) => {
      const event = {
        position: `7.${revision}`,
        index: 0,
        type,
        at: new Date(fleetNow).toISOString(),
        actor: 'local',
        host: record.host,
        service: record.type,
        body: documentOf(record),
      };
      socket.send(envelope('watch', { kind: 'events', position: `7.${revision}`, events: [event] }));
    };
    socket.on('message', () => {
      listeners.add(listener);
      socket.send(envelope('watch', { kind: 'progress', position: `7.${revision}` }));
    });
    socket.on('close', () => listeners.delete(listener));
  };
  return { server, records, env: { HOLDFAST_URL: server.url } };
}
