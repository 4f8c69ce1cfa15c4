/** The registry's certificate over real sockets: its own, given ones, and how they are replaced while it serves. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { systemRandom } from '../../src/base/random.ts';
import { type Certified, makeCa, makeLeaf } from '../../src/registry/certificates.ts';
import type { Registry } from '../../src/registry/registry.ts';
import { cli } from '../cli/harness.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import { until } from '../helpers/until.ts';

const dayMs = 86_400_000;
const own = { kind: 'own' } as const;

describe('own certificate', () => {
  test('serves what ca.pem verifies, by every name of this machine, under TLS 1.3 alone', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own, advertiseUrls: ['https://registry.example:7420'] });
    assert.match(registry.url, /^https:\/\/127\.0\.0\.1:\d+$/);
    const ca = readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8');
    for (const name of ['localhost', '127.0.0.1', '::1', 'registry.example']) {
      const { socket } = await handshake(registry.url, { ca, name });
      assert.equal(socket.authorized, true, name);
      assert.equal(socket.getProtocol(), 'TLSv1.3');
      socket.destroy();
    }
    await assert.rejects(handshake(registry.url, { ca, name: 'other.example' }), /altnames/);
    await assert.rejects(handshake(registry.url, { name: 'localhost' }), /self-signed|unable to/);
    await assert.rejects(handshake(registry.url, { ca, maxVersion: 'TLSv1.2' }), /protocol version/);
    assert.equal((await registry.http({ path: '/v1/status' })).status, 200);
  });

  test('is a chain that openssl verifies strictly, as a server of this CA', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { dataDir } = await stage.registry({ tls: own });
    const server = join(stage.folder(), 'server.crt');
    writeFileSync(server, pem(readFileSync(join(dataDir, 'keys/server.pem'), 'utf8'), 'CERTIFICATE'));
    const told = execFileSync('openssl', [
      ...['verify', '-x509_strict', '-purpose', 'sslserver', '-verify_hostname', 'localhost'],
      ...['-CAfile', join(dataDir, 'ca.pem'), server],
    ]);
    assert.match(told.toString(), /OK/);
  });

  test('is backdated two days and lasts ninety; its CA ten years', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const { url, dataDir } = await stage.registry({ tls: own });
    const nowMs = Math.floor(stage.clock.now() / 1_000) * 1_000;
    const { certificate, socket } = await handshake(url, { verify: false });
    socket.destroy();
    assert.equal(certificate.validFromDate.getTime(), nowMs - 2 * dayMs);
    assert.equal(certificate.validToDate.getTime(), nowMs + 90 * dayMs);
    const ca = new X509Certificate(readFileSync(join(dataDir, 'ca.pem')));
    assert.equal(ca.validFromDate.getTime(), nowMs - 2 * dayMs);
    assert.equal(ca.validToDate.getTime(), nowMs + 3_650 * dayMs);
    assert.equal(ca.ca, true);
    assert.equal(certificate.ca, false);
  });

  test('stays through a restart, and is another one for other names', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const first = await stage.registry({ tls: own });
    const before = await handshakeOf(first);
    await first.close();
    const second = await stage.registry({ tls: own, dataDir: first.dataDir });
    assert.equal(await handshakeOf(second), before);
    await second.close();
    const advertised = { tls: own, dataDir: first.dataDir, advertiseUrls: ['https://[fd00::1]:7420'] };
    const third = await stage.registry(advertised);
    const { certificate, socket } = await handshake(third.url, { verify: false });
    socket.destroy();
    assert.notEqual(certificate.fingerprint256, before);
    assert.match(certificate.subjectAltName ?? '', /FD00:0:0:0:0:0:0:1/);
  });

  test('is renewed at two thirds of its life, under connections that go on', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    const ca = readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8');
    const kept = await handshake(registry.url, { ca, name: 'localhost' });
    const before = kept.certificate.fingerprint256;
    // An hour short of it nothing happens.
    stage.clock.stall(60 * dayMs - 3_600_000);
    await stage.clock.advance(1_000);
    assert.equal(await handshakeOf(registry), before);
    stage.clock.stall(3_600_000);
    await stage.clock.advance(1_000);
    await until(
      async () => (await handshakeOf(registry)) !== before,
      () => 'no other certificate',
    );
    kept.socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    assert.match(await textOf(kept.socket), /^HTTP\/1\.1 200 /);
  });

  test('a plain request on its port, or a handshake that stops, costs one connection and nothing else', async (t) => {
    const stage = Stage.live(t);
    const registry = await stage.registry({ tls: own, limits: { http: { headerTimeMs: 300 } } });
    const { hostname, port } = new URL(registry.url);
    const plain = connectPlain(Number(port), hostname);
    plain.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n');
    plain.on('error', () => undefined);
    const silent = connectPlain(Number(port), hostname);
    silent.on('error', () => undefined);
    assert.doesNotMatch(await textOf(plain), /200/);
    await textOf(silent);
    assert.equal((await registry.http({ path: '/livez' })).status, 200);
  });

  test('closing does not wait for connections that say nothing', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    const ca = readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8');
    const [greeted, silent] = [
      await handshake(registry.url, { ca, name: 'localhost' }),
      connectPlain(Number(new URL(registry.url).port), '127.0.0.1'),
    ];
    await new Promise((resolve) => silent.once('connect', resolve));
    silent.resume();
    greeted.socket.resume();
    await registry.close();
    silent.destroy();
    greeted.socket.destroy();
  });

  test('F12: on loopback only this machine’s names are answered, under TLS too', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    const foreign = await registry.http({ path: '/livez', headers: { host: 'evil.example' } });
    assert.equal(foreign.status, 403);
    assert.equal((await registry.http({ path: '/healthz', token: undefined })).status, 200);
    const behind = await stage.registry({
      tls: own,
      behindProxy: true,
      advertiseUrls: ['https://registry.example'],
    });
    const named = await behind.http({ path: '/livez', headers: { host: 'registry.example' } });
    assert.equal(named.status, 200);
    assert.equal((await behind.http({ path: '/healthz', token: undefined })).status, 401);
  });
});

test('bytes that are no request are answered inside TLS as they are outside', async (t) => {
  const stage = Stage.open(t, { startMs: Date.now() });
  const registry = await stage.registry({ tls: own });
  const ca = readFileSync(join(registry.dataDir, 'ca.pem'), 'utf8');
  const { socket } = await handshake(registry.url, { ca, name: 'localhost' });
  socket.write('NOT HTTP\r\n\r\n');
  const text = await textOf(socket);
  assert.match(text, /^HTTP\/1\.1 400 /);
  assert.match(text, /"code":"bad-request"/);
});

test('a CA in its last year is told by healthz, and its last certificate is not renewed over and over', async (t) => {
  const stage = Stage.open(t, { startMs: Date.now() });
  const registry = await stage.registry({ tls: own });
  const hour = async () => {
    stage.clock.stall(3_600_000);
    await stage.clock.advance(1_000);
  };
  const look = async () => {
    await hour();
    // Renewing makes keys, which is no work that the clock waits for.
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    return handshakeOf(registry);
  };
  stage.clock.stall(3_640 * dayMs);
  const before = await handshakeOf(registry);
  await until(
    async () => (await look()) !== before,
    () => 'not renewed',
  );
  const last = await handshakeOf(registry);
  for (let round = 0; round < 5; round += 1) assert.equal(await look(), last);
  const { tls } = (await registry.http({ path: '/healthz', ca: null })).json.checks;
  assert.equal(tls.status, 'degraded');
  assert.match(tls.detail, /the certificate ends on|the CA ends on .*run "holdfast registry rotate ca"/);
  const metrics = await registry.http({ path: '/metrics', ca: null });
  assert.match(metrics.text, /^holdfast_certificate_end_seconds \d+/m);
});

describe('G11: the key files', () => {
  test('are 0600 in a folder 0700, and refused when others can read them', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    const keys = join(registry.dataDir, 'keys');
    assert.equal(statSync(keys).mode & 0o777, 0o700);
    for (const name of ['signing.pem', 'ca.pem', 'server.pem'])
      assert.equal(statSync(join(keys, name)).mode & 0o777, 0o600, name);
    await registry.close();
    const again = () => stage.registry({ tls: own, dataDir: registry.dataDir });
    chmodSync(keys, 0o755);
    await assert.rejects(again(), /keys: mode is 0755, expected 0700; run chmod 700/);
    chmodSync(keys, 0o700);
    chmodSync(join(keys, 'signing.pem'), 0o640);
    await assert.rejects(again(), /signing\.pem: mode is 0640, expected 0600; run chmod 600/);
    chmodSync(join(keys, 'signing.pem'), 0o600);
    renameSync(join(keys, 'ca.pem'), join(registry.dataDir, 'elsewhere'));
    symlinkSync(join(registry.dataDir, 'elsewhere'), join(keys, 'ca.pem'));
    await assert.rejects(again(), /ca\.pem: it is a symbolic link/);
  });

  test('are refused with words when they are damaged', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    await registry.close();
    const again = () => stage.registry({ tls: own, dataDir: registry.dataDir });
    const damage = async (name: string, change: (text: string) => string, words: RegExp) => {
      const file = join(registry.dataDir, 'keys', name);
      const good = readFileSync(file, 'utf8');
      writeFileSync(file, change(good));
      await assert.rejects(again(), words);
      writeFileSync(file, good);
    };
    await damage('signing.pem', (text) => text.slice(0, 150), /signing\.pem: it is damaged.*put it back/);
    await damage('signing.pem', () => '', /it is damaged, expected private key, private key/);
    await damage('ca.pem', (text) => text.replace(/\n[A-Za-z0-9]{10}/g, '\n0000000000'), /cannot be read/);
    await damage('server.pem', () => 'x', /server\.pem: it is damaged.*remove it, another is made/);
    const other = await makeCa({ now: Date.now(), random: systemRandom });
    const foreign = other.certificate.toString();
    await damage(
      'ca.pem',
      (text) => text.replace(pem(text, 'CERTIFICATE'), foreign.trim()),
      /its keys are not those of its certificates/,
    );
    await (await again()).close();
  });

  test('are what config check reads too, and it makes none', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const registry = await stage.registry({ tls: own });
    await registry.close();
    const check = (dataDir: string) => {
      const file = join(stage.folder(), 'registry.yaml');
      writeFileSync(file, `dataDir: ${dataDir}\n`);
      return cli(['config', 'check', 'registry', '--config', file]);
    };
    const empty = stage.folder();
    assert.equal((await check(empty)).code, 0);
    assert.deepEqual(readdirSync(empty), []);
    assert.equal((await check(registry.dataDir)).code, 0);
    chmodSync(join(registry.dataDir, 'keys/signing.pem'), 0o644);
    const { code, stderr } = await check(registry.dataDir);
    assert.equal(code, 78);
    assert.match(stderr, /signing\.pem: mode is 0644, expected 0600; run chmod 600/);
  });

  test('plain HTTP makes no CA', async (t) => {
    const stage = Stage.open(t);
    const { dataDir } = await stage.registry();
    assert.ok(existsSync(join(dataDir, 'keys/signing.pem')));
    assert.ok(!existsSync(join(dataDir, 'keys/ca.pem')) && !existsSync(join(dataDir, 'ca.pem')));
  });
});

describe('given certificate', () => {
  test('is served, and read again when its files change', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const given = await givenFiles(stage);
    const registry = await stage.registry({ tls: given.tls });
    const first = await handshake(registry.url, { ca: given.caPem, name: 'localhost' });
    first.socket.destroy();
    const next = await given.write();
    await stage.clock.advance(60_000);
    await until(
      async () => (await handshakeOf(registry)) === next.certificate.fingerprint256,
      () => 'the new certificate is not served',
    );
    // Half of a pair: somebody is writing. The one of before stays, and healthz says why.
    const third = await given.make();
    writeFileSync(given.tls.certFile, third.certificate.toString());
    await stage.clock.advance(60_000);
    const healthz = async () =>
      (await registry.http({ path: '/healthz', ca: given.caPem })).json.checks.tls as {
        status: string;
        detail?: string;
      };
    await until(
      async () => (await healthz()).status === 'degraded',
      () => 'healthz says nothing',
    );
    assert.match((await healthz()).detail ?? '', /is not the key of the certificate in/);
    assert.equal(await handshakeOf(registry), next.certificate.fingerprint256);
    writeFileSync(given.tls.keyFile, third.privateKey.export({ format: 'pem', type: 'pkcs8' }));
    await stage.clock.advance(60_000);
    await until(
      async () => (await handshakeOf(registry)) === third.certificate.fingerprint256,
      () => 'the whole pair is not served',
    );
    assert.deepEqual(await healthz(), { status: 'ok' });
  });

  test('is refused at the start when it cannot be used, with what to do', async (t) => {
    const stage = Stage.open(t, { startMs: Date.now() });
    const given = await givenFiles(stage);
    const start = () => stage.registry({ tls: given.tls });
    const other = await given.make();
    const good = readFileSync(given.tls.keyFile);
    const otherKey = other.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    writeFileSync(given.tls.keyFile, otherKey);
    await assert.rejects(start(), /server\.key: it is not the key of the certificate in .*server\.crt/);
    writeFileSync(
      given.tls.keyFile,
      other.privateKey.export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'x' }),
    );
    await assert.rejects(start(), /it is under a passphrase/);
    writeFileSync(given.tls.keyFile, 'no key');
    await assert.rejects(start(), /it holds no private key, expected PEM/);
    writeFileSync(given.tls.keyFile, good);
    chmodSync(given.tls.keyFile, 0o644);
    await assert.rejects(start(), /everybody on this machine can read or change it; run chmod o=/);
    chmodSync(given.tls.keyFile, 0o640);
    for (const [agoMs, words] of [
      [100 * dayMs, /server\.crt: it has expired on .*, renew it/],
      [-3 * dayMs, /it is good from .* only/],
    ] as const) {
      await given.write(Date.now() - agoMs);
      await assert.rejects(start(), words);
    }
    writeFileSync(given.tls.certFile, 'x');
    await assert.rejects(start(), /it holds no certificate, expected PEM/);
    await assert.rejects(
      stage.registry({ tls: { ...given.tls, certFile: '/nonexistent.crt' } }),
      /Cannot serve TLS with \/nonexistent\.crt: it does not exist/,
    );
  });
});

test('createRegistry() refuses plain HTTP beyond loopback, except behind a proxy', async (t) => {
  const { createRegistry } = await import('../../src/registry/registry.ts');
  const stage = Stage.open(t);
  await assert.rejects(
    createRegistry({ dataDir: stage.folder(), listen: { host: '0.0.0.0', port: 0 } }),
    /Cannot listen on 0\.0\.0\.0:0 without TLS/,
  );
});

/** A CA of somebody else, and files that hold a certificate of it. */
async function givenFiles(stage: Stage) {
  const folder = stage.folder();
  const tls = {
    kind: 'given',
    certFile: join(folder, 'server.crt'),
    keyFile: join(folder, 'server.key'),
  } as const;
  const ca = await makeCa({ now: Date.now() - 365 * dayMs, random: systemRandom });
  const make = (now = Date.now()): Promise<Certified> =>
    makeLeaf(ca, ['localhost', '127.0.0.1'], { now, random: systemRandom });
  const write = async (now?: number) => {
    const leaf = await make(now);
    writeFileSync(tls.certFile, leaf.certificate.toString());
    writeFileSync(tls.keyFile, leaf.privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
    return leaf;
  };
  await write();
  return { tls, make, write, caPem: ca.certificate.toString() };
}

interface HandshakeOptions {
  readonly ca?: string;
  /** Server name to ask for and to verify. */
  readonly name?: string;
  readonly verify?: boolean;
  readonly maxVersion?: 'TLSv1.2';
}

async function handshake(
  url: string,
  { ca, name = 'localhost', verify = true, maxVersion }: HandshakeOptions,
): Promise<{ socket: TLSSocket; certificate: X509Certificate }> {
  const { hostname, port } = new URL(url);
  const socket = connect({
    host: hostname,
    port: Number(port),
    ...(name.includes(':') || /^[\d.]+$/.test(name) ? {} : { servername: name }),
    ...(ca === undefined ? {} : { ca }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
    rejectUnauthorized: verify,
    checkServerIdentity: (_host, certificate) => {
      const { checkHost, checkIP } = new X509Certificate(certificate.raw);
      const x509 = new X509Certificate(certificate.raw);
      const fits = /[:]|^[\d.]+$/.test(name) ? checkIP.call(x509, name) : checkHost.call(x509, name);
      return fits === undefined ? new Error(`not among its altnames: ${name}`) : undefined;
    },
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
  });
  const certificate = new X509Certificate(socket.getPeerCertificate().raw);
  return { socket, certificate };
}

/** SHA-256 of the certificate that is served now. */
async function handshakeOf({ url }: Booted<Registry>): Promise<string> {
  const { socket, certificate } = await handshake(url, { verify: false });
  socket.destroy();
  return certificate.fingerprint256;
}

function textOf(socket: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on('close', () => resolve(text));
  });
}

/** The first block of a kind in a PEM file. */
function pem(text: string, kind: string): string {
  return new RegExp(`-----BEGIN ${kind}-----[^-]+-----END ${kind}-----`).exec(text)?.[0] ?? '';
}
