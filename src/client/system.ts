/** The role itself over the wire: what it does, its configuration and version, a copy of its store. */
import { createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Type } from 'typebox';
import { AppError } from '../domain/error.ts';
import { paths } from '../wire/paths.ts';
import { Count, strictObject } from '../wire/schema.ts';
import type { Connection } from './connection.ts';
import { LinkError } from './link.ts';
import { type ApiRequest, expectBody } from './request.ts';

/** Members depend on the role, so everything that comes is kept. */
const anyObject = Type.Record(Type.String(), Type.Unknown());

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
 * `conflict` when the file exists; what the server refuses (`unprocessable` on PostgreSQL).
 */
export async function backup(
  connection: Connection,
  file: string,
  options: { signal?: AbortSignal } = {},
): Promise<number> {
  await refuseExisting(file);
  const { mediaType, body } = await connection.open(paths.backup, { accept: backupMediaType, ...options });
  if (mediaType !== backupMediaType) {
    throw new LinkError(
      'foreign',
      `Cannot use the answer of ${connection.label}: it is ${mediaType}, not a backup`,
    );
  }
  const partial = `${file}.partial`;
  try {
    const output = createWriteStream(partial, { mode: 0o600, flush: true });
    await pipeline(body, output, { ...(options.signal === undefined ? {} : { signal: options.signal }) });
    await refuseExisting(file);
    await rename(partial, file);
    await syncFolder(dirname(file));
    return (await stat(file)).size;
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

async function refuseExisting(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
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
