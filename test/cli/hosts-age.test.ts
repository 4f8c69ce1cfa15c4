/** Hosts by age, from the query string and the command line to a real registry. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Stage } from '../helpers/boot.ts';
import { cli } from './harness.ts';

async function fleet(t: TestContext) {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  for (const name of ['edge-1', 'edge-2'])
    await registry.http({
      method: 'POST',
      path: '/v1/join',
      body: { name, machineId: `machine of ${name}` },
    });
  const env = { HOLDFAST_URL: registry.url, HOLDFAST_TOKEN: registry.token, NO_COLOR: '1' };
  const run = (line: string) => cli(line.split(' '), { env });
  const get = async (query: string) => {
    const { status, json } = await registry.http({ path: `/v1/hosts?${query}` });
    const {
      items = [],
      detail = '',
      code = null,
    } = json as {
      items?: { name: string }[];
      detail?: string;
      code?: string | null;
    };
    return { status, code, detail, names: items.map(({ name }) => name) };
  };
  return { clock: stage.clock, run, get };
}

/** The query, what it is on the command line, and what both have to say of it. */
const impossible: readonly [query: string, flags: string, words: RegExp][] = [
  [
    'createdBefore=2016-03-01T00:00:00Z&seenBefore=2016-02-01T00:00:00Z',
    '--created-before 2016-03-01T00:00:00Z --seen-before 2016-02-01T00:00:00Z',
    /createdBefore \(2016-03-01T00:00:00.000Z\) and seenBefore \(2016-02-01T00:00:00.000Z\)/,
  ],
  [
    'seenAfter=2016-02-01T00:00:00Z&seenBefore=2016-02-01T00:00:00Z',
    '--seen-after 2016-02-01T00:00:00Z --seen-before 2016-02-01T00:00:00Z',
    /seenAfter \(2016-02-01T00:00:00.000Z\) and seenBefore \(2016-02-01T00:00:00.000Z\)/,
  ],
  [
    'createdAfter=2016-02-01T01:00:00%2B01:00&createdBefore=2016-02-01T00:00:00Z',
    '--created-after 2016-02-01T01:00:00+01:00 --created-before 2016-02-01T00:00:00Z',
    /createdAfter \(2016-02-01T00:00:00.000Z\) and createdBefore \(2016-02-01T00:00:00.000Z\)/,
  ],
  [
    'createdAfter=2016-03-01T00:00:00Z&seenBefore=2016-02-01T00:00:00Z',
    '--created-after 2016-03-01T00:00:00Z --seen-before 2016-02-01T00:00:00Z',
    /createdAfter \(2016-03-01T00:00:00.000Z\) and seenBefore \(2016-02-01T00:00:00.000Z\)/,
  ],
  ['fresh=7d&stale=2w', '--fresh 7d --stale 2w', /fresh \(.*, 7d ago\) and stale \(.*, 14d ago\)/],
  ['persistent=30d&created=1w', '--persistent 30d --created 1w', /created \(.* and persistent \(/],
];

test('impossible filters are refused end to end, naming both bounds and their values', async (t) => {
  const { run, get } = await fleet(t);
  for (const [query, flags, words] of impossible) {
    const { status, code, detail } = await get(query);
    assert.deepEqual([status, code], [400, 'bad-request'], query);
    assert.match(detail, words, query);
    const outcome = await run(`hosts ls ${flags}`);
    assert.deepEqual([outcome.code, outcome.stdout], [2, ''], flags);
    assert.match(outcome.stderr, words, flags);
  }
});

test('hosts ls lists by age; what is no time, duration or filter is refused by its name', async (t) => {
  const { run, get } = await fleet(t);
  assert.deepEqual((await get('created=1d')).names, ['edge-1', 'edge-2']);
  assert.deepEqual((await get('created=1d&name=edge-2')).names, ['edge-2']);
  assert.deepEqual((await get('stale=1d')).names, []);
  assert.deepEqual((await get(`seenAfter=${encodeURIComponent('2026-01-01T00:00:00+01:00')}`)).names, [
    'edge-1',
    'edge-2',
  ]);
  const listed = await run('hosts ls --fresh 1h --created-after 2d --region eu');
  assert.deepEqual([listed.code, listed.stdout], [0, ''], listed.stderr);
  assert.match(listed.stderr, /no hosts match/);
  assert.match((await run('hosts ls --created-after 2d --seen-after 2d')).stdout, /edge-1[\s\S]*edge-2/);
  for (const [query, flags, words] of [
    ['createdAfter=yesterday', '--created-after yesterday', /"yesterday": expected/],
    ['seenAfter=2016', '--seen-after 2016', /"2016": expected/],
    ['fresh=7', '--fresh 7', /"7": expected a duration/],
    ['fresh=0s', '--fresh 0s', /"0s": expected a duration/],
    ['persistent=2016-03-01T00:00:00Z', '--persistent 2016-03-01T00:00:00Z', /expected a duration/],
  ] as const) {
    assert.match((await get(query)).detail, words, query);
    const outcome = await run(`hosts ls ${flags}`);
    assert.equal(outcome.code, 2, flags);
    assert.match(outcome.stderr, words, flags);
  }
});

test('hosts ls, get, history and stats answer for the past', async (t) => {
  const { clock, run } = await fleet(t);
  await run('hosts label edge-1 env=prod');
  const before = new Date(clock.now()).toISOString();
  clock.stall(3_600_000);
  await run('hosts label edge-1 env=test');
  await run('hosts rm edge-2');
  clock.stall(3_600_000);
  const json = async (line: string) => JSON.parse((await run(`${line} -o json`)).stdout);
  assert.match((await run(`hosts ls --as-of ${before}`)).stdout, /edge-1[\s\S]*edge-2/);
  assert.doesNotMatch((await run('hosts ls')).stdout, /edge-2/);
  const then = await json(`hosts get edge-2 --as-of ${before}`);
  assert.deepEqual([then.name, then.lastSeen, then.checkins, then.lastCheckin], ['edge-2', before, 0, null]);
  assert.match((await run('hosts get edge-1 --as-of 90m')).stdout, /^labels +env=prod$/m);
  assert.match((await run('hosts get edge-1')).stdout, /^age +\d+ [hd]$/m);
  const history = await run(`hosts history --from ${before}`);
  assert.match(history.stdout, /^changed +edge-1 +labels env=prod > env=test$/m);
  assert.match(history.stdout, /^disappeared +edge-2 +-$/m);
  assert.equal(
    (await json(`hosts history --from ${before} --selector env=prod`)).items[0].kind,
    'disappeared',
  );
  assert.match((await run('hosts stats')).stdout, /^total +1$[\s\S]*^created +1 \(first seen within 7 d\)$/m);
  const series = await run('hosts stats --from 2h --step 1h');
  assert.ok(series.stdout.split('\n').every((line) => line.length <= 80));
  assert.equal((await json('hosts stats --from 2h --step 1h')).series.length, 3);
  const steps = (await run('hosts history edge-1')).stdout;
  assert.match(steps, /host joined +edge-1 +- +status UP, labels env=prod$/m);
  assert.match(steps, /host labelled +edge-1 +labels env=prod +labels env=test$/m);
  assert.equal((await run('components history --from 400m --host edge-1 --steps')).stdout, steps);
  assert.match((await run('hosts history edge-2 --from 3h')).stdout, /host removed +edge-2 +status UP +-$/m);
  const kinds = (await json('hosts history edge-1')).items.map(({ kind }: { kind: string }) => kind);
  assert.deepEqual(kinds, ['host.joined', 'host.labelled']);
  for (const [line, code, words] of [
    ['hosts history', 2, /--from is missing/],
    ['hosts history edge-1 --selector env=prod', 2, /pass either a host or --selector/],
    ['hosts history edge-9', 3, /no such host/],
    ['hosts ls --as-of 2999-01-01T00:00:00Z', 2, /the future is not known/],
    ['hosts ls --as-of 500d', 4, /is not kept/],
    ['hosts history --from 0s', 2, /from needs to be before to/],
    ['hosts stats --step 1h', 2, /go with --from/],
    ['hosts stats --from 2d --step 1s', 2, /take a longer step/],
    ['hosts ls --has openssl', 2, /Cannot read --has "openssl"/],
  ] as const) {
    const outcome = await run(line);
    assert.equal(outcome.code, code, `${line}: ${outcome.stderr}`);
    assert.match(outcome.stderr, words, line);
  }
});
