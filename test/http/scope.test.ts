/** Tokens of limited scope, over the whole route table of a real registry: nothing outside is told, nor touched. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Caller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import type { ChangeEvent } from '../../src/domain/event.ts';
import { inventoryHash } from '../../src/domain/inventory.ts';
import type { HttpServices } from '../../src/http/operation.ts';
import { routesOf } from '../../src/http/routes.ts';
import { scopedServices } from '../../src/http/scope.ts';
import type { WatchMessage } from '../../src/wire/watch.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import { until } from '../helpers/until.ts';

interface Place {
  readonly id: string;
  readonly name: string;
  /** Of a record of type `shop/api` on it. */
  readonly uuid: string;
}

/** One host inside the scope `env=in`, one outside; with a record and a component each. */
async function world(t: TestContext, scope: object = { hosts: 'env=in' }) {
  const stage = Stage.open(t);
  const registry = await stage.registry();
  const make = async (env: string): Promise<Place> => {
    const name = `host-${env}`;
    const joined = await registry.http({
      method: 'POST',
      path: '/v1/join',
      body: { name, machineId: `machine-${env}` },
    });
    const { id, credential } = joined.json as { id: string; credential: string };
    const labels = { env, note: `label-${env}` };
    await registry.http({ method: 'PATCH', path: `/v1/hosts/${id}`, body: { labels } });
    const components = [{ name: `component-${env}`, version: '1', detector: 'dpkg' }];
    const checkIn = { base: null, hash: inventoryHash(components), components };
    const taken = await registry.http({
      method: 'POST',
      path: `/v1/hosts/${id}/checkin`,
      token: credential,
      body: checkIn,
    });
    assert.equal(taken.status, 200, taken.text);
    const { json } = await registry.http({
      method: 'POST',
      path: '/v1/services',
      body: { type: 'shop/api', host: name, region: `region-${env}` },
    });
    return { id, name, uuid: json.uuid as string };
  };
  const [inside, outside] = [await make('in'), await make('out')];
  const tokenOf = async (role: string) => {
    const body = { role, subject: `someone as ${role}`, scope };
    const issued = await registry.http({ method: 'POST', path: '/v1/tokens', body });
    assert.equal(issued.status, 201, issued.text);
    return issued.json.token as string;
  };
  return { stage, registry, inside, outside, tokenOf };
}

/** What only what lies outside is called. */
function marks(outside: Place): RegExp {
  return new RegExp(`host-out|label-out|component-out|region-out|${outside.id}|${outside.uuid}`);
}

/** All that a registry holds, but for when it was seen. */
async function state({ http }: Booted<unknown>): Promise<string> {
  const releases = '/v1/components/shop%2Fapi/trains/stable/releases';
  const lists = ['/v1/hosts', '/v1/services', '/v1/components', '/v1/tokens', releases];
  const texts = await Promise.all(
    lists.map(async (path) => JSON.stringify((await http({ path: `${path}?limit=1000` })).json.items)),
  );
  return texts.join('\n');
}

/** POSTs that change nothing. */
const questions = new Set(['isUp', 'isUpMany', 'getLatestReleases']);

const bodies: Readonly<Record<string, object>> = {
  registerService: { type: 'web', host: 'host-out' },
  putService: { status: 'DOWN' },
  changeHost: { labels: { env: 'in', taken: 'yes' } },
  join: { name: 'x', machineId: 'm' },
  createToken: { role: 'viewer', subject: 'me' },
  rotateTrust: { what: 'signing-key' },
  putRelease: { image: 'i' },
  putTrain: { follows: 'beta' },
  getLatestReleases: { items: [{ component: 'shop/api', train: 'stable' }] },
};

