/**
 * One seed for everything random in tests: the same in every run, so that a red run is red again. `HOLDFAST_SEED=n`
 * tries another history, `HOLDFAST_SEED=new` a fresh one each time (it is printed by the test that draws it).
 * Loaded before every test file (package.json), where it seeds fast-check too.
 */
import { randomInt } from 'node:crypto';
import fc from 'fast-check';

const seedDefault = 20_261_120;

export function testSeed(): number {
  const given = process.env['HOLDFAST_SEED'];
  if (given === undefined) return seedDefault;
  return given === 'new' ? randomInt(2 ** 31) : Number(given);
}

fc.configureGlobal({ seed: testSeed() });
