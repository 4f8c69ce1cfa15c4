/** Admission over real sockets: what is vital gets through, what can wait is told when to come back. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { limits } from '../../src/base/limits.ts';
import type { Role } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import { addressOf, requestClasses } from '../../src/http/admission.ts';
import { routes } from '../../src/http/routes.ts';
import { Stage } from '../helpers/boot.ts';
import { FakeClock } from '../helpers/clock.ts';
import { until } from '../helpers/until.ts';
import { FakeHosts, FakeLiveness, hostId, knownUuid, startServer, tokenOf } from './fakes.ts';

/** Lists that wait until they are let go. */
class SlowLiveness extends FakeLiveness {
  waiting = 0;
  #release: () => void = () => undefined;
  #gate = new Promise<void>((resolve) => {
    this.#release = resolve;
  });

  release(): void {
    this.#release();
  }

  override async list(...args: Parameters<FakeLiveness['list']>) {
    this.waiting += 1;
    await this.#gate;
    return super.list(...args);
  }
}

/** Proofs that are never right. */
class StrictHosts extends FakeHosts {
  renewals = 0;

  override async renew(): Promise<never> {
    this.renewals += 1;
    throw new AppError('unauthenticated', 'Cannot renew the credential: the proof is not of a host of ours');
  }
}

const beat = `/v1/services/${knownUuid}/heartbeat`;

function retryAfterS(response: Response): number {
  return Number(response.headers.get('retry-after'));
}

function installed(count: number) {
  return Array.from({ length: count }, (_, n) => ({ name: `package-${n}`, version: '1', detector: 'dpkg' }));
}

