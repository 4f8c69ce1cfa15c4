/** Signatures and fingerprints. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import {
  checkSignature,
  isConsistentKey,
  keyFingerprint,
  signDetached,
  trustKeyOf,
} from '../../src/domain/trust.ts';

const body = Buffer.from('{"host":"a"}');

test('checkSignature() believes exact bytes by a known key, and nothing else', () => {
  const [mine, next, foreign] = [keyPair(), keyPair(), keyPair()];
  const keys = [trustKeyOf(mine), trustKeyOf(next)];
  assert.equal(checkSignature(body, signDetached(body, mine, keyFingerprint(mine)), keys), null);
  assert.equal(checkSignature(body, signDetached(body, next, keyFingerprint(next)), keys), null);
  const good = signDetached(body, mine, keyFingerprint(mine));
  assert.equal(checkSignature(Buffer.from('{"host":"b"}'), good, keys), 'bad-signature');
  assert.equal(
    checkSignature(body, signDetached(body, foreign, keyFingerprint(foreign)), keys),
    'unknown-key',
  );
  // A foreign signature under our name.
  assert.equal(
    checkSignature(body, signDetached(body, foreign, keyFingerprint(mine)), keys),
    'bad-signature',
  );
  for (const header of [null, '', 'sha256:00 AA==', good.slice(0, -1), `${good}\n`, ` ${good}`, `${good}=`])
    assert.equal(checkSignature(body, header, keys), 'unsigned', JSON.stringify(header));
  assert.equal(checkSignature(body, good, []), 'unknown-key');
});

test('signDetached() is deterministic, as Ed25519 is: equal bytes have equal signatures', () => {
  const key = keyPair();
  assert.equal(signDetached(body, key, 'k'), signDetached(body, key, 'k'));
});

test('isConsistentKey() refuses a key under another fingerprint, of another kind, or none at all', () => {
  const told = trustKeyOf(keyPair());
  assert.ok(isConsistentKey(told));
  assert.ok(!isConsistentKey({ ...told, key: trustKeyOf(keyPair()).key }));
  assert.ok(!isConsistentKey({ ...told, publicKey: 'AAAA' }));
  assert.ok(!isConsistentKey(trustKeyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)));
});

function keyPair() {
  return generateKeyPairSync('ed25519').privateKey;
}
