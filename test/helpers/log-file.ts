/** A store's log without its owner: as another process reads it, and as the next owner finds it. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { ChangeEvent } from '../../src/domain/event.ts';
import type { Verification } from '../../src/store/engine/log.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { FakeClock } from './clock.ts';
import type { Log } from './watch-history.ts';

/** Every revision in the file of a data directory, whether or not its owner runs. */
export function readLogFile(dataDir: string): Log {
  const db = new Database(join(dataDir, 'holdfast.db'), { readonly: true });
  try {
    const rows = db.prepare('SELECT revision, events FROM revisions ORDER BY revision').all() as {
      revision: number;
      events: string;
    }[];
    return rows.map(({ revision, events }) => ({ revision, events: JSON.parse(events) as ChangeEvent[] }));
  } finally {
    db.close();
  }
}

/** Walks the hash chain; nobody else may own the data directory. */
export async function verifyStore(role: 'agent' | 'registry', dataDir: string): Promise<Verification> {
  const store = await openStore({ role, dataDir, clock: new FakeClock(), limits: { ballastBytes: 0 } });
  try {
    return await store.verify();
  } finally {
    await store.close();
  }
}
