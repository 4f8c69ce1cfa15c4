import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { dutiesOf, OrdersFile } from '../../src/cli/orders-file.ts';
import { allowDefault } from '../../src/domain/allow.ts';
import { isAppError } from '../../src/domain/error.ts';
import type { Duties } from '../../src/domain/step.ts';
import { tempFolder } from '../helpers/temp.ts';

const uid = process.geteuid?.() ?? 0;
const text = 'registry: none\nchecks: [{type: a, exec: [/bin/true]}]\nallow: {drivers: [exec]}\n';

function fileOf(file: string): OrdersFile<Duties> {
  return new OrdersFile({ file, role: 'agent', uid, ordersOf: dutiesOf });
}

function unusable(words: RegExp) {
  return (error: unknown) => isAppError(error, 'unprocessable') && words.test(error.message);
}

test('OrdersFile reads what agent.yaml has for the runner, and again when it has changed', async (t) => {
  const file = join(tempFolder(t), 'agent.yaml');
  writeFileSync(file, text);
  const orders = fileOf(file);
  const first = await orders.read();
  assert.deepEqual(
    first.checks.map(({ type }) => type),
    ['a'],
  );
  assert.deepEqual(first.allow, { ...allowDefault, drivers: ['exec'] });
  assert.equal(await orders.read(), first, 'nothing is read twice');
  writeFileSync(`${file}.new`, 'registry: none\n');
  renameSync(`${file}.new`, file);
  assert.deepEqual(await orders.read(), { ...first, checks: [], allow: allowDefault });
  writeFileSync(file, 'checks: [{type: a, exce: [/bin/true]}]\n');
  await assert.rejects(orders.read(), unusable(/agent\.yaml:1.*did you mean "exec"/));
  unlinkSync(file);
  await assert.rejects(orders.read(), unusable(/it does not exist/));
  writeFileSync(file, text);
  assert.equal((await orders.read()).checks.length, 1, 'it is well again');
});

test('OrdersFile believes no file that others could have changed', async (t) => {
  const folder = tempFolder(t);
  const below = join(folder, 'etc');
  mkdirSync(below);
  const file = join(below, 'agent.yaml');
  writeFileSync(file, text);
  const orders = fileOf(file);
  await orders.read();
  for (const [path, mode, fine] of [
    [file, 0o664, 0o644],
    [file, 0o646, 0o640],
    [below, 0o775, 0o755],
    [below, 0o757, 0o755],
    [folder, 0o777, 0o700],
  ] as const) {
    chmodSync(path, mode);
    await assert.rejects(orders.read(), unusable(/others can write to .*run chmod go-w/));
    chmodSync(path, fine);
    await orders.read();
  }
  // As /tmp is.
  chmodSync(folder, 0o1777);
  await orders.read();
});

test('OrdersFile believes no file of another user, nor one below a folder of another', {
  skip: uid !== 0 && 'only root makes files of others',
}, async (t) => {
  const folder = tempFolder(t);
  const below = join(folder, 'etc');
  mkdirSync(below);
  const file = join(below, 'agent.yaml');
  writeFileSync(file, text);
  for (const path of [file, below]) {
    chownSync(path, 65_534, 65_534);
    await assert.rejects(fileOf(file).read(), unusable(/belongs to uid 65534.*run chown root/));
    // Whoever runs the runner may write it, as in the home of who starts `up`.
    await new OrdersFile({ file, role: 'agent', uid: 65_534, ordersOf: dutiesOf }).read();
    chownSync(path, 0, 0);
  }
  // A link is followed, and what it leads to is looked at like the rest.
  const open = join(folder, 'open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  writeFileSync(join(open, 'agent.yaml'), text);
  symlinkSync(join(open, 'agent.yaml'), join(below, 'link.yaml'));
  await assert.rejects(fileOf(join(below, 'link.yaml')).read(), unusable(/others can write to .*open/));
});

test('OrdersFile believes no file behind a link that others could have changed', async (t) => {
  const folder = tempFolder(t);
  for (const name of ['etc', 'open', 'real', 'sticky']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'real/agent.yaml'), text);
  // A link that leads through a folder of others to one that is ours.
  chmodSync(join(folder, 'open'), 0o777);
  symlinkSync('../real', join(folder, 'open/next'));
  symlinkSync('../open/next', join(folder, 'etc/here'));
  await assert.rejects(
    fileOf(join(folder, 'etc/here/agent.yaml')).read(),
    unusable(/others can write to .*open/),
  );
  chmodSync(join(folder, 'open'), 0o755);
  assert.equal((await fileOf(join(folder, 'etc/here/agent.yaml')).read()).checks.length, 1);
  symlinkSync('round', join(folder, 'etc/round'));
  await assert.rejects(fileOf(join(folder, 'etc/round')).read(), unusable(/more than 40 links lead to it/));
  if (uid !== 0) return;
  // In a folder like /tmp, whoever owns a link makes another of it.
  chmodSync(join(folder, 'sticky'), 0o1777);
  const link = join(folder, 'sticky/etc');
  symlinkSync('../real', link);
  await fileOf(join(link, 'agent.yaml')).read();
  lchownSync(link, 65_534, 65_534);
  await assert.rejects(
    fileOf(join(link, 'agent.yaml')).read(),
    unusable(/belongs to uid 65534.*run chown -h root/),
  );
});

test('OrdersFile refuses what is no file, without waiting for it', async (t) => {
  const folder = tempFolder(t);
  await assert.rejects(fileOf(folder).read(), unusable(/it is not a regular file/));
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  await assert.rejects(fileOf(join(folder, 'fifo')).read(), unusable(/it is not a regular file/));
});
