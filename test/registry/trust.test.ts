/** What hosts believe a registry by: told, signed, and replaced without losing one. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, Agent as HttpsAgent, request as sendTls } from 'node:https';
import { type AddressInfo, connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { systemRandom } from '../../src/base/random.ts';
import { decideTarget, type TargetHolder } from '../../src/domain/target.ts';
import { keyFingerprint, type Trust } from '../../src/domain/trust.ts';
import { makeCa, makeLeaf } from '../../src/registry/certificates.ts';
import type { Registry } from '../../src/registry/registry.ts';
import { parseJoinToken } from '../../src/wire/join-token.ts';
import { targetReader } from '../../src/wire/target-reader.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import { follow } from '../helpers/follow.ts';
import type { HttpAnswer } from '../helpers/http.ts';

const own = { kind: 'own' } as const;
const readTarget = await targetReader();

describe('GET /v1/trust', () => {
  test('is open, and tells two keys and two CAs that a join token pins', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    const { status, json: trust } = await registry.http({ path: '/v1/trust', token: undefined });
    assert.equal(status, 200);
    assert.deepEqual(trust.urls, []);
    assert.equal(new Set(trust.keys.map(({ key }: { key: string }) => key)).size, 2);
    assert.equal(trust.ca.join(''), readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8'));
    const token = parseJoinToken(await joinToken(registry));
    assert.deepEqual(token.urls, [registry.url]);
    assert.equal(token.key, trust.keys[0].key);
    assert.equal(token.ca, keyFingerprint(new X509Certificate(trust.ca[0]).publicKey));
  });

  test('tells no CA where hosts see another certificate: given, behind a proxy, plain', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const advertiseUrls = ['https://registry.example'];
    const proxied = await stage.registry({ tls: own, behindProxy: true, advertiseUrls });
    const plain = await stage.registry();
    for (const registry of [proxied, plain]) {
      assert.deepEqual((await registry.http({ path: '/v1/trust' })).json.ca, []);
      assert.equal(parseJoinToken(await joinToken(registry)).ca, null);
    }
    assert.deepEqual(parseJoinToken(await joinToken(proxied)).urls, advertiseUrls);
  });

  test('a join token needs --advertise-url, unless the registry is on loopback alone', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own, behindProxy: true });
    const { status, json } = await registry.http({
      method: 'POST',
      path: '/v1/tokens',
      body: { role: 'host' },
    });
    assert.equal(status, 422);
    assert.match(json.detail, /start it with --advertise-url https:\/\/NAME:PORT/);
  });
});

describe('the target', () => {
  test('is signed as its exact bytes, has the tag of the beat, and answers 304 to it', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const host = await joined(registry, 'edge-1');
    const told = await beat(registry, host);
    const answer = await target(registry, host);
    assert.equal(answer.headers['etag'], `"${told}"`);
    const document = readTarget(answer.text);
    assert.deepEqual([document.host, document.settings.name], [host.id, 'edge-1']);
    assert.ok(accepts(host, answer, stage.clock.now()).accepted);
    // Signed anew, the same bytes and the same signature.
    const again = await target(registry, host);
    assert.equal(again.text, answer.text);
    assert.equal(again.headers['holdfast-signature'], answer.headers['holdfast-signature']);
    const known = await target(registry, host, { 'if-none-match': `"${told}"` });
    assert.deepEqual([known.status, known.text, known.headers['etag']], [304, '', `"${told}"`]);
  });

  test('is another one in another window, and when the host is renamed or labelled', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const host = await joined(registry, 'edge-1');
    const first = readTarget((await target(registry, host)).text);
    const body = { name: 'edge-2', labels: { env: 'prod' } };
    assert.equal((await registry.http({ method: 'PATCH', path: `/v1/hosts/${host.id}`, body })).status, 200);
    const answer = await target(registry, host);
    const second = readTarget(answer.text);
    assert.equal(second.serial, first.serial + 1);
    assert.deepEqual([second.settings.name, second.settings.labels], ['edge-2', { env: 'prod' }]);
    assert.equal(await beat(registry, host), answer.headers['etag']?.slice(1, -1));
    stage.clock.stall(86_400_000);
    const later = readTarget((await target(registry, host)).text);
    assert.equal(Date.parse(later.issuedAt) - Date.parse(second.issuedAt), 86_400_000);
    assert.equal(later.serial, second.serial);
  });

  test('stays the same through a restart, and other advertised URLs are another one', async (t) => {
    const stage = Stage.open(t);
    const first = await stage.registry();
    const host = await joined(first, 'edge-1');
    const before = await target(first, host);
    await first.close();
    const second = await stage.registry({ dataDir: first.dataDir });
    assert.equal((await target(second, host)).text, before.text);
    await second.close();
    const urls = ['http://127.0.0.1:7420'];
    const third = await stage.registry({ dataDir: first.dataDir, advertiseUrls: urls });
    const after = readTarget((await target(third, host)).text);
    assert.deepEqual(after.settings.urls, urls);
    assert.equal(after.serial, readTarget(before.text).serial + 1);
  });

  test('G2: is shown to the host itself and to viewers, to no other host', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const [a, b] = [await joined(registry, 'a'), await joined(registry, 'b')];
    const path = `/v1/hosts/${a.id}/target`;
    assert.equal((await registry.http({ path, token: a.credential })).status, 200);
    assert.equal((await registry.http({ path, token: b.credential })).status, 403);
    assert.equal((await registry.http({ path, token: undefined })).status, 401);
    assert.equal((await registry.http({ path })).status, 200);
  });
});

describe('G7: rotation', () => {
  test('signing key: a host that follows is never without a key, one that missed two has to join anew', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const host = await joined(registry, 'edge-1');
    const absent = { ...host };
    let held = accepts(host, await target(registry, host), stage.clock.now());
    for (let round = 0; round < 3; round += 1) {
      assert.ok(held.accepted);
      const before = held.document;
      await rotate(registry, 'signing-key');
      const answer = await target(registry, host);
      const follower = { ...host, keys: before.settings.trust.keys };
      held = accepts(follower, answer, stage.clock.now());
      assert.ok(held.accepted, `round ${round}`);
      assert.equal(held.document.serial, before.serial + 1);
      assert.equal(held.document.settings.trust.keys[0]?.key, before.settings.trust.keys[1]?.key);
      const late = accepts(absent, answer, stage.clock.now());
      assert.equal(late.accepted, round === 0);
      if (!late.accepted) assert.equal(late.problem, 'unknown-key');
    }
  });

  test('is an event by whoever did it, and holds through a restart', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    const before: Trust = (await registry.http({ path: '/v1/trust' })).json;
    await rotate(registry, 'signing-key');
    await rotate(registry, 'ca');
    await rotate(registry, 'certificate');
    const after: Trust = (await registry.http({ path: '/v1/trust' })).json;
    assert.equal(after.keys[0]?.key, before.keys[1]?.key);
    assert.equal(after.ca[0], before.ca[1]);
    const events = await rotatedEvents(registry);
    assert.deepEqual(
      events.map(({ actor, body }) => [actor, body.what]),
      [
        ['admin.token', 'signing-key'],
        ['admin.token', 'ca'],
        ['admin.token', 'certificate'],
      ],
    );
    assert.doesNotMatch(JSON.stringify(events), /PRIVATE|BEGIN/);
    await registry.close();
    const again = await stage.registry({ tls: own, dataDir: registry.dataDir });
    assert.deepEqual((await again.http({ path: '/v1/trust' })).json, after);
    assert.equal((await rotatedEvents(again)).length, 3);
  });

  test('CA and certificate are swapped under load: every request is answered, by who trusts what it was told', async (t) => {
    const stage = Stage.live(t);
    const registry = await stage.registry({ tls: own });
    const host = await joined(registry, 'edge-1');
    let trusted: readonly string[] = (await registry.http({ path: '/v1/trust' })).json.ca;
    let [served, running] = [0, true];
    const failures: unknown[] = [];
    const knock = async (options: { agent: HttpsAgent | false }) => {
      while (running) {
        try {
          const { status } = await get(registry.url, `/v1/hosts/${host.id}/target`, {
            ...options,
            ca: [...trusted],
            token: host.credential,
          });
          if (status === 200) served += 1;
          else failures.push(status);
        } catch (error) {
          failures.push(error);
        }
      }
    };
    const kept = new HttpsAgent({ keepAlive: true, maxSockets: 2 });
    const knocking = [
      knock({ agent: false }),
      knock({ agent: false }),
      knock({ agent: kept }),
      knock({ agent: kept }),
    ];
    for (const what of ['certificate', 'ca', 'signing-key', 'certificate', 'ca', 'ca'] as const) {
      const from = served;
      await rotate(registry, what);
      while (served < from + 40 && failures.length === 0)
        await new Promise((resolve) => setImmediate(resolve));
      // As a host learns of the next one: from its target.
      const { text } = await get(registry.url, `/v1/hosts/${host.id}/target`, {
        agent: false,
        ca: [...trusted],
        token: host.credential,
      });
      trusted = readTarget(text).settings.trust.ca;
    }
    running = false;
    await Promise.all(knocking);
    kept.destroy();
    assert.deepEqual(failures, []);
    assert.ok(served >= 240, `${served} served`);
  });

  test('a second one of a kind within ten minutes is refused: a command run twice would strand all hosts', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    const ask = (what: string) => registry.http({ method: 'POST', path: '/v1/trust/rotate', body: { what } });
    assert.deepEqual([(await ask('ca')).status, (await ask('signing-key')).status], [200, 200]);
    const refused = await ask('ca');
    assert.equal(refused.status, 409);
    assert.match(refused.json.detail, /Cannot rotate the CA again: .*wait 10 min, or insist with force/);
    assert.equal((await ask('certificate')).status, 200);
    assert.equal((await ask('certificate')).status, 200);
    stage.clock.stall(599_000);
    assert.equal((await ask('ca')).status, 409);
    stage.clock.stall(1_000);
    assert.equal((await ask('ca')).status, 200);
  });

  test('behind a proxy the CA is rotated for the proxy: no target tells it', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({
      tls: own,
      behindProxy: true,
      advertiseUrls: ['https://r.example'],
    });
    const host = await joined(registry, 'edge-1');
    const before = (await target(registry, host)).text;
    const pem = readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8');
    await rotate(registry, 'ca');
    const after = readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8');
    assert.ok(after !== pem && pem.includes(after.slice(0, 300)));
    assert.equal((await target(registry, host)).text, before);
    assert.deepEqual((await registry.http({ path: '/v1/trust' })).json.ca, []);
  });

  test('what is not ours to rotate is refused with what to do instead', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    for (const what of ['ca', 'certificate']) {
      const body = { what };
      const { status, json } = await registry.http({ method: 'POST', path: '/v1/trust/rotate', body });
      assert.equal(status, 422);
      assert.match(json.detail, /Cannot rotate the (CA|certificate): this registry serves plain HTTP/);
    }
    const wrong = await registry.http({ method: 'POST', path: '/v1/trust/rotate', body: { what: 'all' } });
    assert.equal(wrong.status, 400);
  });

  test('one that was cut off between the files and the database is finished at the next start', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const host = await joined(registry, 'edge-1');
    const before = accepts(host, await target(registry, host), stage.clock.now());
    assert.ok(before.accepted);
    const file = join(registry.dataDir, 'keys/signing.pem');
    await registry.close();
    // What a rotation writes first: the announced key in front, a new one behind it.
    const [, next = ''] = readFileSync(file, 'utf8').split(/(?<=-----END PRIVATE KEY-----\n)/);
    const other = await stage.registry();
    const fresh = readFileSync(join(other.dataDir, 'keys/signing.pem'), 'utf8').split(
      /(?<=-----END PRIVATE KEY-----\n)/,
    )[0];
    writeFileSync(file, next + fresh, { mode: 0o600 });
    const again = await stage.registry({ dataDir: registry.dataDir });
    const after = accepts(
      { ...host, keys: before.document.settings.trust.keys },
      await target(again, host),
      stage.clock.now(),
    );
    assert.ok(after.accepted);
    assert.equal(after.document.serial, before.document.serial + 1);
    assert.deepEqual(
      (await rotatedEvents(again)).map(({ actor }) => actor),
      ['system'],
    );
  });

  test('keys that were lost are made anew, as an event; hosts refuse what they sign', async (t) => {
    const stage = Stage.open(t);
    const registry = await stage.registry();
    const host = await joined(registry, 'edge-1');
    await registry.close();
    renameSync(join(registry.dataDir, 'keys'), join(registry.dataDir, 'kept'));
    const without = await stage.registry({ dataDir: registry.dataDir });
    const refused = accepts(host, await target(without, host), stage.clock.now());
    assert.ok(!refused.accepted && refused.problem === 'unknown-key');
    assert.equal((await rotatedEvents(without)).length, 1);
    await without.close();
    rmSync(join(registry.dataDir, 'keys'), { recursive: true });
    renameSync(join(registry.dataDir, 'kept'), join(registry.dataDir, 'keys'));
    const back = await stage.registry({ dataDir: registry.dataDir });
    assert.ok(accepts(host, await target(back, host), stage.clock.now()).accepted);
  });
});

test('a proxy with a certificate of its own in front: hosts believe that one, and the target ends at the registry', async (t) => {
  const stage = Stage.open(t, { startMs: Date.now() });
  const registry = await stage.registry({
    behindProxy: true,
    advertiseUrls: ['https://registry.example'],
  });
  const host = await joined(registry, 'edge-1');
  const random = systemRandom;
  const ca = await makeCa({ now: Date.now(), random });
  const { privateKey, certificate } = await makeLeaf(ca, ['registry.example'], { now: Date.now(), random });
  const proxy = createServer(
    { key: privateKey.export({ format: 'pem', type: 'pkcs8' }), cert: certificate.toString() },
    (request, response) => {
      const { hostname, port } = new URL(registry.url);
      const inner = connectPlain(Number(port), hostname);
      const headers = Object.entries(request.headers).map(([name, value]) => `${name}: ${String(value)}`);
      inner.write(`${request.method} ${request.url} HTTP/1.0\r\n${headers.join('\r\n')}\r\n\r\n`);
      inner.pipe(response.socket ?? inner);
    },
  );
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  stage.closing(() => new Promise((resolve) => proxy.close(() => resolve())));
  const answer = await get(
    `https://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    `/v1/hosts/${host.id}/target`,
    {
      agent: false,
      ca: [ca.certificate.toString()],
      token: host.credential,
      name: 'registry.example',
    },
  );
  assert.equal(answer.status, 200);
  assert.ok(accepts(host, answer, stage.clock.now()).accepted);
  assert.deepEqual(readTarget(answer.text).settings.urls, ['https://registry.example']);
});

interface JoinedHost {
  readonly id: string;
  readonly credential: string;
  readonly keys: Trust['keys'];
}

async function joined(registry: Booted<Registry>, name: string): Promise<JoinedHost> {
  const body = { name, machineId: name };
  const { status, json } = await registry.http({ method: 'POST', path: '/v1/join', body });
  assert.equal(status, 200, json?.detail);
  return { id: json.id, credential: json.credential, keys: json.trust.keys };
}

async function joinToken(registry: Booted<Registry>): Promise<string> {
  const { json } = await registry.http({ method: 'POST', path: '/v1/tokens', body: { role: 'host' } });
  return json.token;
}

async function rotate(registry: Booted<Registry>, what: string): Promise<void> {
  const body = { what, force: true };
  const { status, json } = await registry.http({ method: 'POST', path: '/v1/trust/rotate', body });
  assert.equal(status, 200, json?.detail);
}

function target(
  registry: Booted<Registry>,
  host: JoinedHost,
  headers: Record<string, string> = {},
): Promise<HttpAnswer> {
  return registry.http({ path: `/v1/hosts/${host.id}/target`, token: host.credential, headers });
}

/** The tag that a first beat is told. */
async function beat(registry: Booted<Registry>, host: JoinedHost): Promise<string> {
  const body = {
    bootId: 'boot',
    startedAt: '2026-01-01T00:00:00Z',
    seq: 1,
    own: { epoch: 1, revision: 0, hash: `sha256:${'0'.repeat(64)}` },
    seen: null,
    inventory: null,
  };
  const path = `/v1/hosts/${host.id}/heartbeat`;
  const { json } = await registry.http({ method: 'POST', path, token: host.credential, body });
  return json.target;
}

