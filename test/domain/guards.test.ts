import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  decideSuspicion,
  type Flapping,
  flapEventEveryMs,
  flapWindowMs,
  freezeMaxMs,
  noteTransition,
  regionLost,
  thinned,
} from '../../src/domain/guards.ts';

const trusting = { kind: 'trusting' } as const;

describe('decideSuspicion()', () => {
  it('freezes when a host is due and half of 20 are at risk', () => {
    assert.deepEqual(decideSuspicion(trusting, { up: 20, due: 1, atRisk: 10 }, 5), {
      kind: 'frozen',
      sinceMs: 5,
    });
  });

  it('trusts below 20 hosts, below half, and before anyone is due', () => {
    for (const silence of [
      { up: 19, due: 19, atRisk: 19 },
      { up: 1, due: 1, atRisk: 1 },
      { up: 100, due: 49, atRisk: 49 },
      { up: 100, due: 0, atRisk: 100 },
    ]) {
      assert.equal(decideSuspicion(trusting, silence, 0).kind, 'trusting');
    }
  });

  it('thaws when most are heard, and is spent after five minutes', () => {
    const frozen = { kind: 'frozen', sinceMs: 1_000 } as const;
    const silent = { up: 100, due: 80, atRisk: 80 };
    assert.equal(decideSuspicion(frozen, { ...silent, atRisk: 40 }, 2_000).kind, 'trusting');
    assert.equal(decideSuspicion(frozen, silent, 1_000 + freezeMaxMs - 1).kind, 'frozen');
    assert.equal(decideSuspicion(frozen, silent, 1_000 + freezeMaxMs).kind, 'spent');
  });

  it('once spent stays so until most are heard, so that it cannot freeze for ever', () => {
    assert.equal(decideSuspicion({ kind: 'spent' }, { up: 100, due: 80, atRisk: 80 }, 0).kind, 'spent');
    assert.equal(decideSuspicion({ kind: 'spent' }, { up: 100, due: 1, atRisk: 1 }, 0).kind, 'trusting');
  });
});

describe('regionLost()', () => {
  it('needs more than 2 hosts and 55 percent', () => {
    assert.equal(regionLost({ hosts: 2, gone: 2 }), false);
    assert.equal(regionLost({ hosts: 3, gone: 3 }), true);
    assert.equal(regionLost({ hosts: 20, gone: 10 }), false);
    assert.equal(regionLost({ hosts: 20, gone: 11 }), true);
  });
});

describe('thinned()', () => {
  const after = (times: number[], eventAtMs: number): Flapping => ({
    ...times.reduce<Flapping | undefined>(noteTransition, undefined),
    transitionsMs: times.reduce<Flapping | undefined>(noteTransition, undefined)?.transitionsMs ?? [],
    eventAtMs,
  });

  it('holds back the fourth transition in five minutes, for a minute after the last event', () => {
    assert.equal(thinned(after([0, 1, 2], 2), 3), false);
    assert.equal(thinned(after([0, 1, 2, 3], 2), 3), true);
    assert.equal(thinned(after([0, 1, 2, 3], 2), 2 + flapEventEveryMs), false);
  });

  it('forgets what is older than the window', () => {
    assert.equal(thinned(after([0, 1, 2, flapWindowMs + 2], flapWindowMs), flapWindowMs + 3), false);
  });

  it('knows a host without transitions as calm', () => {
    assert.equal(thinned(undefined, 0), false);
  });
});
