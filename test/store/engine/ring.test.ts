import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Kept, Ring } from '../../../src/store/engine/ring.ts';

function kept(revision: number, bytes: number): Kept {
  return { revision, events: [], encoded: 'x'.repeat(bytes), hash: `${revision}` };
}

test('Ring holds the latest revisions within both limits, the last one always', () => {
  const plan = {
    sizes: fc.array(fc.integer({ min: 0, max: 50 })),
    countMax: fc.integer({ min: 1, max: 8 }),
    bytesMax: fc.integer({ min: 0, max: 100 }),
  };
  fc.assert(
    fc.property(
      fc.record(plan),
      fc.integer({ min: 1, max: 1_000 }),
      ({ sizes, countMax, bytesMax }, first) => {
        const ring = new Ring({ countMax, bytesMax }, first);
        let model: Kept[] = [];
        for (const [i, size] of sizes.entries()) {
          const next = kept(first + i, size);
          ring.push(next);
          model.push(next);
          const bytes = () => model.reduce((sum, { encoded }) => sum + encoded.length, 0);
          while (model.length > countMax || (bytes() > bytesMax && model.length > 1)) model = model.slice(1);
          assert.equal(ring.first, model[0]?.revision);
          for (let revision = first - 1; revision <= first + i + 1; revision += 1) {
            assert.equal(
              ring.at(revision),
              model.find((one) => one.revision === revision),
            );
          }
        }
      },
    ),
  );
});

test('Ring refuses a revision that leaves a hole', () => {
  const ring = new Ring({ countMax: 4, bytesMax: 100 }, 5);
  assert.throws(() => ring.push(kept(6, 1)), /the next one is 5/);
});

test('Ring.reset() goes on elsewhere', () => {
  const ring = new Ring({ countMax: 4, bytesMax: 100 }, 1);
  ring.push(kept(1, 1));
  ring.reset(10);
  assert.equal(ring.at(1), undefined);
  ring.push(kept(10, 1));
  assert.equal(ring.at(10)?.revision, 10);
});
