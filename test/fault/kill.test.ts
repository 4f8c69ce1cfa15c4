/**
 * kill -9 of a registry and of its agent in the middle of writes, fifty times each: what was acknowledged is there, no
 * revision is missing or came twice, the hash chain holds, and the registry knows of the agent what the agent knows.
 * Each round draws from a seed of its own.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bundleProgram } from '../helpers/bundle.ts';
import { readLogFile, verifyStore } from '../helpers/log-file.ts';
import {
  agentArguments,
  portOf,
  type Reached,
  type RunningProcess,
  reach,
  registryArguments,
  startProcess,
} from '../helpers/process.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';
import { stateAt } from '../helpers/watch-history.ts';
import { Writers } from '../helpers/writers.ts';

const rounds = 50;

test('kill -9 in the middle of writes loses nothing that was acknowledged, at registry and agent', {
  timeout: 300_000,
}, async (t) => {
  const { seed } = SeededRandom.fresh(t);
  const seeded = (number: number) => new SeededRandom((seed + number) >>> 0);
  const program = await bundleProgram(tempFolder(t));
  const start = (argv: string[]) => startProcess(t, argv, program);
  const [registryDir, agentDir] = [tempFolder(t), tempFolder(t)];
  let registry = start(registryArguments(registryDir));
  const centre = reach(t, await registry.ready('registry'));
  let agent = start(agentArguments(agentDir, { registry: centre }));
  const local = reach(t, await agent.ready('agent'));
  const restartAgent = () => start(agentArguments(agentDir, { registry: centre, port: portOf(local.url) }));
  const atCentre = new Writers({ ...centre, random: seeded(1_000), count: 3 });
  const atAgent = new Writers({
    ...local,
    random: seeded(2_000),
    count: 2,
    host: 'edge-1',
    firstRecord: 100,
  });

  const bootsMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const random = seeded(round);
    atCentre.resume();
    atAgent.resume();
    await Promise.all([atCentre.untilMore(random.integer(1, 40)), atAgent.untilMore(random.integer(1, 20))]);
    // Now the one dies first, now the other, or both at once.
    const [first, second] = random.uniform() < 0.5 ? [registry, agent] : [agent, registry];
    const firstDies = first.kill('SIGKILL');
    const between = random.pick([0, 0, 3, 10]);
    if (between > 0) await (first === registry ? atAgent : atCentre).untilMore(between);
    await Promise.all([firstDies, second.kill('SIGKILL')]);
    await Promise.all([atCentre.pause(), atAgent.pause()]);
    registry = start(registryArguments(registryDir, portOf(centre.url)));
    agent = restartAgent();
    bootsMs.push(...(await Promise.all([readyInMs(registry, 'registry'), readyInMs(agent, 'agent')])));
  }

  // An agent beats when it starts, so nobody waits for its back-off.
  await agent.kill('SIGKILL');
  agent = restartAgent();
  await agent.ready('agent');
  const known = JSON.stringify(await recordsOf(local));
  await until(
    async () => JSON.stringify(await recordsOf(centre)) === known,
    'the registry never knew of the agent what the agent knows',
    20_000,
  );
  await Promise.all([registry.kill('SIGKILL'), agent.kill('SIGKILL')]);
  await Promise.all([atCentre.close(), atAgent.close()]);

  for (const [role, dataDir, writers] of [
    ['registry', registryDir, atCentre],
    ['agent', agentDir, atAgent],
  ] as const) {
    const log = readLogFile(dataDir);
    const revisions = log.map(({ revision }) => revision);
    assert.deepEqual(writers.lost(log).slice(0, 5), [], role);
    assert.deepEqual(
      revisions,
      revisions.map((_, index) => index + 1),
      role,
    );
    assert.deepEqual(await verifyStore(role, dataDir), { ok: true, from: 0, to: log.length });
    t.diagnostic(`${role}: ${writers.acknowledged} acknowledged changes, ${log.length} revisions`);
  }
  assert.equal(stateAt(readLogFile(agentDir), Number.POSITIVE_INFINITY).size, JSON.parse(known).length);
  bootsMs.sort((a, b) => a - b);
  const [median = 0, longest = 0] = [bootsMs[bootsMs.length >> 1], bootsMs.at(-1)].map((ms) =>
    Math.round(ms ?? 0),
  );
  t.diagnostic(
    `${bootsMs.length} starts after a kill, two at a time: median ${median} ms, longest ${longest} ms`,
  );
});

async function readyInMs(running: RunningProcess, role: 'registry' | 'agent'): Promise<number> {
  const began = performance.now();
  await running.ready(role);
  return performance.now() - began;
}

/** The agent's records as a role answers them, without what each counts for itself. */
async function recordsOf({ http }: Reached): Promise<unknown[]> {
  const { json } = await http({ path: '/v1/services?host=edge-1&limit=1000' });
  return json.items.map(({ uuid, type, region, status, maintenance }: Record<string, unknown>) => ({
    uuid,
    type,
    region,
    status,
    maintenance,
  }));
}
