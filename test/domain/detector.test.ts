import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { detectorName, readDetectors, standardDetectorSpecs } from '../../src/domain/detector.ts';
import { isAppError } from '../../src/domain/error.ts';
import { refusedBy } from './refused-by.ts';

const nginx = { command: ['nginx', '-v'], match: 'nginx/(?<version>\\S+)', component: 'nginx' };

suite('readDetectors()', () => {
  test('reads the example of the formats', () => {
    const specs = readDetectors(['dpkg', { ...nginx, every: '1h' }]);
    assert.deepEqual(specs, [
      { kind: 'standard', name: 'dpkg' },
      { kind: 'command', ...nginx, user: null, everyMs: 3_600_000, timeoutMs: 10_000 },
    ]);
    assert.deepEqual(specs.map(detectorName), ['dpkg', 'command:nginx']);
    assert.deepEqual(readDetectors([]), []);
    assert.deepEqual(readDetectors(['dpkg', 'os-release', 'kernel', 'agent']), standardDetectorSpecs);
  });

  test('refuses what cannot be, naming the place and what was expected', () => {
    for (const [detectors, field, words] of [
      [null, 'detectors', /a list of dpkg, os-release, kernel, agent and commands; \[\] for none/],
      [['rpm'], 'detectors/0', /"rpm" given, expected one of dpkg/],
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
    ] as const) {
      const error = refusedBy(() => readDetectors(detectors));
      assert.ok(isAppError(error, 'bad-request'), JSON.stringify(detectors));
      assert.match(error.message, words);
      assert.equal(error.field, field);
    }
  });
});
