/** What was acknowledged is there after the process was killed. Power loss is another matter: a kill keeps the page cache. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../../src/base/clock.ts';
import { openStore } from '../../../src/store/engine/store.ts';
import { tempFolder } from '../../helpers/temp.ts';

const src = join(import.meta.dirname, '../../../src');

test('Store keeps every acknowledged write through SIGKILL, and the chain holds', async (t) => {
  const dataDir = tempFolder(t);
  const script = `
    import { writeSync } from 'node:fs';
    import { systemClock } from ${JSON.stringify(`${src}/base/clock.ts`)};
    import { systemCaller } from ${JSON.stringify(`${src}/domain/access.ts`)};
    import { openStore } from ${JSON.stringify(`${src}/store/engine/store.ts`)};
    const store = await openStore({ role: 'registry', dataDir: ${JSON.stringify(dataDir)}, clock: systemClock, limits: { ballastBytes: 0 } });
    const epoch = store.log.head().epoch;
    for (let caller = 0; caller < 16; caller += 1) (async () => {
      for (;;) {
        await store.write(systemCaller, async (tx) => tx.append({ type: 'service.set', body: caller }));
        writeSync(1, 'a');
      }
    })();`;
  let acknowledged = 0;
  for (let round = 0; round < 3; round += 1) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const wanted = acknowledged + 500 * (round + 1);
    child.stdout.on('data', (bytes: Buffer) => {
      acknowledged += bytes.length;
      if (acknowledged >= wanted) child.kill('SIGKILL');
    });
    const [, signal] = await once(child, 'close');
    assert.equal(signal, 'SIGKILL', 'the writer was killed while it wrote');
    assert(acknowledged >= wanted, `${acknowledged} writes were acknowledged before the kill`);
    const store = await openStore({
      role: 'registry',
      dataDir,
      clock: systemClock,
      limits: { ballastBytes: 0 },
    });
    assert(
      store.log.head().revision >= acknowledged,
      `${store.log.head().revision} kept of ${acknowledged} acknowledged`,
    );
    assert.equal((await store.verify()).ok, true);
    await store.close();
    acknowledged = store.log.head().revision;
  }
});
