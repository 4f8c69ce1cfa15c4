import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { systemCaller } from '../../src/domain/access.ts';
import type { TargetDocument } from '../../src/domain/target.ts';
import { checkSignature } from '../../src/domain/trust.ts';
import { settles, type World, world } from './world.ts';

const dayMs = 86_400_000;

interface Shown {
  readonly tag: string | null;
  readonly refused: { problem: string; detail: string } | null;
}

async function shown({ agent }: World): Promise<Shown> {
  const { registry } = (await agent.status()) as unknown as { registry: { target: Shown } };
  return registry.target;
}

async function member(t: TestContext): Promise<World> {
  let token: Promise<string> | undefined;
  const w = await world(t, { token: (registry) => (token ??= registry.joinToken()) });
  await holds(w, ({ tag }) => tag !== null);
  return w;
}

async function holds(w: World, condition: (shown: Shown) => boolean): Promise<void> {
  await settles(w.clock, w.agent, 'a target', ({ registry }) =>
    condition((registry as unknown as { target: Shown }).target),
  );
}

/** The change has arrived at the host. */
async function latest(w: World): Promise<void> {
  const { version } = w.registry.stores.hosts.targetParts('edge-1');
  const tag = `${version.epoch}.${version.serial}.${version.issuedAtMs}`;
  await holds(w, (one) => one.tag === tag && one.refused === null);
}

async function document(w: World): Promise<TargetDocument> {
  const { body } = await w.agent.targets.target(w.agent.hostName());
  return JSON.parse(body) as TargetDocument;
}

const relabel = (w: World, value: string) =>
  w.registry.stores.hosts.change(systemCaller, 'edge-1', { labels: { env: value } }, null);

