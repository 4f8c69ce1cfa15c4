/**
 * Watching: how long from the PUT of a durable change until a watcher has it, for one watcher and for a thousand,
 * beside etcd's watch over its HTTP gateway; and whether watchers that are cut off lose or repeat anything.
 */
import { WebSocket } from 'ws';
import { type Bench, type BenchGroup, longTtlS, type Registry, startRegistry, uuidOf } from './bench.ts';
import { base64, type Etcd, startEtcd } from './etcd.ts';
import { cpuSeconds, sleep } from './processes.ts';
import { clientFrame, httpBytes, MarkerScanner, openSocket, type RawSocket } from './sockets.ts';
import { type Group, median, ms, notMeasured, percentile, type Row, row } from './table.ts';

const manyWatchers = 1_000;
const eventsPerSecond = 100;
const singlePuts = 500;
/** Before anything is measured, of each side: V8 compiles what is hot only after some hundred times. */
const warmUpPuts = 1_500;
/** A server that does not keep up has this long to deliver the rest. */
const drainMs = 10_000;

export const watch: BenchGroup = { name: 'watch', run };

/** A store that can be watched. Puts are numbered; a watcher finds the number behind `marker`. */
interface Watchable {
  readonly name: string;
  readonly pid: number;
  readonly url: string;
  /** What stands before the number in each delivery. */
  readonly marker: string;
  /** What has to be written to a new connection so that it watches. */
  readonly begin: readonly Buffer[];
  put(n: number): Buffer;
  /** The number of the next put. */
  next(): Promise<number>;
}

async function run(bench: Bench): Promise<Group> {
  const registry = await startRegistry(bench);
  const etcd = await startEtcd(bench);
  const ours = await watchableRegistry(registry);
  const theirs = etcd === null ? null : await watchableEtcd(etcd);
  const both = theirs === null ? [ours] : [ours, theirs];
  const rows: Row[] = [];
  const notes: string[] = [];

  bench.say('one watcher');
  const single = new Map<string, Measured[]>();
  const many = new Map<string, Measured[]>();
  for (const side of both) await measure(side, { watchers: 1, count: warmUpPuts, paceMs: 0 });
  for (let round = 0; round < Math.min(3, bench.rounds); round += 1) {
    for (const side of both)
      add(single, side.name, await measure(side, { watchers: 1, count: singlePuts, paceMs: 0 }));
  }
  rows.push(rowOf('PUT → one watcher, p50', single, 50), informative('PUT → one watcher, p99', single, 99));

  bench.say(`${manyWatchers} watchers`);
  const count = eventsPerSecond * Math.min(5, bench.seconds + 2);
  for (let round = 0; round < Math.min(2, bench.rounds); round += 1) {
    for (const side of both)
      add(
        many,
        side.name,
        await measure(side, { watchers: manyWatchers, count, paceMs: 1_000 / eventsPerSecond }),
      );
  }
  rows.push(
    rowOf(`${manyWatchers.toLocaleString('en-US')} watchers, ${eventsPerSecond}/s, p99`, many, 99),
    informative('the same, p50', many, 50),
  );
  for (const [name, runs] of [...single, ...many]) {
    const [first] = runs;
    if (first === undefined) continue;
    const missing = runs.reduce((sum, one) => sum + one.missing, 0);
    const core = median(runs.map((one) => one.clientCore)) * 100;
    const server = median(runs.map((one) => one.serverCore)) * 100;
    notes.push(
      `${name}, ${first.watchers} watcher(s), ${runs.length} × ${first.count} puts: server ${server.toFixed(0)} % of its core, client ${core.toFixed(0)} %` +
        (missing > 0
          ? `; ${missing.toLocaleString('en-US')} deliveries were still missing ${drainMs / 1_000} s after the last put and count as that late`
          : ''),
    );
  }

  bench.say('resuming');
  const resumed = await resumeRun(bench, registry, ours);
  rows.push(
    row({
      work: `${resumed.watchers} watchers cut ${resumed.cuts} times`,
      ours: `${resumed.lost} lost, ${resumed.repeated} repeated`,
      beside: '',
      reach: 'none, none',
      met: resumed.lost === 0 && resumed.repeated === 0,
    }),
  );
  notes.push(
    'Clients are one Node process on the other core for both sides; each watcher has a connection of its own. Ours: WebSocket; etcd: the gateway’s streamed JSON, which costs it far more a delivery than gRPC would (6.5 µs, measured elsewhere). CPU is per delivery.',
  );
  await registry.server.stop();
  await etcd?.server.stop();
  return { title: 'Watching durable changes', rows, notes };
}

interface Measured {
  readonly watchers: number;
  readonly count: number;
  /** One latency for each delivery. */
  readonly latenciesMs: Float64Array;
  readonly missing: number;
  readonly cpuUs: number;
  readonly clientCore: number;
  readonly serverCore: number;
}

