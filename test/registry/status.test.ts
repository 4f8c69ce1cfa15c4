import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Stage } from '../helpers/boot.ts';

test('/v1/status of both roles tells the position of its store as watchers write it', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const agent = await stage.agent({ registry: null });
  for (const { http } of [registry, agent]) {
    const { json } = await http({ path: '/v1/status' });
    assert.match(json.store.position, /^\d+\.\d+$/);
    assert.equal('mark' in json.store, false);
  }
});

test('/readyz and /healthz of both roles say that the database was deleted under them', async (t) => {
  const stage = Stage.open(t);
  for (const role of [await stage.registry(), await stage.agent({ registry: null })]) {
    assert.equal((await role.http({ path: '/readyz' })).status, 200);
    const file = join(role.dataDir, 'holdfast.db');
    renameSync(file, `${file}.gone`);
    await stage.clock.advance(5_000);
    for (const path of ['/readyz', '/healthz']) {
      const { status, json } = await role.http({ path });
      assert.equal(status, 503, path);
      assert.match(json.checks.store.detail, /holdfast\.db" was deleted while it was in use/);
    }
    renameSync(`${file}.gone`, file);
    await stage.clock.advance(5_000);
    assert.equal((await role.http({ path: '/readyz' })).status, 200);
  }
});
