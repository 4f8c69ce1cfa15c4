/** `holdfast registry import workflow-manager` from a real PostgreSQL into a real registry. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { type Booted, type RegistryBoot, Stage } from '../helpers/boot.ts';
import { usePostgres } from '../helpers/postgres.ts';
import { cli } from './harness.ts';

const postgres = usePostgres();

const cluster = '4f0d9118-cfaa-4265-9335-cc31c6c7f15f';
const report = '3d1b5c9e-93f5-4b8c-9d60-1f0a7f7f0001';
const components =
  'builder controller database dockerbuilder fluentd logger minio monitor nsq redis registry router slugrunner'
    .split(' ')
    .map((name) => `deis-${name}`);

/** The tables of workflow-manager-api. */
const schema = `
  CREATE TABLE clusters (cluster_id uuid PRIMARY KEY, data json);
  CREATE TABLE clusters_checkins (checkins_id bigserial PRIMARY KEY, cluster_id uuid, created_at timestamp, data json);
  CREATE TABLE versions (version_id bigserial PRIMARY KEY, component_name varchar(32), train varchar(24),
    version varchar(32), release_timestamp timestamp, data json, UNIQUE (component_name, train, version));
  CREATE TABLE doctors (report_id uuid PRIMARY KEY, data json);`;

const body = (id: string, version = 'v2.0.0-rc1') =>
  JSON.stringify({
    id,
    components: [{ component: { name: 'deis-router' }, version: { train: 'beta', version } }],
  });

/** 26 versions, a cluster with 3 check-ins, a doctor report. */
const fixture = [
  schema,
  ...components.flatMap((name) =>
    [
      ['2.0.0-beta3', '2016-04-28 10:00:00'],
      ['2.0.0-rc1', '2016-04-30 10:00:00'],
    ].map(
      ([version, at]) =>
        `INSERT INTO versions (component_name, train, version, release_timestamp, data)
         VALUES ('${name}', 'beta', '${version}', '${at}', '{"description":"notes of ${name}","fixes":""}');`,
    ),
  ),
  `INSERT INTO clusters VALUES ('${cluster}', '${body(cluster.toUpperCase())}');`,
  ...['2016-05-01 00:00:00', '2016-05-02 12:30:00', '2016-05-20 00:00:00'].map(
    (at) =>
      `INSERT INTO clusters_checkins (cluster_id, created_at, data) VALUES ('${cluster}', '${at}', '{}');`,
  ),
  `INSERT INTO doctors VALUES ('${report}', '{"workflow":{"id":"${cluster}","components":[]},"nodes":[],"namespaces":[]}');`,
].join('\n');

interface World {
  readonly source: string;
  readonly registry: Booted<unknown>;
  readonly run: (...argv: string[]) => ReturnType<typeof cli>;
  readonly rows: (
    ...argv: string[]
  ) => Promise<{ code: number; stderr: string; tables: Record<string, Row> }>;
}
type Row = Record<'read' | 'good' | 'skipped' | 'added' | 'changed' | 'unchanged' | 'kept', number>;

async function open(t: TestContext, more: RegistryBoot = {}): Promise<World> {
  const source = await postgres.createDatabase();
  await postgres.query(source, fixture);
  const registry = await Stage.open(t).registry(more);
  const env = { HOLDFAST_URL: registry.url, HOLDFAST_TOKEN: registry.token, HOLDFAST_IMPORT_URL: source };
  const run = (...argv: string[]) => cli(['registry', 'import', 'workflow-manager', ...argv], { env });
  return {
    ...{ source, registry, run },
    async rows(...argv) {
      const { code, stdout, stderr } = await run('-o', 'json', ...argv);
      assert.ok(stdout !== '', stderr);
      const tables = (JSON.parse(stdout) as { tables: (Row & { table: string })[] }).tables;
      return { code, stderr, tables: Object.fromEntries(tables.map((row) => [row.table, row])) };
    },
  };
}

const numbers = ({ read, skipped, added, changed, unchanged, kept }: Row = {} as Row) =>
  [read, skipped, added, changed, unchanged, kept].join(' ');

