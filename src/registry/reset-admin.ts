/** Another admin.token for a registry that does not run. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Surroundings } from '../base/surroundings.ts';
import type { Caller } from '../domain/access.ts';
import { AppError } from '../domain/error.ts';
import { AccessStore } from '../store/access.ts';
import { resetAdminToken } from '../store/admin-token.ts';
import { storeFiles } from '../store/engine/files.ts';
import { openEither, type RegistryOptions } from './registry.ts';

/** Whoever may open the store, as an admin at its socket is. */
const local: Caller = { role: 'admin', subject: 'local' };

/** Resolves with the file. `not-found` where there is no registry; `conflict` when one runs there. */
export async function resetAdmin(options: RegistryOptions & Surroundings): Promise<string> {
  const { dataDir, databaseUrl = null, clock, random } = options;
  if (databaseUrl === null && !existsSync(storeFiles(dataDir).database)) {
    throw new AppError(
      'not-found',
      `Cannot write another admin.token: there is no registry in ${dataDir}; name its folder with --data-dir`,
    );
  }
  const store = await openEither(options);
  try {
    const file = join(dataDir, 'admin.token');
    await resetAdminToken(local, { store, access: await AccessStore.open({ store, clock, random }), file });
    return file;
  } finally {
    await store.close();
  }
}
