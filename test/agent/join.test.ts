import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { type JoinOptions, join, readMembership } from '../../src/agent/join.ts';
import { mintMachineId, readBootId, readMachineId } from '../../src/agent/machine.ts';
import { type Membership, MembershipFiles } from '../../src/agent/membership.ts';
import type { RegistryPeer } from '../../src/agent/peer.ts';
import { systemCaller } from '../../src/domain/access.ts';
import { AppError } from '../../src/domain/error.ts';
import { credentialStatement, signProof } from '../../src/domain/proof.ts';
import { decideToken, hostCredentialLifeMs } from '../../src/domain/token.ts';
import { keyFingerprint, trustKeyOf } from '../../src/domain/trust.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { IdentityStore } from '../../src/store/identity.ts';
import { encodeJoinToken } from '../../src/wire/join-token.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';
import { FakeTrust } from '../helpers/trust.ts';
import { TestRegistry } from './fleet.ts';

interface Host extends JoinOptions {
  readonly dataDir: string;
  readonly registry: TestRegistry;
}

/** A host that may join a real registry's stores. */
async function host(t: TestContext, more: Partial<JoinOptions> = {}): Promise<Host> {
  const folder = tempFolder(t);
  const clock = new FakeClock();
  const registry = await TestRegistry.open(joinPath(folder, 'registry'), clock, new SeededRandom(1));
  t.after(() => registry.close());
  const dataDir = joinPath(folder, 'agent');
  const store = await openStore({ role: 'agent', dataDir, clock, limits: { ballastBytes: 0 } });
  t.after(() => store.close());
  return {
    store,
    identities: new IdentityStore(store),
    files: new MembershipFiles(dataDir),
    dataDir,
    registry,
    registryUrl: null,
    name: 'Edge-1',
    region: null,
    machineId: 'm',
    token: await tokenOf(registry),
    ca: [],
    connect: ({ token = '' }) => registry.connect(token),
    onJoined: () => Promise.resolve(),
    ...more,
  };
}

/** A join token of a registry that is reached in plain HTTP on loopback. */
async function tokenOf(registry: TestRegistry, more: { uses?: number; key?: string } = {}): Promise<string> {
  const { key = registry.trust.joinTrust().key, uses = 1 } = more;
  const { token } = await registry.stores.access.issue(systemCaller, decideToken({ role: 'host', uses }));
  return encodeJoinToken({ ...registry.trust.joinTrust(), key }, token);
}

async function renews({ registry }: Host, { identity, credential, key }: Membership): Promise<void> {
  assert(key !== null);
  const proof = signProof(key, credentialStatement(identity.id, credential.generation));
  await registry.stores.hosts.renew(identity.id, {
    generation: credential.generation,
    proof,
    machineId: null,
  });
}

const secrets = ['credential', 'host.key'];