async function meetsQuestions({ http }: Booted<unknown>): Promise<void> {
  const one = (await http({ path: `/v3/clusters/${cluster}` })).json;
  assert.deepEqual(one, {
    components: [{ component: { name: 'deis-router' }, version: { train: 'beta', version: 'v2.0.0-rc1' } }],
    firstSeen: '2016-05-01T00:00:00.000Z',
    id: cluster.toUpperCase(),
    lastSeen: '2016-05-20T00:00:00.000Z',
  });
  const ageOf = async (query: string) => (await http({ path: `/v3/clusters/age?${query}` })).json.data.length;
  assert.equal(await ageOf('created_before=2016-05-01T00:00:01Z&checked_in_after=2016-05-19T00:00:00Z'), 1);
  assert.equal(await ageOf('checked_in_before=2016-05-20T00:00:00Z'), 0);
  const persistent = async (at: string) =>
    (await http({ path: `/v3/clusters/persistent?timestamp=${at}` })).json.data;
  assert.deepEqual((await persistent('2016-05-03T00:00:00Z'))[0], {
    checkins: 2,
    clusterAge: '1 day 12:30:00',
    clusterID: cluster.toUpperCase(),
    firstSeen: '2016-05-01T00:00:00.000Z',
    lastSeen: '2016-05-02T12:30:00.000Z',
  });
  assert.deepEqual(await persistent('2016-05-10T00:00:00Z'), []);
  const latest = (await http({ path: '/v3/versions/beta/deis-router/latest' })).json;
  assert.deepEqual(latest.version, {
    data: { description: 'notes of deis-router' },
    released: '2016-04-30T10:00:00Z',
    train: 'beta',
    version: '2.0.0-rc1',
  });
  assert.deepEqual((await http({ path: `/v3/doctor/${report}` })).json.workflow.id, cluster);
}

for (const target of ['SQLite', 'PostgreSQL']) {
  test(`registry import takes all four tables into ${target}, and a second run adds nothing`, async (t) => {
    const world = await open(t, target === 'SQLite' ? {} : { databaseUrl: await postgres.createDatabase() });
    const { rows, registry } = world;
    const first = await rows();
    assert.equal(first.code, 0, first.stderr);
    assert.deepEqual(
      Object.entries(first.tables).map(([table, row]) => `${table}: ${numbers(row)}`),
      [
        'clusters: 1 0 1 0 0 0',
        'clusters_checkins: 3 0 3 0 0 0',
        'versions: 26 0 26 0 0 0',
        'doctors: 1 0 1 0 0 0',
      ],
    );
    await meetsQuestions(registry);
    const before = (await registry.http({ path: '/v1/status' })).json.position;
    const second = await rows();
    assert.equal(second.code, 0, second.stderr);
    assert.deepEqual(Object.values(second.tables).map(numbers), [
      '1 0 0 0 1 0',
      '3 0 0 0 3 0',
      '26 0 0 0 26 0',
      '1 0 0 0 1 0',
    ]);
    await meetsQuestions(registry);
    assert.equal((await registry.http({ path: '/v1/status' })).json.position, before);
  });
}

test('registry import --dry-run reads and checks everything, and writes nothing; no registry need run', async (t) => {
  const { run, registry, source } = await open(t);
  await postgres.query(source, "UPDATE versions SET train = '' WHERE version_id = 1");
  const dry = await run('--dry-run');
  assert.equal(dry.code, 1);
  assert.match(
    dry.stdout,
    /^TABLE +READ +GOOD +LEFT OUT\nclusters +1 +1 +0\nclusters_checkins +3 +3 +0\nversions +26 +25 +1\ndoctors +1 +1 +0\n$/,
  );
  assert.match(dry.stderr, /left out versions 1: Cannot use train "": .*\n.*nothing was written/);
  assert.equal((await registry.http({ path: '/v3/clusters/count' })).json, 0);
  await registry.close();
  assert.equal((await run('--dry-run')).code, 1);
  const stopped = await run();
  assert.equal(stopped.code, 6, stopped.stderr);
  assert.match(stopped.stderr, /Is it running\? .*"holdfast up" starts one/);
});