describe('admission by class', () => {
  test('C14: beats get through while as many reads as may be are under way, and more are told when to come back', async (t) => {
    const liveness = new SlowLiveness();
    const { call } = await startServer(t, { services: { liveness }, limits: { readsUnderWayMax: 4 } });
    const reads = Array.from({ length: 4 }, () => call('/v1/services'));
    await until(() => liveness.waiting === 4, 'the reads are not under way');
    const refused = await Promise.all(Array.from({ length: 20 }, () => call('/v1/services')));
    assert.deepEqual(new Set(refused.map(({ status }) => status)), new Set([503]));
    assert.ok(refused.every((response) => retryAfterS(response) >= 1 && retryAfterS(response) <= 3));
    const problem = (await refused[0]?.json()) as { code: string; detail: string };
    assert.equal(problem.code, 'unavailable');
    assert.match(problem.detail, /class read .* 4 are under way/);
    assert.equal(liveness.waiting, 4);
    const beats = await Promise.all(
      Array.from({ length: 50 }, () => call(beat, { method: 'POST', json: {}, role: 'reporter' })),
    );
    assert.ok(beats.every(({ status }) => status === 200));
    const metrics = await (await call('/metrics')).text();
    assert.match(metrics, /holdfast_http_under_way\{class="read"\} 4/);
    assert.match(metrics, /holdfast_http_refusals_total\{class="read",reason="under-way"\} 20/);
    liveness.release();
    assert.ok((await Promise.all(reads)).every(({ status }) => status === 200));
    assert.equal((await call('/v1/services')).status, 200);
  });

  test('check-ins of some changes are not held up by complete ones', async (t) => {
    const { call, port } = await startServer(t, { limits: { checkInsUnderWayMax: 16 } });
    const path = `/v1/hosts/${hostId}/checkin`;
    const [before, after] = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}`);
    const json = { base: before, hash: after, components: [] };
    // One that is large, and one that may be: each announces a body that never comes.
    const slow = [`content-length: ${limits.smallBodyBytes + 1}`, 'transfer-encoding: chunked'].map(
      (header) => {
        const socket = connect({ port, host: '127.0.0.1' });
        t.after(() => socket.destroy());
        const lines = [
          `POST ${path} HTTP/1.1`,
          'host: localhost',
          `authorization: Bearer ${tokenOf('host')}`,
        ];
        socket.write([...lines, 'content-type: application/json', header, '', ''].join('\r\n'));
        return socket;
      },
    );
    const underWay = async () => /class="checkin"\} (\d+)/.exec(await (await call('/metrics')).text())?.[1];
    await until(async () => (await underWay()) === '2', 'the complete check-ins are not under way');
    for (let count = 0; count < 20; count += 1)
      assert.equal((await call(path, { method: 'POST', json, role: 'host' })).status, 200);
    assert.equal(await underWay(), '2');
    // A host has the eighth part of a class.
    const complete = { ...json, components: installed(500) };
    assert.equal((await call(path, { method: 'POST', json: complete, role: 'host' })).status, 429);
    for (const socket of slow) socket.destroy();
  });

  test('who goes away, or is cut off within its body, leaves room for others', async (t) => {
    const liveness = new SlowLiveness();
    liveness.release();
    const { call, port } = await startServer(t, {
      services: { liveness },
      limits: { reportsUnderWayMax: 2 },
    });
    const begun = [1, 2].map(() => beginPut(port));
    const put = () =>
      call(`/v1/services/${knownUuid}`, { method: 'PUT', json: { status: 'UP' }, role: 'reporter' });
    let status = 200;
    for (let attempt = 0; attempt < 1_000 && status === 200; attempt += 1) status = (await put()).status;
    assert.equal(status, 503);
    for (const socket of begun) socket.destroy();
    for (let attempt = 0; attempt < 1_000 && status === 503; attempt += 1) status = (await put()).status;
    assert.equal(status, 200);
  });

  test('one host that sends its bodies slowly has a part of the room, and no more', async (t) => {
    const { call, port } = await startServer(t, { limits: { reportsUnderWayMax: 16 } });
    const path = `/v1/hosts/${hostId}/reports`;
    const begun = Array.from({ length: 12 }, () => begin(port, { method: 'POST', path, role: 'host' }));
    const ofHost = () => call(path, { method: 'POST', role: 'host', json: { epoch: 1, items: [] } });
    await until(async () => (await ofHost()).status === 429, 'the host has all the room');
    const refused = await ofHost();
    assert.ok(retryAfterS(refused) >= 1);
    assert.match(((await refused.json()) as { detail: string }).detail, /2 of this host are under way/);
    const other = { method: 'PUT', json: { status: 'UP' }, role: 'reporter' } as const;
    assert.equal((await call(`/v1/services/${knownUuid}`, other)).status, 200);
    for (const socket of begun) socket.destroy();
    await until(async () => (await ofHost()).status === 200, 'the host has no room any more');
  });

  test('an open WebSocket is counted as a watch until it ends, and one host has a part of them', async (t) => {
    const { call, port } = await startServer(t, { limits: { socketsMax: 3 } });
    const watchAs = async (role: Role) => {
      const socket = await open(port);
      socket.write(upgradeOf(role));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      return { socket, answer: answer.toString() };
    };
    const first = await watchAs('host');
    assert.match(first.answer, /^HTTP\/1.1 101 /);
    assert.match((await watchAs('host')).answer, /^HTTP\/1.1 429 .*of this host are under way/s);
    const others = [await watchAs('viewer'), await watchAs('viewer')];
    for (const { answer } of others) assert.match(answer, /^HTTP\/1.1 101 /);
    assert.match((await watchAs('viewer')).answer, /^HTTP\/1.1 503 .*class watch/s);
    assert.equal((await call('/v1/events')).status, 503);
    first.socket.destroy();
    const again = await until(async () => {
      const { socket, answer } = await watchAs('host');
      return answer.startsWith('HTTP/1.1 101 ') ? socket : null;
    }, 'it keeps its place');
    for (const socket of [again, ...others.map((other) => other.socket)]) socket.destroy();
  });

  test('bodies of strangers take no room of those who renew', async (t) => {
    const { call, port } = await startServer(t, { limits: { credentialsUnderWayMax: 1 } });
    const path = `/v1/hosts/${hostId}/credential`;
    const begun = [1, 2, 3].map(() => begin(port, { method: 'POST', path, role: null }));
    await until(
      async () => /holdfast_http_connections [4-9]/.test(await (await call('/metrics')).text()),
      'the strangers are not there',
    );
    const json = { generation: 1, proof: Buffer.alloc(64).toString('base64') };
    for (let i = 0; i < 3; i += 1)
      assert.equal((await call(path, { method: 'POST', role: null, json })).status, 200);
    const long = { ...json, machineId: 'm'.repeat(5_000) };
    assert.equal((await call(path, { method: 'POST', role: null, json: long })).status, 413);
    for (const socket of begun) socket.destroy();
  });

  test('every request that is counted is let go of, whatever becomes of it', async (t) => {
    const { call } = await startServer(t, { limits: { readsUnderWayMax: 1, adminsUnderWayMax: 1 } });
    for (let round = 0; round < 3; round += 1) {
      for (const [path, method, status] of [
        ['/v1/services', 'GET', 200],
        ['/v1/services', 'HEAD', 200],
        ['/v1/services?limit=0', 'GET', 400],
        ['/v1/hosts/nobody', 'GET', 404],
        ['/v1/hosts/edge-1', 'PATCH', 415],
      ] as const) {
        const body = method === 'PATCH' ? { body: 'x', headers: { 'content-type': 'text/plain' } } : {};
        assert.equal((await call(path, { method, ...body })).status, status, path);
      }
    }
    assert.match(await (await call('/metrics')).text(), /holdfast_http_under_way\{class="read"\} 0/);
  });

  test('an open event stream is counted as a watch until it ends', async (t) => {
    const { call } = await startServer(t, { limits: { socketsMax: 1 } });
    const abort = new AbortController();
    const open = await fetchStream(call, abort);
    assert.equal(open.status, 200);
    assert.equal((await call('/v1/events')).status, 503);
    abort.abort();
    let again = await fetchStream(call, new AbortController());
    for (let attempt = 0; attempt < 1_000 && again.status === 503; attempt += 1)
      again = await fetchStream(call, new AbortController());
    assert.equal(again.status, 200);
    await again.body?.cancel();
  });
});

test('every route that writes says what it competes with', () => {
  const reads = routes.filter(
    ({ method, operation }) => method !== 'GET' && operation.requestClass === 'read',
  );
  assert.deepEqual(
    reads.map(({ operation }) => operation.id),
    ['isUpMany', 'getLatestReleases', 'postLatestVersions', 'postLatestVersions'],
  );
  assert.deepEqual(
    new Set(routes.map(({ operation }) => operation.requestClass)),
    new Set<string>(requestClasses),
  );
});

describe('admission by address', () => {
  test('G3: guesses are limited for each address, good credentials are let in all the same', async (t) => {
    const clock = new FakeClock();
    const burst = 20;
    const { call } = await startServer(t, {
      clock,
      limits: { wrongCredentialsBurstMax: burst, wrongCredentialsEveryMs: 1_000 },
    });
    const guess = (token: string) =>
      call('/v1/services', { role: null, headers: { authorization: `Bearer ${token}` } });
    const answers: Response[] = [];
    for (let i = 0; i < burst + 30; i += 1) answers.push(await guess(`wrong-${i}`));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [...new Array<number>(burst).fill(401), ...new Array<number>(30).fill(429)],
    );
    const last = answers.at(-1) as Response;
    assert.equal(last.headers.get('connection'), 'close');
    assert.ok(retryAfterS(last) >= 1);
    assert.equal(((await last.json()) as { code: string }).code, 'rate-limited');
    assert.equal((await call('/v1/services')).status, 200);
    // Whoever shows nothing guesses nothing.
    assert.equal((await call('/v1/services', { role: null })).status, 401);
    await clock.advance(1_000);
    assert.equal((await guess('wrong')).status, 401);
    assert.equal((await guess('wrong')).status, 429);
    assert.match(
      await (await call('/metrics')).text(),
      /holdfast_http_refusals_total\{class="credential",reason="wrong-credentials"\} 31/,
    );
  });

  test('G3: wrong proofs are counted with them, and not even looked at beyond', async (t) => {
    const hosts = new StrictHosts();
    const { call } = await startServer(t, { services: { hosts }, limits: { wrongCredentialsBurstMax: 5 } });
    const renew = () =>
      call(`/v1/hosts/${hostId}/credential`, {
        method: 'POST',
        role: null,
        json: { generation: 1, proof: Buffer.alloc(64).toString('base64') },
      });
    const statuses: number[] = [];
    for (let i = 0; i < 8; i += 1) statuses.push((await renew()).status);
    assert.deepEqual(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert.equal(hosts.renewals, 5);
  });

  test('G3: joins by join token are limited for each address, an admin’s are not', async (t) => {
    const clock = new FakeClock();
    const { call } = await startServer(t, { clock, limits: { joinsBurstMax: 3, joinsEveryMs: 1_000 } });
    const join = (role: 'joiner' | 'admin') =>
      call('/v1/join', { method: 'POST', role, json: { name: 'edge', machineId: 'm' } });
    const statuses: number[] = [];
    for (let i = 0; i < 5; i += 1) statuses.push((await join('joiner')).status);
    assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
    assert.equal((await join('admin')).status, 200);
    await clock.advance(1_000);
    assert.equal((await join('joiner')).status, 200);
  });

  test('addressOf() holds a network of IPv6 accountable, and behind a proxy whom the proxy names', () => {
    const of = (remoteAddress: string, forwarded?: string, behindProxy = true) =>
      addressOf(
        {
          socket: { remoteAddress },
          headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
        } as unknown as IncomingMessage,
        { caller: null, loopback: false, behindProxy },
      );
    assert.equal(of('10.0.0.1'), '10.0.0.1');
    assert.equal(of('::ffff:10.0.0.1'), '10.0.0.1');
    assert.equal(of('2001:db8::1'), '2001:db8:0:0');
    assert.equal(of('2001:0DB8:0000:0001:ffff::1%eth0'), '2001:db8:0:1');
    assert.equal(of('::1'), '0:0:0:0');
    assert.equal(of('127.0.0.1', '203.0.113.9, 198.51.100.7'), '198.51.100.7');
    assert.equal(of('127.0.0.1', '203.0.113.9', false), '127.0.0.1');
    assert.equal(of('127.0.0.1', ''), '127.0.0.1');
  });
});

describe('connections', () => {
  test('F9: above the cap new connections are refused early, and whoever is there goes on beating', async (t) => {
    const { port } = await startServer(t, { limits: { connectionsMax: 20 } });
    const beating = await open(port);
    const flood = await Promise.all(Array.from({ length: 200 }, () => open(port)));
    await until(() => flood.filter(({ destroyed }) => destroyed).length >= 180, 'the flood was let in');
    for (let i = 0; i < 5; i += 1) assert.match(await ask(beating), /^HTTP\/1.1 200/);
    for (const socket of flood) socket.destroy();
    let fresh = await open(port);
    for (let attempt = 0; attempt < 1_000 && !(await isServed(fresh)); attempt += 1) fresh = await open(port);
    assert.match(await ask(fresh), /^HTTP\/1.1 200/);
    for (const socket of [beating, fresh]) socket.destroy();
  });

  test('F9: one address cannot have them all, where an address is not everybody', async (t) => {
    const fakes = await startServer(t);
    const [bound] = await fakes.server.listen([{ kind: 'tcp', host: '0.0.0.0', port: 0 }]);
    const port = Number(new URL(bound?.url ?? '').port);
    assert.ok(limits.addressConnectionsMax < limits.connectionsMax);
    const socket = await open(port);
    assert.match(await ask(socket), /^HTTP\/1.1 200/);
    socket.destroy();

    const small = await startServer(t, { limits: { addressConnectionsMax: 5 } });
    const [place] = await small.server.listen([{ kind: 'tcp', host: '0.0.0.0', port: 0 }]);
    const narrow = Number(new URL(place?.url ?? '').port);
    const many = await Promise.all(Array.from({ length: 20 }, () => open(narrow)));
    await until(() => many.filter(({ destroyed }) => destroyed).length === 15, 'one address has more');
    // The other listener is on loopback, where one address is everybody.
    const local = await Promise.all(Array.from({ length: 20 }, () => open(small.port)));
    for (const one of local) assert.match(await ask(one), /^HTTP\/1.1 200/);
    for (const one of [...many, ...local]) one.destroy();
  });
});

test('C14: beats of a real registry are answered while a thousand hosts join at once', async (t: TestContext) => {
  const stage = Stage.open(t);
  const joinsUnderWayMax = 8;
  const { url, token } = await stage.registry({ limits: { http: { joinsUnderWayMax } } });
  const post = async (path: string, bearer: string, body: object) => {
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, json: (await response.json()) as unknown };
  };
  const join = (name: string) => post('/v1/join', token, { name, machineId: `machine-${name}` });
  const { id, credential } = (await join('edge-1')).json as { id: string; credential: string };
  const own = (revision: number) => ({ epoch: 1, revision, hash: `sha256:${'0'.repeat(64)}` });
  const about = { bootId: 'boot', startedAt: '2026-01-01T00:00:00Z', seen: null, inventory: null };

  let hosts = 0;
  const waits: number[] = [];
  const refusals: number[] = [];
  const joinMany = async () => {
    while (hosts < 1_000) {
      hosts += 1;
      const { status, headers } = await join(`host-${hosts}`);
      if (status === 503) waits.push(Number(headers.get('retry-after')));
      else if (status !== 200) refusals.push(status);
    }
  };
  const storm = Promise.all(Array.from({ length: 50 }, joinMany));
  let beats = 0;
  while (hosts < 1_000) {
    beats += 1;
    const beat = await post(`/v1/hosts/${id}/heartbeat`, credential, {
      ...about,
      seq: beats,
      own: own(beats),
    });
    assert.equal(beat.status, 200);
  }
  await storm;
  t.diagnostic(`${beats} beats, ${1_000 - waits.length} joined, ${waits.length} told to wait`);
  assert.deepEqual(refusals, []);
  assert.ok(beats >= 5, `only ${beats} beats during the storm: this run shows nothing`);
  assert.ok(waits.length > 0, 'there was room for all: this run shows nothing');
  assert.ok(waits.every((seconds) => seconds >= 5 && seconds <= 15));
  assert.ok(waits.length < 50 || new Set(waits).size > 3, 'all would come back together');
});

async function fetchStream(
  call: (path: string, options?: { headers?: Record<string, string> }) => Promise<Response>,
  abort: AbortController,
): Promise<Response> {
  const response = await call('/v1/events');
  abort.signal.addEventListener('abort', () => {
    response.body?.cancel().catch(() => undefined);
  });
  return response;
}

function upgradeOf(role: Role): string {
  const key = 'dGhlIHNhbXBsZSBub25jZQ==';
  return `GET /v1/watch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${tokenOf(role)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`;
}

/** A PUT whose body never comes. */
function beginPut(port: number): Socket {
  return begin(port, { method: 'PUT', path: `/v1/services/${knownUuid}`, role: 'reporter' });
}

/** A request whose body never comes. */
function begin(port: number, asked: { method: string; path: string; role: Role | null }): Socket {
  const { method, path, role } = asked;
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  const bearer = role === null ? '' : `Authorization: Bearer ${tokenOf(role)}\r\n`;
  socket.write(
    `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${bearer}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
  );
  return socket;
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.on('error', () => resolve(socket));
    socket.on('close', () => socket.destroy());
    socket.on('end', () => socket.destroy());
    socket.resume();
  });
}

async function isServed(socket: Socket): Promise<boolean> {
  return (await ask(socket)).startsWith('HTTP/1.1 200');
}

/** One request on a connection that stays; '' when it was closed. */
function ask(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const onData = (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('}')) done();
    };
    const done = () => {
      socket.off('data', onData);
      socket.off('close', done);
      resolve(text);
    };
    if (socket.destroyed) {
      resolve('');
      return;
    }
    socket.on('data', onData);
    socket.on('close', done);
    socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n');
  });
}
