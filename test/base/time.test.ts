import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  createInstantFormatter,
  formatDuration,
  formatInstant,
  parseDuration,
  parseInstant,
} from '../../src/base/time.ts';

describe('parseInstant()', () => {
  it('reads RFC 3339 with any zone', () => {
    const cases: [string, string][] = [
      ['2016-03-31T23:54:39Z', '2016-03-31T23:54:39.000Z'],
      ['2016-03-31T23:54:39+02:00', '2016-03-31T21:54:39.000Z'],
      ['2016-03-31t23:54:39.123456789-05:30', '2016-04-01T05:24:39.123Z'],
      ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
      ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59.999Z'],
      ['2016-12-31T23:59:60.000Z', '2016-12-31T23:59:59.999Z'],
    ];
    for (const [text, wanted] of cases) assert.equal(formatInstant(parseInstant(text) ?? 0), wanted);
  });

  it('refuses what is none', () => {
    for (const text of [
      '',
      '2016-03-31',
      '2016-03-31T23:54:39',
      '2016-03-31 23:54:39Z',
      '2023-02-29T00:00:00Z',
      '2023-02-29T00:00:00.000Z',
      '2023-02-30T24:00:00.000Z',
      '2016-01-01T24:00:00.000Z',
      '2016-13-01T00:00:00.000Z',
      '2016-13-01T00:00:00Z',
      '2016-01-01T24:00:00Z',
      '2016-01-01T00:60:00Z',
      '2016-01-01T00:00:00+24:00',
      '2016-01-01T00:00:00Zjunk',
      // Of another form in UTC: "-000001-12-31T…", "+010000-01-01T…".
      '0000-01-01T00:00:00+00:01',
      '9999-12-31T23:59:59-00:01',
    ]) {
      assert.equal(parseInstant(text), undefined, text);
    }
  });

  it('reads back what formatInstant() writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (ms) =>
        assert.equal(parseInstant(formatInstant(ms)), ms),
      ),
    );
  });
});

describe('parseDuration()', () => {
  it('reads units, and bare numbers as seconds (T-31)', () => {
    const cases: [string | number, number][] = [
      ['500ms', 500],
      ['30s', 30_000],
      ['2m', 120_000],
      ['3h', 10_800_000],
      ['1d', 86_400_000],
      ['1w', 604_800_000],
      ['1.5s', 1_500],
      ['30', 30_000],
      [0.25, 250],
    ];
    for (const [text, ms] of cases) assert.equal(parseDuration(text), ms);
  });

  it('refuses the rest', () => {
    for (const text of ['2x', '', 's', '-1s', '1 s', '1e9', Number.NaN, Number.POSITIVE_INFINITY])
      assert.equal(parseDuration(text), undefined);
  });
});

describe('formatDuration()', () => {
  it('says it in at most two units', () => {
    assert.deepEqual([0, 850, 12_000, 245_000, 12_000_000, 1_051_200_000].map(formatDuration), [
      '0ms',
      '850ms',
      '12s',
      '4m 5s',
      '3h 20m',
      '12d 4h',
    ]);
  });
});

describe('createInstantFormatter()', () => {
  it('formats as formatInstant() does, whatever came before', () => {
    const format = createInstantFormatter();
    const instants = fc.array(fc.integer({ min: 0, max: 3 }).map((n) => 1_700_000_000_000 + n));
    fc.assert(fc.property(instants, (list) => assert.deepEqual(list.map(format), list.map(formatInstant))));
  });
});
