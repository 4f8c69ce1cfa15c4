/** `holdfast hosts` against a real registry. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import { Stage } from '../helpers/boot.ts';
import { until } from '../helpers/until.ts';
import { cli } from './harness.ts';

async function fleet(t: TestContext, names: readonly string[]) {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const hosts = new Map<string, { id: string; credential: string }>();
  for (const name of names) {
    const { json } = await registry.http({
      method: 'POST',
      path: '/v1/join',
      body: { name, machineId: `machine of ${name}` },
    });
    hosts.set(name, json as { id: string; credential: string });
    await registry.http({ method: 'POST', path: '/v1/services', body: { type: 'web', host: name } });
  }
  const env = { HOLDFAST_URL: registry.url, HOLDFAST_TOKEN: registry.token, NO_COLOR: '1' };
  const run = (line: string) => cli(line.split(' '), { env });
  /** Stdout of a command that has to succeed. */
  const holdfast = async (line: string) => {
    const { code, stdout, stderr } = await run(line);
    assert.equal(code, 0, `${line}: ${stderr}`);
    return stdout;
  };
  return { stage, registry, hosts, run, holdfast };
}

function firstColumn(table: string): string[] {
  const [, ...lines] = table.trimEnd().split('\n');
  return lines.map((line) => line.split(/\s+/)[0] ?? '');
}

test('hosts label sets and removes labels, and lists select by them', async (t) => {
  const { run, holdfast } = await fleet(t, ['edge-1', 'edge-2', 'edge-3']);
  const labelled = await run('hosts label edge-1 env=prod tier=web --region eu-west');
  assert.match(labelled.stderr, /labelled/);
  assert.match(labelled.stdout, /^labels {2,}env=prod tier=web$/m);
  assert.match(labelled.stdout, /^region {2,}eu-west$/m);
  await holdfast('hosts label edge-2 env=prod');
  const same = await run('hosts label edge-1 nosuch-');
  assert.equal(same.code, 0, same.stderr);
  assert.match(same.stderr, /nothing to change/);
  assert.doesNotMatch(same.stderr, /labelled/);
  await holdfast('hosts label edge-1 tier- --no-region');
  assert.match(await holdfast('hosts label edge-1'), /^labels {2,}env=prod$/m);
  assert.deepEqual(firstColumn(await holdfast('hosts ls --selector env=prod')), ['edge-1', 'edge-2']);
  assert.deepEqual(firstColumn(await holdfast('hosts ls --selector !env')), ['edge-3']);
  assert.match(await holdfast('hosts ls -o wide --selector @name=edge-1'), /LABELS[\s\S]*env=prod/);
  const services = JSON.parse(await holdfast('services ls --selector env=prod -o json')) as {
    items: { host: string }[];
  };
  assert.deepEqual(services.items.map(({ host }) => host).sort(), ['edge-1', 'edge-2']);
  assert.equal(await holdfast('components ls --selector env=prod'), '');
  const none = await run('hosts ls --selector env=staging');
  assert.deepEqual([none.stdout, none.stderr.trimEnd().split('\n').at(-1)], ['', 'no hosts match']);
});

test('hosts label and rename refuse what cannot be, with the exit code of its kind', async (t) => {
  const { run } = await fleet(t, ['edge-1', 'edge-2']);
  const cases: [line: string, code: number, words: RegExp][] = [
    ['hosts label edge-1 env', 2, /expected key=value to set one, key- to remove one/],
    ['hosts label edge-1 =x', 2, /expected key=value/],
    ['hosts label edge-1 @name=x', 2, /Cannot use the label "@name"/],
    ['hosts label edge-1 env=a,b', 2, /Cannot give the label env the value "a,b"/],
    ['hosts label edge-1 env=x --if-version 7', 4, /its version is 1, expected 7/],
    ['hosts label edge-1 env=x --if-version x', 2, /expected a number/],
    ['hosts label nobody env=x', 3, /no such host has joined/],
    ['hosts rename edge-1 edge-2', 4, /is the name of host .* choose another/],
    ['hosts rename nobody x', 3, /no such host has joined/],
    ['hosts rm edge-1 --if-version 7', 4, /its version is 1, expected 7/],
    ['hosts ls --selector env=', 2, /Cannot read selector "env="/],
    ['components ls --selector env=x --host edge-1', 2, /pass either --host or --selector/],
    ['components ls --has bash<1', 0, /\nno components match\n$/],
    [
      'components ls --host edge-1 --as-of 9d',
      3,
      /Cannot find host "edge-1": there was no such host then\n$/,
    ],
  ];
  for (const [line, code, words] of cases) {
    const outcome = await run(line);
    assert.equal(outcome.code, code, `${line}: ${outcome.stderr}`);
    assert.match(outcome.stderr, words, line);
  }
});

test('hosts rename takes along what is on the host; rm forgets it all', async (t) => {
  const { run, holdfast } = await fleet(t, ['edge-1', 'edge-2']);
  assert.match((await run('hosts rename edge-1 Shop_17')).stderr, /renamed to shop-17 \(host names are /);
  assert.deepEqual(firstColumn(await holdfast('hosts ls')), ['edge-2', 'shop-17']);
  assert.match(await holdfast('services ls --host shop-17'), /shop-17/);
  assert.match((await run('hosts rename edge-2 edge-3')).stderr, /renamed to edge-3\n/);
  assert.match((await run('hosts rename edge-3 edge-2')).stderr, /renamed to edge-2\n/);
  assert.match((await run('hosts rm shop-17')).stderr, /removed/);
  assert.deepEqual(firstColumn(await holdfast('hosts ls')), ['edge-2']);
  assert.equal((await run('hosts rm shop-17')).code, 3);
  assert.equal(await holdfast('services ls --host shop-17'), '');
});

test('G6: hosts revoke turns a host away at once, also on its open watches', async (t) => {
  const { stage, registry, hosts, run, holdfast } = await fleet(t, ['edge-1', 'edge-2']);
  const { id, credential } = hosts.get('edge-1') ?? assert.fail();
  const client = createClient({ target: { url: registry.url }, token: credential });
  stage.closing(() => client.close());
  const events = await fetch(`${registry.url}/v1/events`, {
    headers: { authorization: `Bearer ${credential}` },
  });
  let ended = 'open';
  const text = events.text().then((all) => {
    ended = all;
  });
  let closed: unknown = 'open';
  const watching = (async () => {
    for await (const update of client.watch({ snapshot: true })) assert.ok(update);
  })().catch((error: unknown) => {
    closed = error;
  });
  await until(async () => (await registry.http({ path: '/metrics' })).text.includes('subscriptions 2'));

  assert.match((await run('hosts revoke edge-1')).stderr, /revoked/);
  const answer = await registry.http({ path: `/v1/hosts/${id}`, token: credential });
  assert.equal(answer.status, 401);
  await stage.clock.advance(5_000);
  await text;
  assert.match(ended, /"kind":"closing","reason":"credential"/);
  await watching;
  assert.equal((closed as { code?: string }).code, 'unauthenticated');
  assert.match(await holdfast('hosts get edge-1'), /^credentials {2,}revoked /m);
  assert.match(await holdfast('hosts ls'), /edge-1 {2,}UP, revoked/);
  assert.match(await holdfast('hosts get edge-2'), /^credentials {2,}in force$/m);
});
