/** What may stand in a path or a method, and must not get past who may do what. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasHead, type Route, routesOf } from '../../src/http/routes.ts';
import { SeededRandom } from '../helpers/random.ts';
import { raw } from '../helpers/raw.ts';
import { assertRefused, assertUnharmed, head, type Target, targets, uuidOf } from './world.ts';

const uuid = uuidOf(1);

/** Ways to write a path that is not the path, or is it and does not look so. */
const tricks: readonly ((path: string) => string)[] = [
  (path) => `/${path}`,
  (path) => `/.${path}`,
  (path) => `/..${path}`,
  (path) => `/x/..${path}`,
  (path) => `/x/%2e%2e${path}`,
  (path) => `/%2e${path}`,
  (path) => `${path}/`,
  (path) => `${path}//`,
  (path) => `${path}/.`,
  (path) => `${path}/..`,
  (path) => `${path}%2f`,
  (path) => `${path}%2f..`,
  (path) => `${path}/..%2f..%2flivez`,
  (path) => `${path}%00`,
  (path) => `${path}%00.json`,
  (path) => `${path};jsessionid=1`,
  (path) => `${path};/livez`,
  (path) => `${path}.json`,
  (path) => `${path}%20`,
  (path) => `${path}%09`,
  (path) => `${path}%0a`,
  (path) => `${path}%0d%0aX-Injected:%201`,
  (path) => `${path}%23`,
  (path) => `${path}%3f`,
  (path) => `${path}?/../livez`,
  (path) => `${path}%`,
  (path) => `${path}%zz`,
  (path) => `${path}%c0%af`,
  (path) => `${path}%ff`,
  (path) => `${path}%u002f`,
  (path) => path.toUpperCase(),
  (path) => path.replace('v1', 'V1'),
  (path) => path.replace('v1', '%76%31'),
  (path) => path.replace('/v1', '/v1/'),
  (path) => path.replace('/v1', '//v1'),
  (path) => path.replace('/v1', '\\v1'),
  (path) => path.replaceAll('/', '%2f'),
  (path) => path.replaceAll('/', '%252f'),
  (path) => path.replaceAll('/', '\\'),
  (path) => path.replaceAll('/', '%5c'),
  (path) => path.replaceAll('/', '%ef%bc%8f'),
  (path) => path.replaceAll('/', '%e2%88%95'),
  (path) => path.replace('s', '%73'),
  (path) => path.replace('s', '%c5%bf'),
  (path) => path.replace('i', '%c4%b1'),
  (path) => `http://127.0.0.1${path}`,
  (path) => `http://evil.example${path}`,
  (path) => `http://127.0.0.1/livez/..${path}`,
  (path) => `/livez?x=${path}`,
  (path) => `/livez/..${path}`,
  (path) => `/livez;${path}`,
  (path) => `/livez%2f..${path}`,
  (path) => `/livez#${path}`,
  (path) => `*${path}`,
];

test('F10: no way to write a path answers without a token what the path itself would not', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    const kept = await target.http({
      method: 'PUT',
      path: `/v1/services/${uuid}`,
      body: { type: 'web', host: 'edge-1' },
    });
    assert.equal(kept.status, 201, kept.text);
    for (const route of routesOf(target.kind)) {
      if (route.operation.streams || route.path === '/v1/backup') continue;
      for (const trick of tricks) {
        const url = trick(fill(route));
        const expected = reference(target, route.method, url);
        for (const token of [undefined, 'hf_nobody']) {
          const status = await statusOf(target, route.method, url, token);
          const what = `${target.kind}: ${route.method} ${url} ${token === undefined ? 'without a token' : 'with a wrong one'}: ${status}`;
          assert(status < 500, what);
          const open =
            expected !== undefined && typeof expected.access === 'string' && expected.access !== 'known';
          if (!open) assert(status >= 400, what);
        }
      }
    }
    assert.equal((await target.http({ path: `/v1/services/${uuid}` })).json.version, kept.json.version);
    await assertUnharmed(target);
  }
});

