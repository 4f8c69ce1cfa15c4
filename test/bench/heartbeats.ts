/** Heartbeats over HTTP keep-alive: of a service record and of a host, beside a bare server and etcd's leases. */
import { randomUUID } from 'node:crypto';
import type { Bench, BenchGroup, Registry } from './bench.ts';
import { eachOf, registerServices, startBareLike, startRegistry } from './bench.ts';
import { type Etcd, startEtcd } from './etcd.ts';
import { type Group, notMeasured, perSecond, type Row, row } from './table.ts';
import { compare, connections, type Request, type Result } from './wrk.ts';

const services = 1_000;
const hosts = 500;
const leases = 1_000;

export const heartbeats: BenchGroup = { name: 'heartbeats', run: (bench) => measure(bench, { tls: false }) };

/** The twin of each row over TLS 1.3, beside the bare server with the same certificate. */
export const heartbeatsTls: BenchGroup = {
  name: 'heartbeats-tls',
  run: (bench) => measure(bench, { tls: true }),
};

async function measure(bench: Bench, { tls }: { tls: boolean }): Promise<Group> {
  const rows: Row[] = [];
  const registry = await startRegistry(bench, { tls });
  // Its gateway speaks plain HTTP here: no twin.
  const etcd = tls ? null : await startEtcd(bench);
  const leaseIds = etcd === null ? [] : await grantLeases(etcd);
  const etcdSide = etcd === null ? [] : [leaseSide(etcd, leaseIds)];

  bench.say('service heartbeats');
  const uuids = await registerServices(registry, services);
  const serviceBeats = uuids.map(
    (uuid): Request => ({
      method: 'POST',
      path: `/v1/services/${uuid}/heartbeat`,
      token: registry.token,
      body: {},
    }),
  );
  const bareService = await startBareLike(bench, registry, {
    method: 'POST',
    path: `/v1/services/${uuids[0]}/heartbeat`,
    body: {},
  });
  const service = await compare(bench, [
    {
      name: 'service heartbeat',
      url: registry.url,
      pid: registry.server.pid,
      requests: async () => [serviceBeats],
    },
    {
      name: 'bare',
      url: bareService.url,
      pid: bareService.server.pid,
      requests: async () => [serviceBeats],
    },
    ...etcdSide,
  ]);
  rows.push(...rowsOf('service heartbeat', service, { tls }));
  await bareService.server.stop();

  bench.say('host heartbeats');
  const joined = await joinHosts(registry, hosts);
  const [first] = await primed(registry, joined.slice(0, 1));
  if (first === undefined) throw new Error('no host joined');
  const bareHost = await startBareLike(bench, registry, {
    method: 'POST',
    path: first.path,
    body: { ...(first.body as object), seq: 2 },
    token: first.token ?? '',
  });
  let bareBeats: readonly Request[] = [];
  const host = await compare(bench, [
    {
      name: 'host heartbeat',
      url: registry.url,
      pid: registry.server.pid,
      async requests() {
        bareBeats = await primed(registry, joined);
        return [bareBeats];
      },
    },
    { name: 'bare', url: bareHost.url, pid: bareHost.server.pid, requests: async () => [bareBeats] },
    ...etcdSide,
  ]);
  rows.push(...rowsOf('host heartbeat', host, { tls }));
  for (const server of [registry.server, bareHost.server, etcd?.server]) await server?.stop();
  return {
    title: `Heartbeats over HTTP/1.1 keep-alive${tls ? ' in TLS 1.3' : ''}, SQLite registry (${connections} connections)`,
    rows,
    notes: [
      `${services} service records and ${hosts} hosts in turn; each beat with its bearer token, each host's with a growing seq and the registry's own mark, as agents send it. etcd: ${leases} leases, /v3/lease/keepalive.`,
      ...medians([...service, ...host]),
    ],
  };
}

