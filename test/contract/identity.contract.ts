/** What the identity of hosts promises, on any store: keys, renewals, and machines that are copies of each other. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import { type Caller, systemCaller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import type { Beat } from '../../src/domain/host.ts';
import { inventoryHash } from '../../src/domain/inventory.ts';
import type { JoinAnswer } from '../../src/domain/services.ts';
import {
  credentialOfferMs,
  decideToken,
  hostCredentialLifeMs,
  keylessCredentialLifeMs,
} from '../../src/domain/token.ts';
import { FakeClock } from '../helpers/clock.ts';
import { HostKey } from '../helpers/host-key.ts';
import { SeededRandom } from '../helpers/random.ts';
import { admin, openRegistryStores, type RegistryStores } from '../helpers/registry-stores.ts';
import type { OpenStoreForTest } from './liveness.contract.ts';

const none = inventoryHash([]);

/** The beats of one start of an agent. */
function agentOf(stores: RegistryStores, id: string, more: { bootId: string; machineId: string | null }) {
  let seq = 0;
  const startedAtMs = stores.clock.now();
  const next = (): Beat => {
    seq += 1;
    const own = { epoch: 1, revision: 1, hash: none };
    return { ...more, startedAtMs, seq, answered: null, own, seen: null, inventory: none, leaving: false };
  };
  return {
    next,
    beat: (caller: Caller) => stores.hosts.beat(caller, id, next()),
  };
}

