/** `holdfast version`: which build this is, and that its SQLite loads. Placeholder until the command table exists. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { COMMIT, VERSION } from '../base/version.ts';
import { sqliteAddon } from '../store/addon.ts';
import { migrationFiles } from '../store/migrations.ts';

/** Runs the command in `argv` and returns the exit code (2: usage). */
export function run(argv: readonly string[]): number {
  if (argv[0] !== 'version') {
    process.stderr.write('Usage: holdfast version\n');
    return 2;
  }
  const addon = sqliteAddon(join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'holdfast'));
  // better-sqlite3 13 takes the loaded addon itself; its types still know only a path.
  const options = addon === undefined ? {} : { nativeBinding: addon as unknown as string };
  const db = new Database(':memory:', options);
  const sqlite = String(db.prepare('select sqlite_version()').pluck().get());
  db.close();
  const migrations = migrationFiles('agent', 'sqlite').length;
  process.stdout.write(`holdfast ${VERSION} (${COMMIT}) sqlite ${sqlite} agent migrations ${migrations}\n`);
  return 0;
}