test('F10: what the router finds is what a plain reading of the path finds, for 3,000 paths of a seed', async (t) => {
  const random = SeededRandom.fresh(t);
  const { both } = await targets(t);
  const pieces = [
    ...[
      'v1',
      'V1',
      'services',
      'is-up',
      'hosts',
      'components',
      'tokens',
      'whoami',
      'status',
      'livez',
      'version',
    ],
    ...[
      uuid,
      'edge-1',
      'heartbeat',
      'maintenance',
      'target',
      'a%2fb',
      '%2e%2e',
      '..',
      '.',
      '',
      ' %20',
      'é',
      '%c3%a9',
    ],
    ...[':uuid', ':host', '*', '**', '(x)', '[x]', '{host}', '%', '%zz', '%00', ';a=b', '~', '%7E', "'"],
  ];
  let found = 0;
  for (let count = 0; count < 3_000; count += 1) {
    const target = random.pick(both);
    const own = routesOf(target.kind).filter(
      ({ operation, path }) => !operation.streams && path !== '/v1/backup',
    );
    const start = random.uniform() < 0.6 ? fill(random.pick(own)).split('/').slice(1) : [];
    const path = [...start];
    for (let edits = random.integer(0, 3); edits > 0; edits -= 1) {
      const at = random.integer(0, path.length);
      if (random.uniform() < 0.5) path.splice(at, 0, random.pick(pieces));
      else path.splice(at, 1, random.pick(pieces));
    }
    // Only what an ASCII request line can hold.
    const url = `/${path.join('/').replaceAll(' ', '').replaceAll('é', '')}`;
    const expected = reference(target, 'GET', url);
    const status = await statusOf(target, 'GET', url, target.token);
    const what = `${target.kind}: GET ${url}: ${status}, expected ${expected?.path ?? 'none'} (${random})`;
    if (expected === undefined) assert(status === 404 || status === 405 || status === 400, what);
    else {
      found += 1;
      assert(status !== 405, what);
      // Its operation may say that there is nothing of this name; its path it knows.
      if (status === 404) {
        const { json } = await target.http({ path: url });
        assert.doesNotMatch(json.detail ?? json.message, /no such path|^path .* was not found$/, what);
      }
    }
  }
  assert(found > 300, `${found} paths were some route's`);
  for (const target of both) await assertUnharmed(target);
});

test('F10: a name in a path is one name, decoded once', async (t) => {
  const { registry } = await targets(t);
  for (const [name, code] of [
    ['a%2fb', 'not-found'],
    ['%252e%252e', 'not-found'],
    ['..%2f..%2fetc%2fpasswd', 'not-found'],
    ['%00', 'bad-request'],
    ['a%00b', 'bad-request'],
    ['%ff', 'bad-request'],
    ['%', 'bad-request'],
    ['x'.repeat(254 * 12), 'bad-request'],
  ] as const) {
    const answer = await registry.http({ path: `/v1/hosts/${name}` });
    assertRefused(answer, code, name);
    assert(
      !answer.text.includes('/etc/passwd') || answer.json.detail.includes('../../etc/passwd'),
      answer.text,
    );
  }
});

