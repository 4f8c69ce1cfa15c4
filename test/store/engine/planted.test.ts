/** What somebody could have put into a data directory, or in its place, before a role starts there. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { openStore } from '../../../src/store/engine/store.ts';
import { FakeClock } from '../../helpers/clock.ts';
import { tempFolder } from '../../helpers/temp.ts';

const root = process.getuid?.() === 0;
const nobody = 65_534;

const open = (dataDir: string) =>
  openStore({ role: 'registry', dataDir, clock: new FakeClock(), limits: { ballastBytes: 0 } });

/** A folder of a store that has been used, and one beside it. */
async function used(t: TestContext) {
  const [dataDir, elsewhere] = [join(tempFolder(t), 'data'), tempFolder(t)];
  await (await open(dataDir)).close();
  return { dataDir, elsewhere, at: (name: string) => join(dataDir, name) };
}

const refused = (dataDir: string, message: RegExp) =>
  assert.rejects(open(dataDir), { code: 'forbidden', field: 'dataDir', message });

suite('G11: a data directory', () => {
  const names = ['holdfast.db', 'holdfast.db-wal', 'holdfast.db-shm', 'holdfast.db-journal'];
  for (const name of [...names, 'owner.lock', 'ballast']) {
    test(`is refused when ${name} is a link, and nothing is made where it leads`, async (t) => {
      const [dataDir, elsewhere] = [tempFolder(t), tempFolder(t)];
      chmodSync(dataDir, 0o700);
      const target = join(elsewhere, 'target');
      symlinkSync(target, join(dataDir, name));
      await refused(dataDir, new RegExp(`"${name}" in it is a link; look where it comes from`));
      assert(!existsSync(target));
    });
  }

  test('is refused when a file of it has another name elsewhere', async (t) => {
    const { dataDir, elsewhere, at } = await used(t);
    linkSync(at('holdfast.db'), join(elsewhere, 'copy'));
    writeFileSync(at('replaced-by'), 'a file of somebody');
    await refused(dataDir, /"holdfast\.db" in it has another name elsewhere \(a hard link\)/);
  });

  test('is taken when the other name is one that restore keeps', async (t) => {
    const { dataDir, at } = await used(t);
    mkdirSync(at('replaced-20260101T000000.000Z'));
    linkSync(at('holdfast.db'), at('replaced-20260101T000000.000Z/holdfast.db'));
    await (await open(dataDir)).close();
  });

  test('is refused when others can write a file of it', async (t) => {
    const { dataDir, at } = await used(t);
    chmodSync(at('holdfast.db'), 0o620);
    await refused(dataDir, /"holdfast\.db" in it can be written by others \(mode 620\)/);
  });

  test('is refused when a file of it is no file', async (t) => {
    const dataDir = tempFolder(t);
    chmodSync(dataDir, 0o700);
    mkdirSync(join(dataDir, 'owner.lock'));
    await refused(dataDir, /"owner\.lock" in it is no regular file/);
  });

  test('is refused when a file of it is of another user', { skip: !root && 'needs root' }, async (t) => {
    const { dataDir, at } = await used(t);
    chownSync(at('owner.lock'), nobody, nobody);
    await refused(dataDir, /"owner\.lock" in it belongs to user id 65534/);
  });

  test('is refused when it is of another user, and left as it is', {
    skip: !root && 'needs root',
  }, async (t) => {
    const { dataDir, at } = await used(t);
    const before = readFileSync(at('holdfast.db'));
    chownSync(dataDir, nobody, nobody);
    await refused(dataDir, /it belongs to user id 65534 and this process runs as 0/);
    assert(readFileSync(at('holdfast.db')).equals(before));
  });

  test('is refused behind a link that another user made, not behind our own', {
    skip: !root && 'needs root',
  }, async (t) => {
    const { dataDir, elsewhere } = await used(t);
    const link = join(elsewhere, 'data');
    symlinkSync(dataDir, link);
    await (await open(link)).close();
    lchownSync(link, nobody, nobody);
    await refused(link, /it is a link that user id 65534 has put there; name its target/);
  });

  test('has nothing in it that others can read, whatever the umask', async (t) => {
    const dataDir = join(tempFolder(t), 'data');
    const before = process.umask(0);
    t.after(() => process.umask(before));
    const store = await open(dataDir);
    t.after(() => store.close());
    const open077 = readdirSync(dataDir).filter(
      (name) => (lstatSync(join(dataDir, name)).mode & 0o077) !== 0,
    );
    assert.deepEqual([open077, lstatSync(dataDir).mode & 0o777], [[], 0o700]);
  });
});
