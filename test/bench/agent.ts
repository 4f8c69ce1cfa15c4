/** What an agent costs a host: how long it takes to start, and what it takes while nothing happens. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import {
  type Bench,
  type BenchGroup,
  baseNode,
  binary,
  newFolder,
  ownEnv,
  startBare,
  startRegistry,
} from './bench.ts';
import { cpuSecondsExact, memoryOf, sleep } from './processes.ts';
import { median, mib, ms, type Row, row } from './table.ts';

const starts = 7;
const idleMs = 20_000;

export const agentStart: BenchGroup = {
  name: 'agent-start',
  async run(bench) {
    const [warm, warmBare, cold, coldBare, first]: number[][] = [[], [], [], [], []];
    const dataDir = await newFolder(bench, 'agent');
    // The first start of all writes the addon and the database; it counts in none of the rows but its own.
    bench.say(`${starts} warm starts`);
    for (let run = -1; run < starts; run += 1) {
      const [agentMs, bareMs] = [await startAgent(bench, dataDir), await startNode(bench)];
      if (run < 0) continue;
      warm?.push(agentMs);
      warmBare?.push(bareMs);
    }
    bench.say(`${starts} first starts`);
    for (let run = 0; run < starts; run += 1) {
      first?.push(
        await startAgent(bench, await newFolder(bench, 'agent'), {
          XDG_CACHE_HOME: await newFolder(bench, 'cache'),
        }),
      );
    }
    bench.say(`${starts} cold starts`);
    for (let run = 0; run < starts; run += 1) {
      evict(binary, join(dataDir, 'holdfast.db'));
      cold?.push(await startAgent(bench, dataDir));
      evict(baseNode);
      coldBare?.push(await startNode(bench));
    }
    const rows: Row[] = [];
    for (const [work, agent, bare] of [
      ['agent start → ready, warm', warm, warmBare],
      ['agent start → ready, cold', cold, coldBare],
      ['agent, very first start', first, warmBare],
    ] as const) {
      const [ours, base] = [median(agent ?? []), median(bare ?? [])];
      const reached = ours <= 6 * base && ours <= 300;
      rows.push(
        row({
          work,
          ours: ms(ours),
          beside: `node -e 0 ${ms(base)}`,
          ratio: ours / base,
          reach: '≤ 6 ×, ≤ 300 ms',
          met: reached,
        }),
      );
    }
    const list = (values: readonly number[] | undefined) =>
      (values ?? []).map((value) => value.toFixed(0)).join(' ');
    return {
      title: 'Agent start: spawn → its ready line on stdout (database open, sockets bound)',
      rows,
      notes: [
        `Warm: ${list(warm)} ms beside ${list(warmBare)}; cold: ${list(cold)} beside ${list(coldBare)}; first: ${list(first)}.`,
        'Cold: the binary (or node) and the database are dropped from the page cache before. First: new data directory and new cache, so it makes its database and unpacks SQLite. node: spawn → it writes a word, the binary’s own base.',
      ],
    };
  },
};

export const agentIdle: BenchGroup = {
  name: 'agent-idle',
  async run(bench) {
    // What building has left in the page cache as large folios would be mapped around each fault and counted as ours.
    evict(binary, baseNode);
    const registry = await startRegistry(bench);
    const dataDir = await newFolder(bench, 'agent');
    const token = join(registry.dataDir, 'admin.token');
    const agent = spawnAgent(bench, dataDir, ['--registry', registry.url, '--token-file', token]);
    await agent.ready(/"ready":"agent"/);
    const bare = await startBare(bench);
    bench.say(`settling for ${idleMs / 1_000} s, then measuring for as long`);
    await sleep(idleMs);
    const pids = [agent.pid, bare.server.pid, registry.server.pid];
    const before = pids.map(cpuSecondsExact);
    await sleep(idleMs);
    const cores = pids.map((pid, index) => ((cpuSecondsExact(pid) - (before[index] ?? 0)) * 1_000) / idleMs);
    const [ours, base, central] = [
      memoryOf(agent.pid),
      memoryOf(bare.server.pid),
      memoryOf(registry.server.pid),
    ];
    for (const server of [agent, bare.server, registry.server]) await server.stop();
    const percent = (value: number | undefined) => `${((value ?? 0) * 100).toFixed(2)} %`;
    const [agentCore = 0, bareCore] = cores;
    const parts = (memory: typeof ours) =>
      `${mib(memory.rssKib)} = ${mib(memory.anonKib)} own + ${mib(memory.fileKib)} of files; PSS ${mib(memory.pssKib)}`;
    return {
      title: `Agent idle, joined, after ${idleMs / 1_000} s (its registry beside it)`,
      rows: [
        row({
          work: 'agent idle, RSS',
          ours: mib(ours.rssKib),
          beside: `bare HTTP ${mib(base.rssKib)}`,
          ratio: ours.rssKib / base.rssKib,
          reach: '≤ 1.6 ×',
          met: ours.rssKib <= 1.6 * base.rssKib,
        }),
        row({
          work: 'agent idle, PSS',
          ours: mib(ours.pssKib),
          beside: `bare HTTP ${mib(base.pssKib)}`,
          ratio: ours.pssKib / base.pssKib,
          reach: '',
          met: null,
        }),
        row({
          work: `agent idle, CPU over ${idleMs / 1_000} s`,
          ours: percent(agentCore),
          beside: `bare HTTP ${percent(bareCore)}`,
          reach: '≤ 0.2 %',
          met: agentCore <= 0.002,
        }),
      ],
      notes: [
        `Agent ${parts(ours)}. Bare ${parts(base)}. The registry with one host: ${parts(central)}, CPU ${percent(cores[2])}.`,
        'Two beats and eighty looks for lapses fall into the time. CPU from /proc/PID/task/*/schedstat.',
      ],
    };
  },
};

function spawnAgent(bench: Bench, dataDir: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const all = [
    'agent',
    '--data-dir',
    dataDir,
    '--socket',
    dataDir,
    '--listen',
    '127.0.0.1:0',
    '--log-level',
    'error',
    ...args,
  ];
  return bench.processes.server(binary, all, { env: { ...ownEnv(bench), ...env } });
}

async function startAgent(bench: Bench, dataDir: string, env: NodeJS.ProcessEnv = {}): Promise<number> {
  const startedMs = performance.now();
  const agent = spawnAgent(bench, dataDir, ['--registry', 'none'], env);
  await agent.ready(/"ready":"agent"/);
  const tookMs = performance.now() - startedMs;
  await agent.stop();
  return tookMs;
}

/** Spawn → it has told that it runs; ending it would count its teardown too. */
async function startNode(bench: Bench): Promise<number> {
  const startedMs = performance.now();
  const node = bench.processes.server(baseNode, ['-e', 'process.stdout.write("ready")'], {
    env: ownEnv(bench),
  });
  await node.ready(/ready/);
  const tookMs = performance.now() - startedMs;
  await node.stop();
  return tookMs;
}

/** Drops clean pages of a file from the page cache (posix_fadvise DONTNEED); no rights needed. */
function evict(...files: string[]): void {
  execFileSync('sync');
  for (const file of files)
    execFileSync('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc', 'count=0'], { stdio: 'ignore' });
}
