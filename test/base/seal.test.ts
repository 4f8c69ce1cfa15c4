import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SealError, seal, unseal } from '../../src/base/seal.ts';

test('unseal() gives back what seal() hid, under the same passphrase only', async () => {
  const secret = '-----BEGIN PRIVATE KEY-----\nä\n'.repeat(40);
  const sealed = await seal(secret, 'correct horse');
  assert.equal(await unseal(sealed, 'correct horse'), secret);
  assert.doesNotMatch(sealed, /PRIVATE/);
  await assert.rejects(unseal(sealed, 'Correct horse'), SealError);
  assert.notEqual(await seal(secret, 'correct horse'), sealed, 'salt and nonce are fresh');
});

test('unseal() takes a passphrase however its characters were composed', async () => {
  const sealed = await seal('secret', 'caf\u00e9');
  assert.equal(await unseal(sealed, 'cafe\u0301'), 'secret');
});

test('unseal() refuses every changed character, and what would cost too much', async () => {
  const sealed = await seal('secret', 'correct horse');
  const parts = sealed.split('$');
  const changed = (index: number, value: string) => parts.with(index, value).join('$');
  const flip = (text: string | undefined) => `${text?.startsWith('A') ? 'B' : 'A'}${text?.slice(1)}`;
  for (const text of [
    '',
    'secret',
    changed(4, flip(parts[4])),
    changed(5, flip(parts[5])),
    changed(5, (parts[5] ?? '').slice(0, 20)),
    changed(1, String(2 ** 16)),
    changed(1, String(2 ** 26)),
    changed(1, '131071'),
    changed(2, '999'),
    `${sealed}=`,
  ]) {
    await assert.rejects(unseal(text, 'correct horse'), SealError, text);
  }
});
