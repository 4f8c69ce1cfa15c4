import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gate } from '../../src/base/gate.ts';

test('Gate lets so many through at a time, in the order in which they came', async () => {
  const gate = new Gate(2);
  const inside: number[] = [];
  const order: number[] = [];
  let most = 0;
  await Promise.all(
    [0, 1, 2, 3, 4].map((index) =>
      gate.through(async () => {
        inside.push(index);
        order.push(index);
        most = Math.max(most, inside.length);
        await Promise.resolve();
        inside.splice(inside.indexOf(index), 1);
      }),
    ),
  );
  assert.equal(most, 2);
  assert.deepEqual(order, [0, 1, 2, 3, 4]);
});

test('Gate frees the place of what failed', async () => {
  const gate = new Gate(1);
  await assert.rejects(
    gate.through(() => Promise.reject(new Error('broken'))),
    /broken/,
  );
  assert.equal(await gate.through(async () => 'through'), 'through');
});