suite('join()', () => {
  test('keeps a key and a credential that goes with it, in files of their own, for the next start', async (t) => {
    const options = await host(t);
    assert.equal(await readMembership(options), null);
    const joined = await join(options);
    const { identity, credential, key } = joined;
    assert.equal(identity.name, 'edge-1');
    assert.deepEqual(identity.urls, ['http://registry.test']);
    assert.deepEqual(identity.signingKeys, options.registry.trust.trust().keys.slice(0, 1), 'the named one');
    assert(key !== null);
    assert.deepEqual([identity.key, credential.key], [keyFingerprint(key), keyFingerprint(key)]);
    assert.equal(credential.expiresAtMs - credential.renewAtMs, hostCredentialLifeMs / 3);
    const read = await readMembership(options);
    assert.deepEqual({ ...read, key: null }, { ...joined, key: null });
    assert(read !== null);
    await renews(options, read);
    assert.equal(options.registry.stores.access.authenticate(credential.credential).hostId, identity.id);
    for (const name of secrets)
      assert.equal(statSync(joinPath(options.dataDir, name)).mode & 0o777, 0o600, name);
    for (const file of readdirSync(options.dataDir).filter((name) => name.startsWith('agent')))
      assert.ok(!readFileSync(joinPath(options.dataDir, file)).includes(credential.credential), file);
  });

  test('asks for the token only when it joins', async (t) => {
    let asked = 0;
    const options = await host(t);
    const token = options.token as string;
    const late = {
      ...options,
      token: async () => {
        asked += 1;
        return ` ${token}\n`;
      },
    };
    await join(late);
    await readMembership(late);
    assert.equal(asked, 1);
  });

  test('says what is missing when there is no token, or one that says no URL', async (t) => {
    const options = await host(t, { token: null });
    await assert.rejects(join(options), { code: 'unauthenticated', message: /--join-file/ });
    const bearer = options.registry.token;
    await assert.rejects(join({ ...options, token: bearer }), {
      code: 'bad-request',
      message: /--registry URL/,
    });
    await assert.rejects(join({ ...options, token: 'hfj1.x' }), {
      code: 'bad-request',
      message: /join token/,
    });
  });

  test("takes an admin's token with a URL, and proves a key then too", async (t) => {
    const options = await host(t);
    const joined = await join({
      ...options,
      token: options.registry.token,
      registryUrl: options.registry.url,
    });
    await renews(options, joined);
  });

  test('keeps nothing of a join that is refused', async (t) => {
    const options = await host(t);
    const refusal = new AppError('forbidden', 'no');
    const peer = { hosts: { join: () => Promise.reject(refusal) }, close: () => Promise.resolve() };
    await assert.rejects(join({ ...options, connect: () => peer as unknown as RegistryPeer }), refusal);
    assert.equal(await readMembership(options), null);
    assert.equal(existsSync(joinPath(options.dataDir, 'credential')), false);
  });

  test('G4: takes nothing from a registry that signs with another key than the token names', async (t) => {
    const options = await host(t);
    const token = await tokenOf(options.registry, { key: `sha256:${'0'.repeat(64)}` });
    await assert.rejects(join({ ...options, token }), {
      code: 'unavailable',
      failure: 'untrusted',
      message: /man in the middle/i,
    });
    assert.equal(await readMembership(options), null);
    assert.equal(existsSync(joinPath(options.dataDir, 'credential')), false);
  });

  test('G4: takes no key for a target from whoever answers but the one that the token names', async (t) => {
    const { publicKey } = new FakeTrust().trust().keys[0] ?? { publicKey: '' };
    for (const moment of ['in its place', 'beside it'] as const) {
      const options = await host(t);
      const { keys } = options.registry.trust.trust();
      const [named] = keys;
      assert(named !== undefined);
      const stranger = trustKeyOf(
        createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' }),
      );
      const told = moment === 'beside it' ? [named, stranger] : [{ key: named.key, publicKey }];
      const connect: JoinOptions['connect'] = (to) => {
        const peer = options.connect(to);
        const join = async (...given: Parameters<typeof peer.hosts.join>) => {
          const answer = await peer.hosts.join(...given);
          return { ...answer, trust: { ...answer.trust, keys: told } };
        };
        return { ...peer, hosts: { ...peer.hosts, join } };
      };
      const joining = join({ ...options, connect });
      if (moment === 'beside it') assert.deepEqual((await joining).identity.signingKeys, [named]);
      else await assert.rejects(joining, { code: 'unavailable', failure: 'untrusted' });
    }
  });

  test('goes to the next URL when nobody answers at the first', async (t) => {
    const options = await host(t);
    const asked: string[] = [];
    const token = encodeJoinTwice(options.token as string);
    const { identity } = await join({
      ...options,
      token,
      connect: (to) => {
        asked.push(to.url);
        if (to.url.includes('dead')) return dead;
        return options.connect(to);
      },
    });
    assert.deepEqual(asked, ['http://dead.test', 'http://registry.test']);
    assert.equal(identity.registryUrl, 'http://registry.test');
  });

  /** Each of these is a moment at which the power may fail: what was done before stays, what follows does not happen. */
  const moments = ['joinKey', 'answer', 'writeJoined', 'onJoined', 'finishJoin'] as const;
  for (const again of [false, true]) {
    for (const moment of moments) {
      for (const when of ['before', 'after'] as const) {
        test(`a power failure ${when} ${moment} of a ${again ? 'second' : 'first'} join costs no use, host or secret`, async (t) => {
          const options = await host(t);
          const before = again ? await join(options) : null;
          if (before !== null) {
            const { hosts } = options.registry.stores;
            await hosts.revoke(systemCaller, before.identity.id);
          }
          const token = again ? await tokenOf(options.registry) : options.token;
          await assert.rejects(join(failing({ ...options, token }, moment, when)), powerFailure);
          // The start after it.
          const files = new MembershipFiles(options.dataDir);
          const half = await readMembership({ ...options, files });
          const done = (moment === 'onJoined' && when === 'after') || moment === 'finishJoin';
          if (!done) {
            // What was there before, as it was, or nothing: never some of each.
            if (half !== null) assert.deepEqual(half.credential, before?.credential);
          }
          const member = done ? half : await join({ ...options, token, files });
          assert(member !== null, 'the join was done');
          const kept = await readMembership({ ...options, files });
          assert(kept !== null);
          assert.deepEqual(kept.credential, member.credential);
          const { access, hosts } = options.registry.stores;
          assert.equal(access.authenticate(kept.credential.credential).hostId, kept.identity.id);
          await renews(options, kept);
          if (before !== null) assert.equal(kept.identity.id, before.identity.id);
          assert.equal((await hosts.list({}, { limit: 10 })).items.length, 1);
          assert.equal(existsSync(joinPath(options.dataDir, 'host.key.next')), false);
        });
      }
    }
  }
});

