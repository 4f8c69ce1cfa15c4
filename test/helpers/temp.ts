/** Folders that a test may fill and never has to clean. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A new private folder (0700), removed with all that is in it when the test or suite `t` ends. */
export function tempFolder(t: { after(fn: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
