/** `holdfast version`: which build this is, and that its SQLite loads. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { COMMIT, VERSION } from '../base/version.ts';
import type { Flags } from './config.ts';
import { action, type Context, examples, outputOption } from './context.ts';
import type { Io } from './io.ts';
import { writeJson, writeYaml } from './output.ts';

export function define(command: Command, context: Context): void {
  const { io } = context;
  command
    .description('Shows the version of this program, the commit that it was built from, and its SQLite.')
    .action(
      action(context, async (flags: Flags) => {
        const versions = { version: VERSION, commit: COMMIT, sqlite: await sqliteVersion(io) };
        if (flags['output'] === 'json') writeJson(io, JSON.stringify(versions));
        else if (flags['output'] === 'yaml') await writeYaml(io, JSON.stringify(versions));
        else io.stdout.write(`holdfast ${versions.version} (${versions.commit}) sqlite ${versions.sqlite}\n`);
        return 0;
      }),
    );
  outputOption(command);
  examples(command, ['version', 'version -o json']);
}

async function sqliteVersion(io: Io): Promise<string> {
  const [{ default: Database }, { sqliteAddon }] = await Promise.all([
    import('better-sqlite3'),
    import('../store/engine/addon.ts'),
  ]);
  const addon = sqliteAddon(join(io.env['XDG_CACHE_HOME'] ?? join(io.home, '.cache'), 'holdfast'));
  // better-sqlite3 13 takes the loaded addon itself; its types still know only a path.
  const database = new Database(
    ':memory:',
    addon === undefined ? {} : { nativeBinding: addon as unknown as string },
  );
  try {
    return String(database.prepare('select sqlite_version()').pluck().get());
  } finally {
    database.close();
  }
}
