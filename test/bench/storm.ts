/**
 * The registry is gone for half a minute, and a whole fleet comes back: within the time that it was told to spread
 * over, without anybody alive being told DOWN, over TLS with a handshake each.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '../../src/client/client.ts';
import {
  type Bench,
  type BenchGroup,
  baseNode,
  newFolder,
  ownEnv,
  type Registry,
  startRegistry,
} from './bench.ts';
import { type Joined, joinHosts } from './heartbeats.ts';
import { cpuSeconds, freePort, loadCore, memoryOf, type Server, sleep } from './processes.ts';
import { mib, type Row, row } from './table.ts';

const fleet = 5_000;
/** Longer than a deadline, so that every host has noticed. */
const goneMs = 30_000;
const patienceMs = 120_000;

interface Counts {
  readonly connected: number;
  readonly beats: number;
  readonly failures: number;
}

export const storm: BenchGroup = {
  name: 'storm',
  async run(bench) {
    const port = await freePort();
    const before = await startRegistry(bench, { port, tls: true });
    const { dataDir } = before;
    bench.say(`${fleet} hosts join`);
    const joined = await joinHosts(before, fleet);
    const hosts = await startFleet(bench, before, joined);
    await reach(hosts, ({ connected }) => connected === fleet, 'the whole fleet');
    await sleep(10_000);
    const steadyKib = memoryOf(before.server.pid).rssKib;
    const { position } = await positionOf(before);
    const spreadMs = await spreadOf(before, joined);

    bench.say(`kill -9, gone for ${goneMs / 1_000} s`);
    await before.server.stop('SIGKILL');
    await sleep(goneMs);
    const noticed = countsOf(hosts);
    const registry = await startRegistry(bench, { dataDir, port, tls: true });
    const backMs = performance.now();
    const cpuBefore = cpuSeconds(registry.server.pid);
    const back = await reach(hosts, ({ connected }) => connected === fleet, 'the fleet to be back');
    const tookMs = performance.now() - backMs;
    const usedS = cpuSeconds(registry.server.pid) - cpuBefore;
    const peakKib = memoryOf(registry.server.pid).rssKib;
    // One deadline and the spread from its start: whoever would be told DOWN has been by then.
    await sleep(40_000);
    const lapsed = await lapsesSince(registry, position);
    const status = await registry.call<{ hosts: { up: number; down: number } }>('GET', '/v1/status');
    await hosts.stop();
    await registry.server.stop();
    const tries = (back.failures - noticed.failures + back.beats - noticed.beats) / fleet;
    // A host knocks at most one and a half intervals after its last try.
    const withinMs = spreadMs + 15_000;
    const rows: Row[] = [
      row({
        work: 'ready → all hosts are back',
        ours: seconds(tookMs),
        beside: `spread ${seconds(spreadMs)} + 15 s`,
        ratio: tookMs / withinMs,
        reach: '≤ 1 ×',
        met: tookMs <= withinMs,
      }),
      row({
        work: 'told DOWN though alive',
        ours: String(lapsed),
        beside: `${status.hosts.up.toLocaleString('en-US')} UP after`,
        reach: '0',
        met: lapsed === 0 && status.hosts.up === fleet,
      }),
      row({
        work: 'tries a host, once it is back',
        ours: tries.toFixed(2),
        beside: '',
        reach: '≤ 1.5',
        met: tries <= 1.5,
      }),
      row({
        work: 'registry, RSS after / before',
        ours: mib(peakKib),
        beside: mib(steadyKib),
        ratio: peakKib / steadyKib,
        reach: '≤ 1.3 ×',
        met: peakKib <= 1.3 * steadyKib,
      }),
    ];
    return {
      title: `A fleet of ${fleet.toLocaleString('en-US')} returns over TLS 1.3 after kill -9`,
      rows,
      notes: [
        `Each host is the agent's own heartbeat on a connection of its own. CPU of the registry from ready until all were back: ${usedS.toFixed(2)} s, ${((usedS * 1e6) / fleet).toFixed(0)} µs a host, handshake and beat.`,
        `Steady: ${(steadyKib / fleet).toFixed(1)} KiB of RSS a host in all.`,
      ],
    };
  },
};

interface Fleet {
  readonly server: Server;
  stop(): Promise<void>;
}

async function startFleet(bench: Bench, registry: Registry, joined: readonly Joined[]): Promise<Fleet> {
  const file = join(await newFolder(bench, 'fleet'), 'fleet.json');
  const hosts = joined.map(({ id, credential }) => ({ id, credential }));
  await writeFile(file, JSON.stringify({ url: registry.url, ca: registry.ca, hosts }), { mode: 0o600 });
  const script = join(import.meta.dirname, 'storm-fleet.ts');
  const server = bench.processes.server(baseNode, [script, file], { env: ownEnv(bench), core: loadCore });
  return { server, stop: () => server.stop() };
}

function countsOf({ server }: Fleet): Counts {
  const line = server.output().trimEnd().split('\n').at(-1) ?? '';
  return line === '' ? { connected: 0, beats: 0, failures: 0 } : (JSON.parse(line) as Counts);
}

async function reach(hosts: Fleet, done: (counts: Counts) => boolean, what: string): Promise<Counts> {
  const startedMs = performance.now();
  for (;;) {
    const counts = countsOf(hosts);
    if (done(counts)) return counts;
    if (performance.now() - startedMs > patienceMs)
      throw new Error(`waited ${patienceMs / 1_000} s for ${what}: ${JSON.stringify(counts)}`);
    await sleep(100);
  }
}

async function positionOf(registry: Registry): Promise<{ position: string }> {
  return registry.call('GET', '/v1/hosts?limit=1');
}

async function spreadOf(registry: Registry, [first]: readonly Joined[]): Promise<number> {
  if (first === undefined) throw new Error('no host joined');
  // A beat of a start that nobody goes on with: the host's own next one counts on.
  const answer = await registry.call<{ spreadMs: number }>(
    'POST',
    `/v1/hosts/${first.id}/heartbeat`,
    {
      bootId: 'spread',
      startedAt: new Date(0).toISOString(),
      seq: 1,
      own: { epoch: 1, revision: 0, hash: `sha256:${'0'.repeat(64)}` },
      seen: null,
      inventory: null,
    },
    first.credential,
  );
  return answer.spreadMs;
}

/** How many hosts the log says are lapsed since a position; a record registered now marks its end. */
async function lapsesSince(registry: Registry, since: string): Promise<number> {
  const { url, token, ca } = registry;
  const client = createClient({ target: { url }, token, ...(ca === null ? {} : { tls: { ca: [ca] } }) });
  try {
    await registry.call('POST', '/v1/services', { type: 'end-of-storm', host: 'bench' });
    let lapsed = 0;
    for await (const update of client.watch({
      since,
      select: { types: ['host.lapsed', 'service.registered'] },
    })) {
      if (update.kind !== 'events') continue;
      for (const { type } of update.events) {
        if (type === 'service.registered') return lapsed;
        lapsed += 1;
      }
    }
    throw new Error('the watch ended before the end of the storm');
  } finally {
    await client.close();
  }
}

function seconds(value: number): string {
  return `${(value / 1_000).toFixed(1)} s`;
}
