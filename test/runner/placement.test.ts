import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Allow, allowDefault } from '../../src/domain/allow.ts';
import { isAppError } from '../../src/domain/error.ts';
import { decidePlacement } from '../../src/domain/placement.ts';
import { targetDocument } from '../../src/domain/target.ts';
import { FakeClock } from '../helpers/clock.ts';
import { FakeTrust } from '../helpers/trust.ts';
import { startRunner, type World } from './world.ts';

const hostId = '019c3b5e-0000-7000-8000-0000deadbeef';
const host = { id: hostId, name: 'edge-1', region: null, labels: {} };
const dayMs = 86_400_000;
const nowMs = Date.UTC(2026, 0, 10);
const never = new AbortController().signal;
const allowed: Allow = { ...allowDefault, drivers: ['exec'] };
const hello = {
  service: 'shop/api',
  driver: 'exec',
  exec: { apply: ['sh', '-c', 'echo applied'], info: ['sh', '-c', 'exit 2'] },
};

interface Offer {
  readonly registry: FakeTrust;
  readonly placements?: readonly unknown[];
  readonly epoch?: number;
  readonly serial?: number;
  readonly issuedAtMs?: number;
  readonly id?: string;
}

/** A target as the registry signs it. */
function targetOf({
  registry,
  placements = [hello],
  epoch = 7,
  serial = 3,
  issuedAtMs = nowMs,
  id = hostId,
}: Offer) {
  const document = targetDocument({ ...host, id }, registry.trust(), { epoch, serial, issuedAtMs });
  const body = JSON.stringify({ ...document, placements });
  return { body, signature: registry.sign(body) };
}

async function placed(t: Parameters<typeof startRunner>[0], allow: Allow = allowed) {
  const registry = new FakeTrust();
  const world = await startRunner(t, { clock: new FakeClock({ startMs: nowMs }) });
  world.duties = { ...world.duties, allow };
  return { registry, world };
}

function run(
  world: World,
  target: { body: string; signature: string },
  command: 'fetch' | 'apply' | 'info' = 'apply',
  service = 'shop/api',
) {
  return world.client.run({ kind: 'placement', target, service, command }, { signal: never });
}

function refused(code: 'forbidden' | 'not-found' | 'unprocessable' | 'bad-request', reason?: string) {
  return (error: unknown) =>
    isAppError(error, code) && (reason === undefined || error.details['reason'] === reason);
}

test('a placement runs when its target is signed for this host by a key that the runner was told once', async (t) => {
  const { registry, world } = await placed(t);
  const target = targetOf({ registry });
  await assert.rejects(run(world, target), refused('forbidden', 'no-trust'));
  const { trust } = await world.client.trust(hostId, registry.trust().keys);
  assert.deepEqual(trust, { hostId, epoch: null, serial: null });
  assert.equal((await run(world, target)).stdout, 'applied\n');
  assert.deepEqual((await run(world, target, 'info')).end, { kind: 'exited', exitCode: 2 });
  assert.deepEqual((await world.client.status()).trust, { hostId, epoch: 7, serial: 3 });
  await assert.rejects(run(world, target, 'fetch'), refused('not-found'));
  await assert.rejects(run(world, target, 'apply', 'shop/web'), refused('not-found'));
});

test('a target that is unsigned, altered, of another key, of another host, older or late is refused with the reason', async (t) => {
  const { registry, world } = await placed(t);
  await world.client.trust(hostId, registry.trust().keys);
  const good = targetOf({ registry });
  await run(world, good);
  for (const [reason, target] of [
    ['unsigned', { ...good, signature: 'none' }],
    ['bad-signature', { ...good, body: good.body.replace('applied', 'pwned!!') }],
    ['unknown-key', targetOf({ registry: new FakeTrust() })],
    ['other-host', targetOf({ registry, id: hostId.replace('dead', 'beef') })],
    ['older', targetOf({ registry, serial: 2 })],
    ['older', targetOf({ registry, epoch: 6, serial: 9 })],
    ['expired', targetOf({ registry, issuedAtMs: nowMs - 9 * dayMs })],
    ['malformed', signed(registry, '{"host":"x"}')],
    ['malformed', signed(registry, 'no JSON')],
  ] as const)
    await assert.rejects(run(world, target), refused('forbidden', reason), reason);
  assert.deepEqual(
    (await world.client.status()).trust,
    { hostId, epoch: 7, serial: 3 },
    'nothing was believed',
  );
});

function signed(registry: FakeTrust, body: string) {
  return { body, signature: registry.sign(body) };
}

test('the registry’s clock goes by what the agent tells and by the latest target, whichever is later', async (t) => {
  const { registry, world } = await placed(t);
  await world.client.trust(hostId, registry.trust().keys);
  const old = targetOf({ registry, issuedAtMs: nowMs - 9 * dayMs });
  // Nobody has told the time, and no target was seen yet: this one may be the latest.
  assert.equal((await run(world, old)).stdout, 'applied\n');
  await run(world, targetOf({ registry, serial: 4 }));
  // An agent that says it is nine days ago moves nothing back.
  await assert.rejects(
    run(world, targetOf({ registry, serial: 4, issuedAtMs: nowMs - 9 * dayMs })),
    refused('forbidden', 'expired'),
  );
});

