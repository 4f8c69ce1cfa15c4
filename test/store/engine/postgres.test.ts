/** What only PostgreSQL does: one leader of several processes, lost connections, commits without an answer. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import pg from 'pg';
import { systemCaller } from '../../../src/domain/access.ts';
import type { OpenStore } from '../../../src/store/engine/core.ts';
import { migrationFiles } from '../../../src/store/engine/migrations.ts';
import type { Session } from '../../../src/store/engine/port.ts';
import { PostgresDriver, type PostgresOptions } from '../../../src/store/engine/postgres.ts';
import { openPostgresStore, type PostgresStoreOptions } from '../../../src/store/engine/postgres-store.ts';
import { FakeClock } from '../../helpers/clock.ts';
import { usePostgres } from '../../helpers/postgres.ts';

const postgres = usePostgres();

interface Process {
  readonly store: OpenStore;
  readonly clock: FakeClock;
  /** What `onLeadership` told. */
  readonly told: boolean[];
  /** Revisions that listeners were told. */
  readonly seen: number[];
}

async function start(
  t: { after(fn: () => Promise<void>): void },
  url: string,
  options: Partial<PostgresStoreOptions> = {},
): Promise<Process> {
  const clock = new FakeClock();
  const store = await openPostgresStore({ url, clock, holder: 'test', ...options });
  t.after(() => store.close());
  const told: boolean[] = [];
  const seen: number[] = [];
  store.onLeadership((leading) => told.push(leading));
  store.log.subscribe((revisions) => seen.push(...revisions.map(({ revision }) => revision)));
  return { store, clock, told, seen };
}

async function fill(store: OpenStore, count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, () =>
      store.write(systemCaller, async (tx) => tx.append({ type: 'service.set', body: 'x' })),
    ),
  );
}