test('registry import tells of each bad row with table and key, and takes the others', async (t) => {
  const { rows, source, registry } = await open(t);
  const [other, silent, broken, future] = ['a1', 'a2', 'a3', 'a4'].map(
    (end) => `00000000-0000-4000-8000-0000000000${end}`,
  );
  await postgres.query(
    source,
    `INSERT INTO clusters VALUES ('${other}', '${body(String(other))}'), ('${silent}', '${body(String(silent))}'),
       ('${broken}', '[1]'), ('${future}', '${body(String(future))}');
     INSERT INTO clusters_checkins (checkins_id, cluster_id, created_at) VALUES
       (100, '${other}', '2016-01-01'), (101, '${other}', '2016-01-01'), (102, '${other}', 'infinity'), (103, '${other}', NULL),
       (104, '${broken}', '2016-01-01'), (105, '${future}', '2999-01-01'), (106, 'ffffffff-0000-4000-8000-000000000000', '2016-01-01'),
       (107, NULL, '2016-01-01'), (108, '${other}', '0044-03-15 BC');
     ALTER TABLE versions ALTER component_name TYPE text, ALTER version TYPE text;
     INSERT INTO versions (version_id, component_name, train, version, release_timestamp, data) VALUES
       (200, '', 't', '1', '2016-01-01', '{}'), (201, repeat('c', 129), 't', '1', '2016-01-01', '{}'),
       (202, 'c', 't', 'latest', '2016-01-01', '{}'), (203, 'c', 't', '1', NULL, '{}'),
       (204, 'c', 't', '2', '2016-01-01', '{"description":"a\\u0000b"}'), (205, 'c', 't', '3', '2016-01-01', NULL),
       (206, 'c', 't', '4', '2016-01-01', '7'), (207, 'c', 't', '5', '2016-01-01', '{"extra":{"a":[1]},"image":"i"}');
     INSERT INTO doctors VALUES ('${other}', NULL), ('${silent}', '{"nodes":[]}');`,
  );
  const { code, stderr, tables } = await rows();
  assert.equal(code, 1, stderr);
  for (const told of [
    /left out clusters_checkins 102: created_at is infinity, expected/,
    /left out clusters_checkins 103: created_at is empty, expected/,
    /left out clusters_checkins 108: created_at is 0044-03-15 00:00:00 BC, expected/,
    /left out clusters_checkins 105: .*yet to come/,
    /left out clusters_checkins 106: there is no cluster ffffffff/,
    /left out clusters_checkins 107: it is of no cluster/,
    new RegExp(`left out clusters ${silent}: it has no good check-in`),
    new RegExp(`left out clusters ${broken}: body is a list, expected an object`),
    new RegExp(`left out clusters_checkins of ${broken}: their cluster is left out`),
    new RegExp(`left out clusters ${future}: it has no good check-in`),
    /left out versions 200: Cannot use component ""/,
    /left out versions 201: Cannot use component "ccc/,
    /left out versions 202: .*"latest" asks for the latest release/,
    /left out versions 203: release_timestamp is empty/,
    /left out versions 204: Cannot read JSON: .*NUL|left out versions 204: .*U\+0000/,
    /left out versions 206: its data is no JSON object/,
    new RegExp(`left out doctors ${other}: it holds no JSON`),
    new RegExp(`left out doctors ${silent}: workflow in body is required`),
  ])
    assert.match(stderr, told);
  assert.deepEqual(Object.values(tables).map(numbers), [
    '5 3 2 0 0 0',
    '12 7 5 0 0 0',
    '34 6 28 0 0 0',
    '3 2 1 0 0 0',
  ]);
  const at = (await registry.http({ path: `/v3/clusters/persistent?timestamp=2016-01-01T10:00:00Z` })).json
    .data;
  assert.deepEqual([at.length, at[0].checkins], [1, 2], 'two check-ins of one second are two');
  const five = (await registry.http({ path: '/v3/versions/t/c/5' })).json.version;
  assert.deepEqual(five.data, { extra: { a: [1] }, image: 'i' });
});

