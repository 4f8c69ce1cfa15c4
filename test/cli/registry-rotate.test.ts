/** `holdfast registry rotate` against a registry with TLS. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../src/base/log.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import { Stage } from '../helpers/boot.ts';
import { cli } from './harness.ts';

test('registry rotate replaces what it names, says what hosts notice, and is refused a second time', async (t) => {
  const stage = Stage.live(t);
  const registry = await stage.registry({ tls: { kind: 'own' } });
  const caFile = join(registry.dataDir, 'ca.pem');
  const before = readFileSync(caFile, 'utf8');
  const whom = [
    '--url',
    registry.url,
    '--token-file',
    join(registry.dataDir, 'admin.token'),
    '--ca-file',
    caFile,
  ];
  const rotate = (...argv: string[]) => cli(['registry', 'rotate', ...argv, ...whom]);

  const { keys } = (await registry.http({ path: '/v1/trust' })).json;
  const signing = await rotate('signing-key');
  assert.equal(signing.code, 0, signing.stderr);
  assert.match(signing.stderr, /Join tokens made before are no longer good/);
  assert.match(signing.stdout, new RegExp(`^signing key +${keys[1].key}\nnext +sha256:[0-9a-f]{64}\n$`));
  const again = await rotate('signing-key');
  assert.equal(again.code, 4);
  assert.match(again.stderr, /Cannot rotate the signing key again: .*wait 10 min, or insist with --force/);
  assert.equal((await rotate('signing-key', '--force')).code, 0);

  const ca = await rotate('ca', '-o', 'json');
  assert.equal(ca.code, 0, ca.stderr);
  assert.equal(JSON.parse(ca.stdout).ca.join(''), readFileSync(caFile, 'utf8'));
  assert.ok(before.endsWith(JSON.parse(ca.stdout).ca[0]), 'the one that was announced');
  assert.equal((await rotate('certificate')).code, 0);
});

test('registry rotate takes --socket as its own option, not as that of the role', async (t) => {
  const stage = Stage.live(t);
  const dataDir = stage.folder();
  const socketDir = join(dataDir, 'run');
  const listen = { host: '127.0.0.1', port: 0 };
  const limits = { store: { ballastBytes: 0 } };
  const registry = await createRegistry({ dataDir, listen, socketDir, limits, logger: silentLogger });
  stage.closing(() => registry.close());
  const { code, stderr } = await cli(['registry', 'rotate', 'signing-key', '--socket', socketDir]);
  assert.equal(code, 0, stderr);
  assert.ok(stderr.includes(join(socketDir, 'admin.sock')), stderr);
});

test('registry rotate refuses what there is not, and what is not ours', async (t) => {
  const stage = Stage.live(t);
  const registry = await stage.registry();
  const whom = ['--url', registry.url, '--token-file', join(registry.dataDir, 'admin.token')];
  const plain = await cli(['registry', 'rotate', 'ca', ...whom]);
  assert.equal(plain.code, 2);
  assert.match(plain.stderr, /Cannot rotate the CA: this registry serves plain HTTP/);
  const unknown = await cli(['registry', 'rotate', 'all', ...whom]);
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /Cannot use "all" for <what>: expected one of signing-key, ca, certificate/);
  assert.equal((await cli(['registry', 'everything'])).code, 2);
});