export function identityContract(openStore: OpenStoreForTest): void {
  async function open(t: TestContext): Promise<RegistryStores> {
    const clock = new FakeClock();
    return openRegistryStores(await openStore(t, clock), clock, new SeededRandom(1));
  }

  async function joiner(stores: RegistryStores, uses = 1): Promise<Caller> {
    const { token } = await stores.access.issue(admin, decideToken({ role: 'host', uses }));
    return stores.access.authenticate(token);
  }

  async function joined(t: TestContext, name = 'edge-1') {
    const stores = await open(t);
    const key = new HostKey();
    const caller = await joiner(stores);
    const answer = await stores.hosts.join(caller, key.join(caller, name));
    return { stores, key, answer, caller, agent: agentOf(stores, answer.id, machineOf(name)) };
  }

  const machineOf = (name: string) => ({ bootId: 'boot', machineId: `machine-${name}` });
  const hostsOf = async ({ hosts }: RegistryStores) => (await hosts.list({}, { limit: 10 })).items.length;

  describe('HostStore.join() with a key', () => {
    it('gives a credential for a day, and what to believe the registry by', async (t) => {
      const { stores, answer } = await joined(t);
      const { generation, expiresAtMs, trust } = answer;
      assert.deepEqual([generation, trust.urls], [1, ['http://registry.test']]);
      assert.equal(expiresAtMs, stores.clock.now() + hostCredentialLifeMs);
      assert.equal(stores.access.authenticate(answer.credential).hostId, answer.id);
    });

    it('wants key and proof from whoever comes with a join token, by name', async (t) => {
      const stores = await open(t);
      const caller = await joiner(stores);
      const { publicKey, proof, ...plain } = new HostKey().join(caller, 'edge-1');
      assert(publicKey !== undefined && proof !== undefined);
      for (const [request, field] of [
        [plain, 'publicKey'],
        [{ ...plain, publicKey }, 'proof'],
        [{ ...plain, proof }, 'publicKey'],
      ] as const)
        await assert.rejects(stores.hosts.join(caller, request), { code: 'bad-request', field });
      const { expiresAtMs } = await stores.hosts.join(admin, plain);
      assert.equal(expiresAtMs, stores.clock.now() + keylessCredentialLifeMs);
    });

    it('takes no proof of another name, machine, token or key, nor a key of another kind', async (t) => {
      const stores = await open(t);
      const [caller, other] = [await joiner(stores), await joiner(stores)];
      const key = new HostKey();
      const good = key.join(caller, 'edge-1');
      const rsa = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
      for (const wrong of [
        { ...good, name: 'edge-2' },
        { ...good, machineId: 'another' },
        { ...good, publicKey: new HostKey().publicKey },
        { ...good, publicKey: rsa.export({ format: 'der', type: 'spki' }).toString('base64') },
        { ...good, publicKey: `${good.publicKey} ` },
        { ...good, proof: 'AAAA' },
        key.join(other, 'edge-1'),
      ])
        await assert.rejects(stores.hosts.join(caller, wrong), { code: 'bad-request', field: 'proof' });
      assert.equal(await hostsOf(stores), 0);
      await stores.hosts.join(caller, good);
    });

    it('gives a host whose answer was lost another one, for the same use of its token', async (t) => {
      const { stores, key, answer, caller } = await joined(t);
      const again = await stores.hosts.join(caller, key.join(caller, 'edge-1'));
      assert.deepEqual([again.id, again.generation], [answer.id, 2]);
      assert.throws(() => stores.access.authenticate(answer.credential), isCode('unauthenticated'));
      const thief = new HostKey();
      await assert.rejects(
        stores.hosts.join(caller, thief.join(caller, 'edge-1')),
        isCode('unauthenticated'),
        'the use was counted',
      );
      assert.equal(stores.access.authenticate(again.credential).hostId, answer.id);
    });
  });

  describe('HostStore.renew()', () => {
    it('offers a credential beside the old one, which ends with the first beat of the new one', async (t) => {
      const { stores, key, answer, agent } = await joined(t);
      const { hosts, access } = stores;
      const old = access.authenticate(answer.credential);
      const offer = await hosts.renew(answer.id, key.renewal(answer.id, 1));
      assert.deepEqual([offer.generation, offer.expiresAtMs], [2, stores.clock.now() + hostCredentialLifeMs]);
      await agent.beat(old);
      await agent.beat(access.authenticate(offer.credential));
      assert.throws(() => access.authenticate(answer.credential), isCode('unauthenticated'));
      assert.equal(access.stillValid(old), false);
      await hosts.renew(answer.id, key.renewal(answer.id, 2));
    });

    it('replaces an offer that was not heard, and forgets one that was not tried for an hour', async (t) => {
      const { stores, key, answer } = await joined(t);
      const { hosts, access, clock } = stores;
      const lost = await hosts.renew(answer.id, key.renewal(answer.id, 1));
      const offer = await hosts.renew(answer.id, key.renewal(answer.id, 1));
      assert.throws(() => access.authenticate(lost.credential), isCode('unauthenticated'));
      clock.stall(credentialOfferMs);
      assert.throws(() => access.authenticate(offer.credential), isCode('unauthenticated'));
      assert.equal(access.authenticate(answer.credential).hostId, answer.id);
    });

    it('G5: lets a host in that was away for longer than its credential lives', async (t) => {
      const { stores, key, answer, agent } = await joined(t);
      const { hosts, access, clock } = stores;
      clock.stall(30 * hostCredentialLifeMs);
      assert.throws(() => access.authenticate(answer.credential), isCode('unauthenticated'));
      const { credential } = await hosts.renew(answer.id, key.renewal(answer.id, 1));
      await agent.beat(access.authenticate(credential));
      assert.equal((await hosts.get(answer.id)).name, 'edge-1');
    });

    it('refuses any other proof, and hosts that there are not, in the same words', async (t) => {
      const { stores, key, answer } = await joined(t);
      const keyless = await stores.hosts.join(admin, { name: 'edge-2', region: null, machineId: 'm2' });
      const unknown = '0190a1b2-0000-7000-8000-00000000000a';
      const words = new Set<string>();
      for (const [id, request] of [
        [answer.id, new HostKey().renewal(answer.id, 1)],
        [answer.id, { ...key.renewal(answer.id, 1), generation: 2 }],
        [answer.id, key.renewal(unknown, 1)],
        [answer.id, { ...key.renewal(answer.id, 1), proof: '' }],
        [keyless.id, key.renewal(keyless.id, 1)],
        [unknown, key.renewal(unknown, 1)],
      ] as const)
        await assert.rejects(stores.hosts.renew(id, request), (error) => {
          assert(error instanceof AppError && error.code === 'unauthenticated');
          words.add(error.message);
          return true;
        });
      assert.equal(words.size, 1);
    });

    it('G9: turns away a host that is a generation behind: it is a copy, or was put back', async (t) => {
      const { stores, key, answer, agent } = await joined(t);
      const { hosts, access } = stores;
      const { credential } = await hosts.renew(answer.id, key.renewal(answer.id, 1));
      await agent.beat(access.authenticate(credential));
      await assert.rejects(hosts.renew(answer.id, key.renewal(answer.id, 1)), {
        code: 'identity-conflict',
        message: /join it anew/,
        details: { generation: 2 },
      });
      assert.equal(access.authenticate(credential).hostId, answer.id);
    });

    it('believes a host that is further than a registry which was put back', async (t) => {
      const { stores, key, answer, agent } = await joined(t);
      const { credential, generation } = await stores.hosts.renew(answer.id, key.renewal(answer.id, 7));
      assert.equal(generation, 8);
      await agent.beat(stores.access.authenticate(credential));
      await assert.rejects(
        stores.hosts.renew(answer.id, key.renewal(answer.id, 7)),
        isCode('identity-conflict'),
      );
    });

    it('knows nothing of the key of an earlier join', async (t) => {
      const { stores, key, answer } = await joined(t);
      const [caller, fresh] = [await joiner(stores), new HostKey()];
      const again = await stores.hosts.join(caller, fresh.join(caller, 'edge-1'));
      assert.deepEqual([again.id, again.generation], [answer.id, 2]);
      await assert.rejects(
        stores.hosts.renew(answer.id, key.renewal(answer.id, 2)),
        isCode('unauthenticated'),
      );
      await stores.hosts.renew(answer.id, fresh.renewal(answer.id, 2));
    });
  });

  describe('a copied host', () => {
    /** The same identity on a second machine. */
    async function cloned(t: TestContext, copyMachineId: string | null) {
      const { stores, key, answer, agent } = await joined(t);
      const caller = stores.access.authenticate(answer.credential);
      const copy = agentOf(stores, answer.id, { bootId: 'copy', machineId: copyMachineId });
      const { hosts } = stores;
      const beats = {
        first: () => pass(stores).then(() => agent.beat(caller)),
        copy: () => pass(stores).then(() => copy.beat(caller)),
      };
      const events = () => stores.events.filter(({ type }) => type === 'host.cloned').length;
      return { stores, hosts, key, answer, caller, beats, events };
    }

    const pass = ({ clock }: RegistryStores) => clock.advance(5_000);
    const id = (answer: JoinAnswer) => answer.id;

    it('G9: is found within two beats of each, and the machine that joined goes on', async (t) => {
      const { hosts, answer, beats, events, key } = await cloned(t, 'machine-copy');
      for (const beat of [beats.first, beats.copy, beats.first, beats.copy]) await beat();
      assert.deepEqual([events(), (await hosts.get(id(answer))).conflict], [0, null]);
      await beats.first();
      assert.deepEqual([events(), (await hosts.get(id(answer))).conflict], [1, 'clone']);
      for (let round = 0; round < 3; round += 1) {
        await assert.rejects(beats.copy(), { code: 'identity-conflict', message: /join it anew/ });
        assert.equal((await beats.first()).checkin, 'complete');
      }
      const renew = (machineId: string) => hosts.renew(answer.id, key.renewal(answer.id, 1, machineId));
      await assert.rejects(renew('machine-copy'), isCode('identity-conflict'));
      await renew('machine-edge-1');
      assert.equal(events(), 1, 'told once');
    });

    it('G9: with the same machine id keeps its place, and is told nothing and asked nothing', async (t) => {
      const { hosts, answer, caller, beats, events, key } = await cloned(t, 'machine-edge-1');
      for (const beat of [beats.first, beats.copy, beats.first, beats.copy, beats.first]) await beat();
      assert.equal(events(), 1);
      for (const beat of [beats.copy, beats.first]) {
        const { checkin, seen, acked } = await beat();
        assert.deepEqual([checkin, seen, acked], ['none', null, null]);
      }
      const { status, conflict } = await hosts.get(answer.id);
      assert.deepEqual([status, conflict], ['UP', 'clone']);
      const checkIn = { base: null, hash: none, components: [], removed: [] };
      await assert.rejects(hosts.checkIn(caller, answer.id, checkIn), isCode('identity-conflict'));
      const batch = { epoch: 1, items: [] };
      await assert.rejects(hosts.report(caller, answer.id, batch), isCode('identity-conflict'));
      const renewal = key.renewal(answer.id, 1, 'machine-edge-1');
      await assert.rejects(hosts.renew(answer.id, renewal), isCode('identity-conflict'));
    });

    it('G9: is one host again once the copy has joined anew, as a host of its own', async (t) => {
      const { stores, hosts, answer, beats } = await cloned(t, 'machine-copy');
      for (const beat of [beats.first, beats.copy, beats.first, beats.copy, beats.first]) await beat();
      const [caller, key] = [await joiner(stores), new HostKey()];
      const own = await hosts.join(caller, key.join(caller, 'edge-1', 'machine-copy'));
      assert.notEqual(own.id, answer.id);
      assert.equal((await hosts.get(own.id)).conflict, null);
    });

    it('G10: is not what a captured beat makes of a host', async (t) => {
      const { hosts, answer, caller, beats, stores, events } = await cloned(t, null);
      const agent = agentOf(stores, answer.id, { bootId: 'captured', machineId: 'machine-edge-1' });
      const captured = [agent.next(), agent.next()];
      for (const beat of captured) await hosts.beat(caller, answer.id, beat);
      await beats.first();
      for (let round = 0; round < 3; round += 1) {
        for (const beat of captured) await hosts.beat(caller, answer.id, beat);
        await beats.first();
      }
      assert.deepEqual([events(), (await hosts.get(answer.id)).conflict], [0, null]);
      assert.equal((await hosts.get(answer.id)).lastSeenMs, stores.clock.now());
    });
  });

  it('a host of whose key nothing is known beats as before', async (t) => {
    const stores = await open(t);
    const { id, credential } = await stores.hosts.join(systemCaller, {
      name: 'edge-1',
      region: null,
      machineId: 'm',
    });
    const { beat } = agentOf(stores, id, { bootId: 'b', machineId: null });
    assert.equal((await beat(stores.access.authenticate(credential))).intervalMs, 10_000);
  });
}

function isCode(code: string) {
  return (error: unknown) => error instanceof AppError && error.code === code;
}