test('registry import tells of the first 100 bad rows, then how many more there are', async (t) => {
  const { rows, source } = await open(t);
  await postgres.query(
    source,
    `INSERT INTO versions (component_name, train, version, release_timestamp)
     SELECT 'c', '', n::text, '2016-01-01' FROM generate_series(1, 150) AS n`,
  );
  const { stderr, tables } = await rows();
  assert.equal(stderr.match(/left out versions/g)?.length, 100);
  assert.match(stderr, /\nand 50 more\n/);
  assert.equal(tables['versions']?.skipped, 150);
});

test('registry import goes on after it was ended in the middle, with what has come since', async (t) => {
  const { rows, source, registry } = await open(t);
  await postgres.query(
    source,
    `INSERT INTO clusters SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '{"components":[]}' FROM generate_series(1, 600) n;
     INSERT INTO clusters_checkins (cluster_id, created_at)
       SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, timestamp '2016-01-01' + m * interval '12 hours'
       FROM generate_series(1, 600) n, generate_series(1, 3) m;
     INSERT INTO clusters_checkins (cluster_id, created_at)
       SELECT '00000000-0000-4000-8000-000000000300', timestamp '2017-01-01' + m * interval '12 hours' FROM generate_series(1, 1000) m;`,
  );
  const ended = new AbortController();
  const env = { HOLDFAST_URL: registry.url, HOLDFAST_TOKEN: registry.token, HOLDFAST_IMPORT_URL: source };
  const counted = async () => (await registry.http({ path: '/v3/clusters/count' })).json as number;
  // Asked with each row: that many are more than two batches, and fewer than all.
  let asked = 0;
  const now = () => {
    asked += 1;
    if (asked === 400) ended.abort();
    return systemClock.now();
  };
  const half = await cli(['registry', 'import', 'workflow-manager'], {
    env,
    signal: ended.signal,
    clock: { ...systemClock, now },
  });
  assert.deepEqual([half.code, /interrupted/.test(half.stderr)], [1, true], half.stderr);
  const taken = await counted();
  assert.ok(taken > 0 && taken < 601, `${taken} of 601`);
  const rest = await rows();
  assert.equal(rest.code, 0, rest.stderr);
  assert.equal(rest.tables['clusters']?.read, 601);
  assert.ok((rest.tables['clusters']?.added ?? 0) <= 601 - taken);
  assert.equal(await counted(), 601);
  const { data } = (await registry.http({ path: '/v3/clusters/checkins' })).json;
  const checkins = new Map<string, number>(
    data.map((one: { clusterID: string; checkins: number }) => [one.clusterID, one.checkins]),
  );
  assert.equal(checkins.get('00000000-0000-4000-8000-000000000300'), 1_003);
  assert.equal(checkins.get('00000000-0000-4000-8000-000000000600'), 3);
  // The old one went on meanwhile.
  await postgres.query(
    source,
    `UPDATE clusters SET data = '${body(cluster, 'v2.1.0')}' WHERE cluster_id = '${cluster}';
     INSERT INTO clusters_checkins (cluster_id, created_at) VALUES ('${cluster}', '2016-06-01')`,
  );
  const again = await rows();
  assert.deepEqual(
    [numbers(again.tables['clusters']), numbers(again.tables['clusters_checkins'])],
    ['601 0 0 1 600 0', '2804 0 1 0 2803 0'],
  );
  const known = (await registry.http({ path: `/v3/clusters/${cluster}` })).json;
  assert.deepEqual(
    [known.components[0].version.version, known.lastSeen],
    ['v2.1.0', '2016-06-01T00:00:00.000Z'],
  );
});

test('registry import takes what is refused only together with others', async (t) => {
  const { rows, source, registry } = await open(t);
  // So many members may be in a small body, and in no large one.
  const many = Object.fromEntries(Array.from({ length: 1_100 }, (_, n) => [`m${n}`, 1]));
  const odd = JSON.stringify({ components: [many] });
  await postgres.query(
    source,
    `UPDATE clusters SET data = '${odd}';
     UPDATE versions SET data = json_build_object('description', repeat('x', 1000))`,
  );
  const { code, stderr, tables } = await rows();
  assert.equal(code, 0, stderr);
  assert.deepEqual(Object.values(tables).map(numbers), [
    '1 0 1 0 0 0',
    '3 0 3 0 0 0',
    '26 0 26 0 0 0',
    '1 0 1 0 0 0',
  ]);
  const one = (await registry.http({ path: `/v3/clusters/${cluster}` })).json;
  assert.equal(Object.keys(one.components[0]).length, 1_100);
});

