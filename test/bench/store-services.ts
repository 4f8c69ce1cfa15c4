/**
 * What the registry's services cost on SQLite, without HTTP: CPU per operation, medians of several rounds. 64 callers,
 * as many as the durable rows of `npm run bench` have connections, so that batches are of that size.
 *
 *     node test/bench/store-services.ts [--rounds 5] [--ms 1000] [--only put,check-in]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../../src/base/clock.ts';
import { systemRandom } from '../../src/base/random.ts';
import { type Caller, systemCaller } from '../../src/domain/access.ts';
import { type Component, inventoryHash } from '../../src/domain/inventory.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { beatAnswerDocument, readBeat } from '../../src/wire/host.ts';
import { wireStores } from '../helpers/registry-stores.ts';

const services = 1_000;
const hosts = 500;
const callers = 64;
/** Items of one `…Many` call. */
const many = 100;
const dayMs = 86_400_000;

const { values } = parseArgs({
  options: { rounds: { type: 'string' }, ms: { type: 'string' }, only: { type: 'string' } },
});
const rounds = Number(values.rounds ?? 5);
const roundMs = Number(values.ms ?? 1_000);
const only = values.only?.split(',');

const uuidOf = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;

const dataDir = mkdtempSync(join(tmpdir(), 'holdfast-bench-'));
try {
  await run();
} finally {
  rmSync(dataDir, { recursive: true });
}

async function run(): Promise<void> {
  const clock = systemClock;
  const store = await openStore({ role: 'registry', dataDir, clock, limits: { ballastBytes: 0 } });
  const opened = performance.now();
  const { access, liveness, hosts: hostStore } = await wireStores({ store, clock, random: systemRandom });
  console.log(`services opened in ${(performance.now() - opened).toFixed(1)} ms`);

  const uuids = Array.from({ length: services }, (_, n) => uuidOf(n));
  const alone = { takeover: false };
  await Promise.all(
    uuids.map((uuid, n) =>
      liveness.put(systemCaller, uuid, { type: 'web', host: `host-${n}`, ttlMs: dayMs }, alone),
    ),
  );
  const joined: { id: string; caller: Caller; credential: string }[] = [];
  for (let n = 0; n < hosts; n += 1) {
    const request = { name: `host-${n}`, region: null, machineId: `machine-${n}` };
    const { id, credential } = await hostStore.join(systemCaller, request);
    joined.push({ id, credential, caller: { role: 'host', subject: `host:host-${n}`, hostId: id } });
  }

  const [first, second] = [installed('1.2.3-1'), installed('1.2.3-2')];
  const [a, b] = [inventoryHash(first), inventoryHash(second)];
  for (const { id, caller } of joined)
    await hostStore.checkIn(caller, id, { base: null, hash: a, components: first, removed: [] });

  const queries = uuids.slice(0, many).map((uuid) => ({ uuid }));
  const places = queries.map((_, n) => ({ type: 'web', host: `host-${n}` }));
  const hundred = uuids.slice(0, many);

  await measure('put of a status', async (n) => {
    const status = Math.floor(n / services) % 2 === 0 ? ('DOWN' as const) : ('UP' as const);
    await liveness.put(systemCaller, uuidOf(n % services), { status }, alone);
  });
  await measure('put that changes nothing', async (n) => {
    await liveness.put(systemCaller, uuidOf(n % services), { ttlMs: dayMs }, alone);
  });
  await measure('put of a new record', async (n) => {
    const patch = { type: 'new', host: `host-${n}` };
    await liveness.put(systemCaller, uuidOf(services + n), patch, alone);
  });
  await measure('check-in of one package', async (n) => {
    const host = joined[n % hosts];
    if (host === undefined) throw new Error('no host');
    const [base, hash, now] = Math.floor(n / hosts) % 2 === 0 ? [a, b, second] : [b, a, first];
    const checkIn = { base, hash, components: now.slice(0, 1), removed: [] };
    const answer = await hostStore.checkIn(host.caller, host.id, checkIn);
    if (!answer.accepted) throw new Error('a check-in was not accepted');
  });
  const [five, six] = [installed('1.2.3-1', 5), installed('1.2.3-2', 5)];
  const [c, d] = [inventoryHash(five), inventoryHash(six)];
  for (const { id, caller } of joined)
    await hostStore.checkIn(caller, id, { base: null, hash: c, components: five, removed: [] });
  await measure('check-in of five packages', async (n) => {
    const host = joined[n % hosts];
    if (host === undefined) throw new Error('no host');
    const [base, hash, now] = Math.floor(n / hosts) % 2 === 0 ? [c, d, six] : [d, c, five];
    const checkIn = { base, hash, components: now.slice(0, 5), removed: [] };
    const answer = await hostStore.checkIn(host.caller, host.id, checkIn);
    if (!answer.accepted) throw new Error('a check-in was not accepted');
  });
  await measure('authenticate', async (n) => {
    access.authenticate(joined[n % hosts]?.credential ?? '');
  });
  await measure(`isUpMany by uuid, of ${many}`, async () => {
    await liveness.isUpMany(queries);
  });
  await measure(`isUpMany by place, of ${many}`, async () => {
    await liveness.isUpMany(places);
  });
  await measure(`beatMany, of ${many}`, async () => {
    await liveness.beatMany(systemCaller, hundred);
  });
  await measure('beat', async (n) => {
    await liveness.beat(systemCaller, uuidOf(n % services));
  });
  const started = new Date().toISOString();
  const hash = `sha256:${'a'.repeat(64)}`;
  const bodyOf = (n: number) => ({
    bootId: uuidOf(1),
    startedAt: started,
    seq: Math.floor(n / hosts),
    own: { epoch: 1, revision: 7, hash },
    seen: null,
    inventory: null,
  });
  await measure('beat of a host, from its body to its answer', async (n) => {
    const host = joined[n % hosts];
    if (host === undefined) throw new Error('no host');
    beatAnswerDocument(await hostStore.beat(host.caller, host.id, readBeat(bodyOf(n))));
  });
  await store.close();
}

/** Only the versions of the first `changed` components differ. */
function installed(version: string, changed = 1): Component[] {
  return Array.from({ length: 100 }, (_, n) => ({
    name: `package-${n}`,
    version: n < changed ? version : '1.0-1',
    detector: 'dpkg',
    architecture: 'amd64',
  }));
}

/** Calls `work` with 0, 1, 2, … from all callers at once and prints what a call took. The first round warms up. */
async function measure(name: string, work: (n: number) => Promise<void>): Promise<void> {
  if (only !== undefined && !only.some((part) => name.includes(part))) return;
  const found: { cpuUs: number; perSecond: number }[] = [];
  let next = 0;
  for (let round = 0; round <= rounds; round += 1) {
    const cpu = process.cpuUsage();
    const started = performance.now();
    const before = next;
    await Promise.all(
      Array.from({ length: callers }, async () => {
        while (performance.now() - started < roundMs) {
          const n = next;
          next += 1;
          await work(n);
        }
      }),
    );
    const { user, system } = process.cpuUsage(cpu);
    const done = next - before;
    const seconds = (performance.now() - started) / 1_000;
    if (round > 0) found.push({ cpuUs: (user + system) / done, perSecond: done / seconds });
  }
  const [cpuUs, perSecond] = [
    median(found.map((one) => one.cpuUs)),
    median(found.map((one) => one.perSecond)),
  ];
  console.log(`${name}: ${cpuUs.toFixed(2)} µs CPU, ${Math.round(perSecond).toLocaleString('en-US')}/s`);
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((x, y) => x - y)[numbers.length >> 1] ?? Number.NaN;
}
