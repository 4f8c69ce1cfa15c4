import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { decideSync, type SyncInput } from '../../src/agent/sync.ts';
import type { BeatAnswer } from '../../src/domain/host.ts';

const hash = (n: number) => `sha256:${String(n).padStart(64, '0')}`;
const mark = (epoch: number, revision: number) => ({ epoch, revision, hash: hash(revision) });

function input(more: {
  answer?: Partial<BeatAnswer>;
  head?: SyncInput['head'];
  ownHashAtSeen?: SyncInput['ownHashAtSeen'];
  outbox?: Partial<SyncInput['outbox']>;
  inventoryAcked?: boolean;
  registrySeen?: SyncInput['beat']['seen'];
}): SyncInput {
  const head = more.head ?? mark(5, 100);
  return {
    beat: {
      bootId: 'b',
      startedAtMs: 0,
      seq: 1,
      answered: null,
      own: head,
      seen: more.registrySeen === undefined ? mark(9, 50) : more.registrySeen,
      inventory: hash(1),
      leaving: false,
      machineId: null,
    },
    outbox: { active: true, epoch: 5, ackedSeq: 10, ...more.outbox },
    inventoryAcked: more.inventoryAcked ?? true,
    answer: {
      intervalMs: 10_000,
      spreadMs: 5_000,
      nowMs: 0,
      own: mark(9, 51),
      seen: head,
      checkin: 'none',
      target: null,
      acked: { epoch: 5, seq: 10 },
      ...more.answer,
    },
    head,
    ownHashAtSeen: more.ownHashAtSeen === undefined ? head.hash : more.ownHashAtSeen,
  };
}

const well = { ownRewoundAtLeast: null, resend: 'nothing', reason: null };

suite('decideSync()', () => {
  test('has nothing to do while both sides agree', () => {
    assert.deepEqual(decideSync(input({})), well);
    assert.deepEqual(decideSync(input({ answer: { seen: null } })), well);
    assert.deepEqual(decideSync(input({ answer: { seen: mark(5, 90) }, ownHashAtSeen: hash(90) })), well);
    assert.deepEqual(
      decideSync(input({ answer: { seen: mark(5, 1) }, ownHashAtSeen: null })),
      well,
      'compacted',
    );
    assert.deepEqual(
      decideSync(input({ answer: { seen: mark(4, 500) }, ownHashAtSeen: null })),
      well,
      'an earlier life',
    );
    assert.deepEqual(
      decideSync(input({ answer: { acked: { epoch: 5, seq: 30 } } })),
      well,
      'a lost acknowledgement',
    );
  });

  test('notices that our own store was put back', () => {
    for (const [seen, ownHashAtSeen] of [
      [mark(5, 101), null],
      [mark(6, 3), null],
      [{ ...mark(5, 90), hash: hash(7) }, hash(90)],
    ] as const) {
      const decision = decideSync(input({ answer: { seen }, ownHashAtSeen }));
      assert.deepEqual([decision.ownRewoundAtLeast, decision.resend], [seen.epoch + 1, 'everything']);
      assert.notEqual(decision.reason, null);
    }
  });

  test("notices the registry's new life, and not a registry seen for the first time", () => {
    const decision = decideSync(input({ answer: { own: mark(10, 1) } }));
    assert.deepEqual([decision.ownRewoundAtLeast, decision.resend], [null, 'everything']);
    assert.deepEqual(decideSync(input({ answer: { own: mark(10, 1) }, registrySeen: null })), well);
    assert.deepEqual(
      decideSync(input({ answer: { own: mark(9, 1) } })),
      well,
      'the registry has to notice first',
    );
  });

  test('tells everything again when reports that were acknowledged are missing', () => {
    for (const acked of [null, { epoch: 5, seq: 9 }, { epoch: 4, seq: 99 }, { epoch: 6, seq: 1 }]) {
      assert.equal(decideSync(input({ answer: { acked } })).resend, 'everything');
    }
    assert.deepEqual(decideSync(input({ answer: { acked: null }, outbox: { ackedSeq: 0 } })), well);
    assert.deepEqual(decideSync(input({ answer: { acked: null }, outbox: { active: false } })), well);
  });

  test('sends the complete inventory when the registry has another than it acknowledged', () => {
    assert.equal(decideSync(input({ answer: { checkin: 'delta' } })).resend, 'inventory');
    assert.equal(decideSync(input({ answer: { checkin: 'complete' } })).resend, 'inventory');
    assert.deepEqual(
      decideSync(input({ answer: { checkin: 'delta' }, inventoryAcked: false })),
      well,
      'a difference is on its way',
    );
    const expected = decideSync(input({ answer: { checkin: 'complete' }, inventoryAcked: false }));
    assert.deepEqual([expected.resend, expected.reason], ['inventory', null]);
  });
});