test('D12: no route tells a scoped admin of what lies outside, or changes it', async (t) => {
  const { registry, outside, tokenOf } = await world(t);
  const token = await tokenOf('admin');
  const release = '/v1/components/shop%2Fapi/trains/stable/releases/1.0.0';
  const published = await registry.http({ method: 'PUT', path: release, body: {} });
  assert.equal(published.status, 201, published.text);
  const before = await state(registry);
  const told = marks(outside);
  for (const { method, path, access, operation } of routesOf('registry')) {
    if (access === 'open' || access === 'proof' || access === 'probe') continue;
    if (operation.id === 'watch' || operation.id === 'events') continue;
    for (const host of [outside.id, outside.name]) {
      const at = path
        .replace(':host', host)
        .replace(':uuid', outside.uuid)
        .replace(/:\w+/g, 'tok-00000000000000000000000000');
      const query = queryOf(operation.id, outside);
      const body = bodyOf(operation.id, outside, method);
      const answer = await registry.http({
        method,
        path: `${at}${query}`,
        token,
        ...(body === null ? {} : { body }),
      });
      const what = `${method} ${at}${query}: ${answer.status} ${answer.text.slice(0, 300)}`;
      // What the caller itself wrote may be written back.
      const news = [outside.id, outside.name, outside.uuid].reduce(
        (text, asked) => text.replaceAll(asked, ''),
        answer.text,
      );
      if (!operation.scoped) assert.equal(answer.status, 403, what);
      else assert.ok([200, 403, 404].includes(answer.status), what);
      const echoes = answer.status !== 200 || operation.id === 'beatServices';
      assert.doesNotMatch(echoes ? news : answer.text, told, what);
      if (operation.id === 'isUp') assert.equal(answer.json.known, false, what);
      if (operation.id === 'isUpMany')
        assert.deepEqual(
          new Set((answer.json.items as { known: boolean }[]).map(({ known }) => known)),
          new Set([false]),
        );
      if (operation.id === 'beatServices') continue;
      if (answer.status === 200) assert.equal(method === 'GET' || questions.has(operation.id), true, what);
      if (operation.id === 'getLatestReleases') assert.deepEqual(answer.json.items, [null], what);
    }
  }
  assert.equal(await state(registry), before);
});

test('D12: inside its scope a token may what its role may, and no more', async (t) => {
  const { registry, inside, outside, tokenOf } = await world(t);
  const [viewer, operator, reporter] = [
    await tokenOf('viewer'),
    await tokenOf('operator'),
    await tokenOf('reporter'),
  ];
  const ask = async (method: string, path: string, token: string, body?: object) =>
    (await registry.http({ method, path, token, ...(body === undefined ? {} : { body }) })).status;
  assert.equal(await ask('GET', `/v1/hosts/${inside.id}`, viewer), 200);
  assert.equal(await ask('GET', `/v1/hosts/${inside.name}/components`, viewer), 200);
  assert.equal(await ask('GET', `/v1/services/${inside.uuid}`, viewer), 200);
  assert.equal(await ask('GET', '/v1/whoami', viewer), 200);
  assert.equal(await ask('PATCH', `/v1/hosts/${inside.id}`, viewer, { labels: { a: 'b' } }), 403);
  assert.equal(await ask('PATCH', `/v1/hosts/${inside.id}`, operator, { labels: { a: 'b' } }), 200);
  // Neither out of its scope, nor to where it would be out.
  assert.equal(await ask('PATCH', `/v1/hosts/${inside.id}`, operator, { labels: { env: 'out' } }), 403);
  assert.equal(await ask('PUT', `/v1/services/${inside.uuid}`, reporter, { host: outside.name }), 403);
  assert.equal(await ask('POST', '/v1/services', reporter, { type: 'web', host: 'never-joined' }), 403);
  assert.equal(await ask('PUT', `/v1/services/${inside.uuid}`, reporter, { status: 'DOWN' }), 200);
  assert.equal(await ask('POST', `/v1/services/${inside.uuid}/heartbeat`, reporter, {}), 200);
  const items = [{ uuid: outside.uuid }, { uuid: inside.uuid }, { uuid: outside.uuid }];
  const beats = await registry.http({
    method: 'POST',
    path: '/v1/heartbeats',
    token: reporter,
    body: { items },
  });
  assert.deepEqual(
    (beats.json.items as { code: string | null }[]).map(({ code }) => code),
    ['not-found', null, 'not-found'],
  );
  const listed = await registry.http({ path: '/v1/services?limit=1000', token: viewer });
  assert.deepEqual(
    (listed.json.items as { uuid: string }[]).map(({ uuid }) => uuid),
    [inside.uuid],
  );
});

