/** Acknowledged durable writes that change something, beside the same routes without storage, and etcd put. */
import { join } from 'node:path';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';
import {
  type Bench,
  type BenchGroup,
  baseNode,
  eachOf,
  longTtlS,
  ownEnv,
  type Registry,
  registerServices,
  revisionOf,
  startRegistry,
  uuidOf,
} from './bench.ts';
import { base64, type Etcd, startEtcd } from './etcd.ts';
import { joinHosts, medians } from './heartbeats.ts';
import type { Server } from './processes.ts';
import { notMeasured, perSecond, type Row, row } from './table.ts';
import { compare, connections, type Request, type Result, type Side } from './wrk.ts';

const services = 1_000;
const hosts = 500;
/** Installed on each host: a small Debian has three hundred. */
const components = 100;

export const durable: BenchGroup = {
  name: 'durable',
  async run(bench) {
    const registry = await startRegistry(bench);
    const memory = await startVolatile(bench);
    const etcd = await startEtcd(bench);
    const rows: Row[] = [];
    const counted: string[] = [];
    const etcdSide = etcd === null ? [] : [putSide(etcd)];

    bench.say('status changes');
    const uuids = await registerServices(registry, services);
    for (const [n, uuid] of uuids.entries())
      await put(memory.url, memory.token, uuid, {
        type: 'web',
        host: `host-${n}`,
        status: 'UP',
        ttl: longTtlS,
      });
    const changes = statusChanges(uuids);
    const status = await compare(bench, [
      counting(registry, 'PUT of a status', counted, {
        ...changes(registry.url, registry.token),
        pid: registry.server.pid,
      }),
      { name: 'no storage', pid: memory.server.pid, ...changes(memory.url, memory.token) },
      ...etcdSide,
    ]);
    rows.push(...rowsOf('PUT of a changed status', status));

    bench.say('check-ins');
    const joined = await joinHosts(registry, hosts);
    const checkIns = await compare(bench, [
      counting(registry, 'check-in', counted, {
        url: registry.url,
        pid: registry.server.pid,
        requests: () =>
          checkInPasses(
            registry.url,
            joined.map(({ id, credential }) => ({ id, token: credential })),
          ),
      }),
      {
        name: 'no storage',
        url: memory.url,
        pid: memory.server.pid,
        requests: () =>
          checkInPasses(
            memory.url,
            joined.map((_, n) => ({ id: uuidOf(n), token: uuidOf(n) })),
          ),
      },
      ...etcdSide,
    ]);
    rows.push(...rowsOf('check-in of a changed package', checkIns));
    for (const server of [registry.server, memory.server, etcd?.server]) await server?.stop();
    return {
      title: `Acknowledged durable changes, SQLite registry, synchronous=FULL (${connections} connections)`,
      rows,
      notes: [
        `${services} records whose status toggles; ${hosts} hosts with ${components} components, a delta of one version each time. "No storage": the same HTTP routes and rules on records in memory, same Node, from sources. etcd: /v3/kv/put over ${services} keys, values of the same size.`,
        ...counted,
        ...medians([...status, ...checkIns]),
      ],
    };
  },
};

function rowsOf(work: string, [ours, memory, etcd]: Result[]): Row[] {
  if (ours === undefined || memory === undefined) throw new Error('a comparison has two sides');
  return [
    row({
      work,
      ours: perSecond(ours.perSecond),
      beside: `no storage ${perSecond(memory.perSecond)}`,
      ratio: ours.perSecond / memory.perSecond,
      reach: '≥ 0.8 ×',
      met: ours.perSecond >= 0.8 * memory.perSecond,
      cpu: [ours.cpuUs, memory.cpuUs],
    }),
    etcd === undefined
      ? notMeasured(work, '≥ 4 × etcd', 'etcd: not there')
      : row({
          work,
          ours: perSecond(ours.perSecond),
          beside: `etcd put ${perSecond(etcd.perSecond)}`,
          ratio: ours.perSecond / etcd.perSecond,
          reach: '≥ 4 ×',
          met: ours.perSecond >= 4 * etcd.perSecond,
          cpu: [ours.cpuUs, etcd.cpuUs],
        }),
  ];
}

