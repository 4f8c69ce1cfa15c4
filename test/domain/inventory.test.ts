import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type Component,
  diffComponents,
  inventoryHash,
  inventoryHashAfter,
} from '../../src/domain/inventory.ts';

const component = fc.record({
  name: fc.constantFrom('bash', 'curl', 'dpkg', 'libc6', 'zlib1g'),
  version: fc.constantFrom('1', '2', '2:3-4'),
  detector: fc.constantFrom('dpkg', 'command'),
});
const set = fc.uniqueArray(component, {
  selector: ({ name, detector }) => `${detector}/${name}`,
  maxLength: 10,
});

describe('inventoryHash()', () => {
  it('does not depend on the order', () => {
    fc.assert(
      fc.property(set, (components) =>
        assert.equal(inventoryHash(components), inventoryHash([...components].reverse())),
      ),
    );
  });

  it('tells every field apart', () => {
    const bash: Component = { name: 'bash', version: '5', detector: 'dpkg', architecture: 'amd64' };
    const others = [
      { ...bash, name: 'b', version: 'ash5' },
      { ...bash, version: '6' },
      { ...bash, detector: 'rpm' },
      { ...bash, architecture: 'arm64' },
    ];
    assert.equal(new Set([bash, ...others].map((one) => inventoryHash([one]))).size, 5);
  });
});

describe('inventoryHashAfter()', () => {
  it('arrives where hashing everything arrives', () => {
    fc.assert(
      fc.property(set, set, (before, after) => {
        const changes = diffComponents(before, after);
        assert.equal(inventoryHashAfter(inventoryHash(before), changes), inventoryHash(after));
      }),
    );
  });
});

describe('diffComponents()', () => {
  it('is empty for equal sets and names each change once', () => {
    const bash: Component = { name: 'bash', version: '5', detector: 'dpkg' };
    const curl: Component = { name: 'curl', version: '8', detector: 'dpkg' };
    assert.deepEqual(diffComponents([bash, curl], [curl, bash]), []);
    assert.deepEqual(
      diffComponents([bash], [{ ...bash, version: '6' }, curl]).map(({ kind }) => kind),
      ['changed', 'installed'],
    );
    assert.deepEqual(diffComponents([bash], []), [{ kind: 'removed', before: bash, after: null }]);
  });
});
