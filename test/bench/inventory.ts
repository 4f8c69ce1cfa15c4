/** What inventory has to answer at 20,000 hosts with 500 components each: questions, check-ins, and what they take on disk. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Agent, request } from 'undici';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';
import { type Bench, type BenchGroup, newFolder, type Registry, revisionOf, startRegistry } from './bench.ts';
import {
  componentName,
  componentsOf,
  type FleetPlan,
  fillFleet,
  fleetAgeDays,
  hostName,
  joinedMs,
  machineId,
  versionText,
} from './fleet.ts';
import { ms, notMeasured, percentile, type Row, row } from './table.ts';

const components = 500;
/** Hosts that check in, again and again. */
const checkingIn = 500;
const changesOfOne = 5;
/** Components with a release that is newer than what is installed on most hosts. */
const released = 20;
const answersPerQuestion = 40;
const questionMsMax = 100;
const checkInMsMax = 5;
const dayMs = 86_400_000;

export const inventory: BenchGroup = {
  name: 'inventory',
  async run(bench) {
    const plan: FleetPlan = {
      hosts: bench.hosts,
      components,
      seed: bench.seed,
      checkingIn: Math.min(checkingIn, bench.hosts),
      nowMs: Date.now(),
    };
    const dataDir = await filledFleet(bench, plan);
    const file = join(dataDir, 'holdfast.db');
    const filledBytes = statSync(file).size;
    const installedBytes = tableBytes(file, 'components%');

    const registry = await startRegistry(bench, { dataDir });
    const hosts = await comeBack(registry, plan);
    await proveOurs(registry, hosts[0], componentsOf(plan, 0));
    await publish(registry);

    bench.say('check-ins of five changes');
    const beforeMs = Date.now();
    const checkIns = await checkInAll(registry, hosts, { plan, rounds: bench.rounds });
    const rows: Row[] = [
      row({
        work: `check-in, ${changesOfOne} changes, p95`,
        ours: ms(percentile(checkIns.tookMs, 95)),
        beside: `p50 ${ms(percentile(checkIns.tookMs, 50))}`,
        reach: `≤ ${checkInMsMax} ms`,
        met: percentile(checkIns.tookMs, 95) <= checkInMsMax,
      }),
    ];
    for (const { work, paths } of questions(plan, beforeMs)) {
      bench.say(work);
      rows.push(await askedRow(registry, work, paths));
    }
    await registry.server.stop();
    const changes = checkIns.tookMs.length * changesOfOne;
    const grownBytes = tableBytes(file, 'components%') - installedBytes;
    return {
      title: `Inventory: ${plan.hosts.toLocaleString('en-US')} hosts with ${components} components each`,
      rows,
      notes: [
        `One SQLite database of ${mebibytes(filledBytes)}, of which ${mebibytes(installedBytes)} are what is installed: ${(installedBytes / (plan.hosts * components)).toFixed(1)} bytes for each component of a host.`,
        `${changes.toLocaleString('en-US')} changes took ${mebibytes(grownBytes)} of inventory and history, ${(grownBytes / changes).toFixed(0)} bytes each; the log, which is kept for a week, comes on top.`,
        `Questions: ${answersPerQuestion} answers each over HTTP, one after another, of 100 items where nothing else is said, with other arguments each time; first ones included. Check-ins: one at a time, each acknowledged when it is on disk.`,
        'Hosts were filled in bulk: a complete check-in of one of them with one change is taken as exactly that change.',
      ],
    };
  },
};

/** A data directory with a registry's store of that fleet. */
async function filledFleet(bench: Bench, plan: FleetPlan): Promise<string> {
  bench.say(`filling a store: ${plan.hosts} hosts × ${plan.components} components`);
  const dataDir = await newFolder(bench, 'fleet');
  const first = await startRegistry(bench, { dataDir });
  const model = 'model';
  await first.call('POST', '/v1/join', { name: model, region: 'eu', machineId: model });
  await first.server.stop();
  fillFleet(join(dataDir, 'holdfast.db'), plan, model);
  return dataDir;
}

interface CheckingIn {
  readonly id: string;
  readonly credential: string;
}