/** Turns the event loop until something real has happened; the test's own time limit ends it otherwise. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

function terminateWriters(url: string): Promise<unknown> {
  return postgres.query(
    url,
    `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
}

test('openPostgresStore() lets the second process stand by: it reads, follows and refuses writes', async (t) => {
  const url = await postgres.createDatabase();
  const leader = await start(t, url);
  await fill(leader.store, 3);
  const other = await start(t, url);
  assert.equal(leader.store.leader(), true);
  assert.equal(other.store.leader(), false);
  assert.equal(other.store.health().state, 'standby');
  assert.deepEqual(other.store.log.head(), leader.store.log.head());
  await assert.rejects(fill(other.store, 1), {
    code: 'unavailable',
    retryAfterMs: 1_000,
    message: /another registry leads/,
  });
  await fill(leader.store, 2);
  await leader.clock.advance(20);
  await until(() => other.seen.length === 2);
  assert.deepEqual(other.seen, [4, 5]);
  assert.deepEqual(other.store.log.head(), leader.store.log.head());
  const texts = async ({ store }: Process) =>
    (await store.log.read(0, { revisions: 9, bytes: 1e6 })).map(({ encoded }) => encoded);
  assert.deepEqual(await texts(other), await texts(leader));
});

test('Store that stands by follows without a wake-up, at the latest once a second', async (t) => {
  const url = await postgres.createDatabase();
  const leader = await start(t, url);
  const other = await start(t, url);
  await fill(leader.store, 2);
  await other.clock.advance(1_000);
  await until(() => other.seen.length === 2);
});

test('Store wakes the others once for many commits', async (t) => {
  const url = await postgres.createDatabase();
  const { store, clock } = await start(t, url, {
    limits: { queue: { batchCountMax: 1, batchTimeMaxMs: 20, lengthMax: 1_000 } },
  });
  const listener = new pg.Client({ connectionString: url });
  await listener.connect();
  t.after(() => listener.end());
  let wakes = 0;
  listener.on('notification', () => {
    wakes += 1;
  });
  await listener.query('LISTEN holdfast_log');
  await fill(store, 50);
  await clock.advance(20);
  await until(() => wakes > 0);
  await listener.query('SELECT 1');
  assert.equal(wakes, 1);
});

test('Store that stands by takes the lead when the leader ends, says so, and goes on without a hole', async (t) => {
  const url = await postgres.createDatabase();
  const leader = await start(t, url);
  const other = await start(t, url);
  await fill(leader.store, 3);
  await leader.store.close();
  await other.clock.advance(1_000);
  await until(() => other.store.leader());
  assert.deepEqual(other.told, [true]);
  await fill(other.store, 1);
  assert.deepEqual(other.seen, [1, 2, 3, 4]);
  assert.deepEqual(await other.store.verify(), { ok: true, from: 0, to: 4 });
});

test('Store that another process has replaced can commit nothing more, and stands by', async (t) => {
  const url = await postgres.createDatabase();
  const { store, clock, told } = await start(t, url);
  await fill(store, 2);
  // What a new leader does, while this process still believes that it leads.
  await postgres.query(url, "UPDATE leadership SET term = term + 1, holder = 'usurper'");
  await assert.rejects(fill(store, 1), {
    code: 'unavailable',
    message: /another registry leads now, nothing of this write is kept/,
  });
  await assert.rejects(
    store.write(systemCaller, (tx) =>
      tx.query({ sql: "INSERT INTO meta VALUES ('k', 'v')", parameters: [] } as never),
    ),
    { code: 'unavailable' },
  );
  assert.deepEqual(await postgres.query(url, 'SELECT count(*)::int AS n FROM revisions'), [{ n: 2 }]);
  await clock.advance(100);
  await until(() => store.health().state === 'ok');
  // Nobody holds the lock in truth, so it leads again; but somebody did lead between.
  assert.deepEqual(told, [true]);
  await fill(store, 1);
  assert.equal(store.log.head().revision, 3);
});

test('Store fences a commit without revisions too', async (t) => {
  const url = await postgres.createDatabase();
  const { store } = await start(t, url);
  await postgres.query(url, 'UPDATE leadership SET term = term + 1');
  const insert = { sql: "INSERT INTO meta VALUES ('k', 'v')", parameters: [] } as never;
  await assert.rejects(
    store.write(systemCaller, (tx) => tx.query(insert)),
    { code: 'unavailable' },
  );
  assert.deepEqual(await postgres.query(url, "SELECT key FROM meta WHERE key = 'k'"), []);
});

test('Store connects again after its connection was cut, and its memory stays good', async (t) => {
  const url = await postgres.createDatabase();
  const { store, clock, told } = await start(t, url);
  await fill(store, 2);
  await terminateWriters(url);
  await until(() => store.health().state === 'failed');
  assert.equal(store.leader(), false);
  await assert.rejects(fill(store, 1), { code: 'unavailable' });
  await clock.advance(100);
  await until(() => store.leader());
  await fill(store, 1);
  assert.equal(store.log.head().revision, 3);
  assert.deepEqual(told, []);
});

test('Store rejects what was under way when the connection was cut, and keeps nothing of it', async (t) => {
  const url = await postgres.createDatabase();
  const { store, clock } = await start(t, url);
  await assert.rejects(
    store.write(systemCaller, async (tx) => {
      tx.append({ type: 'service.set', body: 1 });
      await tx.query({ sql: 'SELECT pg_terminate_backend(pg_backend_pid())', parameters: [] } as never);
    }),
    { code: 'unavailable' },
  );
  await clock.advance(100);
  await until(() => store.leader());
  assert.equal(store.log.head().revision, 0);
  await fill(store, 1);
});

/** Cuts the connection instead of telling the answer of the next commit, and fails so many reads after the next reopening. */
class FailingDriver extends PostgresDriver {
  next: 'kept' | 'lost' | undefined;
  failReads = 0;
  #failing = 0;

  override async reopen(): Promise<void> {
    await super.reopen();
    this.#failing = this.failReads;
    this.failReads = 0;
  }