test('registry import keeps what the registry was told itself', async (t) => {
  const { rows, registry } = await open(t);
  const path = '/v1/components/deis-router/trains/beta/releases/2.0.0-rc1';
  assert.equal((await registry.http({ method: 'PUT', path, body: { description: 'ours' } })).status, 201);
  const live = { id: cluster, components: [] };
  assert.equal((await registry.http({ method: 'POST', path: '/v3/clusters', body: live })).status, 200);
  const { code, stderr, tables } = await rows();
  assert.equal(code, 0, stderr);
  assert.match(stderr, /kept what is there for versions \d+: the registry has another release of this name/);
  assert.equal(numbers(tables['versions']), '26 0 25 0 0 1');
  assert.equal((await registry.http({ path })).json.description, 'ours');
  const one = (await registry.http({ path: `/v3/clusters/${cluster}` })).json;
  assert.deepEqual([one.components, one.firstSeen], [[], '2016-05-01T00:00:00.000Z']);
  const { data } = (await registry.http({ path: '/v3/clusters/checkins' })).json;
  assert.equal(data[0].checkins, 4);
  assert.equal(numbers((await rows()).tables['clusters']), '1 0 0 0 1 0');
});

test('registry import --time-zone says which clock the times were read from', async (t) => {
  const { rows, run, registry } = await open(t);
  assert.equal((await rows('--time-zone', 'America/Los_Angeles')).code, 0);
  const one = (await registry.http({ path: `/v3/clusters/${cluster}` })).json;
  assert.equal(one.firstSeen, '2016-05-01T07:00:00.000Z');
  const wrong = await run('--time-zone', 'Mars/Olympus');
  assert.deepEqual([wrong.code, /--time-zone wants one such as/.test(wrong.stderr)], [2, true], wrong.stderr);
});

test('registry import says what is wrong with its source, and never its password', async (t) => {
  const { source } = await open(t);
  const empty = await postgres.createDatabase();
  const half = await postgres.createDatabase();
  await postgres.query(half, `${schema} ALTER TABLE versions DROP COLUMN release_timestamp`);
  const failing = async (url: string | undefined) => {
    const env: Record<string, string> = url === undefined ? {} : { HOLDFAST_IMPORT_URL: url };
    const { code, stdout, stderr } = await cli(
      ['registry', 'import', 'workflow-manager', '--dry-run', '--log-level', 'debug'],
      { env },
    );
    assert.doesNotMatch(stdout + stderr, /secret|hunter2/);
    assert.equal(code, 78, stderr);
    return stderr;
  };
  assert.match(await failing(undefined), /the variable HOLDFAST_IMPORT_URL is not set/);
  assert.match(await failing('hunter2'), /is no postgres:\/\/user:password@host\/database/);
  assert.match(await failing('postgres://a:hunter2@[/x'), /is no postgres:\/\/user:password@host\/database/);
  for (const odd of [
    'postgres:hunter2',
    source.replace(':secret@', ':a@hunter2/@'),
    'postgres://u:12#hunter2@h/x',
  ])
    assert.match(await failing(odd), /is no postgres:\/\/.* with @ : \/ in a password as %40 %3A %2F/);
  assert.match(await failing(source.replace(':secret@', ':hunter2@')), /the user or the password is wrong/);
  assert.match(
    await failing(source.replace('127.0.0.1', 'nowhere.invalid')),
    /there is no such host|cannot be looked up/,
  );
  assert.match(await failing(source.replace(/:\d+\//, ':1/')), /nobody listens there/);
  assert.match(await failing(source.replace(/\w+$/, 'nosuch')), /there is no such database/);
  assert.match(
    await failing(empty),
    /there is no table clusters; is this the database of a workflow-manager-api\?/,
  );
  assert.match(await failing(half), /there is no column release_timestamp in its table versions/);
  const argument = await cli(['registry', 'import', 'workflow-manager', '--import-url', 'x'], {});
  assert.match(argument.stderr, /use the variable HOLDFAST_IMPORT_URL/);
});