/** Hosts of the fleet join again, as the same machines: so they are themselves, with a credential. */
async function comeBack(registry: Registry, plan: FleetPlan): Promise<CheckingIn[]> {
  const hosts: CheckingIn[] = [];
  for (let host = 0; host < plan.checkingIn; host += 1) {
    const joined = await registry.call<CheckingIn & { name: string }>('POST', '/v1/join', {
      name: hostName(host),
      region: null,
      machineId: machineId(host),
    });
    if (joined.name !== hostName(host)) throw new Error(`${hostName(host)} came back as ${joined.name}`);
    hosts.push(joined);
  }
  return hosts;
}

/** The registry must find what was filled as if it had been checked in: of all that a host has, one thing is news. */
async function proveOurs(
  registry: Registry,
  host: CheckingIn | undefined,
  installed: readonly Component[],
): Promise<void> {
  if (host === undefined) throw new Error('no host checks in');
  const changed = installed.map((component, n) => (n === 0 ? { ...component, version: '9-1' } : component));
  for (const now of [changed, installed]) {
    const before = await revisionOf(registry);
    const body = { base: null, hash: inventoryHash(now), components: now };
    await registry.call('POST', `/v1/hosts/${host.id}/checkin`, body, host.credential);
    const epoch = Number((await readEvents(registry, before)).length);
    if (epoch !== 1) throw new Error(`a complete check-in with one change wrote ${epoch} events`);
  }
}

