/** What trust costs: the credential of every request, a handshake, a connection that is kept, a signature. */
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { systemClock } from '../../src/base/clock.ts';
import { systemRandom } from '../../src/base/random.ts';
import { systemCaller } from '../../src/domain/access.ts';
import type { TokenPlan } from '../../src/domain/token.ts';
import { AccessStore } from '../../src/store/access.ts';
import { openStore } from '../../src/store/engine/store.ts';
import {
  type Bench,
  type BenchGroup,
  eachOf,
  newFolder,
  type Registry,
  startBareLike,
  startRegistry,
} from './bench.ts';
import { memoryOf, sleep } from './processes.ts';
import { median, type Row, row } from './table.ts';
import { luaDone, runWrk } from './wrk.ts';

const tokens = 20_000;
const calls = 200_000;
const idleConnections = 2_000;

export const trust: BenchGroup = {
  name: 'trust',
  async run(bench) {
    const credentialUs = await credentialCost(bench);
    const [signUs, verifyUs] = signatureCosts();
    const registry = await startRegistry(bench, { tls: true });
    const kept = await connectionCost(registry);
    const shakes = await handshakeCosts(bench, registry);
    await registry.server.stop();
    const rows: Row[] = [
      row({
        work: 'credential of a request',
        ours: `${credentialUs.toFixed(2)} µs`,
        beside: `${tokens.toLocaleString('en-US')} live tokens`,
        reach: '',
        met: null,
      }),
      row({
        work: 'a request on a new connection',
        ours: `${shakes.ours.toFixed(0)} µs CPU`,
        beside: `bare TLS ${shakes.bare.toFixed(0)} µs`,
        ratio: shakes.ours / shakes.bare,
        reach: '',
        met: null,
      }),
      row({
        work: 'a TLS connection that is kept',
        ours: `${kept.toFixed(1)} KiB`,
        beside: `RSS, ${idleConnections.toLocaleString('en-US')} idle`,
        reach: '',
        met: null,
      }),
      row({
        work: 'a target signed',
        ours: `${signUs.toFixed(0)} µs`,
        beside: `verified ${verifyUs.toFixed(0)} µs`,
        reach: '',
        met: null,
      }),
    ];
    return {
      title: 'What trust costs',
      rows,
      notes: [
        'Credential: token → caller in this process, of the sources, every token in turn. Signature: Ed25519 over 2 KiB. New connection: full TLS 1.3 handshake (no resumption), one GET /version, closed.',
      ],
    };
  },
};

async function credentialCost(bench: Bench): Promise<number> {
  const store = await openStore({
    role: 'registry',
    dataDir: await newFolder(bench, 'tokens'),
    clock: systemClock,
    limits: { ballastBytes: 0 },
  });
  try {
    const access = await AccessStore.open({ store, clock: systemClock, random: systemRandom });
    const texts: string[] = new Array(tokens);
    const numbers = Array.from({ length: tokens }, (_, n) => n);
    await eachOf(numbers, 256, async (n) => {
      texts[n] = (await access.issue(systemCaller, planOf(`s${n}`))).token;
    });
    const rounds: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const startedMs = performance.now();
      for (let n = 0; n < calls; n += 1) access.authenticate(texts[n % tokens] ?? '');
      rounds.push(((performance.now() - startedMs) * 1_000) / calls);
    }
    return median(rounds);
  } finally {
    await store.close();
  }
}

function planOf(subject: string): TokenPlan {
  return {
    kind: 'api',
    role: 'viewer',
    subject,
    scope: null,
    uses: null,
    labels: {},
    region: null,
    name: null,
    lifeMs: 3_600_000,
  };
}

function signatureCosts(): [signUs: number, verifyUs: number] {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const bytes = Buffer.alloc(2_048, 'x');
  const signature = sign(null, bytes, privateKey);
  const count = 2_000;
  const each = (fn: () => unknown) => {
    const startedMs = performance.now();
    for (let n = 0; n < count; n += 1) fn();
    return ((performance.now() - startedMs) * 1_000) / count;
  };
  return [
    each(() => sign(null, bytes, privateKey)),
    each(() => {
      if (!verify(null, bytes, publicKey, signature)) throw new Error('a signature does not hold');
    }),
  ];
}

/** KiB of the registry's RSS for each connection that has said something and waits. */
async function connectionCost(registry: Registry): Promise<number> {
  const { ca, url, server } = registry;
  const { port } = new URL(url);
  const open = () =>
    new Promise<TLSSocket>((resolve, reject) => {
      const socket = connect({
        host: '127.0.0.1',
        port: Number(port),
        ca: ca ?? '',
        servername: 'localhost',
      });
      socket.once('error', reject);
      socket.once('data', () => resolve(socket));
      socket.write(`GET /version HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`);
    });
  const few = await Promise.all(Array.from({ length: 50 }, open));
  const before = memoryOf(server.pid).rssKib;
  const sockets: TLSSocket[] = [];
  while (sockets.length < idleConnections)
    sockets.push(...(await Promise.all(Array.from({ length: 50 }, open))));
  await sleep(1_000);
  const after = memoryOf(server.pid).rssKib;
  for (const socket of [...few, ...sockets]) socket.destroy();
  return (after - before) / idleConnections;
}

async function handshakeCosts(bench: Bench, registry: Registry): Promise<{ ours: number; bare: number }> {
  const bare = await startBareLike(bench, registry, { method: 'GET', path: '/version' });
  const script = join(bench.folder, 'handshakes.lua');
  await writeFile(
    script,
    `local text
function init(args) text = wrk.format("GET", "/version", {["Connection"]="close"}) end
function request() return text end
${luaDone}`,
  );
  const cost = async (name: string, url: string, pid: number) =>
    (await runWrk(bench, { name, url, pid, script, seconds: bench.seconds })).cpuUs;
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let round = 0; round < bench.rounds; round += 1) {
    ours.push(await cost('handshake', registry.url, registry.server.pid));
    theirs.push(await cost('bare handshake', bare.url, bare.server.pid));
  }
  await bare.server.stop();
  return { ours: median(ours), bare: median(theirs) };
}
