/** The rows of conformance/inventory.md, as tests of a real registry over HTTP, on any database. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Registry } from '../../src/registry/registry.ts';
import { type Booted, type RegistryBoot, Stage } from '../helpers/boot.ts';
import type { FakeClock } from '../helpers/clock.ts';
import type { Exchange, HttpAnswer } from '../helpers/http.ts';

/** How a database is given to a registry, and how its tables are taken away under it. */
export interface Database {
  boot(): Promise<RegistryBoot>;
  breakTables(registry: Booted<Registry>, boot: RegistryBoot): Promise<void>;
}

const U = '4f0d9118-cfaa-4265-9335-cc31c6c7f15f';
const V = '00000000-0000-4000-8000-000000000002';
const dayMs = 86_400_000;
const jan2016 = Date.UTC(2016, 0, 1);

const builder = {
  component: { name: 'deis-builder', description: 'd', type: 'Deployment' },
  version: {
    train: 'stable',
    version: 'v2.0.0',
    released: '2016-03-31T23:54:39Z',
    data: { image: 'q/x:1' },
  },
  updateAvailable: 'v2.1.0',
};
const rc1 = {
  component: { name: 'deis-router', description: 'D' },
  version: {
    train: 'beta',
    version: '2.0.0-rc1',
    released: '2016-03-30T23:54:39Z',
    data: { description: 'rn', fixes: 'fx', image: 'img' },
  },
};
const rc1Path = '/v3/versions/beta/deis-router/2.0.0-rc1';

