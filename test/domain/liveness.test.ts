import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { AppError } from '../../src/domain/error.ts';
import {
  decideBeat,
  decideChecked,
  decideEndMaintenance,
  decideHostLost,
  decideHostReturned,
  decideLapse,
  decideMaintain,
  decideRegister,
  decideSet,
  decideTold,
  maintenanceActive,
  type ServicePatch,
  type ServiceRecord,
  serviceDocument,
  ttlMaxMs,
} from '../../src/domain/liveness.ts';

const uuid = '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223';
const now = Date.parse('2026-01-31T09:30:00Z');
const registered = decideRegister(uuid, { type: 'web', host: 'edge-1' }, 'registry').record;
const lapsed = decideLapse(registered).record;
const set = decideSet(registered, { status: 'DOWN' }).record;

describe('decideChecked()', () => {
  const found = (status: 'UP' | 'DOWN', ttlMs = 60_000) => ({
    uuid,
    type: 'web',
    host: 'edge-1',
    status,
    ttlMs,
  });
  const outcome = (record: ServiceRecord | undefined, status: 'UP' | 'DOWN', ttlMs?: number) => {
    const { change, record: next } = decideChecked(record, found(status, ttlMs), 'agent');
    return [change, next.status, next.reason];
  };
  const failed = decideChecked(registered, found('DOWN'), 'agent').record;

  it('registers what is not there, also DOWN', () => {
    assert.deepEqual(outcome(undefined, 'UP'), ['service.registered', 'UP', null]);
    assert.deepEqual(outcome(undefined, 'DOWN'), ['service.registered', 'DOWN', 'check']);
    assert.equal(decideChecked(undefined, found('UP', 185_000), 'agent').record.ttlMs, 185_000);
  });

  it('changes what it made itself, and what silence made', () => {
    assert.deepEqual(outcome(registered, 'DOWN'), ['service.set', 'DOWN', 'check']);
    assert.deepEqual(outcome(failed, 'UP'), ['service.set', 'UP', null]);
    assert.deepEqual(outcome(lapsed, 'UP'), ['service.revived', 'UP', null]);
    assert.deepEqual(outcome(lapsed, 'DOWN'), ['service.set', 'DOWN', 'check']);
  });

  it('leaves what is as it is found, and what somebody set DOWN', () => {
    assert.deepEqual(outcome(registered, 'UP'), [null, 'UP', null]);
    assert.deepEqual(outcome(failed, 'DOWN'), [null, 'DOWN', 'check']);
    assert.deepEqual(outcome(set, 'UP'), [null, 'DOWN', 'set']);
    assert.deepEqual(outcome(set, 'DOWN'), [null, 'DOWN', 'set']);
  });

  it('keeps maintenance, and takes another ttl', () => {
    const maintained = decideMaintain(registered, { note: 'disk' }, now).record;
    const { record } = decideChecked(maintained, found('DOWN'), 'agent');
    assert.deepEqual([record.reason, record.maintenance], ['check', maintained.maintenance]);
    assert.deepEqual(outcome(registered, 'UP', 90_000), ['service.set', 'UP', null]);
  });
});

describe('decideRegister()', () => {
  it('defaults to UP, 60 s and no region', () => {
    const { record, change } = decideRegister(uuid, { type: 'web', host: 'Edge 1' }, 'registry');
    assert.equal(change, 'service.registered');
    assert.deepEqual(record, {
      uuid,
      type: 'web',
      host: 'edge-1',
      region: null,
      status: 'UP',
      reason: null,
      ttlMs: 60_000,
      maintenance: null,
      heldBy: 'registry',
      told: null,
      version: 1,
    });
  });

  it('is not-found without a type or a host', () => {
    for (const patch of [{}, { type: 'web' }, { host: 'edge-1' }]) {
      assert.throws(() => decideRegister(uuid, patch, 'registry'), isCode('not-found'));
    }
  });

  it('raises a ttl under 5 s to 5 s and refuses what cannot be (L23)', () => {
    const ttlOf = (ttlMs: number) =>
      decideRegister(uuid, { type: 't', host: 'h', ttlMs }, 'registry').record.ttlMs;
    assert.equal(ttlOf(1_000), 5_000);
    assert.equal(ttlOf(ttlMaxMs), ttlMaxMs);
    for (const ttlMs of [0, -1, ttlMaxMs + 1, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => ttlOf(ttlMs), isCode('bad-request', 'ttl'));
    }
  });

  it('refuses names that cannot be printed', () => {
    for (const type of ['', ' web', 'we\nb', '\u202eweb', 'x'.repeat(129)]) {
      assert.throws(
        () => decideRegister(uuid, { type, host: 'h' }, 'registry'),
        isCode('bad-request', 'type'),
        type,
      );
    }
  });
});