/** The events after a revision, as a watcher reads them. */
async function readEvents(registry: Registry, after: number): Promise<unknown[]> {
  const { store } = await registry.call<{ store: { position: string } }>('GET', '/v1/status');
  const since = `${store.position.split('.')[0]}.${after}`;
  const agent = new Agent();
  const { body } = await request(`${registry.url}/v1/events?since=${since}`, {
    dispatcher: agent,
    headers: { authorization: `Bearer ${registry.token}` },
  });
  try {
    for await (const chunk of body) {
      const found = /^data: (\{"kind":"events".*)$/m.exec(String(chunk))?.[1];
      if (found !== undefined) return (JSON.parse(found) as { events: unknown[] }).events;
    }
    throw new Error('the registry tells of no event');
  } finally {
    await agent.destroy();
  }
}

async function publish(registry: Registry): Promise<void> {
  for (let n = 0; n < released; n += 1) {
    for (const [train, version] of [
      ['stable', 3],
      ['beta', 5],
    ] as const) {
      const path = `/v1/components/${componentName(n * 7)}/trains/${train}/releases/${encodeURIComponent(versionText(version))}`;
      await registry.call('PUT', path, {});
    }
  }
}

/** Each host goes to and fro between two versions of five components. */
async function checkInAll(
  registry: Registry,
  hosts: readonly CheckingIn[],
  { plan, rounds }: { plan: FleetPlan; rounds: number },
): Promise<{ tookMs: number[] }> {
  const tookMs: number[] = [];
  const held = hosts.map((_, host) => componentsOf(plan, host));
  for (let round = 0; round < rounds; round += 1) {
    for (const [n, { id, credential }] of hosts.entries()) {
      const installed = held[n] ?? [];
      const first = (round * changesOfOne + n) % (components - changesOfOne);
      const news = installed
        .slice(first, first + changesOfOne)
        .map((component) => ({ ...component, version: versionText(4 + (round % 2)) }));
      const after = installed.toSpliced(first, changesOfOne, ...news);
      const body = { base: inventoryHash(installed), hash: inventoryHash(after), components: news };
      const started = performance.now();
      const { accepted } = await registry.call<{ accepted: boolean }>(
        'POST',
        `/v1/hosts/${id}/checkin`,
        body,
        credential,
      );
      tookMs.push(performance.now() - started);
      if (!accepted) throw new Error('a check-in was not accepted');
      held[n] = after;
    }
  }
  return { tookMs };
}

interface Question {
  readonly work: string;
  /** The n-th time. */
  readonly paths: (n: number) => string;
}

/** `beforeMs`: when the check-ins began. */
function questions(plan: FleetPlan, beforeMs: number): Question[] {
  const at = (ms: number) => encodeURIComponent(new Date(ms).toISOString());
  const past = (n: number) => at(beforeMs - 1_000 - n * 3_600_000);
  const early = (n: number) => at(joinedMs(plan, 0) + (((n * 2 + 1) % fleetAgeDays) + 1) * dayMs);
  const has = (n: number) => `has=${encodeURIComponent(`${componentName((n * 13) % components)}<1.2.2`)}`;
  const some = (n: number) => hostName((n * 499) % plan.hosts);
  const prod = `selector=${encodeURIComponent('env=prod')}`;
  return [
    {
      work: 'hosts, four bounds',
      paths: (n) =>
        `/v1/hosts?createdAfter=${early(n)}&createdBefore=${at(beforeMs)}&seenAfter=30d&seenBefore=${at(beforeMs + dayMs)}`,
    },
    { work: 'hosts, created within days', paths: (n) => `/v1/hosts?created=${(n % 60) + 1}d` },
    { work: 'hosts, stale for days', paths: (n) => `/v1/hosts?stale=${(n % 60) + 1}d` },
    { work: 'hosts, persistent then', paths: (n) => `/v1/hosts?persistent=10d&asOf=${past(n)}` },
    { work: 'hosts with a version', paths: (n) => `/v1/hosts?${has(n)}` },
    { work: 'hosts with a version, selected', paths: (n) => `/v1/hosts?${has(n)}&${prod}` },
    { work: 'hosts with a version then', paths: (n) => `/v1/hosts?${has(n)}&asOf=${past(n)}` },
    { work: 'hosts then', paths: (n) => `/v1/hosts?asOf=${early(n)}` },
    { work: 'hosts then, selected', paths: (n) => `/v1/hosts?asOf=${early(n)}&${prod}` },
    { work: 'components', paths: () => '/v1/components' },
    { work: 'components, selected', paths: () => `/v1/components?${prod}` },
    { work: 'components then', paths: (n) => `/v1/components?asOf=${past(n)}` },
    { work: 'components of a host', paths: (n) => `/v1/hosts/${some(n)}/components` },
    { work: 'components of a host then', paths: (n) => `/v1/hosts/${some(n)}/components?asOf=${past(n)}` },
    { work: 'components between', paths: (n) => `/v1/history/components?from=${past(n)}` },
    { work: 'hosts between', paths: (n) => `/v1/history/hosts?from=${early(n)}` },
    { work: 'history of a host', paths: (n) => `/v1/hosts/${some(n)}/history?from=80d` },
    { work: 'counts of hosts', paths: () => '/v1/stats/hosts' },
    { work: 'series of hosts, 90 days', paths: () => `/v1/stats/hosts?from=90d&step=1d` },
    { work: 'updates of a host', paths: (n) => `/v1/updates?host=${some(n)}` },
    { work: 'updates of the fleet', paths: () => '/v1/updates' },
    { work: 'updates by component', paths: () => '/v1/updates/components' },
    { work: 'updates, selected', paths: () => `/v1/updates?${prod}` },
    { work: 'updates then', paths: (n) => `/v1/updates?asOf=${past(n)}` },
  ];
}

async function askedRow(registry: Registry, work: string, paths: (n: number) => string): Promise<Row> {
  const tookMs: number[] = [];
  const agent = new Agent();
  try {
    for (let n = 0; n < answersPerQuestion; n += 1) {
      const started = performance.now();
      const { statusCode, body } = await request(`${registry.url}${paths(n)}`, {
        dispatcher: agent,
        headers: { authorization: `Bearer ${registry.token}` },
      });
      const text = await body.text();
      tookMs.push(performance.now() - started);
      if (statusCode !== 200)
        return notMeasured(work, `≤ ${questionMsMax} ms`, `${statusCode} ${detailOf(text)}`);
    }
  } finally {
    await agent.destroy();
  }
  const p95 = percentile(tookMs, 95);
  return row({
    work: `${work}, p95`,
    ours: ms(p95),
    beside: `p50 ${ms(percentile(tookMs, 50))}`,
    reach: `≤ ${questionMsMax} ms`,
    met: p95 <= questionMsMax,
  });
}

/** What tables with such names and their indexes take. */
function tableBytes(file: string, like: string): number {
  const db = new Database(file, { readonly: true });
  try {
    const { bytes } = db
      .prepare(
        'SELECT coalesce(sum(pgsize), 0) AS bytes FROM dbstat WHERE aggregate = TRUE AND name IN (SELECT name FROM sqlite_schema WHERE tbl_name LIKE ?)',
      )
      .get(like) as { bytes: number };
    return bytes;
  } finally {
    db.close();
  }
}

function detailOf(problem: string): string {
  const { detail } = JSON.parse(problem) as { detail?: string };
  return detail ?? '';
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}
