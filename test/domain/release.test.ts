import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decidePublish,
  latestVersion,
  type Release,
  type ReleaseContent,
  releaseEvent,
} from '../../src/domain/release.ts';

const key = { component: 'openssl', train: 'stable', version: '3.0.13' };
const content: ReleaseContent = { releasedMs: 5, description: 'd', fixes: 'f', image: 'i', data: { a: 1 } };

function publish(before: Release | null, more: Partial<ReleaseContent>, now: number) {
  return decidePublish(before, key, {
    content: { ...content, ...more },
    condition: null,
    subject: 'ci',
    now,
  });
}

test('decidePublish() tells a change of each field, and none when it is so already', () => {
  const { release, change } = publish(null, {}, 100);
  assert.equal(change, 'release.published');
  const changes: Partial<ReleaseContent>[] = [
    { releasedMs: 6 },
    { description: null },
    { fixes: '' },
    { image: 'j' },
    { data: { a: 2 } },
    { data: {} },
    { data: null },
  ];
  for (const one of changes) {
    const decided = publish(release, one, 200);
    assert.deepEqual(
      [decided.change, decided.release],
      ['release.changed', { ...release, ...one, changedAtMs: 200 }],
    );
  }
  assert.deepEqual(publish(release, {}, 200), { release, change: null });
});

test('decidePublish() gives each change a later tag, also when the clock stands still or went back', () => {
  const { release } = publish(null, {}, 100);
  const { release: next } = publish(release, { image: 'j' }, 100);
  const { release: last } = publish(next, { image: 'k' }, 50);
  assert.deepEqual([release.changedAtMs, next.changedAtMs, last.changedAtMs], [100, 101, 102]);
  assert.equal(last.publishedAtMs, 100);
});

test('latestVersion() keeps the first of equal ones, and is undefined of none', () => {
  assert.equal(latestVersion('semver', ['1.0.0+b', '1.0.0+a', '0.9']), '1.0.0+b');
  assert.equal(latestVersion('semver', ['1.0', '1.0.1', '1.0.0']), '1.0.1');
  assert.equal(latestVersion('debian', []), undefined);
});

test('releaseEvent() names app and service of a component that is one', () => {
  const { release } = publish(null, {}, 100);
  assert.deepEqual(Object.keys(releaseEvent('release.published', release)).sort(), ['body', 'type']);
  const named = releaseEvent('release.published', { ...release, component: 'shop/api' });
  assert.deepEqual([named.app, named.service], ['shop', 'shop/api']);
  assert.equal('app' in releaseEvent('release.published', { ...release, component: '/x' }), false);
});
