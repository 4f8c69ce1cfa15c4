/** Releases over HTTP, of a real registry. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemCaller as caller } from '../../src/domain/access.ts';
import { Stage } from '../helpers/boot.ts';

const train = '/v1/components/shop%2Fapi/trains/stable/releases';
const path = `${train}/1.4.2`;

async function boot(t: TestContext) {
  const registry = await Stage.open(t).registry();
  const put = (body: object, headers: Record<string, string> = {}, at = path) =>
    registry.http({ method: 'PUT', path: at, body, headers });
  return { registry, put };
}

test('putRelease answers 201, then 200, with the whole release and its tag', async (t) => {
  const { registry, put } = await boot(t);
  const body = {
    released: '2016-03-30T23:54:39Z',
    description: 'rn',
    fixes: 'fx',
    image: 'img',
    data: { a: [1] },
  };
  const created = await put(body);
  assert.equal(created.status, 201, created.text);
  const { publishedAt, changedAt, ...same } = created.json;
  assert.deepEqual(same, {
    component: 'shop/api',
    train: 'stable',
    version: '1.4.2',
    released: '2016-03-30T23:54:39.000Z',
    description: 'rn',
    fixes: 'fx',
    image: 'img',
    data: { a: [1] },
    publishedBy: 'admin.token',
  });
  assert.equal(publishedAt, changedAt);
  assert.equal(created.headers['etag'], `"${Date.parse(changedAt)}"`);
  const again = await put(body);
  assert.deepEqual(
    [again.status, again.json, again.headers['etag']],
    [200, created.json, created.headers['etag']],
  );
  const got = await registry.http({ path });
  assert.deepEqual([got.status, got.json, got.headers['etag']], [200, created.json, created.headers['etag']]);
  const known = await registry.http({ path, headers: { 'if-none-match': String(got.headers['etag']) } });
  assert.equal(known.status, 304);
});

test('putRelease takes back what getRelease answered, and keeps If-Match', async (t) => {
  const { registry, put } = await boot(t);
  await put({ description: 'rn', data: { a: 1 } });
  const got = await registry.http({ path });
  const tag = String(got.headers['etag']);
  const changed = await put({ ...got.json, image: 'i' }, { 'if-match': tag });
  assert.equal(changed.status, 200, changed.text);
  assert.deepEqual([changed.json.description, changed.json.image, changed.json.data], ['rn', 'i', { a: 1 }]);
  const stale = await put({ image: 'j' }, { 'if-match': tag });
  assert.deepEqual([stale.status, stale.json.code], [412, 'precondition-failed']);
  const remove = (headers: Record<string, string>) => registry.http({ method: 'DELETE', path, headers });
  assert.equal((await remove({ 'if-match': tag })).status, 412);
  assert.equal((await remove({ 'if-match': '*' })).status, 204);
  assert.equal((await remove({})).status, 404);
});

test('putRelease refuses what cannot be, and says which field', async (t) => {
  const { registry, put } = await boot(t);
  const at = (version: string) => `${train}/${version}`;
  const cases: [body: object, at: string, status: number, field: string | undefined, detail: RegExp][] = [
    [
      { released: '2016-03-31' },
      path,
      400,
      'released',
      /Cannot publish release "1\.4\.2" of shop\/api: released: it is "2016-03-31", expected RFC 3339 with a zone/,
    ],
    [{ released: '2016-03-31T23:54:39' }, path, 400, 'released', /expected RFC 3339 with a zone/],
    [{ released: '2016-02-30T00:00:00Z' }, path, 400, 'released', /expected RFC 3339/],
    [{ released: null }, path, 400, 'released', /is null, expected a text/],
    [{ component: 'OTHER' }, path, 400, 'component', /it is "OTHER" in the body and "shop\/api" in the path/],
    [{ train: 'OTHERTRAIN' }, path, 400, 'train', /in the body/],
    [{ version: '0.0.1' }, path, 400, 'version', /in the body/],
    [{}, at('latest'), 400, 'version', /"latest" asks for the latest release/],
    [{}, at('%00'), 400, 'url', /its URL holds %00/],
    [{}, at('%1b%5b31m'), 400, 'version', /printable/],
    [{ notes: 'x' }, path, 400, 'notes', /"notes" is unknown/],
    [{ data: [] }, path, 400, 'data', /is a list, expected an object or null/],
    [{ data: 'x' }, path, 400, 'data', /expected an object or null/],
    [
      { description: 'x'.repeat(70_000) },
      path,
      413,
      undefined,
      /take 70000 bytes together, expected at most 65536/,
    ],
  ];
  for (const [body, place, status, field, detail] of cases) {
    const answer = await put(body, {}, place);
    assert.deepEqual([answer.status, answer.json.field], [status, field], answer.text.slice(0, 300));
    assert.match(answer.json.detail, detail);
  }
  assert.deepEqual((await registry.http({ path: train })).json.items, []);
  assert.equal((await registry.http({ path: '/v1/components/%00/trains/x/releases' })).status, 400);
});

test('an instant with a zone is the instant that it says, in UTC', async (t) => {
  const { put } = await boot(t);
  const { json } = await put({ released: '2016-03-31T23:54:39+02:00' });
  assert.equal(json.released, '2016-03-31T21:54:39.000Z');
});

test('transactional upsert: 30 identical publishes at once are all taken, and are one release', async (t) => {
  const { registry, put } = await boot(t);
  const revision = async () => Number((await registry.http({ path: train })).json.position.split('.')[1]);
  const before = await revision();
  const answers = await Promise.all(Array.from({ length: 30 }, () => put({ image: 'i' })));
  assert.deepEqual(answers.map(({ status }) => status).sort(), [
    ...Array.from({ length: 29 }, () => 200),
    201,
  ]);
  assert.equal((await registry.http({ path: train })).json.items.length, 1);
  assert.equal(await revision(), before + 1);
});

test('getLatestRelease and getLatestReleases answer by date, and by version when asked', async (t) => {
  const { registry, put } = await boot(t);
  await put({ released: '2017-03-01T00:00:00Z' }, {}, `${train}/2.0.0`);
  await put({ released: '2017-04-01T00:00:00Z' }, {}, `${train}/1.0.9`);
  const version = async (query: string) =>
    (await registry.http({ path: `${train}/latest${query}` })).json.version;
  assert.equal(await version(''), '1.0.9');
  assert.equal(await version('?by=date'), '1.0.9');
  assert.equal(await version('?by=semver'), '2.0.0');
  assert.equal(await version('?by=debian'), '2.0.0');
  const wrong = await registry.http({ path: `${train}/latest?by=size` });
  assert.deepEqual([wrong.status, wrong.json.field], [400, 'by']);
  const none = await registry.http({ path: '/v1/components/shop%2Fapi/trains/beta/releases/latest' });
  assert.equal(none.status, 404);
  assert.match(
    none.json.detail,
    /Cannot find the latest release of "shop\/api" on train "beta": nothing is published there/,
  );
  const ask = (body: object) => registry.http({ method: 'POST', path: '/v1/releases/latest', body });
  const items = ['stable', 'beta'].map((line) => ({ component: 'shop/api', train: line }));
  const { json } = await ask({ items });
  assert.deepEqual([json.items[0].version, json.items[1]], ['1.0.9', null]);
  assert.deepEqual((await ask({ items: [] })).json, { items: [] });
  assert.equal((await ask({})).status, 400);
  assert.equal((await ask({ items: [{ component: 'x' }] })).json.field, 'items/0/train');
  assert.equal((await ask({ items: Array.from({ length: 1_001 }, () => items[0]) })).status, 413);
});

test('the client publishes, lists and withdraws; data comes back as it was', async (t) => {
  const { registry } = await boot(t);
  const { releases } = registry.client;
  const key = { component: 'a b/ü?#', train: 'stable', version: '1.0+x~1%' };
  const content = { description: null, fixes: 'f', image: null, data: { deep: [{ a: null }], n: 1 } };
  const { created, release } = await releases.publish(caller, key, content, null);
  assert.deepEqual([created, release.data, release.version], [true, content.data, key.version]);
  assert.deepEqual(await releases.publish(caller, key, content, [release.changedAtMs]), {
    created: false,
    release,
  });
  assert.deepEqual(await releases.get(key), release);
  assert.deepEqual(await releases.latest(key, 'semver'), release);
  assert.deepEqual(await releases.latestOf([{ ...key, train: 'beta' }, key]), [null, release]);
  assert.deepEqual((await releases.list(key, { limit: 10 })).items, [release]);
  await releases.withdraw(caller, key, [release.changedAtMs]);
  assert.deepEqual((await releases.list(key, { limit: 10 })).items, []);
});

test('a cursor of the longest names goes on', async (t) => {
  const { registry } = await boot(t);
  const { releases } = registry.client;
  const key = (i: number) => ({
    component: '構'.repeat(128),
    train: '列'.repeat(128),
    version: `${'版'.repeat(255)}${i}`,
  });
  const content = { description: null, fixes: null, image: null, data: null, releasedMs: 0 };
  for (const i of [1, 2]) await releases.publish(caller, key(i), content, null);
  const first = await releases.list(key(1), { limit: 1 });
  const second = await releases.list(key(1), { limit: 1, cursor: first.next ?? '' });
  assert.deepEqual(
    [...first.items, ...second.items].map(({ version }) => version),
    [key(2).version, key(1).version],
  );
  assert.equal(second.next, null);
});

test('putTrain wants If-Match for what is there, and the latest release is what has arrived', async (t) => {
  const { registry, put } = await boot(t);
  const at = '/v1/components/shop%2Fapi/trains/prod';
  const ask = (method: string, body?: object, headers: Record<string, string> = {}) =>
    registry.http({ method, path: at, headers, ...(body === undefined ? {} : { body }) });
  assert.equal((await ask('GET')).status, 404);
  await put({ released: '2017-03-01T00:00:00Z' });
  await put({}, {}, `${train}/1.5.0`);
  const created = await ask('PUT', { follows: 'stable', delay: '7d' });
  assert.deepEqual(
    [created.status, created.json.follows, created.json.delayMs],
    [201, 'stable', 604_800_000],
  );
  const tag = String(created.headers['etag']);
  assert.deepEqual((await ask('GET')).headers['etag'], tag);
  const found = await registry.http({ path: `${at}/releases/latest` });
  assert.deepEqual([found.json.version, found.json.train], ['1.4.2', 'stable']);
  const missing = await ask('PUT', { follows: 'stable' });
  assert.deepEqual([missing.status, missing.json.code], [428, 'precondition-required']);
  assert.equal((await ask('PUT', { follows: 'stable' }, { 'if-match': '"1"' })).status, 412);
  assert.equal((await ask('PUT', { follows: 'stable' }, { 'if-match': tag })).status, 200);
  assert.equal((await registry.http({ path: `${at}/releases/latest` })).json.version, '1.5.0');
  const list = await registry.http({ path: '/v1/components/shop%2Fapi/trains' });
  assert.deepEqual(
    list.json.items.map((one: { train: string; follows: string | null }) => [one.train, one.follows]),
    [
      ['prod', 'stable'],
      ['stable', null],
    ],
  );
  assert.equal((await ask('DELETE')).status, 428);
  assert.equal((await ask('DELETE', undefined, { 'if-match': '*' })).status, 204);
  assert.equal((await ask('PUT', { follows: 'stable', delay: 'soon' })).json.field, 'delay');
});

test('the client lets trains follow, insists, and ends it', async (t) => {
  const { registry } = await boot(t);
  const { trains } = registry.client;
  const key = { component: 'shop/api', train: 'prod' };
  const { created, train: first } = await trains.follow(
    caller,
    key,
    { follows: 'beta', delayMs: 1_500 },
    'missing',
  );
  assert.deepEqual([created, first.delayMs], [true, 1_500]);
  const again = await trains.follow(caller, key, { follows: 'edge', delayMs: 0 }, null);
  assert.deepEqual([again.created, again.train.follows], [false, 'edge']);
  assert.deepEqual(await trains.get(key), again.train);
  assert.deepEqual((await trains.list('shop/api', { limit: 5 })).items, [again.train]);
  await trains.unfollow(caller, key, [again.train.changedAtMs ?? 0]);
  assert.deepEqual((await trains.list('shop/api', { limit: 5 })).items, []);
});
