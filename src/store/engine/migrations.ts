/**
 * The numbered SQL files of `migrations/`. A bundle (binary and dist/index.js) carries their text, written in by
 * build.mjs as one constant; from the sources the folder is read at the call. Nothing happens at import.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Path below `migrations/` → text of that file; absent when run from .ts files. */
declare const __HOLDFAST_MIGRATIONS__: Readonly<Record<string, string>> | undefined;

/** One step of a schema, to be run once and in the order of `version`. */
export interface MigrationFile {
  /** The NNNN of the file name: 1, 2, 3 … without a gap. */
  readonly version: number;
  /** The words after the number, such as `init`. */
  readonly name: string;
  readonly sql: string;
}

/**
 * Every migration of one store in ascending `version`. Agent files have no dialect in their name because an agent
 * only ever runs on SQLite. Throws when a name does not follow the pattern or a number is missing or doubled: a
 * schema that was built from half of the files must not be opened.
 */
export function migrationFiles(store: 'agent' | 'registry', dialect: 'sqlite' | 'postgres'): MigrationFile[] {
  if (store === 'agent' && dialect !== 'sqlite') {
    throw new Error('Cannot list migrations: agent has no postgres schema, expected dialect "sqlite"');
  }
  const texts = typeof __HOLDFAST_MIGRATIONS__ === 'undefined' ? readFolder(store) : __HOLDFAST_MIGRATIONS__;
  return selectMigrations(texts, store, dialect);
}

/** The choice and the checks of `migrationFiles` over given texts (path below `migrations/` → text). */
export function selectMigrations(
  texts: Readonly<Record<string, string>>,
  store: 'agent' | 'registry',
  dialect: 'sqlite' | 'postgres',
): MigrationFile[] {
  const pattern =
    store === 'agent' ? /^(\d{4})-([a-z0-9-]+)\.sql$/ : /^(\d{4})-([a-z0-9-]+)\.(sqlite|postgres)\.sql$/;
  const files: MigrationFile[] = [];
  for (const [path, sql] of Object.entries(texts)) {
    if (!path.startsWith(`${store}/`)) continue;
    const match = pattern.exec(path.slice(store.length + 1));
    if (match?.[1] === undefined || match[2] === undefined) {
      throw new Error(
        `Cannot list migrations: file "migrations/${path}" is misnamed, expected ${String(pattern)}`,
      );
    }
    if (match[3] !== undefined && match[3] !== dialect) continue;
    files.push({ version: Number(match[1]), name: match[2], sql });
  }
  files.sort((a, b) => a.version - b.version);
  for (const [index, file] of files.entries()) {
    if (file.version !== index + 1) {
      throw new Error(
        `Cannot list migrations: ${store} (${dialect}) has number ${file.version} "${file.name}" at place ` +
          `${index + 1}, expected every number once and none left out`,
      );
    }
  }
  return files;
}

function readFolder(store: string): Record<string, string> {
  const folder = join(import.meta.dirname, '../../../migrations', store);
  const texts: Record<string, string> = {};
  for (const name of readdirSync(folder))
    texts[`${store}/${name}`] = readFileSync(join(folder, name), 'utf8');
  return texts;
}
