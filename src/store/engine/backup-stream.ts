/** A backup for whoever asks over a connection: complete on disk first, then read from a file without a name. */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { OpenStore } from './core.ts';

/**
 * The store as of one revision, as a stream of the bytes of one SQLite file. It needs its size once more in `dataDir`
 * until the stream ends or is destroyed; after a crash nothing of it is left but an empty folder.
 */
export async function backupStream(store: OpenStore, dataDir: string): Promise<Readable> {
  const folder = await mkdtemp(join(dataDir, '.backup-'));
  try {
    const file = join(folder, 'copy.db');
    await store.backup(file);
    const handle = await open(file);
    return handle.createReadStream();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