test('D12: a watch follows the scope: what leaves it is cut at once, what comes tells nothing of before', async (t) => {
  const { stage, registry, inside, outside, tokenOf } = await world(t);
  const token = await tokenOf('viewer');
  const follow = (query: string) => followEvents(registry.url, token, query);
  const [all, before] = [await follow('?snapshot=true'), await follow('?hosts=note=label-out')];
  stage.closing(async () => {
    all.stop();
    before.stop();
  });
  await until(() => all.messages.length > 0 && before.messages.length > 0, 'the watches did not begin');
  const label = (host: Place, env: string) =>
    registry.http({ method: 'PATCH', path: `/v1/hosts/${host.id}`, body: { labels: { env } } });
  const set = async ({ uuid }: Place, status: string) => {
    const answer = await registry.http({ method: 'PUT', path: `/v1/services/${uuid}`, body: { status } });
    assert.equal(answer.status, 200);
  };
  await set(outside, 'DOWN');
  await set(inside, 'DOWN');
  await label(inside, 'out');
  await set(inside, 'UP');
  await registry.http({ method: 'PATCH', path: `/v1/hosts/${outside.id}`, body: { labels: { note: null } } });
  await label(outside, 'in');
  await set(outside, 'UP');
  await registry.http({ method: 'DELETE', path: `/v1/hosts/${outside.id}` });
  const words = (followed: typeof all) => followed.events().map(({ type, host }) => `${type} ${host}`);
  await until(() => words(all).some((word) => word.startsWith('host.removed')), 'the removal was not told');
  assert.deepEqual(words(all), [
    'service.set host-in',
    'host.labelled host-out',
    'service.set host-out',
    'host.removed host-out',
    'service.deleted host-out',
    'component.removed host-out',
  ]);
  assert.ok(all.events().every((event) => event.before === undefined));
  const shown = JSON.stringify(all.messages.filter(({ kind }) => kind === 'snapshot'));
  assert.match(shown, /host-in/);
  assert.doesNotMatch(shown, /host-out|label-out|region-out/);
  // That it was labelled so outside selects nothing.
  assert.deepEqual(words(before), []);
  // Whoever resumes is told what was inside then, whatever is now.
  const late = await follow(`?since=${all.first()}`);
  await until(() => words(late).length >= 6, 'the past was not told');
  assert.deepEqual(words(late), words(all));
  late.stop();
});

test('a scope of apps covers what belongs to them, on every host', async (t) => {
  const { registry, inside, outside, tokenOf } = await world(t, { apps: ['shop'] });
  await registry.http({ method: 'POST', path: '/v1/services', body: { type: 'db', host: 'host-in' } });
  const token = await tokenOf('reporter');
  const viewer = await tokenOf('viewer');
  const listed = await registry.http({ path: '/v1/services', token });
  assert.deepEqual(
    (listed.json.items as { uuid: string }[]).map(({ uuid }) => uuid).sort(),
    [inside.uuid, outside.uuid].sort(),
  );
  assert.deepEqual((await registry.http({ path: '/v1/components', token: viewer })).json.items, []);
  const register = (type: string) =>
    registry.http({ method: 'POST', path: '/v1/services', token, body: { type, host: 'host-in' } });
  assert.equal((await register('shop/web')).status, 201);
  assert.equal((await register('other/web')).status, 403);
});

test('D12: a token of some apps changes no host: what is on it is of others too', async (t) => {
  const { registry, inside, tokenOf } = await world(t, { apps: ['shop'] });
  await registry.http({ method: 'POST', path: '/v1/services', body: { type: 'db', host: 'host-in' } });
  const token = await tokenOf('admin');
  const before = await state(registry);
  const ask = async (method: string, path: string, body?: object) =>
    (await registry.http({ method, path, token, ...(body === undefined ? {} : { body }) })).status;
  const path = `/v1/hosts/${inside.id}`;
  assert.equal(await ask('GET', path), 200);
  assert.equal(await ask('PATCH', path, { labels: { env: 'mine' } }), 403);
  assert.equal(await ask('DELETE', `${path}/credential`), 403);
  assert.equal(await ask('DELETE', path), 403);
  assert.equal(await state(registry), before);
});

test('D12: no name brings the records of a host outside into a scope', async (t) => {
  const { registry, inside, tokenOf } = await world(t);
  await registry.http({ method: 'POST', path: '/v1/services', body: { type: 'db', host: 'never-joined' } });
  const token = await tokenOf('operator');
  const before = await state(registry);
  const rename = (name: string) =>
    registry.http({ method: 'PATCH', path: `/v1/hosts/${inside.id}`, token, body: { name } });
  assert.equal((await rename('never-joined')).status, 403);
  assert.equal(await state(registry), before);
  assert.equal((await rename('host-in-2')).status, 200);
});

