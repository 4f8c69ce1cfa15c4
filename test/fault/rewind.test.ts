/**
 * An older copy of a store put back without a word, as an image of a disk does it. The store itself cannot notice; the
 * other side has seen more of its log than there is. Then a new epoch begins, watchers are told, both sides agree again.
 */
import assert from 'node:assert/strict';
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Agent } from '../../src/agent/agent.ts';
import type { Detector } from '../../src/agent/detectors/detector.ts';
import { parsePosition } from '../../src/domain/event.ts';
import type { Component } from '../../src/domain/inventory.ts';
import type { Registry } from '../../src/registry/registry.ts';
import { type Booted, passTime, Stage } from '../helpers/boot.ts';
import type { FakeClock } from '../helpers/clock.ts';
import { follow } from '../helpers/follow.ts';
import { portOf } from '../helpers/process.ts';
import { uuidNo } from '../helpers/records.ts';

/** What is installed, to be changed by the test. */
function shelf(...names: string[]): Detector & { put(...names: string[]): void } {
  let found: readonly Component[] = [];
  const put = (...list: string[]) => {
    found = list.map((name) => ({ name, version: '1.0', detector: 'shelf' }));
  };
  put(...names);
  return { name: 'shelf', everyMs: 60_000, detect: async () => found, put };
}

/** Keeps a copy of a closed store's database, or puts it back. */
function copyOf(folder: string) {
  const kept = join(folder, 'copy.db');
  const file = (dataDir: string) => join(dataDir, 'holdfast.db');
  return {
    take: (dataDir: string) => copyFileSync(file(dataDir), kept),
    putBack(dataDir: string) {
      for (const more of ['-wal', '-shm']) rmSync(`${file(dataDir)}${more}`, { force: true });
      copyFileSync(kept, file(dataDir));
    },
  };
}

async function put({ http }: Booted<unknown>, number: number, type: string, host = 'edge-1'): Promise<void> {
  const { status, text } = await http({
    method: 'PUT',
    path: `/v1/services/${uuidNo(number)}`,
    body: { type, host, ttl: '1w' },
  });
  assert(status === 200 || status === 201, text);
}

async function types({ http }: Booted<unknown>, query = ''): Promise<string[]> {
  return (await http({ path: `/v1/services${query}` })).json.items.map(({ type }: { type: string }) => type);
}

async function components({ http }: Booted<unknown>): Promise<string[]> {
  const { json } = await http({ path: '/v1/hosts/edge-1/components' });
  return json.items?.map(({ name }: { name: string }) => name) ?? [];
}

/** The end of a role's own log. */
async function positionOf({ http }: Booted<unknown>): Promise<{ epoch: number; revision: number }> {
  return parsePosition((await http({ path: '/v1/services?host=edge-1&limit=1' })).json.position);
}

/** Lets time pass until the registry knows of the agent what it should; the agent beats every ten seconds. */
async function agree(
  clock: FakeClock,
  registry: Booted<Registry>,
  agent: Booted<Agent>,
  want: { records: string[]; components: string[] },
): Promise<void> {
  const is = async () => JSON.stringify([await types(registry, '?host=edge-1'), await components(registry)]);
  for (
    let seconds = 0;
    seconds < 240 && (await is()) !== JSON.stringify([want.records, want.components]);
    seconds += 5
  ) {
    await passTime(clock, 5_000, [registry, agent]);
  }
  assert.deepEqual(
    [await types(registry, '?host=edge-1'), await components(registry)],
    [want.records, want.components],
  );
}

