import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatInstant } from '../../src/base/time.ts';
import { type IsUp, statusReasons } from '../../src/domain/liveness.ts';
import { isUpDocument, isUpManyText } from '../../src/wire/liveness.ts';

test('isUpManyText() is the JSON of the documents, also where equal answers follow each other', () => {
  const instants = fc.integer({ min: 1_700_000_000_000, max: 1_700_000_000_002 });
  const maintenance = fc.record({
    startMs: instants,
    endMs: fc.option(instants),
    note: fc.option(fc.constantFrom('disk "A"', 'ü')),
  });
  const answer: fc.Arbitrary<IsUp> = fc.record({
    up: fc.boolean(),
    known: fc.boolean(),
    reason: fc.option(fc.constantFrom(...statusReasons)),
    maintenance: fc.option(maintenance),
    confirmed: fc.boolean(),
    stale: fc.boolean(),
    asOfMs: instants,
    ageMs: fc.constantFrom(0, 0.4, 1_500),
  });
  const runs = fc.array(fc.tuple(answer, fc.integer({ min: 1, max: 3 })));
  fc.assert(
    fc.property(runs, (list) => {
      const answers = list.flatMap(([one, count]) => Array.from({ length: count }, () => one));
      const documents = answers.map((one) => isUpDocument(one));
      assert.equal(isUpManyText(answers, formatInstant), JSON.stringify({ items: documents }));
    }),
  );
});
