/** `admin.token` in the data directory: how the first person gets in. */
import { FileError, readPrivateFile, writeFileAtomic } from '../base/atomic-file.ts';
import { systemCaller } from '../domain/access.ts';
import { isAppError } from '../domain/error.ts';
import { adminTokenLifeMs, type TokenPlan } from '../domain/token.ts';
import type { AccessStore } from './access.ts';

/** Keeps a token that still opens the door; writes a new one (0600, 30 days) when there is none. */
export async function keepAdminToken({ access, file }: { access: AccessStore; file: string }): Promise<void> {
  if (await opens(access, file)) return;
  const { token } = await access.issue(systemCaller, adminTokenPlan);
  await writeFileAtomic(file, `${token}\n`, { mode: 0o600 });
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
  subject: 'admin.token',
  lifeMs: adminTokenLifeMs,
  scope: null,
  uses: null,
  labels: {},
  region: null,
  name: null,
};
