/**
 * `npm run bench`: what DESIGN §12 has to reach, measured side by side in one run on this machine.
 *
 *     node test/bench/main.ts [--only heartbeats,is-up] [--seconds 3] [--rounds 3] [--seed 7] [--hosts 20000] [--json FILE]
 *
 * The real binary runs as a process of its own on one core, the load generator has the other. Sides of a comparison
 * run in turn (A B C A B C …); what is printed are medians. Nothing here asserts: a slow machine fails no test.
 * `node test/bench/store.ts` measures the write queue alone, without HTTP.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { agentIdle, agentStart } from './agent.ts';
import { type Bench, type BenchGroup, baseNode, root } from './bench.ts';
import { binarySize } from './binary.ts';
import { durable } from './durable.ts';
import { heartbeats, heartbeatsTls } from './heartbeats.ts';
import { inventory } from './inventory.ts';
import { isUp } from './is-up.ts';
import { describeMachine } from './machine.ts';
import { offline } from './offline.ts';
import { Processes } from './processes.ts';
import { recovery } from './recovery.ts';
import { storm } from './storm.ts';
import { type Group, printGroup } from './table.ts';
import { findTools } from './tools.ts';
import { trust } from './trust.ts';
import { watch } from './watch.ts';

const groups: readonly BenchGroup[] = [
  heartbeats,
  heartbeatsTls,
  trust,
  isUp,
  durable,
  watch,
  agentStart,
  agentIdle,
  recovery,
  offline,
  storm,
  inventory,
  binarySize,
];

interface Options {
  readonly only: readonly string[];
  readonly seconds: number;
  readonly rounds: number;
  readonly seed: number;
  /** Of the inventory's fleet. */
  readonly hosts: number;
  readonly json: string | null;
}

const processes = new Processes();
const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
const cleanUp = () => {
  processes.killAll();
  rmSync(folder, { recursive: true, force: true });
};
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    cleanUp();
    process.exit(code);
  });
}
try {
  await main(readOptions());
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  cleanUp();
}

async function main(options: Options): Promise<void> {
  const startedMs = performance.now();
  const say = (text: string) => process.stderr.write(`bench: ${text}\n`);
  execFileSync(process.execPath, [join(root, 'build.mjs'), 'if-stale'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const tools = await findTools(say);
  const machine = await describeMachine({ folder, tools, baseNode, options });
  console.log(machine.text);
  processes.pinSelf();
  const { seconds, rounds, seed, hosts } = options;
  const bench: Bench = { folder, seconds, rounds, seed, hosts, tools, processes, say };
  const measured: (Group & { name: string })[] = [];
  for (const { name, run } of groups) {
    if (options.only.length > 0 && !options.only.includes(name)) continue;
    say(name);
    const group = await measure(name, () => run(bench));
    processes.killAll();
    console.log(printGroup(group));
    measured.push({ name, ...group });
  }
  const rows = measured.flatMap((group) => group.rows);
  const count = (verdict: string) => rows.filter((row) => row.verdict === verdict).length;
  const tookS = Math.round((performance.now() - startedMs) / 1_000);
  console.log(
    `\n${count('met')} met, ${count('not met')} not met, ${count('not measured')} not measured; ${tookS} s`,
  );
  if (options.json !== null) {
    await writeFile(
      options.json,
      `${JSON.stringify({ machine: machine.facts, options, groups: measured }, null, 2)}\n`,
    );
  }
}

/** A group that cannot be measured says why, and the others go on. */
async function measure(name: string, run: () => Promise<Group>): Promise<Group> {
  try {
    return await run();
  } catch (error) {
    process.exitCode = 1;
    return {
      title: name,
      rows: [{ work: name, ours: '-', beside: '', ratio: null, reach: '', verdict: 'not measured' }],
      notes: [`failed: ${(error as Error).message.slice(0, 500)}`],
    };
  }
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      seconds: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '3' },
      seed: { type: 'string', default: '7' },
      hosts: { type: 'string', default: '20000' },
      json: { type: 'string' },
    },
  });
  const only = values.only.split(',').filter((name) => name !== '');
  const known = groups.map(({ name }) => name);
  for (const name of only) {
    if (!known.includes(name))
      throw new Error(`Cannot measure "${name}": unknown, expected ${known.join(', ')}`);
  }
  return {
    only,
    seconds: whole('seconds'),
    rounds: whole('rounds'),
    seed: whole('seed'),
    hosts: whole('hosts'),
    json: values.json ?? null,
  };

  function whole(name: 'seconds' | 'rounds' | 'seed' | 'hosts'): number {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`Cannot use --${name} ${values[name]}: expected a whole number from 1`);
    return value;
  }
}