/** `paceMs` 0: the next put follows when the last one was seen; otherwise puts start at fixed times. */
async function measure(
  side: Watchable,
  { watchers, count, paceMs }: { watchers: number; count: number; paceMs: number },
): Promise<Measured> {
  const sockets: RawSocket[] = [];
  try {
    const base = await side.next();
    const sentMs = new Float64Array(count);
    const latenciesMs = new Float64Array(watchers * count).fill(Number.NaN);
    let delivered = 0;
    let wake: () => void = nothing;
    for (let n = 0; n < watchers; n += 1) {
      const found = (value: number) => {
        const index = value - base;
        if (index < 0 || index >= count) return;
        const at = n * count + index;
        if (!Number.isNaN(latenciesMs[at])) throw new Error(`${side.name}: delivered twice`);
        latenciesMs[at] = performance.now() - (sentMs[index] ?? 0);
        delivered += 1;
        wake();
      };
      const scanner = new MarkerScanner(side.marker, found);
      const socket = await openSocket(side.url, (bytes) => scanner.scan(bytes));
      sockets.push(socket);
      for (const bytes of side.begin) {
        socket.write(bytes);
        if (side.begin.length > 1) await sleep(0);
      }
    }
    // Nothing says for both sides that a watch has begun; a thousand have within a second.
    await sleep(watchers === 1 ? 200 : 1_500);
    const putter = await openSocket(side.url, nothing);
    sockets.push(putter);
    const [cpuBefore, ownBefore, startedMs] = [cpuSeconds(side.pid), process.cpuUsage(), performance.now()];
    for (let index = 0; index < count; index += 1) {
      if (paceMs > 0) await sleepUntil(startedMs + index * paceMs);
      const bytes = side.put(base + index);
      const seen = paceMs > 0 ? null : new Promise<void>((resolve) => (wake = resolve));
      sentMs[index] = performance.now();
      putter.write(bytes);
      if (seen !== null) await withinMs(seen, drainMs);
    }
    const deadlineMs = performance.now() + drainMs;
    while (delivered < watchers * count && performance.now() < deadlineMs) await sleep(20);
    const elapsedMs = performance.now() - startedMs;
    const own = process.cpuUsage(ownBefore);
    const cpu = cpuSeconds(side.pid) - cpuBefore;
    for (const [at, latency] of latenciesMs.entries()) {
      if (Number.isNaN(latency)) latenciesMs[at] = performance.now() - (sentMs[at % count] ?? 0);
    }
    return {
      watchers,
      count,
      latenciesMs,
      missing: watchers * count - delivered,
      cpuUs: (cpu * 1e6) / Math.max(1, delivered),
      clientCore: (own.user + own.system) / 1e3 / elapsedMs,
      serverCore: (cpu * 1e3) / elapsedMs,
    };
  } finally {
    for (const socket of sockets) socket.destroy();
    await sleep(200);
  }
}

async function watchableRegistry(registry: Registry): Promise<Watchable> {
  const { url, token } = registry;
  const authorization = `Bearer ${token}`;
  const uuid = uuidOf(1);
  await registry.call('PUT', `/v1/services/${uuid}`, {
    type: 'web',
    host: 'watched',
    status: 'UP',
    ttl: longTtlS,
    region: 'put-0',
  });
  const upgrade = httpBytes(
    'GET',
    url,
    '/v1/watch',
    {
      Authorization: authorization,
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      'Sec-WebSocket-Protocol': 'holdfast.v1',
    },
    '',
  );
  let next = 1;
  return {
    name: 'ours',
    url,
    pid: registry.server.pid,
    // Each put changes the status and the region, which carries the number.
    marker: '"region":"put-',
    begin: [upgrade, clientFrame(watchRequest('w', null))],
    put(n) {
      next = n + 1;
      const body = JSON.stringify({ status: n % 2 === 0 ? 'UP' : 'DOWN', region: `put-${n}` });
      return httpBytes(
        'PUT',
        url,
        `/v1/services/${uuid}`,
        { Authorization: authorization, 'Content-Type': 'application/json' },
        body,
      );
    },
    next: async () => next,
  };
}

async function watchableEtcd(etcd: Etcd): Promise<Watchable> {
  const { url, server } = etcd;
  const key = base64('/services/watched');
  const value = (n: number) =>
    JSON.stringify({
      type: 'web',
      host: 'watched',
      status: n % 2 === 0 ? 'UP' : 'DOWN',
      ttl: longTtlS,
      note: 'x'.repeat(150),
    });
  await etcd.call('/v3/kv/put', { key, value: base64(value(0)) });
  const headers = { 'Content-Type': 'application/json' };
  return {
    name: 'etcd',
    url,
    pid: server.pid,
    // Each put is one revision, so the next one's is known before.
    marker: '"mod_revision":"',
    begin: [httpBytes('POST', url, '/v3/watch', headers, JSON.stringify({ create_request: { key } }))],
    put: (n) =>
      httpBytes('POST', url, '/v3/kv/put', headers, JSON.stringify({ key, value: base64(value(n)) })),
    async next() {
      const { header } = await etcd.call<{ header: { revision: string } }>('/v3/kv/range', { key });
      return Number(header.revision) + 1;
    },
  };
}

