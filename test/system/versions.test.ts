/** The order of Debian's versions, against dpkg itself. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareVersions } from '../../src/domain/version.ts';
import { testSeed } from '../helpers/seed.ts';

test('compareVersions(debian) agrees with dpkg --compare-versions', (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const part = (pattern: RegExp) => fc.stringMatching(pattern);
  const version = fc
    .tuple(
      fc.constantFrom('', '0:', '1:', '12:'),
      part(/^[0-9]{1,2}[0-9az.+~]{0,5}$/),
      fc.oneof(fc.constant(''), part(/^-[0-9az.+~]{1,4}$/)),
    )
    .map((parts) => parts.join(''));
  const near = fc
    .tuple(version, part(/^[0-9a~.+]{0,2}$/), part(/^[0-9a~.+]{0,2}$/))
    .map(([one, a, b]): [string, string] => [one + a, one + b]);
  fc.assert(
    fc.property(fc.oneof(fc.tuple(version, version), near), ([a, b]) => {
      assert.equal(Math.sign(compareVersions('debian', a, b)), dpkgOrder(a, b), `${a} against ${b}`);
    }),
    { seed, numRuns: 500 },
  );
});

function dpkgOrder(a: string, b: string): number {
  const holds = (operator: 'lt' | 'gt') => {
    const { status, stderr } = spawnSync('dpkg', ['--compare-versions', a, operator, b], {
      encoding: 'utf8',
    });
    assert.ok(stderr === '' && (status === 0 || status === 1), `${a} ${operator} ${b}: ${stderr}`);
    return status === 0;
  };
  return holds('lt') ? -1 : holds('gt') ? 1 : 0;
}
