/** What tokens promise, on any store. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Caller, systemCaller } from '../../src/domain/access.ts';
import { isAppError } from '../../src/domain/error.ts';
import {
  credentialOfferMs,
  decideToken,
  hostCredentialLifeMs,
  type TokenRequest,
} from '../../src/domain/token.ts';
import type { CredentialHost } from '../../src/store/access.ts';
import type { Store, Transaction } from '../../src/store/engine/port.ts';
import { FakeClock } from '../helpers/clock.ts';
import { HostKey } from '../helpers/host-key.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, joinHost, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const dayMs = 86_400_000;
const unauthenticated = (error: unknown) => isAppError(error, 'unauthenticated');

export function accessContract(openStore: OpenStoreForTest): void {
  const open = async (t: TestContext): Promise<RegistryStores> => {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
  };
  const issue = async ({ access }: RegistryStores, request: TokenRequest) =>
    (await access.issue(admin, decideToken(request))).token;
  const viewer = (stores: RegistryStores, subject: string, lifeDays: number) =>
    issue(stores, { role: 'viewer', subject, expiresInMs: lifeDays * dayMs });

  describe('AccessStore.issue()', () => {
    it('keeps the hash of a token alone, and tells whose it is without it', async (t) => {
      const stores = await open(t);
      const token = await viewer(stores, 'ann', 1);
      const secret = token.slice(34);
      assert.match(token, /^hf_tok-[0-9a-z]{26}_[\w-]{43}$/);
      const rows = await stores.store.read((session) => session.query(everything('tokens')));
      assert.equal(JSON.stringify(rows).includes(secret), false);
      const [event] = stores.events;
      assert.deepEqual([event?.type, event?.actor], ['token.issued', 'test']);
      assert.equal(JSON.stringify(event).includes(secret), false);
    });

    it('makes a caller with role, subject, scope and end, also once memory was read anew', async (t) => {
      const stores = await open(t);
      const scope = { hosts: 'env=prod', apps: ['shop'] };
      const token = await issue(stores, { role: 'operator', subject: 'ann', scope });
      const before = stores.access.authenticate(token);
      assert.deepEqual(
        [before.role, before.subject, before.scope, before.expiresAtMs],
        ['operator', 'ann', scope, stores.clock.now() + 90 * dayMs],
      );
      await stores.access.load();
      assert.deepEqual(stores.access.authenticate(token), before);
    });

    it('ends a token at its instant', async (t) => {
      const stores = await open(t);
      const token = await viewer(stores, 'ann', 1);
      const caller = stores.access.authenticate(token);
      stores.clock.stall(dayMs - 1);
      assert.equal(stores.access.stillValid(caller), true);
      stores.clock.stall(1);
      assert.equal(stores.access.stillValid(caller), false);
      assert.throws(() => stores.access.authenticate(token), unauthenticated);
    });

    it('leaves nothing behind when its transaction fails', async (t) => {
      const stores = await open(t);
      const failure = new Error('no');
      let token = '';
      const failing = stores.store.write(admin, async (tx) => {
        const plan = decideToken({ role: 'admin', subject: 'ann' });
        token = (await stores.access.issueIn(tx, plan)).token;
        throw failure;
      });
      await assert.rejects(failing, failure);
      assert.throws(() => stores.access.authenticate(token), unauthenticated);
    });
  });

  describe('AccessStore.revokeIn()', () => {
    it('ends a token at once and tells it once', async (t) => {
      const stores = await open(t);
      const token = await viewer(stores, 'ann', 1);
      const caller = stores.access.authenticate(token);
      const revoke = () =>
        stores.store.write(admin, (tx) => stores.access.revokeIn(tx, caller.tokenId ?? ''));
      const record = await revoke();
      assert.equal(record.revokedAtMs, stores.clock.now());
      assert.equal(stores.access.stillValid(caller), false);
      assert.throws(() => stores.access.authenticate(token), unauthenticated);
      stores.clock.stall(1_000);
      assert.deepEqual(await revoke(), record);
      assert.deepEqual(
        stores.events.map(({ type }) => type),
        ['token.issued', 'token.revoked'],
      );
    });

    it('is not-found for an unknown id', async (t) => {
      const { store, access } = await open(t);
      await assert.rejects(
        store.write(admin, (tx) => access.revokeIn(tx, 'tok-none')),
        (error) => isAppError(error, 'not-found'),
      );
    });
  });

  describe('AccessStore.useJoinToken()', () => {
    const joinAs = (stores: RegistryStores, caller: Caller, name: string) =>
      stores.hosts.join(caller, { ...new HostKey().join(caller, name), region: 'here' });

    it('G3: lets exactly as many of 100 at once in as the token has uses', async (t) => {
      for (const uses of [1, 7]) {
        const stores = await open(t);
        const joiner = stores.access.authenticate(await issue(stores, { role: 'host', uses }));
        assert.deepEqual([joiner.role, joiner.hostId], ['joiner', undefined]);
        const answers = await Promise.allSettled(
          Array.from({ length: 100 }, (_, index) => joinAs(stores, joiner, `edge-${index}`)),
        );
        assert.equal(answers.filter(({ status }) => status === 'fulfilled').length, uses);
        for (const answer of answers)
          if (answer.status === 'rejected') assert.ok(unauthenticated(answer.reason));
        assert.equal(stores.hosts.records().length, uses);
        assert.deepEqual(
          stores.events.filter(({ type }) => type === 'host.joined').map(({ actor }) => actor),
          Array.from({ length: uses }, () => joiner.subject),
        );
      }
    });

    it('G3: refuses a token that is used up, has expired, was revoked, or is for another name', async (t) => {
      const stores = await open(t);
      const { access, clock, store } = stores;
      const used = access.authenticate(await issue(stores, { role: 'host' }));
      await joinAs(stores, used, 'edge-1');
      await assert.rejects(joinAs(stores, used, 'edge-2'), /used up/);
      await assert.rejects(joinAs(stores, used, 'edge-1'), /used up/);
      const revoked = access.authenticate(await issue(stores, { role: 'host' }));
      await store.write(admin, (tx) => access.revokeIn(tx, revoked.tokenId ?? ''));
      await assert.rejects(joinAs(stores, revoked, 'edge-3'), unauthenticated);
      const named = access.authenticate(await issue(stores, { role: 'host', name: 'shop-*' }));
      await assert.rejects(joinAs(stores, named, 'edge-4'), (error) => isAppError(error, 'forbidden'));
      await joinAs(stores, named, 'Shop_4');
      const late = access.authenticate(await issue(stores, { role: 'host' }));
      clock.stall(30 * 60_000);
      await assert.rejects(joinAs(stores, late, 'edge-5'), unauthenticated);
      assert.deepEqual(
        stores.hosts
          .records()
          .map(({ name }) => name)
          .sort(),
        ['edge-1', 'shop-4'],
      );
    });

    it('gives a new host the labels and the region of the token', async (t) => {
      const stores = await open(t);
      const request = { role: 'host', labels: { env: 'prod' }, region: 'there' } as const;
      const joiner = stores.access.authenticate(await issue(stores, request));
      const { id } = await joinAs(stores, joiner, 'edge-1');
      const { labels, region } = await stores.hosts.get(id);
      assert.deepEqual([labels, region], [{ env: 'prod' }, 'there']);
    });

    it('counts no use for a host that may not have heard the answer', async (t) => {
      const stores = await open(t);
      const joiner = stores.access.authenticate(await issue(stores, { role: 'host' }));
      const use = (again: boolean) =>
        stores.store.write(joiner, (tx) => stores.access.useJoinToken(tx, joiner, { name: 'edge-1', again }));
      await use(false);
      await use(true);
      await assert.rejects(use(false), /used up/);
    });
  });

  describe('AccessStore.offerHostCredential()', () => {
    const inTransaction = <T>({ store }: RegistryStores, fn: (tx: Transaction) => Promise<T>) =>
      store.write(systemCaller, fn);
    const world = async (t: TestContext) => {
      const stores = await open(t);
      const { access } = stores;
      const host = (generation: number): CredentialHost => ({ id: hostId, name: 'edge-1', generation });
      const first = await inTransaction(stores, (tx) => access.issueHostCredential(tx, host(1)));
      const offer = (generation: number) =>
        inTransaction(stores, (tx) => access.offerHostCredential(tx, host(generation)));
      const commit = (credential: string) => {
        const caller = access.authenticate(credential);
        return inTransaction(stores, (tx) => access.commitOffer(tx, caller));
      };
      const opens = (...credentials: { credential: string }[]) =>
        credentials.map(({ credential }) => {
          try {
            return access.authenticate(credential).offered === true ? 'offered' : 'good';
          } catch (error) {
            assert.ok(unauthenticated(error));
            return 'ended';
          }
        });
      return { stores, access, first, offer, commit, opens };
    };

    it('stands beside the one in force until the first use ends that', async (t) => {
      const { stores, access, first, offer, commit, opens } = await world(t);
      const second = await offer(2);
      assert.equal(second.expiresAtMs, stores.clock.now() + hostCredentialLifeMs);
      assert.deepEqual(opens(first, second), ['good', 'offered']);
      const callers = [first, second].map(({ credential }) => access.authenticate(credential));
      assert.equal(await commit(second.credential), 2);
      assert.deepEqual(opens(first, second), ['ended', 'good']);
      assert.deepEqual(
        callers.map((caller) => access.stillValid(caller)),
        [false, true],
      );
      assert.equal(await commit(second.credential), null, 'in force already');
      await access.load();
      assert.deepEqual(opens(first, second), ['ended', 'good']);
    });

    it('ends after an hour untried, and leaves the one in force', async (t) => {
      const { stores, first, offer, opens } = await world(t);
      const second = await offer(2);
      stores.clock.stall(credentialOfferMs - 1);
      assert.deepEqual(opens(first, second), ['good', 'offered']);
      stores.clock.stall(1);
      assert.deepEqual(opens(first, second), ['good', 'ended']);
      await stores.access.load();
      assert.deepEqual(opens(first, second), ['good', 'ended']);
    });

    it('replaces an earlier offer', async (t) => {
      const { first, offer, commit, opens } = await world(t);
      const [second, third] = [await offer(2), await offer(2)];
      assert.deepEqual(opens(first, second, third), ['good', 'ended', 'offered']);
      await commit(third.credential);
      assert.deepEqual(opens(first, second, third), ['ended', 'ended', 'good']);
    });

    it('can be committed by one of many beats at once', async (t) => {
      const { offer, commit } = await world(t);
      const { credential } = await offer(2);
      const answers = await Promise.all(Array.from({ length: 20 }, () => commit(credential)));
      assert.deepEqual(
        answers.filter((generation) => generation !== null),
        [2],
      );
    });

    it('comes back for a host whose credential has expired, and cannot be committed once it has ended', async (t) => {
      const { stores, access, first, offer, opens } = await world(t);
      stores.clock.stall(3 * dayMs);
      const second = await offer(2);
      assert.deepEqual(opens(first, second), ['ended', 'offered']);
      const caller = access.authenticate(second.credential);
      await inTransaction(stores, (tx) => access.endHostCredentials(tx, hostId));
      assert.deepEqual(opens(second), ['ended']);
      await assert.rejects(
        inTransaction(stores, (tx) => access.commitOffer(tx, caller)),
        unauthenticated,
      );
    });
  });

  describe('AccessStore.endHostCredentials()', () => {
    it('ends what is in force and what is on offer, of this host alone', async (t) => {
      const stores = await open(t);
      const { access, store } = stores;
      const made = await store.write(systemCaller, async (tx) => {
        const mine = { id: hostId, name: 'edge-1', generation: 1 };
        const other = { id: otherId, name: 'edge-2', generation: 1 };
        return [
          await access.issueHostCredential(tx, mine),
          await access.offerHostCredential(tx, { ...mine, generation: 2 }),
          await access.issueHostCredential(tx, other),
        ];
      });
      const callers = made.map(({ credential }) => access.authenticate(credential));
      await store.write(admin, (tx) => access.endHostCredentials(tx, hostId));
      assert.deepEqual(
        callers.map((caller) => access.stillValid(caller)),
        [false, false, true],
      );
    });
  });

  describe('AccessStore.forget()', () => {
    it('deletes what expired or was revoked thirty days ago, and nothing that can still be used', async (t) => {
      const stores = await open(t);
      const { access, clock, store } = stores;
      await viewer(stores, 'short', 1);
      const long = await viewer(stores, 'long', 40);
      // A second credential revokes the first one.
      await joinHost(stores, 'edge-1');
      await joinHost(stores, 'edge-1');
      await access.forget();
      assert.deepEqual(await subjects(store), ['host:edge-1', 'host:edge-1', 'long', 'short']);
      clock.stall(29 * dayMs);
      await access.forget();
      assert.deepEqual(await subjects(store), ['host:edge-1', 'host:edge-1', 'long', 'short']);
      clock.stall(2.5 * dayMs);
      await access.forget();
      assert.deepEqual(await subjects(store), ['host:edge-1', 'long']);
      assert.equal(access.authenticate(long).subject, 'long');
    });

    it('drops expired tokens from memory', async (t) => {
      const stores = await open(t);
      await viewer(stores, 'x', 1);
      await viewer(stores, 'x', 2);
      assert.equal(stores.access.size, 2);
      stores.clock.stall(1.5 * dayMs);
      await stores.access.forget();
      assert.equal(stores.access.size, 1);
    });
  });
}

const hostId = '0190a1b2-0000-7000-8000-00000000000a';
const otherId = '0190a1b2-0000-7000-8000-00000000000b';

function everything(table: string): never {
  return { sql: `SELECT * FROM ${table}`, parameters: [] } as never;
}

async function subjects(store: Store): Promise<string[]> {
  const rows = await store.read((session) => session.query<{ subject: string }>(everything('tokens')));
  return rows.map(({ subject }) => subject).sort();
}