function rowsOf(work: string, [ours, bare, etcd]: Result[], { tls }: { tls: boolean }): Row[] {
  if (ours === undefined || bare === undefined) throw new Error('a comparison has two sides');
  const besideBare = row({
    work,
    ours: perSecond(ours.perSecond),
    beside: `bare ${perSecond(bare.perSecond)}`,
    ratio: ours.perSecond / bare.perSecond,
    reach: '≥ 0.8 ×',
    met: ours.perSecond >= 0.8 * bare.perSecond,
    cpu: [ours.cpuUs, bare.cpuUs],
  });
  if (tls) return [besideBare];
  const reachEtcd = '≥ 5 × etcd';
  return [
    besideBare,
    etcd === undefined
      ? notMeasured(work, reachEtcd, 'etcd: not there')
      : row({
          work,
          ours: perSecond(ours.perSecond),
          beside: `etcd ${perSecond(etcd.perSecond)}`,
          ratio: ours.perSecond / etcd.perSecond,
          reach: '≥ 5 ×',
          met: ours.perSecond >= 5 * etcd.perSecond,
          cpu: [ours.cpuUs, etcd.cpuUs],
        }),
  ];
}

/** The runs behind the medians, so that a reader sees how far they lie apart. */
export function medians(results: readonly Result[]): string[] {
  return results.map(
    ({ name, runs, p50Ms, p99Ms }) =>
      `${name}: ${runs.map((run) => Math.round(run.perSecond / 100) / 10).join(', ')} k/s; p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`,
  );
}

export interface Joined {
  readonly id: string;
  readonly name: string;
  readonly credential: string;
}

export async function joinHosts(registry: Registry, count: number): Promise<Joined[]> {
  const joined: Joined[] = new Array(count);
  const numbers = Array.from({ length: count }, (_, n) => n);
  await eachOf(numbers, 16, async (n) => {
    joined[n] = await registry.call<Joined>('POST', '/v1/join', {
      name: `agent-${n}`,
      region: 'eu',
      machineId: `machine-${n}`,
    });
  });
  return joined;
}

/**
 * Beats as agents in a quiet fleet send them: a new start of each agent, that has seen the registry's last revision.
 * (Two rounds: the first one's beats may themselves be written, when a host comes back.)
 */
async function primed(registry: Registry, joined: readonly Joined[]): Promise<readonly Request[]> {
  const bootId = randomUUID();
  const own = { epoch: 1, revision: 7, hash: `sha256:${'a'.repeat(64)}` };
  const body = { bootId, startedAt: new Date().toISOString(), own, inventory: null };
  const pathOf = (id: string) => `/v1/hosts/${id}/heartbeat`;
  await eachOf(joined, 16, ({ id, credential }) =>
    registry.call('POST', pathOf(id), { ...body, seq: 1, seen: null }, credential),
  );
  const [first] = joined;
  if (first === undefined) return [];
  const { own: seen } = await registry.call<{ own: object }>(
    'POST',
    pathOf(first.id),
    { ...body, seq: 2, seen: null },
    first.credential,
  );
  return joined.map(({ id, credential }) => ({
    method: 'POST',
    path: pathOf(id),
    token: credential,
    body: { ...body, seq: '@SEQ@@@', seen },
  }));
}

async function grantLeases(etcd: Etcd): Promise<string[]> {
  const ids: string[] = [];
  const numbers = Array.from({ length: leases }, (_, n) => n);
  await eachOf(numbers, 32, async (n) => {
    ids[n] = (await etcd.call<{ ID: string }>('/v3/lease/grant', { TTL: 3_600 })).ID;
  });
  return ids;
}

function leaseSide(etcd: Etcd, ids: readonly string[]) {
  const requests = ids.map((ID): Request => ({ method: 'POST', path: '/v3/lease/keepalive', body: { ID } }));
  return { name: 'etcd keep-alive', url: etcd.url, pid: etcd.server.pid, requests: async () => [requests] };
}