test('F11: nothing that asks for another method gets it', async (t) => {
  const { both } = await targets(t);
  const path = `/v1/services/${uuid}`;
  for (const target of both) {
    await target.http({ method: 'PUT', path, body: { type: 'web', host: 'edge-1' } });
    for (const name of ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override', '_method']) {
      const headers = { [name]: 'DELETE' };
      assert.equal((await target.http({ path, headers })).json.uuid, uuid, name);
      await target.http({ method: 'POST', path: `${path}/heartbeat`, headers });
      assert.equal((await target.http({ path })).status, 200, `${name} deleted it`);
    }
    for (const name of ['_method', 'method', 'X-HTTP-Method-Override'])
      assertRefused(await target.http({ path: `${path}?${name}=DELETE` }), 'bad-request', name, name);
    const form = await target.http({
      method: 'POST',
      path: '/v1/services',
      body: '_method=DELETE&type=web&host=edge-1',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    assertRefused(form, 'unsupported', 'a form');
    assert.equal((await target.http({ path })).status, 200);
  }
});

test('F11: HEAD is GET without a body, and every other method that a path has not is refused, for whoever asks', async (t) => {
  const { both } = await targets(t);
  for (const target of both) {
    const own = routesOf(target.kind);
    const viewer = await tokenFor(target, 'viewer');
    for (const place of new Set(own.map((route) => fill(route)))) {
      // A word such as `latest` in the place of a name is one for the methods that have no path of their own for it.
      const here = own.filter(({ path }) => patternOf(path).test(place));
      const get = own.find((route) => route.method === 'GET' && fill(route) === place);
      for (const token of [undefined, viewer]) {
        if (get !== undefined && hasHead(get) && place !== '/v1/backup') {
          const [one, other] = [
            await target.http({ path: place, token }),
            await target.http({ method: 'HEAD', path: place, token }),
          ];
          assert.equal(other.status, one.status, `HEAD ${place}`);
          assert.equal(other.text, '');
          assert.equal(other.headers['content-type'], one.headers['content-type'], `HEAD ${place}`);
        }
        for (const method of [
          'OPTIONS',
          'TRACE',
          'PUT',
          'PATCH',
          'DELETE',
          'POST',
          'PROPFIND',
          'LOCK',
          'PURGE',
          'SEARCH',
        ]) {
          if (here.some((route) => route.method === method)) continue;
          const answer = await raw(
            target.port,
            head(target, `${method} ${place} HTTP/1.1`, ['Content-Length: 0', 'Connection: close']).replace(
              /Authorization: .*\r\n/,
              token === undefined ? '' : `Authorization: Bearer ${token}\r\n`,
            ),
          );
          const expected = token === undefined && place.startsWith('/v1') ? 401 : 405;
          assert.match(
            answer,
            new RegExp(`^HTTP/1\\.1 ${expected} `),
            `${method} ${place}: ${answer.slice(0, 200)}`,
          );
          // Neither an echo of what was sent (TRACE) nor a word for other origins (OPTIONS).
          assert(!answer.includes(target.token) && !/access-control/i.test(answer), `${method} ${place}`);
          if (expected === 405) assert.match(answer, /^allow: [A-Z, ]+\r$/im, `${method} ${place}`);
        }
      }
    }
    await assertUnharmed(target);
  }
});

function fill({ path }: Pick<Route, 'path'>): string {
  return path.replaceAll(':uuid', uuid).replaceAll(/:\w+/g, 'nobody');
}

async function statusOf(
  target: Target,
  method: string,
  url: string,
  token: string | undefined,
): Promise<number> {
  const bytes = head(target, `${method} ${url} HTTP/1.1`, ['Content-Length: 0', 'Connection: close']).replace(
    /Authorization: .*\r\n/,
    token === undefined ? '' : `Authorization: Bearer ${token}\r\n`,
  );
  const answer = await raw(target.port, bytes);
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]);
  assert(!/^x-injected/im.test(answer), `${url} wrote a header`);
  return status;
}

/** The route of a request by the plainest reading: cut at `/`, each part decoded once, compared exactly. */
function reference({ kind }: Target, method: string, url: string): Route | undefined {
  const withoutOrigin = url.replace(/^https?:\/\/[^/?#]*/, '');
  const [path = ''] = withoutOrigin.split(/[?#]/);
  if (!path.startsWith('/') || path.includes('%00')) return undefined;
  const parts = path.slice(1).split('/');
  return routesOf(kind).find((route) => {
    if (route.method !== method) return false;
    const wanted = route.path.slice(1).split('/');
    return (
      wanted.length === parts.length &&
      wanted.every((name, index) => {
        const part = decoded(parts[index] ?? '');
        return part !== undefined && (name.startsWith(':') ? part !== '' : part === name);
      })
    );
  });
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

async function tokenFor(target: Target, role: string): Promise<string> {
  const { status, json, text } = await target.http({
    method: 'POST',
    path: '/v1/tokens',
    body: { role, subject: `a ${role}` },
  });
  assert.equal(status, 201, text);
  return json.token;
}

function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]+')}$`);
}