export function inventoryRows(database: Database): void {
  interface World {
    readonly registry: Booted<Registry>;
    readonly clock: FakeClock;
    readonly boot: RegistryBoot;
    readonly get: (path: string) => Promise<HttpAnswer>;
    readonly post: (path: string, body: unknown, headers?: Record<string, string>) => Promise<HttpAnswer>;
  }

  const open = async (t: TestContext, more: RegistryBoot = {}, startMs = jan2016): Promise<World> => {
    const stage = Stage.open(t, { startMs });
    const boot = { ...(await database.boot()), ...more };
    const registry = await stage.registry(boot);
    return {
      registry,
      clock: stage.clock,
      boot,
      get: (path) => registry.http({ path }),
      post: (path, body, headers = {}) => registry.http({ method: 'POST', path, body, headers }),
    };
  };
  const row = (
    number: number | string,
    fact: string,
    test: (world: World, t: TestContext) => Promise<void>,
  ) => it(`inventory ${number}: ${fact}`, async (t) => test(await open(t), t));
  const told = ({ status, json }: HttpAnswer) => [status, json];
  const failed = (code: number, message: string) => [code, { code, message }];

  const publish = async (
    { post }: World,
    train: string,
    component: string,
    version: string,
    released: string,
  ) => {
    const answer = await post(`/v3/versions/${train}/${component}/${version}`, {
      component: { name: component },
      version: { train, version, released, data: {} },
    });
    assert.equal(answer.status, 200, answer.text);
  };
  const versionsOf = (answer: HttpAnswer): string[] => {
    assert.equal(answer.status, 200, answer.text);
    return answer.json.data.map(
      (item: { component: { name: string }; version: { train: string; version: string } }) =>
        `${item.component.name} ${item.version.train} ${item.version.version}`,
    );
  };
  const ask = (...pairs: readonly [component: string, train?: string][]) => ({
    data: pairs.map(([name, train]) => ({
      component: { name },
      version: train === undefined ? {} : { train },
    })),
  });

  /** A{01-10} B{01-05,01-20} C{01-01,01-31T12:30} D{02-10} E{01-10,01-12T10,03-01}, all of 2016. */
  const aged = async (t: TestContext): Promise<World> => {
    // The token of a fixture that spans two months would end meanwhile.
    const { registry, ...rest } = await open(t, { legacyAnonymous: true }, jan2016 - dayMs);
    const send = (exchange: Exchange) => registry.http({ ...exchange, token: undefined });
    const world: World = {
      ...rest,
      registry,
      get: (path) => send({ path }),
      post: (path, body) => send({ method: 'POST', path, body }),
    };
    const checkIns = [
      ['C', '2016-01-01T00:00:00Z'],
      ['B', '2016-01-05T00:00:00Z'],
      ['A', '2016-01-10T00:00:00Z'],
      ['E', '2016-01-10T00:00:00Z'],
      ['E', '2016-01-12T10:00:00Z'],
      ['B', '2016-01-20T00:00:00Z'],
      ['C', '2016-01-31T12:30:00Z'],
      ['D', '2016-02-10T00:00:00Z'],
      ['E', '2016-03-01T00:00:00Z'],
    ] as const;
    for (const [id, at] of checkIns) {
      const waitMs = Date.parse(at) - world.clock.now();
      if (waitMs > 0) world.clock.stall(waitMs);
      const answer = await world.post('/v3/clusters', { id, components: [] });
      assert.equal(answer.status, 200, answer.text);
    }
    return world;
  };
  const ageRow = (number: number | string, fact: string, test: (world: World) => Promise<void>) =>
    it(`inventory ${number}: ${fact}`, async (t) => test(await aged(t)));
  const idsOf = (answer: HttpAnswer): string[] => {
    assert.equal(answer.status, 200, answer.text);
    return answer.json.data
      .map(({ id, clusterID }: { id?: string; clusterID?: string }) => id ?? clusterID)
      .sort();
  };

  describe('what is there, and what is not', () => {
    row(1, '/ping is 200 and empty', async ({ get }) => {
      const { status, text, headers } = await get('/ping');
      assert.deepEqual([status, text, headers['content-type']], [200, '', 'application/json']);
    });
    row(2, 'an unknown path is told in the old form', async ({ get }) => {
      const answer = await get('/nope');
      assert.deepEqual(told(answer), failed(404, 'path /nope was not found'));
      assert.equal(answer.headers['content-type'], 'application/json');
    });
    row(3, 'a slash at the end is another path, which is unknown', async ({ get }) => {
      assert.deepEqual(told(await get('/v3/clusters/')), failed(404, 'path /v3/clusters/ was not found'));
    });
    row(4, 'no clusters are 0', async ({ get }) => {
      assert.deepEqual(told(await get('/v3/clusters/count')), [200, 0]);
    });
    row(19, 'DELETE of a cluster is 405 with Allow and the old words', async ({ registry }) => {
      const answer = await registry.http({ method: 'DELETE', path: `/v3/clusters/${U}` });
      assert.deepEqual(told(answer), failed(405, 'method DELETE is not allowed, but [GET] are'));
      assert.equal(answer.headers['allow'], 'GET');
      const put = await registry.http({ method: 'PUT', path: rc1Path });
      assert.deepEqual(told(put), failed(405, 'method PUT is not allowed, but [GET,POST] are'));
      assert.equal((await registry.http({ method: 'HEAD', path: '/v3/clusters/count' })).status, 405);
    });
  });

  describe('clusters', () => {
    row(5, 'a check-in echoes every field, and tells when it was', async ({ post, get }) => {
      const wanted = {
        id: U,
        components: [builder],
        firstSeen: '2016-01-01T00:00:00.000Z',
        lastSeen: '2016-01-01T00:00:00.000Z',
      };
      assert.deepEqual(told(await post('/v3/clusters', { id: U, components: [builder] })), [200, wanted]);
      assert.deepEqual(told(await get(`/v3/clusters/${U}`)), [200, wanted]);
    });
    row(6, 'another check-in counts no second cluster', async ({ post, get }) => {
      for (const id of [U, U, V]) await post('/v3/clusters', { id, components: [] });
      assert.deepEqual(told(await get('/v3/clusters/count')), [200, 2]);
    });
    row(7, 'components are replaced; first seen stays, last seen moves', async ({ post, get, clock }) => {
      await post('/v3/clusters', { id: U, components: [builder] });
      clock.stall(dayMs);
      const router = { component: { name: 'deis-router' }, version: { version: 'v3' } };
      await post('/v3/clusters', { id: U, components: [router] });
      const wanted = {
        id: U,
        components: [router],
        firstSeen: '2016-01-01T00:00:00.000Z',
        lastSeen: '2016-01-02T00:00:00.000Z',
      };
      assert.deepEqual(told(await get(`/v3/clusters/${U}`)), [200, wanted]);
      assert.deepEqual(told(await get('/v3/clusters/count')), [200, 1]);
    });
    row(8, 'what a client says of first and last seen is not believed', async ({ post }) => {
      const forged = '2001-01-01T00:00:00.000Z';
      const { json } = await post('/v3/clusters', {
        id: U,
        components: [],
        firstSeen: forged,
        lastSeen: forged,
      });
      assert.deepEqual(
        [json.firstSeen, json.lastSeen],
        ['2016-01-01T00:00:00.000Z', '2016-01-01T00:00:00.000Z'],
      );
    });
    row(9, 'a check-in without an id is 422', async ({ post }) => {
      for (const body of [{ components: [] }, { id: '', components: [] }, { id: null, components: [] }])
        assert.deepEqual(told(await post('/v3/clusters', body)), failed(422, 'id in body is required'));
    });
    row(10, 'a check-in without components is 422', async ({ post }) => {
      for (const body of [{ id: U }, { id: U, components: null }])
        assert.deepEqual(
          told(await post('/v3/clusters', body)),
          failed(422, 'components in body is required'),
        );
    });
    row(11, 'components that are no list are 400', async ({ post }) => {
      const answer = await post('/v3/clusters', { id: U, components: 'x' });
      assert.deepEqual(
        told(answer),
        failed(400, 'parsing body body from "" failed, because components is a string, expected a list'),
      );
    });
    row(12, 'another media type, or none, is 415', async ({ post, registry }) => {
      const text = await post('/v3/clusters', '{}', { 'content-type': 'text/plain' });
      assert.deepEqual(
        told(text),
        failed(415, 'unsupported media type "text/plain", only [application/json] are allowed'),
      );
      const none = await registry.http({ method: 'POST', path: '/v3/clusters' });
      assert.deepEqual(
        told(none),
        failed(415, 'unsupported media type "application/octet-stream", only [application/json] are allowed'),
      );
      const charset = { 'content-type': 'application/json; charset=utf-8' };
      assert.equal((await post('/v3/clusters', { id: U, components: [] }, charset)).status, 200);
    });
    row(13, 'an empty body is 400, and so is what is no JSON', async ({ post }) => {
      assert.deepEqual(
        told(await post('/v3/clusters', '')),
        failed(400, 'parsing body body from "" failed, because EOF'),
      );
      const broken = await post('/v3/clusters', '{"id":');
      assert.equal(broken.status, 400);
      assert.match(broken.json.message, /^parsing body body from "" failed, because found the end/);
    });
    row(14, 'keys match whatever their case, and ids need not be UUIDs', async ({ post, get }) => {
      const body =
        '{"ID":"testcluster","Components":[{"Component":{"Name":"component-a"},"Version":{"Version":"1.0"}}]}';
      assert.equal((await post('/v3/clusters', body)).status, 200);
      const { status, json } = await get('/v3/clusters/testcluster');
      assert.deepEqual(
        [status, json.id, json.components],
        [200, 'testcluster', [{ component: { name: 'component-a' }, version: { version: '1.0' } }]],
      );
    });
    row('14b', 'of one key in several spellings the exact one counts, else the last', async ({ post }) => {
      const ids = async (body: string) => (await post('/v3/clusters', body)).json.id;
      assert.equal(await ids('{"id":"exact","ID":"folded","components":[]}'), 'exact');
      assert.equal(await ids('{"Id":"first","ID":"last","components":[]}'), 'last');
    });
    row(
      15,
      'all spellings of a UUID are one cluster; the answer echoes what was sent',
      async ({ post, get }) => {
        const spellings = [U, U.toUpperCase(), `{${U}}`, U.replaceAll('-', '')];
        for (const id of spellings)
          assert.equal((await post('/v3/clusters', { id, components: [] })).json.id, id);
        assert.deepEqual(told(await get('/v3/clusters/count')), [200, 1]);
        for (const id of spellings)
          assert.equal((await get(`/v3/clusters/${encodeURIComponent(id)}`)).json.id, spellings.at(-1));
      },
    );
    row(16, 'an unknown cluster is 404 in the old words', async ({ get }) => {
      assert.deepEqual(told(await get('/v3/clusters/unknown')), failed(404, '404 cluster not found'));
    });
    row(17, 'v2 takes the id of the body, whatever the path says', async ({ post, get }) => {
      const answer = await post('/v2/clusters/other-id', { id: V, components: [] });
      assert.deepEqual([answer.status, answer.json.id], [200, V]);
      assert.equal((await get(`/v3/clusters/${V}`)).status, 200);
      assert.equal((await get('/v3/clusters/other-id')).status, 404);
    });
    row(18, 'null and empty members of components are taken', async ({ post }) => {
      const components = [null, {}, { component: { name: '' } }];
      const { status, json } = await post('/v3/clusters', { id: U, components });
      assert.deepEqual([status, json.components], [200, [null, {}, { component: {} }]]);
    });
    row(70, '30 first check-ins at once are one cluster with 30 check-ins', async ({ post, get }) => {
      const answers = await Promise.all(
        Array.from({ length: 30 }, () => post('/v3/clusters', { id: U, components: [builder] })),
      );
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
      assert.deepEqual(told(await get('/v3/clusters/count')), [200, 1]);
      const { json } = await get('/v3/clusters/checkins');
      assert.deepEqual([json.count, json.data[0].checkins, json.data[0].clusterID], [1, 30, U]);
    });
  });

  describe('versions', () => {
    const stored = {
      component: { name: 'deis-router' },
      version: {
        data: { description: 'rn', fixes: 'fx', image: 'img' },
        released: '2016-03-30T23:54:39Z',
        train: 'beta',
        version: '2.0.0-rc1',
      },
    };
    row(20, 'a release is answered as it is stored', async ({ post, get }) => {
      assert.deepEqual(told(await post(rc1Path, rc1)), [200, stored]);
      assert.deepEqual(told(await get(rc1Path)), [200, stored]);
    });
    row(21, 'a release of an old client is one of /v1 too, and the other way round', async (world) => {
      await world.post(rc1Path, rc1);
      const at = '/v1/components/deis-router/trains/beta/releases';
      const { json } = await world.get(`${at}/2.0.0-rc1`);
      assert.deepEqual([json.description, json.fixes, json.image], ['rn', 'fx', 'img']);
      world.clock.stall(1);
      const put = { method: 'PUT', path: `${at}/2.0.0`, body: { released: '2016-05-01T00:00:00Z' } };
      assert.equal((await world.registry.http(put)).status, 201);
      const list = await world.get('/v3/versions/beta/deis-router');
      assert.deepEqual(versionsOf(list), ['deis-router beta 2.0.0-rc1', 'deis-router beta 2.0.0']);
      assert.deepEqual(list.json.data[1].version.data, {});
    });
    row(22, 'publishing again replaces; the list still has one', async ({ post, get }) => {
      await post(rc1Path, rc1);
      const version = { ...rc1.version, released: '2016-04-30T00:00:00Z', data: { description: 'updated' } };
      const { status, json } = await post(rc1Path, { ...rc1, version });
      assert.deepEqual(
        [status, json.version.released, json.version.data],
        [200, '2016-04-30T00:00:00Z', { description: 'updated' }],
      );
      assert.equal((await get('/v3/versions/beta/deis-router')).json.data.length, 1);
    });
    row(23, 'a body that names another release than its path is 400', async ({ post, get }) => {
      const body = {
        component: { name: 'OTHER' },
        version: { train: 'OTHERTRAIN', version: '0.0.1', released: '2016-03-30T23:54:39Z' },
      };
      const answer = await post('/v3/versions/stable/deis-builder/9.9.9', body);
      assert.deepEqual(
        told(answer),
        failed(400, 'component.name in body is "OTHER", but the path says "deis-builder"'),
      );
      assert.deepEqual(versionsOf(await get('/v3/versions/stable/deis-builder')), []);
    });
    row(24, 'the path says what the body leaves out', async ({ post }) => {
      const body = { component: {}, version: { released: '2016-03-30T23:54:39Z' } };
      const { status, json } = await post('/v3/versions/stable/deis-builder/9.9.9', body);
      assert.deepEqual(
        [status, json.component.name, json.version.train, json.version.version, json.version.data],
        [200, 'deis-builder', 'stable', '9.9.9', {}],
      );
    });
    row(25, 'an offset is converted; a fraction is kept', async ({ post }) => {
      const released = async (text: string) =>
        (await post(rc1Path, { ...rc1, version: { ...rc1.version, released: text } })).json.version.released;
      assert.equal(await released('2016-03-31T23:54:39+02:00'), '2016-03-31T21:54:39Z');
      assert.equal(await released('2016-03-31T23:54:39.250Z'), '2016-03-31T23:54:39.25Z');
    });
    row(26, 'an empty document is 422', async ({ post }) => {
      assert.deepEqual(told(await post(rc1Path, {})), failed(422, 'component in body is required'));
      assert.deepEqual(
        told(await post(rc1Path, { component: {} })),
        failed(422, 'version in body is required'),
      );
    });
    row(27, 'a release date that is none is 422', async ({ post }) => {
      for (const released of ['', 'yesterday', '2016-03-31T23:54:39', '2016-03-31t23:54:39z', '…39Z07:00']) {
        const answer = await post(rc1Path, { ...rc1, version: { ...rc1.version, released } });
        assert.equal(answer.status, 422, released);
        assert.match(answer.json.message, /^version\.released in body /);
      }
    });
    row(28, 'other data is kept', async ({ post, get }) => {
      const data = { notes: 'x', Fixes: 'f', deep: { a: [1, null] } };
      await post(rc1Path, { ...rc1, version: { ...rc1.version, data } });
      assert.deepEqual((await get(rc1Path)).json.version.data, {
        notes: 'x',
        deep: { a: [1, null] },
        fixes: 'f',
      });
    });
    row(29, 'the latest is the one with the latest date', async (world) => {
      await publish(world, 'stable', 'm', '1.0.0', '2017-01-01T00:00:00Z');
      await publish(world, 'stable', 'm', '2.0.0', '2017-03-01T00:00:00Z');
      await publish(world, 'stable', 'm', '1.5.0', '2017-02-01T00:00:00Z');
      await publish(world, 'stable', 'm', '1.0.9', '2017-04-01T00:00:00Z');
      assert.equal((await world.get('/v3/versions/stable/m/latest')).json.version.version, '1.0.9');
    });
    row(30, 'a list is in the order of publishing', async (world) => {
      for (const version of ['2', '1', '3']) {
        await publish(world, 'stable', 'm', version, '2017-01-01T00:00:00Z');
        world.clock.stall(1);
      }
      assert.deepEqual(versionsOf(await world.get('/v3/versions/stable/m')), [
        'm stable 2',
        'm stable 1',
        'm stable 3',
      ]);
    });
    row(31, 'a list of nothing is empty', async ({ get }) => {
      assert.deepEqual(told(await get('/v3/versions/stable/none')), [200, { data: [] }]);
    });
    row(32, 'an unknown release is 404 in the old words', async ({ get }) => {
      for (const release of ['latest', '1.0', 'LATEST'])
        assert.deepEqual(
          told(await get(`/v3/versions/stable/none/${release}`)),
          failed(404, '404 release not found'),
        );
    });
    row(33, 'names may be longer than 32 characters, and hold a slash', async (world) => {
      const [train, component, version] = ['t'.repeat(60), `shop/${'a'.repeat(60)}`, '1'.repeat(60)];
      const path = `/v3/versions/${train}/${encodeURIComponent(component)}/${version}`;
      const body = { component: { name: component }, version: { released: '2017-01-01T00:00:00Z' } };
      assert.equal((await world.post(path, body)).status, 200);
      assert.equal((await world.get(path)).json.component.name, component);
    });
    row(34, 'of two with one date exactly one is the latest, always the same', async (world) => {
      await publish(world, 'stable', 'm', '1.0.0', '2017-01-01T00:00:00Z');
      await publish(world, 'stable', 'm', '1.0.1', '2017-01-01T00:00:00Z');
      const latest = async () => (await world.get('/v3/versions/stable/m/latest')).json.version.version;
      const first = await latest();
      for (let again = 0; again < 3; again += 1) assert.equal(await latest(), first);
    });
    row(43, 'no release can be called latest', async ({ post, get }) => {
      const body = { component: { name: 'c1' }, version: { released: '2017-01-01T00:00:00Z' } };
      const answer = await post('/v3/versions/stable/c1/latest', body);
      assert.deepEqual([answer.status, answer.json.code], [400, 400]);
      assert.deepEqual(versionsOf(await get('/v3/versions/stable/c1')), []);
    });
    row(71, '30 publishes of one release at once are all 200, and one release', async ({ post, get }) => {
      const answers = await Promise.all(Array.from({ length: 30 }, () => post(rc1Path, rc1)));
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
      assert.equal((await get('/v3/versions/beta/deis-router')).json.data.length, 1);
    });
  });

  describe('the latest of many', () => {
    const all = async (world: World) => {
      for (const component of ['m', 'n'])
        for (const train of ['stable', 'beta']) {
          await publish(world, train, component, '1.0', '2017-01-01T00:00:00Z');
          await publish(world, train, component, '1.1', '2017-02-01T00:00:00Z');
        }
    };
    row(35, 'of nothing they are nothing', async ({ post }) => {
      for (const body of [{ data: [] }, {}])
        assert.deepEqual(told(await post('/v3/versions/latest', body)), [200, { data: [] }]);
    });
    row(36, 'an item without its component, and null, is 422', async ({ post }) => {
      assert.deepEqual(
        told(await post('/v3/versions/latest', { data: [null] })),
        failed(422, 'data.0 in body is required'),
      );
      assert.deepEqual(
        told(await post('/v3/versions/latest', { data: [{ version: { train: 'x' } }] })),
        failed(422, 'data.0.component in body is required'),
      );
      assert.deepEqual(
        told(await post('/v3/versions/latest', { data: [{ component: { name: 'm' } }] })),
        failed(422, 'data.0.version in body is required'),
      );
    });
    row(37, 'they are exactly the pairs that were asked for, in that order', async (world) => {
      await all(world);
      const found = await world.post('/v3/versions/latest', ask(['n', 'beta'], ['m', 'stable']));
      assert.deepEqual(versionsOf(found), ['n beta 1.1', 'm stable 1.1']);
    });
    row(38, 'a tie is one row', async (world) => {
      await publish(world, 'stable', 'm', '1', '2017-01-01T00:00:00Z');
      await publish(world, 'stable', 'm', '2', '2017-01-01T00:00:00Z');
      const found = await world.post('/v3/versions/latest', ask(['m', 'stable']));
      assert.equal(found.json.data.length, 1);
    });
    row(39, 'unknown pairs are left out, repeated ones are told once', async (world) => {
      await all(world);
      const asked = ask(['none', 'stable'], ['m', 'beta'], ['m', 'none'], ['m', 'beta']);
      assert.deepEqual(versionsOf(await world.post('/v3/versions/latest', asked)), ['m beta 1.1']);
    });
    row(40, 'v2 asks for beta when no train is named', async (world) => {
      await all(world);
      assert.deepEqual(versionsOf(await world.post('/v2/versions/latest', ask(['m']))), ['m beta 1.1']);
      assert.deepEqual(versionsOf(await world.post('/v2/versions/latest', ask(['m', '']))), ['m beta 1.1']);
    });
    row(41, 'v3 finds nothing on an empty train', async (world) => {
      await all(world);
      assert.deepEqual(versionsOf(await world.post('/v3/versions/latest', ask(['m', '']))), []);
    });
    row(42, 'the original test: six pairs are their six newest', async (world) => {
      for (const component of ['a', 'b', 'c'])
        for (const train of ['stable', 'beta'])
          for (const version of ['1', '3', '2'])
            await publish(world, train, component, version, `2017-0${version}-01T00:00:00Z`);
      const pairs = ['a', 'b', 'c'].flatMap((name) => [[name, 'beta'] as const, [name, 'stable'] as const]);
      const found = await world.post(
        '/v3/versions/latest',
        ask(...pairs.map(([a, b]) => [a, b] as [string, string])),
      );
      assert.deepEqual(
        versionsOf(found),
        pairs.map(([name, train]) => `${name} ${train} 3`),
      );
    });
  });

  describe('clusters by age', () => {
    const utc = (text: string) => `${text}:00:00 +0000 UTC`;
    const age = (query: string) => `/v3/clusters/age?${query}`;
    ageRow(44, 'without a bound they are all; any one bound does', async ({ get }) => {
      assert.deepEqual(idsOf(await get('/v3/clusters/age')), ['A', 'B', 'C', 'D', 'E']);
      assert.deepEqual(idsOf(await get(age('created_after=2016-01-10T00:00:00Z'))), ['D']);
      assert.deepEqual(idsOf(await get(age('created_before=2016-01-05T00:00:00.001Z'))), ['B', 'C']);
      assert.deepEqual(idsOf(await get(age('checked_in_after=2016-01-31T00:00:00Z'))), ['C', 'D', 'E']);
      assert.deepEqual(idsOf(await get(age('checked_in_before=2016-01-20T00:00:00Z'))), ['A']);
    });
    ageRow(45, 'a bound that is no instant is 422', async ({ get }) => {
      for (const text of ['garbage', '2016-01-01', ''])
        assert.deepEqual(
          told(await get(age(`created_after=${text}`))),
          failed(422, `created_after in query must be of type strfmt.DateTime: "${text}"`),
        );
    });
    ageRow(46, 'created before later than checked in before is impossible', async ({ get }) => {
      assert.deepEqual(
        told(await get(age('created_before=2016-03-01T00:00:00Z&checked_in_before=2016-02-01T00:00:00Z'))),
        failed(
          400,
          `impossible filter for keys/times (created_before (${utc('2016-03-01 00')}), checked_in_before (${utc('2016-02-01 00')})): checked_in_before needs to be greater than or equal to created_before`,
        ),
      );
    });
    ageRow(47, 'checked in after at or past checked in before is impossible', async ({ get }) => {
      assert.deepEqual(
        told(await get(age('checked_in_after=2016-02-01T00:00:00Z&checked_in_before=2016-02-01T00:00:00Z'))),
        failed(
          400,
          `impossible filter for keys/times (checked_in_before (${utc('2016-02-01 00')}), checked_in_after (${utc('2016-02-01 00')})): checked_in_before needs to be greater than checked_in_after`,
        ),
      );
    });
    ageRow(48, 'created after at or past created before is impossible', async ({ get }) => {
      assert.deepEqual(
        told(await get(age('created_after=2016-03-01T00:00:00Z&created_before=2016-02-01T00:00:00Z'))),
        failed(
          400,
          `impossible filter for keys/times (created_after (${utc('2016-03-01 00')}), created_before (${utc('2016-02-01 00')})): created_before needs to be greater than created_after`,
        ),
      );
    });
    const window = (created: readonly [string, string], seen: readonly [string, string]) =>
      age(
        `created_after=${created[0]}&created_before=${created[1]}&checked_in_after=${seen[0]}&checked_in_before=${seen[1]}`,
      );
    const from2016 = ['2016-01-01T00:00:00Z', '2017-02-01T00:00:00Z'] as const;
    ageRow(49, 'bounds do not include their instant, and the last check-in counts', async ({ get }) => {
      const month = ['2016-01-01T00:00:00Z', '2016-02-01T00:00:00Z'] as const;
      assert.deepEqual(idsOf(await get(window(month, month))), ['A', 'B']);
    });
    ageRow(50, 'a day earlier lets C in', async ({ get }) => {
      const month = ['2015-12-31T00:00:00Z', '2016-02-01T00:00:00Z'] as const;
      assert.deepEqual(idsOf(await get(window(month, month))), ['A', 'B', 'C']);
    });
    ageRow(51, 'checked in after asks for the last check-in', async ({ get }) => {
      const found = await get(
        age('checked_in_after=2016-01-15T00:00:00Z&checked_in_before=2016-02-01T00:00:00Z'),
      );
      assert.deepEqual(idsOf(found), ['B', 'C']);
    });
    ageRow(52, 'a window of two seconds', async ({ get }) => {
      const created = ['2016-01-09T23:59:59Z', '2016-01-10T00:00:01Z'] as const;
      assert.deepEqual(idsOf(await get(window(created, from2016))), ['A', 'E']);
    });
    ageRow(53, 'an offset is honoured', async ({ get }) => {
      const created = ['2016-01-10T00:30:00%2B01:00', '2016-01-10T01:30:00%2B01:00'] as const;
      assert.deepEqual(idsOf(await get(window(created, from2016))), ['A', 'E']);
    });
    ageRow(54, 'fractions of a second count, and of a repeated bound the last', async ({ get }) => {
      const created = ['2016-01-09T23:59:59.999Z', '2016-01-10T00:00:00.001Z'] as const;
      assert.deepEqual(idsOf(await get(window(created, from2016))), ['A', 'E']);
      const twice = 'created_after=2016-02-01T00:00:00Z&created_after=2015-01-01T00:00:00Z';
      assert.equal(idsOf(await get(age(twice))).length, 5);
    });
  });

  describe('check-ins and persistence', () => {
    const persistent = (timestamp: string, epoch = '2015-12-31T00:00:00Z') =>
      `/v3/clusters/persistent?epoch=${epoch}&timestamp=${timestamp}`;
    ageRow(55, 'created after equal to created before is impossible', async ({ get }) => {
      const at = '2016-01-01T00:00:00Z';
      const answer = await get(`/v3/clusters/checkins?created_after=${at}&created_before=${at}`);
      assert.equal(answer.status, 400);
      assert.match(answer.json.message, /created_before needs to be greater than created_after$/);
    });
    ageRow(56, 'a window with none counts 0', async ({ get }) => {
      const query = 'created_after=2017-01-01T00:00:00Z&created_before=2017-02-01T00:00:00Z';
      assert.deepEqual(told(await get(`/v3/clusters/checkins?${query}`)), [200, { count: 0, data: [] }]);
    });
    ageRow(57, 'ages are told as PostgreSQL tells them, the first seen last first', async ({ get }) => {
      const { json } = await get('/v3/clusters/checkins');
      assert.equal(json.count, 5);
      assert.deepEqual(
        json.data.map((one: Record<string, unknown>) => [
          one['clusterID'],
          one['clusterAge'],
          one['lastCheckin'],
          one['checkins'],
        ]),
        [
          ['D', '00:00:00', '20 days', 1],
          ['A', '00:00:00', '1 mon 22 days', 1],
          ['E', '1 mon 22 days', '00:00:00', 3],
          ['B', '15 days', '1 mon 12 days', 2],
          ['C', '30 days 12:30:00', '1 mon 11:30:00', 2],
        ],
      );
    });
    ageRow(58, 'what was persistent at a past moment is B, whatever came later', async ({ get }) => {
      const { json } = await get(persistent('2016-01-20T12:00:00Z'));
      assert.equal(json.count, 1);
      const [only] = json.data;
      assert.deepEqual(
        [only.clusterID, only.lastSeen, only.checkins, 'lastCheckin' in only],
        ['B', '2016-01-20T00:00:00.000Z', 2, false],
      );
    });
    ageRow(59, 'seen exactly a day before is not within the day', async ({ get }) => {
      assert.deepEqual(told(await get(persistent('2016-03-02T00:00:00Z'))), [200, { count: 0, data: [] }]);
      assert.deepEqual(idsOf(await get(persistent('2016-03-01T23:59:59.999Z'))), ['E']);
    });
    ageRow(60, 'an epoch at or past the timestamp is impossible', async ({ get }) => {
      const at = '2016-03-02T00:00:00Z';
      assert.deepEqual(
        told(await get(persistent(at, at))),
        failed(
          400,
          'impossible filter for keys/times (epoch (2016-03-02 00:00:00 +0000 UTC), timestamp (2016-03-02 00:00:00 +0000 UTC)): epoch needs to be less than timestamp',
        ),
      );
    });
  });

  describe('doctor reports', () => {
    const path = `/v3/doctor/${V}`;
    const workflow = { id: U, components: [builder] };
    const doctorReader = { user: 'doc', password: 'päss:word' };
    const basic = (user: string, password: string) => ({
      authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
    });
    row(61, 'a report is taken, and answered with nothing', async ({ post }) => {
      const { status, text, headers } = await post(path, { workflow, nodes: [], namespaces: [] });
      assert.deepEqual([status, text, headers['content-type']], [200, '', 'application/json']);
    });
    row(62, 'a report may have only a workflow', async ({ post, get }) => {
      assert.equal((await post(path, { workflow })).status, 200);
      assert.deepEqual(told(await get(path)), [200, { workflow }]);
      assert.deepEqual(told(await post(path, {})), failed(422, 'workflow in body is required'));
    });
    it('inventory 63: who does not say who it is, or wrongly, is 401 and asked for a password', async (t) => {
      const { registry, post } = await open(t, { doctorReader });
      await post(path, { workflow });
      for (const headers of [{}, basic('doc', 'wrong'), basic('', ''), { authorization: 'Basic !' }]) {
        const answer = await registry.http({ path, token: undefined, headers });
        assert.deepEqual(told(answer), failed(401, 'unauthenticated for invalid credentials'));
        assert.equal(answer.headers['www-authenticate'], 'Basic realm="holdfast", charset="UTF-8"');
      }
    });
    it('inventory 64: the right password reads it', async (t) => {
      const { registry, post } = await open(t, { doctorReader });
      await post(path, { workflow, nodes: [{ data: { a: 1 } }], namespaces: [] });
      const headers = basic(doctorReader.user, doctorReader.password);
      const answer = await registry.http({ path, token: undefined, headers });
      assert.deepEqual(told(answer), [200, { workflow, nodes: [{ data: { a: 1 } }], namespaces: [] }]);
      const elsewhere = await registry.http({ path: '/v3/clusters/count', token: undefined, headers });
      assert.equal(elsewhere.status, 401);
    });
    row(65, 'the second one takes the place of the first', async ({ post, get }) => {
      await post(path, { workflow, nodes: [] });
      await post(path, { workflow: { id: 'second' } });
      assert.deepEqual(told(await get(path)), [200, { workflow: { id: 'second' } }]);
    });
    row(66, 'an unknown report is 404, an id that is none 422', async ({ get }) => {
      assert.deepEqual(told(await get(path)), failed(404, '404 report not found'));
      assert.deepEqual(
        told(await get('/v3/doctor/x')),
        failed(422, 'uuid in path must be of type uuid: "x"'),
      );
    });
    it('inventory 67: nobody and no password is never right', async (t) => {
      for (const reader of [null, { user: '', password: '' }]) {
        const { registry } = await open(t, { doctorReader: reader });
        const answer = await registry.http({ path, token: undefined, headers: basic('', '') });
        assert.equal(answer.status, 401);
        await registry.close();
      }
    });
  });

  describe('a broken store', () => {
    row(68, 'is never 404', async (world) => {
      await world.post('/v3/clusters', { id: U, components: [] });
      await database.breakTables(world.registry, world.boot);
      for (const path of [
        `/v3/clusters/${U}`,
        '/v3/clusters/count',
        '/v3/clusters/age',
        rc1Path,
        '/v3/versions/beta/deis-router',
        '/v3/versions/beta/deis-router/latest',
      ]) {
        const answer = await world.get(path);
        assert.ok([500, 503].includes(answer.status), `${path}: ${answer.status} ${answer.text}`);
        assert.equal(answer.json.code, answer.status);
        assert.doesNotMatch(answer.text, /no such table|relation/);
      }
    });
    row(69, 'takes no check-in and no release', async (world) => {
      await database.breakTables(world.registry, world.boot);
      for (const [path, body] of [
        ['/v3/clusters', { id: U, components: [] }],
        [rc1Path, rc1],
        ['/v3/versions/latest', ask(['m', 'beta'])],
      ] as const) {
        const answer = await world.post(path, body);
        assert.ok([500, 503].includes(answer.status), `${path}: ${answer.status} ${answer.text}`);
        assert.doesNotMatch(answer.text, /no such table|relation/);
      }
    });
  });

  describe('a token of limited scope', () => {
    it('is refused in the old form on every route: clusters are no hosts', async (t) => {
      const { registry } = await open(t);
      const scope = { hosts: 'env=prod' };
      const body = { role: 'admin', subject: 'ann of prod', scope };
      const made = await registry.http({ method: 'POST', path: '/v1/tokens', body });
      assert.equal(made.status, 201, made.text);
      const token = made.json.token as string;
      for (const [method, path, body] of [
        ['POST', '/v3/clusters', { id: U, components: [] }],
        ['POST', `/v2/clusters/${U}`, { id: U, components: [] }],
        ['GET', `/v3/clusters/${U}`],
        ['GET', '/v3/clusters/age'],
        ['GET', '/v2/clusters/count'],
        ['POST', rc1Path, rc1],
        ['GET', rc1Path],
        ['POST', '/v3/versions/latest', ask(['m', 'beta'])],
        ['POST', `/v3/doctor/${V}`, { workflow: {} }],
        ['GET', `/v3/doctor/${V}`],
      ] as const) {
        const answer = await registry.http({ method, path, token, ...(body === undefined ? {} : { body }) });
        assert.deepEqual([answer.status, answer.json.code], [403, 403], `${method} ${path}: ${answer.text}`);
      }
      assert.equal((await registry.http({ path: '/v3/clusters/count' })).json, 0);
    });
  });

  describe('who shows no token', () => {
    const bare = (world: World) => (method: string, path: string, body?: unknown) =>
      world.registry.http({ method, path, body, token: undefined });
    it('is refused in the old form unless the setting lets it in', async (t) => {
      const world = await open(t);
      const answer = await bare(world)('POST', '/v3/clusters', { id: U, components: [] });
      assert.deepEqual(told(answer), failed(401, 'unauthenticated for invalid credentials'));
      assert.equal(answer.headers['www-authenticate'], 'Bearer realm="holdfast"');
      assert.equal((await bare(world)('GET', '/v3/versions/beta/m')).status, 401);
      assert.equal((await bare(world)('GET', '/ping')).status, 200);
    });
    it('may check in, read and report where the setting says so, and never publish', async (t) => {
      const world = await open(t, { legacyAnonymous: true });
      const send = bare(world);
      assert.equal((await send('POST', '/v3/clusters', { id: U, components: [] })).status, 200);
      assert.equal((await send('GET', `/v3/clusters/${U}`)).status, 200);
      assert.equal((await send('POST', '/v2/versions/latest', { data: [] })).status, 200);
      assert.equal((await send('POST', `/v3/doctor/${V}`, { workflow: {} })).status, 200);
      assert.equal((await send('GET', `/v3/doctor/${V}`)).status, 401);
      assert.equal((await send('POST', rc1Path, rc1)).status, 401);
      assert.equal((await send('GET', '/v1/hosts')).status, 401);
    });
    it('may not put a report in the place of somebody else’s', async (t) => {
      const world = await open(t, { legacyAnonymous: true });
      const path = `/v3/doctor/${V}`;
      const mine = { workflow: { id: 'mine' } };
      assert.equal((await world.post(path, mine)).status, 200);
      assert.equal((await bare(world)('POST', path, { workflow: { id: 'forged' } })).status, 409);
      assert.deepEqual((await world.get(path)).json, mine);
    });
    it('is held to so many posts of an address', async (t) => {
      const limits = { http: { anonymousPostsBurstMax: 3 } };
      const world = await open(t, { legacyAnonymous: true, limits });
      const post = () => bare(world)('POST', '/v3/clusters', { id: U, components: [] });
      for (let n = 0; n < 3; n += 1) assert.equal((await post()).status, 200);
      const answer = await post();
      assert.deepEqual([answer.status, answer.json.code], [429, 429]);
      assert.ok(Number(answer.headers['retry-after']) >= 1);
      assert.equal((await world.post('/v3/clusters', { id: U, components: [] })).status, 200);
    });
  });
}