for (const { when, wrote } of [
  { when: 'behind what its host has seen', wrote: 0 },
  { when: 'written over again up to there', wrote: 12 },
]) {
  test(`a registry put back, ${when}: noticed by the next heartbeat, new epoch, reset, resynchronised`, async (t) => {
    const stage = Stage.open(t);
    const { clock } = stage;
    const [copy, installed] = [copyOf(stage.folder()), shelf('bash', 'zlib')];
    let registry = await stage.registry();
    const [dataDir, port] = [registry.dataDir, portOf(registry.url)];
    const agent = await stage.agent({ registry, name: 'edge-1', detectors: [installed] });
    await put(agent, 1, 'first');
    await put(registry, 10, 'elsewhere', 'other');
    await agree(clock, registry, agent, { records: ['first'], components: ['bash', 'zlib'] });

    await registry.close();
    copy.take(dataDir);
    registry = await stage.registry({ dataDir, port });
    // What the copy does not hold: a record here, and of the host a record, a component and beats that saw all this.
    await put(registry, 11, 'lost', 'other');
    await put(agent, 2, 'second');
    installed.put('bash', 'nginx');
    await agree(clock, registry, agent, { records: ['first', 'second'], components: ['bash', 'nginx'] });
    await passTime(clock, 30_000, [registry, agent]);
    const before = await positionOf(registry);
    const watch = await follow(registry.client, { onGap: 'end' });

    await registry.role.close();
    copy.putBack(dataDir);
    registry = await stage.registry({ dataDir, port });
    // Nobody has noticed yet: it goes on in the old epoch, and a restart alone is no rewind.
    assert.equal((await positionOf(registry)).epoch, before.epoch);
    for (let number = 0; number < wrote; number += 1)
      await put(registry, 100 + number, `new ${number}`, 'other');
    assert((await positionOf(registry)).revision >= before.revision === wrote > 0);

    await agree(clock, registry, agent, { records: ['first', 'second'], components: ['bash', 'nginx'] });
    const after = await positionOf(registry);
    assert(after.epoch > before.epoch, `epoch ${after.epoch} after ${before.epoch}`);
    await watch.until(({ updates }) => updates.some(({ kind }) => kind === 'reset'));
    await watch.stop();
    // What happened stands in the log, where whoever follows the new life begins.
    const { items, position } = (await registry.http({ path: '/v1/services' })).json;
    assert(items.length > 0 && position.startsWith(`${after.epoch}.`));
    // What nobody else held is gone, what was written since is kept.
    const kept = Array.from({ length: wrote }, (_, number) => `new ${number}`);
    assert.deepEqual(await types(registry, '?host=other'), ['elsewhere', ...kept]);
    // And that is the end of it: no further epoch.
    await passTime(clock, 60_000, [registry, agent]);
    assert.equal((await positionOf(registry)).epoch, after.epoch);
    assert.equal(
      ((await registry.http({ path: '/v1/hosts/edge-1' })).json as { status: string }).status,
      'UP',
    );
  });
}

test('an agent put back: noticed by the answer to its next heartbeat, new epoch, reset, resynchronised', async (t) => {
  const stage = Stage.open(t);
  const { clock } = stage;
  const [copy, installed] = [copyOf(stage.folder()), shelf('bash', 'zlib')];
  const registry = await stage.registry();
  let agent = await stage.agent({ registry, name: 'edge-1', detectors: [installed] });
  const { dataDir } = agent;
  const start = () => stage.agent({ registry, name: 'edge-1', dataDir, detectors: [installed] });
  await put(agent, 1, 'first');
  await put(agent, 2, 'second');
  await agree(clock, registry, agent, { records: ['first', 'second'], components: ['bash', 'zlib'] });

  await agent.close();
  copy.take(dataDir);
  agent = await start();
  assert.equal((await agent.http({ method: 'DELETE', path: `/v1/services/${uuidNo(2)}` })).status, 204);
  await put(agent, 3, 'third');
  installed.put('bash', 'nginx');
  await agree(clock, registry, agent, { records: ['first', 'third'], components: ['bash', 'nginx'] });
  await passTime(clock, 30_000, [registry, agent]);
  const before = await positionOf(agent);
  await agent.close();

  copy.putBack(dataDir);
  agent = await start();
  // What it holds now is what is: the record that it had deleted is back, the one that it lost is not.
  await agree(clock, registry, agent, { records: ['first', 'second'], components: ['bash', 'nginx'] });
  const after = await positionOf(agent);
  assert(after.epoch > before.epoch, `epoch ${after.epoch} after ${before.epoch}`);
  const watch = await follow(agent.client, { since: `${before.epoch}.${before.revision}` });
  assert.deepEqual(watch.updates, [{ kind: 'reset', epoch: after.epoch }]);
  await watch.stop();
  // Reports go on from there.
  await put(agent, 4, 'fourth');
  await agree(clock, registry, agent, {
    records: ['first', 'second', 'fourth'],
    components: ['bash', 'nginx'],
  });
  await passTime(clock, 60_000, [registry, agent]);
  assert.equal((await positionOf(agent)).epoch, after.epoch);
});
