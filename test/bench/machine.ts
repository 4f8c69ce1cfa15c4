/** What the figures were measured on and with. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem, type } from 'node:os';
import Database from 'better-sqlite3';
import { binary } from './bench.ts';
import { loadCore, pinned, serverCore } from './processes.ts';
import type { Tools } from './tools.ts';
import { connections } from './wrk.ts';

export function describeMachine(about: {
  folder: string;
  tools: Tools;
  baseNode: string;
  options: { seconds: number; rounds: number; seed: number };
}): { text: string; facts: Record<string, string> } {
  const { folder, tools, baseNode, options } = about;
  const cores = cpus();
  const facts: Record<string, string> = {
    machine: `${cores.length} × ${cores[0]?.model.trim() ?? 'unknown'}, ${(totalmem() / 2 ** 30).toFixed(1)} GiB, load before ${loadBefore()}`,
    system: `${type()} ${release()}, data on ${fileSystemOf(folder)} (${folder})`,
    program: said(binary, ['version']).replaceAll(/\s*\n\s*/g, ', '),
    node: `${said(baseNode, ['--version'])} for the binary and for the bare server; client ${process.version}`,
    tools: `sqlite ${sqliteVersion()}, etcd ${tools.versions['etcd']}, wrk ${tools.versions['wrk']}`,
    method: pinned
      ? `servers on core ${serverCore}, load on core ${loadCore}; all in this run, in turn; loopback; medians`
      : 'ONE CORE: servers and load share it, ratios say little; loopback; medians',
    sizes: `${options.rounds} rounds of ${options.seconds} s for each side, wrk -t1 -c${connections}, seed ${options.seed}`,
  };
  if (Number(loadBefore()) > 0.5) {
    facts['warning'] =
      'the machine is busy with something else: rates are too low, latencies too high; trust ratios';
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

function loadBefore(): string {
  return readFileSync('/proc/loadavg', 'utf8').split(' ')[0] ?? '?';
}