const powerFailure = new Error('the power failed');

/** Fails at one moment of a join. */
function failing(options: Host, moment: string, when: 'before' | 'after'): JoinOptions {
  const at = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    if (moment === name && when === 'before') throw powerFailure;
    const result = await work();
    if (moment === name) throw powerFailure;
    return result;
  };
  class FailingFiles extends MembershipFiles {
    override joinKey = () => at('joinKey', () => super.joinKey());
    override writeJoined = (...given: Parameters<MembershipFiles['writeJoined']>) =>
      at('writeJoined', () => super.writeJoined(...given));
    override finishJoin = () => at('finishJoin', () => super.finishJoin());
  }
  const { store } = options;
  return {
    ...options,
    files: new FailingFiles(options.dataDir),
    store: {
      ...store,
      dialect: store.dialect,
      write: (caller, fn) => at('onJoined', () => store.write(caller, fn)),
    } as JoinOptions['store'],
    connect: (to) => {
      const peer = options.connect(to);
      return {
        ...peer,
        hosts: { ...peer.hosts, join: (...given) => at('answer', () => peer.hosts.join(...given)) },
      };
    },
  };
}

const dead = {
  hosts: { join: () => Promise.reject(new AppError('unavailable', 'nobody listens there')) },
  close: () => Promise.resolve(),
} as unknown as RegistryPeer;

/** The same token with a dead URL in front. */
function encodeJoinTwice(token: string): string {
  const parts = JSON.parse(Buffer.from(token.slice(5), 'base64url').toString()) as { urls: string[] };
  parts.urls.unshift('http://dead.test');
  return `hfj1.${Buffer.from(JSON.stringify(parts)).toString('base64url')}`;
}

