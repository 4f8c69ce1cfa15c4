import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { suite, type TestContext, test } from 'node:test';
import { connectRegistry } from '../../src/agent/peer.ts';
import { reportOfAll } from '../../src/agent/reports.ts';
import { systemCaller } from '../../src/domain/access.ts';
import type { ServiceRecord } from '../../src/domain/liveness.ts';
import { fakeServer, json } from '../client/fake-server.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { hostId, startServer, tokenOf } from '../http/fakes.ts';

const id = '00000000-0000-7000-8000-000000000001';
const checkIn = { base: null, hash: 'a'.repeat(64), components: [], removed: [] };
const batch = { epoch: 1, items: [] };
const beat = {
  bootId: 'b',
  startedAtMs: 0,
  seq: 1,
  answered: null,
  own: { epoch: 1, revision: 1, hash: 'a'.repeat(64) },
  seen: null,
  inventory: null,
  leaving: false,
  machineId: null,
};

/** A registry that answers when the test says. */
async function slow(t: TestContext) {
  const clock = new FakeClock();
  let asked: (response: ServerResponse) => void = () => undefined;
  const arrived = new Promise<ServerResponse>((resolve) => {
    asked = resolve;
  });
  const server = await fakeServer(t, (_asked, response) => asked(response));
  const peer = connectRegistry({ url: server.url, token: 'hf_x', clock, random: new SeededRandom(1) });
  t.after(() => peer.close());
  return { clock, peer, arrived };
}

suite('connectRegistry()', () => {
  test('waits for the answer to a check-in as long as its loop does', async (t) => {
    const { clock, peer, arrived } = await slow(t);
    const call = peer.hosts.checkIn(systemCaller, id, checkIn);
    const response = await arrived;
    await clock.advance(59_000);
    json(response, 200, { accepted: true, hash: null });
    assert.deepEqual(await call, { accepted: true, hash: null });
  });

  test('waits for the answer to reports as long as its loop does', async (t) => {
    const { clock, peer, arrived } = await slow(t);
    const call = peer.hosts.report(systemCaller, id, batch);
    const response = await arrived;
    await clock.advance(29_000);
    json(response, 200, { acked: 7 });
    assert.deepEqual(await call, { acked: 7 });
  });

  test('reports all records of a host in one, however many they are', async (t) => {
    const { url } = await startServer(t);
    const peer = connectRegistry({
      url,
      token: tokenOf('host'),
      clock: new FakeClock(),
      random: new SeededRandom(1),
    });
    t.after(() => peer.close());
    const record: ServiceRecord = {
      uuid: id,
      type: 't'.repeat(128),
      host: 'h'.repeat(128),
      region: null,
      status: 'UP',
      reason: 'set',
      ttlMs: 60_000,
      maintenance: null,
      heldBy: 'agent',
      version: 1,
      told: null,
    };
    const { type, body } = reportOfAll(
      Array.from({ length: 30_000 }, () => record),
      0,
    );
    const items = [{ seq: 1, type, atMs: 0, body }];
    assert.deepEqual(await peer.hosts.report(systemCaller, hostId, { epoch: 1, items }), { acked: 1 });
  });

  test('waits ten seconds for all others', async (t) => {
    const { clock, peer, arrived } = await slow(t);
    const call = assert.rejects(peer.hosts.beat(systemCaller, id, beat), { failure: 'timed-out' });
    await arrived;
    await clock.advance(10_000);
    await call;
  });
});
