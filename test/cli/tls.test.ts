import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connectProxy, tlsServer } from '../client/tls-server.ts';
import { makePair } from '../helpers/certificates.ts';
import { tempFolder } from '../helpers/temp.ts';
import { cli } from './harness.ts';

async function serverWithCa(t: TestContext, names?: readonly string[]) {
  const { ca, leaf } = makePair(names === undefined ? {} : { names });
  const server = await tlsServer(t, leaf);
  const caFile = join(tempFolder(t), 'ca.pem');
  writeFileSync(caFile, `# the next one comes first\n${makePair({ caName: 'next' }).ca.cert}\n${ca.cert}`);
  return { server, caFile };
}

const status = (url: string, ...more: string[]) => ['status', '--url', url, '-o', 'json', ...more];

test('a client believes a registry with a CA of its own when it is told with --ca-file or HOLDFAST_CA_FILE', async (t) => {
  const { server, caFile } = await serverWithCa(t);
  const untold = await cli(status(server.url));
  assert.equal(untold.code, 6);
  assert.match(untold.stderr, /nobody whom this machine trusts has signed its certificate.*--ca-file/);
  assert.doesNotMatch(untold.stderr, /Is it running/);
  for (const outcome of [
    await cli(status(server.url, '--ca-file', caFile)),
    await cli(status(server.url), { env: { HOLDFAST_CA_FILE: caFile } }),
  ])
    assert.deepEqual([outcome.code, outcome.stdout.trim()], [0, '{"up":true}'], outcome.stderr);
});

test('--ca-file says what it expected', async (t) => {
  const empty = join(tempFolder(t), 'empty.pem');
  writeFileSync(empty, 'nothing');
  const none = await cli(status('https://localhost:1', '--ca-file', empty));
  assert.deepEqual(
    [none.code, /expected certificates in PEM form/.test(none.stderr)],
    [78, true],
    none.stderr,
  );
  writeFileSync(empty, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  const broken = await cli(status('https://localhost:1', '--ca-file', empty));
  assert.deepEqual([broken.code, /certificates in PEM form/.test(broken.stderr)], [78, true], broken.stderr);
  const missing = await cli(status('https://localhost:1', '--ca-file', '/nonexistent'));
  assert.deepEqual(
    [missing.code, /it does not exist.*; check --ca-file/.test(missing.stderr)],
    [78, true],
    missing.stderr,
  );
});

test('a client goes through HTTPS_PROXY, but for whom NO_PROXY names; lower case goes first', async (t) => {
  const { server, caFile } = await serverWithCa(t, ['registry.test']);
  const proxy = await connectProxy(t);
  proxy.names.set('registry.test:443', server.port);
  const ask = (env: Record<string, string>) =>
    cli(status('https://registry.test', '--ca-file', caFile), { env });
  for (const env of [
    { HTTPS_PROXY: proxy.url },
    { https_proxy: proxy.url, HTTPS_PROXY: 'http://127.0.0.1:1' },
  ])
    assert.equal((await ask(env)).stdout.trim(), '{"up":true}');
  assert.equal(proxy.asked.length, 2);
  const direct = await ask({ HTTPS_PROXY: proxy.url, NO_PROXY: 'registry.test' });
  assert.deepEqual([direct.code, proxy.asked.length], [6, 2], direct.stderr);
  const wrong = await ask({ HTTPS_PROXY: 'socks5://me:hunter2@proxy' });
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /Cannot use the proxy in HTTPS_PROXY/);
  assert.doesNotMatch(wrong.stderr, /hunter2/);
});