suite('readMembership()', () => {
  const at = (options: Host, registryUrl: string | null) => readMembership({ ...options, registryUrl });

  test('is none with another registry, or without the credential', async (t) => {
    const options = await host(t);
    await join(options);
    assert.equal(await at(options, 'https://two.test'), null);
    rmSync(joinPath(options.dataDir, 'credential'));
    assert.equal(await at(options, null), null);
  });

  test('is one with the same registry, however its URL is written, or when none is named', async (t) => {
    const options = await host(t);
    await join({ ...options, knownAs: 'https://one.test' });
    for (const url of ['https://one.test/', 'https://One.Test:443', 'https://one.test//', null])
      assert.notEqual(await at(options, url), null, String(url));
    for (const url of ['http://one.test', 'https://one.test:444', 'https://one.test/two'])
      assert.equal(await at(options, url), null, url);
  });

  test('is one with a registry that is known by another name than its URL', async (t) => {
    const options = { ...(await host(t)), knownAs: 'file:///data/registry' };
    await join(options);
    const registryUrl = 'http://127.0.0.1:12345';
    assert.notEqual(await readMembership({ ...options, registryUrl }), null);
    assert.equal(await readMembership({ ...options, registryUrl, knownAs: 'file:///data/another' }), null);
    assert.equal(await readMembership({ ...options, registryUrl, knownAs: undefined }), null);
  });

  test('is none without its key, with the key of another host, or when somebody changed the credential', async (t) => {
    const options = await host(t);
    await join(options);
    const [key, credential] = secrets.toReversed().map((name) => joinPath(options.dataDir, name));
    assert(key !== undefined && credential !== undefined);
    const good = { key: readFileSync(key), credential: readFileSync(credential, 'utf8') };
    writeFileSync(credential, good.credential.replace('"generation"', '"host":"x","generation"'));
    assert.equal(await at(options, null), null);
    writeFileSync(credential, '{');
    assert.equal(await at(options, null), null);
    writeFileSync(credential, good.credential);
    assert.notEqual(await at(options, null), null);
    rmSync(key);
    assert.equal(await at(options, null), null);
    const another = await host(t);
    await join(another);
    writeFileSync(key, readFileSync(joinPath(another.dataDir, 'host.key')), { mode: 0o600 });
    assert.equal(await at(options, null), null);
    writeFileSync(key, 'nothing');
    await assert.rejects(at(options, null), { name: 'FileError', message: /no private key/ });
  });

  test('G11: refuses a secret that others can read', async (t) => {
    for (const name of secrets) {
      const options = await host(t);
      await join(options);
      chmodSync(joinPath(options.dataDir, name), 0o644);
      await assert.rejects(at(options, null), { name: 'FileError', message: /chmod 600/ });
    }
  });
});

suite('machine ids', () => {
  test("say nothing of the machine's own id, and are the same each time", async (t) => {
    const folder = tempFolder(t);
    const paths = { machineId: joinPath(folder, 'machine-id'), bootId: joinPath(folder, 'boot_id') };
    writeFileSync(paths.machineId, '0123456789abcdef0123456789abcdef\n');
    const first = await readMachineId(paths);
    assert.match(first ?? '', /^[0-9a-f]{32}$/);
    assert.notEqual(first, readFileSync(paths.machineId, 'utf8').trim());
    assert.equal(await readMachineId(paths), first);
    for (const text of ['', 'uninitialized\n', '0123']) {
      writeFileSync(paths.machineId, text);
      assert.equal(await readMachineId(paths), null);
    }
  });

  test('are minted and kept where the machine has none', async (t) => {
    const { identities } = await host(t);
    const random = new SeededRandom(1);
    const first = await identities.keptMachineId(mintMachineId(random));
    assert.match(first, /^[0-9a-f]{32}$/);
    assert.equal(await identities.keptMachineId(mintMachineId(random)), first);
  });

  test('a boot without an id is a new one each time', async (t) => {
    const paths = { machineId: '', bootId: joinPath(tempFolder(t), 'boot_id') };
    const random = new SeededRandom(1);
    assert.notEqual(await readBootId(paths, random), await readBootId(paths, random));
    writeFileSync(paths.bootId, '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223\n');
    assert.equal(await readBootId(paths, random), '3b059e33-bbc4-4bc8-b0d3-7df6e8d70223');
  });
});
