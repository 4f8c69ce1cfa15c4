/**
 * Roles as processes on a disk that is really full: a tmpfs of 16 MiB, which needs root to mount. What cannot be kept
 * is refused in clear words; what needs no disk goes on; when there is room again, so does the rest.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readLogFile, verifyStore } from '../helpers/log-file.ts';
import { agentArguments, portOf, reach, registryArguments, startProcess } from '../helpers/process.ts';
import { uuidNo } from '../helpers/records.ts';
import { tempFolder } from '../helpers/temp.ts';
import { until } from '../helpers/until.ts';

function smallDisk(t: TestContext): string {
  let mount = '';
  // Before the folder is removed: hooks run in the order in which they are set.
  t.after(() => execFileSync('umount', ['--lazy', mount]));
  mount = join(tempFolder(t), 'disk');
  mkdirSync(mount, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=0700', 'tmpfs', mount]);
  return mount;
}

/** Somebody else's file takes all the room that is left, but for `leaveBytes`. */
function fill(mount: string, leaveBytes = 0): string {
  const { bavail, bsize } = statfsSync(mount);
  const file = join(mount, 'somebody-else');
  writeFileSync(file, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)));
  return file;
}

for (const role of ['registry', 'agent'] as const) {
  test(`${role}: on a full disk it refuses what it cannot keep, goes on with the rest, and recovers by itself`, async (t) => {
    const mount = smallDisk(t);
    const dataDir = join(mount, 'data');
    const argv = (port = 0) =>
      role === 'registry'
        ? registryArguments(dataDir, port)
        : agentArguments(dataDir, { registry: null, port });
    let running = startProcess(t, argv());
    const server = reach(t, await running.ready(role));
    const put = (number: number, more: object = {}) =>
      server.http({
        method: 'PUT',
        path: `/v1/services/${uuidNo(number)}`,
        body: { type: `type ${number}`, host: 'edge-1', ttl: '1d', ...more },
      });
    const beaten = uuidNo(100_000);
    assert.equal((await put(100_000, { ttl: 5 })).status, 201);

    // What the agent finds at its start takes room too, in one revision: it is kept before the room is counted.
    if (role === 'agent') {
      await until(async () => (await server.http({ path: '/v1/status' })).json.inventory.components > 0);
    }

    // Each change is some fifteen pages in the write-ahead log: record, indexes, revision, audit.
    const foreign = fill(mount, 1_024 * 1_024);
    const kept: string[] = [];
    let refusal = await put(0);
    for (let number = 0; refusal.status < 300; number += 1) {
      kept.push(uuidNo(number));
      refusal = await put(number + 1);
    }
    assert(kept.length > 10, `only ${kept.length} fitted`);
    // Clear words, for programs and for people.
    assert.deepEqual([refusal.status, refusal.json.code], [507, 'storage-full']);
    assert.match(refusal.json.detail, /disk is full.*free some space/);
    assert(Number(refusal.headers['retry-after']) >= 1, 'no Retry-After');
    // Again and again, and by every way of writing.
    for (const answer of [
      await put(1, { region: 'x' }),
      await server.http({ method: 'DELETE', path: `/v1/services/${uuidNo(0)}` }),
    ]) {
      assert.equal(answer.status, 507);
    }
    assert.equal((await server.http({ path: '/healthz' })).json.checks.store.status, 'degraded');
    assert.equal((await server.http({ path: '/livez' })).status, 200);

    // Longer than the ttl of the beaten one: reads and heartbeats need no disk.
    const end = performance.now() + 8_000;
    await until(async () => {
      assert.equal(
        (await server.http({ method: 'POST', path: `/v1/services/${beaten}/heartbeat` })).status,
        200,
      );
      assert.equal((await server.http({ path: `/v1/is-up?uuid=${beaten}` })).json.up, true);
      assert.equal((await server.http({ path: '/v1/services?limit=1' })).status, 200);
      return performance.now() > end;
    });
    assert.equal((await put(2, { region: 'y' })).status, 507, 'it resumed without room');

    rmSync(foreign);
    const freed = performance.now();
    await until(async () => (await put(1_000_000)).status < 300, 'it did not recover', 10_000);
    t.diagnostic(
      `${kept.length} records fitted; wrote again ${Math.round(performance.now() - freed)} ms after there was room`,
    );
    assert.equal((await server.http({ path: '/healthz' })).json.checks.store.status, 'ok');
    // It is the same store, whole: also after a kill in the middle of another full disk.
    const again = fill(mount, 64 * 1024);
    let last = 2_000_000;
    while ((await put(last)).status < 300) kept.push(uuidNo(last++));
    await running.kill('SIGKILL');
    rmSync(again);
    running = startProcess(t, argv(portOf(server.url)));
    await running.ready(role);
    const found = new Set(
      readLogFile(dataDir).flatMap(({ events }) =>
        events.map(({ body }) => (body as { uuid?: string }).uuid),
      ),
    );
    assert.deepEqual(
      kept.filter((uuid) => !found.has(uuid)),
      [],
    );
    assert.deepEqual(await running.kill('SIGTERM'), { code: 0, signal: null });
    const { ok } = await verifyStore(role, dataDir);
    assert.equal(ok, true);
  });
}

test('a start on a full disk takes the room that was kept for it: it is alive, answers, and writes when there is room', async (t) => {
  const mount = smallDisk(t);
  const dataDir = join(mount, 'data');
  const first = startProcess(t, registryArguments(dataDir));
  const server = reach(t, await first.ready('registry'));
  const path = `/v1/services/${uuidNo(1)}`;
  const put = () => server.http({ method: 'PUT', path, body: { type: 'web', host: 'edge-1' } });
  assert.equal((await put()).status, 201);
  await first.kill('SIGKILL');
  const foreign = fill(mount);
  const second = startProcess(t, registryArguments(dataDir, portOf(server.url)));
  await second.ready('registry');
  assert.equal((await server.http({ path })).json.type, 'web');
  assert.equal((await server.http({ method: 'POST', path: `${path}/heartbeat` })).status, 200);
  await second.kill('SIGKILL');

  // And when that is taken too, it says what is wrong and what to do.
  const more = join(mount, 'still-somebody-else');
  writeFileSync(more, Buffer.alloc(statfsSync(mount).bavail * statfsSync(mount).bsize));
  const third = startProcess(t, registryArguments(dataDir));
  const { code } = await third.exited;
  assert.notEqual(code, 0);
  assert.match(
    third.stderr(),
    /Cannot open ".*holdfast\.db": the disk is full; free some space on it, then start again/,
  );
  for (const file of [foreign, more]) rmSync(file);
  const fourth = startProcess(t, registryArguments(dataDir, portOf(server.url)));
  await fourth.ready('registry');
  assert.equal((await put()).status, 200);
  assert.equal((await fourth.kill('SIGTERM')).code, 0);
});
