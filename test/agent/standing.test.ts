import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { systemCaller } from '../../src/domain/access.ts';
import { credentialOfferMs, hostCredentialLifeMs } from '../../src/domain/token.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { startAgent, until } from './fleet.ts';
import { closing, connected, inSync, type StatusDocument, settles, type World, world } from './world.ts';

const dayMs = 86_400_000;
const nothing = () => undefined;

async function status({ agent }: World): Promise<StatusDocument['registry']> {
  return ((await agent.status()) as unknown as StatusDocument).registry;
}

async function generation(w: World): Promise<number> {
  return (await status(w)).credential?.generation ?? 0;
}

async function renewed(w: World, to: number): Promise<void> {
  await settles(
    w.clock,
    w.agent,
    `generation ${to}`,
    // While it is due, each one is followed by another.
    ({ registry }) => (registry.credential?.generation ?? 0) >= to,
  );
}

function credentialsOf({ registry, dataDir }: World): string[] {
  return ['credential', 'credential.next']
    .filter((name) => existsSync(join(dataDir, name)))
    .filter((name) => {
      const { credential } = JSON.parse(readFileSync(join(dataDir, name), 'utf8'));
      try {
        return registry.stores.access.authenticate(credential).hostId !== undefined;
      } catch {
        return false;
      }
    });
}

/** A member that joined with a join token of its own. */
async function member(t: TestContext, more: { uses?: number } = {}): Promise<World> {
  let token: Promise<string> | undefined;
  const w = await world(t, { token: (registry) => (token ??= registry.joinToken(more.uses)) });
  await inSync(w);
  return w;
}

/** The next token that the agent finds is this one. */
async function memberWithTokens(t: TestContext): Promise<{ w: World; tokens: string[] }> {
  const tokens: string[] = [];
  const w = await world(t, {
    token: async (registry) => {
      if (tokens.length === 0) tokens.push(await registry.joinToken());
      return tokens.at(-1) ?? '';
    },
  });
  await inSync(w);
  return { w, tokens };
}

