/** Age filters: every row of the reference's tables, and what no host can match. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type AgeFilter, ageSelection, type Seen } from '../../src/domain/age.ts';
import type { Moment } from '../../src/domain/moment.ts';
import { readMoment } from '../../src/wire/schema.ts';

const dayMs = 86_400_000;
const now = Date.UTC(2016, 2, 2);
const at = (text: string): Moment => readMoment(text, 'at');
const day = (text: string): Moment => at(`2016-${text}T00:00:00Z`);
const offsets = { past: -3_600_000, now: 0, future: 3_600_000 } as const;
type When = keyof typeof offsets;
const when = (word: When): Moment => ({ kind: 'at', atMs: now + offsets[word] });

function refused(filter: AgeFilter, message: RegExp): void {
  assert.throws(() => ageSelection(filter, now), { code: 'bad-request', message });
}

/** The reference's hosts by their check-ins; here by when they were first and last seen. */
const hosts: Readonly<Record<string, readonly [first: string, last: string]>> = {
  A: ['2016-01-10T00:00:00Z', '2016-01-10T00:00:00Z'],
  B: ['2016-01-05T00:00:00Z', '2016-01-20T00:00:00Z'],
  C: ['2016-01-01T00:00:00Z', '2016-01-31T12:30:00Z'],
  D: ['2016-02-10T00:00:00Z', '2016-02-10T00:00:00Z'],
  E: ['2016-01-10T00:00:00Z', '2016-03-01T00:00:00Z'],
};

function found(filter: AgeFilter, atMs = now): string {
  const is = ageSelection(filter, atMs) ?? (() => true);
  const seen = ([first, last]: readonly [string, string]): Seen => ({
    firstSeenMs: Date.parse(first),
    lastSeenMs: Date.parse(last),
  });
  return Object.keys(hosts)
    .filter((name) => is(seen(hosts[name] ?? ['', ''])))
    .join('');
}

