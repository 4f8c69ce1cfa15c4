import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import { describeMoment, formatMoment, momentMs, pastMs, pastRange } from '../../src/domain/moment.ts';
import { readMoment } from '../../src/wire/schema.ts';

function refused(fn: () => unknown, code: string, message: RegExp, field: string): void {
  assert.throws(fn, { code, message, field });
}

const dayMs = 86_400_000;
const now = Date.UTC(2026, 0, 31, 9, 30);

describe('readMoment()', () => {
  it('reads an instant, whatever its zone', () => {
    assert.deepEqual(readMoment('2026-01-24T10:30:00.5+01:00', 'asOf'), {
      kind: 'at',
      atMs: Date.UTC(2026, 0, 24, 9, 30, 0, 500),
    });
  });

  it('reads how long ago, from the clock of whoever answers', () => {
    for (const [text, agoMs] of [
      ['7d', 7 * dayMs],
      ['90m', 5_400_000],
      ['500ms', 500],
      ['0s', 0],
    ] as const) {
      const moment = readMoment(text, 'asOf');
      assert.deepEqual(moment, { kind: 'ago', agoMs });
      assert.equal(momentMs(moment, now), now - agoMs);
    }
  });

  it('takes no number without a unit, which may be a year, and nothing before the calendar', () => {
    for (const text of [
      '',
      '7',
      '2026',
      '1769851800',
      '-7d',
      '7 d',
      '7y',
      'yesterday',
      '2026-01-24',
      '999999999999w',
    ])
      refused(() => readMoment(text, 'seenAfter'), 'bad-request', /Cannot read seenAfter "/, 'seenAfter');
  });

  it('reads again what formatMoment() wrote', () => {
    for (const text of ['7d', '1ms', '1.5h', '900w', '2026-01-24T10:30:00Z']) {
      const moment = readMoment(text, 'asOf');
      assert.deepEqual(readMoment(formatMoment(moment), 'asOf'), moment);
    }
  });
});

describe('describeMoment()', () => {
  it('shows the instant, and how long ago when it was given so', () => {
    assert.equal(describeMoment(readMoment('7d', 'asOf'), now), '2026-01-24T09:30:00.000Z, 7d ago');
    assert.equal(describeMoment({ kind: 'at', atMs: now }, now), '2026-01-31T09:30:00.000Z');
  });
});

describe('pastMs()', () => {
  it('is the instant, from the oldest that is kept up to now', () => {
    assert.equal(pastMs({ kind: 'at', atMs: now }, now), now);
    assert.equal(pastMs({ kind: 'ago', agoMs: limits.historyKeptMs }, now), now - limits.historyKeptMs);
  });

  it('refuses the future, and names the oldest of what is kept no more', () => {
    refused(
      () => pastMs({ kind: 'at', atMs: now + 1 }, now),
      'bad-request',
      /the future is not known/,
      'asOf',
    );
    const before = { kind: 'ago', agoMs: limits.historyKeptMs + 1 } as const;
    refused(() => pastMs(before, now), 'compacted', /before 2024-12-27T09:30:00.000Z is not kept/, 'asOf');
  });
});

describe('pastRange()', () => {
  it('wants a beginning before the end, and names both', () => {
    const range = { from: { kind: 'ago', agoMs: dayMs }, to: { kind: 'at', atMs: now } } as const;
    assert.deepEqual(pastRange(range, now), { fromMs: now - dayMs, toMs: now });
    refused(
      () => pastRange({ from: range.to, to: range.from }, now),
      'bad-request',
      /from \(2026-01-31T09:30:00.000Z\) to \(2026-01-30T09:30:00.000Z\)/,
      'from',
    );
  });
});