suite('a credential', () => {
  test('G5: is renewed at two thirds of its life, and the old one ends with the first beat of the new one', async (t) => {
    const w = await member(t);
    w.clock.stall(hostCredentialLifeMs * 0.6);
    await connected(w);
    await w.clock.advance(60_000);
    assert.equal(await generation(w), 1, 'not before');
    w.clock.stall(hostCredentialLifeMs * 0.16);
    await renewed(w, 2);
    assert.deepEqual(credentialsOf(w), ['credential']);
    assert.equal(existsSync(join(w.dataDir, 'credential.next')), false);
    for (let to = 3; to < 6; to += 1) {
      w.clock.stall(hostCredentialLifeMs * 0.76);
      await renewed(w, to);
    }
    await inSync(w);
    assert.equal((await w.registry.stores.hosts.get('edge-1')).status, 'UP');
  });

  test('B3: is renewed by the clock of the registry, whatever this machine makes of the time', async (t) => {
    for (const skewMs of [dayMs, -dayMs, -56 * 365 * dayMs]) {
      // One clock for both, so the registry's answers are what differs.
      const w = await member(t);
      const { clock, registry } = w;
      const honest = registry.told;
      registry.told = (answer) => honest({ ...answer, nowMs: answer.nowMs - skewMs });
      await clock.advance(20_000);
      assert.ok(Math.abs(((await status(w)).clockAheadMs ?? 0) - skewMs) <= 1, 'the skew is shown');
      // By its own clock it would be long over, or far away; by the registry's a credential has a day from now.
      const before = await generation(w);
      await clock.advance(60_000);
      const due = skewMs < 0;
      if (due) await renewed(w, before + 1);
      else assert.equal(await generation(w), before);
      await closing(clock, w.agent);
    }
  });

  test('that was offered and never tried is asked for again', async (t) => {
    const w = await member(t);
    w.registry.line = 'deaf';
    w.clock.stall(hostCredentialLifeMs * 0.76);
    await w.clock.advance(60_000);
    w.registry.line = 'up';
    await renewed(w, 2);
    await inSync(w);
  });

  test('G5: may end while the registry is away: the host comes back by its key, and loses no report', async (t) => {
    const w = await member(t);
    w.registry.line = 'down';
    await until(w.clock, 60_000, 'an outage', async () => !(await status(w)).connected);
    for (let day = 0; day < 30; day += 1) {
      w.clock.stall(dayMs);
      await w.agent.liveness.register(
        systemCaller,
        { type: `job-${day}`, ttlMs: 7 * dayMs },
        { takeover: false },
      );
      await w.clock.advance(60_000);
    }
    w.registry.line = 'up';
    await inSync(w);
    assert.equal(await generation(w), 2);
    assert.equal((await status(w)).problem, null);
    const { items } = await w.registry.stores.liveness.list({}, { limit: 100 });
    assert.equal(items.length, 30);
    assert.equal(((await w.agent.status()) as unknown as StatusDocument).outbox.dropped, 0);
  });

  test('is renewed by a host whose registry was put back to before the last renewals', async (t) => {
    const w = await member(t);
    const copy = join(tempFolder(t), 'copy');
    await w.registry.copy(copy);
    for (const to of [2, 3]) {
      w.clock.stall(hostCredentialLifeMs * 0.76);
      await renewed(w, to);
    }
    await w.registry.putBack(copy);
    await renewed(w, 4);
    await inSync(w);
  });

  for (const moment of ['before it is on disk', 'before it is tried', 'after it was tried'] as const) {
    test(`kill -9 during a renewal, ${moment}: the next start has one that opens`, async (t) => {
      const w = await member(t);
      const kept = join(tempFolder(t), 'kept');
      const save = () => cpSync(w.dataDir, kept, { recursive: true });
      const { hosts } = w.registry.stores;
      if (moment === 'before it is on disk') {
        // The offer is made, and nobody heard of it.
        w.registry.line = 'deaf';
        w.clock.stall(hostCredentialLifeMs * 0.76);
        await w.clock.advance(60_000);
        save();
      } else {
        w.registry.onRenewed = () => {
          if (moment === 'before it is tried') w.registry.refuseBeats = true;
          else w.registry.loseAnswers = true;
        };
        w.clock.stall(hostCredentialLifeMs * 0.76);
        await until(w.clock, 120_000, 'an offer', () => existsSync(join(w.dataDir, 'credential.next')));
        if (moment === 'after it was tried') await w.clock.advance(30_000);
        save();
      }
      assert.equal(existsSync(join(kept, 'credential.next')), moment !== 'before it is on disk');
      await w.restart({
        crash: true,
        between() {
          Object.assign(w.registry, {
            line: 'up',
            refuseBeats: false,
            loseAnswers: false,
            onRenewed: nothing,
          });
          for (const name of ['credential', 'credential.next']) {
            rmSync(join(w.dataDir, name), { force: true });
            if (existsSync(join(kept, name))) cpSync(join(kept, name), join(w.dataDir, name));
          }
        },
      });
      await inSync(w);
      await renewed(w, 2);
      assert.deepEqual(credentialsOf(w), ['credential']);
      assert.equal((await hosts.list({}, { limit: 10 })).items.length, 1);
    });
  }

  test('that was offered and not tried for hours gives way to the one before, or to the key', async (t) => {
    const w = await member(t);
    w.registry.onRenewed = () => {
      w.registry.refuseBeats = true;
    };
    w.clock.stall(hostCredentialLifeMs * 0.76);
    await until(w.clock, 120_000, 'an offer', () => existsSync(join(w.dataDir, 'credential.next')));
    w.registry.line = 'down';
    Object.assign(w.registry, { refuseBeats: false, onRenewed: nothing });
    w.clock.stall(2 * credentialOfferMs);
    w.registry.line = 'up';
    await renewed(w, 2);
    await inSync(w);
  });
});

