/**
 * What an agent that does not run has left in its data directory, read and not changed: its lock is taken first, so that
 * nobody writes meanwhile, and the database is opened for reading only.
 */
import { existsSync, rmSync } from 'node:fs';
import type { TargetDocument } from '../domain/target.ts';
import { checkDataDir, storeFiles } from './engine/files.ts';
import { type Ownership, takeOwnership } from './engine/owner.ts';
import { applicationIds, connect, SqliteSession } from './engine/sqlite.ts';
import { type Identity, identityKey } from './identity.ts';
import { inventoryStatements } from './local-inventory-sql.ts';
import { metaStatements, readMeta } from './meta-sql.ts';
import { outboxStatements } from './outbox-sql.ts';
import { targetStatements } from './target.ts';

export interface LeftBehind {
  /** Null: the host has not joined. */
  readonly identity: Identity | null;
  readonly target: {
    readonly tag: string;
    readonly acceptedAtMs: number;
    readonly document: TargetDocument;
  } | null;
  readonly outbox: {
    readonly pending: number;
    readonly pendingBytes: number;
    readonly dropped: number;
  } | null;
  readonly components: readonly {
    readonly detector: string;
    readonly name: string;
    readonly version: string;
    readonly architecture: string | null;
  }[];
  /** `ok`, or what SQLite says of its pages. */
  readonly check: string;
}

/**
 * Null when no agent has ever run there. Throws `forbidden` when the directory is somebody else's, `conflict` when
 * a process owns it, and what SQLite throws for a database that cannot be read.
 */
export async function readLeftBehind({
  dataDir,
  pid,
  addon,
}: {
  readonly dataDir: string;
  readonly pid: number;
  readonly addon?: object | undefined;
}): Promise<LeftBehind | null> {
  checkDataDir(dataDir);
  const { database, lock } = storeFiles(dataDir);
  if (!existsSync(database)) return null;
  const owner: Ownership = takeOwnership({ file: lock, pid, addon });
  const beside = [`${database}-wal`, `${database}-shm`].filter((name) => !existsSync(name));
  try {
    const db = connect({ file: database, addon, mode: 'read' });
    try {
      return await readAll(new SqliteSession(db));
    } finally {
      db.close();
      // A connection that only reads makes these and may not take them away.
      for (const name of beside) rmSync(name, { force: true });
    }
  } finally {
    owner.release();
  }
}

async function readAll(session: SqliteSession): Promise<LeftBehind> {
  const { db } = session;
  if (db.pragma('application_id', { simple: true }) !== applicationIds.agent)
    throw new Error(`it is no database of an agent`);
  const check = String(db.pragma('quick_check(1)', { simple: true }));
  const identity = await readMeta(session, metaStatements('sqlite'), identityKey);
  const held = await session.get(targetStatements('sqlite').get, {});
  const outbox = await session.get(outboxStatements('sqlite').state, {});
  const components = await session.all(inventoryStatements('sqlite').all, {});
  return {
    identity: identity === null ? null : (JSON.parse(identity) as Identity),
    target:
      held === undefined
        ? null
        : {
            tag: held.tag,
            acceptedAtMs: held.accepted_at_ms,
            document: JSON.parse(held.body) as TargetDocument,
          },
    outbox:
      outbox === undefined
        ? null
        : { pending: outbox.items, pendingBytes: outbox.bytes, dropped: outbox.dropped },
    components: components.map(({ detector, name, version, architecture }) => ({
      detector,
      name,
      version,
      architecture,
    })),
    check,
  };
}
