import assert from 'node:assert/strict';
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { type JoinOptions, join, readMembership } from '../../src/agent/join.ts';
import { mintMachineId, readBootId, readMachineId } from '../../src/agent/machine.ts';
import { AppError } from '../../src/domain/error.ts';
import { openStore } from '../../src/store/engine/store.ts';
import { IdentityStore } from '../../src/store/identity.ts';
import { FakeClock } from '../helpers/clock.ts';
import { SeededRandom } from '../helpers/random.ts';
import { tempFolder } from '../helpers/temp.ts';

const id = '00000000-0000-7000-8000-000000000001';
const given = { generation: 1, expiresAtMs: Date.UTC(2026, 0, 2), trust: { urls: [], keys: [], ca: [] } };

async function open(
  t: TestContext,
  more: Partial<JoinOptions> = {},
): Promise<JoinOptions & { tokens: string[] }> {
  const dataDir = tempFolder(t);
  const store = await openStore({
    role: 'agent',
    dataDir,
    clock: new FakeClock(),
    limits: { ballastBytes: 0 },
  });
  t.after(() => store.close());
  const tokens: string[] = [];
  return {
    store,
    identities: new IdentityStore(store),
    dataDir,
    registryUrl: 'https://one.test',
    name: 'Edge-1',
    region: null,
    machineId: 'm',
    token: 'join-token',
    connect: (token) => {
      tokens.push(token);
      return {
        join: async (_, { name }) => ({
          id,
          name: name.toLowerCase(),
          credential: `credential-${tokens.length}`,
          ...given,
        }),
      };
    },
    onJoined: () => Promise.resolve(),
    tokens,
    ...more,
  };
}

suite('join()', () => {
  test('keeps the credential in a file of its own, for the next start', async (t) => {
    const options = await open(t);
    assert.equal(await readMembership(options), null);
    const joined = await join(options);
    assert.deepEqual(joined, {
      identity: { id, name: 'edge-1', registryUrl: 'https://one.test' },
      credential: 'credential-1',
    });
    assert.deepEqual(await readMembership(options), joined);
    assert.deepEqual(options.tokens, ['join-token']);
  });

  test('asks for the token only when it joins', async (t) => {
    let asked = 0;
    const options = await open(t, {
      token: async () => {
        asked += 1;
        return 'late';
      },
    });
    await join(options);
    await readMembership(options);
    assert.deepEqual([asked, options.tokens], [1, ['late']]);
  });

  test('says what is missing when there is no token', async (t) => {
    await assert.rejects(join(await open(t, { token: null })), {
      code: 'unauthenticated',
      message: /--token-file/,
    });
  });

  test('keeps nothing of a join that is refused', async (t) => {
    const refusal = new AppError('forbidden', 'no');
    const options = await open(t, { connect: () => ({ join: () => Promise.reject(refusal) }) });
    await assert.rejects(join(options), refusal);
    assert.equal(await readMembership(options), null);
  });
});

suite('readMembership()', () => {
  test('is none with another registry, or without the credential', async (t) => {
    const options = await open(t);
    await join(options);
    assert.equal(await readMembership({ ...options, registryUrl: 'https://two.test' }), null);
    rmSync(joinPath(options.dataDir, 'credential'));
    assert.equal(await readMembership(options), null);
  });

  test('is one with the same registry, however its URL is written', async (t) => {
    const options = await open(t);
    const joined = await join(options);
    for (const registryUrl of ['https://one.test/', 'https://One.Test:443', 'https://one.test//'])
      assert.deepEqual(await readMembership({ ...options, registryUrl }), joined, registryUrl);
    for (const registryUrl of ['http://one.test', 'https://one.test:444', 'https://one.test/two'])
      assert.equal(await readMembership({ ...options, registryUrl }), null, registryUrl);
  });

  test('is one with a registry that is known by another name than its URL', async (t) => {
    const options = { ...(await open(t)), knownAs: 'file:///data/registry' };
    const joined = await join(options);
    const registryUrl = 'http://127.0.0.1:12345';
    assert.deepEqual(await readMembership({ ...options, registryUrl }), joined);
    assert.equal(await readMembership({ ...options, knownAs: 'file:///data/another' }), null);
    assert.equal(await readMembership({ ...options, knownAs: undefined }), null);
  });

  test('is none when a crash left the credential of another host than the identity', async (t) => {
    const options = await open(t);
    const { credential } = await join(options);
    const another = '00000000-0000-7000-8000-000000000002';
    const crash = new Error('the power failed');
    await assert.rejects(
      join({
        ...options,
        connect: () => ({ join: async () => ({ id: another, name: 'edge-2', credential: 'new', ...given }) }),
        onJoined: () => Promise.reject(crash),
      }),
      crash,
    );
    assert.equal((await options.identities.read())?.id, id);
    assert.equal(await readMembership(options), null);
    writeFileSync(joinPath(options.dataDir, 'credential'), `${credential}\n`, { mode: 0o600 });
    assert.equal(await readMembership(options), null, 'whose it is cannot be told');
  });

  test('refuses a credential that others can read', async (t) => {
    const options = await open(t);
    await join(options);
    chmodSync(joinPath(options.dataDir, 'credential'), 0o644);
    await assert.rejects(readMembership(options), { name: 'FileError', message: /chmod 600/ });
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
    const { identities } = await open(t);
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