test('a scope of apps covers their releases; one of hosts changes none: they are for every host', async (t) => {
  const { registry, tokenOf } = await world(t, { apps: ['shop'] });
  const publisher = await tokenOf('publisher');
  const limited = await registry.http({
    method: 'POST',
    path: '/v1/tokens',
    body: { role: 'publisher', subject: 'edge-ci', scope: { hosts: 'env=in', apps: ['shop'] } },
  });
  const trainOf = (component: string) =>
    `/v1/components/${encodeURIComponent(component)}/trains/stable/releases`;
  const ask = async (token: string | undefined, method: string, path: string, body?: object) =>
    registry.http({
      method,
      path,
      ...(token === undefined ? {} : { token }),
      ...(body === undefined ? {} : { body }),
    });
  const [ours, theirs] = [`${trainOf('shop/api')}/1.0.0`, `${trainOf('other/api')}/1.0.0`];
  assert.equal((await ask(undefined, 'PUT', theirs, { image: 'i' })).status, 201);
  assert.equal((await ask(publisher, 'PUT', ours, { image: 'i' })).status, 201);
  assert.equal((await ask(publisher, 'PUT', theirs, { image: 'j' })).status, 403);
  assert.equal((await ask(publisher, 'DELETE', theirs)).status, 403);
  assert.equal((await ask(publisher, 'GET', ours)).status, 200);
  assert.equal((await ask(publisher, 'GET', theirs)).status, 404);
  assert.equal((await ask(publisher, 'GET', `${trainOf('other/api')}/latest`)).status, 404);
  assert.deepEqual((await ask(publisher, 'GET', trainOf('other/api'))).json.items, []);
  const items = ['other/api', 'shop/api', 'other/api'].map((component) => ({ component, train: 'stable' }));
  const found = (await ask(publisher, 'POST', '/v1/releases/latest', { items })).json.items as ({
    component: string;
  } | null)[];
  assert.deepEqual(
    found.map((release) => release?.component ?? null),
    [null, 'shop/api', null],
  );
  const onSomeHosts = limited.json.token as string;
  assert.equal((await ask(onSomeHosts, 'GET', ours)).status, 200);
  assert.equal((await ask(onSomeHosts, 'PUT', ours, { image: 'j' })).status, 403);
  assert.equal((await ask(onSomeHosts, 'DELETE', ours)).status, 403);
  assert.equal((await ask(publisher, 'DELETE', ours)).status, 204);
  const operator = await tokenOf('operator');
  const prodOf = (component: string) => `/v1/components/${encodeURIComponent(component)}/trains/prod`;
  const follow = async (component: string) =>
    (await ask(operator, 'PUT', prodOf(component), { follows: 'stable' })).status;
  assert.deepEqual([await follow('shop/api'), await follow('other/api')], [201, 403]);
  assert.equal((await ask(undefined, 'PUT', prodOf('other/api'), { follows: 'stable' })).status, 201);
  assert.equal((await ask(operator, 'GET', prodOf('other/api'))).status, 404);
  assert.equal((await ask(operator, 'DELETE', prodOf('other/api'))).status, 403);
  assert.deepEqual((await ask(operator, 'GET', '/v1/components/other%2Fapi/trains')).json.items, []);
});

test('the steps of a host begin when it came into the scope', async (t) => {
  const { registry, inside, tokenOf, stage } = await world(t);
  const label = async (labels: object) => {
    stage.clock.stall(60_000);
    await registry.http({ method: 'PATCH', path: `/v1/hosts/${inside.id}`, body: { labels } });
  };
  await label({ env: 'away', secret: 'of-others' });
  await label({ secret: 'still-of-others' });
  await label({ secret: null, env: 'in' });
  const path = `/v1/hosts/${inside.name}/history`;
  const { status, text, json } = await registry.http({ path, token: await tokenOf('viewer') });
  assert.equal(status, 200, text);
  assert.doesNotMatch(text, /of-others|away/);
  assert.deepEqual(json.items, []);
  stage.clock.stall(60_000);
  await registry.http({ method: 'PATCH', path: `/v1/hosts/${inside.id}`, body: { region: 'eu' } });
  const since = await registry.http({ path, token: await tokenOf('viewer') });
  const steps = since.json.items as { kind: string; before: { labels: object } }[];
  assert.deepEqual(
    steps.map(({ kind, before }) => [kind, before.labels]),
    [['host.labelled', { env: 'in', note: 'label-in' }]],
  );
  assert.match((await registry.http({ path })).text, /of-others/);
});

