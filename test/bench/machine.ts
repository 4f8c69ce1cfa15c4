/** What the figures were measured on and with. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import Database from 'better-sqlite3';
import { binary } from './bench.ts';
import { loadCore, pinned, serverCore, sleep } from './processes.ts';
import type { Tools } from './tools.ts';
import { connections } from './wrk.ts';

export async function describeMachine(about: {
  folder: string;
  tools: Tools;
  baseNode: string;
  options: { seconds: number; rounds: number; seed: number };
}): Promise<{ text: string; facts: Record<string, string> }> {
  const { folder, tools, baseNode, options } = about;
  const cores = cpus();
  const busyShare = await busyNow();
  const facts: Record<string, string> = {
    machine: `${cores.length} × ${cores[0]?.model.trim() ?? 'unknown'}, ${(totalmem() / 2 ** 30).toFixed(1)} GiB, ${percent(busyShare)} busy before`,
    system: `${type()} ${release()}, data on ${fileSystemOf(folder)} (${folder})`,
    program: said(binary, ['version']).replaceAll(/\s*\n\s*/g, ', '),
    node: `${said(baseNode, ['--version'])} for the binary and for the bare server; client ${process.version}`,
    tools: `sqlite ${sqliteVersion()}, etcd ${tools.versions['etcd']}, wrk ${tools.versions['wrk']}`,
    method: pinned
      ? `servers on core ${serverCore}, load on core ${loadCore}; all in this run, in turn; loopback; medians`
      : 'ONE CORE: servers and load share it, ratios say little; loopback; medians',
    sizes: `${options.rounds} rounds of ${options.seconds} s for each side, wrk -t1 -c${connections}, seed ${options.seed}`,
  };
  if (busyShare > busyShareMax) {
    facts['warning'] =
      `something else takes ${percent(busyShare)} of the machine: rates are too low, latencies too high; trust ratios`;
  }
  for (const why of tools.missing) facts['missing'] = [facts['missing'], why].filter(Boolean).join('; ');
  const width = Math.max(...Object.keys(facts).map((name) => name.length));
  const text = Object.entries(facts)
    .map(([name, value]) => `${name.padEnd(width)}  ${value}`)
    .join('\n');
  return { text, facts };
}

function said(file: string, args: string[]): string {
  return execFileSync(file, args, { encoding: 'utf8' }).trim();
}

/** The addon that the binary carries. */
function sqliteVersion(): string {
  const db = new Database(':memory:');
  try {
    return String(db.prepare('select sqlite_version()').pluck().get());
  } finally {
    db.close();
  }
}

function fileSystemOf(folder: string): string {
  return execFileSync('stat', ['-f', '-c', '%T', folder], { encoding: 'utf8' }).trim();
}

/** Above this, figures are not those of the machine. */
const busyShareMax = 0.05;
const busySampleMs = 1_000;

/**
 * How much of all cores was not idle in the last second. The load average is no use here: it still tells of the build
 * before the bench a minute later, and nothing yet of what has just begun.
 */
async function busyNow(): Promise<number> {
  const before = coreTimes();
  await sleep(busySampleMs);
  const after = coreTimes();
  return 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all);
}

function coreTimes(): { idle: number; all: number } {
  const [, ...fields] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').split(/\s+/);
  // user nice system idle iowait irq softirq steal; guest times are in user already.
  const times = fields.slice(0, 8).map(Number);
  return { idle: (times[3] ?? 0) + (times[4] ?? 0), all: times.reduce((sum, time) => sum + time, 0) };
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