function watchRequest(id: string, since: string | null): string {
  const body = { op: 'watch', select: { types: ['service.set'] }, since };
  return JSON.stringify({ v: 1, id, mimetype: 'application/json', body });
}

const resumingWatchers = 20;
const resumePuts = 600;
const resumePerSecond = 200;

/** Watchers that are cut off again and again, with a seed, and resume from the last position that they got. */
async function resumeRun(bench: Bench, registry: Registry, side: Watchable) {
  const random = seeded(bench.seed);
  const { store } = await registry.call<{ store: { position: string } }>('GET', '/v1/status');
  const first = await side.next();
  const last = first + resumePuts - 1;
  let [cuts, lost, repeated] = [0, 0, 0];
  let over = false;
  const watcher = async () => {
    let since = store.position;
    const seen = new Set<number>();
    let newest = first - 1;
    while (newest < last && !over) {
      const socket = new WebSocket(`${side.url.replace('http', 'ws')}/v1/watch`, 'holdfast.v1', {
        headers: { authorization: `Bearer ${registry.token}` },
      });
      socket.on('open', () => socket.send(watchRequest('r', since)));
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 30 + random() * 200);
        const done = () => {
          clearTimeout(timer);
          resolve();
        };
        socket.on('error', done);
        socket.on('close', done);
        socket.on('message', (data: Buffer) => {
          const { body } = JSON.parse(data.toString()) as {
            body: { kind: string; position?: string; events?: { body: { region: string } }[] };
          };
          for (const event of body.events ?? []) {
            const n = Number(event.body.region.slice('put-'.length));
            if (seen.has(n) || n < newest) repeated += 1;
            seen.add(n);
            newest = n;
          }
          if (body.position !== undefined) since = body.position;
          if (newest >= last) done();
        });
      });
      socket.removeAllListeners('message');
      socket.terminate();
      if (newest < last) cuts += 1;
    }
    for (let n = first; n <= last; n += 1) if (!seen.has(n)) lost += 1;
  };
  const watching = Promise.all(Array.from({ length: resumingWatchers }, watcher));
  const putter = await openSocket(side.url, nothing);
  const startedMs = performance.now();
  for (let n = first; n <= last; n += 1) {
    await sleepUntil(startedMs + ((n - first) * 1_000) / resumePerSecond);
    putter.write(side.put(n));
  }
  const timer = setTimeout(() => (over = true), drainMs);
  await watching;
  clearTimeout(timer);
  putter.destroy();
  return { watchers: resumingWatchers, cuts, lost, repeated };
}

function rowOf(work: string, runs: Map<string, Measured[]>, rank: number): Row {
  const [ours, etcd] = [summary(runs.get('ours') ?? [], rank), summary(runs.get('etcd') ?? [], rank)];
  if (ours === null) return notMeasured(work, '≤ 0.5 × etcd', 'no runs');
  if (etcd === null) return notMeasured(work, '≤ 0.5 × etcd', 'etcd: not there');
  return row({
    work,
    ours: ms(ours.ms),
    beside: `etcd ${ms(etcd.ms)}`,
    ratio: ours.ms / etcd.ms,
    reach: '≤ 0.5 ×',
    met: ours.ms <= 0.5 * etcd.ms,
    cpu: [ours.cpuUs, etcd.cpuUs],
  });
}

/** Printed for the reader; nothing is to be reached. */
function informative(work: string, runs: Map<string, Measured[]>, rank: number): Row {
  return { ...rowOf(work, runs, rank), reach: '', verdict: '' };
}

function summary(runs: readonly Measured[], rank: number): { ms: number; cpuUs: number } | null {
  if (runs.length === 0) return null;
  return {
    ms: median(runs.map((one) => percentile(one.latenciesMs, rank))),
    cpuUs: median(runs.map((one) => one.cpuUs)),
  };
}

function add(runs: Map<string, Measured[]>, name: string, measured: Measured): void {
  runs.set(name, [...(runs.get(name) ?? []), measured]);
}

/** Timers are up to a millisecond late; that shifts a put, not what is measured of it. */
async function sleepUntil(atMs: number): Promise<void> {
  const waitMs = atMs - performance.now();
  if (waitMs > 0) await sleep(waitMs);
}

async function withinMs(promise: Promise<void>, limitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`a put was not delivered within ${limitMs} ms`)), limitMs);
  });
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

function nothing(): void {
  // The answers to puts are not looked at: the watchers tell whether they arrived.
}

/** mulberry32: small, and the same everywhere. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