describe('decideSet()', () => {
  it('without a change says nothing, so that no event is written', () => {
    assert.deepEqual(decideSet(registered, {}), { record: registered, change: null });
    assert.deepEqual(decideSet(registered, { status: 'UP', type: 'web', ttlMs: 60_000 }), {
      record: registered,
      change: null,
    });
  });

  it('sets the named fields and keeps the rest', () => {
    const { record, change } = decideSet(registered, { region: 'eu' });
    assert.equal(change, 'service.set');
    assert.deepEqual(record, { ...registered, region: 'eu', version: 2 });
  });

  it('counts as a heartbeat: lifts a lapse', () => {
    assert.equal(decideSet(lapsed, {}).change, 'service.revived');
    assert.deepEqual(statusOf(decideSet(lapsed, {}).record), ['UP', null]);
    assert.deepEqual(statusOf(decideSet(lapsed, { region: 'eu' }).record), ['UP', null]);
  });

  it('DOWN holds until UP, also over a lapse', () => {
    assert.deepEqual(statusOf(set), ['DOWN', 'set']);
    assert.deepEqual(statusOf(decideSet(lapsed, { status: 'DOWN' }).record), ['DOWN', 'set']);
    assert.deepEqual(statusOf(decideSet(set, { region: 'eu' }).record), ['DOWN', 'set']);
    assert.deepEqual(statusOf(decideSet(set, { status: 'UP' }).record), ['UP', null]);
  });

  it("refuses a version that is not the record's (L22)", () => {
    assert.throws(() => decideSet(registered, { version: 7, status: 'DOWN' }), isCode('conflict', 'version'));
    assert.equal(decideSet(registered, { version: 1, status: 'DOWN' }).record.version, 2);
  });
});

describe('decideBeat()', () => {
  it('writes nothing for a record that is UP', () => {
    assert.equal(decideBeat(registered).change, null);
  });

  it('revives a lapsed record (L7)', () => {
    assert.equal(decideBeat(lapsed).change, 'service.revived');
    assert.deepEqual(statusOf(decideBeat(lapsed).record), ['UP', null]);
  });

  it('lifts only a lapse', () => {
    assert.equal(decideBeat(set).change, null);
    assert.equal(decideBeat({ ...set, reason: 'check' }).change, null);
  });
});

describe('decideLapse()', () => {
  it('turns UP into DOWN with the reason', () => {
    assert.deepEqual(statusOf(lapsed), ['DOWN', 'lapsed']);
  });

  it('leaves a record that is DOWN as it is', () => {
    assert.equal(decideLapse(set).change, null);
    assert.equal(decideLapse(lapsed).change, null);
  });
});

describe('decideMaintain()', () => {
  it('starts now and has no end unless told', () => {
    assert.deepEqual(decideMaintain(registered, { note: 'Failed disk' }, now).record.maintenance, {
      startMs: now,
      endMs: null,
      note: 'Failed disk',
    });
  });

  it('keeps the status, unless `down`', () => {
    assert.deepEqual(statusOf(decideMaintain(registered, {}, now).record), ['UP', null]);
    assert.deepEqual(statusOf(decideMaintain(registered, { down: true }, now).record), ['DOWN', 'set']);
  });

  it('refuses an end before its start (L17)', () => {
    assert.throws(
      () => decideMaintain(registered, { startMs: now, endMs: now - 1 }, now),
      isCode('bad-request', 'end'),
    );
    assert.throws(() => decideMaintain(registered, { endMs: now - 1 }, now), isCode('bad-request', 'end'));
  });

  it('ends by itself', () => {
    const plan = { startMs: now, endMs: now + 1_000, note: null };
    assert.deepEqual(
      [now - 1, now, now + 999, now + 1_000].map((at) => maintenanceActive(plan, at)),
      [false, true, true, false],
    );
  });

  it('is over when ended, once', () => {
    const planned = decideMaintain(registered, {}, now).record;
    assert.equal(decideEndMaintenance(planned).record.maintenance, null);
    assert.equal(decideEndMaintenance(registered).change, null);
  });
});