test('a watch by a token of some apps is told of their releases, and of no others', async (t) => {
  const { stage, registry, tokenOf } = await world(t, { apps: ['shop'] });
  const watched = await followEvents(registry.url, await tokenOf('viewer'), '?types=release.*');
  stage.closing(async () => watched.stop());
  await until(() => watched.messages.length > 0, 'the watch did not begin');
  for (const component of ['other/api', 'openssl', 'shop/api']) {
    const path = `/v1/components/${encodeURIComponent(component)}/trains/stable/releases/1.0.0`;
    await registry.http({ method: 'PUT', path, body: {} });
  }
  await until(() => watched.events().length > 0, 'the release was not told');
  assert.deepEqual(
    watched.events().map(({ type, service }) => [type, service]),
    [['release.published', 'shop/api']],
  );
});

test('a scope is refused where it cannot be kept, and when it says nothing', async (t) => {
  const { stage, registry } = await world(t);
  const agent = await stage.agent({ registry: null });
  const create = ({ http }: Booted<unknown>, scope: object) =>
    http({ method: 'POST', path: '/v1/tokens', body: { role: 'viewer', subject: 'me', scope } });
  assert.equal((await create(agent, { hosts: 'env=in' })).status, 422);
  const wrong = await create(registry, { hosts: 'env=' });
  assert.deepEqual([wrong.status, wrong.json.field], [400, 'scope/hosts']);
  assert.equal((await create(registry, {})).status, 400);
});

function queryOf(operation: string, outside: Place): string {
  if (['listHostHistory', 'listComponentChanges', 'listHostChanges'].includes(operation)) return '?from=1d';
  if (operation === 'isUp') return `?uuid=${outside.uuid}`;
  if (operation === 'deleteServiceAt') return `?type=shop%2Fapi&host=${outside.name}`;
  return '';
}

function bodyOf(operation: string, outside: Place, method: string): object | null {
  const at = { type: 'shop/api', host: outside.name };
  if (operation === 'isUpMany') return { items: [{ uuid: outside.uuid }, at] };
  if (operation === 'beatServices') return { items: [{ uuid: outside.uuid }] };
  return bodies[operation] ?? (method === 'POST' ? {} : null);
}

/** Server-sent events as they come. */
async function followEvents(url: string, token: string, query: string) {
  const abort = new AbortController();
  const response = await fetch(`${url}/v1/events${query}`, {
    headers: { authorization: `Bearer ${token}` },
    signal: abort.signal,
  });
  assert.equal(response.status, 200);
  const messages: WatchMessage[] = [];
  const reading = (async () => {
    let text = '';
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk as Uint8Array).toString();
      const whole = text.split('\n\n');
      text = whole.pop() ?? '';
      for (const one of whole) {
        const data = /^data: (.*)$/m.exec(one)?.[1];
        if (data !== undefined) messages.push(JSON.parse(data) as WatchMessage);
      }
    }
  })();
  reading.catch(() => undefined);
  return {
    messages,
    stop: () => abort.abort(),
    events: (): ChangeEvent[] =>
      messages.flatMap((message) => (message.kind === 'events' ? [...message.events] : [])),
    first: () => messages.flatMap((message) => ('position' in message ? [message.position] : []))[0],
  };
}

test('a record that cannot be read is not taken for one that is not there', async () => {
  const broken = new AppError('unavailable', 'Cannot read: the store is away');
  const written: string[] = [];
  const liveness = {
    get: () => Promise.reject(broken),
    put: async () => {
      written.push('put');
    },
  } as unknown as HttpServices['liveness'];
  const services = { liveness, components: {} } as unknown as HttpServices;
  const { liveness: scoped } = scopedServices(services, { apps: ['shop'] });
  const caller: Caller = { role: 'reporter', subject: 'ci' };
  const patch = { type: 'shop/api', host: 'edge-1' };
  const uuid = '01890000-0000-7000-8000-000000000001';
  await assert.rejects(scoped.put(caller, uuid, patch, { takeover: false }), broken);
  await assert.rejects(scoped.beat(caller, uuid), broken);
  assert.deepEqual(written, []);
});

