/** Load by wrk: a C program, so that the client's core has room to spare. Its Lua only picks the next request. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from './bench.ts';
import { cpuSeconds } from './processes.ts';
import { median } from './table.ts';

export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly token?: string;
  /** Printable ASCII. `@SEQ@@@` in it becomes a number that counts up over the whole run. */
  readonly body?: unknown;
}

/** Connections of every run; enough to keep a server busy, few enough that the rate says something about latency. */
export const connections = 64;

/**
 * V8 compiles what is hot only after some ten thousand requests, on the server's own core. Counted in requests: in two
 * seconds of a busy machine there are too few, and what is measured then is the compiler (1.5 × the bare server's CPU a
 * heartbeat in the first rounds, 1.28 × in the later ones of the same run).
 */
const warmUpRequests = 60_000;
const warmUpSeconds = 2;
const warmUpRunsMax = 6;

/** One server in a comparison. */
export interface Side {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
  /** Called before each run; what the run sends, in passes: all of the first, then all of the second, … and again. */
  readonly requests: () => Promise<readonly (readonly Request[])[]>;
  /** Called after each run. Throws when what was asked for did not happen. */
  readonly check?: (run: Run) => Promise<void>;
}

export interface Run {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuUs: number;
}

/** Medians over all rounds. */
export interface Result extends Run {
  readonly name: string;
  readonly runs: readonly Run[];
}

/** Runs the sides in turn, A B C A B C …, after a warm-up each; the answer is in the order of `sides`. */
export async function compare(bench: Bench, sides: readonly Side[]): Promise<Result[]> {
  const runs = sides.map((): Run[] => []);
  for (const side of sides) await warmUp(bench, side);
  for (let round = 0; round < bench.rounds; round += 1) {
    for (const [index, side] of sides.entries()) runs[index]?.push(await load(bench, side, bench.seconds));
  }
  return sides.map(({ name }, index) => {
    const of = runs[index] ?? [];
    const by = (field: keyof Run) => median(of.map((run) => run[field]));
    return {
      name,
      runs: of,
      requests: by('requests'),
      perSecond: by('perSecond'),
      p50Ms: by('p50Ms'),
      p99Ms: by('p99Ms'),
      cpuUs: by('cpuUs'),
    };
  });
}

async function warmUp(bench: Bench, side: Side): Promise<void> {
  let requests = 0;
  for (let runs = 0; runs < warmUpRunsMax && requests < warmUpRequests; runs += 1)
    requests += (await load(bench, side, warmUpSeconds)).requests;
}

async function load(bench: Bench, side: Side, seconds: number): Promise<Run> {
  const script = join(bench.folder, 'requests.lua');
  await writeFile(script, luaScript(await side.requests()));
  const run = await runWrk(bench, { ...side, script, seconds });
  await side.check?.(run);
  return run;
}

/** One run of a script of its own; throws when any request was refused or broken. */
export async function runWrk(
  bench: Bench,
  options: { url: string; pid: number; script: string; seconds: number; name: string },
): Promise<Run> {
  const { url, pid, script, seconds, name } = options;
  if (bench.tools.wrk === null) throw new Error('wrk is missing');
  const before = cpuSeconds(pid);
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '-s', script, url];
  const output = await bench.processes.run(bench.tools.wrk, args, { timeoutMs: (seconds + 15) * 1_000 });
  const usedS = cpuSeconds(pid) - before;
  const line = /^RESULT (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`wrk said nothing of its result: ${output}`);
  const result = JSON.parse(line) as Record<
    'requests' | 'durationUs' | 'broken' | 'refused' | 'p50Us' | 'p99Us',
    number
  >;
  const { requests, durationUs, broken, refused } = result;
  if (broken + refused > 0 || requests === 0) {
    throw new Error(`${name}: ${refused} of ${requests} requests were refused, ${broken} broke off`);
  }
  return {
    requests,
    perSecond: requests / (durationUs / 1e6),
    p50Ms: result.p50Us / 1_000,
    p99Ms: result.p99Us / 1_000,
    cpuUs: (usedS * 1e6) / requests,
  };
}

/** Prints the result where `runWrk` looks for it. */
export const luaDone = `
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT {"requests":%d,"durationUs":%d,"broken":%d,"refused":%d,"p50Us":%d,"p99Us":%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99)))
end
`;

const placeholder = '@SEQ@@@';

function luaScript(passes: readonly (readonly Request[])[]): string {
  const counted = passes.some((pass) => pass.some(({ body }) => text(body).includes(placeholder)));
  const size = passes[0]?.length ?? 0;
  if (passes.some((pass) => pass.length !== size)) throw new Error('passes have the same length');
  // As text that Lua reads into a table once: JSON's quoting of printable ASCII is Lua's too.
  const lines = passes.flat().map(({ method, path, token, body }) => {
    const headers = [
      ...(token === undefined ? [] : [`["Authorization"]=${JSON.stringify(`Bearer ${token}`)}`]),
      ...(body === undefined ? [] : ['["Content-Type"]="application/json"']),
    ];
    return `  add(${JSON.stringify(method)}, ${JSON.stringify(path)}, {${headers.join(',')}}, ${body === undefined ? 'nil' : JSON.stringify(text(body))})`;
  });
  // LuaJIT takes 65,536 constants a function.
  const chunks = Array.from({ length: Math.ceil(lines.length / 500) }, (_, index) =>
    lines.slice(index * 500, (index + 1) * 500),
  );
  return `
local texts, tails, count, at, seq = {}, {}, 0, 0, 1000000
local function add(method, path, headers, body)
  count = count + 1
  local whole = wrk.format(method, path, headers, body)
  local from, to = string.find(whole, "${placeholder}", 1, true)
  if from then
    texts[count], tails[count] = string.sub(whole, 1, from - 1), string.sub(whole, to + 1)
  else
    texts[count] = whole
  end
end
function init(args)
${chunks.map((chunk) => `  (function()\n${chunk.join('\n')}\n  end)()`).join(';\n')}
end
function request()
  at = at % count + 1
${counted ? '  seq = seq + 1\n  return texts[at] .. string.format("%d", seq) .. tails[at]' : '  return texts[at]'}
end
${luaDone}`;
}

function text(body: unknown): string {
  // The placeholder stands for a number.
  return body === undefined ? '' : JSON.stringify(body).replace(`"${placeholder}"`, placeholder);
}
