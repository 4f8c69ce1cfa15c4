import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Presence, statusCounts } from '../../src/domain/presence.ts';

describe('Presence', () => {
  it('counts the deadline from the last touch', () => {
    const presence = new Presence<string>();
    const slot = presence.put('a', 'A', 5_000);
    presence.touch(slot, { atMs: 100, wallMs: 1 });
    assert.equal(presence.deadlineMs(slot), 5_100);
    presence.forgive(50);
    assert.equal(presence.deadlineMs(slot), 5_150);
  });

  it('is unconfirmed and unseen until touched', () => {
    const presence = new Presence<string>();
    const slot = presence.put('a', 'A', 5_000);
    assert.deepEqual([presence.confirmed(slot), presence.lastSeenMs(slot)], [false, null]);
    presence.touch(slot, { atMs: 1, wallMs: 77 });
    assert.deepEqual([presence.confirmed(slot), presence.lastSeenMs(slot)], [true, 77]);
  });

  it('keeps what was heard when the record is replaced', () => {
    const presence = new Presence<string>();
    presence.touch(presence.put('a', 'A', 5_000), { atMs: 10, wallMs: 77 });
    const slot = presence.put('a', 'A2', null);
    assert.deepEqual(
      [presence.record(slot), presence.deadlineMs(slot), presence.lastSeenMs(slot)],
      ['A2', 5_010, 77],
    );
  });

  it('hands out what was touched once', () => {
    const presence = new Presence<number>();
    for (let i = 0; i < 10; i += 1) presence.touch(presence.put(`${i}`, i, 1), { atMs: i, wallMs: i });
    assert.equal(presence.takeTouched(4).length, 4);
    assert.equal(presence.takeTouched(100).length, 6);
    assert.deepEqual(presence.takeTouched(100), []);
  });

  it('counts the records that it holds by status', () => {
    const presence = new Presence<{ status: 'UP' | 'DOWN' }>();
    for (const id of ['a', 'b', 'c', 'd']) presence.put(id, { status: 'UP' }, 1);
    presence.put('b', { status: 'DOWN' }, 1);
    presence.remove('c');
    assert.deepEqual(statusCounts(presence), { up: 2, down: 1 });
    presence.clear();
    assert.deepEqual(statusCounts(presence), { up: 0, down: 0 });
  });

  it('agrees with a plain map through random histories, over many growths', () => {
    const step = fc.record({
      kind: fc.constantFrom('put', 'remove', 'touch'),
      id: fc.nat(600),
      at: fc.nat(1_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 2_000 }), (steps) => {
        const presence = new Presence<number>();
        const model = new Map<string, { record: number; heardAtMs: number }>();
        for (const [record, { kind, id: number, at }] of steps.entries()) {
          const id = `${number}`;
          const known = model.get(id);
          if (kind === 'put') {
            presence.put(id, record, 10);
            model.set(id, { record, heardAtMs: known?.heardAtMs ?? 0 });
          } else if (kind === 'remove') {
            presence.remove(id);
            model.delete(id);
          } else if (known !== undefined) {
            presence.touch(presence.find(id) ?? -1, { atMs: at, wallMs: at });
            known.heardAtMs = at;
          }
        }
        const seen = Array.from(presence.slots(), (slot) => [
          presence.record(slot),
          presence.deadlineMs(slot) - 10,
        ]);
        const wanted = [...model.values()].map(({ record, heardAtMs }) => [record, heardAtMs]);
        assert.deepEqual(seen.sort(byFirst), wanted.sort(byFirst));
        assert.equal(presence.size, model.size);
      }),
      { numRuns: 50 },
    );
  });
});

function byFirst(a: (number | undefined)[], b: (number | undefined)[]): number {
  return (a[0] ?? 0) - (b[0] ?? 0);
}