suite('a host that the registry refuses', () => {
  test('that was revoked says so, asks seldom, and goes on by itself', async (t) => {
    const w = await member(t);
    const { hosts } = w.registry.stores;
    await hosts.revoke(systemCaller, 'edge-1');
    await settles(w.clock, w.agent, 'refused', ({ registry }) => /was revoked/.test(registry.problem ?? ''));
    const { problem, connected: isConnected } = await status(w);
    assert.match(problem ?? '', /holdfast agent --join-file/);
    assert.equal(isConnected, false);
    assert.equal(w.agent.health().checks['registry']?.status, 'degraded');
    assert.equal(w.agent.health().ready, true);
    const { beats } = w.registry.calls;
    const before = beats.length;
    await w.clock.advance(3_600_000);
    const asked = beats.length - before;
    assert.ok(asked >= 4 && asked <= 8, `${asked} in an hour`);
    await w.agent.liveness.register(systemCaller, { type: 'web', ttlMs: dayMs }, { takeover: false });
  });

  test('for days, because the wrong store lay there, comes back by its key when the right one does', async (t) => {
    const w = await member(t);
    const right = join(tempFolder(t), 'right');
    await w.registry.copy(right);
    await w.registry.stores.hosts.revoke(systemCaller, 'edge-1');
    await settles(w.clock, w.agent, 'refused', ({ registry }) => /was revoked/.test(registry.problem ?? ''));
    w.clock.stall(2 * dayMs);
    await w.clock.advance(700_000);
    await w.registry.putBack(right);
    await w.clock.advance(700_000);
    await renewed(w, 2);
    await inSync(w);
    assert.equal((await status(w)).problem, null);
  });

  test('that was revoked is let in again by another join token, as itself, and by no used one', async (t) => {
    const { w, tokens } = await memberWithTokens(t);
    const { hosts } = w.registry.stores;
    const { id } = await hosts.get('edge-1');
    await hosts.revoke(systemCaller, id);
    await settles(w.clock, w.agent, 'refused', ({ registry }) => /was revoked/.test(registry.problem ?? ''));
    await w.clock.advance(3_600_000);
    assert.equal((await status(w)).connected, false, 'the token that it had come with');
    tokens.push(await w.registry.joinToken());
    await w.clock.advance(700_000);
    await inSync(w);
    assert.equal((await hosts.get('edge-1')).id, id);
    assert.equal((await status(w)).problem, null);
  });

  test('is not let in again by the token of an admin', async (t) => {
    const w = await world(t);
    await inSync(w);
    await w.registry.stores.hosts.revoke(systemCaller, 'edge-1');
    await settles(w.clock, w.agent, 'refused', ({ registry }) => /was revoked/.test(registry.problem ?? ''));
    await w.restart({ crash: true });
    await w.clock.advance(1_300_000);
    assert.match((await status(w)).problem ?? '', /was revoked/);
  });

  test('G9: that is a copy is turned away, and joins as a host of its own when its token has a use left', async (t) => {
    for (const uses of [1, 2]) {
      const w = await member(t, { uses });
      const { hosts } = w.registry.stores;
      const { id } = await hosts.get('edge-1');
      // The disk is copied while the agent is down; the copy runs on a machine with another machine id.
      const copyDir = join(tempFolder(t), 'copy');
      await w.restart({ crash: true, between: () => cpSync(w.dataDir, copyDir, { recursive: true }) });
      const machineId = join(tempFolder(t), 'machine-id');
      writeFileSync(machineId, `${'c'.repeat(32)}\n`);
      const copy = await startAgent({
        dataDir: copyDir,
        clock: w.clock,
        random: new SeededRandom(77),
        registry: w.registry,
        token: w.token,
        machineId,
      });
      t.after(() => closing(w.clock, copy));
      await settles(w.clock, copy, 'turned away', ({ registry, host }) =>
        uses === 1 ? /join it anew/.test(registry.problem ?? '') : host.id !== id && registry.connected,
      );
      await inSync(w);
      assert.equal((await hosts.get(id)).conflict, 'clone');
      const { items } = await hosts.list({}, { limit: 10 });
      assert.equal(items.length, uses);
      const told = w.registry.stores.events.filter(({ type }) => type === 'host.cloned');
      assert.equal(told.length, 1);
      if (uses === 2) {
        assert.notEqual(
          readFileSync(join(copyDir, 'host.key'), 'utf8'),
          readFileSync(join(w.dataDir, 'host.key'), 'utf8'),
          'a key of its own',
        );
      }
    }
  });

  test('G9: that nobody can tell from its copy says so, sends nothing, and goes on when the copy joins as another host', async (t) => {
    const { w, tokens } = await memberWithTokens(t);
    const { hosts } = w.registry.stores;
    const { id } = await hosts.get('edge-1');
    const copyDir = join(tempFolder(t), 'copy');
    await w.restart({ crash: true, between: () => cpSync(w.dataDir, copyDir, { recursive: true }) });
    const copyTokens = [...tokens];
    const copy = await startAgent({
      dataDir: copyDir,
      clock: w.clock,
      random: new SeededRandom(77),
      registry: w.registry,
      token: async () => copyTokens.at(-1) ?? '',
    });
    t.after(() => closing(w.clock, copy));
    for (const agent of [w.agent, copy]) {
      await settles(w.clock, agent, 'contested', ({ registry }) =>
        /Another machine claims to be this host too/.test(registry.problem ?? ''),
      );
    }
    const { checkIns, batches } = w.registry.calls;
    const before = [checkIns.length, batches.length];
    await w.agent.liveness.register(systemCaller, { type: 'web', ttlMs: dayMs }, { takeover: false });
    await w.clock.advance(120_000);
    assert.deepEqual([checkIns.length, batches.length], before, 'nothing of either counts');

    copyTokens.push(await w.registry.joinToken());
    await settles(
      w.clock,
      copy,
      'another host',
      ({ registry, host }) => host.id !== id && registry.connected,
    );
    await inSync(w);
    assert.deepEqual([(await status(w)).problem, (await hosts.get(id)).conflict], [null, null]);
    assert.equal((await hosts.list({}, { limit: 10 })).items.length, 2);
  });

  test('G9: goes on at once when its copy is stopped, and is gone when both are', async (t) => {
    const { w } = await memberWithTokens(t);
    const { hosts } = w.registry.stores;
    const copyDir = join(tempFolder(t), 'copy');
    await w.restart({ crash: true, between: () => cpSync(w.dataDir, copyDir, { recursive: true }) });
    const { clock, registry } = w;
    const copy = await startAgent({ dataDir: copyDir, clock, random: new SeededRandom(77), registry });
    await until(clock, 60_000, 'a clone', async () => (await hosts.get('edge-1')).conflict === 'clone');
    await closing(clock, copy);
    assert.deepEqual(
      [(await hosts.get('edge-1')).status, (await hosts.get('edge-1')).conflict],
      ['UP', null],
      'one is left, and it is the host',
    );
    await inSync(w);
    await w.restart({ crash: false });
    await inSync(w);
    assert.equal((await hosts.get('edge-1')).conflict, null);
  });

  test('whose folder was put back to before a renewal says that it has to join anew', async (t) => {
    const w = await member(t);
    const kept = join(tempFolder(t), 'kept');
    cpSync(join(w.dataDir, 'credential'), kept);
    w.clock.stall(hostCredentialLifeMs * 0.76);
    await renewed(w, 2);
    await w.restart({ crash: true, between: () => renameSync(kept, join(w.dataDir, 'credential')) });
    await settles(w.clock, w.agent, 'refused', ({ registry }) => /put back/.test(registry.problem ?? ''));
    assert.match((await status(w)).problem ?? '', /--join-file/);
  });
});

test('RegistryTime goes on by the monotonic clock, also when this machine is set', async () => {
  const { RegistryTime } = await import('../../src/agent/registry-time.ts');
  const clock = new FakeClock();
  const time = new RegistryTime(clock);
  assert.deepEqual([time.now(), time.skewMs], [null, null]);
  time.note(1_000_000, 200);
  assert.equal(time.now(), 1_000_100);
  assert.equal(time.skewMs, clock.now() - 1_000_100);
  clock.stall(5_000);
  clock.step(-dayMs);
  assert.equal(time.now(), 1_005_100);
});
