/** Of the Debian package, what shows without a machine of its own: test/systemd/ has the rest. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { compareVersions } from '../../src/domain/version.ts';

const build = join(import.meta.dirname, '../../packaging/deb/build.mjs');

test('debianVersion() has apt order versions as they came out', async () => {
  const { debianVersion } = (await import(build)) as { debianVersion: (version: string) => string };
  const versions = ['0.9.0', '1.0.0-beta.2', '1.0.0-beta.11', '1.0.0-rc-1', '1.0.0', '1.0.1-rc.1', '1.0.1'];
  assert.deepEqual(
    versions.map(debianVersion).toSorted((a, b) => compareVersions('debian', a, b)),
    versions.map(debianVersion),
  );
  assert.equal(debianVersion('1.0.0-rc.1'), '1.0.0~rc.1');
  assert.equal(debianVersion('1.0.0'), '1.0.0');
});
