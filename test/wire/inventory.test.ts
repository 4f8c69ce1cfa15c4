import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCheckIn } from '../../src/wire/inventory.ts';

const hash = `sha256:${'0'.repeat(64)}`;
const component = { detector: 'dpkg', name: 'curl', version: '7.88.1-10 (ä)', architecture: 'amd64' };

test('readCheckIn() takes what is printable', () => {
  const body = { base: null, hash, components: [component], removed: [{ detector: 'dpkg', name: 'wget' }] };
  assert.deepEqual(readCheckIn(body), body);
});

test('readCheckIn() refuses what is not printable, naming the field', () => {
  for (const field of ['detector', 'name', 'version', 'architecture'] as const) {
    for (const bad of ['a\nb', '\u001b[31m', 'a\0', '\u202e', '\u2028']) {
      const components = [component, { ...component, [field]: bad }];
      assert.throws(() => readCheckIn({ base: null, hash, components }), {
        code: 'bad-request',
        field: `components/1/${field}`,
      });
    }
  }
  assert.throws(
    () => readCheckIn({ base: hash, hash, components: [], removed: [{ detector: 'dpkg', name: 'a\t' }] }),
    { code: 'bad-request', field: 'removed/0/name' },
  );
});
