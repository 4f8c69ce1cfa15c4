/**
 * The keys of a registry in a backup: the files of `<data>/keys`, sealed under a passphrase (base/seal.ts) in the
 * backup's own table `meta`. The database of a registry never holds them; a restored one has them no more.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type Database from 'better-sqlite3';
import { readPrivateFile, writeFileAtomic } from '../../base/atomic-file.ts';
import { makeFolder } from '../../base/folder.ts';
import { SealError, seal, unseal } from '../../base/seal.ts';
import { AppError } from '../../domain/error.ts';
import { syncPath } from './files.ts';
import { logStatements } from './log.ts';
import { connect, SqliteSession } from './sqlite.ts';

/** Name of a file in `keys/` → its text. */
export type KeyFiles = Readonly<Record<string, string>>;

const metaKey = 'sealed-keys';
const fileName = /^[a-z][a-z0-9-]{0,63}\.pem$/;

/** Seals the key files of `dataDir` into a backup that nobody else uses yet. `not-found` when there are none. */
export async function addKeys(options: {
  file: string;
  dataDir: string;
  passphrase: string;
  addon?: object | undefined;
}): Promise<void> {
  const { file, dataDir, passphrase, addon } = options;
  const sealed = await seal(JSON.stringify(await readKeys(dataDir)), passphrase);
  const db = connect({ file, addon });
  try {
    db.pragma('synchronous = FULL');
    // One file, also while it is written.
    db.pragma('journal_mode = MEMORY');
    await new SqliteSession(db).run(logStatements('sqlite').putMeta, { key: metaKey, value: sealed });
    db.pragma('journal_mode = DELETE');
  } finally {
    db.close();
  }
  syncPath(file);
}

/**
 * Takes the keys out of a copy of a backup: null when it holds none. `bad-request` without a passphrase, or with a
 * wrong one.
 */
export async function takeKeys(
  db: Database.Database,
  options: { file: string; passphrase: () => Promise<string | null> },
): Promise<KeyFiles | null> {
  const { file } = options;
  const [row] = db
    .prepare<[string], { value: string }>('DELETE FROM meta WHERE key = ? RETURNING value')
    .all(metaKey);
  if (row === undefined) return null;
  const refuse = (problem: string, cause?: unknown) =>
    new AppError('bad-request', `Cannot restore "${file}": ${problem}; nothing was changed`, {
      field: 'passphrase',
      cause,
    });
  const passphrase = await options.passphrase();
  if (passphrase === null)
    throw refuse('it holds the registry’s keys under a passphrase, pass it with --passphrase-file');
  try {
    return parseKeys(await unseal(row.value, passphrase));
  } catch (error) {
    if (error instanceof SealError) throw refuse(`its keys cannot be opened: ${error.message}`, error);
    throw error;
  }
}

/** Writes key files into a new folder, which becomes that of the keys when all of them are on disk. */
export async function writeKeys(folder: string, keys: KeyFiles): Promise<void> {
  makeFolder(folder, 0o700);
  for (const [name, text] of Object.entries(keys))
    await writeFileAtomic(join(folder, name), text, { mode: 0o600 });
}

async function readKeys(dataDir: string): Promise<KeyFiles> {
  const folder = join(dataDir, 'keys');
  const keys: Record<string, string> = {};
  let names: string[];
  // Root backs up a registry that runs as a user of its own: whose the folder is, is whose the keys must be.
  let uid: number;
  try {
    ({ uid } = await stat(folder));
    names = await readdir(folder);
  } catch (error) {
    throw new AppError(
      'not-found',
      `Cannot back up the keys: ${folder} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)}); --with-keys works where the registry runs, as its user or root`,
      { cause: error },
    );
  }
  for (const name of names.filter((one) => fileName.test(one)))
    keys[name] = (await readPrivateFile(join(folder, name), { uid })).toString('utf8');
  if (Object.keys(keys).length === 0)
    throw new AppError('not-found', `Cannot back up the keys: there are none in ${folder}`);
  return keys;
}

/** What was sealed was ours; still, a name must not lead anywhere else. */
function parseKeys(text: string): KeyFiles {
  const value = JSON.parse(text) as Record<string, unknown>;
  for (const [name, content] of Object.entries(value)) {
    if (!fileName.test(name) || typeof content !== 'string')
      throw new SealError('what was sealed are no key files');
  }
  return value as KeyFiles;
}
