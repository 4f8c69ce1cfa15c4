/** An hour without the registry at 10 events a second: what the agent kept arrives once, in order, and how fast. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Bench,
  type BenchGroup,
  binary,
  callJson,
  eachOf,
  longTtlS,
  newFolder,
  ownEnv,
  startRegistry,
} from './bench.ts';
import { freePort, sleep } from './processes.ts';
import { ms, row } from './table.ts';

const records = 100;
const reports = 36_000;
/** The agent's own back-off comes first. */
const patienceMs = 120_000;

export const offline: BenchGroup = {
  name: 'offline',
  async run(bench) {
    const port = await freePort();
    const before = await startRegistry(bench, { port });
    const { dataDir } = before;
    const agent = await startAgent(bench, before.url, join(dataDir, 'admin.token'));
    const uuids = Array.from(
      { length: records },
      (_, n) => `00000000-0000-7000-8000-${String(500_000 + n).padStart(12, '0')}`,
    );
    const put = (uuid: string, body: object) =>
      callJson(agent.url, agent.token, 'PUT', `/v1/services/${uuid}`, body);
    await eachOf(uuids, 16, (uuid, n) => put(uuid, { type: `job-${n}`, status: 'UP', ttl: longTtlS }));
    await settled(agent.status);
    const { store } = await before.call<{ store: { position: string } }>('GET', '/v1/status');
    await before.server.stop();

    bench.say(`${reports} changes while the registry is away`);
    const startedMs = performance.now();
    for (let pass = 0; pass < reports / records; pass += 1) {
      await eachOf(uuids, 32, (uuid) => put(uuid, { status: pass % 2 === 0 ? 'DOWN' : 'UP' }));
    }
    const writtenMs = performance.now() - startedMs;

    bench.say('the registry is back');
    const backMs = performance.now();
    const registry = await startRegistry(bench, { dataDir, port });
    const seen = await follow({ url: registry.url, token: registry.token }, store.position, uuids);
    await settled(agent.status);
    const ackedMs = performance.now();
    await agent.server.stop();
    await registry.server.stop();
    const replayMs = seen.lastMs - seen.firstMs;
    const exact = seen.count === reports && seen.wrong === 0;
    return {
      title: `An hour offline at 10 events/s: ${reports.toLocaleString('en-US')} reports through a real agent and registry`,
      rows: [
        row({
          work: 'replayed',
          ours: ms(replayMs),
          beside: `${Math.round((reports * 1_000) / replayMs).toLocaleString('en-US')} reports/s`,
          reach: '≤ 10 s',
          met: exact && replayMs <= 10_000,
        }),
        row({
          work: 'exactly once, in order',
          ours: `${seen.count.toLocaleString('en-US')} seen`,
          beside: `${seen.wrong} wrong`,
          reach: `${reports.toLocaleString('en-US')}, 0`,
          met: exact,
        }),
        row({
          work: 'registry back → all acked',
          ours: ms(ackedMs - backMs),
          beside: `first after ${ms(seen.firstMs - backMs)}`,
          reach: '',
          met: null,
        }),
      ],
      notes: [
        `The agent wrote them at ${Math.round((reports * 1_000) / writtenMs).toLocaleString('en-US')} a second (${ms(writtenMs)}). Replay: first to last event as a watcher of the registry sees them; before it come the registry's start and what is left of the agent's back-off.`,
        'Order: each record’s version and status follow on the one before.',
      ],
    };
  },
};

async function startAgent(bench: Bench, registryUrl: string, tokenFile: string) {
  const dataDir = await newFolder(bench, 'agent');
  const args = [
    'agent',
    '--data-dir',
    dataDir,
    '--socket',
    dataDir,
    '--listen',
    '127.0.0.1:0',
    '--registry',
    registryUrl,
    '--token-file',
    tokenFile,
    '--name',
    'offline',
    '--log-level',
    'error',
  ];
  const server = bench.processes.server(binary, args, { env: ownEnv(bench) });
  const [, url = ''] = await server.ready(/"ready":"agent","url":"([^"]+)"/);
  const token = (await readFile(join(dataDir, 'admin.token'), 'utf8')).trim();
  const status = () => callJson<AgentStatus>(url, token, 'GET', '/v1/status');
  return { server, url, token, status };
}

interface AgentStatus {
  readonly outbox: { readonly pending: number };
}

async function settled(status: () => Promise<AgentStatus>): Promise<void> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    const { outbox } = await status();
    if (outbox.pending === 0) return;
    if (performance.now() > deadlineMs) throw new Error(`the outbox is not empty: ${JSON.stringify(outbox)}`);
    await sleep(50);
  }
}

/** Reads the registry's events after `since` until all reports are there, and checks each record's chain. */
async function follow(registry: { url: string; token: string }, since: string, uuids: readonly string[]) {
  const last = new Map<string, { version: number; status: string }>(
    uuids.map((uuid) => [uuid, { version: 1, status: 'UP' }]),
  );
  const headers = { authorization: `Bearer ${registry.token}` };
  const response = await fetch(`${registry.url}/v1/events?since=${since}&types=service.set`, {
    headers,
    signal: AbortSignal.timeout(patienceMs),
  });
  if (!response.ok || response.body === null)
    throw new Error(`events: ${response.status} ${await response.text()}`);
  let [count, wrong, firstMs, lastMs] = [0, 0, 0, 0];
  let rest = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split('\n\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const data = /^data: (.*)$/m.exec(part)?.[1];
      if (data === undefined) continue;
      const { kind, events } = JSON.parse(data) as {
        kind: string;
        events?: { body: { uuid: string; version: number; status: string } }[];
      };
      if (kind !== 'events' && kind !== 'progress') throw new Error(`the watch ended: ${data.slice(0, 200)}`);
      for (const { body } of events ?? []) {
        const before = last.get(body.uuid);
        if (before === undefined) continue;
        if (count === 0) firstMs = performance.now();
        count += 1;
        if (body.version !== before.version + 1 || body.status === before.status) wrong += 1;
        last.set(body.uuid, { version: body.version, status: body.status });
      }
      lastMs = performance.now();
    }
    if (count >= reports) break;
  }
  return { count, wrong, firstMs, lastMs };
}
