import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { fileDetector, iniText } from '../../../src/agent/detectors/file.ts';
import { limits } from '../../../src/base/limits.ts';
import { createSearch } from '../../../src/base/search.ts';
import { type FileDetectorSpec, readDetectors } from '../../../src/domain/detector.ts';
import { isAppError } from '../../../src/domain/error.ts';
import { tempFolder } from '../../helpers/temp.ts';

const signal = new AbortController().signal;

function setup(t: TestContext, given: object) {
  const path = join(tempFolder(t), 'app');
  const [spec] = readDetectors([{ file: path, component: 'app', ...given }]);
  const detector = fileDetector(spec as FileDetectorSpec, { search: createSearch() });
  const look = () => detector.detect({ signal });
  const versionOf = async (text: string) => {
    writeFileSync(path, text);
    return (await look())?.[0]?.version;
  };
  return { path, detector, look, versionOf };
}

/** Refused, with no word of what stands in the file. */
const refused = (words: RegExp) => (error: unknown) => {
  assert.ok(isAppError(error, 'unprocessable'), String(error));
  assert.match(error.message, words);
  assert.ok(!JSON.stringify([error.message, error.details]).includes('secret'), error.message);
  return true;
};

suite('fileDetector()', () => {
  test('reads JSON, YAML and INI at a place, as it is written there', async (t) => {
    const json = setup(t, { json: '/a~1b/0/version' });
    assert.equal(await json.versionOf('{"a/b": [{"version": "1.4.2"}]}'), '1.4.2');
    assert.equal(await json.versionOf('{"a/b": [{"version": 1.10}]}'), '1.10');
    const yaml = setup(t, { yaml: '/release/version' });
    assert.equal(await yaml.versionOf('release:\n  version: 1.10\n'), '1.10');
    assert.equal(await yaml.versionOf('release: {version: 2016-03-31}\n'), '2016-03-31');
    const ini = setup(t, { ini: 'release.version', match: 'v(?<version>.*)' });
    assert.equal(await ini.versionOf('version=0\n[release]\nversion = "v2.0" ; of today\n'), '2.0');
    const text = setup(t, { match: '^app (?<version>\\S+)$' });
    assert.equal(await text.versionOf('\ufeffapp 7\n'), '7');
    assert.deepEqual(await text.look(), [{ name: 'app', version: '7', detector: 'file:app' }]);
    assert.deepEqual([text.detector.everyMs, text.detector.lookMs], [60_000, 10_000]);
  });

  test('answers the same array while the file is as it was, and follows links', async (t) => {
    const { path, look } = setup(t, { json: '/version' });
    const folder = tempFolder(t);
    for (const version of ['1', '2']) writeFileSync(join(folder, version), `{"version":"${version}"}`);
    symlinkSync(join(folder, '1'), path);
    const first = await look();
    assert.equal(await look(), first);
    symlinkSync(join(folder, '2'), `${path}.new`);
    renameSync(`${path}.new`, path);
    assert.equal((await look())?.[0]?.version, '2');
  });

  test('a file that is not there is not installed', async (t) => {
    const { path, look, versionOf } = setup(t, { json: '/version' });
    assert.equal(await look(), null);
    assert.equal(await versionOf('{"version":"1"}'), '1');
    rmSync(path);
    assert.equal(await look(), null);
    symlinkSync('/nowhere/at/all', path);
    assert.equal(await look(), null);
  });

  test('refuses what says no version, and repeats nothing of the file', async (t) => {
    const json = setup(t, { json: '/version' });
    for (const [text, words] of [
      ['secret', /app: it is no JSON$/],
      [`${'['.repeat(100_000)}secret`, /it is no JSON/],
      ['{"secret": 1}', /there is nothing at \/version/],
      ['{"__proto__": {"version": "1"}}', /there is nothing at \/version/],
      ['{"version": {"secret": 1}}', /no text and no number/],
      ['{"version": ""}', /not 1 to 256 printable/],
      ['{"version": "secret\\u001b[31m"}', /not 1 to 256 printable/],
    ] as const)
      await assert.rejects(json.versionOf(text), refused(words));
    const yaml = setup(t, { yaml: '/version' });
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
    for (const name of 'bcdefghi') {
      const before = String.fromCharCode(name.charCodeAt(0) - 1);
      bomb.push(`${name}: &${name} [${Array(9).fill(`*${before}`).join(', ')}]`);
    }
    for (const text of ['secret: [', 'a: 1\n---\nsecret: 2\n', bomb.join('\n'), '['.repeat(50_000)])
      await assert.rejects(yaml.versionOf(text), refused(/it is no YAML|longer than 500 ms/));
    await assert.rejects(yaml.versionOf('? '.repeat(3_000)), refused(/it is no YAML|longer than 500 ms/));
    const slow = setup(t, { match: '^(?<version>(a+)+)$' });
    await assert.rejects(slow.versionOf(`${'a'.repeat(60)}b`), /took longer than 100 ms/);
    await assert.rejects(
      setup(t, { match: 'x(?<version>.)' }).versionOf('secret'),
      refused(/nothing in it matches/),
    );
  });

  test('refuses what is no file of its size without waiting or reading it', async (t) => {
    const { path, look } = setup(t, { json: '/version' });
    execFileSync('mkfifo', [path]);
    await assert.rejects(look(), refused(/it is no regular file/));
    rmSync(path);
    mkdirSync(path);
    await assert.rejects(look(), refused(/it is no regular file/));
    rmSync(path, { recursive: true });
    symlinkSync('/dev/zero', path);
    await assert.rejects(look(), refused(/it is no regular file/));
    rmSync(path);
    writeFileSync(path, '{"version":"1"}');
    truncateSync(path, 2 ** 30);
    await assert.rejects(look(), refused(new RegExp(`more than ${limits.detectorFileBytes} bytes`)));
    rmSync(path);
    symlinkSync(path, path);
    await assert.rejects(look(), refused(/cannot be opened \(ELOOP\)/));
  });

  test('says who may not read it', { skip: process.getuid?.() === 0 && 'root may read all' }, async (t) => {
    const { path, look } = setup(t, { json: '/version' });
    writeFileSync(path, '{"version":"1"}');
    chmodSync(path, 0);
    await assert.rejects(look(), refused(/the agent may not read it/));
  });
});

test('iniText() finds a key in its section, and the last of several', () => {
  const text =
    "# c\na.b = 1\n[s.t]\nu: 2 # c\n u = 3\n[ other ]\nk = 'q ; q' ; c\nempty =\n= nothing\nurl=http://x#y\n";
  for (const [address, value] of [
    ['a.b', '1'],
    ['s.t.u', '3'],
    ['other.k', 'q ; q'],
    ['other.empty', ''],
    ['other.url', 'http://x#y'],
    ['u', undefined],
    ['other.', undefined],
  ] as const)
    assert.equal(iniText(text, address), value, address);
});
