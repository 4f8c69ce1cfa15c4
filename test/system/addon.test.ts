/** The addon's owner checks: only root can prepare what they must refuse. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { loadAddon, unpackAddon } from '../../src/store/engine/addon.ts';

const prebuild = join(import.meta.dirname, '../../node_modules/better-sqlite3/prebuilds/linux-x64.node');
const NOBODY = 65534;

test('loadAddon() refuses a file or folder that another user owns, and takes root-owned ones as that user', (t) => {
  const bytes = readFileSync(prebuild);
  const digest = createHash('sha256').update(bytes).digest('hex');
  const base = mkdtempSync(join(tmpdir(), 'holdfast-owner-'));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  chmodSync(base, 0o755);
  const path = unpackAddon(() => bytes, digest, join(base, 'holdfast'));
  const load = () => loadAddon(path, digest, 'unpacked');

  chownSync(path, NOBODY, NOBODY);
  assert.throws(load, /uid 65534 owns it, expected 0 or root/);
  chownSync(path, 0, 0);
  chownSync(dirname(path), NOBODY, NOBODY);
  assert.throws(load, /Cannot keep .* uid 65534 owns it, expected 0 or root/);

  chownSync(dirname(path), 0, 0);
  chmodSync(dirname(path), 0o755);
  chmodSync(path, 0o444);
  process.seteuid?.(NOBODY);
  try {
    assert.equal(typeof load(), 'object');
  } finally {
    process.seteuid?.(0);
  }
});
