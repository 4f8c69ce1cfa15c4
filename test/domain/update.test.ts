import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readLabels } from '../../src/domain/labels.ts';
import { arrivalsOf, decideUpdates, followedTrain, type Published } from '../../src/domain/update.ts';

const day = 86_400_000;
const now = 1_000 * day;

function release(version: string, train: string, daysOld: number): Published {
  return { version, train, releasedMs: now - daysOld * day, publishedAtMs: now - daysOld * day };
}

test('followedTrain() is that of the label of the component, else that of the label train, else stable', () => {
  const labels = readLabels({ train: 'beta', 'train/shop/api': 'canary', 'train/zlib1g': 'slow' }, 'labels');
  assert.equal(followedTrain(labels, 'shop/api'), 'canary');
  assert.equal(followedTrain(labels, 'zlib1g'), 'slow');
  assert.equal(followedTrain(labels, 'shop/web'), 'beta');
  assert.equal(followedTrain({ 'train/shop/api': 'canary' }, 'shop/web'), 'stable');
});

test('arrivalsOf() has what is published on a train itself, and of those it follows what is out for long enough', () => {
  const legs = [
    { train: 'stable', delayMs: 0 },
    { train: 'beta', delayMs: 7 * day },
  ];
  const releases = [
    release('2.0', 'beta', 3),
    release('1.8', 'beta', 20),
    release('1.9', 'beta', 7),
    release('1.7', 'stable', -5),
    release('9.0', 'edge', 100),
  ];
  const { arrived, awaited } = arrivalsOf(legs, releases, now);
  assert.deepEqual(
    arrived.map(({ version, train }) => [version, train]),
    [
      ['1.7', 'stable'],
      ['1.9', 'beta'],
      ['1.8', 'beta'],
    ],
  );
  assert.deepEqual(
    awaited.map(({ version }) => version),
    ['2.0'],
  );
});

test('decideUpdates() by version: older ones are out of date, in the order of the detector', () => {
  const legs = [{ train: 'stable', delayMs: 0 }];
  const arrivals = arrivalsOf(
    legs,
    [release('1.0.9', 'stable', 1), release('1.0.10', 'stable', 9), release('1.0.10~rc1', 'stable', 0)],
    now,
  );
  const of = (detector: string, installed: string[]) => {
    const decision = decideUpdates(arrivals, { detector, order: 'version', installed });
    return [decision?.latest.version, [...(decision?.outOfDate ?? [])]];
  };
  assert.deepEqual(of('dpkg', ['1.0.9', '1.0.10~rc1', '1.0.10', '1.0.10-0', '1.0.11', '1:0.1']), [
    '1.0.10',
    ['1.0.9', '1.0.10~rc1'],
  ]);
  assert.deepEqual(of('rpm', ['1.0.9', '1.0.10~rc1', '1.0.10', '1.0.10^git']), [
    '1.0.10',
    ['1.0.9', '1.0.10~rc1'],
  ]);
  // To SemVer what comes after a number is later: there is no ~ before the end.
  assert.deepEqual(of('command', ['1.0.10', 'v1.0.11']), ['1.0.10~rc1', ['1.0.10']]);
});

test('decideUpdates() by date: all but the last to arrive is out of date, unless it is awaited', () => {
  const legs = [
    { train: 'stable', delayMs: 0 },
    { train: 'beta', delayMs: 7 * day },
  ];
  const releases = [
    release('1.9.1', 'stable', 2),
    release('2.0.0', 'beta', 8),
    release('2.1.0', 'beta', 1),
    release('2.0.1', 'stable', 30),
  ];
  const decision = decideUpdates(arrivalsOf(legs, releases, now), {
    detector: 'command',
    order: 'date',
    installed: ['1.9.1', 'v1.9.1', '2.0.1', '2.0.0', '2.1.0', '3.0.0'],
  });
  // 2.0.0 arrived a day ago, 1.9.1 two days ago.
  assert.equal(decision?.latest.version, '2.0.0');
  assert.deepEqual([...(decision?.outOfDate ?? [])], ['1.9.1', 'v1.9.1', '2.0.1', '3.0.0']);
});

test('decideUpdates() of what nothing has arrived of is null, also when something is awaited', () => {
  const legs = [
    { train: 'stable', delayMs: 0 },
    { train: 'beta', delayMs: 7 * day },
  ];
  const options = { detector: 'dpkg', order: 'version', installed: ['1'] } as const;
  assert.equal(decideUpdates(arrivalsOf(legs, [], now), options), null);
  assert.equal(decideUpdates(arrivalsOf(legs, [release('2', 'beta', 1)], now), options), null);
});