/** Compares what wrk counted with what the log says was written, so that no request passes for a change that was none. */
function counting(
  registry: Registry,
  work: string,
  notes: string[],
  side: Pick<Side, 'url' | 'pid' | 'requests'>,
): Side {
  let before = 0;
  let [requests, revisions] = [0, 0];
  return {
    ...side,
    name: work,
    async requests() {
      const passes = await side.requests();
      before = await revisionOf(registry);
      return passes;
    },
    async check(run) {
      requests += run.requests;
      revisions += (await revisionOf(registry)) - before;
      const share = (100 * Math.min(1, revisions / requests)).toFixed(2);
      const note = `${work}: ${revisions.toLocaleString('en-US')} revisions in the log for ${requests.toLocaleString('en-US')} answers (${share} % changed something).`;
      const at = notes.findIndex((one) => one.startsWith(`${work}:`));
      if (at === -1) notes.push(note);
      else notes[at] = note;
      if (revisions < 0.99 * requests) throw new Error(note);
    },
  };
}

/** All records are UP before a run; the run sets them DOWN, UP, DOWN, … */
function statusChanges(uuids: readonly string[]) {
  return (url: string, token: string) => ({
    url,
    async requests() {
      await eachOf(uuids, 32, (uuid) => put(url, token, uuid, { status: 'UP' }));
      return (['DOWN', 'UP'] as const).map((status) =>
        uuids.map(
          (uuid): Request => ({ method: 'PUT', path: `/v1/services/${uuid}`, token, body: { status } }),
        ),
      );
    },
  });
}

async function put(url: string, token: string, uuid: string, body: object): Promise<void> {
  await send(url, token, 'PUT', `/v1/services/${uuid}`, body);
}

async function send(
  url: string,
  token: string,
  method: string,
  path: string,
  body: object,
): Promise<unknown> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const response = await fetch(`${url}${path}`, { method, headers, body: JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

/** All hosts have checked in completely with the first version; the run upgrades, downgrades, upgrades, … one package. */
async function checkInPasses(
  url: string,
  all: readonly { id: string; token: string }[],
): Promise<Request[][]> {
  const [first, second] = [inventory('1.2.3-1'), inventory('1.2.3-2')];
  const [a, b] = [inventoryHash(first), inventoryHash(second)];
  await eachOf(all, 16, async ({ id, token }) => {
    const answer = await send(url, token, 'POST', `/v1/hosts/${id}/checkin`, {
      base: null,
      hash: a,
      components: first,
    });
    if ((answer as { accepted?: boolean }).accepted !== true)
      throw new Error(`a complete check-in was not accepted: ${JSON.stringify(answer)}`);
  });
  const delta = (base: string, hash: string, changed: Component[]) =>
    all.map(
      ({ id, token }): Request => ({
        method: 'POST',
        path: `/v1/hosts/${id}/checkin`,
        token,
        body: { base, hash, components: changed.slice(0, 1) },
      }),
    );
  return [delta(a, b, second), delta(b, a, first)];
}

/** Only the first component's version differs. */
function inventory(version: string): Component[] {
  return Array.from({ length: components }, (_, n) => ({
    name: `package-${n}`,
    version: n === 0 ? version : '1.0-1',
    detector: 'dpkg',
    architecture: 'amd64',
  }));
}

async function startVolatile(bench: Bench): Promise<{ server: Server; url: string; token: string }> {
  const token = 'bench';
  const server = bench.processes.server(baseNode, [join(import.meta.dirname, 'volatile-server.ts'), token], {
    env: ownEnv(bench),
  });
  const [, url = ''] = await server.ready(/"url":"([^"]+)"/);
  return { server, url, token };
}

function putSide(etcd: Etcd): Side {
  const value = JSON.stringify({
    type: 'web',
    host: 'host-1',
    status: 'DOWN',
    ttl: longTtlS,
    note: 'x'.repeat(150),
  });
  const requests = Array.from(
    { length: services },
    (_, n): Request => ({
      method: 'POST',
      path: '/v3/kv/put',
      body: { key: base64(`/services/${uuidOf(n)}`), value: base64(value) },
    }),
  );
  return { name: 'etcd put', url: etcd.url, pid: etcd.server.pid, requests: async () => [requests] };
}
