/** Telling sinks as a person meets it: registry.yaml, `up` with its runner, `holdfast notify`, and what is not shown. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { cli } from '../cli/harness.ts';
import { hookServer } from '../helpers/hook-server.ts';
import { reach, startProcess } from '../helpers/process.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

test('up tells webhooks and commands of what its rules select; notify ls and test say how it went', async (t) => {
  const hook = await hookServer(t);
  hook.answer = (_taken, response) => response.writeHead(200).end('thanks');
  const [dataDir, folder] = [tempFolder(t), tempFolder(t)];
  const [config, out, secret] = ['up.yaml', 'out.json', 'secret'].map((name) => join(folder, name));
  assert.ok(config !== undefined && out !== undefined && secret !== undefined);
  writeFileSync(secret, 'hush-secret\n', { mode: 0o600 });
  writeFileSync(
    config,
    `
notify:
  sinks:
    hook: {webhook: '${hook.url}/hush-path', secretFile: ${secret}}
    file: {exec: [sh, -c, 'cat >> "$0"; echo written', '${out}']}
    away: {webhook: 'http://127.0.0.1:1/'}
  rules:
    - {name: records, select: {types: [service.*]}, to: [hook, file], groupWait: 0}
`,
    { mode: 0o644 },
  );
  const argv = [
    'up',
    '--data-dir',
    dataDir,
    '--registry-listen',
    '127.0.0.1:0',
    '--agent-listen',
    '127.0.0.1:0',
  ];
  const up = startProcess(t, [...argv, '--config', config]);
  const centre = reach(t, await up.ready('registry'));
  await up.ready('agent');
  const tokenFile = join(centre.dataDir, 'admin.token');
  const notify = (...words: string[]) =>
    cli(['notify', ...words, '--url', centre.url, '--token-file', tokenFile]);

  const tested = await notify('test', '-o', 'json');
  assert.equal(tested.code, 1, tested.stderr);
  const { items } = JSON.parse(tested.stdout) as { items: { sink: string; ok: boolean; detail: string }[] };
  assert.deepEqual(
    items.map(({ sink, ok }) => [sink, ok]),
    [
      ['hook', true],
      ['file', true],
      ['away', false],
    ],
  );
  assert.deepEqual(
    items.slice(0, 2).map(({ detail }) => detail),
    ['200: thanks', 'exit 0: written'],
  );
  assert.match(items[2]?.detail ?? '', /^Cannot reach http:\/\/127\.0\.0\.1:1: nobody listens there/);
  assert.match(
    (await notify('test', 'hook')).stdout,
    /^SINK +RESULT +TOOK +ANSWER\nhook +taken +\d+ ms +200: thanks\n$/,
  );
  const unknown = await notify('test', 'hok');
  assert.deepEqual(
    [unknown.code, /Cannot test the sink "hok": there are hook, file, away/.test(unknown.stderr)],
    [3, true],
  );

  const put = await centre.http({
    method: 'PUT',
    path: '/v1/services/00000000-0000-7000-8000-000000000001',
    body: { type: 'shop/api', host: 'edge-1' },
  });
  assert.equal(put.status, 201);
  const title = 'shop/api on edge-1 is registered, UP';
  await until(() => hook.taken.some(({ body }) => body?.title === title));
  await until(() => readFileSync(out, 'utf8').includes(title));
  const listed = await until(async () => {
    const found = await notify('ls');
    return /^hook .* 0 +1 /m.test(found.stdout) && /^file .* 0 +1 /m.test(found.stdout) && found;
  });
  assert.equal(listed.code, 0);
  assert.match(listed.stdout, /^file +exec +sh +0 +1 /m);
  assert.match(listed.stdout, /^records +hook, file +service\.\* +- +none +1h$/m);

  const metrics = await centre.http({ method: 'GET', path: '/metrics' });
  assert.match(metrics.text, /^holdfast_notify_delivered_total\{sink="hook"\} 1$/m);
  const config2 = await centre.http({ method: 'GET', path: '/v1/config' });
  const log = await centre.http({ method: 'GET', path: '/v1/notify' });
  for (const shown of [config2.text, log.text, metrics.text, listed.stdout, up.stderr(), tested.stdout]) {
    assert.doesNotMatch(shown, /hush/);
  }
});
