/** Where a watch cannot go on: at the end of what is kept, and in another life of the store. On both transports. */
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { systemRandom } from '../../src/base/random.ts';
import { Connection } from '../../src/client/connection.ts';
import { eventStreamMessages } from '../../src/client/event-stream.ts';
import { webSocketMessages } from '../../src/client/websocket.ts';
import type { Registry } from '../../src/registry/registry.ts';
import { restore } from '../../src/store/engine/backup.ts';
import type { WatchMessage } from '../../src/wire/watch.ts';
import { type Booted, Stage } from '../helpers/boot.ts';
import { follow } from '../helpers/follow.ts';
import { conductor } from '../helpers/records.ts';
import { eventsOf } from '../helpers/watch-history.ts';

const transports = { websocket: webSocketMessages, 'event stream': eventStreamMessages };

/** What a watch is told until `enough`, or until the server ends it. */
async function told(
  server: Booted<unknown>,
  via: keyof typeof transports,
  start: { since?: string; snapshot?: boolean },
  enough: (messages: readonly WatchMessage[]) => boolean = () => false,
): Promise<WatchMessage[]> {
  const connection = new Connection({
    target: { url: server.url },
    token: server.token,
    clock: systemClock,
    random: systemRandom,
  });
  const messages: WatchMessage[] = [];
  const stop = new AbortController();
  const timer = setTimeout(
    () => stop.abort(new Error(`not told within 5 s; came ${JSON.stringify(messages)}`)),
    5_000,
  );
  try {
    const watch = { select: undefined, since: start.since ?? null, snapshot: start.snapshot ?? false };
    for await (const message of transports[via](connection, watch, {
      signal: stop.signal,
      onOpen: () => undefined,
    })) {
      messages.push(message);
      // These end a watch, whether or not the connection stays.
      if (['compacted', 'reset', 'error'].includes(message.kind) || enough(messages)) break;
    }
    return messages;
  } finally {
    clearTimeout(timer);
    await connection.close();
  }
}

async function set({ http }: Booted<unknown>, region: string): Promise<void> {
  const { status, text } = await http({
    method: 'PUT',
    path: `/v1/services/${conductor.uuid}`,
    body: { type: 'web', host: 'edge-1', ttl: '1w', region },
  });
  assert(status === 200 || status === 201, text);
}

async function positionOf({ http }: Booted<unknown>): Promise<{ epoch: number; revision: number }> {
  const [epoch = 0, revision = 0] = String((await http({ path: '/v1/services' })).json.position)
    .split('.')
    .map(Number);
  return { epoch, revision };
}

test('at the edge of compaction: the last position kept goes on without a gap, the one before it is compacted', async (t) => {
  const stage = Stage.open(t);
  const registry = await stage.registry({
    limits: { store: { compaction: { countMax: 20, ageMaxMs: 86_400_000_000 } } },
  });
  const begin = await positionOf(registry);
  for (let number = 0; number < 30; number += 1) await set(registry, `r${number}`);
  // A deletion is the last revision that goes: whoever stands right after it must not be told of it again.
  assert.equal(
    (await registry.http({ method: 'DELETE', path: `/v1/services/${conductor.uuid}` })).status,
    204,
  );
  for (let number = 0; number < 20; number += 1) await set(registry, `s${number}`);
  const open = await follow(registry.client, { since: `${begin.epoch}.${begin.revision}` });
  await stage.clock.advance(600_000);
  const { epoch, revision } = await positionOf(registry);
  const oldest = revision - 20;
  for (const via of ['websocket', 'event stream'] as const) {
    for (const gone of [0, 1, oldest - 1]) {
      assert.deepEqual(await told(registry, via, { since: `${epoch}.${gone}` }), [
        { kind: 'compacted', oldest: `${epoch}.${oldest}` },
      ]);
    }
    const kept = await told(
      registry,
      via,
      { since: `${epoch}.${oldest}` },
      (messages) => eventsOf(messages).length >= 20,
    );
    assert.deepEqual(
      eventsOf(kept).map(({ position }) => position),
      Array.from({ length: 20 }, (_, index) => `${epoch}.${oldest + 1 + index}`),
    );
    assert.deepEqual(
      await told(registry, via, { since: `${epoch}.${revision}` }, (messages) => messages.length > 0),
      [{ kind: 'progress', position: `${epoch}.${revision}` }],
    );
    // A position that is not there yet is a mistake; so is one that is none.
    for (const since of [`${epoch}.${revision + 1}`, `${epoch}.999999999`]) {
      const [refused] = await told(registry, via, { since });
      assert.deepEqual([refused?.kind, refused?.kind === 'error' && refused.code], ['error', 'bad-request']);
    }
  }
  // Who was there all along has missed nothing.
  assert.equal((await open.count(51)).length, 51);
  await set(registry, 'after');
  assert.equal((await open.count(52)).at(-1)?.position, `${epoch}.${revision + 1}`);
  await open.stop();

  // The client goes on with a snapshot when it is told to, and ends otherwise.
  const ended = await follow(registry.client, { since: `${epoch}.1` });
  assert.deepEqual(ended.updates, [{ kind: 'compacted', oldest: `${epoch}.${oldest}` }]);
  await ended.stop();
  const again = await follow(registry.client, { since: `${epoch}.1`, onGap: 'resnapshot' });
  await again.until(({ updates }) => updates.some((update) => update.kind === 'snapshot' && update.done));
  await set(registry, 'last');
  assert.equal((await again.count(1))[0]?.position, `${epoch}.${revision + 2}`);
  await again.stop();
});

