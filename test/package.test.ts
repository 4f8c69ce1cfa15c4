/** What `npm ci` needs of a machine: nothing but Node and npm. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const read = (name: string): unknown =>
  JSON.parse(readFileSync(join(import.meta.dirname, '..', name), 'utf8'));

// It comes with prebuilt addons and says `gypfile: false`, which npm leaves out of the lock file; without that word npm
// runs node-gyp, which wants Python, make and the headers of Node from the network, and builds nothing.
test('npm ci runs no node-gyp for better-sqlite3, with an npm that knows allowScripts and with one that does not', () => {
  const { allowScripts } = read('package.json') as { allowScripts: Record<string, boolean> };
  assert.equal(allowScripts['better-sqlite3'], false);
  const { packages } = read('package-lock.json') as { packages: Record<string, { gypfile?: boolean }> };
  assert.equal(
    packages['node_modules/better-sqlite3']?.gypfile,
    false,
    'write "gypfile": false into its entry in package-lock.json again',
  );
});
