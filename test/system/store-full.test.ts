/** A disk that is really full: a tmpfs of 24 MiB. Needs root to mount it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemCaller } from '../../src/domain/access.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { FakeClock } from '../helpers/clock.ts';
import { tempFolder } from '../helpers/temp.ts';

test('Store on a full disk loses nothing that it acknowledged and goes on when there is room', async (t) => {
  const mount = join(tempFolder(t), 'disk');
  mkdirSync(mount, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=0700', 'tmpfs', mount]);
  try {
    await fillAndFree(mount);
  } finally {
    execFileSync('umount', ['--lazy', mount]);
  }
});

async function fillAndFree(mount: string): Promise<void> {
  const clock = new FakeClock();
  const store = await openStore({ role: 'registry', dataDir: join(mount, 'data'), clock });
  assert.equal(store.health().ballast, 'ready');
  // Somebody else's file takes most of the room.
  writeFileSync(join(mount, 'other'), Buffer.alloc(8 * 1024 * 1024));
  const body = 'x'.repeat(10_000);
  let acknowledged = 0;
  let refused: unknown;
  while (refused === undefined) {
    await store
      .write(systemCaller, async (tx) => tx.append({ type: 'service.set', body }))
      .then(
        () => {
          acknowledged += 1;
        },
        (error: unknown) => {
          refused = error;
        },
      );
  }
  assert.equal((refused as { code?: string }).code, 'storage-full');
  assert(acknowledged > 50, `only ${acknowledged} fitted`);
  assert.equal(store.health().state, 'storage-full');
  assert.equal(store.log.head().revision, acknowledged);
  assert.equal((await store.log.read(0, { revisions: 10, bytes: 1e6 })).length, 10);
  await clock.advance(5_000);
  assert.equal(store.health().state, 'storage-full');
  rmSync(join(mount, 'other'));
  await clock.advance(1_000);
  assert.deepEqual(store.health(), { state: 'ok', detail: null, ballast: 'ready', waiting: 0 });
  await store.write(systemCaller, async (tx) => tx.append({ type: 'service.set', body }));
  assert.deepEqual(await store.verify(), { ok: true, from: 0, to: acknowledged + 1 });
  await store.close();
}