/** A registry whose store went back to a copy taken at revision `copied`, in a new life; and what its head was before. */
type GoBack = (t: TestContext, stage: Stage, registry: Booted<Registry>) => Promise<void>;

/** `holdfast backup`, then `holdfast restore --force`. */
const restored: GoBack = async (_t, stage, registry) => {
  const file = join(stage.folder(), 'copy.db');
  await registry.client.backup(file);
  await set(registry, 'lost');
  await registry.close();
  await restore({
    file,
    dataDir: registry.dataDir,
    role: 'registry',
    force: true,
    now: stage.clock.now(),
    pid: process.pid,
    passphrase: async () => null,
  });
};

test('restored from an older backup: a new epoch, watchers of the old one are told reset, everything goes on', async (t) => {
  const stage = Stage.open(t);
  const first = await stage.registry();
  await set(first, 'kept');
  const port = Number(new URL(first.url).port);
  const watching = await follow(first.client, { onGap: 'resnapshot' });
  const before = await positionOf(first);
  await restored(t, stage, first);

  const second = await stage.registry({ dataDir: first.dataDir, port });
  const after = await positionOf(second);
  assert(after.epoch > before.epoch, `${after.epoch} after ${before.epoch}`);
  assert.equal((await second.http({ path: `/v1/services/${conductor.uuid}` })).json.region, 'kept');
  for (const via of ['websocket', 'event stream'] as const) {
    for (const revision of [0, before.revision, before.revision + 1]) {
      assert.deepEqual(await told(second, via, { since: `${before.epoch}.${revision}` }), [
        { kind: 'reset', epoch: after.epoch },
      ]);
    }
    // The new life can be followed from its beginning.
    const events = eventsOf(
      await told(
        second,
        via,
        { since: `${after.epoch}.${after.revision - 1}` },
        (messages) => eventsOf(messages).length > 0,
      ),
    );
    assert.deepEqual(
      events.map(({ type }) => type),
      ['system.rewound'],
    );
    assert.deepEqual(
      [events[0]?.body as object].map((body) => Object.keys(body).sort()),
      [['epoch', 'previous', 'reason']],
    );
  }
  await watching.stop();

  // A client that watches on says what happened, then how things are.
  const client = await follow(second.client, {
    since: `${before.epoch}.${before.revision + 1}`,
    onGap: 'resnapshot',
  });
  await client.until(({ updates }) => updates.some((update) => update.kind === 'snapshot' && update.done));
  const [reset, snapshot] = client.updates;
  assert.deepEqual(reset, { kind: 'reset', epoch: after.epoch });
  assert(snapshot?.kind === 'snapshot');
  assert.deepEqual(
    snapshot.items.map(({ body }) => (body as { region: string }).region),
    ['kept'],
  );
  await set(second, 'new life');
  assert.equal((await client.count(1))[0]?.position, `${after.epoch}.${after.revision + 1}`);
  await client.stop();
});

test('a watcher that was connected through a restart and a restore is told reset, never other events', async (t) => {
  const stage = Stage.open(t);
  const first = await stage.registry();
  await set(first, 'kept');
  const port = Number(new URL(first.url).port);
  const { client } = first;
  const watching = await follow(client, { onGap: 'end' });
  await set(first, 'seen');
  await watching.count(1);
  // The store's files are copied away and put back without a word: what an image of the disk does.
  await first.role.close();
  const copy = join(stage.folder(), 'holdfast.db');
  copyFileSync(join(first.dataDir, 'holdfast.db'), copy);
  const second = await stage.registry({ dataDir: first.dataDir, port });
  await set(second, 'seen too');
  assert.equal((await watching.count(2)).length, 2);
  await second.role.close();
  await restore({
    file: copy,
    dataDir: first.dataDir,
    role: 'registry',
    force: true,
    now: stage.clock.now(),
    pid: process.pid,
    passphrase: async () => null,
  });
  const third = await stage.registry({ dataDir: first.dataDir, port });
  await watching.until(({ updates }) => updates.some(({ kind }) => kind === 'reset'));
  await set(third, 'never told');
  assert.equal(watching.events().length, 2);
  await watching.stop();
});
