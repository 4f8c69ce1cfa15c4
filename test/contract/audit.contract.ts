/** What the audit promises, on any store. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import type { CompiledQuery } from 'kysely';
import { type Caller, systemCaller } from '../../src/domain/access.ts';
import { auditKeptMs, auditText } from '../../src/domain/audit.ts';
import type { AuditFilter } from '../../src/domain/services.ts';
import { decideToken } from '../../src/domain/token.ts';
import { AuditStore } from '../../src/store/audit.ts';
import { auditStatements, verifyAudit } from '../../src/store/engine/audit-trail.ts';
import { emptyHash } from '../../src/store/engine/log.ts';
import type { Store } from '../../src/store/engine/port.ts';
import type { AuditRow } from '../../src/store/engine/query.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import {
  admin,
  joinHost,
  openRegistryStores,
  passTime,
  type RegistryStores,
} from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const ann: Caller = { role: 'admin', subject: 'ann', tokenId: 'tok-ann' };
const bob: Caller = { role: 'operator', subject: 'bob' };

export function auditContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext): Promise<RegistryStores & { audit: AuditStore }> => {
    const clock = new FakeClock();
    const store = await openStore(t, clock);
    const audit = new AuditStore({ store, clock });
    return { ...(await openRegistryStores(store, clock, new SeededRandom(1))), audit };
  };
  const list = async ({ audit }: { audit: AuditStore }, filter: AuditFilter = {}) =>
    (await audit.list(filter, { limit: 1_000 })).items;
  const issue = (stores: RegistryStores, caller: Caller, subject: string) =>
    stores.access.issue(caller, decideToken({ role: 'viewer', subject }));

  describe('the audit', () => {
    it('has an entry for each act of a person, and none for what hosts, reporters and sweeps tell', async (t) => {
      const stores = await open(t);
      const { liveness } = stores;
      await issue(stores, ann, 'x');
      const edge = await joinHost(stores, 'edge-1');
      await edge.beat();
      const reporter: Caller = { role: 'reporter', subject: 'shop' };
      const told = await liveness.register(reporter, { type: 'web', host: 'edge-1' }, { takeover: false });
      await liveness.maintain(bob, told.uuid, { note: 'disk' });
      await passTime(stores, 60_000);
      await edge.beat();
      assert.ok(stores.events.some(({ type }) => type === 'host.lapsed'));
      const entries = (await list(stores)).toReversed();
      assert.deepEqual(
        entries.map(({ seq, actor, role, tokenId, type }) => [seq, actor, role, tokenId, type]),
        [
          [1, 'ann', 'admin', 'tok-ann', 'token.issued'],
          [2, 'bob', 'operator', null, 'service.maintained'],
        ],
      );
      const event = stores.events.find(({ type }) => type === 'service.maintained');
      assert.deepEqual(entries[1]?.body, event?.body);
      assert.deepEqual([entries[1]?.position, entries[1]?.host], [event?.position, 'edge-1']);
    });

    it('commits with the change or not at all', async (t) => {
      const stores = await open(t);
      const failing = stores.store.write(ann, async (tx) => {
        await stores.access.issueIn(tx, decideToken({ role: 'viewer', subject: 'x' }));
        throw new Error('no');
      });
      await assert.rejects(failing, /no/);
      assert.deepEqual(await list(stores), []);
      await run(stores.store, 'DROP TABLE audit');
      await assert.rejects(issue(stores, ann, 'y'));
      await stores.access.load();
      const left = await stores.store.read((session) =>
        session.query(text<{ n: number }>("SELECT count(*) AS n FROM tokens WHERE subject = 'y'")),
      );
      assert.equal(Number(left[0]?.n), 0, 'what cannot be audited is not done');
    });

    it('keeps its order when many write at once', async (t) => {
      const stores = await open(t);
      await Promise.all(Array.from({ length: 200 }, (_, index) => issue(stores, ann, `s${index}`)));
      const entries = await list(stores);
      assert.deepEqual(
        entries.map(({ seq }) => seq),
        Array.from({ length: 200 }, (_, index) => 200 - index),
      );
      assert.equal((await stores.audit.verify()).ok, true);
    });
  });

  describe('AuditStore.list()', () => {
    it('filters by actor, type, family, host and time, page by page, the latest first', async (t) => {
      const stores = await open(t);
      await issue(stores, ann, 'a');
      await stores.clock.advance(1_000);
      await stores.hosts.join(bob, { name: 'edge-1', region: null, machineId: 'm' });
      await stores.clock.advance(1_000);
      const { record } = await issue(stores, bob, 'b');
      await stores.store.write(ann, (tx) => stores.access.revokeIn(tx, record.id));
      const seqs = async (filter: AuditFilter) => (await list(stores, filter)).map(({ seq }) => seq);
      assert.deepEqual(await seqs({}), [4, 3, 2, 1]);
      assert.deepEqual(await seqs({ actor: ['ann'] }), [4, 1]);
      assert.deepEqual(await seqs({ type: ['host.joined'] }), [2]);
      assert.deepEqual(await seqs({ type: ['token.*'] }), [4, 3, 1]);
      assert.deepEqual(await seqs({ host: ['edge-1'] }), [2]);
      assert.deepEqual(await seqs({ actor: ['bob'], type: ['token.*'] }), [3]);
      const now = stores.clock.now();
      assert.deepEqual(await seqs({ sinceMs: now - 1_000 }), [4, 3, 2]);
      assert.deepEqual(await seqs({ sinceMs: now - 1_000, untilMs: now }), [2]);
      const first = await stores.audit.list({}, { limit: 3 });
      const rest = await stores.audit.list({}, { limit: 3, cursor: first.next ?? '' });
      assert.deepEqual(
        [first.items.map(({ seq }) => seq), rest.items.map(({ seq }) => seq), rest.next],
        [[4, 3, 2], [1], null],
      );
    });
  });

  describe('AuditStore.refused()', () => {
    it('is told once a minute for each subject and operation', async (t) => {
      const stores = await open(t);
      const { audit, clock } = stores;
      for (let i = 0; i < 50; i += 1) await audit.refused(bob, 'createToken', '/v1/tokens');
      await audit.refused(bob, 'getBackup', '/v1/backup');
      const edge: Caller = { role: 'host', subject: 'host:edge-1', hostId: 'x' };
      await audit.refused(edge, 'beatHost', '/v1/hosts/y/heartbeat');
      assert.equal((await list(stores)).length, 3);
      clock.stall(60_000);
      await audit.refused(bob, 'createToken', '/v1/tokens');
      const [latest] = await list(stores);
      assert.deepEqual(
        [latest?.type, latest?.actor, latest?.body],
        [
          'token.refused',
          'bob',
          { role: 'operator', token: null, operation: 'createToken', path: '/v1/tokens' },
        ],
      );
      assert.equal((await list(stores)).length, 4);
    });
  });

  describe('AuditStore.verify()', () => {
    const written = async (t: TestContext) => {
      const stores = await open(t);
      for (let i = 1; i <= 600; i += 1) {
        if (i % 50 === 0 || i < 12) await issue(stores, ann, `s${i}`);
        else await stores.store.write(ann, async (tx) => tx.append({ type: 'token.refused', body: { i } }));
      }
      assert.equal((await stores.audit.verify()).ok, true);
      return stores;
    };
    const tampered: readonly (readonly [how: string, sql: readonly string[], seq: number])[] = [
      ['an edited actor', ["UPDATE audit SET actor = 'eve' WHERE seq = 7"], 7],
      ['an edited instant', ['UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 511'], 511],
      ['an edited body', ["UPDATE audit SET body = '{}' WHERE seq = 3"], 3],
      [
        'an edited hash',
        ["UPDATE audit SET hash = 'sha256:' || substr(hash, 8, 63) || 'x' WHERE seq = 9"],
        9,
      ],
      ['a deleted entry', ['DELETE FROM audit WHERE seq = 500'], 500],
      ['a deleted first entry', ['DELETE FROM audit WHERE seq = 1'], 1],
      [
        'two that changed places',
        [
          'UPDATE audit SET seq = 100000 WHERE seq = 20',
          'UPDATE audit SET seq = 20 WHERE seq = 21',
          'UPDATE audit SET seq = 21 WHERE seq = 100000',
        ],
        20,
      ],
      ['an end that was cut off', ['DELETE FROM audit WHERE seq > 590'], 591],
      ['an emptied table', ['DELETE FROM audit'], 1],
      [
        'one that was added',
        [
          `INSERT INTO audit SELECT 601, at_ms, actor, role, token_id, type, host, position, body, hash FROM audit WHERE seq = 600`,
        ],
        601,
      ],
    ];
    for (const [how, statements, seq] of tampered) {
      it(`G14: names the entry of ${how}`, async (t) => {
        const { store, audit } = await written(t);
        for (const statement of statements) await run(store, statement);
        const found = await audit.verify();
        assert.deepEqual([found.ok, found.ok ? 0 : found.seq], [false, seq]);
        assert.match(found.ok ? '' : found.detail, new RegExp(`\\b${seq}\\b`));
      });
    }
  });

  describe('verifyAudit()', () => {
    const verifyBy = ({ store }: RegistryStores, read: Store['read']) =>
      verifyAudit(read, auditStatements(store.dialect), { pause: () => Promise.resolve() });

    it('reads of the log what the entries tell of, and not what is between', async (t) => {
      const stores = await open(t);
      await issue(stores, ann, 'first');
      for (let i = 0; i < 300; i += 1)
        await stores.store.write(systemCaller, async (tx) =>
          tx.append({ type: 'system.suspected', body: { i } }),
        );
      await issue(stores, ann, 'last');
      let rows = 0;
      const counted: Store['read'] = (fn) =>
        stores.store.read((session) =>
          fn({
            dialect: session.dialect,
            all: async (statement, args) => {
              const found = await session.all(statement, args);
              rows += found.length;
              return found;
            },
            get: (statement, args) => {
              rows += 1;
              return session.get(statement, args);
            },
            run: (statement, args) => session.run(statement, args),
            query: (query) => session.query(query),
          }),
        );
      assert.equal((await verifyBy(stores, counted)).ok, true);
      assert.ok(rows < 50, `${rows} rows were read for two entries`);
    });

    it('takes what is forgotten while it reads for no hole', async (t) => {
      const stores = await open(t);
      const refuse = (i: number) =>
        stores.store.write(admin, async (tx) => tx.append({ type: 'token.refused', body: { i } }));
      for (let i = 0; i < 1_200; i += 1) await refuse(i);
      stores.clock.stall(auditKeptMs + 1);
      for (let i = 0; i < 5; i += 1) await refuse(i);
      const sql = auditStatements(stores.store.dialect);
      const pause = () => stores.audit.forget();
      const found = await verifyAudit((fn) => stores.store.read(fn), sql, { pause });
      assert.deepEqual([found.ok, found.ok ? '' : found.detail], [true, '']);
    });
  });

  describe('AuditStore.verify(), where the whole chain was forged', () => {
    /** Rewrites an entry and every hash after it, and the end of the chain with them. */
    const forge = async ({ store }: RegistryStores, seq: number, column: string, value: string) => {
      await run(store, `UPDATE audit SET ${column} = '${value}' WHERE seq = ${seq}`);
      const rows = await store.read((session) =>
        session.query(text<AuditRow>('SELECT * FROM audit ORDER BY seq')),
      );
      let before = emptyHash;
      for (const row of rows) {
        const { at_ms: atMs, token_id: tokenId, hash: _hash, ...same } = row;
        const entry = { ...same, seq: Number(row.seq), atMs: Number(atMs), tokenId };
        before = `sha256:${createHash('sha256')
          .update(before + auditText(entry))
          .digest('hex')}`;
        await run(store, `UPDATE audit SET hash = '${before}' WHERE seq = ${row.seq}`);
      }
      await run(store, `UPDATE meta SET value = '${rows.length} ${before}' WHERE key = 'audit_head'`);
    };

    it('G14: finds it by an end that was noted before', async (t) => {
      const stores = await open(t);
      for (let i = 0; i < 10; i += 1) await issue(stores, ann, `s${i}`);
      const { head } = await stores.audit.verify();
      await forge(stores, 4, 'at_ms', '1');
      assert.equal((await stores.audit.verify()).ok, true, 'by itself the chain fits');
      const found = await stores.audit.verify(head);
      assert.deepEqual(
        [found.ok, found.ok ? '' : found.detail.replace(/:.*/, '')],
        [false, 'entry 10 is another than was noted'],
      );
      const cut = await stores.audit.verify({ ...head, seq: 12 });
      assert.deepEqual([cut.ok, cut.ok ? 0 : cut.seq], [false, 11]);
    });

    it('G14: finds it by the log, which tells something else', async (t) => {
      for (const [column, value] of [
        ['actor', 'eve'],
        ['type', 'token.revoked'],
        ['body', '{}'],
      ] as const) {
        const stores = await open(t);
        for (let i = 0; i < 10; i += 1) await issue(stores, ann, `s${i}`);
        await forge(stores, 4, column, value);
        const found = await stores.audit.verify();
        assert.deepEqual([found.ok, found.ok ? 0 : found.seq], [false, 4], column);
      }
    });
  });

  describe('AuditStore.forget()', () => {
    it('forgets what is older than 400 days and keeps a chain that can be verified', async (t) => {
      const stores = await open(t);
      const { audit, clock } = stores;
      for (let i = 0; i < 700; i += 1)
        await stores.store.write(admin, async (tx) => tx.append({ type: 'token.refused', body: { i } }));
      clock.stall(auditKeptMs / 2);
      await issue(stores, ann, 'young');
      await audit.forget();
      assert.equal((await list(stores)).length, 701);
      clock.stall(auditKeptMs / 2 + 1);
      await audit.forget();
      assert.deepEqual(
        (await list(stores)).map(({ seq, actor }) => [seq, actor]),
        [[701, 'ann']],
      );
      const found = await audit.verify();
      assert.deepEqual([found.ok, found.from, found.head.seq], [true, 701, 701]);
      await issue(stores, ann, 'next');
      assert.equal((await audit.verify()).ok, true);
    });
  });
}

function text<Row>(sql: string): CompiledQuery<Row> {
  return { sql, parameters: [] } as never;
}

function run(store: Store, sql: string): Promise<unknown> {
  return store.write(systemCaller, (tx) => tx.query(text(sql)));
}
