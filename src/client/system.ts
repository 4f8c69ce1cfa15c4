/** The role itself over the wire: what it does, its configuration and version, a copy of its store. */
import { link, lstat, open, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Type } from 'typebox';
import { FileError, reasonOf } from '../base/atomic-file.ts';
import { AppError } from '../domain/error.ts';
import { paths } from '../wire/paths.ts';
import { Count, strictObject } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { LinkError } from './link.ts';
import { type ApiRequest, expectBody } from './request.ts';

/** Members depend on the role, so everything that comes is kept. */
export const anyObject = Type.Record(Type.String(), Type.Unknown());

export const backupMediaType = 'application/vnd.sqlite3';

export const systemRequests = {
  status: () => ({ method: 'GET', path: paths.status, answer: expectBody(anyObject) }) satisfies ApiRequest,
  config: () =>
    ({
      method: 'GET',
      path: paths.config,
      answer: expectBody(strictObject({ version: Count, config: anyObject })),
    }) satisfies ApiRequest,
  version: () =>
    ({
      method: 'GET',
      path: paths.version,
      answer: expectBody(
        strictObject({ version: Type.String(), commit: Type.String(), wire: Type.Array(Type.Integer()) }),
      ),
    }) satisfies ApiRequest,
};

/**
 * Streams a consistent copy of the store into `file`: whole and on disk, or not there at all. Resolves with its size.
 * `conflict` when the file exists, also when it appeared meanwhile; what the server refuses (`unprocessable` on
 * PostgreSQL). `finish` may still change the file before it gets its name. A crash may leave a file `.<name>.<hex>.partial`.
 */
export async function backup(
  connection: Connection,
  file: string,
  options: { signal?: AbortSignal; finish?: (partial: string) => Promise<void> } = {},
): Promise<number> {
  const { finish, ...rest } = options;
  await refuseExisting(file);
  const unique = Buffer.from(connection.random.bytes(8)).toString('hex');
  const partial = join(dirname(file), `.${basename(file)}.${unique}.partial`);
  // In a folder where others write too, a name that they can guess may be a link of theirs: 'wx' follows none.
  const output = await open(partial, 'wx', 0o600).catch((error: unknown) => {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const why = isMissing ? `there is no folder ${dirname(file)}` : reasonOf(error);
    throw new FileError(`Cannot write the backup ${file}: ${why}`, file, error);
  });
  try {
    const { mediaType, body } = await connection.open(paths.backup, { accept: backupMediaType, ...rest });
    if (mediaType !== backupMediaType) {
      throw new LinkError(
        'foreign',
        `Cannot use the answer of ${connection.label}: it is ${mediaType}, not a backup`,
      );
    }
    await pipeline(body, output.createWriteStream({ flush: true }), {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    await finish?.(partial);
    await placeNew(partial, file);
    return (await stat(file)).size;
  } finally {
    await output.close();
    await rm(partial, { force: true });
  }
}

/** Gives a finished file a name that must be free: a rename would replace what appeared there meanwhile. */
async function placeNew(partial: string, file: string): Promise<void> {
  try {
    await link(partial, file);
  } catch (error) {
    await refuseExisting(file);
    throw error;
  }
  await syncFolder(dirname(file));
}

/** A link that leads nowhere exists too. */
async function refuseExisting(file: string): Promise<void> {
  const found = await lstat(file).catch(() => undefined);
  if (found === undefined) return;
  throw new AppError('conflict', `Cannot write the backup: ${file} exists, remove it or name another file`, {
    field: 'file',
  });
}

/** A name is durable once its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
