/** One host and its registry's stores, on one fake clock, with words for what a test waits for. */
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Agent } from '../../src/agent/agent.ts';
import type { JoinToken } from '../../src/agent/join.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { component, scriptedDetector, startAgent, TestRegistry, until } from './fleet.ts';

/** What the agent may join with; the registry's admin token when absent. */
export type AgentToken = (registry: TestRegistry) => Promise<string>;

export interface World {
  readonly clock: FakeClock;
  readonly random: SeededRandom;
  readonly registry: TestRegistry;
  readonly dataDir: string;
  readonly dpkg: ReturnType<typeof scriptedDetector>;
  agent: Agent;
  /** What the agent joins with. */
  readonly token: JoinToken;
  /** Ends the agent; `crash`: without a word to the registry. */
  restart(how: { crash: boolean; between?: () => void }): Promise<void>;
}

export async function world(
  t: TestContext,
  { random = new SeededRandom(1), token }: { random?: SeededRandom; token?: AgentToken } = {},
): Promise<World> {
  const folder = tempFolder(t);
  const clock = new FakeClock();
  const registry = await TestRegistry.open(join(folder, 'registry'), clock, random);
  const dataDir = join(folder, 'agent');
  const dpkg = scriptedDetector('dpkg');
  dpkg.found = [component('bash', '5.2'), component('zlib', '1.3')];
  const given: { token?: () => Promise<string> } =
    token === undefined ? {} : { token: () => token(registry) };
  const start = () => startAgent({ dataDir, clock, random, registry, detectors: [dpkg], ...given });
  const made: World = {
    clock,
    random,
    registry,
    dataDir,
    dpkg,
    agent: await start(),
    token: given.token ?? registry.token,
    async restart({ crash, between }) {
      const line = registry.line;
      if (crash) registry.line = 'down';
      await closing(clock, made.agent);
      registry.line = line;
      between?.();
      made.agent = await start();
    },
  };
  t.after(async () => {
    registry.line = 'down';
    await closing(clock, made.agent);
    await registry.close();
  });
  return made;
}

/** Closing may wait for fake time (the farewell has 2 s). */
export async function closing(clock: FakeClock, agent: Agent): Promise<void> {
  let closed = false;
  const work = agent.close().finally(() => {
    closed = true;
  });
  await until(clock, 10_000, 'the agent closes', () => closed);
  await work;
}

export interface StatusDocument {
  readonly host: { id: string | null; name: string };
  readonly registry: {
    connected: boolean;
    joined: boolean;
    problem: string | null;
    nextBeat: string | null;
    credential: { generation: number; expiresAt: string } | null;
    clockAheadMs: number | null;
  };
  readonly outbox: { pending: number; dropped: number; epoch: number; ackedSeq: number };
  readonly inventory: { acknowledged: boolean; hash: string };
}

export async function connected({ clock, agent }: World): Promise<void> {
  await settles(clock, agent, 'connected', ({ registry }) => registry.connected);
}

/** Everything is in effect at the registry. */
export async function inSync({ clock, agent }: World): Promise<void> {
  await settles(
    clock,
    agent,
    'in sync',
    ({ registry, outbox, inventory }) => registry.connected && outbox.pending === 0 && inventory.acknowledged,
  );
}

export async function settles(
  clock: FakeClock,
  agent: Agent,
  what: string,
  condition: (status: StatusDocument) => boolean,
): Promise<void> {
  await until(clock, 300_000, what, async () =>
    condition((await agent.status()) as unknown as StatusDocument),
  );
}