  override async read<T>(fn: (session: Session) => Promise<T>): Promise<T> {
    if (this.#failing === 0) return super.read(fn);
    this.#failing -= 1;
    throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  }

  override async commit(): Promise<void> {
    const { next } = this;
    this.next = undefined;
    if (next === 'kept') await super.commit();
    if (next === undefined) return super.commit();
    throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  }
}

for (const outcome of ['kept', 'lost'] as const) {
  for (const events of [1, 0]) {
    test(`Store never reports a commit without an answer as a success, and finds out that it was ${outcome} (${events} events)`, async (t) => {
      const url = await postgres.createDatabase();
      let driver: FailingDriver | undefined;
      const openDriver = (options: PostgresOptions) => {
        driver = new FailingDriver(options);
        return driver;
      };
      const { store, clock, seen, told } = await start(t, url, { openDriver });
      assert(driver !== undefined);
      driver.next = outcome;
      let effect = false;
      const write = store.write(systemCaller, async (tx) => {
        await tx.query({ sql: "INSERT INTO meta VALUES ('k', 'v')", parameters: [] } as never);
        for (let i = 0; i < events; i += 1) tx.append({ type: 'service.set', body: 'x' });
        tx.onCommit(() => {
          effect = true;
        });
      });
      await assert.rejects(write, { code: 'unavailable', message: /Cannot tell whether this write is kept/ });
      assert.equal(effect, false);
      await clock.advance(100);
      await until(() => store.leader());
      assert.equal(effect, outcome === 'kept');
      assert.deepEqual(seen, outcome === 'kept' && events === 1 ? [1] : []);
      assert.deepEqual(told, []);
      const rows = await postgres.query(url, "SELECT value FROM meta WHERE key = 'k'");
      assert.equal(rows.length, outcome === 'kept' ? 1 : 0);
      await fill(store, 1);
      assert.equal((await store.verify()).ok, true);
    });
  }
}

test('Store finds out what became of a commit also when its first look fails', async (t) => {
  const url = await postgres.createDatabase();
  let driver: FailingDriver | undefined;
  const openDriver = (options: PostgresOptions) => {
    driver = new FailingDriver(options);
    return driver;
  };
  const { store, clock, seen, told } = await start(t, url, { openDriver });
  assert(driver !== undefined);
  Object.assign(driver, { next: 'kept', failReads: 1 });
  let effect = false;
  const write = store.write(systemCaller, async (tx) => {
    tx.append({ type: 'service.set', body: 'x' });
    tx.onCommit(() => {
      effect = true;
    });
  });
  await assert.rejects(write, { code: 'unavailable' });
  await clock.advance(100);
  await until(() => store.health().detail?.includes('does not answer as it must') === true);
  await clock.advance(200);
  await until(() => store.leader());
  assert.equal(effect, true);
  assert.deepEqual(seen, [1]);
  assert.deepEqual(told, []);
});

test('Store says that somebody led between also when its first look fails', async (t) => {
  const url = await postgres.createDatabase();
  let driver: FailingDriver | undefined;
  const openDriver = (options: PostgresOptions) => {
    driver = new FailingDriver(options);
    return driver;
  };
  const { store, clock, told } = await start(t, url, { openDriver });
  assert(driver !== undefined);
  driver.failReads = 1;
  await postgres.query(url, 'UPDATE leadership SET term = term + 1');
  await assert.rejects(fill(store, 1), { code: 'unavailable' });
  await clock.advance(100);
  await until(() => store.health().detail?.includes('does not answer as it must') === true);
  await clock.advance(200);
  await until(() => store.leader());
  assert.deepEqual(told, [true]);
});

/** Stands before the server; `silence` keeps the first connection open and passes nothing on in it any more. */
async function proxyTo(
  t: { after(fn: () => void): void },
  url: string,
): Promise<{ url: string; silence: () => void }> {
  const { port, hostname } = new URL(url);
  const pairs: [Socket, Socket][] = [];
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    pairs.push([client, upstream]);
    client.pipe(upstream).pipe(client);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const)
      socket.on('error', () => undefined).on('close', () => other.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
    server.close();
  });
  const proxied = new URL(url);
  proxied.port = String((server.address() as AddressInfo).port);
  const silence = () => {
    const [client, upstream] = pairs[0] ?? [];
    upstream?.unpipe(client);
    upstream?.resume();
  };
  return { url: proxied.href, silence };
}

test('Store does not wait for the goodbye of a connection that answers nothing', async (t) => {
  const { url, silence } = await proxyTo(t, await postgres.createDatabase());
  let driver: FailingDriver | undefined;
  const openDriver = (options: PostgresOptions) => {
    driver = new FailingDriver(options);
    return driver;
  };
  const { store, clock } = await start(t, url, { openDriver });
  await fill(store, 1);
  assert(driver !== undefined);
  driver.next = 'kept';
  const write = fill(store, 1);
  await assert.rejects(write, { code: 'unavailable' });
  silence();
  const beganMs = performance.now();
  await clock.advance(100);
  await until(() => store.leader() || performance.now() - beganMs > 15_000);
  assert.equal(store.leader(), true);
  assert.equal(store.log.head().revision, 2);
});

test('Store begins a new epoch when the database went back behind what was acknowledged', async (t) => {
  const url = await postgres.createDatabase();
  const { store, clock, told } = await start(t, url);
  await fill(store, 5);
  const before = store.log.head();
  await postgres.query(url, 'DELETE FROM revisions WHERE revision > 3');
  await terminateWriters(url);
  await until(() => store.health().state === 'failed');
  await clock.advance(100);
  await until(() => store.log.head().epoch > before.epoch);
  const head = store.log.head();
  assert.equal(head.revision, 4);
  const [rewound] = await store.log.read(3, { revisions: 1, bytes: 1e6 });
  assert.equal(rewound?.events[0]?.type, 'system.rewound');
  assert.match(JSON.stringify(rewound?.events[0]?.body), /the database went back from \d+\.5 to \d+\.3/);
  await until(() => told.length > 0);
  assert.deepEqual(told, [true]);
});

