import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { detectorName, readDetectors, standardDetectorSpecs } from '../../src/domain/detector.ts';
import { isAppError } from '../../src/domain/error.ts';
import { refusedBy } from './refused-by.ts';

const nginx = { command: ['nginx', '-v'], match: 'nginx/(?<version>\\S+)', component: 'nginx' };

const unit = { systemd: 'api@1.service', match: 'api-(?<version>\\S+)' };
const file = { file: '/opt/app/version.json', json: '/release/version', component: 'app' };

suite('readDetectors()', () => {
  test('reads the example of the formats', () => {
    const specs = readDetectors(['dpkg', { ...nginx, every: '1h' }]);
    assert.deepEqual(specs, [
      { kind: 'standard', name: 'dpkg' },
      { kind: 'command', ...nginx, user: null, everyMs: 3_600_000, timeoutMs: 10_000 },
    ]);
    assert.deepEqual(specs.map(detectorName), ['dpkg', 'command:nginx']);
    assert.deepEqual(readDetectors([]), []);
    assert.deepEqual(readDetectors(['dpkg', 'rpm', 'os-release', 'kernel', 'agent']), standardDetectorSpecs);
  });

  test('reads units, files and schedules', () => {
    const specs = readDetectors([
      { detector: 'dpkg', every: '5m' },
      { detector: 'rpm', timeout: '30s' },
      unit,
      { ...file, match: 'v(?<version>.*)', every: '10s', timeout: '2s' },
    ]);
    assert.deepEqual(specs, [
      { kind: 'standard', name: 'dpkg', everyMs: 300_000 },
      { kind: 'standard', name: 'rpm', timeoutMs: 30_000 },
      {
        ...{ kind: 'systemd', component: 'api@1.service', unit: 'api@1.service', property: 'ExecStart' },
        ...{ match: 'api-(?<version>\\S+)', everyMs: 300_000, timeoutMs: 10_000 },
      },
      {
        ...{ kind: 'file', component: 'app', path: '/opt/app/version.json' },
        address: { format: 'json', at: '/release/version' },
        ...{ match: 'v(?<version>.*)', everyMs: 10_000, timeoutMs: 2_000 },
      },
    ]);
    assert.deepEqual(specs.map(detectorName), ['dpkg', 'rpm', 'systemd:api@1.service', 'file:app']);
  });

  test('refuses what cannot be, naming the place and what was expected', () => {
    for (const [detectors, field, words] of [
      [
        null,
        'detectors',
        /a list of dpkg, rpm, os-release, kernel, agent, commands, units and files; \[\] for none/,
      ],
      [['pacman'], 'detectors/0', /"pacman" given, expected one of dpkg/],
      [['dpkg', 'dpkg'], 'detectors/1', /"dpkg" stands there already/],
      [[nginx, nginx], 'detectors/1', /"nginx" is looked for already/],
      [[{ ...nginx, match: 'nginx/(\\S+)' }], 'detectors/0/match', /a group called version, such as/],
      [[{ ...nginx, match: '(?<version>' }], 'detectors/0/match', /a regular expression/],
      [[{ ...nginx, match: undefined }], 'detectors/0/match', /nothing given/],
      [
        [{ ...nginx, command: undefined }],
        'detectors/0/command',
        /nothing given, expected a list of a program/,
      ],
      [[{ ...nginx, component: undefined }], 'detectors/0/component', /nothing given/],
      [[{ ...nginx, component: 'x'.repeat(121) }], 'detectors/0/component', /at most 120 characters/],
      [[{ ...nginx, timeout: '61s' }], 'detectors/0/timeout', /at most 1m/],
      [[{ ...nginx, every: '5s', timeout: '6s' }], 'detectors/0/timeout', /at most 5s/],
      [[{ ...nginx, user: 'holdfast-registry' }], 'detectors/0/user', /never runs as/],
      [[{ ...nginx, comand: 1 }], 'detectors/0/comand', /did you mean "command"\?/],
      [
        [{ ...nginx, property: 'ExecStart' }],
        'detectors/0/property',
        /unknown key "property"; expected one of/,
      ],
      [[{ ...nginx, file: '/x' }], 'detectors/0', /a map with one of command, systemd, file, detector/],
      [[{ every: '5m' }], 'detectors/0', /a map with one of command, systemd, file, detector/],
      [[{ detector: 'dpk' }], 'detectors/0/detector', /expected one of dpkg/],
      [[{ detector: 'dpkg', every: '10ms' }], 'detectors/0/every', /at least 1s/],
      [[{ detector: 'rpm', timeout: '5s' }], 'detectors/0/timeout', /at least 20s and at most 1m/],
      [[{ detector: 'dpkg' }, 'dpkg'], 'detectors/1', /"dpkg" stands there already/],
      [[{ detector: 'dpkg', match: 'x' }], 'detectors/0/match', /unknown key/],
      [[{ ...unit, systemd: '-x' }], 'detectors/0/systemd', /the name of a unit/],
      [[{ ...unit, systemd: 'a b' }], 'detectors/0/systemd', /the name of a unit/],
      [[{ ...unit, property: 'Environment' }], 'detectors/0/property', /one of ExecStart/],
      [[{ ...unit, match: 'x' }], 'detectors/0/match', /a group called version/],
      [[{ ...unit, component: 'x'.repeat(121) }], 'detectors/0/component', /at most 120 characters/],
      [[{ ...file, file: 'app.json' }], 'detectors/0/file', /a path from \/ on/],
      [[{ ...file, json: 'release' }], 'detectors/0/json', /a JSON pointer/],
      [[{ ...file, json: '/a~2' }], 'detectors/0/json', /a JSON pointer/],
      [[{ ...file, yaml: '/version' }], 'detectors/0', /several given, expected one of json, yaml and ini/],
      [[{ file: '/x', component: 'x' }], 'detectors/0', /none given, expected where in the file/],
      [[{ file: '/x', ini: 'version' }], 'detectors/0/component', /nothing given/],
    ] as const) {
      const error = refusedBy(() => readDetectors(detectors));
      assert.ok(isAppError(error, 'bad-request'), JSON.stringify(detectors));
      assert.match(error.message, words);
      assert.equal(error.field, field);
    }
  });
});