test('keys are followed through signed targets only, and another pin is refused with what local root does', async (t) => {
  const { registry, world } = await placed(t);
  const first = registry.trust().keys;
  await world.client.trust(hostId, first);
  const stranger = new FakeTrust();
  await assert.rejects(
    world.client.trust(hostId, stranger.trust().keys),
    (error) => isAppError(error, 'forbidden') && /remove .*trust\.json as root/.test(error.message),
  );
  await assert.rejects(world.client.trust(`${hostId.slice(0, -1)}0`, first), refused('forbidden', 'pinned'));
  const [key] = first;
  assert(key !== undefined);
  await assert.rejects(
    world.client.trust(hostId, [{ ...key, key: `sha256:${'0'.repeat(64)}` }]),
    refused('bad-request'),
  );
  // Two rotations, each told by a target that the key before has signed.
  for (const serial of [4, 5]) {
    registry.rotate();
    await run(world, targetOf({ registry, serial }));
  }
  assert(!registry.trust().keys.some((one) => first.some(({ key }) => key === one.key)));
  // The agent still knows the keys of its join; that is no other registry, and nothing is believed by them again.
  await world.client.trust(hostId, registry.trust().keys);
  await assert.rejects(world.client.trust(hostId, first), refused('forbidden', 'pinned'));

  // Over a restart, and anew when local root says so.
  await world.runner.close();
  const second = await startRunner(t, { dataDir: world.dataDir });
  assert.deepEqual((await second.client.status()).trust, { hostId, epoch: 7, serial: 5 });
  await second.runner.close();
  rmSync(join(world.dataDir, 'trust.json'));
  const third = await startRunner(t, { dataDir: world.dataDir });
  await third.client.trust(hostId, stranger.trust().keys);
});

test('targets that come at the same time move the runner forward only, in whatever order they are judged', async (t) => {
  const { registry, world } = await placed(t);
  await world.client.trust(hostId, registry.trust().keys);
  const serials = [4, 9, 5, 8, 6, 7];
  // Each of another service, so that none joins another.
  const asked = serials.map((serial) => {
    const service = `shop/${serial}`;
    return run(world, targetOf({ registry, serial, placements: [{ ...hello, service }] }), 'apply', service);
  });
  await Promise.allSettled(asked);
  assert.equal((await world.client.status()).trust?.serial, 9);
});

test('a placement of which nothing can be written down is not started, and says so', async (t) => {
  const { registry, world } = await placed(t);
  await world.client.trust(hostId, registry.trust().keys);
  rmSync(join(world.dataDir, 'steps'), { recursive: true });
  await assert.rejects(
    run(world, targetOf({ registry })),
    (error) => isAppError(error, 'storage-full') && /that it runs cannot be written down/.test(error.message),
  );
});

test('what the host does not allow is refused, whoever has signed it', async (t) => {
  const { registry, world } = await placed(t, allowDefault);
  await world.client.trust(hostId, registry.trust().keys);
  await assert.rejects(run(world, targetOf({ registry })), refused('forbidden', 'not-allowed'));
  world.duties = { ...world.duties, allow: { ...allowed, users: ['nobody'] } };
  for (const user of ['root', 'holdfast-agent', 'holdfast-registry', 'daemon', 'a b', ''])
    await assert.rejects(
      run(world, targetOf({ registry, placements: [{ ...hello, user }] })),
      refused('forbidden', 'not-allowed'),
      user,
    );
  assert.equal((await run(world, targetOf({ registry }))).stdout, 'applied\n');
});

test('decidePlacement() takes nothing of a placement for granted, though it is signed', () => {
  const step = {
    kind: 'placement',
    service: 'shop/api',
    command: 'apply',
    target: { body: '', signature: '' },
  } as const;
  const decide = (...placements: unknown[]) => decidePlacement(step, { placements }, allowed);
  assert.deepEqual(decide({ ...hello, timeout: '10s' }), {
    kind: 'command',
    command: hello.exec.apply,
    user: null,
    timeoutMs: 10_000,
  });
  for (const [code, placements] of [
    ['not-found', []],
    ['not-found', [null, 1, 'x', [], {}]],
    ['not-found', [{ ...hello, exec: {} }]],
    ['unprocessable', [hello, hello]],
    ['unprocessable', [{ ...hello, driver: 'archive' }]],
    ['unprocessable', [{ ...hello, driver: undefined }]],
    ['unprocessable', [{ ...hello, exec: 'rm -rf /' }]],
    ['unprocessable', [{ ...hello, exec: { apply: 'rm -rf /' } }]],
    ['unprocessable', [{ ...hello, exec: { apply: [] } }]],
    ['unprocessable', [{ ...hello, exec: { apply: [''] } }]],
    ['unprocessable', [{ ...hello, exec: { apply: ['a', 1] } }]],
    ['unprocessable', [{ ...hello, exec: { apply: ['a', 'b\0c'] } }]],
    ['unprocessable', [{ ...hello, exec: { apply: new Array(257).fill('a') } }]],
    ['unprocessable', [{ ...hello, user: 1 }]],
    ['unprocessable', [{ ...hello, timeout: 'soon' }]],
    ['unprocessable', [{ ...hello, timeout: '2d' }]],
    ['unprocessable', [{ ...hello, timeout: -1 }]],
  ] as const)
    assert.throws(() => decide(...placements), refused(code), JSON.stringify(placements));
});