test('Store that stands by tells a new epoch from its first revision', async (t) => {
  const url = await postgres.createDatabase();
  const leader = await start(t, url);
  const other = await start(t, url);
  await fill(leader.store, 3);
  await leader.store.beginEpoch(systemCaller, { atLeast: 0, reason: 'test' });
  await fill(leader.store, 1);
  await other.clock.advance(1_000);
  await until(() => other.store.log.head().revision === 5);
  assert.deepEqual(other.store.log.head(), leader.store.log.head());
  assert.deepEqual(other.store.log.oldest(), leader.store.log.oldest());
  assert.deepEqual(other.seen, [4, 5]);
});

test('PostgresDriver sets the time limits of its sessions', async (t) => {
  const url = await postgres.createDatabase();
  const { store } = await start(t, url);
  const names = [
    'lock_timeout',
    'statement_timeout',
    'idle_in_transaction_session_timeout',
    'tcp_keepalives_idle',
  ];
  const query = {
    sql: 'SELECT name, setting FROM pg_settings WHERE name = ANY($1) ORDER BY name',
    parameters: [names],
  } as never;
  const expected = {
    idle_in_transaction_session_timeout: '10000',
    lock_timeout: '5000',
    statement_timeout: '30000',
    tcp_keepalives_idle: '5',
  };
  for (const rows of [
    await store.write(systemCaller, (tx) => tx.query(query)),
    await store.read((session) => session.query(query)),
  ]) {
    assert.deepEqual(
      Object.fromEntries(
        (rows as { name: string; setting: string }[]).map(({ name, setting }) => [name, setting]),
      ),
      expected,
    );
  }
});

test('PostgresDriver reads int8 as a number and refuses what a number cannot hold', async (t) => {
  const url = await postgres.createDatabase();
  const { store } = await start(t, url);
  const select = (value: string) =>
    store.read((session) => session.query({ sql: `SELECT ${value}::bigint AS n`, parameters: [] } as never));
  assert.deepEqual(await select('9007199254740991'), [{ n: Number.MAX_SAFE_INTEGER }]);
  await assert.rejects(select('9007199254740992'), /Cannot read the integer 9007199254740992/);
  // The connection is still good.
  assert.deepEqual(await select('1'), [{ n: 1 }]);
});

test('openPostgresStore() refuses a newer schema and changes nothing', async (t) => {
  const url = await postgres.createDatabase();
  const files = migrationFiles('registry', 'postgres');
  const next = { version: files.length + 1, name: 'more', sql: 'CREATE TABLE more (a integer);' };
  await (await start(t, url, { migrations: [...files, next] })).store.close();
  await assert.rejects(start(t, url), {
    code: 'unprocessable',
    message: /its schema has version \d+, this holdfast knows up to \d+; run the newer/,
  });
  assert.deepEqual(await postgres.query(url, 'SELECT max(version) AS version FROM migrations'), [
    { version: next.version },
  ]);
});

test('openPostgresStore() leaves nothing of a migration that fails', async (t) => {
  const url = await postgres.createDatabase();
  const files = migrationFiles('registry', 'postgres');
  const bad = {
    version: files.length + 1,
    name: 'bad',
    sql: 'CREATE TABLE bad (a integer); SELECT nonsense;',
  };
  await assert.rejects(start(t, url, { migrations: [...files, bad] }), {
    code: 'internal',
    message: /\(bad\): column "nonsense" does not exist/,
  });
  assert.deepEqual(await postgres.query(url, "SELECT to_regclass('bad')::text AS name"), [{ name: null }]);
  await start(t, url);
});

test('openPostgresStore() lets many processes start at once on an empty database', async (t) => {
  const url = await postgres.createDatabase();
  const processes = await Promise.all(Array.from({ length: 4 }, () => start(t, url)));
  assert.equal(processes.filter(({ store }) => store.leader()).length, 1);
});

test('openPostgresStore() says that the server cannot be reached, without the password', async (t) => {
  await assert.rejects(
    start(t, 'postgres://me:hunter2@127.0.0.1:1/db'),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'unavailable');
      assert.match(error.message, /postgres:\/\/127\.0\.0\.1:1\/db.*ECONNREFUSED/);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    },
  );
});

test('backup() refuses and names pg_dump, without the password', async (t) => {
  const url = await postgres.createDatabase();
  const { store } = await start(t, url);
  await assert.rejects(store.backup('/tmp/x'), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'unprocessable');
    assert.match(error.message, /pg_dump postgres:\/\/127/);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});
