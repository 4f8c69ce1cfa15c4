/** The orders of Debian's and rpm's versions, against dpkg and rpm themselves. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareVersions } from '../../src/domain/version.ts';
import { testSeed } from '../helpers/seed.ts';
import { requirePackage } from './packages.ts';

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

test('compareVersions(rpm) agrees with rpm.vercmp', (t) => {
  requirePackage('rpm');
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const part = (pattern: RegExp) => fc.stringMatching(pattern);
  const version = fc
    .tuple(
      fc.constantFrom('', ':', '0:', '1:', '12:'),
      part(/^[0-9]{1,2}[0-9aZ._+~^]{0,5}$/),
      fc.oneof(fc.constant(''), part(/^-[0-9aZ._~^]{0,4}$/)),
    )
    .map((parts) => parts.join(''));
  const near = fc
    .tuple(version, part(/^[0-9a~^.]{0,2}$/), part(/^[0-9a~^.]{0,2}$/))
    .map(([one, a, b]): [string, string] => [one + a, one + b]);
  const pairs = fc.sample(fc.oneof(fc.tuple(version, version), near), { seed, numRuns: 2_000 });
  const answers = rpmOrders(pairs);
  assert.equal(answers.length, pairs.length);
  for (const [index, [a, b]] of pairs.entries())
    assert.equal(Math.sign(compareVersions('rpm', a, b)), answers[index], `${a} against ${b}`);
  assert.deepEqual(new Set(answers), new Set([-1, 0, 1]));
});

/** Of many pairs at once: each process of rpm takes 10 ms. */
function rpmOrders(pairs: readonly [string, string][]): number[] {
  const calls = pairs.map(([a, b]) => `print(rpm.vercmp('${a}','${b}')..' ')`).join(' ');
  const { status, stdout, stderr } = spawnSync('rpm', ['--eval', `%{lua:${calls}}`], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout.trim().split(/\s+/).map(Number);
}

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
