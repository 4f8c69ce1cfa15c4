/** A join token that `holdfast install` left in the data directory. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentConfig } from '../../src/cli/agent-config.ts';
import { Settings } from '../../src/cli/config.ts';
import type { Io } from '../../src/cli/io.ts';
import { tempFolder } from '../helpers/temp.ts';

test('agentConfig() takes the join token that lies in the data directory, and deletes it when it was used', async (t) => {
  const dataDir = tempFolder(t);
  writeFileSync(join(dataDir, 'join.token'), 'hfj1.token\n', { mode: 0o600 });
  const configOf = (env: Record<string, string>) => {
    const io = { env, uid: process.getuid?.() ?? 0, hostname: 'edge-1', home: '/' } as unknown as Io;
    return agentConfig(io, new Settings('agent', new Map([['dataDir', { value: dataDir, source: 'test' }]])));
  };
  const other = configOf({ HOLDFAST_JOIN: 'hfj1.other' }).registry;
  assert.equal(await other?.joinToken?.(), 'hfj1.other');
  assert.equal(other?.tokenUsed, undefined);

  const { registry } = configOf({});
  assert.equal(registry?.url, null);
  assert.equal(await registry?.joinToken?.(), 'hfj1.token');
  await registry?.tokenUsed?.();
  assert(!existsSync(join(dataDir, 'join.token')));
  // It is asked again, when it joins anew.
  assert.equal(await registry?.joinToken?.(), 'hfj1.token');
});
