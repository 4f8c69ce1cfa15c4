import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { createDetection } from '../../src/agent/detection.ts';
import type { Detector } from '../../src/agent/detectors/detector.ts';
import { silentLogger } from '../../src/base/log.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { LocalInventory } from '../../src/store/local-inventory.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { component, never, scriptedDetector, until } from './fleet.ts';

async function start(
  t: TestContext,
  detectors: readonly Detector[],
  clock = new FakeClock(),
  dataDir = tempFolder(t),
) {
  const store = await openStore({ role: 'agent', dataDir, clock, limits: { ballastBytes: 0 } });
  const inventory = await LocalInventory.open({ store, clock, host: () => ({ name: 'edge-1', id: null }) });
  let completed = 0;
  const detection = createDetection({
    clock,
    random: new SeededRandom(1),
    logger: silentLogger,
    detectors,
    inventory,
    onComplete: () => {
      completed += 1;
    },
  });
  detection.start();
  const close = async () => {
    await detection.stop();
    await store.close();
  };
  t.after(close);
  const names = async () =>
    (await inventory.ofHost('edge-1', { limit: 100 })).items.map(({ name, version }) => `${name} ${version}`);
  const begun = () => until(clock, 120_000, 'the first look', () => completed === 1);
  return { store, inventory, detection, clock, names, begun, close, dataDir };
}

suite('createDetection()', () => {
  test('stores the first find of all detectors in one revision, and looks again in its own time', async (t) => {
    const dpkg = scriptedDetector('dpkg', 30_000);
    const kernel = scriptedDetector('kernel', 3_600_000);
    dpkg.found = [component('a', '1'), component('b', '1')];
    kernel.found = [component('linux', '6', 'kernel')];
    const { store, clock, names, begun } = await start(t, [dpkg, kernel]);
    await begun();
    assert.deepEqual(await names(), ['a 1', 'b 1', 'linux 6']);
    assert.equal(store.log.head().revision, 1);
    dpkg.found = [component('a', '2')];
    await clock.advance(30_000);
    assert.deepEqual(await names(), ['a 2', 'linux 6']);
    const [, revision] = await store.log.read(0, { revisions: 10, bytes: 1_000_000 });
    assert.deepEqual(
      revision?.events.map(({ type, body }) => [
        type,
        (body as { name: string }).name,
        (body as { previousVersion?: string }).previousVersion,
      ]),
      [
        ['component.changed', 'a', '1'],
        ['component.removed', 'b', undefined],
      ],
    );
    await clock.advance(600_000);
    assert.equal(store.log.head().revision, 2, 'nothing changed, nothing is written');
  });

  test('a detector that fails keeps its last good find, shows its error and harms no other', async (t) => {
    const good = scriptedDetector('good');
    const bad = scriptedDetector('bad');
    good.found = [component('a', '1', 'good')];
    bad.found = [component('b', '1', 'bad')];
    const { clock, names, begun, detection } = await start(t, [good, bad]);
    await begun();
    bad.error = new Error('unreadable');
    good.found = [component('a', '2', 'good')];
    await clock.advance(60_000);
    assert.deepEqual(await names(), ['a 2', 'b 1']);
    const status = new Map(detection.status().map((one) => [one.name, one]));
    assert.deepEqual(
      [status.get('good')?.state, status.get('bad')?.state, status.get('bad')?.error],
      ['ok', 'failed', 'unreadable'],
    );
    assert.equal(status.get('bad')?.components, 1);
    bad.error = null;
    bad.found = [component('b', '2', 'bad')];
    await clock.advance(1_200_000);
    assert.deepEqual(await names(), ['a 2', 'b 2']);
  });

  test('a detector that looks often and has failed for long looks again within a minute', async (t) => {
    const often = scriptedDetector('often', 5_000);
    const { clock, detection, begun } = await start(t, [often]);
    await begun();
    often.error = new Error('unreadable');
    await clock.advance(3_600_000);
    assert.equal(detection.status()[0]?.state, 'failed');
    often.error = null;
    await clock.advance(66_000);
    assert.equal(detection.status()[0]?.state, 'ok');
  });

  test('retryFailed() has those look at once that failed, and no others', async (t) => {
    const good = scriptedDetector('good', 3_600_000);
    const bad = scriptedDetector('bad', 3_600_000);
    good.found = [component('a', '1', 'good')];
    bad.error = new Error('no runner');
    const { clock, names, begun, detection } = await start(t, [good, bad]);
    await begun();
    // The second try fails too: the next one is minutes away.
    await clock.advance(10_000);
    good.found = [component('a', '2', 'good')];
    bad.error = null;
    bad.found = [component('b', '1', 'bad')];
    detection.retryFailed();
    await clock.advance(1);
    assert.deepEqual(await names(), ['a 1', 'b 1']);
  });

  test('one that fails or hangs at the first look does not hold up the others', async (t) => {
    const good = scriptedDetector('good');
    good.found = [component('a', '1', 'good')];
    const bad = scriptedDetector('bad');
    bad.error = new Error('no');
    const hung: Detector = { name: 'hung', everyMs: 1_000, detect: () => never() };
    const { names, begun, detection } = await start(t, [good, bad, hung]);
    await begun();
    assert.deepEqual(await names(), ['a 1']);
    assert.deepEqual(
      detection.status().map(({ state }) => state),
      ['ok', 'failed', 'failed'],
    );
    assert.match(detection.status()[2]?.error ?? '', /took longer than 60 s/);
  });

  test('a detector that is off has no components, and one that is no longer used neither', async (t) => {
    const one = scriptedDetector('one');
    const two = scriptedDetector('two');
    one.found = [component('a', '1', 'one')];
    two.found = [component('b', '1', 'two')];
    const first = await start(t, [one, two]);
    await first.begun();
    one.found = null;
    await first.clock.advance(30_000);
    assert.deepEqual(await first.names(), ['b 1']);
    assert.equal(first.detection.status()[0]?.state, 'off');
    await first.close();
    const second = await start(t, [one], first.clock, first.dataDir);
    await second.begun();
    assert.deepEqual(await second.names(), []);
  });

  test('counts the characters of a name as the registry does, not their UTF-16 units', async (t) => {
    const odd = scriptedDetector('odd');
    odd.found = [component('𝒶'.repeat(128), '1', 'odd'), component('𝒶'.repeat(129), '1', 'odd')];
    const { names, begun } = await start(t, [odd]);
    await begun();
    assert.deepEqual(await names(), [`${'𝒶'.repeat(128)} 1`]);
  });

  test('leaves out what cannot be told, and says so', async (t) => {
    const odd = scriptedDetector('odd');
    odd.found = [
      component('fine', '1', 'odd'),
      component('', '1', 'odd'),
      component('a'.repeat(129), '1', 'odd'),
      component('control\u0007', '1', 'odd'),
      component('empty', '', 'odd'),
      component('foreign', '1', 'dpkg'),
    ];
    const { names, begun, detection } = await start(t, [odd]);
    await begun();
    assert.deepEqual(await names(), ['fine 1']);
    assert.match(detection.status()[0]?.error ?? '', /^left out 5 of 6/);
  });
});
