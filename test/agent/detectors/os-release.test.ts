import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { agentDetector, kernelDetector } from '../../../src/agent/detectors/fixed.ts';
import {
  osReleaseComponent,
  osReleaseDetector,
  parseOsRelease,
} from '../../../src/agent/detectors/os-release.ts';
import { tempFolder } from '../../helpers/temp.ts';

const { signal } = new AbortController();

suite('parseOsRelease()', () => {
  test('undoes quotes, escapes, comments and blanks', () => {
    const fields = parseOsRelease(
      [
        '# a comment',
        'A=plain',
        'B="with blanks"',
        "C='$literal'",
        'D="a \\"b\\" \\$c \\\\ \\`"',
        '',
        ' E = no',
        'F=',
        'G="open',
        'A=later\r',
      ].join('\n'),
    );
    assert.deepEqual(Object.fromEntries(fields), {
      A: 'later',
      B: 'with blanks',
      C: '$literal',
      D: 'a "b" $c \\ `',
      F: '',
      G: '"open',
    });
  });
});

suite('osReleaseComponent()', () => {
  for (const [what, text, name, version] of [
    ['Debian 12', 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm', 'debian', '12'],
    ['Ubuntu', 'ID=ubuntu\nVERSION_ID="24.04"', 'ubuntu', '24.04'],
    ['Arch, which has builds', 'ID=arch\nBUILD_ID=rolling', 'arch', 'rolling'],
    ['Debian sid, which has a code name', 'ID=debian\nVERSION_CODENAME=forky', 'debian', 'forky'],
    ['one that has nothing', 'ID=gentoo', 'gentoo', 'rolling'],
    ['one that says empty words', 'ID=\nVERSION_ID=""', 'linux', 'rolling'],
  ] as const) {
    test(`names ${what}`, () =>
      assert.deepEqual(osReleaseComponent(text), { name, version, detector: 'os-release' }));
  }
});

suite('osReleaseDetector()', () => {
  test('reads the first file that exists, and gives the same array while it says the same', async (t) => {
    const folder = tempFolder(t);
    const paths = [join(folder, 'etc'), join(folder, 'lib')];
    const detector = osReleaseDetector({ paths });
    assert.equal(await detector.detect({ signal }), null);
    writeFileSync(join(folder, 'lib'), 'ID=debian\nVERSION_ID=12\n');
    const found = await detector.detect({ signal });
    assert.equal(found?.[0]?.version, '12');
    assert.equal(await detector.detect({ signal }), found);
    writeFileSync(join(folder, 'etc'), 'ID=debian\nVERSION_ID=13\n');
    assert.equal((await detector.detect({ signal }))?.[0]?.version, '13');
  });
});

suite('fixed detectors', () => {
  test('kernelDetector() names the running kernel linux', async () => {
    let release = '6.1.0-1';
    const detector = kernelDetector({ readRelease: () => release });
    const first = await detector.detect({ signal });
    assert.deepEqual(first, [{ name: 'linux', version: '6.1.0-1', detector: 'kernel' }]);
    assert.equal(await detector.detect({ signal }), first);
    release = '6.1.0-2';
    assert.equal((await detector.detect({ signal }))?.[0]?.version, '6.1.0-2');
  });

  test('agentDetector() names the agent holdfast', async () => {
    const found = await agentDetector({ version: '0.1.0' }).detect({ signal });
    assert.deepEqual(found, [{ name: 'holdfast', version: '0.1.0', detector: 'agent' }]);
  });
});
