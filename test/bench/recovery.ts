/** kill -9 in the middle of writes → the same store serves again. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BenchGroup, longTtlS, revisionOf, startRegistry, uuidOf } from './bench.ts';
import { freePort, sleep } from './processes.ts';
import { median, ms, row } from './table.ts';
import { luaDone, runWrk } from './wrk.ts';

const records = 20_000;
const revisions = 100_000;
const kills = 5;

export const recovery: BenchGroup = {
  name: 'recovery',
  async run(bench) {
    const port = await freePort();
    let registry = await startRegistry(bench, { port });
    const { dataDir, token, url } = registry;
    const script = join(bench.folder, 'fill.lua');
    bench.say(`filling the store: ${records} records, ${revisions} revisions`);
    const name = 'filling the store';
    for (let runs = 0; ; runs += 1) {
      // Each run goes on where the last one ended: a slow machine would never come to the last records.
      const filled = await revisionOf(registry);
      await writeFile(script, fillScript(token, filled));
      if (filled >= revisions) break;
      if (runs > 100) throw new Error(`the store did not fill: ${filled} revisions`);
      await runWrk(bench, { url, pid: registry.server.pid, script, seconds: 3, name });
    }
    const revision = await revisionOf(registry);
    const [serving, ready]: number[][] = [[], []];
    for (let run = 0; run < kills; run += 1) {
      bench.say(`kill -9, ${run + 1} of ${kills}`);
      // It breaks off when the server dies, as it should.
      const load = runWrk(bench, { url, pid: registry.server.pid, script, seconds: 1, name }).catch(
        () => null,
      );
      await sleep(700);
      const killedMs = performance.now();
      await registry.server.stop('SIGKILL');
      const gone = performance.now();
      registry = await startRegistry(bench, { dataDir, port });
      ready?.push(performance.now() - gone);
      const answer = await registry.call<{ known: boolean }>('GET', `/v1/is-up?uuid=${uuidOf(records - 1)}`);
      if (!answer.known) throw new Error('a record is gone after kill -9');
      serving?.push(performance.now() - killedMs);
      await load;
    }
    const lost = (await revisionOf(registry)) < revision;
    await registry.server.stop();
    const tookMs = median(serving ?? []);
    return {
      title: `Recovery: ${records.toLocaleString('en-US')} records, ${revision.toLocaleString('en-US')} revisions, killed while it writes`,
      rows: [
        row({
          work: 'kill -9 → is-up answered',
          ours: ms(tookMs),
          beside: '',
          reach: '≤ 300 ms',
          met: tookMs <= 300 && !lost,
        }),
        row({
          work: 'of that, spawn → ready',
          ours: ms(median(ready ?? [])),
          beside: '',
          reach: '',
          met: null,
        }),
      ],
      notes: [
        `${kills} kills: ${(serving ?? []).map((value) => value.toFixed(0)).join(', ')} ms. Spawned again at once: what a supervisor waits comes on top.`,
      ],
    };
  },
};

/** The first pass over all records registers them, each later one changes their status. */
function fillScript(token: string, start: number): string {
  return `
local n = ${start}
local headers = { ["Authorization"] = "Bearer ${token}", ["Content-Type"] = "application/json" }
math.randomseed(os.time())
local status = { "UP", "DOWN" }
local offset = math.random(0, 1)
function request()
  local record, pass = n % ${records}, math.floor(n / ${records})
  n = n + 1
  local body = string.format('{"type":"web","host":"host-%d","ttl":${longTtlS},"status":"%s","region":"r%d-%d"}', record, status[(pass + offset) % 2 + 1], pass, os.time() % 1000)
  return wrk.format("PUT", string.format("/v1/services/${uuidOf(0).slice(0, -12)}%012d", record), headers, body)
end
${luaDone}`;
}