describe('decideHostLost() and decideHostReturned()', () => {
  const held = { ...registered, heldBy: 'agent' as const };

  it('give back what the agent told last', () => {
    for (const record of [held, { ...held, status: 'DOWN' as const, reason: 'check' as const }]) {
      const lost = decideHostLost(record, 'host').record;
      assert.deepEqual(statusOf(lost), ['DOWN', 'host']);
      assert.deepEqual(statusOf(decideHostReturned(lost).record), statusOf(record));
      assert.equal(decideHostReturned(lost).record.told, null);
    }
  });

  it('leave records alone that beat at the registry', () => {
    assert.equal(decideHostLost(registered, 'host').change, null);
    assert.equal(decideHostReturned(registered).change, null);
  });

  it('happen once', () => {
    assert.equal(decideHostLost(decideHostLost(held, 'host').record, 'host').change, null);
  });
});

describe('decideTold()', () => {
  const told = {
    uuid,
    type: 'web',
    host: 'edge-1',
    region: null,
    status: 'UP',
    reason: null,
    ttlMs: 60_000,
    maintenance: null,
  } as const;

  it('registers, then is silent about the same', () => {
    const first = decideTold(undefined, told, null);
    assert.equal(first.change, 'service.registered');
    assert.equal(decideTold(first.record, told, null).change, null);
  });

  it('names the change by what it did', () => {
    const up = decideTold(undefined, told, null).record;
    const down = decideTold(up, { ...told, status: 'DOWN', reason: 'lapsed' }, null);
    assert.equal(down.change, 'service.lapsed');
    assert.equal(decideTold(down.record, told, null).change, 'service.revived');
    assert.equal(decideTold(up, { ...told, region: 'eu' }, null).change, 'service.set');
    const planned = decideTold(up, { ...told, maintenance: { startMs: now, endMs: null, note: null } }, null);
    assert.equal(planned.change, 'service.maintained');
  });

  it('keeps what is told of a lost host for its return', () => {
    const lost = decideTold(undefined, told, 'host').record;
    assert.deepEqual(statusOf(lost), ['DOWN', 'host']);
    assert.deepEqual(statusOf(decideHostReturned(lost).record), ['UP', null]);
  });
});

describe('every decision', () => {
  const patches = fc.record(
    {
      region: fc.constantFrom(null, 'eu', 'us'),
      status: fc.constantFrom<'UP' | 'DOWN'>('UP', 'DOWN'),
      ttlMs: fc.integer({ min: 1, max: ttlMaxMs }),
    },
    { requiredKeys: [] },
  );
  const steps = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('set' as const), patch: patches }),
      fc.record({
        kind: fc.constantFrom('beat' as const, 'lapse' as const, 'maintain' as const, 'end' as const),
      }),
    ),
    { maxLength: 40 },
  );

  it('counts the version by its events and gives a reason exactly to what is DOWN', () => {
    fc.assert(
      fc.property(steps, (history) => {
        let record = registered;
        for (const step of history) {
          const before = record;
          const decision =
            step.kind === 'set' ? decideSet(record, step.patch as ServicePatch) : decide(step.kind, record);
          record = decision.record;
          assert.equal(record.version, before.version + (decision.change === null ? 0 : 1));
          if (decision.change === null) assert.deepEqual(record, before);
          assert.equal(record.status === 'UP', record.reason === null);
        }
      }),
    );
  });

  it('leaves a lapsed record UP after a beat, whatever happened before', () => {
    fc.assert(
      fc.property(steps, (history) => {
        let record = registered;
        for (const step of history) {
          record = (
            step.kind === 'set' ? decideSet(record, step.patch as ServicePatch) : decide(step.kind, record)
          ).record;
        }
        const setDown = record.status === 'DOWN' && record.reason === 'set';
        assert.equal(decideBeat(decideLapse(record).record).record.status, setDown ? 'DOWN' : 'UP');
      }),
    );
  });

  function decide(kind: 'beat' | 'lapse' | 'maintain' | 'end', record: ServiceRecord) {
    if (kind === 'beat') return decideBeat(record);
    if (kind === 'lapse') return decideLapse(record);
    return kind === 'maintain' ? decideMaintain(record, { note: 'work' }, now) : decideEndMaintenance(record);
  }
});

describe('serviceDocument()', () => {
  it('has exactly the fields of FORMATS', () => {
    const document = serviceDocument({ ...registered, confirmed: true, lastSeenMs: now }, now);
    assert.deepEqual(document, {
      uuid,
      type: 'web',
      host: 'edge-1',
      region: null,
      status: 'UP',
      reason: null,
      ttl: 60,
      maintenance: null,
      confirmed: true,
      heldBy: 'registry',
      lastSeen: '2026-01-31T09:30:00.000Z',
      version: 1,
    });
  });
});

function statusOf(record: ServiceRecord) {
  return [record.status, record.reason];
}

function isCode(code: string, field?: string) {
  return (error: unknown) =>
    error instanceof AppError && error.code === code && (field === undefined || error.field === field);
}