describe('ageSelection() of four bounds, as in TestNewClusterAgeFilter', () => {
  const rows: [seenBefore: When, seenAfter: When, createdBefore: When, createdAfter: When, fits: boolean][] =
    [
      ['now', 'now', 'future', 'now', false],
      ['now', 'future', 'future', 'now', false],
      ['past', 'now', 'future', 'now', false],
      ['future', 'now', 'future', 'now', true],
      ['future', 'now', 'now', 'now', false],
      ['future', 'now', 'now', 'future', false],
      ['future', 'now', 'past', 'now', false],
      ['future', 'now', 'now', 'past', true],
    ];
  for (const [index, [seenBefore, seenAfter, createdBefore, createdAfter, fits]] of rows.entries()) {
    it(`row ${index} is ${fits ? 'a filter' : 'refused'}`, () => {
      const filter = {
        seenBefore: when(seenBefore),
        seenAfter: when(seenAfter),
        createdBefore: when(createdBefore),
        createdAfter: when(createdAfter),
      };
      if (fits) assert.notEqual(ageSelection(filter, now), null);
      else refused(filter, /by \w+ \(2016-.*\) and \w+ \(2016-/);
    });
  }
});

describe('ageSelection() of two bounds, as in the tests of check-in and persistent filters', () => {
  const rows: [after: When, before: When, fits: boolean][] = [
    ['now', 'now', false],
    ['future', 'now', false],
    ['now', 'past', false],
    ['past', 'now', true],
  ];
  for (const [index, [after, before, fits]] of rows.entries()) {
    it(`row ${index} is ${fits ? 'a filter' : 'refused'}, of first and of last seen`, () => {
      for (const key of ['created', 'seen'] as const) {
        const filter = { [`${key}After`]: when(after), [`${key}Before`]: when(before) };
        if (fits) assert.notEqual(ageSelection(filter, now), null);
        else refused(filter, new RegExp(`${key}After .* and ${key}Before .*no host can match both`));
      }
    });
  }
});

describe('ageSelection()', () => {
  it('inventory 44: takes any one to four bounds, and none is no filter', () => {
    assert.equal(ageSelection({}, now), null);
    assert.equal(found({ createdAfter: day('01-05') }), 'ADE');
    assert.equal(found({ createdBefore: day('01-10') }), 'BC');
    assert.equal(found({ seenAfter: day('01-31') }), 'CDE');
    assert.equal(found({ seenBefore: day('01-20') }), 'A');
    assert.equal(found({ createdAfter: day('01-01'), seenBefore: day('02-01') }), 'AB');
    assert.equal(
      found({ createdAfter: day('01-01'), createdBefore: day('01-10'), seenAfter: day('01-19') }),
      'B',
    );
  });

  it('inventory 46: refuses createdBefore after seenBefore, naming both with their values', () => {
    refused(
      { createdBefore: day('03-01'), seenBefore: day('02-01') },
      /createdBefore \(2016-03-01T00:00:00.000Z\) and seenBefore \(2016-02-01T00:00:00.000Z\)/,
    );
    assert.equal(found({ createdBefore: day('02-01'), seenBefore: day('02-01') }), 'ABC');
  });

  it('inventory 47: refuses seenAfter that is seenBefore', () => {
    refused(
      { seenAfter: day('02-01'), seenBefore: day('02-01') },
      /seenAfter \(2016-02-01T00:00:00.000Z\) and seenBefore \(2016-02-01T00:00:00.000Z\)/,
    );
  });

  const year = { createdBefore: day('02-01'), seenBefore: day('02-01') };
  it('inventory 49: compares strictly, seenAfter with last seen', () => {
    assert.equal(found({ ...year, createdAfter: day('01-01'), seenAfter: day('01-01') }), 'AB');
    assert.equal(found({ seenAfter: day('01-15') }), 'BCDE', 'the reference looked at first seen');
  });

  it('inventory 50: finds whatever lies within', () => {
    const after = at('2015-12-31T00:00:00Z');
    assert.equal(found({ ...year, createdAfter: after, seenAfter: after }), 'ABC');
  });

  const seen = { seenAfter: day('01-01'), seenBefore: at('2017-02-01T00:00:00Z') };
  it('inventory 52: is exact to the second, and to the millisecond', () => {
    const bounds = { createdAfter: at('2016-01-09T23:59:59Z'), createdBefore: at('2016-01-10T00:00:01Z') };
    assert.equal(found({ ...seen, ...bounds }), 'AE');
    const exact = {
      createdAfter: at('2016-01-09T23:59:59.999Z'),
      createdBefore: at('2016-01-10T00:00:00.001Z'),
    };
    assert.equal(found({ ...seen, ...exact }), 'AE');
  });

  it('inventory 53: compares instants, whatever their zones', () => {
    const bounds = {
      createdAfter: at('2016-01-10T00:30:00+01:00'),
      createdBefore: at('2016-01-10T01:30:00+01:00'),
    };
    assert.equal(found({ ...seen, ...bounds }), 'AE');
  });

  it('inventory 55: refuses createdAfter that is createdBefore', () => {
    refused(
      { createdAfter: day('02-01'), createdBefore: day('02-01') },
      /createdAfter .* and createdBefore /,
    );
  });

  it('refuses first seen after what was last seen before, though each alone could be', () => {
    refused({ createdAfter: day('02-01'), seenBefore: day('02-01') }, /createdAfter .* and seenBefore /);
    assert.equal(found({ createdAfter: day('02-01') }), 'D');
  });

  it('refuses neighbouring milliseconds, between which nothing lies', () => {
    refused(
      { createdAfter: { kind: 'at', atMs: 5 }, createdBefore: { kind: 'at', atMs: 6 } },
      /no host can match/,
    );
    assert.notEqual(
      ageSelection({ createdAfter: { kind: 'at', atMs: 5 }, createdBefore: { kind: 'at', atMs: 7 } }, now),
      null,
    );
  });

  it('fresh, stale and created count from the moment that the question is about', () => {
    assert.equal(found({ freshMs: 21 * dayMs }), 'E', 'D was seen exactly 21 days ago');
    assert.equal(found({ staleMs: 21 * dayMs }), 'ABCD');
    assert.equal(found({ createdMs: 22 * dayMs }), 'D');
    assert.equal(found({ createdMs: 22 * dayMs }, now + 30 * dayMs), '');
    assert.equal(found({ freshMs: 40 * dayMs, staleMs: 10 * dayMs }), 'CD');
    refused({ freshMs: 7 * dayMs, staleMs: 7 * dayMs }, /fresh \(.*7d ago\) and stale \(.*7d ago\)/);
    refused({ freshMs: dayMs, seenBefore: day('02-01') }, /fresh .* and seenBefore /);
  });

  it('inventory 59: persistent is first seen so long ago, and seen within the day before, strictly', () => {
    assert.equal(found({ persistentMs: 30 * dayMs }), '', 'E was seen exactly a day ago');
    assert.equal(found({ persistentMs: 30 * dayMs }, now - 1), 'E');
    assert.equal(found({ persistentMs: 60 * dayMs }, now - 1), '');
    refused({ persistentMs: 30 * dayMs, createdMs: 7 * dayMs }, /created .* and persistent /);
    refused({ persistentMs: 30 * dayMs, staleMs: 7 * dayMs }, /persistent .* and stale /);
  });

  it('refuses exactly the filters that no host can match, but for createdBefore after seenBefore', () => {
    const ms = fc.integer({ min: 0, max: 6 });
    const bound = fc.option(
      ms.map((atMs): Moment => ({ kind: 'at', atMs })),
      { nil: undefined },
    );
    const filters = fc.tuple(bound, bound, bound, bound);
    const span = Array.from({ length: 11 }, (_, index) => index - 2);
    fc.assert(
      fc.property(filters, ([createdAfter, createdBefore, seenAfter, seenBefore]) => {
        const filter: AgeFilter = {
          ...(createdAfter === undefined ? {} : { createdAfter }),
          ...(createdBefore === undefined ? {} : { createdBefore }),
          ...(seenAfter === undefined ? {} : { seenAfter }),
          ...(seenBefore === undefined ? {} : { seenBefore }),
        };
        const msOf = (moment: Moment | undefined, none: number) =>
          moment?.kind === 'at' ? moment.atMs : none;
        const naive = ({ firstSeenMs, lastSeenMs }: Seen) =>
          firstSeenMs > msOf(createdAfter, -99) &&
          firstSeenMs < msOf(createdBefore, 99) &&
          (lastSeenMs ?? 0) > msOf(seenAfter, -99) &&
          (lastSeenMs ?? 0) < msOf(seenBefore, 99);
        const all = span.flatMap((firstSeenMs) =>
          span.filter((last) => last >= firstSeenMs).map((lastSeenMs): Seen => ({ firstSeenMs, lastSeenMs })),
        );
        const wanted = all.filter(naive);
        const isVain = createdBefore !== undefined && msOf(createdBefore, 0) > msOf(seenBefore, 99);
        if (wanted.length === 0 || isVain) return refused(filter, /Cannot select hosts by/);
        assert.deepEqual(all.filter(ageSelection(filter, 6) ?? (() => true)), wanted);
      }),
      { numRuns: 500 },
    );
  });
});
