import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import semver from 'semver';
import {
  compareVersions,
  isInRange,
  parseVersionRange,
  type VersionOrder,
  versionOrderOf,
  versionOrders,
} from '../../src/domain/version.ts';
import { refusedBy } from './refused-by.ts';

function assertAscending(order: VersionOrder, versions: readonly string[]): void {
  for (const [i, a] of versions.entries()) {
    for (const [j, b] of versions.entries())
      assert.equal(Math.sign(compareVersions(order, a, b)), Math.sign(i - j), `${a} against ${b}`);
  }
}

function assertEqual(order: VersionOrder, pairs: readonly (readonly [string, string])[]): void {
  for (const [a, b] of pairs) {
    assert.equal(compareVersions(order, a, b), 0, `${a} against ${b}`);
    assert.equal(compareVersions(order, b, a), 0, `${b} against ${a}`);
  }
}

test('compareVersions(debian) puts epochs first, ~ before the end, letters before all else, and numbers by value', () => {
  // deb-version(7) names the first five; the others are of packages.
  assertAscending('debian', ['1.0~~', '1.0~~a', '1.0~', '1.0', '1.0a']);
  assertAscending('debian', ['1.0-1~bpo12+1', '1.0-1', '1.0-1+b1', '1.0-1.1', '1.0-2', '1.0-10', '1:0.1-1']);
  assertAscending('debian', ['3.0.9-1', '3.0.11-1~deb12u2', '3.0.11-1', '3.0.13-1~deb12u1', '3.0.13-1']);
  assertAscending('debian', ['2.36-9', '2.36-9+deb12u3', '2.36-9+deb12u10', '2.37-1']);
  assertAscending('debian', ['1.1.1f', '1.1.1g', '1.1.1w', '1.1.10']);
  assertAscending('debian', ['1.0a', '1.0b', '1.0+', '1.0.', '1.0.1']);
  assertAscending('debian', ['0:1.2-3-1', '0:1.2-3-2', '0:1.2-4-1', '10:0', '100:0']);
  assertAscending('debian', [
    '20240101~rc1',
    '20240101',
    '20240101+dfsg',
    '99999999999999999999',
    '100000000000000000000',
  ]);
});

test('compareVersions(debian) takes an absent epoch and revision for 0, and leading zeros for nothing', () => {
  assertEqual('debian', [
    ['1.0', '1.0-0'],
    ['1.0', '0:1.0'],
    ['1.0', '00:1.0'],
    ['1.0-', '1.0'],
    ['1.01', '1.1'],
    ['1.0-00', '1.0-0'],
    ['a', 'a0'],
    ['', '0'],
  ]);
});

test('compareVersions(semver) is the precedence of SemVer 2.0.0', () => {
  // The example of its §11.
  assertAscending('semver', [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '2.0.0',
    '2.1.0',
    '2.1.1',
  ]);
  assertEqual('semver', [
    ['1.0.0+20130313144700', '1.0.0'],
    ['1.0.0-beta+exp.sha.5114f85', '1.0.0-beta+21AF26D3---117B344092BD'],
    ['v1.2.3', '1.2.3'],
    ['V1.2.3-rc.1', 'v1.2.3-rc.1'],
  ]);
});

test('compareVersions(semver) agrees with node-semver on all that is a version to it', () => {
  const number = fc.oneof(fc.nat(12), fc.nat(Number.MAX_SAFE_INTEGER)).map(String);
  const identifier = fc.oneof(number, fc.stringMatching(/^(?:0?[a-c-]|[0-9]{1,2}[a-cA-C-])[0-9a-c-]{0,3}$/));
  const prerelease = fc
    .array(identifier, { minLength: 1, maxLength: 4 })
    .map((parts) => `-${parts.join('.')}`);
  const version = fc
    .tuple(
      fc.constantFrom('', 'v'),
      fc.tuple(number, number, number).map((parts) => parts.join('.')),
      fc.oneof(fc.constant(''), prerelease),
      fc.constantFrom('', '+b', '+1.2-3'),
    )
    .map((parts) => parts.join(''));
  const pair = fc.oneof(
    fc.tuple(version, version),
    // Of the same core, so that the prereleases decide.
    fc
      .tuple(version, fc.oneof(fc.constant(''), prerelease), fc.oneof(fc.constant(''), prerelease))
      .map(([one, a, b]): [string, string] => {
        const core = one.replace(/[-+].*$/, '');
        return [core + a, core + b];
      }),
  );
  let seen = 0;
  fc.assert(
    fc.property(pair, ([a, b]) => {
      seen += 1;
      assert.equal(Math.sign(compareVersions('semver', a, b)), semver.compare(a, b), `${a} against ${b}`);
    }),
    { numRuns: 3_000 },
  );
  assert.equal(seen, 3_000);
});

test('compareVersions(semver) places what is no SemVer version among those that are', () => {
  assertAscending('semver', [
    '0.9',
    '1',
    '1.1g',
    '1.1w',
    '1.2',
    '1.2.0.1',
    '1.24.9',
    '1.25',
    '1.25.1',
    '2.rc9',
    '2.rc10',
  ]);
  assertAscending('semver', ['2021.04', '2021.4.1', '2021.10', 'edge', 'stable']);
  assertEqual('semver', [
    ['1.25', '1.25.0'],
    ['2021.04', '2021.4'],
    ['r007', 'r7'],
  ]);
});

