/** G7 at size: ten thousand hosts follow their registry's keys through rotations, each at its own pace. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { systemCaller } from '../../src/domain/access.ts';
import {
  decideTarget,
  type TargetDocument,
  type TargetHolder,
  targetDocument,
  targetWindowMs,
} from '../../src/domain/target.ts';
import { rotationRestMs } from '../../src/domain/trust.ts';
import { RegistryTrust } from '../../src/registry/trust.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';

const hostsMax = 10_000;

test('G7: 10,000 hosts that come within the rest between two rotations lose none; one that sleeps through two does', async (t) => {
  const clock = new FakeClock();
  const random = new SeededRandom();
  const dataDir = tempFolder(t);
  const store = await openStore({
    role: 'registry',
    dataDir,
    clock,
    random,
    logger: silentLogger,
    limits: { ballastBytes: 0 },
  });
  t.after(() => store.close());
  const trust = await RegistryTrust.open({
    ...{ store, dataDir, clock, random, logger: silentLogger },
    ...{ tls: { kind: 'off' }, listenHost: '127.0.0.1', advertiseUrls: [], behindProxy: false },
  });
  await trust.settle();
  // Its shape is not what this is about, and checking it takes half of the time.
  const read = (text: string) => JSON.parse(text) as TargetDocument;

  const fleet = Array.from({ length: hostsMax }, (_, index) => {
    const id = `00000000-0000-7000-8000-${index.toString(16).padStart(12, '0')}`;
    const held: TargetHolder = { hostId: id, keys: trust.trust().keys, version: null };
    return held;
  });
  /** What a host does when its beat tells it another tag: returns whether it takes what it gets. */
  const fetch = (index: number): boolean => {
    const held = fleet[index];
    assert.ok(held !== undefined);
    const version = {
      epoch: store.log.head().epoch,
      serial: 1 + trust.serial,
      issuedAtMs: targetWindowMs(held.hostId, clock.now()),
    };
    const host = { id: held.hostId, name: `host-${index}`, region: null, labels: {} };
    const body = Buffer.from(JSON.stringify(targetDocument(host, trust.trust(), version)));
    const decision = decideTarget(
      held,
      { body, signature: trust.sign(body) },
      { registryNowMs: clock.now(), read },
    );
    if (!decision.accepted) return false;
    fleet[index] = { ...held, keys: decision.document.settings.trust.keys, version };
    return true;
  };

  const sleeper = 0;
  let lost = 0;
  for (let round = 0; round < 2; round += 1) {
    const rotatedAtMs = clock.now();
    await trust.rotate(systemCaller, 'signing-key', { force: false });
    // Each at an instant of its own between this rotation and the next.
    const instants = Array.from({ length: hostsMax - 1 }, (_, index) => ({
      index: index + 1,
      atMs: random.uniform() * rotationRestMs,
    })).sort((a, b) => a.atMs - b.atMs);
    for (const { index, atMs } of instants) {
      clock.stall(Math.max(0, rotatedAtMs + atMs - clock.now()));
      if (!fetch(index)) lost += 1;
    }
    clock.stall(Math.max(0, rotatedAtMs + rotationRestMs - clock.now()));
  }
  assert.equal(lost, 0);
  assert.equal(fetch(sleeper), false, 'the control: two rotations unheard of are too many');
});