test('has: a token of some applications learns nothing of other components by asking who has them', async (t) => {
  const { registry, inside, tokenOf } = await world(t, { apps: ['shop'] });
  const token = await tokenOf('viewer');
  const items = async (path: string, as?: string) =>
    (await registry.http({ path, ...(as === undefined ? {} : { token: as }) })).json.items as unknown[];
  for (const list of ['/v1/hosts', '/v1/components']) {
    for (const range of ['component-in>=1', 'component-in<1']) {
      const asked = `${list}?has=${encodeURIComponent(range)}`;
      assert.deepEqual(await items(asked, token), [], asked);
      assert.deepEqual(await items(`${asked}&asOf=0s`, token), [], asked);
    }
  }
  const [found] = (await items(`/v1/hosts?has=${encodeURIComponent('component-in>=1')}`)) as { id: string }[];
  assert.equal(found?.id, inside.id);
});

test('what was on a host is told to whom its labels covered it then, and of their applications only', async (t) => {
  const { registry, stage, tokenOf } = await world(t, { hosts: 'env=in', apps: ['shop'] });
  const token = await tokenOf('viewer');
  const { json: joined } = await registry.http({
    method: 'POST',
    path: '/v1/join',
    body: { name: 'roamer', machineId: 'machine-roamer' },
  });
  const move = async (env: string) => {
    stage.clock.stall(60_000);
    await registry.http({ method: 'PATCH', path: '/v1/hosts/roamer', body: { labels: { env } } });
  };
  const install = async (version: string) => {
    stage.clock.stall(60_000);
    const components = ['aaa', 'shop/api', 'zzz'].map((name) => ({ name, version, detector: 'file' }));
    const body = { base: null, hash: inventoryHash(components), components };
    const path = `/v1/hosts/${joined.id}/checkin`;
    assert.equal((await registry.http({ method: 'POST', path, body, token: joined.credential })).status, 200);
    return `asOf=${new Date(stage.clock.now()).toISOString()}`;
  };
  await move('out');
  const out = await install('1');
  await move('in');
  const back = await install('2');
  const ask = async (path: string) => {
    const { status, json, text } = await registry.http({ path, token });
    const { items = [], next = null } = json as { items?: Record<string, unknown>[]; next?: string };
    const cursor = next === null ? '' : Buffer.from(next, 'base64url').toString();
    assert.doesNotMatch(`${text} ${cursor}`, /aaa|zzz/, path);
    return { status, names: items.map(({ name }) => name), items, next };
  };
  const of = '/v1/hosts/roamer/components';
  assert.equal((await ask(`${of}?${out}`)).status, 404);
  const one = await ask(`${of}?${back}&limit=1`);
  assert.deepEqual([one.names, one.next], [['shop/api'], null]);
  assert.deepEqual((await ask(`${of}?limit=1`)).names, ['shop/api']);
  // A cursor says of which moment it goes on.
  const [, at = ''] = out.split('=');
  const forged = Buffer.from(JSON.stringify([String(Date.parse(at)), 'a', 'a'])).toString('base64url');
  assert.equal((await ask(`${of}?${back}&cursor=${forged}`)).status, 404);
  const steps = await ask(`/v1/hosts/roamer/history?limit=1`);
  assert.deepEqual(
    steps.items.map(({ kind, name, after }) => [kind, name, after]),
    [['component.changed', 'shop/api', { version: '2' }]],
  );
  assert.equal(steps.next, null);
  const changes = '/v1/history/components?limit=1';
  assert.deepEqual((await ask(`${changes}&from=30s`)).names, ['shop/api']);
  assert.deepEqual((await ask(`${changes}&from=1d`)).names, ['shop/api']);
  assert.deepEqual((await ask(`${changes}&from=150s`)).names, []);
  await move('out');
  assert.equal((await ask('/v1/hosts/roamer/history')).status, 404);
  assert.equal((await ask(`${of}?${back}`)).status, 200);
  for (const [when, status] of [
    [back, 200],
    [out, 404],
    ['limit=1', 404],
  ])
    assert.equal((await ask(`/v1/updates?host=roamer&${when}`)).status, status, `${when}`);
});