/** What a host with these keys that holds nothing yet makes of an answer. */
function accepts(
  { id, keys }: JoinedHost,
  { text, headers }: Pick<HttpAnswer, 'text' | 'headers'>,
  registryNowMs: number,
) {
  const held: TargetHolder = { hostId: id, keys, version: null };
  const signature = (headers['holdfast-signature'] as string | undefined) ?? null;
  return decideTarget(held, { body: Buffer.from(text), signature }, { registryNowMs, read: readTarget });
}

interface RotatedEvent {
  readonly actor: string;
  readonly body: { readonly what: string };
}

/** The `system.rotated` events from the beginning, read up to a mark that is set behind them. */
async function rotatedEvents(registry: Booted<Registry>): Promise<readonly RotatedEvent[]> {
  const { position } = (await registry.http({ path: '/v1/hosts' })).json;
  const mark = `mark-${position}`;
  const body = { type: mark, host: 'here', status: 'UP' };
  assert.equal((await registry.http({ method: 'POST', path: '/v1/services', body })).status, 201);
  const watch = await follow(registry.client, { since: `${position.split('.')[0]}.0` });
  await watch.until(({ events }) => events().some(({ service }) => service === mark));
  await watch.stop();
  return watch.events().filter(({ type }) => type === 'system.rotated') as unknown as RotatedEvent[];
}

interface GetOptions {
  readonly agent: HttpsAgent | false;
  readonly ca: readonly string[];
  readonly token: string;
  readonly name?: string;
}

function get(
  url: string,
  path: string,
  options: GetOptions,
): Promise<Pick<HttpAnswer, 'status' | 'text' | 'headers'>> {
  const { agent, ca, token, name = 'localhost' } = options;
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const request = sendTls(
      {
        ...{ host: hostname, port, path, agent, ca: [...ca], servername: name },
        headers: { host: name, authorization: `Bearer ${token}` },
      },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text, headers: response.headers }),
        );
      },
    );
    request.on('error', reject);
    request.end();
  });
}
