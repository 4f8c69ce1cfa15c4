/** `admin.token` in the data directory: how the first person gets in. */
import { FileError, readPrivateFile, writeFileAtomic } from '../base/atomic-file.ts';
import { type Caller, systemCaller } from '../domain/access.ts';
import { isAppError } from '../domain/error.ts';
import { adminTokenLifeMs, type TokenPlan } from '../domain/token.ts';
import type { AccessStore } from './access.ts';
import type { Store } from './engine/port.ts';
import { metaStatements, readMeta, writeMeta } from './meta-sql.ts';

const subject = 'admin.token';
/** Set once the first one has been written. */
const metaKey = 'admin_token';

export interface AdminTokenParts {
  readonly store: Store;
  readonly access: AccessStore;
  readonly file: string;
}

/** Of an agent, where it never ends: keeps a token that still opens the door, writes a new one when there is none. */
export async function keepAdminToken({ access, file }: Omit<AdminTokenParts, 'store'>): Promise<void> {
  if (await opens(access, file)) return;
  const { token } = await access.issue(systemCaller, adminTokenPlan);
  await writeFileAtomic(file, `${token}\n`, { mode: 0o600 });
}

/**
 * Of a registry, at its first start alone: whoever ends that token, or lets it expire, does not find another at the
 * next start. It is noted after the file is written, so that a crash in between writes it again.
 */
export async function writeFirstAdminToken(parts: AdminTokenParts): Promise<void> {
  const { store } = parts;
  const meta = metaStatements(store.dialect);
  const written = await store.read((session) => readMeta(session, meta, metaKey));
  // One that others can read is refused, whether it still opens or not: nobody would know that it had leaked.
  if (written === null) await resetAdminToken(systemCaller, parts);
  else await opens(parts.access, parts.file);
}

/** Ends every `admin.token` and writes another (0600, 30 days). */
export async function resetAdminToken(
  caller: Caller,
  { store, access, file }: AdminTokenParts,
): Promise<void> {
  const { token } = await store.write(caller, async (tx) => {
    await access.revokeSubjectIn(tx, subject);
    return access.issueIn(tx, adminTokenPlan);
  });
  await writeFileAtomic(file, `${token}\n`, { mode: 0o600 });
  const meta = metaStatements(store.dialect);
  await store.write(systemCaller, (tx) => writeMeta(tx, meta, metaKey, 'written'));
}

async function opens(access: AccessStore, file: string): Promise<boolean> {
  try {
    await access.authenticate((await readPrivateFile(file)).toString().trim());
    return true;
  } catch (error) {
    if (isAppError(error, 'unauthenticated') || (error instanceof FileError && error.code === 'ENOENT'))
      return false;
    throw error;
  }
}

const adminTokenPlan: TokenPlan = {
  kind: 'api',
  role: 'admin',
  subject,
  lifeMs: adminTokenLifeMs,
  scope: null,
  uses: null,
  labels: {},
  region: null,
  name: null,
};