suite('a target', () => {
  test('is fetched when another one is told, and kept with the bytes that were signed', async (t) => {
    const w = await member(t);
    const first = await shown(w);
    await relabel(w, 'prod');
    await latest(w);
    assert.notEqual((await shown(w)).tag, first.tag);
    const { body, signature } = await w.agent.targets.target('EDGE-1');
    assert.equal(checkSignature(Buffer.from(body), signature, w.registry.trust.trust().keys), null);
    assert.deepEqual((await document(w)).settings.labels, { env: 'prod' });
    await assert.rejects(w.agent.targets.target('edge-2'), { code: 'not-found' });
    await w.restart({ crash: true });
    assert.deepEqual(await w.agent.targets.target('edge-1'), { body, signature, tag: (await shown(w)).tag });
  });

  test('gives the host its name, and its records move along', async (t) => {
    const w = await member(t);
    const record = { type: 'web', ttlMs: 7 * dayMs };
    const { uuid } = await w.agent.liveness.register(systemCaller, record, { takeover: false });
    await w.registry.stores.hosts.change(systemCaller, 'edge-1', { name: 'shop-7' }, null);
    await settles(w.clock, w.agent, 'another name', ({ host }) => host.name === 'shop-7');
    assert.equal((await w.agent.liveness.get(uuid)).host, 'shop-7');
    await w.restart({ crash: true });
    assert.equal(w.agent.hostName(), 'shop-7');
  });

  test('is renewed every day while nothing changes', async (t) => {
    const w = await member(t);
    const { tag } = await shown(w);
    w.clock.stall(dayMs);
    await holds(w, (one) => one.tag !== tag);
    assert.equal((await shown(w)).refused, null);
  });

  for (const [problem, spoil] of [
    ['unsigned', (signed) => ({ ...signed, signature: null })],
    ['bad-signature', ({ body, signature }) => ({ body: body.replace('"env"', '"enw"'), signature })],
    [
      'unknown-key',
      ({ body, signature }) => ({ body, signature: `sha256:${'0'.repeat(64)} ${signature?.split(' ')[1]}` }),
    ],
  ] as [string, World['registry']['served']][]) {
    test(`that is ${problem} changes nothing, is shown, and is asked for again`, async (t) => {
      const w = await member(t);
      const { registry, clock } = w;
      const { tag } = await shown(w);
      let asked = 0;
      registry.served = (signed) => {
        asked += 1;
        return spoil(signed);
      };
      await relabel(w, 'prod');
      await holds(w, ({ refused }) => refused?.problem === problem);
      assert.equal((await shown(w)).tag, tag);
      assert.deepEqual((await document(w)).settings.labels, {});
      assert.equal(w.agent.health().checks['registry']?.status, 'degraded');
      assert.match(w.agent.health().checks['registry']?.detail ?? '', /Cannot accept the target/);
      const before = asked;
      await clock.advance(600_000);
      assert.ok(asked - before >= 8 && asked - before <= 11, `${asked - before} times in ten minutes`);
      registry.served = (signed) => signed;
      await latest(w);
      assert.equal(w.agent.health().checks['registry']?.status, 'ok');
    });
  }

  test('G10: that was captured and is sent again is refused as older', async (t) => {
    const w = await member(t);
    const { registry } = w;
    let captured: Parameters<World['registry']['served']>[0] | undefined;
    registry.served = (signed) => {
      captured ??= signed;
      return signed;
    };
    await relabel(w, 'one');
    await latest(w);
    await relabel(w, 'two');
    await latest(w);
    registry.served = (signed) => captured ?? signed;
    await relabel(w, 'three');
    await holds(w, ({ refused }) => refused?.problem === 'older');
    assert.deepEqual((await document(w)).settings.labels, { env: 'two' });
  });

  test('G10: of another host, or of last week, is refused', async (t) => {
    const w = await member(t);
    const { registry } = w;
    const other = { id: '0190a1b2-0000-7000-8000-00000000000b', name: 'x', region: null, labels: {} };
    const { targetDocument } = await import('../../src/domain/target.ts');
    const sign = (host: typeof other, issuedAtMs: number) => {
      const version = { epoch: w.clock.now() * 2, serial: 99, issuedAtMs };
      const body = JSON.stringify(targetDocument(host, registry.trust.trust(), version));
      return { body, signature: registry.trust.sign(body) };
    };
    registry.served = () => sign(other, w.clock.now());
    await relabel(w, 'one');
    await holds(w, ({ refused }) => refused?.problem === 'other-host');
    const { id } = await registry.stores.hosts.get('edge-1');
    registry.served = () => sign({ ...other, id }, w.clock.now() - 9 * dayMs);
    await relabel(w, 'two');
    await holds(w, ({ refused }) => refused?.problem === 'expired');
  });

  test('G7: the signing key is followed while the host is there, and after one rotation while it was not', async (t) => {
    const w = await member(t);
    const { registry } = w;
    for (let turn = 0; turn < 3; turn += 1) {
      registry.trust.rotate();
      await latest(w);
      assert.deepEqual((await document(w)).settings.trust.keys, registry.trust.trust().keys);
    }
    registry.line = 'down';
    await w.clock.advance(30_000);
    registry.trust.rotate();
    registry.line = 'up';
    await latest(w);
    registry.line = 'down';
    await w.clock.advance(30_000);
    registry.trust.rotate();
    registry.trust.rotate();
    registry.line = 'up';
    await holds(w, ({ refused }) => refused?.problem === 'unknown-key');
    assert.match((await shown(w)).refused?.detail ?? '', /join this host anew/);
  });

  test('is not given to a host that two machines claim to be, and comes again', async (t) => {
    const w = await member(t);
    const { registry, clock } = w;
    const { id } = await registry.stores.hosts.get('edge-1');
    const caller = { role: 'host', subject: 'host:edge-1', hostId: id } as const;
    const { machineId = '' } = registry.calls.beats.at(-1)?.beat ?? {};
    const last = registry.calls.beats.at(-1)?.beat;
    assert(last !== undefined);
    for (let seq = 1; seq <= 4; seq += 1) {
      await registry.stores.hosts.beat(caller, id, {
        ...last,
        bootId: 'copy',
        seq,
        machineId,
        answered: null,
      });
      await clock.advance(12_000);
    }
    await settles(clock, w.agent, 'a conflict', () => registry.calls.beats.at(-1)?.answer?.target === null);
    await relabel(w, 'prod');
    await clock.advance(60_000);
    assert.equal((await shown(w)).refused?.problem, 'withheld');
    assert.match(w.agent.health().checks['registry']?.detail ?? '', /nother machine claims/);
    assert.deepEqual((await document(w)).settings.labels, {});
    await clock.advance(700_000);
    await latest(w);
  });
});