test('compareVersions() is one order of all texts: antisymmetric, transitive, and 0 for the same', () => {
  const text = fc.string({ unit: fc.constantFrom(...'012az.-+~^:v A'), maxLength: 7 });
  for (const order of versionOrders) {
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        const compare = (x: string, y: string) => Math.sign(compareVersions(order, x, y));
        assert.equal(compare(a, a), 0);
        assert.equal(compare(a, b) + compare(b, a), 0, `${a} against ${b}`);
        const [first = '', second = '', third = ''] = [a, b, c].sort(compare);
        assert.ok(compare(first, second) <= 0 && compare(second, third) <= 0 && compare(first, third) <= 0);
      }),
      { numRuns: 5_000 },
    );
  }
});

test('compareVersions(rpm) puts epochs first, ~ before the end, ^ after it, letters before numbers, and a release after none', () => {
  // rpm-version(7) has the first two.
  assertAscending('rpm', ['1.0~rc1', '1.0', '1.0^20200101git', '1.0.1']);
  assertAscending('rpm', ['1.0~rc1~git1', '1.0~rc1', '1.0~rc1^git1', '1.0']);
  assertAscending('rpm', ['1.0', '1.0a', '1.0.1', '1.0.10', '1:0.1']);
  assertAscending('rpm', ['3.0.7', '3.0.7-24.el9', '3.0.7-25.el9_3', '3.0.7-100.el9', '1:3.0.7-1.el9']);
  assertAscending('rpm', ['5.14.0-70.el9', '5.14.0-362.8.1.el9_3', '5.14.0-362.18.1.el9_3']);
  assertEqual('rpm', [
    ['1.0', '1_0'],
    ['1.01', '1.1'],
    ['1.0.', '1.0'],
    ['0:1.0', '1.0'],
    ['1a', '1.a'],
    ['1-1', '1-01'],
  ]);
});

test('versionOrderOf() is that of Debian for what dpkg found, of rpm for what rpm found, and of SemVer for all else', () => {
  assert.equal(versionOrderOf('dpkg'), 'debian');
  assert.equal(versionOrderOf('rpm'), 'rpm');
  for (const detector of ['os-release', 'kernel', 'agent', 'command'])
    assert.equal(versionOrderOf(detector), 'semver');
});

test('parseVersionRange() reads a name, an operator and a version', () => {
  const cases: [string, string, string, string][] = [
    ['openssl<3.0.13', 'openssl', '<', '3.0.13'],
    ['openssl <= 3.0.13-1~deb12u1', 'openssl', '<=', '3.0.13-1~deb12u1'],
    ['shop/api=1.4.2', 'shop/api', '=', '1.4.2'],
    ['libstdc++6!=12', 'libstdc++6', '!=', '12'],
    [' linux >= 6.1 ', 'linux', '>=', '6.1'],
    ['vim>2:9', 'vim', '>', '2:9'],
  ];
  for (const [text, name, operator, version] of cases)
    assert.deepEqual(parseVersionRange(text, 'has'), { name, operator, version });
});

test('parseVersionRange() says what is wrong, and with which field', () => {
  const cases: [string, RegExp][] = [
    ['openssl', /expected a name, one of <= < >= > != = and a version, such as openssl<3\.0\.13/],
    ['', /expected a name/],
    ['openssl=>3', /"=>" is none of/],
    ['openssl==3', /"==" is none of/],
    ['openssl<3<4', /there is another operator in the version/],
    ['<3', /there is no name before </],
    ['openssl<', /there is no version after </],
    [`openssl<${'1'.repeat(257)}`, /longer than 256 characters/],
  ];
  for (const [text, message] of cases) {
    const error = refusedBy(() => parseVersionRange(text, 'has/0')) as {
      code: string;
      field: string;
      message: string;
    };
    assert.deepEqual([error.code, error.field], ['bad-request', 'has/0'], text);
    assert.match(error.message, message);
  }
});

test('isInRange() compares as the order says', () => {
  const holds = (text: string, order: VersionOrder, version: string) =>
    isInRange(parseVersionRange(text, 'has'), order, version);
  assert.equal(holds('openssl<3.0.13', 'debian', '3.0.13~rc1-1'), true);
  assert.equal(holds('openssl<3.0.13', 'debian', '3.0.13-1'), false);
  assert.equal(holds('api<1.0.0', 'semver', '1.0.0-rc.1'), true);
  const around: [string, readonly boolean[]][] = [
    ['<', [true, false, false]],
    ['<=', [true, true, false]],
    ['=', [false, true, false]],
    ['>=', [false, true, true]],
    ['>', [false, false, true]],
    ['!=', [true, false, true]],
  ];
  for (const [operator, expected] of around)
    assert.deepEqual(
      ['1.9', '1.10', '1.11'].map((version) => holds(`a${operator}1.10`, 'semver', version)),
      expected,
    );
});
